"""Batches as a pure function of the step, so that a resumed run sees exactly what an unbroken one would."""

import mmap
import os
import zlib
from abc import ABC, abstractmethod
from multiprocessing.util import Finalize

import keras
import numpy as np

from multiposenet.data.handover import hand_over
from multiposenet.errors import UserError

_RUN_ENDS = mmap.mmap(-1, 1)  # shared with the processes that load; 1 when the run has no more use for them
Finalize(None, _RUN_ENDS.write_byte, args=(1,), exitpriority=20)  # just before multiprocessing ends them, at 15


class Source(ABC):
    """Samples of one head."""

    @abstractmethod
    def __len__(self):
        """Samples in one epoch."""

    @abstractmethod
    def load(self, indices, rng):
        """Inputs and targets of the samples, stacked: `(x, y)`, arrays or dicts of arrays.

        Args:
            indices: (batch,) int sample numbers.
            rng: numpy Generator; the only source of chance.
        """

    @abstractmethod
    def names(self, indices):
        """A name for each sample, such as its file, for messages."""

    def sample(self, count, devices=1):
        """`load` about `count` samples that `devices` share evenly, the same ones each time, to look at.

        They are spread over the source: a repeated picture has its like in a row.
        """
        count = min(max(count, devices), len(self)) // devices * devices
        return self.load(np.linspace(0, len(self) - 1, count).astype(int), np.random.default_rng(0))


class Batches(keras.utils.PyDataset):
    """Shuffled batches of a source from step `first` up to step `last` of the whole training.

    Args:
        source: a `Source`.
        batch_size: samples a step; an epoch's incomplete last batch is dropped (unless it is the only one).
        seed: together with the step it decides order and augmentation.
        first, last: global steps; an epoch may end anywhere between them.
        augment: False gives every epoch the same order and a fixed rng, for validation. It is no sample after the other:
            losses that are divided by a batch's objects would be huge for a batch of pictures without any.
        workers: processes that load ahead; 0 loads in the training process.
        devices: they share every batch evenly, so validation leaves out the up to `devices` - 1 last samples.

    Raises:
        UserError: fewer samples than devices.
    """

    def __init__(self, source, batch_size, seed=0, first=0, last=None, augment=True, workers=0, devices=1):
        super().__init__(workers=max(workers, 1), use_multiprocessing=workers > 0,
                         max_queue_size=max(8, 2 * workers))  # a worker beyond the queue would idle
        self.source, self.seed, self.first, self.augment = source, seed, first, augment
        self.shared = len(source) // devices * devices
        if not self.shared:
            raise UserError(f"{len(source)} samples cannot be shared by train.devices = {devices}")
        self.batch_size = min(batch_size, self.shared)
        self.steps_per_epoch = len(source) // self.batch_size if augment else -(-self.shared // self.batch_size)
        self.last = first + self.steps_per_epoch if last is None else last
        self._order, self.owner = (None, None), os.getpid()

    def __len__(self):
        return self.last - self.first

    def __getitem__(self, i):
        loader = os.getpid() != self.owner
        if loader and os.getpgid(0) != os.getpid():
            os.setpgid(0, 0)  # a signal to all of the run's group must not take a loader away from under the running step
        step = self.first + i
        batch = self.source.load(self.indices(step), np.random.default_rng([self.seed, step if self.augment else 0]))
        return hand_over(batch, self.owner) if loader else batch

    def indices(self, step):
        """(batch,) sample numbers of a global step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return self._epoch_order(epoch)[place * self.batch_size:(place + 1) * self.batch_size]

    def names(self, step):
        """Names of the samples of a global step."""
        return self.source.names(self.indices(step))

    def _epoch_order(self, epoch):
        if not self.augment:
            return np.random.default_rng(0).permutation(self.shared)
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, epoch, 1]).permutation(len(self.source))
        return self._order[1]


def loader_is_done(run):
    """Whether a process that loads samples for the process `run` shall end when it gets a SIGTERM.

    While the run needs it, it stays: a step would wait for its samples, and the run could never end, for the lock on
    the queue that a waiting loader holds goes with it.
    """
    return _RUN_ENDS[0] == 1 or os.getppid() != run


def is_held_out(name, share):
    """Whether the picture of that name belongs to the `share` kept for validation; its name alone decides."""
    return zlib.crc32(name.encode()) % 10_000 < 10_000 * share

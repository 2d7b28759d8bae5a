"""Batches from the processes that load them to the one that trains, through memory that both see.

Through multiprocessing's pipe only one process at a time sends some hundred MB a second, and a GPU would wait for it.
"""

import os
import uuid
from multiprocessing.util import Finalize
from pathlib import Path

import keras
import numpy as np

MEMORY = Path("/dev/shm")  # Linux; elsewhere, and when it is full, arrays go through the pipe
SMALL = 2 ** 16  # bytes; not worth a file


def hand_over(batch, receiver):
    """The same nest of arrays, to be sent to another process.

    Args:
        batch: nested tuples and dicts of arrays; an array that occurs twice is sent once.
        receiver: number of the process that is to get it, for the names of files.
    """
    passed = {}
    return keras.tree.map_structure(
        lambda array: array if array.nbytes < SMALL else passed.setdefault(id(array), _Passed(array, receiver)), batch)


class _Passed:
    """Pickled, it leaves its array in a file in memory; what is unpickled is the array, which maps that file."""

    def __init__(self, array, receiver):
        self.array, self.receiver = array, receiver

    def __reduce__(self):
        path = MEMORY / f"multiposenet-{self.receiver}-{uuid.uuid4().hex}"
        try:
            self.array.tofile(path)
        except OSError:
            path.unlink(missing_ok=True)
            return self.array.__reduce__()
        return _received, (str(path), self.array.dtype.str, self.array.shape)


def _received(path, dtype, shape):
    array = np.asarray(np.memmap(path, dtype, "c", shape=shape))
    os.unlink(path)  # the memory stays as long as the array
    return array


def _remove_what_nobody_received():
    for path in MEMORY.glob(f"multiposenet-{os.getpid()}-*"):
        path.unlink(missing_ok=True)


Finalize(None, _remove_what_nobody_received, exitpriority=10)  # after multiprocessing has ended the loaders, at 15

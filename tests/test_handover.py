"""Arrays between processes: the same numbers, and nothing left behind in memory."""

import multiprocessing
import os
import pickle
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest

from multiposenet.data import handover
from multiposenet.data.batches import Batches, Source


class Noise(Source):
    def __len__(self):
        return 12

    def load(self, indices, rng):
        maps = rng.random((len(indices), 64, 64, 3)).astype("float16")
        return rng.integers(0, 255, (len(indices), 96, 96, 3)).astype("uint8"), {"one": maps, "other": maps, "small": indices}

    def names(self, indices):
        return [str(index) for index in indices]


class TooLarge(np.ndarray):
    def tofile(self, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")


def assert_same(batch, expected):
    np.testing.assert_array_equal(batch[0], expected[0])
    assert batch[1].keys() == expected[1].keys()
    for key, array in expected[1].items():
        assert batch[1][key].dtype == array.dtype
        np.testing.assert_array_equal(batch[1][key], array)


def left():
    return list(handover.MEMORY.glob(f"multiposenet-{os.getpid()}-*"))


def test_batches_of_another_process_are_those_of_this_one():
    batches = Batches(Noise(), 4, seed=3)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        for step in range(3):
            assert_same(pool.apply(batches.__getitem__, [step]), batches[step])
    assert not left()


@pytest.mark.skipif(not handover.MEMORY.is_dir(), reason="no memory that is a folder")
def test_an_array_is_sent_once_and_its_copy_can_be_written():
    batch = Batches(Noise(), 4)[0]
    sent = ForkingPickler.dumps(handover.hand_over(batch, os.getpid()))
    assert len(left()) == 2 and len(sent) < handover.SMALL
    x, y = pickle.loads(sent)
    assert not left() and y["one"] is y["other"] and type(x) is np.ndarray
    x += 1
    np.testing.assert_array_equal(x, batch[0] + 1)


def test_full_memory_means_the_pipe(monkeypatch, tmp_path):
    monkeypatch.setattr(handover, "MEMORY", tmp_path / "nowhere")
    batch = Batches(Noise(), 4)[0]
    assert_same(pickle.loads(pickle.dumps(handover.hand_over(batch, 1))), batch)


def test_what_was_half_written_is_removed(monkeypatch, tmp_path):
    monkeypatch.setattr(handover, "MEMORY", tmp_path)
    array = np.arange(100_000.0).view(TooLarge)
    received = pickle.loads(pickle.dumps(handover.hand_over(array, 1)))
    np.testing.assert_array_equal(received, array)
    assert not list(tmp_path.iterdir())


def test_what_nobody_received_goes_when_the_run_ends():
    pickle.dumps(handover.hand_over(np.zeros(100_000), os.getpid()))
    handover._remove_what_nobody_received()
    assert not left()

"""Two devices that share each batch train as one does."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from test_prn_recipe import config, write_annotations

from multiposenet.devices import batch_count, share_batches
from multiposenet.errors import UserError
from multiposenet.recipes import activity

TWO_DEVICES = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
EVERYTHING = ["train.ema=0.9", "train.clip_norm=0.1", "train.schedule=constant"]
# TensorFlow's devices do not accumulate gradients, and their dropout differs.
OPTIONS = {"jax": [*EVERYTHING, "train.accumulate=2"], "tensorflow": [*EVERYTHING, "model.prn_dropout=0"]}

ELSEWHERE = """
import json
import sys
import keras
import numpy as np
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
from multiposenet import training
from multiposenet.errors import UserError
from multiposenet.losses import FocalLoss
from multiposenet.recipes import prn
from test_prn_recipe import config

folder, *overrides = sys.argv[1:]
def settings(devices, epochs, batch=4):
    return config(folder, f"train.devices={devices}", f"train.epochs={epochs}", f"train.batch_size={batch}", *overrides)

prn.train(settings(1, 2), f"{folder}/one")
prn.train(settings(2, 1), f"{folder}/two")
prn.train(settings(2, 2), f"{folder}/two", resume=True)
try:
    prn.train(settings(3, 1, batch=3), f"{folder}/three")
except UserError as error:
    print(error)

def losses(devices):
    # of a net with BatchNorm, on batches whose objects are nearly all in one half
    training.prepare(settings(devices, 3))
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(8, 6)) * np.tile([1, 1, 5, 5], 2)[:, None]).astype("float32")
    labels = (rng.random((8, 20, 1)) < np.tile([0.6, 0.5, 0.01, 0.0], 2)[:, None, None]).astype("float32")
    net = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8), keras.layers.BatchNormalization(),
                            keras.layers.Dense(20, "sigmoid"), keras.layers.Reshape((20, 1))])
    training.compile_model(net, FocalLoss(), settings(devices, 3), steps=2)
    return net.fit(x, np.concatenate([labels, labels], axis=-1), batch_size=4, epochs=3, shuffle=False, verbose=0).history["loss"]

print(json.dumps([losses(1), losses(2)]))
"""


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_two_devices_and_a_resume_between_give_the_losses_of_one(tmp_path, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    write_annotations(tmp_path / "people.json.gz", 12)
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, str(tmp_path), *OPTIONS[backend]], check=True, timeout=600,
                          stdout=subprocess.PIPE, text=True, env={**os.environ, **TWO_DEVICES, "KERAS_BACKEND": backend},
                          cwd=Path(__file__).parent)
    one, two = (figures(tmp_path / run) for run in ("one", "two"))
    assert one.shape == (2, 2) and one[0, 0] != one[1, 0]
    np.testing.assert_allclose(two, one, rtol=1e-4)
    assert f"{backend} finds 2 here" in done.stdout
    one, two = json.loads(done.stdout.splitlines()[-1])
    assert one[2] < one[0]
    np.testing.assert_allclose(two, one, rtol=1e-4)


def figures(folder):
    """(epochs, 2): losses in training and validation."""
    with open(folder / "log.csv") as file:
        return np.array([[row["loss"], row["val_loss"]] for row in csv.DictReader(file)], float)


def test_what_cannot_be_shared(tmp_path):
    with pytest.raises(UserError, match="batch_size = 5 cannot be shared evenly"):
        share_batches(config(tmp_path, "train.devices=2", "train.batch_size=5").train)
    with pytest.raises(UserError, match="too small"):
        activity.train(config(tmp_path, "train.devices=2"), tmp_path)
    if keras.backend.backend() == "tensorflow":
        for setting, meant in (("accumulate=3", "accumulate=1"), ("jit_compile=true", "jit_compile=false")):
            with pytest.raises(UserError, match=meant):
                share_batches(config(tmp_path, "train.devices=2", f"train.{setting}").train)


def test_a_loss_is_divided_by_at_least_one():
    assert [float(batch_count(np.float32(count))) for count in (0, 0.5, 7)] == [1, 1, 7]

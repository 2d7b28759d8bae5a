"""Two devices that share each batch train as one does."""

import csv
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from scenes import write_coco
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
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
from conftest import TINY
from multiposenet.config import load_config
from multiposenet.errors import UserError
from multiposenet.recipes import detector, keypoints, prn
from test_prn_recipe import config

folder, *overrides = sys.argv[1:]
def train(run, devices, epochs, resume=False, batch=4):
    settings = config(folder, f"train.devices={devices}", f"train.epochs={epochs}", f"train.batch_size={batch}", *overrides)
    prn.train(settings, f"{folder}/{run}", resume)

train("one", 1, 2)
train("two", 2, 1)
train("two", 2, 2, resume=True)
try:
    train("three", 3, 1, batch=3)
except UserError as error:
    print(error)

if keras.backend.backend() == "jax":  # one program whatever the head, which takes its compiler minutes
    sys.exit()
sets = [{"annotations": "annotations.json", "images": "images"}]
for devices in (1, 2):
    for recipe in (keypoints, detector):
        name = recipe.__name__.split(".")[-1]
        recipe.train(load_config(None, [
            f"model={json.dumps(TINY)}", f"data.root={folder}", f"data.sets={json.dumps(sets)}", "data.validation=0.3",
            "augment.crop=96", "train.batch_size=4", "train.epochs=1", "train.workers=0", "train.clip_norm=1",
            "train.live_batch_norm=true", "train.frozen_stages=0", "train.backbone_weights=null",
            f"train.devices={devices}", f"train.keypoints={folder}/keypoints_1"]), f"{folder}/{name}_{devices}")
"""


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_two_devices_and_a_resume_between_give_the_losses_of_one(tmp_path, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    write_annotations(tmp_path / "people.json.gz", 12)
    write_coco(tmp_path, 16, size=96, people=2)
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, str(tmp_path), *OPTIONS[backend]], check=True, timeout=600,
                          stdout=subprocess.PIPE, text=True, env={**os.environ, **TWO_DEVICES, "KERAS_BACKEND": backend},
                          cwd=Path(__file__).parent)
    one, two = (figures(tmp_path / run) for run in ("one", "two"))
    assert one.shape == (2, 2) and one[0, 0] != one[1, 0]
    np.testing.assert_allclose(two, one, rtol=1e-4)
    assert f"{backend} finds 2 here" in done.stdout
    for head in ("keypoints", "detector") if backend == "tensorflow" else ():
        one, two = (figures(tmp_path / f"{head}_{devices}") for devices in (1, 2))
        np.testing.assert_allclose(two, one, rtol=1e-3)
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

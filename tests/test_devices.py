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
from test_prn_recipe import config, write_annotations

from multiposenet.devices import share_batches
from multiposenet.errors import UserError
from multiposenet.recipes import activity

TWO_DEVICES = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
EVERYTHING = ["train.ema=0.9", "train.clip_norm=0.1", "train.accumulate=2", "train.schedule=constant"]  # and dropout

ELSEWHERE = """
import sys
from multiposenet.devices import share_batches
from multiposenet.errors import UserError
from multiposenet.recipes import prn
from test_prn_recipe import config

folder, *overrides = sys.argv[1:]
def train(run, devices, epochs, resume=False):
    settings = config(folder, f"train.devices={devices}", f"train.epochs={epochs}", *overrides)
    prn.train(settings, f"{folder}/{run}", resume)

train("one", 1, 2)
train("two", 2, 1)
train("two", 2, 2, resume=True)
try:
    share_batches(3, 3)
except UserError as error:
    print(error)
"""


def test_two_devices_and_a_resume_between_give_the_losses_of_one(tmp_path):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed")
    write_annotations(tmp_path / "people.json.gz", 12)
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, str(tmp_path), *EVERYTHING], check=True, timeout=600,
                          stdout=subprocess.PIPE, text=True, env={**os.environ, **TWO_DEVICES},
                          cwd=Path(__file__).parent)
    one, two = (figures(tmp_path / run) for run in ("one", "two"))
    assert one.shape == (2, 2) and one[0, 0] != one[1, 0]
    np.testing.assert_allclose(two, one, rtol=1e-4)
    assert "JAX finds 2 here: cpu:0, cpu:1" in done.stdout


def figures(folder):
    """(epochs, 2): losses in training and validation."""
    with open(folder / "log.csv") as file:
        return np.array([[row["loss"], row["val_loss"]] for row in csv.DictReader(file)], float)


def test_what_cannot_be_shared(tmp_path):
    with pytest.raises(UserError, match="batch_size = 5 cannot be shared evenly"):
        share_batches(2, 5)
    with pytest.raises(UserError, match="too small"):
        activity.train(config(tmp_path, "train.devices=2"), tmp_path)
    if keras.backend.backend() != "jax":
        with pytest.raises(UserError, match="KERAS_BACKEND=jax"):
            share_batches(2, 4)

"""The same weights give the same people on every Keras backend that is installed."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from scenes import noisy_pictures

from multiposenet.weights import save_model

ELSEWHERE = """
import sys
import numpy as np
from multiposenet.weights import load_model
model, pictures, output = sys.argv[1:]
np.savez(output, **load_model(model).predict_on_batch(np.load(pictures)))
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_backends_agree(tiny_model, tmp_path, backend):
    if backend == keras.backend.backend():
        pytest.skip("the tests themselves run on it")
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    pictures = noisy_pictures((5, 6), (96, 128))
    np.save(tmp_path / "pictures.npy", pictures)
    save_model(tiny_model, tmp_path / "model.keras")
    subprocess.run([sys.executable, "-c", ELSEWHERE, *(str(tmp_path / name) for name in
                                                       ("model.keras", "pictures.npy", "found.npz"))],
                   env={**os.environ, "KERAS_BACKEND": backend}, check=True, timeout=600)
    theirs = np.load(tmp_path / "found.npz")
    ours = tiny_model.predict_on_batch(pictures)
    assert ours["count"].sum() > 2
    for key, value in ours.items():
        np.testing.assert_allclose(theirs[key], value, rtol=2e-3, atol=5e-3, err_msg=key)

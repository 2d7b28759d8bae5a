"""The second look at half size: what it sees, and how both looks are put together."""

import cv2
import keras
import numpy as np
import pytest
from scenes import noisy_pictures

from multiposenet.models.half_view import HalfPicture
from multiposenet.models.multiposenet import MultiPoseNet
from multiposenet.weights import load_model, save_model


@pytest.fixture(scope="module")
def both_looks(tiny_model, tiny_config):
    model = MultiPoseNet(tiny_config.model_copy(update={"half_view": True}))
    for name, head in model.heads.items():
        head.set_weights(tiny_model.heads[name].get_weights())
    return model


def halved(pictures):
    """(n, h, w, 3) -> (n, h / 2, w / 2, 3), padded by grey to multiples of 32."""
    n, height, width, _ = pictures.shape
    half = pictures.reshape(n, height // 2, 2, width // 2, 2, 3).mean(axis=(2, 4))
    return np.pad(half, [(0, 0), (0, -(height // 2) % 32), (0, -(width // 2) % 32), (0, 0)], constant_values=128)


@pytest.mark.parametrize("size", [(128, 192), (96, 128), (64, 96)])
def test_half_a_picture_is_padded_to_what_the_network_takes(size):
    pictures = noisy_pictures(range(2), size)
    layer = HalfPicture()
    half = keras.ops.convert_to_numpy(layer(pictures))
    np.testing.assert_allclose(half, halved(pictures), atol=1e-3)
    assert half.shape == layer.compute_output_shape(pictures.shape)
    assert layer.compute_output_shape((None, None, None, 3)) == (None, None, None, 3)


@pytest.mark.parametrize("size", [(128, 128), (96, 160)])
def test_heatmaps_are_the_mean_of_both_looks(tiny_model, both_looks, size):
    pictures = noisy_pictures(range(2), size)
    whole, mean = (model.dense.predict_on_batch(pictures) for model in (tiny_model, both_looks))
    half = tiny_model.heads["keypoints"].predict_on_batch(halved(pictures).astype("float32"))
    rows, columns = whole["heatmaps"].shape[1:3]
    for ours, one, other in zip(mean["heatmaps"], whole["heatmaps"], half):
        fine = cv2.resize(other, (2 * other.shape[1], 2 * other.shape[0]))[:rows, :columns]
        np.testing.assert_allclose(ours, (one + fine) / 2, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(mean["boxes"], whole["boxes"], atol=1e-3)


def test_save_and_load(both_looks, tmp_path):
    pictures = noisy_pictures(range(2), (96, 128))
    save_model(both_looks, tmp_path / "both.keras")
    loaded = load_model(tmp_path / "both.keras")
    assert len(loaded.weights) == len(both_looks.weights)
    for key, value in both_looks.predict_on_batch(pictures).items():
        np.testing.assert_allclose(loaded.predict_on_batch(pictures)[key], value, rtol=1e-4, atol=1e-4)

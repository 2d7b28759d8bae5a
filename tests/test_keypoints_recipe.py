"""The watch over the backbone that the keypoint training moves, and the pictures of its heatmaps."""

import warnings

import ml_dtypes
import numpy as np
import pytest

from multiposenet.recipes.keypoints import draw, watch_features


class Features:
    """A backbone that answers with noise of its own for each picture, and in one level with the same for all."""

    def __init__(self, dead=(), side=4, dtype="float64"):
        self.dead, self.side, self.dtype = dead, side, dtype

    def predict_on_batch(self, pictures):
        rng = np.random.default_rng(0)
        levels = [rng.random((len(pictures), self.side, self.side, 3)).astype(self.dtype) for _ in range(4)]
        return [np.ones_like(level) if i in self.dead else level for i, level in enumerate(levels, start=2)]


def test_features_that_differ_are_well():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = watch_features(Features(), np.zeros((4, 8, 8, 3)))
    assert list(figures) == ["variation_c2", "variation_c3", "variation_c4", "variation_c5"]
    assert all(0.3 < share < 0.7 for share in figures.values())


def test_half_precision_is_no_sign_of_death():
    pictures = np.zeros((4, 8, 8, 3))
    exact, half = (watch_features(Features(side=64, dtype=dtype), pictures) for dtype in ("float32", ml_dtypes.bfloat16))
    assert half == pytest.approx(exact, rel=0.01)


def test_a_dead_level_is_named():
    with pytest.warns(UserWarning, match=r"\(variation_c5 below"):
        figures = watch_features(Features(dead=[5]), np.zeros((4, 8, 8, 3)))
    assert figures["variation_c5"] == 0


def test_one_picture_says_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch_features(Features(dead=[5]), np.zeros((1, 8, 8, 3)))


def test_heatmaps_are_drawn_beside_their_targets():
    class Model:
        def predict_on_batch(self, pictures):
            maps = np.zeros((2, 16, 24, 4), "float32")
            maps[0, 4, 6, 1] = maps[1, :, :, 3] = 1  # the last is the background, which is not drawn
            return {"heatmaps": maps}

    pictures, targets = np.full((2, 64, 96, 3), 90, "uint8"), np.zeros((2, 16, 24, 8), "float32")
    targets[:, 4, 6, 1] = targets[..., 4:] = 1  # masks are not drawn either
    found, wanted = np.split(draw(Model(), pictures, targets), 2, axis=2)
    assert np.array_equal(found[0], wanted[0]) and np.array_equal(found[1], pictures[1])
    assert (wanted[1] != pictures[1]).any()

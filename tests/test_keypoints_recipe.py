"""The watch over the backbone that the keypoint training moves."""

import warnings

import numpy as np
import pytest

from multiposenet.recipes.keypoints import watch_features


class Features:
    """A backbone that answers with noise of its own for each picture, and in one level with the same for all."""

    def __init__(self, dead=()):
        self.dead = dead

    def predict_on_batch(self, pictures):
        rng = np.random.default_rng(0)
        levels = [rng.random((len(pictures), 4, 4, 3)) for _ in range(4)]
        return [np.ones_like(level) if i in self.dead else level for i, level in enumerate(levels, start=2)]


def test_features_that_differ_are_well():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = watch_features(Features(), np.zeros((4, 8, 8, 3)))
    assert list(figures) == ["variation_c2", "variation_c3", "variation_c4", "variation_c5"]
    assert all(0.3 < share < 0.7 for share in figures.values())


def test_a_dead_level_is_named():
    with pytest.warns(UserWarning, match=r"\(variation_c5 below"):
        figures = watch_features(Features(dead=[5]), np.zeros((4, 8, 8, 3)))
    assert figures["variation_c5"] == 0


def test_one_picture_says_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch_features(Features(dead=[5]), np.zeros((1, 8, 8, 3)))

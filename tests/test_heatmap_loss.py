import keras
import numpy as np
import pytest

from multiposenet.losses import HeatmapLoss

RNG = np.random.default_rng(0)
TARGET, PREDICTED = RNG.uniform(0, 1, (2, 3, 5, 4, 6)).astype("float32")
MASK = RNG.integers(0, 2, TARGET.shape).astype("float32")


def loss(mask=MASK, **options):
    return float(HeatmapLoss(**options)(np.concatenate([TARGET, mask], axis=-1), PREDICTED))


def test_is_the_articles_equation():
    """Eq. 4: sum of W (target - prediction)^2 over 2 batch."""
    assert loss() == pytest.approx((MASK * (TARGET - PREDICTED) ** 2).sum() / (2 * len(TARGET)), rel=1e-5)


def test_mean_reduction():
    assert loss(average=True) == pytest.approx((MASK * (TARGET - PREDICTED) ** 2).mean(), rel=1e-5)


def test_masked_cells_do_not_count():
    assert loss(mask=np.zeros_like(MASK)) == 0


def test_peak_weight_raises_joints_but_not_the_extra_channel():
    weight = 1 + 3 * TARGET
    weight[..., -1] = 1
    expected = (MASK * weight * (TARGET - PREDICTED) ** 2).sum() / (2 * len(TARGET))
    assert loss(peak_weight=3) == pytest.approx(expected, rel=1e-5)


def test_configuration_round_trip():
    copy = keras.losses.deserialize(keras.losses.serialize(HeatmapLoss(True, 2.0)))
    assert (copy.average, copy.peak_weight) == (True, 2.0)

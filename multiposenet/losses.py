"""Training losses. Each is one `keras.losses.Loss`; targets carry their masks, so that `fit` stays Keras' own."""

import keras
from keras import ops

from multiposenet.codecs.anchors import IGNORED, OBJECT
from multiposenet.devices import batch_count


@keras.saving.register_keras_serializable("multiposenet")
class HeatmapLoss(keras.losses.Loss):
    """Masked L2 over heatmaps (the article's Eq. 4).

    `y_true` is (batch, h, w, 2 (K + 1)): targets, then the mask W of each map in [0, 1].

    Args:
        average: False gives the article's sum / (2 batch), True the mean over all cells.
        peak_weight: a cell of a joint's map weighs 1 + peak_weight x target, so that the few cells near a joint
            are heard among the many empty ones; 0 is the article's loss.
    """

    def __init__(self, average=False, peak_weight=0.0, name="heatmaps"):
        super().__init__(name=name, reduction="sum_over_batch_size")
        self.average, self.peak_weight = average, peak_weight

    def call(self, y_true, y_pred):
        target, mask = ops.split(ops.cast(y_true, "float32"), 2, axis=-1)
        if self.peak_weight:
            joints = ops.pad(target[..., :-1], ((0, 0), (0, 0), (0, 0), (0, 1)))  # not the extra channel
            mask = mask * (1 + self.peak_weight * joints)
        squared = mask * ops.square(target - ops.cast(y_pred, "float32"))
        if self.average:
            return ops.mean(squared, axis=(1, 2, 3))
        return ops.sum(squared, axis=(1, 2, 3)) / 2

    def get_config(self):
        return {"average": self.average, "peak_weight": self.peak_weight, "name": self.name}


def _split_state(y_true):
    """(batch, A, n + 1) -> targets (batch, A, n), states (batch, A) and the batch's number of object anchors."""
    y_true = ops.cast(y_true, "float32")
    state = y_true[..., -1]
    return y_true[..., :-1], state, batch_count(ops.sum(ops.cast(state == OBJECT, "float32")))


@keras.saving.register_keras_serializable("multiposenet")
class FocalLoss(keras.losses.Loss):
    """Focal loss over the anchors that are not ignored, divided by the batch's object anchors (Lin et al. 2017).

    `y_true` is (batch, A, classes + 1): labels, then the anchor's state (`codecs.anchors.targets`).
    `y_pred` is (batch, A, classes), probabilities.

    Args:
        alpha: weight of objects; background weighs 1 - alpha.
        gamma: how fast the weight of well answered anchors falls.
    """

    def __init__(self, alpha=0.25, gamma=2.0, name="classification", **kwargs):
        super().__init__(name=name, **kwargs)
        self.alpha, self.gamma = alpha, gamma

    def call(self, y_true, y_pred):
        labels, state, objects = _split_state(y_true)
        y_pred = ops.cast(y_pred, "float32")
        is_object = labels > 0.5
        miss = ops.where(is_object, 1 - y_pred, y_pred)
        weight = ops.where(is_object, self.alpha, 1 - self.alpha) * ops.power(miss, self.gamma)
        counts = ops.cast(state != IGNORED, "float32")[..., None]
        return ops.sum(counts * weight * ops.binary_crossentropy(labels, y_pred)) / objects

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "gamma": self.gamma}


@keras.saving.register_keras_serializable("multiposenet")
class SmoothL1Loss(keras.losses.Loss):
    """Smooth L1 over the object anchors, divided by their number in the batch (METHOD section 4).

    `y_true` is (batch, A, 5): deltas, then the anchor's state (`codecs.anchors.targets`). `y_pred` is (batch, A, 4).

    Args:
        sigma: the loss is quadratic below 1 / sigma^2 and linear above.
    """

    def __init__(self, sigma=3.0, name="regression", **kwargs):
        super().__init__(name=name, **kwargs)
        self.sigma = sigma

    def call(self, y_true, y_pred):
        deltas, state, objects = _split_state(y_true)
        error = ops.abs(deltas - ops.cast(y_pred, "float32"))
        knee = 1 / self.sigma**2
        loss = ops.where(error < knee, 0.5 * ops.square(error) / knee, error - 0.5 * knee)
        return ops.sum(loss * ops.cast(state == OBJECT, "float32")[..., None]) / objects

    def get_config(self):
        return {**super().get_config(), "sigma": self.sigma}

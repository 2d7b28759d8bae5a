"""What a person is doing, from the pose alone (METHOD section 6)."""

import keras
import numpy as np
from keras import layers, ops

from multiposenet.codecs.pose_vector import HIGH, LOW, size


@keras.saving.register_keras_serializable("multiposenet")
class PoseVector(layers.Layer):
    """[keypoints (batch, n, K, 3), boxes (batch, n, 4)] -> (batch, n, size), as `codecs/pose_vector.py::encode`.

    Always float32: half precision would round pixel coordinates.

    Args:
        min_score: a joint below it, or at 0, is missing.
        pairs: (from, to) joint numbers.
    """

    def __init__(self, min_score=0.05, pairs=(), **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.min_score, self.pairs = min_score, [list(pair) for pair in pairs]

    def call(self, inputs):
        keypoints, boxes = inputs
        boxes = ops.expand_dims(boxes, -2)
        sides, scores = boxes[..., 2:] - boxes[..., :2], keypoints[..., 2:]
        present = ops.all(sides > 0, axis=-1, keepdims=True) & (scores > 0) & (scores >= self.min_score)
        shares = (keypoints[..., :2] + 0.5 - boxes[..., :2]) / ops.where(sides > 0, sides, 1.0)
        shares = ops.where(present, ops.clip(shares, LOW, HIGH), 0.0)
        flat = _merge_last_two(shares)
        return ops.concatenate([flat, *self._relations(shares, sides, present)], axis=-1) if self.pairs else flat

    def _relations(self, shares, sides, present):
        sides = ops.maximum(sides, 0.0)
        form = sides / ops.sqrt(ops.maximum(ops.prod(sides, axis=-1, keepdims=True), 1e-6))
        start, end = (np.array(joints) for joints in zip(*self.pairs))
        both = ops.cast(ops.take(present, start, axis=-2) & ops.take(present, end, axis=-2), "float32")
        across = (ops.take(shares, end, axis=-2) - ops.take(shares, start, axis=-2)) * form * both
        lengths = ops.sqrt(ops.sum(ops.square(across), axis=-1))
        return form[..., 0, :], _merge_last_two(across / ops.maximum(lengths, 1e-6)[..., None]), lengths

    def compute_output_shape(self, input_shape):
        keypoints = input_shape[0]
        return (*keypoints[:-2], size(keypoints[-2], self.pairs))

    def get_config(self):
        return {**super().get_config(), "min_score": self.min_score, "pairs": self.pairs}


def _merge_last_two(values):
    return ops.reshape(values, (*ops.shape(values)[:-2], values.shape[-2] * values.shape[-1]))


@keras.saving.register_keras_serializable("multiposenet")
class ActivityClassifier(keras.Model):
    """Pose vectors (batch, inputs) -> (batch, classes) float32 probabilities.

    Args:
        inputs: `codecs.pose_vector.size`.
        classes: number of activities.
        units: of the hidden layers; BatchNorm, ReLU and Dropout follow each.
        dropout: share of units dropped.
        batch_norm: False leaves the BatchNorms out.
    """

    def __init__(self, inputs=34, classes=4, units=(3072, 128), dropout=0.3, batch_norm=True, name="activity", **kwargs):
        probabilities = layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")

        vectors = x = keras.Input((inputs,), name="pose_vector")
        for number, width in enumerate(units, start=1):
            x = layers.Dense(width, use_bias=not batch_norm, name=f"dense_{number}")(x)  # BatchNorm brings the bias
            if batch_norm:
                x = layers.BatchNormalization(name=f"norm_{number}")(x)
            x = layers.ReLU(name=f"relu_{number}")(x)
            x = layers.Dropout(dropout, name=f"dropout_{number}")(x)
        super().__init__(vectors, probabilities(x), name=name, **kwargs)

        self.arguments = dict(inputs=inputs, classes=classes, units=tuple(units), dropout=dropout, batch_norm=batch_norm)

    def get_config(self):
        return {**self.arguments, "name": self.name}

"""Each look at the picture together with one at its mirror image (`model.mirror_view`): what both say is averaged.

A network answers a little differently to both; the mean is surer, of scores above all (docs/experiments.md). It costs as much
as the first look. Both go through backbone and heads as one batch.
"""

import keras
from keras import layers, ops

from multiposenet.codecs.anchors import ANCHORS_PER_CELL, STRIDES
from multiposenet.geometry import MULTIPLE

# What becomes of an anchor's numbers in a mirror, its left side being the right one there: their order and signs.
ANCHOR_VALUES = {"regression": ((2, 1, 0, 3), (-1.0, 1.0, -1.0, 1.0)), "classification": ((0,), (1.0,))}


@keras.saving.register_keras_serializable("multiposenet")
class WithMirror(layers.Layer):
    """(batch, h, w, 3) -> (2 batch, h, w, 3): the pictures, then their mirror images."""

    def call(self, image):
        return ops.concatenate([image, ops.flip(image, axis=2)], axis=0)

    def compute_output_shape(self, input_shape):
        return None if input_shape[0] is None else 2 * input_shape[0], *input_shape[1:]


@keras.saving.register_keras_serializable("multiposenet")
class MeanOfMaps(layers.Layer):
    """Maps of `WithMirror` (2 batch, h, w, maps) -> (batch, h, w, maps), as the pictures are.

    Args:
        mirror_order: of the maps that have a left and a right; those behind them have not.
    """

    def __init__(self, mirror_order, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.mirror_order = [int(i) for i in mirror_order]

    def call(self, maps):
        plain, mirrored = _halves(maps)
        order = [*self.mirror_order, *range(len(self.mirror_order), maps.shape[-1])]
        return (plain + ops.take(ops.flip(mirrored, axis=2), order, axis=-1)) / 2

    def compute_output_shape(self, input_shape):
        return _half_batch(input_shape)

    def get_config(self):
        return {**super().get_config(), "mirror_order": self.mirror_order}


@keras.saving.register_keras_serializable("multiposenet")
class MeanOfAnchors(layers.Layer):
    """[pictures (batch, h, w, 3), of which only the size counts, the detector's values of `WithMirror` (2 batch, A, n)] -> (batch, A, n).

    Anchors of strides above 32 keep what they had: their cells may reach beyond the picture, and then no anchor is another's mirror image.

    Args:
        kind: a key of `ANCHOR_VALUES`.
    """

    def __init__(self, kind, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.kind = kind

    def call(self, inputs):
        image, values = inputs
        height, width = ops.shape(image)[1:3]
        plain, mirrored = _halves(values)
        order, signs = ANCHOR_VALUES[self.kind]
        found, start = [], 0
        for stride in (stride for stride in STRIDES if stride <= MULTIPLE):
            rows, columns = height // stride, width // stride
            end = start + rows * columns * ANCHORS_PER_CELL
            cells = ops.reshape(mirrored[:, start:end], (-1, rows, columns, ANCHORS_PER_CELL * len(order)))
            level = ops.reshape(ops.flip(cells, axis=2), (-1, end - start, len(order)))
            found.append((plain[:, start:end] + ops.take(level, order, axis=-1) * ops.array(signs)) / 2)
            start = end
        return ops.concatenate([*found, plain[:, start:]], axis=1)

    def compute_output_shape(self, input_shapes):
        return _half_batch(input_shapes[1])

    def get_config(self):
        return {**super().get_config(), "kind": self.kind}


def _halves(values):
    """What was said of the pictures, and of their mirror images."""
    values = ops.reshape(ops.cast(values, "float32"), (2, -1, *ops.shape(values)[1:]))
    return values[0], values[1]


def _half_batch(shape):
    return shape[0] and shape[0] // 2, *shape[1:]

"""A second look at the picture at half its size, for large people (`model.half_view`).

They fill more than a small network sees at once; at half size they do not. It costs a quarter of the first look. Which
look counts is up to a person's size: the mean everywhere would blur people of middle size (docs/experiments.md).
"""

import keras
from keras import layers, ops

from multiposenet.codecs.heatmap import STRIDE
from multiposenet.geometry import MULTIPLE, PADDING
from multiposenet.models.keypoint_subnet import BilinearUpsampling


@keras.saving.register_keras_serializable("multiposenet")
class HalfPicture(layers.Layer):
    """(batch, h, w, 3) RGB 0..255 -> float32 of half the size by averaging, grey below and to the right up to multiples of 32."""

    def __init__(self, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, image):
        half = ops.average_pool(ops.cast(image, "float32"), 2, strides=2)
        height, width = ops.shape(half)[1:3]
        return ops.pad(half, [[0, 0], [0, _missing(height)], [0, _missing(width)], [0, 0]], constant_values=PADDING)

    def compute_output_shape(self, input_shape):
        batch, *sides, channels = input_shape
        return batch, *(side and -(-(side // 2) // MULTIPLE) * MULTIPLE for side in sides), channels


@keras.saving.register_keras_serializable("multiposenet")
class BoxesOfViews(layers.Layer):
    """[picture (batch, h, w, 3), of which only the size counts, its boxes (batch, A, 4) and scores (batch, A, 1), boxes
    (batch, B, 4) and scores (batch, B, 1) of `HalfPicture`] -> boxes (batch, A + B, 4) in pixels of the picture, scores.

    Boxes larger than `size_px` count in the half view alone, others in the whole picture alone; the rest score 0.

    Args:
        size_px: root of a box's area.
    """

    def __init__(self, size_px, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.size_px = size_px

    def call(self, inputs):
        image, boxes, scores, half_boxes, half_scores = inputs
        height, width = ops.shape(image)[1:3]
        edge = ops.stack([ops.cast(side, "float32") for side in (width, height, width, height)])
        half_boxes = ops.minimum(2 * half_boxes, edge)
        scores = ops.where(self._large(boxes), 0.0, scores)
        half_scores = ops.where(self._large(half_boxes), half_scores, 0.0)
        return ops.concatenate([boxes, half_boxes], axis=1), ops.concatenate([scores, half_scores], axis=1)

    def _large(self, boxes):
        sides = boxes[..., 2:] - boxes[..., :2]
        return sides[..., :1] * sides[..., 1:] > self.size_px ** 2

    def compute_output_shape(self, input_shapes):
        batch, *found = input_shapes[1][0], input_shapes[1][1], input_shapes[3][1]
        total = None if None in found else sum(found)
        return (batch, total, 4), (batch, total, 1)

    def get_config(self):
        return {**super().get_config(), "size_px": self.size_px}


@keras.saving.register_keras_serializable("multiposenet")
class BlendViews(layers.Layer):
    """[heatmaps (batch, h, w, maps), those of `HalfPicture`, boxes (batch, n, 4), scores (batch, n)] -> heatmaps.

    In a box of area A the half view's share is A / (A + size_px^2); where boxes overlap it is their mean, weighted by
    their scores, and outside of all boxes 0.

    Args:
        size_px: of a person (root of the box's area) for whom both looks count alike.
        margin: share of its sides by which a box is widened.
    """

    def __init__(self, size_px, margin, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})  # half precision would move the boxes
        self.size_px, self.margin = size_px, margin
        self.upsample = BilinearUpsampling(2, dtype="float32")

    def build(self, input_shapes):
        self.upsample.build(input_shapes[1])
        self.built = True

    def call(self, inputs):
        whole, half, boxes, scores = inputs
        rows, columns = ops.shape(whole)[1:3]
        share = self._share(boxes, scores, rows, columns)[..., None]
        return whole + share * (self.upsample(half)[:, :rows, :columns] - whole)

    def _share(self, boxes, scores, rows, columns):
        """(batch, rows, columns)"""
        sides = boxes[..., 2:] - boxes[..., :2]
        area = sides[..., 0] * sides[..., 1]
        low, high = boxes[..., :2] - self.margin * sides, boxes[..., 2:] + self.margin * sides
        across, down = (_within(low[..., i], high[..., i], cells) for i, cells in ((0, columns), (1, rows)))
        down = ops.transpose(down, (0, 2, 1))
        total = ops.matmul(down * scores[:, None], across)
        halves = ops.matmul(down * (scores * area / (area + self.size_px ** 2))[:, None], across)
        return halves / ops.maximum(total, 1e-6)

    def compute_output_shape(self, input_shapes):
        return input_shapes[0]

    def get_config(self):
        return {**super().get_config(), "size_px": self.size_px, "margin": self.margin}


def _missing(side):
    """To the next multiple; not `-side % MULTIPLE`, for engines disagree on remainders of negative numbers."""
    return (MULTIPLE - side % MULTIPLE) % MULTIPLE


def _within(low, high, cells):
    """(batch, n) ends -> (batch, n, cells): 1 for cells whose centre lies between them."""
    centers = ops.arange(cells, dtype="float32") * STRIDE + (STRIDE - 1) / 2
    return ops.cast((centers > low[..., None]) & (centers < high[..., None]), "float32")

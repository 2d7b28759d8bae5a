"""A second look at the picture at half its size (`model.half_view`).

Large people fill more than a small network sees at once; at half size they do not. It costs a quarter of the first look,
and the mean of both looks' heatmaps is better than either (MODEL_CARD.md).
"""

import keras
from keras import layers, ops

from multiposenet.models.keypoint_subnet import BilinearUpsampling

MULTIPLE = 32  # what a network's sides must be
GREY = 128  # the letterbox's


@keras.saving.register_keras_serializable("multiposenet")
class HalfPicture(layers.Layer):
    """(batch, h, w, 3) RGB 0..255 -> float32 of half the size by averaging, grey below and to the right up to multiples of 32."""

    def call(self, image):
        half = ops.average_pool(ops.cast(image, "float32"), 2, strides=2)
        height, width = ops.shape(half)[1:3]
        return ops.pad(half, [[0, 0], [0, _missing(height)], [0, _missing(width)], [0, 0]], constant_values=GREY)

    def compute_output_shape(self, input_shape):
        batch, *sides, channels = input_shape
        return batch, *(side and -(-(side // 2) // MULTIPLE) * MULTIPLE for side in sides), channels


@keras.saving.register_keras_serializable("multiposenet")
class MeanOfViews(layers.Layer):
    """[heatmaps (batch, h, w, maps), those of `HalfPicture`] -> their mean, in the first one's cells."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.upsample = BilinearUpsampling(2, dtype="float32")

    def call(self, views):
        whole, half = views
        rows, columns = ops.shape(whole)[1:3]
        return (whole + self.upsample(half)[:, :rows, :columns]) / 2

    def compute_output_shape(self, input_shapes):
        return input_shapes[0]


def _missing(side):
    """To the next multiple; not `-side % MULTIPLE`, for engines disagree on remainders of negative numbers."""
    return (MULTIPLE - side % MULTIPLE) % MULTIPLE

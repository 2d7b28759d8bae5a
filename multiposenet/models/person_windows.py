"""The windows of the picture that the refiner reads, all of one size whatever a person's (docs/refiner.md)."""

import keras
from keras import layers, ops

from multiposenet.codecs import person_window
from multiposenet.geometry import PADDING

LEVELS = 4  # of the picture, each half as fine as the one before: windows of large people come from a coarse one


@keras.saving.register_keras_serializable("multiposenet")
class PersonWindows(layers.Layer):
    """[picture (batch, h, w, 3), boxes (batch, n, 4) pixels] -> windows (batch, n, *person_window.pixels(grid), 3).

    Bilinear, of the level of the picture that is about as fine as the window; grey beyond the picture.

    Args:
        grid: rows, columns.
        margin: share of its sides by which a box is widened.
    """

    def __init__(self, grid, margin, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.grid, self.margin = tuple(grid), margin

    def call(self, inputs):
        picture, boxes = inputs
        batch = ops.shape(picture)[0]
        pixels, sizes, starts = _levels(picture)
        _, height = person_window.corner_and_height(boxes, self.grid, self.margin)
        step = ops.maximum(height, 1.0) / person_window.pixels(self.grid)[0]  # pixels of the picture per pixel of the window
        level = ops.clip(ops.cast(ops.floor(ops.log2(step)), "int32"), 0, LEVELS - 1)  # (batch, n, 1)
        scale = 1 / ops.power(2.0, ops.cast(level, "float32"))
        high, wide, start = (ops.take(values, level, axis=0) for values in (sizes[0], sizes[1], starts))
        start = start + ops.arange(batch)[:, None, None] * (ops.shape(pixels)[0] // batch)
        across, down = (places * scale - 0.5
                        for places in person_window.lines(boxes, self.grid, self.margin, per_cell=person_window.STRIDE))
        (left, right, to_right, in_columns), (upper, lower, to_lower, in_rows) = _taps(across, wide), _taps(down, high)

        def row(y):
            first = (start + y * wide)[..., None]
            one, other = (ops.take(pixels, first + x[:, :, None], axis=0) for x in (left, right))
            return one + to_right[:, :, None, :, None] * (other - one)

        above, below = row(upper), row(lower)
        seen = above + to_lower[..., None, None] * (below - above)
        inside = ops.logical_and(in_rows[..., None], in_columns[:, :, None])[..., None]
        return ops.where(inside, seen, ops.cast(PADDING, seen.dtype))

    def compute_output_shape(self, input_shapes):
        return *input_shapes[1][:2], *person_window.pixels(self.grid), 3

    def get_config(self):
        return {**super().get_config(), "grid": self.grid, "margin": self.margin}


def _levels(picture):
    """Pixels (batch all, 3) of the picture and its halves, picture by picture; [heights, widths] and starts of the levels."""
    batch, levels = ops.shape(picture)[0], [ops.cast(picture, "float32")]
    for _ in range(LEVELS - 1):
        levels.append(ops.average_pool(levels[-1], 2, 2))
    sizes = ops.stack([[ops.shape(level)[axis] for level in levels] for axis in (1, 2)])
    counts = sizes[0] * sizes[1]
    flat = ops.concatenate([ops.reshape(level, (batch, -1, 3)) for level in levels], axis=1)
    return ops.reshape(flat, (-1, 3)), sizes, ops.cumsum(counts) - counts


def _taps(places, size):
    """The two samples next to each place, the second one's share, and whether it lies within the picture."""
    low = ops.floor(places)
    first = ops.cast(low, "int32")
    return (ops.clip(first, 0, size - 1), ops.clip(first + 1, 0, size - 1), places - low,
            ops.logical_and(places > -0.5, places < ops.cast(size, "float32") - 0.5))

"""From heatmaps and boxes to poses, in the graph (METHOD section 5). `codecs/peaks.py` is the same in plain NumPy."""

import keras
from keras import layers, ops

from multiposenet.codecs.heatmap import STRIDE
from multiposenet.codecs.person_grid import INPUT_SIGMA, WINDOW, blur_matrix, window_matrix


class _Float32Layer(layers.Layer):
    """No weights, float32 under every dtype policy, constructor arguments kept for `get_config`."""

    def __init__(self, name, **arguments):
        super().__init__(name=name, dtype="float32")
        self.arguments = arguments

    def get_config(self):
        return {**self.arguments, "name": self.name}


@keras.saving.register_keras_serializable("multiposenet")
class FindPeaks(_Float32Layer):
    """Heatmaps (batch, h, w, K or more) -> peaks (batch, K, max_peaks, 3): x, y in pixels and height, highest first.

    A peak is above `threshold` and its eight neighbours. Places nobody fills are zeros.

    Args:
        stride: pixels per cell.
        max_peaks: kept per joint.
        threshold: a peak must be higher.
        joints: K, the leading maps to look at.
    """

    def __init__(self, stride, max_peaks, threshold, joints, name=None):
        super().__init__(name, stride=stride, max_peaks=max_peaks, threshold=threshold, joints=joints)
        self.stride, self.max_peaks, self.threshold, self.joints = stride, max_peaks, threshold, joints

    def call(self, heatmaps):
        maps = ops.transpose(heatmaps[..., :self.joints], (0, 3, 1, 2))
        batch, _, rows, columns = ops.shape(maps)
        flat = ops.reshape(maps, (batch, self.joints, rows * columns))
        strength = ops.reshape(ops.where(self._is_peak(maps), maps, 0.0), (batch, self.joints, rows * columns))
        spare = ops.zeros((batch, self.joints, self.max_peaks))  # a small picture may have fewer cells than places
        heights, cells = ops.top_k(ops.concatenate([strength, spare], axis=-1), self.max_peaks)
        cells = ops.minimum(cells, rows * columns - 1)
        row, column = cells // columns, cells % columns
        x = vertex(flat, cells, column, columns, step=1)
        y = vertex(flat, cells, row, rows, step=columns)
        points = ops.stack([x, y], axis=-1) * self.stride + (self.stride - 1) / 2
        found = ops.expand_dims(heights > 0, -1)
        return ops.where(found, ops.concatenate([points, ops.expand_dims(heights, -1)], axis=-1), 0.0)

    def _is_peak(self, maps):
        """Of equal neighbours the first in reading order wins."""
        rows, columns = ops.shape(maps)[2:]
        padded = ops.pad(maps, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-float("inf"))
        left, right = padded[..., :columns], padded[..., 2:]
        across = ops.maximum(ops.maximum(left, right), padded[..., 1:columns + 1])
        before = ops.maximum(across[:, :, :rows], left[:, :, 1:rows + 1])
        after = ops.maximum(across[:, :, 2:], right[:, :, 1:rows + 1])
        return (maps > before) & (maps >= after) & (maps > max(self.threshold, 0))

    def compute_output_shape(self, input_shape):
        return input_shape[0], self.joints, self.max_peaks, 3


@keras.saving.register_keras_serializable("multiposenet")
class PersonGrids(_Float32Layer):
    """[boxes (batch, n, 4), peaks (batch, K, m, 3)] -> the PRN's input (batch, n, rows, columns, K).

    The same grids as `codecs.person_grid.encode` makes for training.

    Args:
        grid: rows, columns.
        margin: share of its sides by which a box is widened.
    """

    def __init__(self, grid, margin, name=None):
        super().__init__(name, grid=tuple(grid), margin=margin)
        self.grid, self.margin = tuple(grid), margin
        self.blurs = [blur_matrix(size, INPUT_SIGMA) for size in self.grid]

    def call(self, inputs):
        boxes, peaks = inputs
        row, column, inside = locate(boxes, peaks, self.grid, self.margin)
        row = ops.where(inside, row, -1)[..., None]  # of no row; ONNX's one-hot would take it for the last
        in_rows = ops.cast(row == ops.arange(self.grid[0], dtype="int32"), "float32") * _prominence(peaks, inside)[..., None]
        in_columns = ops.one_hot(column, self.grid[1], dtype="float32")
        occupied = ops.minimum(ops.matmul(ops.swapaxes(in_rows, -1, -2), in_columns), 1.0)
        return ops.einsum("ih,bnkhj->bnijk", self.blurs[0], ops.matmul(occupied, self.blurs[1]))

    def compute_output_shape(self, input_shape):
        boxes, peaks = input_shape
        return *boxes[:2], *self.grid, peaks[1]


@keras.saving.register_keras_serializable("multiposenet")
class AssignJoints(_Float32Layer):
    """One pose for each box: the best peak of each joint in it, missing joints are the PRN's own guess.

    A peak may go to several boxes: among found boxes some are doubles or empty, and with one peak for one box they
    rob the right ones (`evaluate.py association`: keypoint AP halves).

    [boxes (batch, n, 4), scores (batch, n), peaks (batch, K, m, 3), marks (batch, n, rows, columns, K): the PRN's
    output, heatmaps (batch, h, w, K or more)] -> keypoints (batch, n, K, 3): x, y in pixels and score = height x
    PRN mass in a window, at most 1. A guess counts as no higher than the peak threshold, so its score is below it.
    Boxes with score 0 give zeros.

    Args:
        grid: rows, columns.
        margin: share of its sides by which a box is widened.
        window: cells, odd; side of the square in which the PRN's output is summed.
        threshold: the peaks'.
        stride: pixels per heatmap cell.
    """

    def __init__(self, grid, margin, window=WINDOW, threshold=0.05, stride=STRIDE, name=None):
        super().__init__(name, grid=tuple(grid), margin=margin, window=window, threshold=threshold, stride=stride)
        self.grid, self.margin, self.threshold, self.stride = tuple(grid), margin, threshold, stride
        self.windows = [window_matrix(size, window) for size in self.grid]

    def call(self, inputs):
        boxes, scores, peaks, marks, heatmaps = inputs
        real = ops.expand_dims(scores > 0, -1)
        masses = ops.einsum("ih,bnhwk,wj->bnkij", self.windows[0], marks, self.windows[1])
        masses = _merge_last_two(masses)
        row, column, inside = locate(boxes, peaks, self.grid, self.margin)
        values = peaks[:, None, :, :, 2] * ops.take_along_axis(masses, row * self.grid[1] + column, axis=-1)
        values = ops.where(inside & ops.expand_dims(real, -1) & (values > 0), values, 0.0)
        owned = best_each(values)
        points = ops.einsum("bnkm,bkmc->bnkc", owned, peaks[..., :2])
        assigned = ops.concatenate([points, ops.sum(owned * values, axis=-1, keepdims=True)], axis=-1)
        filled = self._fill(boxes, marks, masses, heatmaps)
        poses = ops.where(ops.any(owned > 0, axis=-1, keepdims=True), assigned, filled)
        poses = ops.concatenate([poses[..., :2], ops.minimum(poses[..., 2:], 1.0)], axis=-1)
        return ops.where(ops.expand_dims(real, -1), poses, 0.0)

    def _fill(self, boxes, marks, masses, heatmaps):
        """(batch, n, K, 3): centre of the PRN's best cell for each joint, capped height x PRN mass."""
        flat = _merge_last_two(ops.transpose(marks, (0, 1, 4, 2, 3)))
        best = _first_best(flat)
        mass = ops.take_along_axis(masses, best, axis=-1)
        cells = ops.concatenate([best % self.grid[1], best // self.grid[1]], axis=-1)
        share = (ops.cast(cells, "float32") + 0.5) / ops.array([self.grid[1], self.grid[0]], "float32")
        corner, sides = boxes[:, :, None, :2], boxes[:, :, None, 2:] - boxes[:, :, None, :2]
        points = corner + share * sides - 0.5
        height = ops.clip(self._heights(points, heatmaps), 0.0, self.threshold)
        return ops.concatenate([points, ops.expand_dims(height, -1) * mass], axis=-1)

    def _heights(self, points, heatmaps):
        """Heatmap values (batch, n, K) at the points (batch, n, K, 2) of each joint."""
        batch, rows, columns, maps = ops.shape(heatmaps)
        people, joints = ops.shape(points)[1:3]
        last = ops.cast(ops.stack([columns - 1, rows - 1]), "float32")
        cells = ops.round((points - (self.stride - 1) / 2) / self.stride)
        cells = ops.cast(ops.minimum(ops.maximum(cells, 0.0), last), "int32")
        places = (cells[..., 1] * columns + cells[..., 0]) * maps + ops.arange(joints, dtype="int32")
        heights = ops.take_along_axis(ops.reshape(heatmaps, (batch, -1)), ops.reshape(places, (batch, -1)), axis=-1)
        return ops.reshape(heights, (batch, people, joints))

    def compute_output_shape(self, input_shape):
        boxes, _, peaks = input_shape[:3]
        return *boxes[:2], peaks[1], 3


def locate(boxes, peaks, grid, margin):
    """`codecs.person_grid.locate` in the graph, for peaks that exist.

    Args:
        boxes: (batch, n, 4) pixels.
        peaks: (batch, K, m, 3) pixels and height.

    Returns:
        rows, columns, inside: (batch, n, K, m).
    """
    boxes, edges = boxes[:, :, None, None], peaks[:, None, :, :, :2] + 0.5
    corner, sides = boxes[..., :2], boxes[..., 2:] - boxes[..., :2]
    low, high = corner - margin * sides, boxes[..., 2:] + margin * sides
    inside = ops.all((edges >= low) & (edges <= high) & (high > low), axis=-1) & (peaks[:, None, :, :, 2] > 0)
    size = ops.array([grid[1], grid[0]], "float32")
    cells = ops.floor((edges - corner) / ops.maximum(sides, 1e-6) * size)
    cells = ops.cast(ops.minimum(ops.maximum(cells, 0.0), size - 1), "int32")
    return cells[..., 1], cells[..., 0], inside


def _prominence(peaks, inside):
    """`codecs.person_grid.prominence` in the graph; arguments and result as `locate` has them."""
    heights = ops.where(inside, peaks[:, None, :, :, 2], 0.0)
    return ops.square(heights / ops.maximum(ops.max(heights, axis=-1, keepdims=True), 1e-6))


def best_each(values):
    """Give every person the best peak of each joint, the first of equals.

    Args:
        values: (batch, n, K, m), no pair at or below 0.

    Returns:
        (batch, n, K, m) 1 for pairs, else 0.
    """
    best = ops.one_hot(_first_best(values)[..., 0], ops.shape(values)[3], dtype="float32")
    return best * ops.cast(values > 0, "float32")


def _first_best(values):
    """(..., m) -> (..., 1) place of the largest value, the first of equals.

    `ops.argmax` on TensorFlow looks at the sign bit, for which ONNX has no operation.
    """
    return ops.top_k(values, 1)[1]


def vertex(flat, cells, place, size, step):
    """Vertex, in cells along one axis, of the parabola through a peak and its neighbours `step` apart in `flat`.

    At the border the one neighbour stands for both, so that the peak stays in the middle of its cell.
    """
    before = ops.where(place > 0, cells - step, cells + step)
    after = ops.where(place < size - 1, cells + step, cells - step)
    last = ops.shape(flat)[-1] - 1
    before, center, after = (ops.take_along_axis(flat, ops.clip(at, 0, last), axis=-1) for at in (before, cells, after))
    bend = 2 * center - before - after
    shift = ops.where(bend > 0, (after - before) / (2 * ops.where(bend > 0, bend, 1.0)), 0.0)
    return ops.cast(place, "float32") + ops.clip(shift, -0.5, 0.5)


def _merge_last_two(values):
    return ops.reshape(values, (*ops.shape(values)[:-2], -1))

"""The Pose Residual Network's grids: joints seen from one person's box (METHOD section 5).

A box is stretched to a grid of cells. Joints a little outside it (within the margin) clamp to the border cells.
The blurs are constant matrices, so that the graph in `models/association.py` computes exactly the same.
"""

import numpy as np

from multiposenet.geometry import widen

ENCODER = "person_grid-1"  # stored with PRN weights; change it whenever grids of the same joints change
INPUT_SIGMA = 1.0  # cells; METHOD section 5
TARGET_SIGMA = 2.0
# Cells, odd: a peak is worth the PRN's output in a square of this side around it (METHOD section 5). With true boxes and
# joints 9 is a little better, with found ones 15 is (`evaluate.py association` has a row of each).
WINDOW = 15
TRUNCATE = 4.0  # of the Gaussian, in sigmas


def blur_matrix(size, sigma):
    """(size, size) float32 B: B @ v blurs v with a normalised Gaussian; beyond the border it sees zeros."""
    blur, center = np.zeros((size, size), "float32"), np.arange(size)[:, None]
    near, weight = _spread(center, size, sigma, axis=1)
    np.add.at(blur, (center, near), weight)
    return blur


def window_matrix(size, window):
    """(size, size) float32 W: W @ v sums v over `window` (odd) cells around each, as far as there are cells."""
    offset = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    return (offset <= window // 2).astype("float32")


def locate(boxes_xyxy, points, grid, margin):
    """Cells of points in boxes.

    Args:
        boxes_xyxy: (n, 4) pixels.
        points: (n, ..., 2 or more: x, y first) pixels.
        grid: rows, columns.
        margin: share of its sides by which a box is widened.

    Returns:
        rows, columns (n, ...) int and inside (n, ...) bool: whether the point is in the widened box.
        Points outside the box itself are given border cells. Empty boxes hold nothing.
    """
    boxes, points = np.asarray(boxes_xyxy, "float32"), np.asarray(points, "float32")
    boxes = boxes.reshape(len(boxes), *(1,) * (points.ndim - 2), 4)
    edges = points[..., :2] + np.float32(0.5)  # from pixel centres to the boxes' edge coordinates
    low, high = np.split(widen(boxes, np.float32(margin)), 2, axis=-1)
    inside = np.all((edges >= low) & (edges <= high) & (high > low), axis=-1)
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], np.float32(1e-6))
    cells = np.floor((edges - boxes[..., :2]) / sides * np.float32([grid[1], grid[0]]))
    cells = np.clip(cells, 0, [grid[1] - 1, grid[0] - 1]).astype("int32")
    return cells[..., 1], cells[..., 0], inside


def encode(boxes_xyxy, keypoints, grid, margin, sigma):
    """Grids of many people at once. In a grid a joint's candidates weigh by their `prominence`.

    Args:
        boxes_xyxy: (n, 4) pixels, one person each.
        keypoints: (n, candidates, K, 3) x, y in pixels and a height; only those above 0 count.
        grid: rows, columns.
        margin: share of its sides by which a box is widened.
        sigma: of the blur, cells.

    Returns:
        (n, rows, columns, K) float32. Candidates that share a cell weigh 1 together at most.
    """
    keypoints = np.asarray(keypoints, "float32")
    rows, columns, inside = locate(boxes_xyxy, keypoints, grid, margin)
    weights = prominence(np.where(inside, keypoints[..., 2], 0))
    seen = np.nonzero(weights)
    shape = (len(keypoints), *grid, keypoints.shape[2])
    cells, place = np.unique(np.ravel_multi_index((seen[0], rows[seen], columns[seen], seen[2]), shape), return_inverse=True)
    occupied = np.minimum(np.bincount(place, weights[seen], len(cells)), 1).astype("float32")[:, None, None]
    person, row, column, joint = (index[:, None, None] for index in np.unravel_index(cells, shape))
    # The two matrices' product, only where it is not zero: three times faster.
    near_rows, row_weights = _spread(row, grid[0], sigma, axis=1)
    near_columns, column_weights = _spread(column, grid[1], sigma, axis=2)
    near = np.ravel_multi_index((person, near_rows, near_columns, joint), shape)
    grids = np.zeros(shape, "float32")
    np.add.at(grids.reshape(-1), near.ravel(), (occupied * row_weights * column_weights).ravel())
    return grids


def prominence(heights):
    """(n, candidates, K) heights of the candidates in a box, 0 for none -> (height / the joint's highest in the box)^2.

    Else the many low peaks of noise count as much in the PRN's eyes as the high ones (`evaluate.py association` has a
    row of that). Labelled joints are all of one height, so training is not touched.
    """
    return np.square(np.divide(heights, heights.max(axis=1, keepdims=True, initial=0), where=heights > 0,
                               out=np.zeros(heights.shape, "float32")))


def decode(boxes_xyxy, rows, columns, grid):
    """Cell centres in the picture: boxes (n, 4), rows and columns (n, ...) -> (n, ..., 2) x, y pixels."""
    boxes = np.asarray(boxes_xyxy, "float32")
    boxes = boxes.reshape(len(boxes), *(1,) * (np.ndim(rows) - 1), 4)
    share = (np.stack([columns, rows], axis=-1) + np.float32(0.5)) / np.float32([grid[1], grid[0]])
    return boxes[..., :2] + share * (boxes[..., 2:] - boxes[..., :2]) - np.float32(0.5)


def _spread(cells, size, sigma, axis):
    """A normalised Gaussian around each cell, along an `axis` of length 1: cells and weights, 0 beyond the border."""
    reach = int(TRUNCATE * sigma + 0.5)
    offsets = np.expand_dims(np.arange(-reach, reach + 1), [i for i in range(cells.ndim) if i != axis])
    taps = np.exp(-0.5 * (offsets / sigma) ** 2)
    near = cells + offsets
    weights = np.where((near >= 0) & (near < size), taps / taps.sum(), 0).astype("float32")
    return np.clip(near, 0, size - 1), weights

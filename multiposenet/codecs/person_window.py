"""The window through which the refiner looks at one person: the box and a margin, in the grid's shape (docs/refiner.md).

Its pixels are square, so that nobody is stretched; each cell of the grid has `STRIDE` of them a side.
"""

import numpy as np

STRIDE = 4  # pixels of the window per cell


def pixels(grid):
    """Rows and columns of the window's picture."""
    return STRIDE * grid[0], STRIDE * grid[1]


def corner_and_height(boxes_xyxy, grid, margin):
    """The windows of boxes (..., 4): upper left corners (..., 2) and heights (..., 1) in the picture; any array library.

    Args:
        grid: rows, columns.
        margin: share of its sides by which a box is widened before the window is drawn around it.
    """
    sides = (1 + 2 * margin) * (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2])
    upright, lying = sides[..., 1:], sides[..., :1] * (grid[0] / grid[1])
    height = (upright + lying + abs(upright - lying)) / 2  # the larger
    middle = (boxes_xyxy[..., :2] + boxes_xyxy[..., 2:]) / 2
    return middle - height * np.array([grid[1] / grid[0] / 2, 0.5], "float32"), height


def lines(boxes_xyxy, grid, margin, per_cell=1):
    """Where the windows' columns and rows are in the picture, in continuous coordinates (its first pixel is 0 to 1); any array library.

    Args:
        boxes_xyxy: (..., 4) pixels.
        grid, margin: as above.
        per_cell: lines for each cell: 1, or `STRIDE` for those of the window's pixels.

    Returns:
        x (..., columns * per_cell) of the columns' centres, y (..., rows * per_cell) of the rows'.
    """
    corner, height = corner_and_height(boxes_xyxy, grid, margin)
    step = height / (grid[0] * per_cell)
    return tuple(corner[..., i:i + 1] + step * (np.arange(grid[1 - i] * per_cell, dtype="float32") + 0.5) for i in (0, 1))


def encode(joints, grid):
    """Cells of joints in the window's picture.

    Args:
        joints: (..., K, 3) x, y in pixels of the window, weight.
        grid: rows, columns.

    Returns:
        (..., K, 3) float32: column and row in cells, 0 being the centre of the first, and the weight, 0 for joints that
        are not in the window.
    """
    cells = (np.asarray(joints[..., :2], "float32") + 0.5) / STRIDE - 0.5
    inside = ((cells > -0.5) & (cells < np.array(grid[::-1]) - 0.5)).all(axis=-1)
    return np.concatenate([cells, (inside * joints[..., 2])[..., None]], axis=-1).astype("float32")


def encode_edges(box_xyxy, sure, grid):
    """Cells of a box's edges in the window's picture, as `encode` gives those of joints.

    Args:
        box_xyxy: (4,) pixels of the window.
        sure: (4,) bool, which edges are known.
        grid: rows, columns.

    Returns:
        (4, 3) float32 of the left, upper, right and lower edge: its column or row in cells, the same again, and 1 for edges
        that are known and in the window, else 0.
    """
    cells = np.asarray(box_xyxy, "float32") / STRIDE - 0.5
    inside = (cells > -0.5) & (cells < np.tile(grid[::-1], 2) - 0.5) & sure
    return np.stack([cells, cells, inside], axis=-1).astype("float32")


def decode(boxes_xyxy, cells, grid, margin):
    """Places in the picture: boxes (..., 4), cells (..., K, 2) column and row -> (..., K, 2) x, y pixels; any array library."""
    corner, height = corner_and_height(boxes_xyxy, grid, margin)
    return corner[..., None, :] + (cells + 0.5) * (height[..., None] / grid[0]) - 0.5

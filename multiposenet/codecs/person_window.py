"""The window through which the refiner looks at one person: the box and a margin, cut into cells (docs/refiner.md)."""

import numpy as np


def corner_and_sides(boxes_xyxy, margin):
    """Boxes (..., 4) widened by the share `margin` of their sides -> corner and sides (..., 2) of each; any array library."""
    sides = boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]
    return boxes_xyxy[..., :2] - margin * sides, (1 + 2 * margin) * sides


def encode(boxes_xyxy, keypoints, grid, margin):
    """Where joints lie in their person's window.

    Args:
        boxes_xyxy: (n, 4) pixels, not empty.
        keypoints: (n, K, 3) x, y, v in pixels.
        grid: rows, columns.
        margin: share of its sides by which a box is widened.

    Returns:
        (n, K, 3) float32: column and row in cells, 0 being the centre of the first, and 1 for joints that are labelled
        and in the window, else 0.
    """
    corner, sides = corner_and_sides(np.asarray(boxes_xyxy, "float32"), margin)
    size = np.array([grid[1], grid[0]], "float32")
    cells = (keypoints[..., :2] + 0.5 - corner[:, None]) / sides[:, None] * size - 0.5
    inside = ((cells > -0.5) & (cells < size - 0.5)).all(axis=-1) & (keypoints[..., 2] > 0)
    return np.concatenate([cells, inside[..., None]], axis=-1).astype("float32")


def decode(boxes_xyxy, cells, grid, margin):
    """Places in the picture: boxes (..., 4), cells (..., K, 2) column and row -> (..., K, 2) x, y pixels; any array library."""
    corner, sides = corner_and_sides(boxes_xyxy, margin)
    return corner[..., None, :] + (cells + 0.5) / np.array([grid[1], grid[0]], "float32") * sides[..., None, :] - 0.5

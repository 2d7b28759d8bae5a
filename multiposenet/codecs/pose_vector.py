"""A pose as the vector the activity classifier sees: its joints in 0..1 of the person's box (METHOD section 6).

The in-graph half is `models/activity.py::PoseVector`.
"""

import numpy as np

LOW, HIGH = -0.5, 1.5  # joints farther outside the box are a mistake or a mismatch, and are held at this distance


def encode(keypoints, boxes_xyxy, min_score):
    """Joints in shares of their person's box.

    Args:
        keypoints: (..., K, 3) x, y in pixels and a score (or COCO's v).
        boxes_xyxy: (..., 4) pixels.
        min_score: a joint below it, or at 0, is missing.

    Returns:
        (..., 2 K) float32: x, y of each joint. A missing joint is (0, 0), and so is everybody in an empty box.
    """
    keypoints, boxes = np.asarray(keypoints, "float32"), np.asarray(boxes_xyxy, "float32")[..., None, :]
    sides, scores = boxes[..., 2:] - boxes[..., :2], keypoints[..., 2:]
    present = (scores > 0) & (scores >= min_score) & np.all(sides > 0, axis=-1, keepdims=True)
    edges = keypoints[..., :2] + np.float32(0.5)  # from pixel centres to the boxes' edge coordinates
    shares = np.clip((edges - boxes[..., :2]) / np.where(sides > 0, sides, 1), LOW, HIGH)
    return np.where(present, shares, 0).reshape(*keypoints.shape[:-2], 2 * keypoints.shape[-2])


def decode(vectors, boxes_xyxy):
    """Inverse of `encode`: (..., 2 K), (..., 4) -> (..., K, 3) x, y in pixels and v, 1 or 0 (then x = y = 0)."""
    vectors, boxes = np.asarray(vectors, "float32"), np.asarray(boxes_xyxy, "float32")[..., None, :]
    shares = vectors.reshape(*vectors.shape[:-1], vectors.shape[-1] // 2, 2)
    present = np.any(shares != 0, axis=-1, keepdims=True)
    points = boxes[..., :2] + shares * (boxes[..., 2:] - boxes[..., :2]) - np.float32(0.5)
    return np.concatenate([points, np.ones_like(points[..., :1])], axis=-1) * present

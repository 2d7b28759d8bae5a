"""A pose as the vector the activity classifier sees: its joints in 0..1 of the person's box (METHOD section 6).

The in-graph half is `models/activity.py::PoseVector`.
"""

import numpy as np

LOW, HIGH = -0.5, 1.5  # joints farther outside the box are a mistake or a mismatch, and are held at this distance


def size(joints, pairs=()):
    """Numbers in a vector of `encode`."""
    return 2 * joints + (2 + 3 * len(pairs) if len(pairs) else 0)


def encode(keypoints, boxes_xyxy, min_score, pairs=()):
    """Joints in shares of their person's box, and on request how pairs of them lie to each other.

    Shares lose the box's aspect, and angles with it; the pairs bring both back.

    Args:
        keypoints: (..., K, 3) x, y in pixels and a score (or COCO's v).
        boxes_xyxy: (..., 4) pixels.
        min_score: a joint below it, or at 0, is missing.
        pairs: (from, to) joint numbers.

    Returns:
        (..., `size`) float32: x, y of each joint; with pairs also the box's width and height over the root of its area,
        and for each pair the direction (x, y) and the length over that root. Everything of a missing joint is 0, and of
        everybody in an empty box.
    """
    keypoints, boxes = np.asarray(keypoints, "float32"), np.asarray(boxes_xyxy, "float32")[..., None, :]
    sides, scores = boxes[..., 2:] - boxes[..., :2], keypoints[..., 2:]
    present = (scores > 0) & (scores >= min_score) & np.all(sides > 0, axis=-1, keepdims=True)
    edges = keypoints[..., :2] + np.float32(0.5)  # from pixel centres to the boxes' edge coordinates
    shares = np.clip((edges - boxes[..., :2]) / np.where(sides > 0, sides, 1), LOW, HIGH)
    shares = np.where(present, shares, 0)
    flat = shares.reshape(*keypoints.shape[:-2], 2 * keypoints.shape[-2])
    return np.concatenate([flat, *_relations(shares, sides, present, pairs)], axis=-1) if len(pairs) else flat


def decode(vectors, boxes_xyxy):
    """Inverse of `encode` without pairs: (..., 2 K), (..., 4) -> (..., K, 3) x, y in pixels and v, 1 or 0 (then x = y = 0)."""
    vectors, boxes = np.asarray(vectors, "float32"), np.asarray(boxes_xyxy, "float32")[..., None, :]
    shares = vectors.reshape(*vectors.shape[:-1], vectors.shape[-1] // 2, 2)
    present = np.any(shares != 0, axis=-1, keepdims=True)
    points = boxes[..., :2] + shares * (boxes[..., 2:] - boxes[..., :2]) - np.float32(0.5)
    return np.concatenate([points, np.ones_like(points[..., :1])], axis=-1) * present


def _relations(shares, sides, present, pairs):
    """The box's form (..., 2), then directions (..., 2 P) and lengths (..., P) of the pairs."""
    sides = np.maximum(sides, 0)
    form = sides / np.sqrt(np.maximum(sides.prod(axis=-1, keepdims=True), 1e-6))
    start, end = np.transpose(pairs)
    across = (shares[..., end, :] - shares[..., start, :]) * form * (present[..., end, :] & present[..., start, :])
    lengths = np.sqrt(np.square(across).sum(axis=-1))
    directions = across / np.maximum(lengths, 1e-6)[..., None]
    return form[..., 0, :], directions.reshape(*lengths.shape[:-1], 2 * len(pairs)), lengths

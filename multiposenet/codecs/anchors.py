"""RetinaNet's anchors: training targets from boxes, and boxes back from predictions.

Order, encoding and thresholds are those of keras-retinanet 1.0.0 (METHOD section 4; Lin et al., arXiv 1708.02002), so
that its figures and weights can stand beside ours. `models/retinanet.py` holds the in-graph decoding.
"""

import numpy as np

from multiposenet import geometry

STRIDES = (8, 16, 32, 64, 128)  # pixels per cell of P3..P7
SIZES = (32, 64, 128, 256, 512)  # side of the square anchor of P3..P7 in pixels
RATIOS = (0.5, 1.0, 2.0)  # height / width
SCALES = tuple(2 ** (third / 3) for third in range(3))
ANCHORS_PER_CELL = len(RATIOS) * len(SCALES)
STD = 0.2  # corner deltas are divided by it, which brings them near unit variance
POSITIVE_IOU = 0.5
NEGATIVE_IOU = 0.4
IGNORED_SHARE = 0.5  # of an anchor inside an ignore region, from which on it is no background
IGNORED, BACKGROUND, OBJECT = -1, 0, 1  # states of an anchor


def cell_anchors(size):
    """(ANCHORS_PER_CELL, 4) xyxy pixels around the origin: for each ratio every scale, areas (size * scale)^2."""
    sides = size * np.tile(SCALES, len(RATIOS))
    ratios = np.repeat(RATIOS, len(SCALES))
    half = np.stack([sides / np.sqrt(ratios), sides * np.sqrt(ratios)], axis=-1) / 2
    return np.concatenate([-half, half], axis=-1).astype("float32")


def anchor_boxes(height, width):
    """All anchors of a picture of that size in pixels: (A, 4) xyxy, level by level, row by row."""
    levels = []
    for stride, size in zip(STRIDES, SIZES):
        rows, columns = -(-height // stride), -(-width // stride)
        y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
        centres = (np.stack([x, y, x, y], axis=-1).astype("float32") + 0.5) * stride
        levels.append((centres[:, :, None] + cell_anchors(size)).reshape(-1, 4))
    return np.concatenate(levels)


def encode(anchors, boxes):
    """(A, 4) boxes as corner deltas in anchor sides over STD: (A, 4)."""
    return (boxes - anchors) / _sides(anchors) / STD


def decode(anchors, deltas):
    """Inverse of `encode`."""
    return anchors + deltas * STD * _sides(anchors)


def targets(anchors, boxes, ignore_boxes, image_shape):
    """What the heads shall answer for one picture.

    Args:
        anchors: (A, 4) xyxy pixels.
        boxes: (n, 4) people, n may be 0.
        ignore_boxes: (m, 4) regions such as crowds where neither answer is wrong.
        image_shape: height and width in pixels; anchors centred outside count for nothing.

    Returns:
        regression (A, 5): deltas to the most overlapping person, and the anchor's state.
        labels (A, 2): 1 on people, and the state: -1 ignored, 0 background, 1 object.
    """
    boxes = np.asarray(boxes, "float32").reshape(-1, 4)
    deltas = np.zeros((len(anchors), 4), "float32")
    state = np.full(len(anchors), BACKGROUND, "float32")
    state[_covered(anchors, np.asarray(ignore_boxes, "float32").reshape(-1, 4))] = IGNORED
    if len(boxes):
        overlaps = geometry.iou(anchors, boxes)
        best = overlaps.argmax(axis=1)
        overlap = overlaps[np.arange(len(anchors)), best]
        state[overlap > NEGATIVE_IOU] = IGNORED
        state[overlap >= POSITIVE_IOU] = OBJECT
        deltas = encode(anchors, boxes[best])
    labels = (state == OBJECT).astype("float32")
    state[~_centred_inside(anchors, image_shape)] = IGNORED
    return np.concatenate([deltas, state[:, None]], axis=-1), np.stack([labels, state], axis=-1)


def _sides(boxes):
    sides = boxes[..., 2:] - boxes[..., :2]
    return np.concatenate([sides, sides], axis=-1)


def _covered(anchors, regions):
    share = geometry.intersection(anchors, regions) / geometry.area(anchors)[:, None]
    return (share >= IGNORED_SHARE).any(axis=1)


def _centred_inside(anchors, image_shape):
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    height, width = image_shape
    return (centres < (width, height)).all(axis=1)

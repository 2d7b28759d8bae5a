"""Boxes, the letterbox and its inverse, IoU and OKS, in NumPy.

Boxes are edges (x1, y1, x2, y2) in pixels. Points are pixel centres: the first pixel's centre is (0, 0).
"""

from dataclasses import dataclass

import numpy as np

MULTIPLE = 32  # what the sides of a network's picture must be
PADDING = 128  # the grey that training knows from outside its pictures


def xywh_to_xyxy(boxes):
    """(..., 4) COCO x, y, width, height -> (..., 4) x1, y1, x2, y2."""
    boxes = np.asarray(boxes, "float32")
    return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)


def xyxy_to_xywh(boxes):
    """(..., 4) x1, y1, x2, y2 -> (..., 4) COCO x, y, width, height."""
    boxes = np.asarray(boxes, "float32")
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)


def widen(boxes_xyxy, margin):
    """Grow boxes (..., 4) by `margin` of their width and height on every side."""
    boxes = np.asarray(boxes_xyxy, "float32")
    grow = margin * (boxes[..., 2:] - boxes[..., :2])
    return np.concatenate([boxes[..., :2] - grow, boxes[..., 2:] + grow], axis=-1)


def area(boxes_xyxy):
    """(..., 4) -> (...,) areas in square pixels; empty boxes give 0."""
    boxes = np.asarray(boxes_xyxy, "float32")
    width, height = np.moveaxis(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), -1, 0)
    return width * height


def intersection(a, b):
    """(n, 4), (m, 4) -> (n, m) common areas in square pixels."""
    a, b = np.asarray(a, "float32").T[:, :, None], np.asarray(b, "float32").T[:, None]
    width = np.minimum(a[2], b[2]) - np.maximum(a[0], b[0])
    height = np.minimum(a[3], b[3]) - np.maximum(a[1], b[1])
    return np.maximum(width, 0) * np.maximum(height, 0)


def iou(a, b):
    """(n, 4), (m, 4) -> (n, m) intersection over union."""
    common = intersection(a, b)
    return common / np.maximum(area(a)[:, None] + area(b)[None] - common, 1e-7)


def oks(predicted, truth, areas, sigmas):
    """Object keypoint similarity over the labelled joints (COCO keypoint evaluation).

    Args:
        predicted: (n, K, 2 or more) points in pixels.
        truth: (m, K, 3) points in pixels with visibility v; joints with v = 0 do not count.
        areas: (m,) people's areas in square pixels.
        sigmas: (K,) constants.

    Returns:
        (n, m) similarities, 0 for people without labelled joints.
    """
    predicted, truth = np.asarray(predicted, "float64"), np.asarray(truth, "float64")
    squared = np.sum((predicted[:, None, :, :2] - truth[None, :, :, :2]) ** 2, axis=-1)
    spread = 2 * (2 * np.asarray(sigmas)) ** 2 * (np.asarray(areas)[:, None] + np.spacing(1))
    labelled = truth[..., 2] > 0
    return np.sum(np.exp(-squared / spread) * labelled, axis=-1) / np.maximum(labelled.sum(-1), 1)


@dataclass(frozen=True)
class Letterbox:
    """A picture scaled evenly into the top left corner of a grey canvas.

    Args:
        scale: canvas pixels per picture pixel.
        height, width: size of the scaled picture.
        canvas_height, canvas_width: size of the canvas, multiples of `multiple` in `fit`.
    """

    scale: float
    height: int
    width: int
    canvas_height: int
    canvas_width: int

    @classmethod
    def fit(cls, height, width, short_side, long_side, multiple=MULTIPLE):
        """Bring the short side to `short_side`, unless the long one would pass `long_side` (pixels)."""
        scale = min(short_side / min(height, width), long_side / max(height, width))
        size = [max(1, round(side * scale)) for side in (height, width)]
        return cls(scale, *size, *(-(-side // multiple) * multiple for side in size))

    @classmethod
    def fit_into(cls, height, width, canvas_height, canvas_width):
        """Bring a picture to the largest size that a given canvas holds."""
        scale = min(canvas_height / height, canvas_width / width)
        size = [max(1, round(side * scale)) for side in (height, width)]
        return cls(scale, *size, canvas_height, canvas_width)

    def to_canvas(self, points):
        """Picture points (..., 2 or more: x, y first) -> canvas points."""
        return _scaled_centres(points, self.scale)

    def to_picture(self, points):
        """Inverse of `to_canvas`."""
        return _scaled_centres(points, 1 / self.scale)

    def boxes_to_canvas(self, boxes_xyxy):
        """Picture boxes (..., 4) -> canvas boxes."""
        return np.asarray(boxes_xyxy, "float32") * self.scale

    def boxes_to_picture(self, boxes_xyxy):
        """Inverse of `boxes_to_canvas`."""
        return np.asarray(boxes_xyxy, "float32") / self.scale


def _scaled_centres(points, scale):
    points = np.array(points, "float32")
    points[..., :2] = (points[..., :2] + 0.5) * scale - 0.5
    return points

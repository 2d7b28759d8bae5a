"""Geometric and colour changes of a picture and, with it, of its points and boxes.

A matrix is 2x3 and takes picture points (pixel centres) to crop points.
"""

import cv2
import numpy as np

LEAST_BLUR_PX = 0.1  # OpenCV takes a sigma of 0 for "choose one"
JPEG_QUALITY = (20, 90)  # of 100, from poor to what cameras write


def similarity(center, angle_deg, scale, target):
    """Turn by `angle_deg` (counter-clockwise as seen) and scale about `center`, which lands on `target`; both x, y."""
    angle = np.deg2rad(angle_deg)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]])
    return np.hstack([linear, (np.asarray(target) - linear @ np.asarray(center))[:, None]])


def mirrored(matrix, width):
    """The same crop seen in a mirror: flipped about its vertical axis. Left and right joints must swap as well."""
    flip = np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]])
    return (flip @ np.vstack([matrix, [0, 0, 1]]))[:2]


def warp_picture(picture, matrix, size, border):
    """(h, w[, channels]) -> (size[0], size[1][, channels]); `border` fills what lies outside the picture."""
    value = (border,) * 3 if np.ndim(border) == 0 else border
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if scale < 0.5:  # bilinear sampling would skip pixels: average them first
        height, width = (max(1, round(2 * scale * side)) for side in picture.shape[:2])
        ratio = np.array([picture.shape[1] / width, picture.shape[0] / height])
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        matrix = np.column_stack([matrix[:, :2] * ratio, matrix[:, 2] + matrix[:, :2] @ (ratio - 1) / 2])
    return cv2.warpAffine(picture, matrix, (size[1], size[0]), flags=cv2.INTER_LINEAR, borderValue=value)


def warp_points(points, matrix):
    """(..., 2 or more: x, y first) points; further columns stay as they are."""
    points = np.array(points, "float32")
    points[..., :2] = points[..., :2] @ matrix[:, :2].T + matrix[:, 2]
    return points


def warp_boxes(boxes_xyxy, matrix):
    """(n, 4) -> (n, 4) upright boxes around the warped corners. Edges lie half a pixel from the centres."""
    boxes = np.asarray(boxes_xyxy, "float32").reshape(-1, 4)
    corners = warp_points(boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2) - 0.5, matrix) + 0.5
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def vary_pixels(picture, settings, rng):
    """Colour, sharpness and compression changed at random as `AugmentConfig` says. (h, w, 3) uint8 -> the same."""
    picture = jitter_color(picture, settings.color, rng)
    if settings.blur:
        picture = cv2.GaussianBlur(picture, (0, 0), max(rng.uniform(0, settings.blur), LEAST_BLUR_PX))
    if settings.jpeg and rng.random() < settings.jpeg:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*JPEG_QUALITY))]
        _, file = cv2.imencode(".jpg", picture[..., ::-1], quality)
        picture = cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1]
    return picture


def jitter_color(picture, amount, rng):
    """Random brightness, contrast and saturation, each changed by at most the share `amount`. (h, w, 3) uint8."""
    if not amount:
        return picture
    brightness, contrast, saturation = 1 + rng.uniform(-amount, amount, 3)
    level = brightness * np.mean(cv2.mean(picture)[:3])
    mix = saturation * np.eye(3) + (1 - saturation) / 3  # keeps the grey of a pixel
    matrix = np.column_stack([brightness * contrast * mix, np.full(3, (1 - contrast) * level)])
    return cv2.transform(picture, matrix)


def quarters(tiles):
    """Four arrays (h, w, ...) -> (2 h, 2 w, ...), in reading order."""
    return np.concatenate([np.concatenate(tiles[:2], axis=1), np.concatenate(tiles[2:], axis=1)])


def log_uniform(rng, low, high):
    """A random factor whose logarithm is uniform, so that half and double are equally likely."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))

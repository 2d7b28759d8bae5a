"""What hinders the view of a person: the picture ends, somebody or something stands before them, they are far away."""

import cv2
import numpy as np

from multiposenet.data import augment
from multiposenet.data.coco import region_mask

SURE = 1  # weight of joints that are labelled; others may lie elsewhere
PART_MARGIN = 0.15  # of the longer side of the box around joints
LEAST_MARGIN = 0.06  # of that of the person's box: a hand's or a foot's size around a single joint
ENDS = (0.2, 0.1, 0.2, 0.5)  # how often a picture that ends within somebody does so on the left, above, right and below
KEPT = (0.3, 0.9)  # share of the box's side that is left then
PATCH = (0.15, 0.45)  # sides of what hides somebody, as shares of the window's
PLAIN_SHARE = 0.3  # of the patches are of one colour, half of them of the border's
OUTLINED_PX = 64  # least height of those who are put before others: smaller ones would be coarser than what they hide
HEIGHTS = (0.5, 1.5)  # of theirs, as shares of the window's
BESIDE = (0.2, 0.6)  # how far from its middle they stand, as a share of its width; any nearer, and nobody knew whose window it is
ABOVE, BELOW = -0.25, 0.35  # the same up and down: who is nearer to the camera stands lower
MOST_HIDDEN = 0.5  # of the window


def around(joints, box):
    """The part of a box (4,) xyxy that holds these joints (n, 2 or more)."""
    low, high = joints[:, :2].min(axis=0), joints[:, :2].max(axis=0)
    grow = max(PART_MARGIN * (high - low).max(), LEAST_MARGIN * (box[2:] - box[:2]).max(), 1)
    return np.concatenate([np.maximum(low - grow, box[:2]), np.minimum(high + grow, box[2:])])


def cut(pixels, box, joints, border, rng):
    """As if the picture ended within the person; where no labelled joint was left, nothing is cut.

    Args:
        pixels: (h, w, 3) uint8.
        box: (4,) xyxy.
        joints: (K, 3) x, y, weight.
        border: grey of what is gone.

    Returns:
        (pixels, box, joints) of what is left, those given stay as they are, and which edge of the box (0 to 3) is the picture's
        end now; None where nothing was cut.
    """
    side, kept = rng.choice(4, p=ENDS), rng.uniform(*KEPT)
    axis, far = side % 2, side > 1
    end = round(float(box[side] + (1 - kept) * (box[side - 2] - box[side])))
    gone = (joints[:, axis] + 0.5 > end) == far
    shown = joints[~gone & (joints[:, 2] == SURE)]
    if not len(shown):
        return pixels, box, joints, None
    pixels, joints = pixels.copy(), joints.copy()
    np.moveaxis(pixels, 1 - axis, 0)[slice(end, None) if far else slice(max(end, 0))] = border
    joints[gone, 2] = 0
    box = around(shown, box)
    box[side] = end
    return pixels, box, joints, side


def can_stand_before_others(person):
    """Whether `with_somebody` may show this `Person`."""
    return bool(person.segmentation) and person.box_xyxy[3] - person.box_xyxy[1] >= OUTLINED_PX


def with_somebody(window, picture, pixels, settings, rng):
    """The window with the only person of `picture`, cut out of its `pixels` along the segmentation, before it and beside its middle.

    Args:
        window: (rows, columns, 3) uint8; it stays as it is where more than `MOST_HIDDEN` would be hidden.
        settings: AugmentConfig; flip and border are used.
    """
    other, size = picture.people[0], np.array(window.shape[:2])
    low, high = other.box_xyxy[:2], other.box_xyxy[2:]
    scale = augment.log_uniform(rng, *HEIGHTS) * size[0] / max(high[1] - low[1], 1)
    beside = np.array([rng.choice((-1, 1)) * rng.uniform(*BESIDE), rng.uniform(ABOVE, BELOW)])
    matrix = augment.similarity((low + high) / 2 - 0.5, 0, scale, (0.5 + beside) * size[::-1] - 0.5)
    if rng.random() < settings.flip:
        matrix = augment.mirrored(matrix, size[1])
    mask = 255 * region_mask(other, picture.height, picture.width)
    share = augment.warp_picture(mask, matrix, size, 0)[..., None] / 255
    if share.mean() > MOST_HIDDEN:
        return window
    shown = augment.warp_picture(pixels, matrix, size, settings.border)
    return np.round(window + share * (shown - window.astype(float))).astype("uint8")


def put_patch(window, other, border, rng):
    """Hide a part of the window (rows, columns, 3), in place: behind a part of `other`, of the same size, or one colour."""
    size = np.array(window.shape[:2])
    sides = (size * rng.uniform(*PATCH, 2)).astype(int)
    (top, left), (there, here) = (rng.integers(0, size - sides) for _ in range(2))
    patch = other[there:there + sides[0], here:here + sides[1]].copy()
    if rng.random() < PLAIN_SHARE:
        patch[:] = patch.reshape(-1, 3).mean(axis=0) if rng.random() < 0.5 else border
    window[top:top + sides[0], left:left + sides[1]] = patch


def coarsened(window, coarsest, rng):
    """As a small person's window (rows, columns, 3) looks, which has been enlarged; `coarsest`: least share of its pixels a side."""
    rows, columns = window.shape[:2]
    scale = augment.log_uniform(rng, coarsest, 1)
    small = cv2.resize(window, (max(2, round(scale * columns)), max(2, round(scale * rows))), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR)

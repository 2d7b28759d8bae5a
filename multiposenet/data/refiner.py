"""Single people's windows for the refiner (docs/refiner.md)."""

from dataclasses import replace

import cv2
import numpy as np

from multiposenet.codecs import person_window
from multiposenet.data import augment
from multiposenet.data.coco import region_mask
from multiposenet.data.sets import PictureSource
from multiposenet.errors import UserError

PART_JOINTS = 4  # labelled joints that a part of a person must show to be looked at alone
PART_MARGIN = 0.15  # of the longer side of the box around them
UPPER_SHARE = 0.6  # of the halves are upper ones, which pictures show more often
PATCH = (0.15, 0.45)  # sides of what hides somebody, as shares of the window's
PLAIN_SHARE = 0.3  # of the patches are of one colour, half of them of the border's
OTHERS_SHARE = 0.5  # of the patches are from somebody else's window
OUTLINED_PX = 64  # least height of those who are put before others: smaller ones would be coarser than what they hide
HEIGHTS = (0.5, 1.5)  # of theirs, as shares of the window's
BESIDE = (0.2, 0.6)  # how far from its middle they stand, as a share of its width; any nearer, and nobody knew whose window it is
ABOVE, BELOW = -0.25, 0.35  # the same up and down: who is nearer to the camera stands lower
MOST_HIDDEN = 0.5  # of the window
ENDS = (0.2, 0.1, 0.2, 0.5)  # how often a picture that ends within somebody does so on the left, above, right and below
KEPT = (0.3, 0.9)  # share of the box's side that is left then


class RefinerSource(PictureSource):
    """x: (rows, columns, 3) uint8, the window of one person; y: (K, 3) of `codecs.person_window.encode`.

    The person is turned, mirrored, recoloured and seen from near or far as `augment` says; as `refiner` says its box errs
    as a detector's does, it is cut to its upper or lower half, the picture ends within it, somebody with a segmentation stands
    before it, it is coarse as small people are, or partly hidden.

    Args:
        pictures: list of `Picture` with files; each of their people with labelled joints is a sample.
        config: `Config`; of `augment` rotation_deg, scale, flip, border, color, blur and jpeg, `refiner`, and the model's
            `refiner_grid` and `refiner_margin` are used.
        skeleton: for the mirror.
        varied: False leaves nothing to chance, for validation.

    Raises:
        UserError: nobody has labelled joints.
    """

    def __init__(self, pictures, config, skeleton, varied=True):
        single = [replace(picture, people=[person]) for picture in pictures for person in picture.people
                  if not person.crowd and person.num_joints]
        if not single:
            raise UserError("nobody in data.sets has labelled joints: nothing to train on")
        super().__init__(single, config.augment, varied)
        self.refiner, self.skeleton = config.refiner, skeleton
        self.grid, self.margin = config.model.refiner_grid, config.model.refiner_margin
        self.outlined = [i for i, picture in enumerate(single) if _outlined(picture.people[0])]

    def load(self, indices, rng):
        windows, places = map(np.stack, zip(*(self.view(*self._readable(i), rng) for i in indices)))
        if self.varied:
            for window, other in zip(windows, np.roll(windows, 1, axis=0)):
                self._hide(window, other if rng.random() < OTHERS_SHARE else window, rng)
        return windows, places

    def view(self, picture, pixels, rng):
        """The window of a picture's only person, and where its joints are."""
        person, size = picture.people[0], person_window.pixels(self.grid)
        box, joints = person.box_xyxy, person.keypoints
        if self.varied:
            pixels, box, joints = self._part(pixels, box, joints, rng)
            box = self._moved(box, rng)
        matrix = self._matrix(box, rng)
        flip = self.varied and rng.random() < self.settings.flip
        if flip:
            matrix = augment.mirrored(matrix, size[1])
        window = augment.warp_picture(pixels, matrix, size, self.settings.border)
        joints = augment.warp_points(joints, matrix)
        if self.varied:
            window = self._crowded(window, rng)
            window = self._coarse(augment.vary_pixels(window, self.settings, rng), rng)
        return window, person_window.encode(joints[self.skeleton.mirror_order] if flip else joints, self.grid)

    def _part(self, pixels, box, joints, rng):
        """(pixels, box, joints) of the whole person, or of the part that one looks at or that the picture shows."""
        labelled, chance = joints[:, 2] > 0, rng.random()
        if labelled.sum() < 2 * PART_JOINTS or chance >= self.refiner.half_share + self.refiner.cut_share:
            return pixels, box, joints
        if chance < self.refiner.half_share:
            shown = joints[labelled]
            shown = shown[np.argsort(shown[:, 1])]
            upper = rng.random() < UPPER_SHARE
            return pixels, _around(shown[:len(shown) // 2] if upper else shown[len(shown) // 2:], box), joints
        return self._cut(pixels, box, joints, rng)

    def _cut(self, pixels, box, joints, rng):
        """As if the picture ended within the person."""
        side, kept = rng.choice(4, p=ENDS), rng.uniform(*KEPT)
        axis, far = side % 2, side > 1
        end = round(float(box[side] + (1 - kept) * (box[side - 2] - box[side])))
        gone = (joints[:, axis] + 0.5 > end) == far
        shown = joints[~gone & (joints[:, 2] > 0)]
        if len(shown) < PART_JOINTS:
            return pixels, box, joints
        pixels, joints = pixels.copy(), joints.copy()
        np.moveaxis(pixels, 1 - axis, 0)[slice(end, None) if far else slice(max(end, 0))] = self.settings.border
        joints[gone, 2] = 0
        box = _around(shown, box)
        box[side] = end
        return pixels, box, joints

    def _moved(self, box, rng):
        errors = np.clip(rng.standard_normal(4), -2.5, 2.5) * self.refiner.box_jitter
        return box + np.tile(box[2:] - box[:2], 2) * errors

    def _matrix(self, box, rng):
        """From the picture to the window."""
        corner, height = person_window.corner_and_height(np.asarray(box, "float32"), self.grid, self.margin)
        rows, columns = person_window.pixels(self.grid)
        angle, scale = 0, rows / max(height[0], 1)
        if self.varied:
            angle = rng.uniform(-1, 1) * self.settings.rotation_deg
            scale *= augment.log_uniform(rng, *self.settings.scale)
        middle = corner + height * np.array([columns / rows, 1]) / 2 - 0.5
        return augment.similarity(middle, angle, scale, np.array([columns - 1, rows - 1]) / 2)

    def _crowded(self, window, rng):
        """With somebody else before the person, cut out of a picture along the segmentation."""
        if rng.random() >= self.refiner.crowd_share or not self.outlined:
            return window
        picture, pixels = self._readable(int(rng.choice(self.outlined)))
        other, size = picture.people[0], np.array(window.shape[:2])
        low, high = other.box_xyxy[:2], other.box_xyxy[2:]
        scale = augment.log_uniform(rng, *HEIGHTS) * size[0] / max(high[1] - low[1], 1)
        beside = np.array([rng.choice((-1, 1)) * rng.uniform(*BESIDE), rng.uniform(ABOVE, BELOW)])
        matrix = augment.similarity((low + high) / 2 - 0.5, 0, scale, (0.5 + beside) * size[::-1] - 0.5)
        if rng.random() < self.settings.flip:
            matrix = augment.mirrored(matrix, size[1])
        mask = 255 * region_mask(other, picture.height, picture.width)
        share = augment.warp_picture(mask, matrix, size, 0)[..., None] / 255
        if share.mean() > MOST_HIDDEN:
            return window
        shown = augment.warp_picture(pixels, matrix, size, self.settings.border)
        return np.round(window + share * (shown - window.astype(float))).astype("uint8")

    def _coarse(self, window, rng):
        """As a small person's window looks, which has been enlarged."""
        if rng.random() >= self.refiner.coarse_share:
            return window
        rows, columns = window.shape[:2]
        scale = augment.log_uniform(rng, self.refiner.coarsest, 1)
        small = cv2.resize(window, (max(2, round(scale * columns)), max(2, round(scale * rows))), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR)

    def _hide(self, window, other, rng):
        """Put a patch before the person, in place: from `other`, as it is or plain."""
        if rng.random() >= self.refiner.hidden_share:
            return
        size = np.array(window.shape[:2])
        sides = (size * rng.uniform(*PATCH, 2)).astype(int)
        (top, left), (there, here) = (rng.integers(0, size - sides) for _ in range(2))
        patch = other[there:there + sides[0], here:here + sides[1]].copy()
        if rng.random() < PLAIN_SHARE:
            patch[:] = patch.reshape(-1, 3).mean(axis=0) if rng.random() < 0.5 else self.settings.border
        window[top:top + sides[0], left:left + sides[1]] = patch


def _outlined(person):
    return bool(person.segmentation) and person.box_xyxy[3] - person.box_xyxy[1] >= OUTLINED_PX


def _around(joints, box):
    """The part of a box that holds these joints."""
    low, high = joints[:, :2].min(axis=0), joints[:, :2].max(axis=0)
    grow = np.maximum(PART_MARGIN * (high - low).max(), 1)
    return np.concatenate([np.maximum(low - grow, box[:2]), np.minimum(high + grow, box[2:])])

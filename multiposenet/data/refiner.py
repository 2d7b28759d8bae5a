"""Single people's windows for the refiner (docs/refiner.md)."""

from dataclasses import replace

import numpy as np

from multiposenet.codecs import person_window
from multiposenet.data import augment, hindrances
from multiposenet.data.sets import PictureSource
from multiposenet.errors import UserError

PART_JOINTS = 4  # labelled joints that a part of a person must show to be looked at alone
UPPER_SHARE = 0.6  # of the halves are upper ones, which pictures show more often
OTHERS_SHARE = 0.5  # of the patches are from somebody else's window


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
        self.outlined = [i for i, picture in enumerate(single) if hindrances.can_stand_before_others(picture.people[0])]

    def load(self, indices, rng):
        windows, places = map(np.stack, zip(*(self.view(*self._readable(i), rng) for i in indices)))
        if self.varied:
            for window, other in zip(windows, np.roll(windows, 1, axis=0)):
                other = other if rng.random() < OTHERS_SHARE else window
                if rng.random() < self.refiner.hidden_share:
                    hindrances.put_patch(window, other, self.settings.border, rng)
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
            window = self._hindered(window, rng)
        return window, person_window.encode(joints[self.skeleton.mirror_order] if flip else joints, self.grid)

    def _part(self, pixels, box, joints, rng):
        """(pixels, box, joints) of the whole person, or of the part that one looks at or that the picture shows."""
        labelled, chance = joints[:, 2] > 0, rng.random()
        if labelled.sum() < 2 * PART_JOINTS or chance >= self.refiner.half_share + self.refiner.cut_share:
            return pixels, box, joints
        if chance >= self.refiner.half_share:
            return hindrances.cut(pixels, box, joints, PART_JOINTS, self.settings.border, rng)
        shown = joints[labelled]
        shown = shown[np.argsort(shown[:, 1])]
        upper = rng.random() < UPPER_SHARE
        return pixels, hindrances.around(shown[:len(shown) // 2] if upper else shown[len(shown) // 2:], box), joints

    def _hindered(self, window, rng):
        if rng.random() < self.refiner.crowd_share and self.outlined:
            other = self._readable(int(rng.choice(self.outlined)))
            window = hindrances.with_somebody(window, *other, self.settings, rng)
        window = augment.vary_pixels(window, self.settings, rng)
        if rng.random() < self.refiner.coarse_share:
            window = hindrances.coarsened(window, self.refiner.coarsest, rng)
        return window

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

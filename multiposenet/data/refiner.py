"""Single people's windows for the refiner (docs/refiner.md)."""

from dataclasses import replace

import cv2
import numpy as np

from multiposenet.codecs import person_window
from multiposenet.data import augment
from multiposenet.data.sets import PictureSource
from multiposenet.errors import UserError

HALF_JOINTS = 4  # labelled joints that a half of a person must show to be looked at alone
HALF_MARGIN = 0.15  # of the longer side of the box around them
UPPER_SHARE = 0.6  # of the halves are upper ones, which pictures show more often
PATCH = (0.15, 0.45)  # sides of what hides somebody, as shares of the window's
PLAIN_SHARE = 0.3  # of the patches are of one colour, half of them of the border's


class RefinerSource(PictureSource):
    """x: (rows, columns, 3) uint8, the window of one person; y: (K, 3) of `codecs.person_window.encode`.

    The person is turned, mirrored, recoloured and seen from near or far as `augment` says; as `refiner` says its box errs
    as a detector's does, it is cut to its upper or lower half, coarse as small people are, or partly hidden.

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

    def load(self, indices, rng):
        windows, places = zip(*(self.view(*self._readable(i), rng) for i in indices))
        return np.stack(windows), np.stack(places)

    def view(self, picture, pixels, rng):
        """The window of a picture's only person, and where its joints are."""
        person, size = picture.people[0], person_window.pixels(self.grid)
        box = self._moved(self._half(person, rng), rng) if self.varied else person.box_xyxy
        matrix = self._matrix(box, rng)
        flip = self.varied and rng.random() < self.settings.flip
        if flip:
            matrix = augment.mirrored(matrix, size[1])
        window = augment.warp_picture(pixels, matrix, size, self.settings.border)
        joints = augment.warp_points(person.keypoints, matrix)
        if self.varied:
            window = self._hidden(self._coarse(augment.vary_pixels(window, self.settings, rng), rng), rng)
        return window, person_window.encode(joints[self.skeleton.mirror_order] if flip else joints, self.grid)

    def _half(self, person, rng):
        """The box, or that of the upper or lower half of the joints."""
        joints = person.keypoints[person.keypoints[:, 2] > 0, :2]
        if len(joints) < 2 * HALF_JOINTS or rng.random() >= self.refiner.half_share:
            return person.box_xyxy
        order = np.argsort(joints[:, 1])
        shown = joints[order[:len(order) // 2] if rng.random() < UPPER_SHARE else order[len(order) // 2:]]
        low, high = shown.min(axis=0), shown.max(axis=0)
        grow = np.maximum(HALF_MARGIN * (high - low).max(), 1)
        return np.concatenate([np.maximum(low - grow, person.box_xyxy[:2]), np.minimum(high + grow, person.box_xyxy[2:])])

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

    def _coarse(self, window, rng):
        """As a small person's window looks, which has been enlarged."""
        if rng.random() >= self.refiner.coarse_share:
            return window
        rows, columns = window.shape[:2]
        scale = augment.log_uniform(rng, self.refiner.coarsest, 1)
        small = cv2.resize(window, (max(2, round(scale * columns)), max(2, round(scale * rows))), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR)

    def _hidden(self, window, rng):
        """Behind a patch taken from elsewhere in the window, as it is or plain."""
        if rng.random() >= self.refiner.hidden_share:
            return window
        size = np.array(window.shape[:2])
        sides = (size * rng.uniform(*PATCH, 2)).astype(int)
        (top, left), (there, here) = (rng.integers(0, size - sides) for _ in range(2))
        patch = window[there:there + sides[0], here:here + sides[1]].copy()
        if rng.random() < PLAIN_SHARE:
            patch[:] = patch.reshape(-1, 3).mean(axis=0) if rng.random() < 0.5 else self.settings.border
        window[top:top + sides[0], left:left + sides[1]] = patch
        return window

"""Single people's windows for the refiner (docs/refiner.md)."""

from dataclasses import replace

import numpy as np

from multiposenet.codecs import person_window
from multiposenet.data import augment, hindrances
from multiposenet.data.sets import PictureSource
from multiposenet.errors import UserError

PART_JOINTS = 8  # labelled joints of a person of whom a part is looked at alone
UPPER_SHARE = 0.6  # of the halves are upper ones, which pictures show more often
MOST_ENDS = 2  # of the picture within one person: an arm or a head is often all that is left in it
UPRIGHT_SHARE = 0.5  # of the windows are not turned where edges are learnt: nobody knows the box of a turned person
MEASURED = (None, "human")  # what `box_source` says of boxes whose edges can be trusted; people_teacher's others come from detectors
OTHERS_SHARE = 0.5  # of the patches are from somebody else's window


class RefinerSource(PictureSource):
    """x: (rows, columns, 3) uint8, the window of one person; y: (K, 3) of `codecs.person_window.encode`, with
    `model.refiner_boxes` then (4, 3) of `encode_edges`, for the edges that are known.

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
        self.refiner, self.skeleton, self.boxes = config.refiner, skeleton, config.model.refiner_boxes
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
        """The window of a picture's only person, and where its joints and edges are."""
        person, size = picture.people[0], person_window.pixels(self.grid)
        box, joints, edges = person.box_xyxy, self._weighted(picture), person.box_xyxy
        known, upright, flip = np.full(4, person.extra.get("box_source") in MEASURED), True, False
        if self.varied:
            pixels, box, joints, end = self._part(pixels, box, joints, rng)
            if end is not None:
                edges, known = box, known & (np.arange(4) == end)
            box = self._moved(box, rng)
            upright = self.boxes and rng.random() < UPRIGHT_SHARE
        matrix = self._matrix(box, upright, rng)
        if self.varied and rng.random() < self.settings.flip:
            matrix, flip, known = augment.mirrored(matrix, size[1]), True, known[[2, 1, 0, 3]]
        window = augment.warp_picture(pixels, matrix, size, self.settings.border)
        joints = augment.warp_points(joints, matrix)
        if self.varied:
            crowd = self._crowded(window, rng)
            known = known & (crowd is window)
            window = self._coarsened(augment.vary_pixels(crowd, self.settings, rng), rng)
        places = person_window.encode(joints[self.skeleton.mirror_order] if flip else joints, self.grid)
        if self.boxes:
            edges = person_window.encode_edges(augment.warp_boxes(edges, matrix)[0], known & upright, self.grid)
            places = np.concatenate([places, edges])
        return window, places

    def _weighted(self, picture):
        """(K, 3) x, y, weight in the loss of the only person's joints; in training unsure ones within the picture have theirs."""
        person, = picture.people
        joints, unsure = person.keypoints.copy(), person.unsure_joints
        joints[:, 2] = hindrances.SURE * (joints[:, 2] > 0)
        weight = self.refiner.unsure_weight if self.varied else 0
        within = ((unsure[:, :2] >= 0) & (unsure[:, :2] < [picture.width, picture.height])).all(axis=1)
        seen = within & (unsure[:, 2] > 0)
        joints[seen] = unsure[seen] * [1, 1, weight]
        return joints

    def _part(self, pixels, box, joints, rng):
        """(pixels, box, joints) of the whole person, or of the part that one looks at or that the picture shows; last which edge
        of that box is the picture's end, or None."""
        labelled, chance = joints[:, 2] == hindrances.SURE, rng.random()
        if labelled.sum() < PART_JOINTS or chance >= self.refiner.half_share + self.refiner.cut_share:
            return pixels, box, joints, None
        if chance >= self.refiner.half_share:
            last = None
            for _ in range(rng.integers(1, MOST_ENDS + 1)):
                pixels, box, joints, end = hindrances.cut(pixels, box, joints, self.settings.border, rng)
                last = last if end is None else end
            return pixels, box, joints, last
        shown = joints[labelled]
        shown = shown[np.argsort(shown[:, 1])]
        upper = rng.random() < UPPER_SHARE
        return pixels, hindrances.around(shown[:len(shown) // 2] if upper else shown[len(shown) // 2:], box), joints, None

    def _moved(self, box, rng):
        errors = np.clip(rng.standard_normal(4), -2.5, 2.5) * self.refiner.box_jitter
        return box + np.tile(box[2:] - box[:2], 2) * errors

    def _matrix(self, box, upright, rng):
        """From the picture to the window."""
        corner, height = person_window.corner_and_height(np.asarray(box, "float32"), self.grid, self.margin)
        rows, columns = person_window.pixels(self.grid)
        angle, scale = 0, rows / max(height[0], 1)
        if self.varied:
            angle = 0 if upright else rng.uniform(-1, 1) * self.settings.rotation_deg
            scale *= augment.log_uniform(rng, *self.settings.scale)
        middle = corner + height * np.array([columns / rows, 1]) / 2 - 0.5
        return augment.similarity(middle, angle, scale, np.array([columns - 1, rows - 1]) / 2)

    def _crowded(self, window, rng):
        """With somebody before the person, or the very same window."""
        if rng.random() >= self.refiner.crowd_share or not self.outlined:
            return window
        other = self._readable(int(rng.choice(self.outlined)))
        return hindrances.with_somebody(window, *other, self.settings, rng)

    def _coarsened(self, window, rng):
        if rng.random() >= self.refiner.coarse_share:
            return window
        return hindrances.coarsened(window, self.refiner.coarsest, rng)

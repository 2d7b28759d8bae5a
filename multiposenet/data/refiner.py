"""Crops and people's windows for the refiner (docs/refiner.md)."""

import numpy as np

from multiposenet import geometry
from multiposenet.codecs import person_window
from multiposenet.data import augment
from multiposenet.data.keypoints import KeypointSource
from multiposenet.errors import UserError

MIN_SIDE_PX = 8  # of a box: less is no person to see


class RefinerSource(KeypointSource):
    """x: `image` (crop, crop, 3) uint8 and `boxes` (people, 4) float32 pixels; y: (people, K, 3) of `person_window.encode`.

    The crops are those of the keypoint head; each box is of one person, moved a little as a detector's would be. Places
    that nobody fills hold a box with no joints.

    Args:
        pictures: list of `Picture` with files; only those that show labelled joints are kept.
        config: `Config`; `augment`, `refiner` and the model's `refiner_grid` and `refiner_margin` are used.
        skeleton: for the mirror.
        varied: False leaves nothing to chance, for validation.

    Raises:
        UserError: nobody has labelled joints.
    """

    def __init__(self, pictures, config, skeleton, varied=True):
        pictures = [picture for picture in pictures if _labelled(picture)]
        if not pictures:
            raise UserError("nobody in data.sets has labelled joints: nothing to train on")
        super().__init__(pictures, config, skeleton, (), varied)
        self.refiner, self.window = config.refiner, (config.model.refiner_grid, config.model.refiner_margin)

    def load(self, indices, rng):
        crops, found = zip(*(self._composed(i, rng) for i in indices))
        boxes, joints = map(np.stack, zip(*(self._chosen(*people, rng) for people in found)))
        return {"image": np.stack(crops), "boxes": boxes}, joints

    def joined(self, found, size):
        moved = []
        for (boxes, joints), corner in zip(found, ((0, 0), (size, 0), (0, size), (size, size))):
            moved.append((boxes + np.tile(corner, 2), joints + [*corner, 0]))
        return tuple(map(np.concatenate, zip(*moved)))

    def _target(self, picture, shape, matrix, flip, size):
        """Boxes (n, 4) and joints (n, K, 3) of those who can be seen."""
        people = _labelled(picture)
        joints = self._moved([person.keypoints for person in people], matrix, flip)
        joints[..., 2] = (joints[..., 2] > 0) & ((joints[..., :2] >= 0) & (joints[..., :2] <= size - 1)).all(axis=-1)
        whole = _turned(np.reshape([person.box_xyxy for person in people], (-1, 4)), matrix)
        boxes = whole.clip(0, size)
        seen = geometry.area(boxes) >= self.refiner.min_visible * geometry.area(whole)
        kept = seen & ((boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= MIN_SIDE_PX) & joints[..., 2].any(axis=1)
        return boxes[kept], joints[kept]

    def _chosen(self, boxes, joints, rng):
        """(people, 4) boxes and (people, K, 3) their joints' places."""
        count = len(boxes)
        order = (rng.permutation(count) if self.varied else np.arange(count))[:self.refiner.people]
        boxes, joints = boxes[order].astype("float32"), joints[order]
        if self.varied:
            errors = np.clip(rng.standard_normal(boxes.shape), -2.5, 2.5) * self.refiner.box_jitter
            boxes += np.tile(boxes[:, 2:] - boxes[:, :2], 2) * errors.astype("float32")
        full = np.tile(np.array([0, 0, 64, 64], "float32"), (self.refiner.people, 1))
        places = np.zeros((self.refiner.people, len(self.skeleton), 3), "float32")
        full[:len(order)], places[:len(order)] = boxes, person_window.encode(boxes, joints, *self.window)
        return full, places


def _labelled(picture):
    return [person for person in picture.people if not person.crowd and person.num_joints]


def _turned(boxes, matrix):
    """Upright boxes (n, 4) around turned people, taken for ellipses: around turned boxes they would be too large."""
    middle = augment.warp_points((boxes[:, :2] + boxes[:, 2:] - 1) / 2, matrix) + 0.5
    reach = np.sqrt(np.square((boxes[:, 2:] - boxes[:, :2]) / 2) @ np.square(matrix[:, :2]).T)
    return np.concatenate([middle - reach, middle + reach], axis=1)

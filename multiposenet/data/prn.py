"""What the Pose Residual Network trains on: joints in person grids, from annotations alone (METHOD section 5)."""

import numpy as np

from multiposenet.codecs.person_grid import INPUT_SIGMA, TARGET_SIGMA, encode
from multiposenet.data.batches import Source
from multiposenet.errors import UserError


class PrnSource(Source):
    """x: (rows, columns, K) grid of every joint of the picture seen from one person's box; y: the owner's joints alone.

    Held as one array over all people, those of a picture side by side, so that a batch is a few array operations.

    Args:
        pictures: list of `Picture`; no file is opened.
        config: `Config`; `prn`, `model.grid` and `model.box_margin` are used.
        skeleton: for the mirror.
        varied: False switches every variation off, for validation.

    Raises:
        UserError: nobody has `prn.min_joints` labelled joints.
    """

    def __init__(self, pictures, config, skeleton, varied=True):
        self.config, self.skeleton, self.varied = config, skeleton, varied
        groups = [[person for person in picture.people if not person.crowd and person.num_joints]
                  for picture in pictures]
        counts = np.array([len(group) for group in groups], int)
        everyone = [person for group in groups for person in group]
        self.keypoints = np.array([person.keypoints for person in everyone], "float32").reshape(-1, len(skeleton), 3)
        self.keypoints[..., 2] = self.keypoints[..., 2] > 0  # hidden or not, they are all of one height in a grid
        self.boxes = np.array([person.box_xyxy for person in everyone], "float32").reshape(-1, 4)
        self.first = np.repeat(np.cumsum(counts) - counts, counts)  # of the people in the same picture
        self.count = np.repeat(counts, counts)
        names = np.repeat([picture.name for picture in pictures], counts)
        self.labels = [f"{name} person {person.id}" for name, person in zip(names, everyone)]
        enough = (self.keypoints[..., 2] > 0).sum(axis=1) >= config.prn.min_joints
        self.owners = np.nonzero(enough & (self.boxes[:, 2:] > self.boxes[:, :2]).all(axis=1))[0]
        if not len(self.owners):
            raise UserError(f"nobody has a box and prn.min_joints = {config.prn.min_joints} labelled joints: "
                            "nothing to train on")

    def __len__(self):
        return len(self.owners)

    def names(self, indices):
        return [self.labels[i] for i in self.owners[indices]]

    def load(self, indices, rng):
        owners = self.owners[indices]
        boxes, keypoints = self.boxes[owners], self._in_picture(owners)
        if self.varied:
            keypoints = self._mirrored(boxes, keypoints, rng)
            boxes = self._shifted(boxes, rng)
        own = keypoints[np.arange(len(owners)), owners - self.first[owners]]
        seen = self._disturbed(boxes, keypoints, rng) if self.varied else keypoints
        place = self.config.model.grid, self.config.model.box_margin
        return encode(boxes, seen, *place, INPUT_SIGMA), encode(boxes, own[:, None], *place, TARGET_SIGMA)

    def _in_picture(self, owners):
        """(batch, people, K, 3): everybody in each owner's picture, v = 0 where there are fewer."""
        place = np.arange(self.count[owners].max())
        there = place < self.count[owners, None]
        keypoints = self.keypoints[np.where(there, self.first[owners, None] + place, 0)]
        keypoints[~there] = 0
        return keypoints

    def _mirrored(self, boxes, keypoints, rng):
        """Left to right about the box's middle, joints renamed, in a share of the samples."""
        chosen = rng.random(len(boxes)) < self.config.prn.mirror
        mirrored = keypoints[chosen][:, :, self.skeleton.mirror_order]
        mirrored[..., 0] = boxes[chosen][:, [0, 2]].sum(axis=1)[:, None, None] - 1 - mirrored[..., 0]  # pixel centres
        keypoints[chosen] = mirrored
        return keypoints

    def _shifted(self, boxes, rng):
        """Each edge by up to `box_jitter` of its side, as a detector errs; below 0.5 a box cannot turn inside out."""
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        return boxes + sides * (self.config.prn.box_jitter * rng.uniform(-1, 1, boxes.shape)).astype("float32")

    def _disturbed(self, boxes, keypoints, rng):
        """The input's joints moved or withheld, as a keypoint head errs; the target keeps them."""
        spread = self.config.prn.joint_jitter * (boxes[:, 2:] - boxes[:, :2])
        keypoints = keypoints.copy()
        keypoints[..., :2] += spread[:, None, None] * rng.standard_normal(keypoints[..., :2].shape, "float32")
        keypoints[..., 2] *= rng.random(keypoints.shape[:-1]) >= self.config.prn.drop_joint
        return keypoints

"""What the activity classifier trains on: tables of poses, varied so that the detector's poses hold no surprise."""

from pathlib import Path

import numpy as np

from multiposenet.codecs import pose_vector
from multiposenet.data.batches import Source, is_held_out
from multiposenet.data.csv_rows import read_csv
from multiposenet.data.mpii import is_mpii, read_mpii
from multiposenet.data.pose_table import PoseTable, read_pose_csv, read_pose_json
from multiposenet.errors import UserError


def read_poses(path, skeleton, classes, rules=None, exclude=()):
    """One file of poses -> PoseTable: MPII's CSV (it has a column `Activity`), else our own CSV or JSON.

    Raises:
        UserError: another kind of file, or a fault in it.
    """
    name = str(path).lower().removesuffix(".gz")
    if name.endswith(".json"):
        return read_pose_json(path, skeleton, classes)
    if not name.endswith(".csv"):
        raise UserError(f"{path}: poses are read from .csv or .json files (or those with .gz)")
    if is_mpii(read_csv(path)[0]):
        return read_mpii(path, skeleton, classes, rules or {}, exclude)
    return read_pose_csv(path, skeleton, classes)


def read_pose_sets(config, skeleton):
    """All of `config.data.sets` in one PoseTable.

    Raises:
        UserError: no set, a class without a pose, or a fault in a file.
    """
    data, classes = config.data, config.model.activities
    if not data.sets:
        raise UserError("data.sets is empty: name at least one {annotations: FILE} of poses with activities")
    for entry in data.sets:
        if entry.repeat != 1:
            raise UserError(f"data.sets: {entry.annotations}: leave out repeat, see activity.balance")
    table = PoseTable.join([read_poses(Path(data.root) / entry.annotations, skeleton, classes,
                                       config.activity.rules, config.activity.exclude) for entry in data.sets])
    for name, count in zip(classes, np.bincount(table.labels, minlength=len(classes))):
        if not count:
            raise UserError(f"no pose of the class {name!r} in data.sets; look at activity.rules and model.activities")
    return table


def hold_out(table, share):
    """(training, validation): split by the groups' names alone, so that a picture's people stay together."""
    held = np.array([is_held_out(name, share) for name in table.groups], bool)
    return table.take(~held), table.take(held)


class ActivitySource(Source):
    """x: (batch, `pose_vector.size`) vectors; y: (batch, classes) one-hot, float32.

    In training the smaller classes' poses are repeated: unlike class weights this shows them under more variations and
    leaves the loss as it is.

    Args:
        table: PoseTable.
        config: `Config`; `activity` and of `model` pose_min_score and pose_pairs are used.
        skeleton: for the mirror.
        varied: False gives every pose once and as it is, for validation and tests.
    """

    def __init__(self, table, config, skeleton, varied=True):
        self.table, self.settings, self.skeleton, self.varied = table, config.activity, skeleton, varied
        self.model = config.model
        self.rows = balanced(table.labels, self.settings.balance) if varied else np.arange(len(table))

    def __len__(self):
        return len(self.rows)

    def names(self, indices):
        return [str(self.table.groups[row]) for row in self.rows[indices]]

    def load(self, indices, rng):
        rows = self.rows[indices]
        poses, boxes = self.table.poses[rows], self.table.boxes[rows]
        if self.varied:
            poses, boxes = vary(poses, boxes, self.settings, self.skeleton, rng)
        targets = np.eye(len(self.table.classes), dtype="float32")[self.table.labels[rows]]
        return pose_vector.encode(poses, boxes, self.model.pose_min_score, self.model.pose_pairs), targets


def balanced(labels, balance):
    """Rows of a training epoch, smaller classes repeated.

    Args:
        labels: (N,) ints.
        balance: 0 takes every row once, 1 makes all classes as large as the largest; between, a class of n rows comes to
            n^(1 - balance) x largest^balance.
    """
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    largest = max(len(rows) for rows in members)
    return np.concatenate([np.resize(rows, round(len(rows)**(1 - balance) * largest**balance)) for rows in members])


def vary(poses, boxes, settings, skeleton, rng):
    """Poses (n, K, 3) and boxes (n, 4) as another picture and a real detector might have given them.

    `settings` is an ActivityConfig. Mirroring, the box's edges moved, joints displaced and joints missing.
    """
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    mirrored = rng.random(len(poses)) < settings.mirror
    poses = np.where(mirrored[:, None, None], mirror(poses, boxes, skeleton), poses)
    boxes = boxes + (sides * rng.uniform(-1, 1, boxes.shape) * settings.box_jitter).astype("float32")
    noise = rng.normal(0, settings.joint_jitter, (*poses.shape[:2], 2)) * sides[:, None, :2]
    missing = rng.random(poses.shape[:2]) < settings.drop_joint
    points = poses[..., :2] + noise.astype("float32")
    return np.concatenate([points, poses[..., 2:] * ~missing[..., None]], axis=-1), boxes


def mirror(poses, boxes, skeleton):
    """Poses (n, K, 3) mirrored left to right inside their boxes (n, 4), left and right joints exchanged."""
    poses = poses[:, skeleton.mirror_order].copy()
    poses[..., 0] = boxes[:, None, 0] + boxes[:, None, 2] - 1 - poses[..., 0]  # x is a pixel's centre, boxes are edges
    return poses

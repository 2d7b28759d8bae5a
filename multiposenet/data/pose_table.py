"""Poses with their activities, in one table; and our own CSV and JSON files of them.

CSV: columns image, activity, x1, y1, x2, y2 (the box) and, for each joint of the skeleton, <joint>_x, <joint>_y,
<joint>_v (COCO's visibility, or a score; an empty cell or 0 means missing).
JSON: a list of COCO results as infer.py writes them: file_name (or image, or image_id), bbox (x, y, width, height),
keypoints (x, y, v of each joint, flat) and activity. So infer.py's output can be corrected by hand and trained on.
A COCO annotation file whose annotations have an `activity` is read too; a picture's `action`, as in sets of Stanford 40,
is that of its first person.
People without an activity or without joints are left out and counted. All may be gzipped.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from multiposenet.data.coco import read_coco
from multiposenet.data.csv_rows import check_columns, number, read_csv
from multiposenet.errors import UserError
from multiposenet.files import read_json
from multiposenet.geometry import xywh_to_xyxy

BOX = ("x1", "y1", "x2", "y2")


@dataclass
class PoseTable:
    """N people.

    Args:
        poses: (N, K, 3) float32 x, y in pixels and v (or score); 0 is a missing joint.
        boxes: (N, 4) float32 x1, y1, x2, y2 in pixels.
        labels: (N,) int index into `classes`.
        groups: (N,) names of their pictures (MPII: videos); people of one group are never split.
        classes: names of the activities.
        dropped: how many rows of the files were left out, by reason.
    """

    poses: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    classes: tuple
    dropped: Counter = field(default_factory=Counter)

    @classmethod
    def from_people(cls, people, skeleton, classes, dropped):
        """From tuples (pose, box, label, group)."""
        poses, boxes, labels, groups = zip(*people) if people else ((),) * 4
        return cls(np.array(poses, "float32").reshape(-1, len(skeleton), 3), np.array(boxes, "float32").reshape(-1, 4),
                   np.array(labels, "int64"), np.array(groups, object), tuple(classes), Counter(dropped))

    @classmethod
    def join(cls, tables):
        """One table of several with the same classes."""
        columns = (np.concatenate([getattr(table, name) for table in tables])
                   for name in ("poses", "boxes", "labels", "groups"))
        return cls(*columns, tables[0].classes, sum((table.dropped for table in tables), Counter()))

    def __len__(self):
        return len(self.labels)

    def take(self, rows):
        """The table of the given rows (indices or a mask)."""
        return PoseTable(self.poses[rows], self.boxes[rows], self.labels[rows], self.groups[rows], self.classes)

    def describe(self):
        """One line: people a class, pictures, and what was left out."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        parts = [f"{count} {name}" for name, count in zip(self.classes, counts)]
        parts.append(f"{len(set(self.groups))} pictures or videos")
        return ", ".join(parts + [f"left out {count} {reason}" for reason, count in self.dropped.items()])


def csv_header(skeleton):
    """Column names of our CSV."""
    return ["image", "activity", *BOX, *(f"{joint}_{part}" for joint in skeleton.joints for part in "xyv")]


def csv_row(image, activity, box_xyxy, keypoints):
    """Cells of one person under `csv_header`; keypoints (K, 3) x, y and score."""
    return [image, activity, *(f"{value:.6g}" for value in np.concatenate([box_xyxy, keypoints.ravel()]))]


def read_pose_csv(path, skeleton, classes):
    """Our CSV -> PoseTable.

    Raises:
        UserError: naming the file and the row (as a spreadsheet counts: the header is row 1).
    """
    header, rows = read_csv(path)
    columns = csv_header(skeleton)
    check_columns(path, header, columns)
    columns = columns[-3 * len(skeleton):]

    def person(row):
        box = [number(row, name) for name in BOX]
        pose = [number(row, name, empty=0.0) for name in columns]
        return row["image"], row["activity"], box, pose

    return _table(path, "row", enumerate(rows, start=2), person, skeleton, classes)


def read_pose_json(path, skeleton, classes):
    """Our JSON, or COCO annotations with activities -> PoseTable.

    Raises:
        UserError: naming the file and the entry (the first is 0).
    """
    entries = read_json(path)
    if isinstance(entries, dict):
        people = [(picture.name, person, picture.extra.get("action") if number == 0 else None)
                  for picture in read_coco(path, skeleton=skeleton) for number, person in enumerate(picture.people)]
        return _table(path, "person", enumerate(people), _coco_person, skeleton, classes)
    if not isinstance(entries, list):
        raise UserError(f"{path}: expected a list of people as infer.py writes it, found a {type(entries).__name__}")
    return _table(path, "entry", enumerate(entries), _result_person, skeleton, classes)


def _result_person(entry):
    if not isinstance(entry, dict):
        raise ValueError(f"expected a person's fields, found {entry!r}")
    name = next((entry[key] for key in ("file_name", "image", "image_id") if key in entry), "")
    if np.shape(entry["bbox"]) != (4,):
        raise ValueError(f"bbox {entry['bbox']} is not x, y, width, height")
    return name, entry.get("activity"), xywh_to_xyxy(entry["bbox"]), entry["keypoints"]


def _coco_person(entry):
    name, person, action = entry
    activity = None if person.crowd else person.extra.get("activity", action)
    return name, activity, person.box_xyxy, person.keypoints.ravel()


def _table(path, kind, rows, person, skeleton, classes):
    people, dropped = [], Counter()
    for i, row in rows:
        try:
            name, activity, box, pose = person(row)
            if activity is None or not str(activity).strip():
                dropped["without an activity"] += 1
                continue
            checked = _checked(name, str(activity).strip(), box, pose, skeleton, classes)
            if checked[0].any():
                people.append(checked)
            else:
                dropped["without joints"] += 1
        except KeyError as error:
            raise UserError(f"{path}: {kind} {i}: {error} is missing") from None
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}: {kind} {i}: {error}") from None
    return PoseTable.from_people(people, skeleton, classes, dropped)


def _checked(name, activity, box, pose, skeleton, classes):
    if not str(name).strip():
        raise ValueError("the picture has no name")
    if activity not in classes:
        raise ValueError(f"activity {activity!r} is not one of model.activities: {', '.join(classes)}")
    box, pose = np.asarray(box, "float32"), np.asarray(pose, "float32")
    if box.shape != (4,) or not np.isfinite(box).all() or (box[2:] <= box[:2]).any():
        raise ValueError(f"the box {np.round(box, 1).tolist()} (x1, y1, x2, y2) is not four numbers, or empty")
    if pose.shape != (3 * len(skeleton),) or not np.isfinite(pose).all():
        raise ValueError(f"keypoints must be {3 * len(skeleton)} finite numbers (x, y, v of {len(skeleton)} joints)")
    pose = pose.reshape(-1, 3)
    return pose * (pose[:, 2:] > 0), box, classes.index(activity), str(name).strip()

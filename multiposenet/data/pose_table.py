"""Poses with their activities, in one table; and our own CSV and JSON files of them.

CSV: columns image, activity, x1, y1, x2, y2 (the box) and, for each joint of the skeleton, <joint>_x, <joint>_y,
<joint>_v (COCO's visibility, or a score; an empty cell or 0 means missing).
JSON: a list of COCO results as infer.py writes them: file_name (or image, or image_id), bbox (x, y, width, height),
keypoints (x, y, v of each joint, flat) and activity. So infer.py's output can be corrected by hand and trained on.
Rows and entries without an activity are left out and counted. Both may be gzipped.
"""

import csv
import gzip
import io
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from multiposenet.data.coco import load_json
from multiposenet.errors import UserError
from multiposenet.geometry import xywh_to_xyxy

BOX = ("x1", "y1", "x2", "y2")
NO_ACTIVITY = "without an activity"


@dataclass
class PoseTable:
    """N people.

    Args:
        poses: (N, K, 3) float32 x, y in pixels and v (or score); 0 is a missing joint.
        boxes: (N, 4) float32 x1, y1, x2, y2 in pixels.
        labels: (N,) int index into `classes`.
        groups: (N,) names of their pictures.
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
        """From tuples (pose, box, label, picture's name)."""
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
        parts += [f"{len(set(self.groups))} pictures"] + [f"left out {n} {reason}" for reason, n in self.dropped.items()]
        return ", ".join(parts)


def read_pose_csv(path, skeleton, classes):
    """Our CSV -> PoseTable.

    Raises:
        UserError: naming the file and the row (as a spreadsheet counts: the header is row 1).
    """
    header, rows = read_csv(path)
    columns = [f"{joint}_{part}" for joint in skeleton.joints for part in "xyv"]
    check_columns(path, header, ("image", "activity", *BOX, *columns))

    def person(row):
        box = [number(row, name) for name in BOX]
        pose = [number(row, name, empty=0.0) for name in columns]
        return row["image"], row["activity"], box, pose

    return _table(path, "row", enumerate(rows, start=2), person, skeleton, classes)


def read_pose_json(path, skeleton, classes):
    """Our JSON -> PoseTable.

    Raises:
        UserError: naming the file and the entry (the first is 0).
    """
    entries = load_json(path)
    if not isinstance(entries, list):
        raise UserError(f"{path}: expected a list of people as infer.py writes it, found a {type(entries).__name__}")

    def person(entry):
        if not isinstance(entry, dict):
            raise ValueError(f"expected a person's fields, found {entry!r}")
        name = next((entry[key] for key in ("file_name", "image", "image_id") if key in entry), "")
        return name, entry.get("activity"), xywh_to_xyxy(entry["bbox"]), entry["keypoints"]

    return _table(path, "entry", enumerate(entries), person, skeleton, classes)


def read_csv(path):
    """Header and rows (dicts) of a CSV file, plain or gzipped.

    Raises:
        UserError: a file that cannot be read, or a row with too many or too few cells.
    """
    try:
        raw = Path(path).read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        header, rows = reader.fieldnames or [], list(reader)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (EOFError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: damaged, or not a CSV file in UTF-8 ({error})") from None
    for i, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise UserError(f"{path}: row {i} has too {'many' if None in row else 'few'} cells, "
                            f"the header has {len(header)}")
    return header, rows


def check_columns(path, header, needed):
    """Raises UserError unless the header has the needed columns."""
    missing = [name for name in needed if name not in header]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing[:4])}{', ...' if len(missing) > 4 else ''}; "
                        f"the header has {', '.join(header[:8]) or 'nothing'}{', ...' if len(header) > 8 else ''}")


def number(row, column, empty=None):
    """A cell as float; an empty one as `empty`, if that is given."""
    if empty is not None and not row[column].strip():
        return empty
    try:
        return float(row[column])
    except ValueError:
        raise ValueError(f"column {column}: {row[column]!r} is not a number") from None


def _table(path, kind, rows, person, skeleton, classes):
    people, dropped = [], Counter()
    for i, row in rows:
        try:
            name, activity, box, pose = person(row)
            if activity is None or not str(activity).strip():
                dropped[NO_ACTIVITY] += 1
            else:
                people.append(_checked(name, str(activity).strip(), box, pose, skeleton, classes))
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

"""MPII Human Pose as one CSV: a person a row with 16 joints, and the activity in words (Andriluka et al., CVPR 2014).

Two things differ from what our detector gives, and are made alike here. The face: MPII has only `upper neck` and
`head top`, so nose, eyes and ears are placed between them. The box: MPII has none, so the joints' is widened.
"""

import re
from collections import Counter
from itertools import groupby

import numpy as np

from multiposenet.data.csv_rows import check_columns, number, read_csv
from multiposenet.data.pose_table import PoseTable
from multiposenet.errors import UserError

BODY = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
# Along the line from upper neck to head top, and across in shares of the line from right to left shoulder. Chosen so
# that the median heights above the shoulders, in torso lengths, and the median widths are those of COCO train2017:
# nose 0.33, eyes 0.40, ears 0.37 with MPII's neck at 0.11 and head top at 0.68; eyes 0.21, ears 0.53 shoulders apart.
FACE = {"nose": (0.38, 0.0), "left_eye": (0.51, 0.105), "right_eye": (0.51, -0.105),
        "left_ear": (0.45, 0.265), "right_ear": (0.45, -0.265)}
# Left, top, right, bottom, in shares of the square root of the area of the joints' box: medians of COCO's boxes
# around COCO's joints (0.09 to 0.12 at the sides, 0.10 to 0.15 below). None above: the head top is a joint.
MARGINS = np.array([-0.10, 0.0, 0.10, 0.12])
MIN_JOINTS = 4  # as in PRN training: fewer say nothing


def is_mpii(header):
    """Whether a CSV's header is MPII's."""
    return "Activity" in header


def read_mpii(path, skeleton, classes, rules, exclude=()):
    """MPII's CSV -> PoseTable; the class comes from the text "category: activity" (see `ActivityConfig`).

    Raises:
        UserError: a broken file or rule; the file and row, or the rule, are named.
    """
    classify = Classifier(rules, exclude, classes)
    header, rows = read_csv(path)
    names = [column[:-2] for column in header if column.endswith("_X")]
    needed = [f"{side} {joint}" for side in "lr" for joint in BODY] + ["upper neck", "head top"]
    check_columns(path, header, ["NAME", "Activity", "Category"] + [f"{joint}_{c}" for joint in needed for c in "XY"])
    people, dropped = [], Counter()
    for i, (row, video) in enumerate(zip(rows, videos(rows)), start=2):
        label = classify(_text(row))
        if isinstance(label, str):
            dropped[label] += 1
            continue
        try:
            points = {name: np.array([number(row, f"{name}_X"), number(row, f"{name}_Y")]) for name in names}
            if not np.isfinite(list(points.values())).all():
                raise ValueError("a joint is not a finite number")
        except ValueError as error:
            raise UserError(f"{path}: row {i}: {error}") from None
        points = {name: point for name, point in points.items() if (point != -1).any()}
        if len(points) < MIN_JOINTS:
            dropped[f"with fewer than {MIN_JOINTS} joints"] += 1
        else:
            box = box_around(np.array(list(points.values())))
            people.append((to_skeleton(points, skeleton), box, label, video))
    return PoseTable.from_people(people, skeleton, classes, dropped)


class Classifier:
    """Text -> index of its class, or the reason (str) why it has none.

    Args:
        rules: class -> regular expressions (upper and lower case alike); one must match.
        exclude: regular expressions; none may match.
        classes: names of all classes; each needs a rule.

    Raises:
        UserError: a class without rules, a rule without class, or a broken regular expression.
    """

    def __init__(self, rules, exclude, classes):
        if set(rules) != set(classes):
            raise UserError("activity.rules must be given for exactly the classes of model.activities "
                            f"({', '.join(classes)}), found {', '.join(rules) or 'none'}")
        self.rules = [[_compiled(rule, f"activity.rules.{name}") for rule in rules[name]] for name in classes]
        self.exclude = [_compiled(rule, "activity.exclude") for rule in exclude]
        self.known = {}

    def __call__(self, text):
        if text not in self.known:
            self.known[text] = self._classify(text)
        return self.known[text]

    def _classify(self, text):
        found = [i for i, rules in enumerate(self.rules) if any(rule.search(text) for rule in rules)]
        if not found:
            return "of no class"
        if any(rule.search(text) for rule in self.exclude):
            return "excluded"
        return found[0] if len(found) == 1 else "of two classes"


def videos(rows):
    """A name for each row's video, as a list: MPII's pictures are frames of videos that the table does not name.

    Rows that follow each other with the same text are taken for one video, named after its first picture. Rows of one
    picture always get one name.
    """
    names = {}
    for _, run in groupby(rows, key=_text):
        run = list(run)
        for row in run:
            names.setdefault(row["NAME"], run[0]["NAME"])
    return [names[row["NAME"]] for row in rows]


def to_skeleton(points, skeleton):
    """(K, 3) float32 x, y, v = 2 in our joint order, zeros where missing or beyond the picture's left or top edge.

    Args:
        points: MPII joint name -> (2,) pixels; names that are not there are missing.
    """
    pose = np.zeros((len(skeleton), 3), "float32")
    for k, joint in enumerate(skeleton.joints):
        side, _, part = joint.partition("_")
        point = points.get(f"{side[0]} {part}") if part in BODY else _face_point(joint, points)
        if point is not None and (point >= 0).all():
            pose[k] = *point, 2
    return pose


def box_around(points):
    """(n, 2) joints -> (4,) float32 the box a detector would draw, cut at the picture's left and top edges."""
    low, high = points.min(0), points.max(0)
    size = np.sqrt(np.prod(np.maximum(high - low, 1)))
    return np.maximum(np.concatenate([low, high + 1]) + MARGINS * size, 0).astype("float32")


def _text(row):
    return f"{row['Category']}: {row['Activity']}"


def _face_point(joint, points):
    try:
        along, across = FACE[joint]
        neck, top, left, right = (points[name] for name in ("upper neck", "head top", "l shoulder", "r shoulder"))
    except KeyError:
        return None
    return neck + along * (top - neck) + across * (left - right)


def _compiled(rule, key):
    try:
        return re.compile(rule, re.IGNORECASE)
    except re.error as error:
        raise UserError(f"{key}: {rule!r} is not a regular expression: {error}") from None

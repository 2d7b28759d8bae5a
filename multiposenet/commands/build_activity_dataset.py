"""`build_activity_dataset.py`: pictures with activity labels -> a table of poses for train_activity.py."""

import argparse
import csv
import functools
import os
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from multiposenet import geometry
from multiposenet.commands.common import add_config_arguments, predict_config, quiet_tensorflow, run
from multiposenet.data.csv_rows import check_columns, number, read_csv
from multiposenet.data.pictures import find_pictures
from multiposenet.data.pose_table import BOX, csv_header, csv_row
from multiposenet.errors import UserError

PERSONS = ("largest", "all", "nearest")
REJECTED = ".rejected.csv"


def main(argv=None):
    """Exit status 0, 2 for a mistake of the user, 130 after Ctrl-C."""
    return run(build, _parser().parse_args(argv))


def build(args):
    """Find the poses of labelled pictures; every picture ends up in the table or, with the reason, beside it."""
    labelled = read_labels(args.source)
    if args.person == "nearest" and any(box is None for _, _, box in labelled):
        raise UserError(f"{args.source}: --person nearest needs the columns {', '.join(BOX)}")
    with quiet_tensorflow():
        from multiposenet.prediction import Predictor
        from multiposenet.weights import load_pretrained
    table, rejected = args.output, Path(f"{args.output}{REJECTED}")
    done = _finished(table, rejected) if args.resume else _refuse_to_replace(table, rejected)
    predictor = Predictor(load_pretrained(args.weights), predict_config(args, score_threshold=args.score))
    choose = functools.partial(choose_people, person=args.person, min_score=predictor.config.score_threshold,
                               joint_score=predictor.config.joint_threshold, min_joints=args.min_joints)
    waiting = [entry for entry in labelled if str(entry[0]) not in done]
    with _Table(table, csv_header(predictor.skeleton)) as poses, _Table(rejected, ["image", "activity", "reason"]) as out:
        predictions = predictor.predict_files([path for path, _, _ in waiting])
        for (path, activity, box), prediction in zip(waiting, tqdm(predictions, total=len(waiting), unit="picture")):
            people, reason = ([], str(prediction.error)) if prediction.error else choose(prediction.people, box)
            rows = [csv_row(path, activity, person.box_xyxy, _sure(person.keypoints, predictor.config.joint_threshold))
                    for person in people]
            poses.add(rows)
            out.add([] if rows else [[path, activity, reason]])
    print(_summary(table, rejected))


def read_labels(source):
    """List of (path, activity, box or None) from a folder with one folder a class, or a CSV.

    The CSV has the columns image (relative to the CSV's folder), activity and, for --person nearest, x1, y1, x2, y2.

    Raises:
        UserError: neither, or a fault in it.
    """
    source = Path(source)
    if source.is_dir():
        folders = sorted(folder for folder in source.iterdir() if folder.is_dir())
        if not folders:
            raise UserError(f"{source}: no folders in it; expected one a class, such as {source / 'walking'}")
        return [(path, folder.name, None) for folder in folders for path in find_pictures([folder])]
    header, rows = read_csv(source)
    check_columns(source, header, ("image", "activity"))
    return [(source.parent / row["image"], row["activity"].strip(), _box(source, i, row, header))
            for i, row in enumerate(rows, start=2)]


def choose_people(people, box, person, min_score, joint_score, min_joints):
    """Which of a picture's people the label is meant for.

    Args:
        people: list of `Person`.
        box: (4,) x1, y1, x2, y2 in pixels, for "nearest".
        person: "largest" box, "all", or "nearest": the one that overlaps `box` most.
        min_score: least box score.
        joint_score: a joint counts from this score on.
        min_joints: least number of such joints.

    Returns:
        (list of `Person`, reason why it is empty).
    """
    if not people:
        return [], "nobody found"
    people = [found for found in people if found.box_score >= min_score]
    if not people:
        return [], "no certain person"
    if person == "largest":
        people = [max(people, key=lambda found: geometry.area(found.box_xyxy))]
    if person == "nearest":
        overlaps = geometry.iou(np.array([box]), np.array([found.box_xyxy for found in people]))[0]
        if not overlaps.max() > 0:
            return [], "nobody at the given box"
        people = [people[int(overlaps.argmax())]]
    people = [found for found in people if (found.keypoints[:, 2] >= joint_score).sum() >= min_joints]
    return people, "too few joints"


def _parser():
    parser = argparse.ArgumentParser(prog="build_activity_dataset.py", description=__doc__.split(":", 1)[1].strip())
    parser.add_argument("source", help="folder with one folder of pictures a class, or a CSV with columns image, activity "
                        "and perhaps x1, y1, x2, y2")
    parser.add_argument("--output", required=True, type=Path, metavar="CSV", help="the table; rejected pictures and why "
                        f"go into CSV{REJECTED}")
    parser.add_argument("--weights", default="lite", help="shipped weights by name, or a .keras file (default: lite)")
    parser.add_argument("--person", choices=PERSONS, default="largest", help="whom a picture's label is meant for "
                        "(nearest: to the CSV's box)")
    parser.add_argument("--score", type=float, help="least box score (predict.score_threshold)")
    parser.add_argument("--min-joints", type=int, default=8, help="least joints above predict.joint_threshold (default: 8)")
    parser.add_argument("--resume", action="store_true", help="go on with a table that is there")
    add_config_arguments(parser, preset=False)
    return parser


class _Table:
    """A CSV that grows by whole pictures, so that a killed run loses one picture at most."""

    def __init__(self, path, header):
        self.path, self.header = path, header

    def __enter__(self):
        try:
            self.file = open(self.path, "a", newline="", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror}); choose another --output") from None
        if not self.file.tell():
            self.add([self.header])
        return self

    def __exit__(self, *_):
        self.file.close()

    def add(self, rows):
        try:
            csv.writer(self.file).writerows(rows)
            self.file.flush()
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror}); make room and add --resume") from None


def _refuse_to_replace(*paths):
    for path in paths:
        if path.exists():
            raise UserError(f"{path}: exists already; choose another --output or add --resume")
    return set()


def _finished(*paths):
    """Names of the pictures in the tables; a last line that a kill cut short goes."""
    done = set()
    for path in filter(Path.exists, paths):
        raw = path.read_bytes()
        os.truncate(path, raw.rfind(b"\n") + 1)
        done |= {row["image"] for row in read_csv(path)[1]}
    return done


def _sure(keypoints, threshold):
    """Joints below the threshold count as missing."""
    return keypoints * (keypoints[:, 2:] >= threshold)


def _box(source, i, row, header):
    if not set(BOX) <= set(header):
        return None
    try:
        return np.array([number(row, name) for name in BOX], "float32")
    except ValueError as error:
        raise UserError(f"{source}: row {i}: {error}") from None


def _summary(table, rejected):
    found, lost = read_csv(table)[1], read_csv(rejected)[1]
    lines = [f"{len(found)} people of {len({row['image'] for row in found})} pictures in {table}: "
             + ", ".join(f"{count} {name}" for name, count in Counter(row["activity"] for row in found).items())]
    reasons = Counter(row["reason"].removeprefix(row["image"]).split(":")[-1].strip() for row in lost)
    lines += [f"rejected {count} pictures: {reason}" for reason, count in reasons.most_common()]
    return "\n".join(lines)

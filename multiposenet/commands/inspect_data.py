"""`inspect_data.py`: what is in a COCO-format set, and what is wrong with it."""

import argparse
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from multiposenet.commands.common import run
from multiposenet.data import inspection
from multiposenet.data.coco import read_coco
from multiposenet.data.pictures import read_picture
from multiposenet.drawing import as_jpeg, draw_people
from multiposenet.errors import UserError
from multiposenet.files import make_folder, write_whole
from multiposenet.geometry import Letterbox
from multiposenet.prediction import Person, on_canvas
from multiposenet.skeleton import skeleton_of

REPORT = "inspection.json"
EXAMPLES = 5  # drawn, of each kind
SIDE_COLORS = {"left": (0, 220, 0), "right": (255, 0, 0)}  # RGB
PAIR_SIDE = 384  # pixels, of each picture of a pair


def main(argv=None):
    """Exit status: 0 nothing is wrong for certain, 1 there are errors, 2 a mistake of the user, 130 Ctrl-C."""
    return run(inspect, _parser().parse_args(argv))


def inspect(args):
    """Inspect, print and write; returns the exit status."""
    skeleton = skeleton_of(args.annotations)
    pictures = read_coco(args.annotations, args.images, skeleton)
    others = read_coco(args.against, args.against_images or args.images, skeleton) if args.against else None
    if args.output:
        make_folder(args.output)
    counts = inspection.count(pictures, skeleton)
    findings = find(pictures, skeleton, others)
    print("\n".join(_counts(counts) + _summary(findings, args.show)))
    if args.output:
        report = dict(annotations=args.annotations, counts=counts, findings=[found.as_dict() for found in findings])
        write_whole(args.output / REPORT, json.dumps(report, indent=1))
        _draw_worst(findings, skeleton, args.output)
        print(f"all findings and the worst pictures are in {args.output}")
    return int(any(found.kind in inspection.ERRORS for found in findings))


def find(pictures, skeleton, others=None):
    """All `Finding`s of a set, by kind and the worst first."""
    scans = [inspection.scan(picture) for picture in tqdm(pictures, unit="picture")]
    findings = [found.finding for found in scans if found.finding]
    findings += [found for picture in pictures for found in inspection.label_findings(picture, skeleton)]
    findings += inspection.pair_findings(pictures, scans)
    if others is not None:
        other_scans = [inspection.scan(picture) for picture in tqdm(others, unit="picture", desc="the other set")]
        findings += inspection.pair_findings(pictures, scans, others, other_scans)
    order = [*inspection.ERRORS, *inspection.SUSPECTS]
    return sorted(findings, key=lambda found: (order.index(found.kind), -found.size))


def _parser():
    parser = argparse.ArgumentParser(prog="inspect_data.py", description=__doc__.split(":", 1)[1].strip())
    parser.add_argument("--annotations", required=True, metavar="FILE", help="COCO-format JSON, plain or gzipped")
    parser.add_argument("--images", required=True, metavar="DIR", help="folder of its pictures")
    parser.add_argument("--against", metavar="FILE", help="another set that should share no picture, such as val")
    parser.add_argument("--against-images", metavar="DIR", help="folder of its pictures (default: that of --images)")
    parser.add_argument("--output", type=Path, metavar="DIR", help=f"for {REPORT} and drawings of the worst findings")
    parser.add_argument("--show", type=int, default=3, metavar="N", help="findings of each kind to print (default: 3)")
    return parser


def _counts(counts):
    people = counts["people"]
    per_picture = ", ".join(f"{number} with {n}" for n, number in counts["pictures_by_people"].items())
    joints = ", ".join(f"{name} {number}" for name, number in counts["labelled_joints"].items())
    return [f"{counts['pictures']} pictures, {people} people ({counts['people_with_joints']} with joints), "
            f"{counts['crowds']} crowds", f"pictures by people: {per_picture}", f"labelled joints: {joints}"]


def _summary(findings, show):
    lines, by_kind = [], Counter(found.kind for found in findings)
    for title, kinds in (("errors", inspection.ERRORS), ("suspects", inspection.SUSPECTS)):
        lines.append(f"{title}: {sum(by_kind[kind] for kind in kinds)}")
        for kind, meaning in kinds.items():
            if by_kind[kind]:
                lines.append(f"  {kind} ({meaning}): {by_kind[kind]}")
                lines += [f"    {found.line}" for found in findings if found.kind == kind][:show]
    return lines


def _draw_worst(findings, skeleton, folder):
    for kind in dict.fromkeys(found.kind for found in findings):
        for rank, found in enumerate([found for found in findings if found.kind == kind][:EXAMPLES], start=1):
            try:
                drawn = _drawn(found, skeleton)
            except UserError:  # an unreadable picture cannot be shown
                continue
            name = f"{kind}_{rank}_{Path(found.picture.name).stem}.jpg"
            write_whole(folder / name, as_jpeg(drawn))


def _drawn(found, skeleton):
    """(h, w, 3) uint8 RGB: the person on the picture, or two pictures side by side."""
    pixels = read_picture(found.picture.file)
    if found.other:
        pair = (pixels, read_picture(found.other.file))
        return np.hstack([on_canvas(p, Letterbox.fit_into(*p.shape[:2], PAIR_SIDE, PAIR_SIDE)) for p in pair])
    people = [found.person] if found.person else found.picture.people
    drawn = draw_people(pixels, [Person(p.box_xyxy, 1.0, p.keypoints) for p in people], skeleton)
    return _mark_sides(drawn, people, skeleton, drawn.shape[0] / pixels.shape[0])


def _mark_sides(drawn, people, skeleton, factor):
    """Left joints green, right joints red, on a drawing `factor` times as large as the picture."""
    for person in people:
        for name, (x, y, v) in zip(skeleton.joints, person.keypoints.tolist()):
            side = name.split("_")[0]
            if v and side in SIDE_COLORS:
                place = round(x * factor), round(y * factor)
                cv2.circle(drawn, place, max(3, max(drawn.shape) // 150), SIDE_COLORS[side], -1)
    return drawn

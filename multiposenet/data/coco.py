"""COCO-format annotation files, checked entry by entry. Plain or gzipped JSON."""

import contextlib
import io
import operator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np
from pycocotools.coco import COCO

from multiposenet.errors import UserError
from multiposenet.files import read_json
from multiposenet.geometry import xywh_to_xyxy
from multiposenet.skeleton import COCO17, person_category


UNSURE = 0.1  # a teacher's joint scored between this and its threshold may be there or not


@dataclass
class Person:
    """One annotation. `keypoints` (K, 3) x, y, v in pixels, all zeros where the joint is not labelled."""

    id: int
    box_xyxy: np.ndarray
    keypoints: np.ndarray
    crowd: bool
    area: float
    segmentation: Any = None
    extra: dict = field(default_factory=dict, repr=False)

    @property
    def num_joints(self):
        """Labelled joints."""
        return int((self.keypoints[:, 2] > 0).sum())

    @property
    def unsure_joints(self):
        """(K, 3) x, y, 1: joints that a teacher half saw (`teacher_raw`), of which v = 0 means unknown, not absent; else zeros."""
        raw = np.reshape(self.extra.get("teacher_raw") or np.zeros_like(self.keypoints), (-1, 3))
        unsure = (self.keypoints[:, 2] == 0) & (raw[:, 2] >= UNSURE)
        return np.column_stack([raw[:, :2], np.ones(len(raw))]) * unsure[:, None]


@dataclass
class Picture:
    """One image entry and the people in it; `file` is None when no folder was given."""

    id: int
    name: str
    file: Optional[Path]
    height: int
    width: int
    people: list
    extra: dict = field(default_factory=dict, repr=False)


def read_coco(annotations, images=None, skeleton=COCO17):
    """Read the people of a COCO-format file; annotations of other categories are passed over (`person_category`).

    Args:
        annotations: path of the JSON, may end in `.gz`.
        images: folder of the pictures, or None when only labels are needed.
        skeleton: what the keypoints must be.

    Returns:
        List of `Picture` in the order of their ids.

    Raises:
        UserError: a missing or broken file, or an entry that is not as COCO defines it; both are named.
    """
    data = read_json(annotations)
    for key in ("images", "annotations"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise UserError(f"{annotations}: not a COCO annotation file, it has no list {key!r}")
    if images is not None and not Path(images).is_dir():
        raise UserError(f"{images}: no such folder of pictures (for {annotations})")
    pictures = {}
    for i, entry in enumerate(data["images"]):
        with _naming(annotations, "image", i, entry):
            name = entry["file_name"]
            if not isinstance(name, str):
                raise ValueError(f"file_name {name!r} is not a text")
            file = Path(images) / name if images is not None else None
            number, height, width = (_whole(entry, key) for key in ("id", "height", "width"))
            if number in pictures:
                raise ValueError(f"id {number} is there twice")
            if min(height, width) < 1:
                raise ValueError(f"{width} x {height} pixels are no picture")
            pictures[number] = Picture(number, name, file, height, width, [], entry)
    category = person_category(data, annotations)
    for i, entry in enumerate(data["annotations"]):
        with _naming(annotations, "annotation", i, entry):
            if entry["image_id"] not in pictures:
                raise ValueError(f"image_id {entry['image_id']} is not among the images")
            if category and entry["category_id"] != category["id"]:
                continue
            picture = pictures[entry["image_id"]]
            picture.people.append(_person(entry, len(skeleton), (picture.height, picture.width)))
    return [pictures[i] for i in sorted(pictures)]


def region_mask(person, height, width):
    """(height, width) uint8: 1 where the person is, by segmentation (polygons or RLE), else by box."""
    mask = np.zeros((height, width), "uint8")
    if person.segmentation:
        annotation = {"image_id": 0, "segmentation": person.segmentation}
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
            coco = COCO()
        coco.imgs = {0: {"height": height, "width": width}}
        return coco.annToMask(annotation)
    x1, y1, x2, y2 = np.clip(np.round(person.box_xyxy), 0, [width, height] * 2).astype(int)
    mask[y1:y2, x1:x2] = 1
    return mask


def _whole(entry, key):
    if not isinstance(entry[key], (int, float)) or entry[key] != int(entry[key]):
        raise ValueError(f"{key} {entry[key]!r} is not a whole number")
    return int(entry[key])


def _person(entry, joints, size):
    box = np.asarray(entry["bbox"], "float32")
    if box.shape != (4,) or not np.isfinite(box).all() or (box[2:] < 0).any():
        raise ValueError(f"bbox {entry['bbox']} is not x, y, width, height")
    keypoints = np.asarray(entry.get("keypoints") or np.zeros(3 * joints), "float32")
    if keypoints.size != 3 * joints:
        raise ValueError(f"{keypoints.size} keypoint numbers, expected {3 * joints} (x, y, v of {joints} joints); other "
                         "joints than COCO's are named by model.skeleton, which takes this very file")
    if not np.isfinite(keypoints).all():
        raise ValueError("a keypoint is not a finite number")
    keypoints = keypoints.reshape(joints, 3)
    keypoints = keypoints * (keypoints[:, 2:] > 0)
    raw = np.asarray(entry.get("teacher_raw") or np.zeros(3 * joints), "float32")
    if raw.size != 3 * joints or not np.isfinite(raw).all():
        raise ValueError(f"teacher_raw is not x, y, score of {joints} joints")
    area = float(entry.get("area", box[2] * box[3]))
    if not np.isfinite(area):
        raise ValueError(f"area {area} is not a finite number")
    _check_segmentation(entry.get("segmentation"), size)
    return Person(entry.get("id", -1), xywh_to_xyxy(box), keypoints, bool(entry.get("iscrowd", 0)), area,
                  entry.get("segmentation"), entry)


def _check_segmentation(segmentation, size):
    """Raise ValueError where pycocotools would read or write beyond its memory."""
    if not segmentation:
        return
    if isinstance(segmentation, dict):
        if tuple(segmentation["size"]) != size:
            raise ValueError(f"segmentation of size {segmentation['size']}, but the picture has {list(size)}")
        counts = segmentation["counts"]
        runs = _runs(counts) if isinstance(counts, str) else [operator.index(run) for run in counts]
        if min(runs) < 0 or sum(runs) != size[0] * size[1]:
            raise ValueError("the segmentation's runs do not add up to the picture")
        return
    for polygon in segmentation:
        points = np.asarray(polygon, float)
        if points.ndim != 1 or len(points) < 6 or len(points) % 2 or not (np.abs(points) < 1e6).all():
            raise ValueError("segmentation is not polygons of three points (x, y) and more")


def _runs(text):
    """Lengths of the runs in COCO's compressed mask: base-32 digits, lowest first; from the third on as differences."""
    runs, value, shift = [], 0, 0
    for code in text.encode("ascii"):
        digit = code - 48
        value, shift = value | (digit & 31) << shift, shift + 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    return runs if not shift else [-1]


@contextlib.contextmanager
def _naming(path, kind, i, entry):
    """Turns any fault of an entry into a message with its place in the file."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        name = f" (id {entry['id']})" if isinstance(entry, dict) and "id" in entry else ""
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path}: {kind} number {i}{name}: {reason}") from None

"""COCO's average precision for boxes and keypoints, by pycocotools (METHOD section 7)."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from multiposenet.data.coco import read_coco
from multiposenet.errors import UserError
from multiposenet.files import read_json
from multiposenet.skeleton import skeleton_of

FIGURES = {
    "keypoints": ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"),
    "bbox": ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR", "ARs", "ARm", "ARl"),
}
PEOPLE = {"1 person": (1, 1), "2 people": (2, 2), "3 to 5": (3, 5), "6 and more": (6, 10**6)}  # in a picture


class Truth:
    """An annotation file, or a part of it, to score results against.

    Args:
        annotations: path of the COCO annotation file.
        subset: "all" pictures, or "all_annotated": those whose `all_persons_annotated` is not false.
        limit: only the first so many of them.
        images: folder of the pictures, when they will be opened.
        skeleton: of annotations and results; its sigmas are used. None: as the annotations say, COCO's if they do not.

    Attributes:
        pictures: list of `Picture` that are scored.

    Raises:
        UserError: a broken file, or no picture in the subset.
    """

    def __init__(self, annotations, subset="all", limit=None, images=None, skeleton=None):
        skeleton = skeleton or skeleton_of(annotations)
        pictures = read_coco(annotations, images, skeleton)
        self.data, self.skeleton = _as_pycocotools_wants(pictures), skeleton
        self.id_of = {picture.name: picture.id for picture in pictures}
        self.known = {picture.id for picture in pictures}
        wanted = [picture for picture in pictures
                  if subset == "all" or picture.extra.get("all_persons_annotated", True)]
        self.pictures = wanted[:limit]
        if not self.pictures:
            raise UserError(f"{annotations}: no picture in it for --subset {subset}")

    def read_results(self, path):
        """Records of a results list as `infer.py` writes it; pictures are found by `file_name`, else by `image_id`.

        Raises:
            UserError: a broken file, a picture that is not in the annotations, joints of another skeleton, or a
                number that is not finite; the record is named.
        """
        records = read_json(path)
        if not isinstance(records, list):
            raise UserError(f"{path}: expected a COCO results list, found a {type(records).__name__}")
        return [self._checked(record, f"{path}: record number {i}") for i, record in enumerate(records)]

    def figures(self, records, kind, pictures=None, change=None):
        """pycocotools' summary.

        Args:
            records: list of results; boxes are ranked by `box_score` where there is one, poses by `score`.
            kind: "keypoints" or "bbox".
            pictures: list of `Picture` instead of all.
            change: function of an annotation's dict, giving the one to score against instead.

        Returns:
            Dict of `FIGURES[kind]`; -1 where there is nothing to find.
        """
        evaluation = self._evaluated(records, kind, pictures, change)
        stats = evaluation.stats if evaluation else [0.0] * len(FIGURES[kind])
        return {name: float(value) for name, value in zip(FIGURES[kind], stats)}

    def precision(self, records, kind, threshold=0.5):
        """(101,) precision at recalls 0, 0.01 .. 1, where an OKS or IoU of `threshold` is a hit."""
        evaluation = self._evaluated(records, kind)
        if not evaluation:
            return np.zeros(101)
        at = int(np.argmin(np.abs(evaluation.params.iouThrs - threshold)))
        return np.maximum(evaluation.eval["precision"][at, :, 0, 0, -1], 0)  # one class, all areas; -1: never reached

    def by_joint(self, records):
        """Joint's name -> AP and AR of that joint alone; people on whom it is not labelled do not count."""
        return {joint: _chosen(self.figures(records, "keypoints", change=_only_joint(k)), "AP", "AR")
                for k, joint in enumerate(self.skeleton.joints)}

    def by_people(self, records):
        """`PEOPLE` -> AP, AP50 and AR of the keypoints in pictures with so many people, and the pictures' number."""
        rows = {}
        for name, (low, high) in PEOPLE.items():
            chosen = [picture for picture in self.pictures
                      if low <= sum(person.num_joints > 0 and not person.crowd for person in picture.people) <= high]
            if chosen:
                found = self.figures(records, "keypoints", chosen)
                rows[name] = {**_chosen(found, "AP", "AP50", "AR"), "pictures": len(chosen)}
        return rows

    def _evaluated(self, records, kind, pictures=None, change=None):
        image_ids = [picture.id for picture in (self.pictures if pictures is None else pictures)]
        records = [_of_kind(record, kind) for record in records if record["image_id"] in set(image_ids) and kind in record]
        if not records:  # pycocotools cannot load an empty list
            return None
        data = {**self.data, "annotations": [change(annotation) if change else annotation
                                             for annotation in self.data["annotations"]]}
        return _run_pycocotools(data, records, kind, image_ids, np.array(self.skeleton.sigmas))

    def _checked(self, record, where):
        try:
            image_id = self.id_of.get(record.get("file_name"), record["image_id"])
            box_score = record.get("box_score", record["score"])
            score, box_score = float(record["score"]), float(box_score)
            parts = {key: list(map(float, record[key])) for key in FIGURES if key in record}  # there may be boxes alone
            known = image_id in self.known
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise UserError(f"{where} is not a COCO result ({error})") from None
        if not known:
            raise UserError(f"{where} is of picture {image_id}, which the annotations do not have")
        for key, size in (("bbox", 4), ("keypoints", 3 * len(self.skeleton))):
            if len(parts.get(key, [0] * size)) != size:
                raise UserError(f"{where} has {len(parts[key])} numbers in {key}, expected {size} (skeleton "
                                f"{self.skeleton.name})")
        if not np.isfinite([score, box_score, *sum(parts.values(), [])]).all():
            raise UserError(f"{where} holds a number that is not finite")
        return {**parts, "image_id": image_id, "category_id": 1, "score": score, "box_score": box_score}


def _of_kind(record, kind):
    """What pycocotools should see: it looks at a box first, and takes `score` for both."""
    if kind == "keypoints":
        return {key: value for key, value in record.items() if key != "bbox"}
    record = {key: value for key, value in record.items() if key != "keypoints"}
    return {**record, "score": record.get("box_score", record["score"])}


def _as_pycocotools_wants(pictures):
    """A COCO file's content made of what `read_coco` has checked; pycocotools believes anything."""
    images = [dict(id=picture.id, height=picture.height, width=picture.width) for picture in pictures]
    people = [(picture, person) for picture in pictures for person in picture.people]
    annotations = [{**person.extra, "id": i, "image_id": picture.id, "category_id": 1, "iscrowd": int(person.crowd),
                    "area": person.area, "bbox": list(map(float, person.extra["bbox"])), "num_keypoints": person.num_joints,
                    "keypoints": list(map(float, person.extra.get("keypoints") or person.keypoints.ravel()))}
                   for i, (picture, person) in enumerate(people, start=1)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}


def _only_joint(k):
    def change(annotation):
        joints = np.reshape(annotation.get("keypoints") or [0, 0, 0] * (k + 1), (-1, 3)).copy()
        joints[np.arange(len(joints)) != k, 2] = 0
        return {**annotation, "keypoints": joints.ravel().tolist(), "num_keypoints": int(joints[k, 2] > 0)}

    return change


def _chosen(figures, *names):
    return {name: figures[name] for name in names}


def _run_pycocotools(data, records, kind, image_ids, sigmas):
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        coco = COCO()
        coco.dataset = data
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(records), kind)
        evaluation.params.imgIds = image_ids
        evaluation.params.kpt_oks_sigmas = sigmas
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation

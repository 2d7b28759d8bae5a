"""COCO's average precision for boxes and keypoints, by pycocotools (METHOD section 7)."""

import contextlib
import io

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from multiposenet.data.coco import load_json, read_coco
from multiposenet.errors import UserError

FIGURES = {
    "keypoints": ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"),
    "bbox": ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR", "ARs", "ARm", "ARl"),
}


def evaluate(annotations, results, subset="all"):
    """Official figures of a results list as `infer.py` writes it.

    Args:
        annotations: path of the COCO annotation file.
        results: path of the JSON list; records find their picture by `file_name`, else by `image_id`.
        subset: "all" pictures, or "all_annotated": those whose `all_persons_annotated` is not false.

    Returns:
        (figures, pictures): dict "keypoints" and "bbox" -> dict of figure -> value, -1 where there is nothing to find;
        and the number of pictures. Boxes are ranked by `box_score`, poses by `score`.

    Raises:
        UserError: a broken file, or results for a picture that is not in the annotations.
    """
    read_coco(annotations)  # names a faulty entry, which pycocotools would not
    truth = load_json(annotations)
    wanted = [image["id"] for image in truth["images"]
              if subset == "all" or image.get("all_persons_annotated", True)]
    ids = {image["file_name"]: image["id"] for image in truth["images"]}
    records = [_matched(record, i, ids, results) for i, record in enumerate(load_json(results))]
    boxes = [{**record, "score": record.get("box_score", record["score"])} for record in records]
    figures = {"keypoints": _summary(truth, [_without_box(record) for record in records], "keypoints", wanted),
               "bbox": _summary(truth, [_without_keypoints(record) for record in boxes], "bbox", wanted)}
    return figures, len(wanted)


def _matched(record, i, ids, results):
    try:
        image_id = ids.get(record.get("file_name"), record["image_id"])
        known = image_id in ids.values()
        record = {key: record[key] for key in ("category_id", "bbox", "keypoints", "score")} | {
            "image_id": image_id, "box_score": record.get("box_score", record["score"])}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{results}: record number {i} is not a COCO result ({error})") from None
    if not known:
        raise UserError(f"{results}: record number {i} is of picture {image_id}, which the annotations do not have")
    return record


def _without_box(record):
    return {key: value for key, value in record.items() if key != "bbox"}  # pycocotools looks at it first


def _without_keypoints(record):
    return {key: value for key, value in record.items() if key != "keypoints"}


def _summary(truth, records, kind, image_ids):
    if not records:  # pycocotools cannot load an empty list
        return dict.fromkeys(FIGURES[kind], 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"info": {}, **truth}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(records), kind)
        evaluation.params.imgIds = image_ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(value) for name, value in zip(FIGURES[kind], evaluation.stats)}

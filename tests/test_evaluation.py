import json

import numpy as np
import pytest
from scenes import write_coco

from multiposenet.commands.evaluate import main
from multiposenet.errors import UserError
from multiposenet.evaluation.coco import evaluate
from multiposenet.skeleton import COCO17


@pytest.fixture
def truth(tmp_path):
    return write_coco(tmp_path, 3)


def results_of(truth, change=lambda record: None):
    data = json.loads(truth.read_text())
    records = [dict(image_id=a["image_id"], category_id=1, bbox=list(a["bbox"]), keypoints=list(a["keypoints"]),
                    score=0.9, box_score=0.8) for a in data["annotations"]]
    for record in records:
        change(record)
    path = truth.with_name("results.json")
    path.write_text(json.dumps(records))
    return path


def test_perfect_results_are_one(truth):
    figures, pictures = evaluate(truth, results_of(truth))
    assert pictures == 3
    assert figures["keypoints"]["AP"] == figures["bbox"]["AP"] == figures["keypoints"]["AR"] == pytest.approx(1)


def test_swapped_sides_and_moved_boxes_cost(truth):
    def spoil(record):
        pose = np.reshape(record["keypoints"], (-1, 3))[COCO17.mirror_order]
        record["keypoints"] = pose.ravel().tolist()
        record["bbox"][0] += record["bbox"][2]

    figures, _ = evaluate(truth, results_of(truth, spoil))
    assert figures["keypoints"]["AP"] < 0.5 and figures["bbox"]["AP"] < 0.1


def test_no_results_are_zero(truth):
    path = truth.with_name("results.json")
    path.write_text("[]")
    figures, _ = evaluate(truth, path)
    assert figures["keypoints"]["AP"] == figures["bbox"]["AP"] == 0


def test_pictures_are_found_by_name(truth):
    names = {image["id"]: image["file_name"] for image in json.loads(truth.read_text())["images"]}

    def rename(record):
        record.update(file_name=names[record["image_id"]], image_id=10_000 + record["image_id"])

    assert evaluate(truth, results_of(truth, rename))[0]["bbox"]["AP"] == pytest.approx(1)


def test_subset_of_fully_annotated_pictures(truth):
    data = json.loads(truth.read_text())
    data["images"][0]["all_persons_annotated"] = False
    truth.write_text(json.dumps(data))
    assert evaluate(truth, results_of(truth), "all_annotated")[1] == 2


def test_mistakes_are_named(truth, capsys):
    path = results_of(truth, lambda record: record.update(image_id=99))
    with pytest.raises(UserError, match="record number 0.*picture 99"):
        evaluate(truth, path)
    path.write_text('[{"image_id": 1}]')
    with pytest.raises(UserError, match="record number 0"):
        evaluate(truth, path)
    assert main(["nothing.json", "--annotations", str(truth)]) == 2
    assert "nothing.json" in capsys.readouterr().err
    assert main([str(results_of(truth)), "--annotations", str(truth)]) == 0
    assert "AP50 1.000" in capsys.readouterr().out

import json

import numpy as np
import pytest
from scenes import write_coco

from multiposenet.commands.evaluate import main
from multiposenet.commands.make_results import main as make_results
from multiposenet.data.coco import read_coco
from multiposenet.errors import UserError
from multiposenet.evaluation.coco import Truth
from multiposenet.evaluation.figures import picture_score
from multiposenet.prediction import Person
from multiposenet.skeleton import COCO17


@pytest.fixture
def annotations(tmp_path):
    return write_coco(tmp_path, 3)


def results_of(annotations, change=lambda record: None):
    data = json.loads(annotations.read_text())
    records = [dict(image_id=a["image_id"], category_id=1, bbox=list(a["bbox"]), keypoints=list(a["keypoints"]),
                    score=0.9, box_score=0.8) for a in data["annotations"]]
    for record in records:
        change(record)
    path = annotations.with_name("results.json")
    path.write_text(json.dumps(records))
    return path


def figures(annotations, results, subset="all"):
    truth = Truth(annotations, subset)
    records = truth.read_results(results)
    return truth.figures(records, "keypoints"), truth.figures(records, "bbox")


def test_perfect_results_are_one(annotations):
    keypoints, boxes = figures(annotations, results_of(annotations))
    assert keypoints["AP"] == boxes["AP"] == keypoints["AR"] == pytest.approx(1)


def test_swapped_sides_and_moved_boxes_cost(annotations):
    def spoil(record):
        pose = np.reshape(record["keypoints"], (-1, 3))[COCO17.mirror_order]
        record["keypoints"] = pose.ravel().tolist()
        record["bbox"][0] += record["bbox"][2]

    keypoints, boxes = figures(annotations, results_of(annotations, spoil))
    assert keypoints["AP"] < 0.5 and boxes["AP"] < 0.1


def test_no_results_are_zero(annotations):
    path = annotations.with_name("results.json")
    path.write_text("[]")
    keypoints, boxes = figures(annotations, path)
    assert keypoints["AP"] == boxes["AP"] == 0


def test_one_bad_joint_costs_that_joint_alone(annotations):
    def spoil(record):
        record["keypoints"][3 * COCO17.index("left_knee")] += 500

    truth = Truth(annotations)
    joints = truth.by_joint(truth.read_results(results_of(annotations, spoil)))
    assert joints.pop("left_knee")["AP"] == 0
    # Not quite 1: pycocotools wants joints that nobody labelled to lie near the box, ours are at (0, 0).
    assert len(joints) == 16 and all(min(row.values()) > 0.95 for row in joints.values())


def test_precision_over_recall(annotations):
    """Half of the people found, in the right place: precision 1 up to recall 0.5, nothing beyond."""
    truth = Truth(annotations)
    records = truth.read_results(results_of(annotations))
    assert truth.precision(records, "keypoints").tolist() == pytest.approx([1] * 101)
    half = records[:len(records) // 2]
    reached = len(half) / len(records)
    for kind in ("keypoints", "bbox"):
        precision = truth.precision(half, kind, 0.75)
        np.testing.assert_allclose(precision, np.linspace(0, 1, 101) <= reached, atol=1e-6)
    assert not truth.precision([], "bbox").any()


def test_score_of_a_picture(annotations):
    picture = read_coco(annotations)[0]
    found = [Person(person.box_xyxy, 1.0, person.keypoints) for person in picture.people]
    assert picture_score(picture, found, COCO17.sigmas) == pytest.approx(1)
    assert picture_score(picture, found[:1], COCO17.sigmas) < 1
    assert picture_score(picture, [], COCO17.sigmas) == 0
    picture.people.clear()
    assert picture_score(picture, found, COCO17.sigmas) is None


def test_figures_by_people_in_the_picture(tmp_path):
    one, three = write_coco(tmp_path, 1, people=1), write_coco(tmp_path / "more", 2, people=3)
    parts = [json.loads(path.read_text()) for path in (one, three)]
    for entry in parts[1]["images"] + parts[1]["annotations"]:
        entry["id"] += 100
    for entry in parts[1]["images"]:
        entry["file_name"] = f"more/{entry['file_name']}"
    for entry in parts[1]["annotations"]:
        entry["image_id"] += 100
    joined = {key: parts[0][key] + parts[1][key] for key in ("images", "annotations")}
    one.write_text(json.dumps({**joined, "categories": parts[0]["categories"]}))

    def spoil(record):
        if record["image_id"] > 100:
            record["keypoints"] = [0] * 51

    truth = Truth(one)
    rows = truth.by_people(truth.read_results(results_of(one, spoil)))
    assert {name: row["pictures"] for name, row in rows.items()} == {"1 person": 1, "3 to 5": 2}
    assert rows["1 person"]["AP"] == pytest.approx(1) and rows["3 to 5"]["AP"] < 0.1


def test_pictures_are_found_by_name(annotations):
    names = {image["id"]: image["file_name"] for image in json.loads(annotations.read_text())["images"]}

    def rename(record):
        record.update(file_name=names[record["image_id"]], image_id=10_000 + record["image_id"])

    assert figures(annotations, results_of(annotations, rename))[1]["AP"] == pytest.approx(1)


def test_subset_and_limit(annotations):
    data = json.loads(annotations.read_text())
    data["images"][0]["all_persons_annotated"] = False
    annotations.write_text(json.dumps(data))
    assert [picture.id for picture in Truth(annotations, "all_annotated").pictures] == [2, 3]
    assert [picture.id for picture in Truth(annotations, limit=2).pictures] == [1, 2]


@pytest.mark.parametrize("change, words", [
    (dict(image_id=99), "record number 0.*picture 99"),
    (dict(keypoints=[1.0] * 42), "42 numbers in keypoints, expected 51"),
    (dict(score=float("nan")), "not finite"),
    (dict(score=None), "not a COCO result"),
    (dict(score="high"), "not a COCO result"),
])
def test_faulty_results_are_named(annotations, change, words):
    path = results_of(annotations, lambda record: record.update(change))
    with pytest.raises(UserError, match=words):
        Truth(annotations).read_results(path)


def test_the_command_scores_a_results_list(annotations, tmp_path, capsys):
    out, results = tmp_path / "out", results_of(annotations)
    arguments = ["keypoints", "--annotations", str(annotations), "--results", str(results), "--out", str(out)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "| results | 1.000 |" in printed and "| left_knee | 1.000 | 1.000 |" in printed
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["keypoints"]["results"]["AP50"] == pytest.approx(1)
    assert metrics["annotations"]["pictures"] == 3 and len(metrics["source"]["sha256"]) == 64
    assert (out / "tables.md").read_text() in printed
    assert main(arguments) == 2 and "exists already" in capsys.readouterr().err
    assert main(["boxes", *arguments[1:], "--overwrite"]) == 0
    assert json.loads((out / "metrics.json").read_text())["boxes"]["results"]["AP"] == pytest.approx(1)


def test_the_command_names_mistakes(annotations, tmp_path, capsys):
    common = ["--annotations", str(annotations), "--out", str(tmp_path / "out")]
    assert main(["keypoints", *common, "--results", "nothing.json"]) == 2
    assert "nothing.json" in capsys.readouterr().err
    assert main(["prn", *common, "--results", "nothing.json"]) == 2
    assert "--weights" in capsys.readouterr().err
    assert main(["keypoints", *common]) == 2
    assert "--images" in capsys.readouterr().err
    assert main(["prn", *common, "--limit", "0"]) == 2
    assert "--limit 0" in capsys.readouterr().err
    assert main(["prn", *common, "--weights", str(tmp_path)]) == 2
    assert "no prn.weights.h5" in capsys.readouterr().err


def test_results_page(annotations, tmp_path, capsys):
    common = ["--annotations", str(annotations), "--results", str(results_of(annotations))]
    for part in ("keypoints", "boxes"):
        assert main([part, *common, "--out", str(tmp_path / part)]) == 0
    page = tmp_path / "RESULTS.md"
    assert make_results([f"perfect={tmp_path / 'keypoints'}", f"boxes={tmp_path / 'boxes'}", "--output", str(page)]) == 0
    text = page.read_text()
    assert "| perfect, results | 1.000 | 1.000 | 1.000 |" in text and "| boxes, results | 1.000 |" in text
    assert "(paper)* | 0.696 | 0.863 |" in text and "| perfect, left_knee | 1.000 | 1.000 |" in text
    assert "3 pictures (all) of `annotations.json`" in text and str(tmp_path) not in text.split("`keypoints")[0]
    capsys.readouterr()
    (tmp_path / "boxes" / "metrics.json").write_text("[]")
    assert make_results([f"boxes={tmp_path / 'boxes'}", "--output", str(page)]) == 2
    assert "not written by evaluate.py" in capsys.readouterr().err
    assert make_results([f"x={tmp_path / 'none'}", "--output", str(page)]) == 2

"""Five joints and two activities of one's own, from training to the table, as docs/own_data.md says."""

import csv
import functools
import json

import numpy as np
import pytest
from scenes import write_coco

from multiposenet.commands import evaluate, infer, merge, train
from multiposenet.skeleton import COCO17

SIZE = 192

JOINTS = ("nose", "left_wrist", "right_wrist", "left_ankle", "right_ankle")
COMMON = ["preset=lite", "model.activities=[up, down]", "data.validation=0", "train.init=lite",
          "train.workers=0", "train.backbone_weights=null", "train.learning_rate=0.002"]
HEADS = {
    "keypoints": [f"augment.crop={SIZE}", "augment.rotation_deg=0", "augment.scale=[0.9, 1.25]", "augment.person_height=0.62",
                  "augment.shift_px=20", "augment.flip=0", "loss.peak_weight=5", "loss.intermediate=0.2",
                  "train.batch_size=4", "train.epochs=4", "train.frozen_stages=5"],
    "prn": ["prn.min_joints=2", "train.batch_size=8", "train.epochs=2", "model.prn_dropout=0"],
    "activity": ["train.batch_size=8", "train.epochs=2", "train.steps_per_epoch=50", "activity.folds=0"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scenes whose only category is number 3 and has five joints; activities in a CSV."""
    folder = tmp_path_factory.mktemp("own")
    data = json.loads(write_coco(folder, 4, size=SIZE, seed=0, people=2).read_text())
    chosen = [COCO17.index(joint) for joint in JOINTS]
    with open(folder / "poses.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "activity", "x1", "y1", "x2", "y2", *(f"{joint}_{c}" for joint in JOINTS for c in "xyv")])
        for entry in data["annotations"]:
            joints = np.reshape(entry["keypoints"], (-1, 3))[chosen]
            entry.update(category_id=3, keypoints=joints.ravel().tolist(), num_keypoints=int((joints[:, 2] > 0).sum()))
            x, y, width, height = entry["bbox"]
            activity = "down" if entry["activity"] == "sitting" else "up"
            table.writerow([entry["image_id"], activity, x, y, x + width, y + height, *joints.ravel()])
    data["categories"] = [dict(id=3, name="figure", keypoints=JOINTS, skeleton=[[1, 2], [1, 3]])]
    (folder / "own.json").write_text(json.dumps(data))
    return folder


def run(function, *arguments):
    """A script's function, in this process: each would spend seconds on importing TensorFlow."""
    assert not function([str(argument) for argument in arguments])


def test_five_joints_from_training_to_the_table(folder, capsys):
    for head, settings in HEADS.items():
        source = "annotations: poses.csv" if head == "activity" else "annotations: own.json, images: images, repeat: 50"
        own = [f"data.root={folder}", f"data.sets=[{{{source}}}]", f"model.skeleton={folder}/own.json"]
        sets = [part for setting in (*own, *COMMON, *settings) for part in ("--set", setting)]
        run(functools.partial(train.train, head, ""), "--workdir", folder / head, *sets)
        assert "start anew" in capsys.readouterr().out
    runs = [part for head in HEADS for part in (f"--{head}", folder / head)]
    run(merge.main, *runs, "--base", "lite", "--output", folder / "own.keras")  # the detector is lite's
    run(infer.main, folder / "images", "--weights", folder / "own.keras", "--output", folder / "found",
        "--set", f"predict.short_side={SIZE}")
    found = json.loads((folder / "found" / "results.json").read_text())
    assert {len(person["keypoints"]) for person in found} == {3 * len(JOINTS)}
    assert {person["activity"] for person in found} <= {"up", "down"}
    run(evaluate.main, "all", "--single", "--annotations", folder / "own.json", "--images", folder / "images", "--weights",
        folder / "own.keras", "--out", folder / "eval", "--set", f"predict.short_side={SIZE}")
    metrics = json.loads((folder / "eval" / "metrics.json").read_text())
    given = metrics["association, keypoint AP"]["PRN (ours)"]
    assert given["true boxes, true joints"] > 0.9 and given["true boxes, found joints"] > 0.5, given
    assert set(metrics["keypoints by joint"]) == set(JOINTS)

"""Four drawn scenes from pixels to pose and activity by the real scripts: train, merge, infer, evaluate.

Each head starts from the shipped weights, as a user's own training would, and must learn the scenes.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from scenes import ACTIVITIES, write_coco

from multiposenet.evaluation.coco import evaluate

SCRIPTS = Path(__file__).parents[1] / "scripts"
SIZE = 160
COMMON = ["preset=lite", "data.validation=0",
          "train.init=lite", "train.workers=0", "train.schedule=cosine", "train.backbone_weights=null"]
HEADS = {
    "keypoints": ["augment.crop=160", "augment.rotation_deg=0", "augment.scale=[0.9, 1.3]", "augment.person_height=0.6",
                  "train.batch_size=4", "train.epochs=2", "train.learning_rate=0.001"],
    "detector": ["augment.crop=160", "augment.scale=[1, 1]", "augment.flip=0", "train.batch_size=4", "train.epochs=2",
                 "train.learning_rate=0.001"],
    "prn": ["train.batch_size=8", "train.epochs=2", "train.learning_rate=0.001", "model.prn_dropout=0"],
    "activity": ["train.batch_size=8", "train.epochs=2", "train.steps_per_epoch=60", "train.learning_rate=0.001",
                 "activity.folds=0"],
}


def script(name, *arguments):
    return subprocess.run([sys.executable, SCRIPTS / name, *map(str, arguments)], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    write_coco(folder, 4, size=SIZE, seed=2, people=2)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    """The merged model, trained as the README says."""
    for head, settings in HEADS.items():
        extra = [f"train.keypoints={folder}/keypoints"] if head == "detector" else []
        repeat = 1 if head == "activity" else 50  # it balances its classes itself
        extra.append(f"data.sets=[{{annotations: annotations.json, images: images, repeat: {repeat}}}]")
        sets = [part for setting in (f"data.root={folder}", *COMMON, *settings, *extra) for part in ("--set", setting)]
        script(f"train_{head}.py", "--workdir", folder / head, *sets)
    parts = [part for head in HEADS for part in (f"--{head}", folder / head)]
    script("merge_weights.py", *parts, "--output", folder / "model.keras")
    return folder / "model.keras"


def test_scenes_are_learnt(folder, model):
    done = script("infer.py", folder / "images", "--weights", model, "--output", folder / "found",
                  "--set", f"predict.short_side={SIZE}")
    assert "4 of 4 pictures" in done.stdout
    assert len(list((folder / "found").glob("*.jpg"))) == 4
    figures, pictures = evaluate(folder / "annotations.json", folder / "found" / "results.json")
    assert pictures == 4
    # The few steps that a test can afford reach AP50 0.82 and box AP 0.81.
    assert figures["keypoints"]["AP50"] > 0.5, figures
    assert figures["bbox"]["AP"] > 0.5, figures
    found = json.loads((folder / "found" / "results.json").read_text())
    assert {record["activity"] for record in found} <= set(ACTIVITIES)

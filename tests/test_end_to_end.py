"""Four drawn scenes from pixels to pose and activity by the real scripts: train, merge, infer, evaluate.

Each head starts from the shipped weights, as a user's own training would, and must learn the scenes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scenes import ACTIVITIES, write_coco

from multiposenet import geometry
from multiposenet.evaluation.coco import Truth

SCRIPTS = Path(__file__).parents[1] / "scripts"
SIZE = 160
COMMON = ["preset=lite", "data.validation=0", "train.init=lite", "train.workers=0", "train.schedule=cosine",
          "train.backbone_weights=null"]
HEADS = {
    # No mirror: the colours of the drawn joints say left and right. The scales bring every drawn person, sitting or
    # standing, to about its own size, in which it will be looked for.
    "keypoints": [f"augment.crop={SIZE}", "augment.rotation_deg=0", "augment.scale=[0.9, 1.25]",
                  "augment.person_height=0.62", "augment.shift_px=16", "augment.flip=0", "loss.peak_weight=5",
                  "loss.intermediate=0.2", "train.batch_size=4", "train.epochs=8", "train.learning_rate=0.002",
                  "train.warmup_steps=20", "train.frozen_stages=2"],
    "detector": [f"augment.crop={SIZE}", "augment.scale=[0.9, 1.1]", "train.batch_size=4", "train.epochs=4",
                 "train.learning_rate=0.001"],
    "prn": ["train.batch_size=8", "train.epochs=2", "train.learning_rate=0.001", "model.prn_dropout=0"],
    "activity": ["train.batch_size=8", "train.epochs=3", "train.steps_per_epoch=100", "train.learning_rate=0.001",
                 "activity.folds=0"],
}
# glibc's settings for training on a CPU, as the README gives them.
MEMORY = dict(MALLOC_ARENA_MAX="1", MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_="20000000000",
              MALLOC_TOP_PAD_="100000000")


def script(name, *arguments):
    return subprocess.run([sys.executable, SCRIPTS / name, *map(str, arguments)], check=True, capture_output=True,
                          text=True, env={**os.environ, **MEMORY})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    write_coco(folder, 4, size=SIZE, seed=0, people=2)
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
    truth = Truth(folder / "annotations.json")
    found = truth.read_results(folder / "found" / "results.json")
    for kind in ("keypoints", "bbox"):
        figures = truth.figures(found, kind)
        assert figures["AP"] > 0.9, (kind, figures)
    drawn = json.loads((folder / "annotations.json").read_text())["annotations"]
    assert {person["activity"] for person in drawn} == set(ACTIVITIES)
    found = json.loads((folder / "found" / "results.json").read_text())
    right = [person["activity"] == nearest(person, found)["activity"] for person in drawn]
    assert sum(right) >= 0.75 * len(right), right


def nearest(person, found):
    """The result whose box overlaps a drawn person most."""
    found = [record for record in found if record["image_id"] == person["image_id"]]
    boxes = geometry.xywh_to_xyxy(np.array([record["bbox"] for record in found]))
    overlaps = geometry.iou(geometry.xywh_to_xyxy(np.array([person["bbox"]])), boxes)
    return found[int(overlaps.argmax())]

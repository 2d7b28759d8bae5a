from pathlib import Path

import pytest

from multiposenet.config import HEADS, load_config
from multiposenet.data.mpii import Classifier

FILES = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_shipped_configurations_load_and_tell_their_command_and_result(file):
    config = load_config(file)
    head, preset, *_ = file.stem.split("_")
    assert config.preset == preset and config.data.sets
    opening = " ".join(line for line in file.read_text().splitlines() if line.startswith("#"))
    assert f"train_{head}.py --config configs/{file.name}" in opening
    assert "not yet run" in opening or "Result" in opening


def test_every_head_of_every_preset_has_one():
    assert {file.stem for file in FILES} == {f"{head}_{preset}" for head in HEADS for preset in ("lite", "r50")} | {
        "keypoints_r50_release", "detector_r50_release", "activity_lite_pretraining", "keypoints_lite_ablation"}


@pytest.mark.parametrize("text", ["walking: with a dog", "running: race", "music playing: piano, sitting", "occupation: standing"])
def test_no_pose_that_activities_are_tested_on_is_pretrained_on(text):
    tested, before = (load_config(next(file for file in FILES if file.stem == name))
                      for name in ("activity_lite", "activity_lite_pretraining"))
    label, other = (Classifier(config.activity.rules, config.activity.exclude, config.model.activities)(text)
                    for config in (tested, before))
    assert isinstance(label, int) and isinstance(other, str)

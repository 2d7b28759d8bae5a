from pathlib import Path

import pytest

from multiposenet.config import load_config

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
    assert {file.stem for file in FILES} == {f"{head}_{preset}" for head in ("keypoints", "detector", "prn", "activity")
                                             for preset in ("lite", "r50")} | {
                                                 "refiner_lite", "keypoints_r50_release", "detector_r50_release",
                                                 "refiner_r50_release"}

import json
import re

import pytest
from scenes import write_coco

from multiposenet.commands import merge, train


def stopped(capsys, function, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["script", *map(str, arguments)])
    status = function()
    return status, capsys.readouterr().err


@pytest.mark.parametrize("function", [train.keypoints, train.detector, train.prn, train.activity])
def test_training_without_data_says_so(capsys, monkeypatch, tmp_path, function):
    status, err = stopped(capsys, function, monkeypatch, "--workdir", tmp_path / "run")
    assert status == 2 and err.startswith("error: data.sets")


@pytest.mark.parametrize("arguments, word", [
    (["--set", "train.batch_sze=1"], "batch_size"),
    (["--config", "none.yaml"], "none.yaml"),
    (["--set", "data.sets=[{annotations: none.json, images: .}]"], "none.json"),
])
def test_mistakes_exit_with_2_and_one_line(capsys, monkeypatch, tmp_path, arguments, word):
    status, err = stopped(capsys, train.keypoints, monkeypatch, "--workdir", tmp_path / "run", *arguments)
    assert status == 2 and word in err and err.count("\n") == 1


def test_missing_backbone_weights_are_named(capsys, monkeypatch, tmp_path):
    write_coco(tmp_path, 2, size=64, people=1)
    sets = json.dumps([{"annotations": "annotations.json", "images": "images"}])
    status, err = stopped(capsys, train.keypoints, monkeypatch, "--workdir", tmp_path / "run", "--preset", "lite",
                          "--set", f"data.root={tmp_path}", "--set", f"data.sets={sets}", "--set", "data.validation=0",
                          "--set", "augment.crop=64", "--set", "train.backbone_weights=none.h5")
    assert status == 2 and "none.h5" in err


def test_merge_names_the_missing_part(capsys, monkeypatch, tmp_path):
    parts = [part for head in ("keypoints", "detector", "prn", "activity") for part in (f"--{head}", tmp_path / head)]
    status, err = stopped(capsys, merge.main, monkeypatch, *parts, "--output", tmp_path / "m.keras")
    assert status == 2 and "train_keypoints.py" in err


def test_dry_run_goes_through_everything_and_keeps_nothing(capsys, monkeypatch, tmp_path):
    write_coco(tmp_path, 6, size=64, people=2)
    sets = json.dumps([{"annotations": "annotations.json", "repeat": 20}])
    arguments = ["--dry-run", "--preset", "lite", *(part for setting in (
        f"data.root={tmp_path}", f"data.sets={sets}", "data.validation=0", "model.prn_hidden=4", "train.workers=0")
        for part in ("--set", setting))]
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("sys.argv", ["script", *arguments])
    assert train.prn() == 0
    out = capsys.readouterr().out
    assert "s a step, so all" in out and "everything works" in out
    assert int(re.search(r"one process loads (\d+) samples/s; train.workers is 0", out)[1]) > 0
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_needs_a_folder(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["script"])
    with pytest.raises(SystemExit) as stop:
        train.prn()
    assert stop.value.code == 2 and "--workdir" in capsys.readouterr().err

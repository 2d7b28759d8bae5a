import json

import numpy as np
import pytest
from scenes import draw_scene

from multiposenet import weights
from multiposenet.commands import evaluate_activity
from multiposenet.commands.evaluate import main
from multiposenet.config import Config, parse_config
from multiposenet.data.activity import read_poses
from multiposenet.evaluation import baselines
from multiposenet.models.heads import build_activity
from multiposenet.skeleton import COCO17

CLASSES = ("walking", "running", "sitting", "standing")


@pytest.fixture(scope="module")
def poses(tmp_path_factory):
    path, entries = tmp_path_factory.mktemp("poses") / "poses.json", []
    for i in range(30):
        for person in draw_scene(np.random.default_rng([5, i]), size=(96, 128), people=4).people:
            x1, y1, x2, y2 = person.box_xyxy.tolist()
            entries.append(dict(file_name=f"{i}.png", bbox=[x1, y1, x2 - x1, y2 - y1], activity=person.activity,
                                keypoints=person.keypoints.ravel().tolist()))
    path.write_text(json.dumps(entries))
    return path


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_baselines_learn_drawn_people(poses, name):
    config = parse_config(dict(activity=dict(folds=3)), "test", Config)
    found = baselines.cross_validate(name, read_poses(poses, COCO17, CLASSES), config, COCO17)
    assert found["mean"]["f1"] > 0.7 and len(found["folds"]) == 3


def test_baselines_know_nothing_of_shuffled_labels(poses):
    table = read_poses(poses, COCO17, CLASSES)
    table.labels = np.random.default_rng(0).permutation(table.labels)
    config = parse_config(dict(activity=dict(folds=3)), "test", Config)
    assert baselines.cross_validate("random forest, 500 trees", table, config, COCO17)["mean"]["accuracy"] < 0.45


def test_the_command_compares_and_resumes(poses, tmp_path, monkeypatch, capsys):
    chosen = ("MLP as configured", "MLP, no BatchNorm")
    monkeypatch.setattr(evaluate_activity, "SETTINGS", {name: evaluate_activity.SETTINGS[name] for name in chosen})
    settings = [f"data.root={poses.parent}", "data.sets=[{annotations: poses.json}]", "data.validation=0.2",
                "activity.folds=2", "model.activity_units=[32, 16]", "train.epochs=5", "train.steps_per_epoch=40", "train.batch_size=16",
                "train.learning_rate=0.01", "train.workers=0"]
    arguments = ["activity", "--out", str(tmp_path), *(part for setting in settings for part in ("--set", setting))]
    assert main(arguments) == 0
    rows = json.loads((tmp_path / "metrics.json").read_text())["activity"]
    assert list(rows) == [*chosen, *(name + inputs for name in baselines.BASELINES for inputs in ("", ", joints alone"))]
    assert rows["MLP as configured"]["f1"] > 0.6 and rows["MLP as configured"]["folds"] == 2
    assert {path.name for path in tmp_path.glob("*.png")} == {"confusion.png", "learning_curve.png"}
    assert "| random forest, 500 trees |" in capsys.readouterr().out
    assert main(arguments) == 2
    config = parse_config(dict(model=dict(activity_units=[32, 16], activities=["dancing"])), "test", Config)
    (tmp_path / "before").mkdir()
    weights.save_head("activity", build_activity(config.model), tmp_path / "before", config, {})
    # The folds are finished: only those of the new row are trained.
    assert main([*arguments, "--overwrite", "--set", f"train.init={tmp_path / 'before'}"]) == 0
    found = json.loads((tmp_path / "metrics.json").read_text())["activity"]
    assert next(iter(found)) == "MLP as configured, from train.init" and rows.items() <= found.items()
    assert found["MLP as configured, from train.init"] != rows[chosen[0]]

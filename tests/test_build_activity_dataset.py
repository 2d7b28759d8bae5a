import shutil

import numpy as np
import pytest
from scenes import write_coco

from multiposenet.commands.build_activity_dataset import choose_people, main, read_labels
from multiposenet.data.activity import read_poses
from multiposenet.errors import UserError
from multiposenet.prediction import Person
from multiposenet.skeleton import COCO17
from multiposenet.weights import save_model

CLASSES = ("walking", "running", "sitting", "standing")


@pytest.fixture
def folder(tmp_path):
    """walking/ with two pictures, running/ with one and a broken one."""
    write_coco(tmp_path / "drawn", 3, size=96)
    pictures = sorted((tmp_path / "drawn" / "images").glob("*.png"))
    for i, name in enumerate(("walking", "walking", "running")):
        (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(pictures[i], tmp_path / "set" / name)
    (tmp_path / "set" / "running" / "broken.png").touch()
    return tmp_path / "set"


@pytest.fixture
def arguments(folder, tmp_path, tiny_model):
    """The tiny model finds anything anywhere, so everything it finds is let through."""
    save_model(tiny_model, tmp_path / "tiny.keras")
    return [str(folder), "--weights", str(tmp_path / "tiny.keras"), "--output", str(tmp_path / "poses.csv"), "--score", "0",
            "--min-joints", "0", "--set", "predict.joint_threshold=0", "--set", "predict.short_side=64"]


def test_table_is_what_training_reads(arguments, tmp_path, capsys):
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "3 people of 3 pictures" in printed and "2 walking" in printed and "rejected 1 pictures" in printed
    table = read_poses(tmp_path / "poses.csv", COCO17, CLASSES)
    assert sorted(table.labels.tolist()) == [0, 0, 1] and (table.poses[..., 2] > 0).any()
    assert "broken.png" in (tmp_path / "poses.csv.rejected.csv").read_text()
    assert main(arguments) == 2 and "--resume" in capsys.readouterr().err


def test_all_people(arguments, tmp_path):
    assert main([*arguments, "--person", "all"]) == 0
    assert len(read_poses(tmp_path / "poses.csv", COCO17, CLASSES)) > 3


def test_a_killed_run_is_continued(arguments, tmp_path):
    assert main(arguments) == 0
    table, rejected = tmp_path / "poses.csv", tmp_path / "poses.csv.rejected.csv"
    whole = table.read_text()
    lines = whole.splitlines(keepends=True)
    table.write_text("".join(lines[:2]) + lines[2][:40])  # cut in the middle of the second person
    rejected.unlink()
    assert main([*arguments, "--resume"]) == 0
    assert sorted(table.read_text().splitlines()) == sorted(whole.splitlines())
    assert "broken.png" in rejected.read_text()


def test_whom_a_label_is_meant_for():
    def person(box, score, joints):
        keypoints = np.ones((17, 3))
        keypoints[joints:, 2] = 0
        return Person(np.array(box, "float32"), score, keypoints)

    small, large, unsure = person((0, 0, 10, 10), .9, 17), person((20, 20, 60, 60), .8, 10), person((0, 0, 99, 99), .1, 17)

    def choose(people, who, box=None, min_joints=8):
        return choose_people(people, box, who, min_score=.4, joint_score=.1, min_joints=min_joints)

    assert choose([small, large, unsure], "largest")[0] == [large]
    assert choose([small, large, unsure], "all")[0] == [small, large]
    assert choose([small, large, unsure], "nearest", (1, 1, 9, 9))[0] == [small]
    assert choose([small], "nearest", (50, 50, 60, 60)) == ([], "nobody at the given box")
    assert choose([large], "all", min_joints=11) == ([], "too few joints")
    assert choose([unsure], "all") == ([], "no certain person")
    assert choose([], "all") == ([], "nobody found")


def test_labels_from_a_csv(folder, tmp_path):
    (tmp_path / "labels.csv").write_text("image,activity,x1,y1,x2,y2\nset/walking/000001.png,walking,1,2,30,40\n")
    (path, activity, box), = read_labels(tmp_path / "labels.csv")
    assert path.is_file() and activity == "walking" and box.tolist() == [1, 2, 30, 40]
    (tmp_path / "labels.csv").write_text("image,activity,x1,y1,x2,y2\na.png,walking,1,2,x,40\n")
    with pytest.raises(UserError, match="row 2.*x2"):
        read_labels(tmp_path / "labels.csv")
    with pytest.raises(UserError, match="no column activity"):
        (tmp_path / "labels.csv").write_text("image\na.png\n")
        read_labels(tmp_path / "labels.csv")


def test_nearest_needs_boxes(arguments, capsys):
    assert main([*arguments, "--person", "nearest"]) == 2
    assert "x1" in capsys.readouterr().err

import json
import shutil

import cv2
import numpy as np
import pytest

from multiposenet.commands.inspect_data import REPORT, SIDE_COLORS, main
from multiposenet.data import duplicates, inspection
from multiposenet.data.coco import read_coco
from multiposenet.data.left_right import exchanged_sides
from multiposenet.data.pictures import read_picture
from multiposenet.skeleton import COCO17
from scenes import write_coco


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("set"), 3, people=2, negatives=1).parent


@pytest.fixture
def folder(original, tmp_path):
    """A copy to damage."""
    return shutil.copytree(original, tmp_path / "set")


def change(folder, edit):
    """Let `edit` alter the parsed annotations."""
    file = folder / "annotations.json"
    data = json.loads(file.read_text())
    edit(data)
    file.write_text(json.dumps(data))


def inspect(folder, *options):
    return main([*map(str, ("--annotations", folder / "annotations.json", "--images", folder / "images", *options))])


def findings(folder, tmp_path):
    """(exit status, findings) of the command."""
    status = inspect(folder, "--output", tmp_path / "out")
    return status, json.loads((tmp_path / "out" / REPORT).read_text())["findings"]


def test_clean_set(folder, tmp_path, capsys):
    assert findings(folder, tmp_path) == (0, [])
    counts = json.loads((tmp_path / "out" / REPORT).read_text())["counts"]
    assert counts["pictures"] == 4 and counts["people"] == counts["people_with_joints"] == 6 and counts["crowds"] == 0
    assert counts["pictures_by_people"] == {"0": 1, "2": 3} and set(counts["labelled_joints"]) == set(COCO17.joints)
    printed = capsys.readouterr().out
    assert "4 pictures, 6 people" in printed and "errors: 0" in printed and "1 with 0, 3 with 2" in printed
    assert [path.name for path in (tmp_path / "out").iterdir()] == [REPORT]


def set_size(data):
    data["images"][0].update(width=192, height=256)


def empty_box(data):
    data["annotations"][0]["bbox"][2] = 0


def far_box(data):
    data["annotations"][0]["bbox"][0] = -30


def count_wrong(data):
    data["annotations"][0]["num_keypoints"] -= 1


def far_joint(data):
    data["annotations"][0]["keypoints"][:3] = 300, 20, 2


def joint_off_box(data):
    entry = data["annotations"][0]
    nose = entry["keypoints"][:2]
    entry["bbox"] = [nose[0] - 5, nose[1] + 60, 40, 60]


@pytest.mark.parametrize("edit, kind, says", [
    (set_size, "picture_size", "256 x 192 pixels, the JSON says 192 x 256, as if turned"),
    (empty_box, "box_empty", "has no area"), (far_box, "box_off_picture", "reaches 30 px beyond 256 x 192"),
    (count_wrong, "joint_count", "num_keypoints is"), (far_joint, "joint_off_picture", "nose up to 45 px outside"),
    (joint_off_box, "joint_off_box", "nose")])
def test_planted_faults_of_labels(folder, tmp_path, capsys, edit, kind, says):
    change(folder, edit)
    status, found = findings(folder, tmp_path)
    assert status == (kind in inspection.ERRORS)
    (line,) = [entry for entry in found if entry["kind"] == kind]
    assert line["file"] == "000001.png" and says in line["text"]
    assert line["annotation"] == (None if kind == "picture_size" else 1)
    assert kind in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "out" / f"{kind}_1_000001.jpg")) is not None


def test_pictures_that_cannot_be_read(folder, tmp_path, capsys):
    (folder / "images" / "000001.png").unlink()
    (folder / "images" / "000002.png").write_bytes((folder / "images" / "000002.png").read_bytes()[:500])
    status, found = findings(folder, tmp_path)
    assert status == 1 and [entry["kind"] for entry in found] == ["picture_unreadable"] * 2
    assert "000001.png: no such file" in found[0]["text"] and found[1]["file"] == "000002.png"


def test_pictures_that_are_there_twice(folder, tmp_path):
    images = folder / "images"
    shutil.copy(images / "000001.png", images / "copy.png")
    cv2.imwrite(str(images / "small.jpg"), cv2.resize(cv2.imread(str(images / "000002.png")), (200, 150)))
    change(folder, lambda data: data["images"].extend([dict(id=8, file_name="copy.png", width=256, height=192),
                                                       dict(id=9, file_name="small.jpg", width=200, height=150)]))
    status, found = findings(folder, tmp_path)
    assert status == 1 and [(entry["kind"], entry["file"]) for entry in found] == [
        ("picture_twice", "copy.png"), ("picture_nearly_twice", "small.jpg")]
    assert "000001.png" in found[0]["text"] and "000002.png" in found[1]["text"]
    assert (tmp_path / "out" / "picture_twice_1_copy.jpg").is_file()


def test_pictures_of_the_other_set(folder, tmp_path, capsys):
    other = write_coco(tmp_path / "other", 2, seed=5).parent
    against = ["--against", other / "annotations.json", "--against-images", other / "images"]
    assert inspect(folder, *against) == 0
    shutil.copy(other / "images" / "000002.png", folder / "images" / "000004.png")
    assert inspect(folder, *against) == 1
    assert "000004.png: the same bytes as 000002.png of the other set" in capsys.readouterr().out


def test_exchanged_sides_are_suspects(folder, tmp_path):
    """A scene's people have all joints; whom we see from the front is known from how they are drawn."""
    def swap(data):
        for entry in data["annotations"]:
            keypoints = np.reshape(entry["keypoints"], (-1, 3))
            entry["keypoints"] = keypoints[COCO17.mirror_order].ravel().tolist()

    change(folder, swap)
    status, found = findings(folder, tmp_path)
    assert status == 0 and {entry["kind"] for entry in found} == {"left_right"} and len(found) >= 3
    colors = cv2.imread(str(next((tmp_path / "out").glob("left_right_1_*.jpg")))).reshape(-1, 3).astype(int)
    for wanted in SIDE_COLORS.values():
        assert (abs(colors[:, ::-1] - wanted).max(axis=1) < 60).any()


@pytest.fixture
def person(original):
    """Upright, seen from the front."""
    people = [person for picture in read_coco(original / "annotations.json") for person in picture.people]
    return max(people, key=lambda person: person.keypoints[COCO17.index("left_shoulder"), 0]
               - person.keypoints[COCO17.index("right_shoulder"), 0])


def exchange(person, *names):
    for name in names:
        pair = [COCO17.index(f"{side}_{name}") for side in ("left", "right")]
        person.keypoints[pair] = person.keypoints[pair[::-1]]


@pytest.mark.parametrize("names, says", [
    ((), None), (("knee", "ankle"), None), (("hip",), "shoulders and hips"), (("shoulder",), "shoulders and hips"),
    (("shoulder", "hip"), "as seen from behind"), (("eye",), "left and right eye")])
@pytest.mark.parametrize("turns", [0, 1, 2])
def test_contradictions(person, names, says, turns):
    """However the person lies in the picture."""
    exchange(person, *names)
    for _ in range(turns):
        person.keypoints[:, :2] = person.keypoints[:, 1::-1] * (-1, 1)
    found = exchanged_sides(person, COCO17)
    assert (found is None) == (says is None) and (says is None or says in found[0])


@pytest.mark.parametrize("missing", ["left_hip", "right_shoulder"])
def test_sides_need_a_torso(person, missing):
    exchange(person, "shoulder")
    person.keypoints[COCO17.index(missing)] = 0
    assert exchanged_sides(person, COCO17) is None


def test_looks(original):
    pixels = [read_picture(path) for path in sorted((original / "images").iterdir())]
    looks = [duplicates.look(picture) for picture in pixels]
    assert duplicates.near_looks(looks) == [] and duplicates.near_looks([]) == []
    brighter = duplicates.look(np.clip(pixels[1] * 1.2 + 10, 0, 255).astype("uint8"))
    assert [pair[:2] for pair in duplicates.near_looks([brighter], looks)] == [(0, 1)]
    flat = duplicates.look(np.full((9, 9, 3), 7, "uint8"))
    assert duplicates.near_looks([flat, flat]) == []


@pytest.mark.parametrize("arguments, says", [
    (["--annotations", "gone.json", "--images", "."], "gone.json: cannot be read"),
    (["--annotations", "{set}/annotations.json", "--images", "gone"], "gone: no such folder"),
    (["--annotations", "{set}/annotations.json", "--images", "{set}/images", "--against", "gone.json"], "gone.json"),
    (["--annotations", "{set}/annotations.json", "--images", "{set}/images", "--output", "{set}/annotations.json"],
     "cannot be made a folder")])
def test_mistakes(original, capsys, arguments, says):
    assert main([argument.format(set=original) for argument in arguments]) == 2
    assert says in capsys.readouterr().err

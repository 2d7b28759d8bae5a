"""Tables of poses: our CSV and JSON, MPII's CSV, the variations, and every fault a file can have."""

import csv
import gzip
import json

import numpy as np
import pytest

from multiposenet.codecs import pose_vector
from multiposenet.config import ActivityConfig, Config, parse_config
from multiposenet.data import activity, mpii
from multiposenet.errors import UserError
from multiposenet.skeleton import COCO17
from scenes import ACTIVITIES, write_coco

K = len(COCO17)
RULES = {"walking": ["^walking:"], "running": ["^running:"], "sitting": [r"\bsitting\b"], "standing": [r"\bstanding\b"]}

# A person upright, seen from the front: the left side is on the right of the picture.
UPRIGHT = {"head top": (50, 10), "upper neck": (50, 30), "thorax": (50, 34), "pelvis": (50, 80),
           **{f"{side[0]} {joint}": (50 + (dx if side == "left" else -dx), y) for side in ("left", "right")
              for joint, dx, y in (("shoulder", 15, 34), ("elbow", 18, 55), ("wrist", 20, 75), ("hip", 10, 80),
                                   ("knee", 11, 115), ("ankle", 12, 150))}}


def mpii_row(name="1.jpg", category="running", text="jogging", **points):
    """A row of MPII's CSV; joints given as None are missing."""
    row = {"ID": "1", "NAME": name}
    for joint, point in {**UPRIGHT, **{key.replace("_", " "): point for key, point in points.items()}}.items():
        row[f"{joint}_X"], row[f"{joint}_Y"] = (-1, -1) if point is None else point
    return {**row, "Scale": "3.0", "Activity": text, "Category": category}


def write_csv(path, rows, columns=None):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", newline="") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def own_row(**changes):
    row = {"image": "a.jpg", "activity": "sitting", "x1": 10, "y1": 20, "x2": 110, "y2": 220}
    row |= {f"{joint}_{part}": value for i, joint in enumerate(COCO17.joints)
            for part, value in zip("xyv", (20 + i, 40 + i, 2))}
    return {**row, **changes}


def own_entry(**changes):
    keypoints = [value for i in range(K) for value in (20 + i, 40 + i, 0.9)]
    return {"file_name": "a.jpg", "bbox": [10, 20, 100, 200], "keypoints": keypoints, "activity": "sitting", **changes}


def read_mpii(path):
    return activity.read_poses(path, COCO17, ACTIVITIES, RULES, ["stairs"])


# Our own formats


def test_csv_and_json_say_the_same(tmp_path):
    path = write_csv(tmp_path / "poses.csv", [own_row(), own_row(activity="")])
    table = activity.read_poses(path, COCO17, ACTIVITIES)
    (tmp_path / "poses.json").write_text(json.dumps([own_entry(), own_entry(activity=None)]))
    other = activity.read_poses(tmp_path / "poses.json", COCO17, ACTIVITIES)
    for found in (table, other):
        assert found.groups.tolist() == ["a.jpg"] and found.labels.tolist() == [ACTIVITIES.index("sitting")]
        assert found.dropped == {"without an activity": 1}
        np.testing.assert_allclose(found.boxes, [[10, 20, 110, 220]])
    np.testing.assert_allclose(table.poses[..., :2], other.poses[..., :2])


def test_gzip_byte_order_mark_and_empty_joints(tmp_path):
    row = own_row(nose_x="", nose_y="", nose_v="", left_ear_v=0)
    path = write_csv(tmp_path / "poses.csv.gz", [row])
    plain = tmp_path / "poses.csv"
    plain.write_bytes(b"\xef\xbb\xbf" + gzip.decompress(path.read_bytes()))
    for file in (path, plain):
        pose = activity.read_poses(file, COCO17, ACTIVITIES).poses[0]
        assert (pose[:, 2] == 0).sum() == 2 and not pose[COCO17.index("left_ear")].any()


def test_people_without_joints_are_left_out(tmp_path):
    (tmp_path / "poses.json").write_text(json.dumps([own_entry(keypoints=[0] * 3 * K), own_entry()]))
    table = activity.read_poses(tmp_path / "poses.json", COCO17, ACTIVITIES)
    assert len(table) == 1 and "left out 1 without joints" in table.describe()


def test_coco_annotations_with_activities(tmp_path):
    table = activity.read_poses(write_coco(tmp_path, 3, people=4), COCO17, ACTIVITIES)
    assert len(table) == 12 and set(table.groups) == {f"00000{i}.png" for i in (1, 2, 3)}
    assert np.bincount(table.labels).tolist() == [3, 3, 3, 3]


def test_a_pictures_action_is_that_of_its_first_person(tmp_path):
    path = write_coco(tmp_path, 3, people=4)
    data = json.loads(path.read_text())
    for entry in data["annotations"]:
        del entry["activity"]
    data["images"][0]["action"] = "sitting"
    path.write_text(json.dumps(data))
    table = activity.read_poses(path, COCO17, ACTIVITIES)
    assert [ACTIVITIES[label] for label in table.labels] == ["sitting"] and table.dropped["without an activity"] == 11
    first = next(entry for entry in data["annotations"] if entry["image_id"] == data["images"][0]["id"])
    np.testing.assert_allclose(table.poses[0], np.reshape(first["keypoints"], (-1, 3)))


@pytest.mark.parametrize("changes, message", [
    ({"activity": "swimming"}, "row 3: activity 'swimming' is not one of model.activities: walking"),
    ({"x1": "wide"}, "row 3: column x1: 'wide' is not a number"),
    ({"x2": ""}, "row 3: column x2: '' is not a number"),
    ({"x2": 10}, "row 3: the box .* empty"),
    ({"nose_x": "nan"}, "row 3: keypoints must be 51 finite numbers"),
    ({"y2": "inf"}, "row 3: the box"),
    ({"image": " "}, "row 3: the picture has no name")])
def test_faulty_csv_rows(tmp_path, changes, message):
    path = write_csv(tmp_path / "poses.csv", [own_row(), own_row(**changes)])
    with pytest.raises(UserError, match=f"poses.csv: {message}"):
        activity.read_poses(path, COCO17, ACTIVITIES)


@pytest.mark.parametrize("entry, message", [
    (own_entry(keypoints=[1, 2, 3]), "keypoints must be 51"),
    (own_entry(keypoints=["a"] * 51), "could not convert"),
    (own_entry(keypoints=None), "keypoints must be 51"),
    (own_entry(bbox=[1, 2, 3]), "box"),
    (own_entry(bbox=[10, 20, 0, 5]), "box .* empty"),
    ({key: value for key, value in own_entry().items() if key != "bbox"}, "'bbox' is missing"),
    ({key: value for key, value in own_entry().items() if key != "file_name"}, "the picture has no name"),
    (own_entry(activity="flying"), "activity 'flying'"),
    (["a.jpg"], "expected a person's fields")])
def test_faulty_json_entries(tmp_path, entry, message):
    (tmp_path / "poses.json").write_text(json.dumps([own_entry(), entry]))
    with pytest.raises(UserError, match=f"poses.json: entry 1: .*{message}"):
        activity.read_poses(tmp_path / "poses.json", COCO17, ACTIVITIES)


@pytest.mark.parametrize("name, content, message", [
    ("poses.txt", b"", "read from .csv or .json"),
    ("poses.csv", b"", "no column image"),
    ("poses.csv", b"image;activity\n", "no column image, activity, x1, y1, ..."),
    ("poses.csv", b"image,activity\na.jpg\n", "row 2 has too few cells, the header has 2"),
    ("poses.csv", b"image,activity\na.jpg,sitting,3\n", "row 2 has too many cells"),
    ("poses.csv", b"\xff\xfe\x00", "not a CSV file in UTF-8"),
    ("poses.csv.gz", b"\x1f\x8b\x08\x00", "damaged"),
    ("poses.json", b"{", "not valid JSON"),
    ("poses.json", b"3", "expected a list of people"),
    ("poses.json", b"{}", "not a COCO annotation file")])
def test_faulty_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        activity.read_poses(tmp_path / name, COCO17, ACTIVITIES)


def test_missing_file(tmp_path):
    for name in ("poses.csv", "poses.json"):
        with pytest.raises(UserError, match=f"{name}: cannot be read"):
            activity.read_poses(tmp_path / name, COCO17, ACTIVITIES)


# MPII


def test_mpii_row(tmp_path):
    table = read_mpii(write_csv(tmp_path / "mpii.csv.gz", [mpii_row()]))
    assert table.labels.tolist() == [ACTIVITIES.index("running")] and table.groups.tolist() == ["1.jpg"]
    pose, box = table.poses[0], table.boxes[0]
    assert (pose[:, 2] == 2).all()
    for joint, point in (("left_knee", (61, 115)), ("right_wrist", (30, 75)), ("nose", (50, 22.4))):
        np.testing.assert_allclose(pose[COCO17.index(joint), :2], point, atol=1e-4)
    x, y = pose[:5, 0], pose[:5, 1]
    assert x[4] < x[2] < x[0] < x[1] < x[3], "right ear, right eye, nose, left eye, left ear"
    assert y[1] == y[2] < y[3] == y[4] < y[0], "eyes above ears above nose"
    assert box[0] < pose[:, 0].min() and box[2] > pose[:, 0].max() and box[3] > 150 and box[1] == 10


def test_frames_of_one_video_stay_together(tmp_path):
    rows = [mpii_row("1.jpg"), mpii_row("2.jpg"), mpii_row("2.jpg"), mpii_row("3.jpg", text="running"), mpii_row("4.jpg")]
    table = read_mpii(write_csv(tmp_path / "mpii.csv.gz", [*rows, mpii_row("1.jpg", text="running")]))
    assert table.groups.tolist() == ["1.jpg", "1.jpg", "1.jpg", "3.jpg", "4.jpg", "1.jpg"]


def test_mpii_missing_joints(tmp_path):
    rows = [mpii_row(head_top=None), mpii_row(l_ankle=None, r_ankle=None), mpii_row(head_top=(50, -30))]
    headless, legless, cut = read_mpii(write_csv(tmp_path / "mpii.csv", rows)).poses
    assert not headless[:5].any() and (headless[5:, 2] == 2).all()
    assert not legless[-2:].any() and (legless[:-2, 2] == 2).all()
    assert not cut[1].any() and (cut[0, 2] == 2), "eyes beyond the picture's edge are missing"


def test_mpii_with_too_few_joints(tmp_path):
    missing = {name.replace(" ", "_"): None for name in list(UPRIGHT)[3:]}
    table = read_mpii(write_csv(tmp_path / "mpii.csv", [mpii_row(**missing)]))
    assert len(table) == 0 and table.dropped == {"with fewer than 4 joints": 1}


@pytest.mark.parametrize("category, text, expected", [
    ("Walking", "backpacking", 0), ("running", "Running, marathon", 1), ("music playing", "cello, sitting", 2),
    ("miscellaneous", "standing, talking in person", 3),
    ("self care", "sitting or standing", "of two classes"), ("running", "running, stairs, up", "excluded"),
    ("lawn and garden", "implied walkingstanding", "of no class"), ("home activities", "babysitting", "of no class")])
def test_class_from_text(category, text, expected):
    assert mpii.Classifier(RULES, ["stairs"], ACTIVITIES)(f"{category}: {text}") == expected


def test_what_is_left_out_is_counted(tmp_path):
    rows = [mpii_row(), mpii_row(text="running, stairs, up"), mpii_row(category="x", text="sitting or standing"),
            mpii_row(category="sports", text="golf"), mpii_row(category="sports", text="darts")]
    table = read_mpii(write_csv(tmp_path / "mpii.csv", rows))
    assert table.dropped == {"of no class": 2, "excluded": 1, "of two classes": 1}
    assert table.describe().startswith("0 walking, 1 running, 0 sitting, 0 standing, 1 pictures or videos, left out")


@pytest.mark.parametrize("rules, exclude, message", [
    ({**RULES, "walking": ["(walk"]}, [], r"activity.rules.walking: '\(walk' is not a regular expression"),
    (RULES, ["[a-"], r"activity.exclude: '\[a-' is not a regular expression"),
    ({"walking": ["walk"]}, [], "exactly the classes of model.activities"),
    ({**RULES, "flying": ["fly"]}, [], "found walking, running, sitting, standing, flying"),
    ({}, [], "found none")])
def test_faulty_rules(tmp_path, rules, exclude, message):
    path = write_csv(tmp_path / "mpii.csv", [mpii_row()])
    with pytest.raises(UserError, match=message):
        activity.read_poses(path, COCO17, ACTIVITIES, rules, exclude)


@pytest.mark.parametrize("change, message", [
    ({"l knee_X": "far"}, "row 3: column l knee_X: 'far' is not a number"),
    ({"l knee_X": "nan"}, "row 3: a joint is not a finite number")])
def test_faulty_mpii_rows(tmp_path, change, message):
    path = write_csv(tmp_path / "mpii.csv", [mpii_row(), {**mpii_row(), **change}])
    with pytest.raises(UserError, match=message):
        read_mpii(path)


def test_mpii_without_a_joints_column(tmp_path):
    row = {key: value for key, value in mpii_row().items() if not key.startswith("l knee")}
    with pytest.raises(UserError, match="no column l knee_X, l knee_Y"):
        read_mpii(write_csv(tmp_path / "mpii.csv", [row]))


# Sets, balance, variations


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    names = ["sitting"] * 9 + ["walking"] * 3 + ["running"] * 2 + ["standing"]
    poses = [np.c_[rng.integers(11, 109, K), rng.integers(21, 219, K), np.full(K, 2)] for _ in names]
    entries = [own_entry(activity=name, file_name=f"{i // 2}.jpg", keypoints=pose.ravel().tolist())
               for i, (name, pose) in enumerate(zip(names, poses))]
    (tmp_path / "poses.json").write_text(json.dumps(entries))
    return activity.read_poses(tmp_path / "poses.json", COCO17, ACTIVITIES)


def settings(**changes):
    return ActivityConfig(**{**dict(mirror=0, drop_joint=0, joint_jitter=0, box_jitter=0), **changes})


def test_sets_are_joined(tmp_path, table):
    write_csv(tmp_path / "more.csv.gz", [mpii_row()])
    tree = dict(data=dict(root=str(tmp_path), sets=[dict(annotations="poses.json"), dict(annotations="more.csv.gz")]),
                activity=dict(rules=RULES))
    joined = activity.read_pose_sets(parse_config(tree, "test", Config), COCO17)
    assert len(joined) == len(table) + 1 and joined.groups[-1] == "1.jpg" and joined.labels[-1] == 1


@pytest.mark.parametrize("sets, message", [
    ([], "data.sets is empty"), ([{"annotations": "poses.json", "repeat": 2}], "leave out repeat"),
    ([{"annotations": "few.json"}], "no pose of the class 'walking'")])
def test_faulty_sets(tmp_path, table, sets, message):
    (tmp_path / "few.json").write_text(json.dumps([own_entry()]))
    with pytest.raises(UserError, match=message):
        activity.read_pose_sets(parse_config(dict(data=dict(root=str(tmp_path), sets=sets)), "test", Config), COCO17)


def test_hold_out_is_by_picture(table):
    learn, held = activity.hold_out(table, 0.5)
    assert len(learn) + len(held) == len(table) and len(learn) and len(held)
    assert not set(learn.groups) & set(held.groups)
    assert len(activity.hold_out(table, 0)[1]) == 0


@pytest.mark.parametrize("balance, counts", [(1, [9, 9, 9, 9]), (0, [3, 2, 9, 1]), (0.5, [5, 4, 9, 3])])
def test_balance_of_the_classes(table, balance, counts):
    source = activity.ActivitySource(table, Config(activity=settings(balance=balance)), COCO17)
    x, y = source.load(np.arange(len(source)), np.random.default_rng(0))
    assert y.sum(0).tolist() == counts and x.shape == (sum(counts), 2 * K)
    assert set(source.rows) == set(range(len(table))) and source.names(np.array([0])) == ["4.jpg"]


def test_validation_is_every_pose_as_it_is(table):
    source = activity.ActivitySource(table, Config(), COCO17, varied=False)
    x, y = source.load(np.arange(len(source)), np.random.default_rng(0))
    np.testing.assert_array_equal(x, pose_vector.encode(table.poses, table.boxes, 0.05))
    np.testing.assert_array_equal(y.argmax(-1), table.labels)


def test_the_same_chance_gives_the_same_batch(table):
    source = activity.ActivitySource(table, Config(), COCO17)
    batches = [source.load(np.arange(20), np.random.default_rng(seed))[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(batches[0], batches[1])
    assert not np.array_equal(batches[0], batches[2])


def test_mirroring_twice_is_nothing(table):
    once = activity.mirror(table.poses, table.boxes, COCO17)
    assert not np.array_equal(once, table.poses)
    np.testing.assert_array_equal(activity.mirror(once, table.boxes, COCO17), table.poses)


def test_a_mirrored_vector_is_one_minus_x(table):
    vectors = pose_vector.encode(table.poses, table.boxes, 0.05).reshape(-1, K, 2)
    mirrored = pose_vector.encode(activity.mirror(table.poses, table.boxes, COCO17), table.boxes, 0.05)
    expected = vectors[:, COCO17.mirror_order] * (-1, 1) + (1, 0)
    np.testing.assert_allclose(mirrored.reshape(-1, K, 2), expected, atol=1e-5)


def test_no_variation_changes_nothing(table):
    poses, boxes = activity.vary(table.poses, table.boxes, settings(), COCO17, np.random.default_rng(0))
    np.testing.assert_array_equal(poses, table.poses)
    np.testing.assert_array_equal(boxes, table.boxes)


def test_sizes_of_the_variations(table):
    table = table.take(np.resize(np.arange(len(table)), 600))
    sides = (table.boxes[:, 2:] - table.boxes[:, :2])[:, None]
    varied = settings(drop_joint=0.3, joint_jitter=0.05, box_jitter=0.1)
    poses, boxes = activity.vary(table.poses, table.boxes, varied, COCO17, np.random.default_rng(0))
    assert np.mean(poses[..., 2] == 0) == pytest.approx(0.3, abs=0.02)
    assert np.std((poses - table.poses)[..., :2] / sides) == pytest.approx(0.05, rel=0.05)
    shift = np.abs(boxes - table.boxes) / np.tile(sides[:, 0], 2)
    assert 0.09 < shift.max() <= 0.1001

import json

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from multiposenet.skeleton import COCO17
from scenes import ACTIVITIES, JOINT_COLORS, draw_scene, write_coco


def scene(seed, **kwargs):
    return draw_scene(np.random.default_rng(seed), **kwargs)


def test_same_seed_same_scene():
    first, second, other = scene(3), scene(3), scene(4)
    assert np.array_equal(first.picture, second.picture) and not np.array_equal(first.picture, other.picture)
    assert all(np.array_equal(a.keypoints, b.keypoints) for a, b in zip(first.people, second.people))


def test_visible_joints_show_their_colour():
    for seed in range(10):
        drawn = scene(seed, people=1)
        for (x, y, v), color in zip(drawn.people[0].keypoints, JOINT_COLORS):
            around = drawn.picture[max(0, round(y) - 3):round(y) + 4, max(0, round(x) - 3):round(x) + 4]
            assert v == 0 or (around == color).all(axis=-1).any()


def test_labels_are_consistent():
    hidden = 0
    for seed in range(30):
        drawn = scene(seed, size=(128, 160))
        for person in drawn.people:
            x1, y1, x2, y2 = person.box_xyxy
            labelled = person.keypoints[person.keypoints[:, 2] > 0]
            assert 0 <= x1 < x2 <= 160 and 0 <= y1 < y2 <= 128
            assert (labelled[:, :2] >= (x1 - 1, y1 - 1)).all() and (labelled[:, :2] <= (x2, y2)).all()
            assert (person.keypoints[person.keypoints[:, 2] == 0] == 0).all()
            assert 0 < person.area <= (x2 - x1) * (y2 - y1) and person.segmentation
            hidden += (person.keypoints[:, 2] == 1).sum()
    assert hidden > 10  # overlaps happen


def test_every_activity_appears():
    assert {person.activity for seed in range(4) for person in scene(seed).people} == set(ACTIVITIES)


@pytest.mark.parametrize("size", [64, (96, 200), (480, 480)])
def test_sizes(size):
    assert scene(0, size=size).picture.shape[:2] == tuple(np.broadcast_to(size, 2))


def test_write_coco(tmp_path):
    path = write_coco(tmp_path, count=3, size=(96, 128), seed=1, negatives=2)
    coco = COCO(path)
    assert len(coco.imgs) == 5 and [len(coco.getAnnIds(imgIds=[i])) > 0 for i in coco.imgs] == [True] * 3 + [False] * 2
    assert coco.cats[1]["keypoints"] == list(COCO17.joints)
    for annotation in coco.anns.values():
        assert len(annotation["keypoints"]) == 3 * len(COCO17) and annotation["activity"] in ACTIVITIES
        # the polygon runs through the centres of the outermost pixels, the mask counts whole pixels
        assert abs(coco.annToMask(annotation).sum() / annotation["area"] - 1) < .35
    for image in coco.imgs.values():
        assert cv2.imread(str(tmp_path / "images" / image["file_name"])).shape == (96, 128, 3)
    assert json.loads(write_coco(tmp_path / "again", 3, (96, 128), 1, negatives=2).read_text()) == json.loads(
        path.read_text())

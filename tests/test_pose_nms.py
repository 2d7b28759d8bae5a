"""Poses that are much alike lower each other's scores."""

import numpy as np
import pytest
from conftest import with_heads_of

from multiposenet.engines import load_engine
from multiposenet.geometry import oks
from multiposenet.models.pose_nms import InOrder, SoftPoseNMS
from multiposenet.models.refined import AREA_SHARE
from multiposenet.prediction import Person
from multiposenet.skeleton import COCO17, SEEN

PEOPLE = 14


@pytest.fixture
def crowd():
    """Boxes, scores and poses of two pictures, in each four people several times over."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 100, (2, PEOPLE, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(20, 60, (2, PEOPLE, 2))], axis=-1)
    points = rng.uniform(0, 100, (2, 4, 17, 2))[:, rng.integers(0, 4, PEOPLE)] + rng.normal(0, 3, (2, PEOPLE, 17, 2))
    poses = np.concatenate([points, rng.uniform(0, 1, (2, PEOPLE, 17, 1))], axis=-1)
    return boxes.astype("float32"), -np.sort(-rng.uniform(0.05, 1, (2, PEOPLE)).astype("float32")), poses.astype("float32")


def one_by_one(boxes, scores, poses, threshold):
    """Scores of one picture's people, the best pose first, each lowered by those before it."""
    areas = AREA_SHARE * np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)
    ranks = [Person(box, score, pose).score for box, score, pose in zip(boxes, scores, poses)]
    shares, best_first = np.ones(len(scores)), np.argsort(ranks)[::-1]
    for number, i in enumerate(best_first):
        labelled = np.concatenate([poses[i, :, :2], poses[i, :, 2:] > SEEN], axis=-1)[None]
        for j in best_first[:number]:
            alike = oks(poses[j:j + 1], labelled, [(areas[i] + areas[j]) / 2], COCO17.sigmas)[0, 0]
            shares[i] *= 1 - shares[j] * alike ** 2
    return np.where(shares * scores > threshold, shares * scores, 0)


@pytest.mark.parametrize("threshold", (0.0, 0.2))
def test_one_after_another(crowd, threshold):
    scores, order = map(np.asarray, SoftPoseNMS(COCO17.sigmas, threshold)(crowd))
    for i, picture in enumerate(zip(*crowd)):
        expected = one_by_one(*picture, threshold)
        assert (expected < 0.9 * picture[1]).sum() > 5 and (expected > 0.99 * picture[1]).sum() > 1
        assert (expected > 0).sum() > 4
        np.testing.assert_allclose(scores[i], -np.sort(-expected), atol=1e-5)
        np.testing.assert_allclose(expected[order[i]], scores[i], atol=1e-5)


def test_the_same_pose_counts_once(crowd):
    """Of three equal people the one whose score is highest stays, and those far away stay as they were."""
    boxes, scores, poses = (values[:1, :4].copy() for values in crowd)
    boxes[:], poses[..., 2] = [0, 0, 50, 100], 0.5
    poses[0, 2], poses[0, 3] = poses[0, 1], poses[0, 1]
    poses[0, 0, :, 0] += 1000
    new, order = map(np.asarray, SoftPoseNMS(COCO17.sigmas, 0.05)([boxes, scores, poses]))
    np.testing.assert_allclose(new[0], [*scores[0, :2], 0, 0])
    assert order[0, :2].tolist() == [0, 1]
    sorted_boxes = np.asarray(InOrder()([boxes, new, order]))
    np.testing.assert_array_equal(sorted_boxes[0, :2], boxes[0, :2])
    assert not sorted_boxes[0, 2:].any()


def test_people_without_a_joint_lower_nobody(crowd):
    boxes, scores, poses = crowd
    poses[..., 2] = 0
    new, order = map(np.asarray, SoftPoseNMS(COCO17.sigmas, 0.0)([boxes, scores, poses]))
    np.testing.assert_allclose(new, scores)
    np.testing.assert_array_equal(order, np.tile(np.arange(PEOPLE), (2, 1)))


def test_one_person_in_several_windows():
    """A photo and its mirror image: the person is read several times, once of which remains, as it was read."""
    photo = pytest.importorskip("skimage.data").astronaut()[::2, ::2]
    pictures, lite = np.stack([photo, photo[:, ::-1]]), load_engine("lite", "keras")
    plain, model = (with_heads_of(lite, lite.config, nms_iou=0.9, pose_nms=nms) for nms in (False, True))
    before, after = plain.predict_on_batch(pictures), model.predict_on_batch(pictures)
    assert (np.diff(after["scores"], axis=1) <= 0).all()
    for i, count in enumerate(after["count"]):
        assert (before["scores"][i] > 0.4).sum() > 1 and (after["scores"][i] > 0.4).sum() == 1
        assert not after["scores"][i, count:].any() and not after["boxes"][i, count:].any()
        j = np.abs(before["boxes"][i] - after["boxes"][i, 0]).sum(axis=-1).argmin()
        assert 0.5 * before["scores"][i, j] < after["scores"][i, 0] < before["scores"][i, j]  # as well as he was read
        for key in ("boxes", "keypoints", "activities"):
            np.testing.assert_allclose(after[key][i, 0], before[key][i, j], rtol=2e-3, atol=2e-3, err_msg=key)
    for key, value in model.predict_on_batch(pictures[1:]).items():
        np.testing.assert_allclose(value[0], after[key][1], rtol=2e-3, atol=2e-3, err_msg=key)

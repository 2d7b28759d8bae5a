"""Poses as vectors: there and back, what is missing, and independence of where and how large a person is."""

import numpy as np
import pytest

from multiposenet.codecs import pose_vector
from multiposenet.geometry import Letterbox
from multiposenet.skeleton import COCO17

JOINTS = len(COCO17)


@pytest.fixture
def people():
    """Five people: keypoints (5, K, 3) inside their boxes (5, 4), all present."""
    rng = np.random.default_rng(0)
    corner, sides = rng.uniform(0, 200, (5, 2)), rng.uniform(20, 300, (5, 2))
    points = corner[:, None] + rng.uniform(0.05, 0.95, (5, JOINTS, 2)) * sides[:, None]
    keypoints = np.concatenate([points, rng.uniform(0.1, 1, (5, JOINTS, 1))], axis=-1)
    return keypoints.astype("float32"), np.concatenate([corner, corner + sides], axis=1).astype("float32")


def test_round_trip(people):
    keypoints, boxes = people
    vectors = pose_vector.encode(keypoints, boxes, 0.05)
    assert vectors.shape == (5, 2 * JOINTS) and vectors.dtype == np.float32
    assert vectors.min() > 0 and vectors.max() < 1
    decoded = pose_vector.decode(vectors, boxes)
    np.testing.assert_allclose(decoded[..., :2], keypoints[..., :2], atol=1e-3)
    assert (decoded[..., 2] == 1).all()


def test_missing_joints_are_zero_and_come_back_missing(people):
    keypoints, boxes = people
    keypoints[0, 3, 2], keypoints[1, 4, 2], keypoints[2, 5, 2] = 0, 0.04, 0.05
    vectors = pose_vector.encode(keypoints, boxes, 0.05).reshape(5, JOINTS, 2)
    assert not vectors[0, 3].any() and not vectors[1, 4].any() and vectors[2, 5].all()
    assert pose_vector.decode(vectors.reshape(5, -1), boxes)[[0, 1], [3, 4]].tolist() == [[0, 0, 0]] * 2


def test_a_score_of_zero_is_missing_even_without_a_limit(people):
    keypoints, boxes = people
    keypoints[..., 2] = 0
    assert not pose_vector.encode(keypoints, boxes, 0).any()


def test_far_joints_are_held_near_the_box(people):
    keypoints, boxes = people
    keypoints[:, 0, :2], keypoints[:, 1, :2] = -1e6, 1e6
    vectors = pose_vector.encode(keypoints, boxes, 0.05)
    assert (vectors[:, :2] == pose_vector.LOW).all() and (vectors[:, 2:4] == pose_vector.HIGH).all()


def test_empty_boxes_give_zeros(people):
    keypoints, boxes = people
    boxes[0], boxes[1, 2], boxes[2, 3] = 0, boxes[1, 0], boxes[2, 1] - 5
    vectors = pose_vector.encode(keypoints, boxes, 0.05)
    assert not vectors[:3].any() and vectors[3:].all()


def test_scaling_the_picture_changes_nothing(people):
    keypoints, boxes = people
    letterbox = Letterbox.fit(500, 700, 333, 1000)
    scaled = pose_vector.encode(letterbox.to_canvas(keypoints), letterbox.boxes_to_canvas(boxes), 0.05)
    np.testing.assert_allclose(scaled, pose_vector.encode(keypoints, boxes, 0.05), atol=1e-5)


def test_leading_dimensions_are_free(people):
    keypoints, boxes = people
    whole = pose_vector.encode(keypoints, boxes, 0.05)
    np.testing.assert_array_equal(pose_vector.encode(keypoints[None], boxes[None], 0.05), whole[None])
    np.testing.assert_array_equal(pose_vector.encode(keypoints[2], boxes[2], 0.05), whole[2])
    nobody = pose_vector.encode(keypoints[:0], boxes[:0], 0.05)
    assert nobody.shape == (0, 2 * JOINTS) and pose_vector.decode(nobody, boxes[:0]).shape == (0, JOINTS, 3)


def test_pairs_are_directions_and_lengths_in_the_picture(people):
    """A pair's numbers are those of its joints in pixels, however the box is stretched."""
    keypoints, boxes = people
    pairs = COCO17.pair_indices
    vectors = pose_vector.encode(keypoints, boxes, 0.05, pairs)
    assert vectors.shape == (5, pose_vector.size(JOINTS, pairs)) and vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[:, :2 * JOINTS], pose_vector.encode(keypoints, boxes, 0.05))
    form, directions, lengths = np.split(vectors[:, 2 * JOINTS:], [2, 2 + 2 * len(pairs)], axis=1)
    sides = boxes[:, 2:] - boxes[:, :2]
    root = np.sqrt(sides.prod(axis=1, keepdims=True))
    np.testing.assert_allclose(form, sides / root, rtol=1e-4)
    for i, (start, end) in enumerate(pairs):
        across = keypoints[:, end, :2] - keypoints[:, start, :2]
        np.testing.assert_allclose(lengths[:, i] * root[:, 0], np.linalg.norm(across, axis=1), rtol=1e-3)
        np.testing.assert_allclose(directions[:, 2 * i:2 * i + 2] * (lengths * root)[:, i:i + 1], across, atol=1e-2)


def test_pairs_of_missing_joints_and_empty_boxes_are_zero(people):
    keypoints, boxes = people
    keypoints[0, 3, 2], boxes[1] = 0, 0
    pairs = [(3, 4), (5, 6)]
    vectors = pose_vector.encode(keypoints, boxes, 0.05, pairs)
    relations = vectors[:, 2 * JOINTS + 2:]
    assert not relations[0, [0, 1, 4]].any() and relations[0, [2, 3, 5]].any()
    assert not vectors[1].any() and np.isfinite(vectors).all()


def test_pairs_are_limbs_and_mirror_pairs_once():
    pairs = COCO17.pair_indices
    ankles = COCO17.index("left_ankle"), COCO17.index("right_ankle")
    assert ankles in pairs and set(COCO17.limb_indices) <= set(pairs) and len(set(pairs)) == len(pairs)

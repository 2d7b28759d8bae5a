import numpy as np
import pytest

from multiposenet.codecs.person_grid import blur_matrix, encode
from multiposenet.config import load_config
from multiposenet.data.coco import Person, Picture
from multiposenet.data.prn import PrnSource
from multiposenet.errors import UserError
from multiposenet.skeleton import COCO17


def person(rng, joints=17, box=(100, 50, 200, 250), crowd=False):
    keypoints = np.zeros((17, 3), "float32")
    points = rng.uniform(box[:2], box[2:], (joints, 2))
    keypoints[:joints] = np.column_stack([points, np.full(joints, 2)])
    return Person(int(rng.integers(1, 1000)), np.array(box, "float32"), keypoints, crowd, 1.0)


def picture(i, *people):
    return Picture(i, f"{i}.jpg", None, 480, 640, list(people))


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    near = [person(rng), person(rng, 3, (150, 60, 250, 240))]
    with_crowd = [person(rng, 6), person(rng, 17, crowd=True)]
    return [picture(1, *near), picture(2), picture(3, *with_crowd), picture(4, person(rng))]


def config(*overrides):
    return load_config(None, ["prn.mirror=0", *overrides])


def test_owners_have_enough_joints_and_are_no_crowd(pictures):
    source = PrnSource(pictures, config(), COCO17)
    assert len(source) == 3
    ids = [pictures[i].people[0].id for i in (0, 2, 3)]
    assert source.names(np.array([0, 1, 2])) == [f"{i}.jpg person {number}" for i, number in zip((1, 3, 4), ids)]
    assert len(PrnSource(pictures, config("prn.min_joints=3"), COCO17)) == 4
    with pytest.raises(UserError, match="min_joints"):
        PrnSource([picture(1, person(np.random.default_rng(0), 3))], config(), COCO17)


def test_input_shows_everybody_and_target_the_owner(pictures):
    settings = config()
    x, y = PrnSource(pictures, settings, COCO17).load(np.array([0, 2, 1]), np.random.default_rng(0))
    place = settings.model.grid, settings.model.box_margin
    for i, group in enumerate([pictures[0].people, pictures[3].people, pictures[2].people[:1]]):
        owner, everybody = group[0], np.stack([member.keypoints for member in group])
        np.testing.assert_array_equal(x[i], encode(owner.box_xyxy[None], everybody[None], *place, 1)[0])
        np.testing.assert_array_equal(y[i], encode(owner.box_xyxy[None], owner.keypoints[None, None], *place, 2)[0])


def test_mirrored_grids_are_the_mirror_image(pictures):
    rng = np.random.default_rng(0)
    plain = PrnSource(pictures, config(), COCO17).load(np.arange(3), rng)
    mirrored = PrnSource(pictures, config("prn.mirror=1"), COCO17).load(np.arange(3), rng)
    for a, b in zip(plain, mirrored):
        np.testing.assert_allclose(b, a[:, :, ::-1][..., COCO17.mirror_order], atol=1e-6)


def test_variations_touch_the_input_and_leave_the_targets_joints(pictures):
    plain = PrnSource(pictures, config(), COCO17).load(np.arange(3), np.random.default_rng(0))
    withheld = PrnSource(pictures, config("prn.drop_joint=1"), COCO17).load(np.arange(3), np.random.default_rng(0))
    assert not withheld[0].any()
    np.testing.assert_array_equal(withheld[1], plain[1])
    moved = PrnSource(pictures, config("prn.joint_jitter=0.1"), COCO17).load(np.arange(3), np.random.default_rng(0))
    assert not np.array_equal(moved[0], plain[0])
    np.testing.assert_array_equal(moved[1], plain[1])
    shifted = PrnSource(pictures, config("prn.box_jitter=0.2"), COCO17).load(np.arange(3), np.random.default_rng(0))
    assert not np.array_equal(shifted[0], plain[0]) and not np.array_equal(shifted[1], plain[1])


def test_validation_has_no_variations_and_chance_comes_from_the_generator_alone(pictures):
    wild = config("prn.mirror=0.5", "prn.box_jitter=0.2", "prn.drop_joint=0.3", "prn.joint_jitter=0.1")
    fixed = PrnSource(pictures, wild, COCO17, varied=False).load(np.arange(3), np.random.default_rng(5))
    plain = PrnSource(pictures, config(), COCO17).load(np.arange(3), np.random.default_rng(0))
    np.testing.assert_array_equal(fixed[0], plain[0])
    source = PrnSource(pictures, wild, COCO17)
    first, second = (source.load(np.arange(3), np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    assert np.isfinite(first[0]).all()


def test_targets_of_inner_joints_sum_to_one(pictures):
    _, y = PrnSource(pictures, config(), COCO17).load(np.array([1]), np.random.default_rng(0))
    assert y.shape == (1, 56, 36, 17)
    assert (y.sum(axis=(1, 2))[0, 6:] == 0).all()
    assert (y.sum(axis=(1, 2))[0, :6] <= 1 + 1e-5).all() and blur_matrix(56, 2)[28].sum() == pytest.approx(1)

"""The second look at each person: windows, crops, where joints are read, and the whole graph with it."""

import keras
import numpy as np
import pytest
from keras import ops
from conftest import with_heads_of
from scenes import noisy_pictures

from multiposenet.codecs import person_window
from multiposenet.geometry import widen
from multiposenet.models.refiner import AREA_SHARE, SIGMA_CELLS, STRICTNESS, PersonCrops, ReadJoints, RefinerLoss
from multiposenet.weights import load_model, save_model

GRID, MARGIN = (12, 8), 0.2
BOXES = np.array([[10, 20, 50, 100], [-5, 3, 60, 40]], "float32")
ONES = np.ones((1, 2), "float32")  # scores of the boxes
REFINER = {"refiner_filters", "refiner_blocks", "half_view"}


def test_places_in_a_window_and_back():
    rng = np.random.default_rng(0)
    joints = np.concatenate([rng.uniform(-30, 130, (2, 40, 2)), rng.integers(0, 3, (2, 40, 1))], axis=-1)
    places = person_window.encode(BOXES, joints, GRID, MARGIN)
    np.testing.assert_allclose(person_window.decode(BOXES, places[..., :2], GRID, MARGIN), joints[..., :2], atol=1e-3)
    low, high = np.split(widen(BOXES, MARGIN), 2, axis=-1)
    edges = joints[..., :2] + 0.5
    inside = ((edges > low[:, None]) & (edges < high[:, None])).all(-1) & (joints[..., 2] > 0)
    assert 5 < inside.sum() < 60
    np.testing.assert_array_equal(places[..., 2], inside)


def test_crops_read_what_lies_at_their_cells():
    """Of a ramp, which every average leaves as it is: the crop is the ramp at the cells' centres, zero beyond the picture."""
    stride, (rows, columns) = 8, (20, 30)
    y, x = (np.mgrid[:rows, :columns] + 0.5) * stride - 0.5
    features = np.stack([x, y, np.ones_like(x)], axis=-1).astype("float32")[None]
    boxes = np.array([[[40, 40, 60, 70], [60, 30, 200, 120], [-100, -100, -60, -50]]], "float32")
    crops = ops.convert_to_numpy(PersonCrops(stride, GRID, MARGIN)([features, boxes]))[0]
    cells = np.stack(np.meshgrid(np.arange(GRID[1]), np.arange(GRID[0])), axis=-1).reshape(-1, 2)
    places = person_window.decode(boxes[0], np.broadcast_to(cells, (3, *cells.shape)), GRID, MARGIN).reshape(3, *GRID, 2)
    np.testing.assert_allclose(crops[:2, ..., 2], 1, atol=1e-5)
    np.testing.assert_allclose(crops[1, ..., :2], places[1], atol=1)
    np.testing.assert_allclose(crops[0, ..., :2], places[0], atol=0.01)  # finer than the features: interpolated exactly
    assert not crops[2].any()


def test_loss_is_least_at_the_target():
    places = np.array([[[[3.3, 5.8, 1], [0, 0, 0], [7, 0.4, 1]]]], "float32")  # column, row, labelled
    at = np.indices(GRID)[::-1, ..., None].transpose(1, 2, 3, 0)  # (rows, columns, 1, 2)
    ideal = -np.square(at - places[0, 0, :, :2]).sum(-1) / (2 * SIGMA_CELLS ** 2)
    loss = RefinerLoss()
    least = float(loss(places, ideal[None, None].astype("float32")))
    entropy = []
    for k in (0, 2):
        p = np.exp(ideal[..., k] - np.log(np.exp(ideal[..., k]).sum()))
        entropy.append(-(p * np.log(np.maximum(p, 1e-30))).sum())
    assert least == pytest.approx(np.mean(entropy), rel=1e-4)
    elsewhere = ideal.copy()
    elsewhere[..., 1] += np.random.default_rng(0).normal(size=GRID)  # nobody knows where the second joint is
    assert float(loss(places, elsewhere[None, None].astype("float32"))) == pytest.approx(least, rel=1e-4)
    for k in (0, 2):
        worse = ideal.copy()
        worse[..., k] = np.roll(worse[..., k], 1, axis=0)
        assert float(loss(places, worse[None, None].astype("float32"))) > least + 0.1
    assert float(loss(places * [1, 1, 0], ideal[None, None].astype("float32"))) == 0


def expected_similarity(box, probabilities, sigma):
    """(rows, columns): mean OKS of one joint at each cell, by a loop over cells."""
    rows, columns = np.indices(GRID)
    sides = (box[2:] - box[:2]) * (1 + 2 * MARGIN) / [GRID[1], GRID[0]]
    area = AREA_SHARE * np.prod(box[2:] - box[:2])
    expected = np.zeros(GRID)
    for row, column in np.ndindex(*GRID):
        squared = ((columns - column) * sides[0]) ** 2 + ((rows - row) * sides[1]) ** 2
        expected[row, column] = (probabilities * np.exp(-squared / (2 * area * (2 * sigma * STRICTNESS) ** 2))).sum()
    return expected


def test_joints_are_read_where_they_are_most_similar():
    rng, sigmas = np.random.default_rng(1), (0.03, 0.1)
    logits = rng.normal(scale=2, size=(1, 2, *GRID, 2)).astype("float32")
    poses = np.array([[[[-300, 2, 0.5], [3, -400, 0.2]], [[5, 6, 0], [700, 8, 0.9]]]], "float32")  # nowhere near
    read = ops.convert_to_numpy(ReadJoints(sigmas, GRID, MARGIN)([BOXES[None], ONES, logits, poses]))[0]
    for i, box in enumerate(BOXES):
        for k, sigma in enumerate(sigmas):
            p = np.exp(logits[0, i, ..., k])
            expected = expected_similarity(box, p / p.sum(), sigma)
            row, column = np.unravel_index(expected.argmax(), GRID)
            if not poses[0, i, k, 2]:
                np.testing.assert_array_equal(read[i, k], poses[0, i, k])
                continue
            place = person_window.encode(box[None], read[None, i, k:k + 1], GRID, MARGIN)[0, 0]
            assert (np.abs(place[:2] - [column, row]) <= 0.501).all()
            assert read[i, k, 2] == pytest.approx(np.sqrt(expected.max() * poses[0, i, k, 2]), rel=1e-3)


def test_a_sure_joint_is_read_exactly():
    place = np.array([3.3, 5.8])
    at = np.indices(GRID)[::-1].transpose(1, 2, 0)
    logits = -np.square(at - place).sum(-1) / (2 * 1.5 ** 2)
    poses = np.array([[[[0, 0, 1]]]], "float32")
    read = ops.convert_to_numpy(ReadJoints((0.1,), GRID, MARGIN)([BOXES[None, :1], ONES[:, :1], logits[None, None, ..., None].astype("float32"),
                                                                  poses]))
    found = person_window.encode(BOXES[:1], read[0], GRID, MARGIN)[0, 0]
    np.testing.assert_allclose(found[:2], place, atol=0.06)


def test_a_joint_near_its_peak_goes_to_the_mean_of_both():
    at, place = np.indices(GRID)[::-1].transpose(1, 2, 0), np.array([3.3, 5.8])
    logits = (-np.square(at - place).sum(-1) / (2 * 1.5 ** 2))[None, None, ..., None].astype("float32")
    read = ReadJoints((0.1,), GRID, MARGIN)
    x, y, surest = ops.convert_to_numpy(read([BOXES[None, :1], ONES[:, :1], logits, np.array([[[[0, 0, 1]]]], "float32")]))[0, 0, 0]
    size = np.sqrt(AREA_SHARE * 40 * 80)
    for similarity in (0.41, 0.39):
        away = 0.2 * size * np.sqrt(-2 * np.log(similarity))
        found = ops.convert_to_numpy(read([BOXES[None, :1], ONES[:, :1], logits, np.array([[[[x + away, y, 0.5]]]], "float32")]))[0, 0, 0]
        share = 0.5 / (0.5 + surest ** 2) if similarity > 0.4 else 0
        np.testing.assert_allclose(found[:2], [x + share * away, y], atol=0.01)


@pytest.fixture(scope="module", params=[0, 50])
def refined(request, tiny_model, tiny_config):
    """The tiny model with a refiner, without and with a half view."""
    keras.utils.set_random_seed(5)
    return with_heads_of(tiny_model, tiny_config, refiner_filters=8, refiner_blocks=1, half_view=request.param,
                         refiner_min_score=0)


@pytest.fixture(scope="module")
def pictures():
    return noisy_pictures(range(3), (128, 160))


def test_only_the_joints_change(refined, tiny_model, tiny_config, pictures):
    without = with_heads_of(tiny_model, tiny_config, half_view=refined.config.half_view)
    found, plain = (model.predict_on_batch(pictures) for model in (refined, without))
    assert found["count"].sum() > 3
    for key in ("boxes", "scores", "count"):
        np.testing.assert_allclose(found[key], plain[key], atol=1e-3)
    for boxes, poses, other, count in zip(found["boxes"], found["keypoints"], plain["keypoints"], found["count"]):
        assert not poses[count:].any()
        if not count:
            continue
        known = poses[:count, :, 2] > 0
        assert known.any() and (np.abs(poses - other)[:count][known] > 0.5).any()
        low, high = np.split(widen(boxes[:count], 0.15), 2, axis=-1)  # nobody's joints leave the window
        edges = poses[:count, :, :2] + 0.5
        assert ((edges >= low[:, None] - 1e-2) & (edges <= high[:, None] + 1e-2)).all(axis=-1)[known].all()


def test_people_of_low_score_are_left_alone(refined, tiny_config, pictures):
    scores = refined.predict_on_batch(pictures)["scores"]
    middle = float(np.median(scores[scores > 0]))
    some, none = (with_heads_of(refined, tiny_config, **{**refined.config.model_dump(include=REFINER), "refiner_min_score": low})
                  for low in (middle, 1.0))
    seen = some.dense.predict_on_batch(pictures)
    found, whole = some.predict_on_batch(pictures)["keypoints"], some.people.predict_on_batch(seen)["keypoints"]
    above = scores > middle
    assert above.any() and (~above & (scores > 0)).any()
    np.testing.assert_allclose(found[above], refined.predict_on_batch(pictures)["keypoints"][above], rtol=2e-3, atol=2e-2)
    np.testing.assert_allclose(found[~above], none.predict_on_batch(pictures)["keypoints"][~above], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found, whole, rtol=2e-3, atol=2e-2)  # TensorFlow leaves out what other backends throw away


def test_batch_is_its_singles_and_people_any_number(refined, pictures):
    found = refined.predict_on_batch(pictures)
    for i, picture in enumerate(pictures):
        seen = refined.dense.predict_on_batch(picture[None])
        one = refined.people.predict_on_batch({**seen, "boxes": seen["boxes"][:, :2], "scores": seen["scores"][:, :2]})
        np.testing.assert_allclose(one["keypoints"][0], found["keypoints"][i, :2], rtol=2e-3, atol=2e-2)


def test_save_and_load(refined, pictures, tmp_path):
    save_model(refined, tmp_path / "refined.keras")
    loaded = load_model(tmp_path / "refined.keras")
    assert len(loaded.weights) == len(refined.weights)
    for key, value in refined.predict_on_batch(pictures).items():
        np.testing.assert_allclose(loaded.predict_on_batch(pictures)[key], value, rtol=1e-4, atol=1e-4)

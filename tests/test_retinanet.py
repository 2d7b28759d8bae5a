"""The detector's heads, decoding and suppression against plain NumPy, and its losses."""

import keras
import numpy as np
import pytest
from keras import ops

from multiposenet import geometry
from multiposenet.codecs import anchors
from multiposenet.errors import UserError
from multiposenet.losses import FocalLoss, SmoothL1Loss
from multiposenet.models.retinanet import DecodeBoxes, RetinaNetHeads, SelectBoxes


def pyramid(rng, batch=2, height=64, width=96, channels=8):
    return [rng.normal(size=(batch, -(-height // stride), -(-width // stride), channels)).astype("float32")
            for stride in anchors.STRIDES]


def random_boxes(rng, batch, count):
    corners = rng.uniform(0, 80, (batch, count, 2))
    return np.concatenate([corners, corners + rng.uniform(5, 40, (batch, count, 2))], axis=-1).astype("float32")


def greedy(boxes, scores, max_boxes, score_threshold, nms_iou):
    """Non-maximum suppression as the textbooks write it."""
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] > score_threshold and all(geometry.iou(boxes[i:i + 1], boxes[j:j + 1]) <= nms_iou for j in kept):
            kept.append(i)
    kept = kept[:max_boxes]
    spare = max_boxes - len(kept)
    return np.pad(boxes[kept], ((0, spare), (0, 0))), np.pad(scores[kept], (0, spare))


@pytest.fixture(scope="module")
def heads():
    keras.utils.set_random_seed(0)
    return RetinaNetHeads(channels=8, filters=8, depth=2)


def test_heads_answer_for_every_anchor(heads):
    answers = heads(pyramid(np.random.default_rng(0)))
    count = len(anchors.anchor_boxes(64, 96))
    assert answers["regression"].shape == (2, count, 4)
    assert answers["classification"].shape == (2, count, 1)


def test_untrained_heads_answer_the_prior(heads):
    probabilities = ops.convert_to_numpy(heads(pyramid(np.random.default_rng(0)))["classification"])
    np.testing.assert_allclose(probabilities, 0.01, atol=1e-3)


def test_layers_are_named_as_in_keras_retinanet(heads):
    for kind in ("regression", "classification"):
        names = [layer.name for layer in heads.get_layer(f"{kind}_submodel").layers if layer.weights]
        assert names == [f"pyramid_{kind}_0", f"pyramid_{kind}_1", f"pyramid_{kind}"]


def test_heads_survive_saving(heads, tmp_path):
    heads.save(tmp_path / "heads.keras")
    loaded = keras.saving.load_model(tmp_path / "heads.keras")
    levels = pyramid(np.random.default_rng(1))
    for kind, answer in heads(levels).items():
        np.testing.assert_allclose(ops.convert_to_numpy(loaded(levels)[kind]), ops.convert_to_numpy(answer), atol=1e-6)
    assert loaded.get_config() == heads.get_config()


@pytest.fixture
def mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


def test_answers_stay_float32_under_mixed_precision(mixed_precision):
    heads = RetinaNetHeads(channels=8, filters=8, depth=1)
    answers = heads(pyramid(np.random.default_rng(0)))
    assert heads.get_layer("regression_submodel").get_layer("pyramid_regression").compute_dtype == "bfloat16"
    assert {keras.backend.standardize_dtype(answer.dtype) for answer in answers.values()} == {"float32"}


def test_decoded_boxes_are_the_codecs_clipped():
    rng = np.random.default_rng(3)
    grid = anchors.anchor_boxes(64, 96)
    deltas = rng.normal(size=(2, len(grid), 4)).astype("float32")
    boxes = DecodeBoxes()([np.zeros((2, 64, 96, 3), "float32"), deltas])
    expected = np.clip(anchors.decode(grid, deltas), 0, [96, 64, 96, 64])
    np.testing.assert_allclose(ops.convert_to_numpy(boxes), expected, atol=1e-3)


@pytest.fixture(scope="module")
def detector(heads):
    """Pixels' size and pyramid to selected boxes, sides open."""
    image = keras.Input((None, None, 3))
    levels = [keras.Input((None, None, 8)) for _ in anchors.STRIDES]
    answers = heads(levels)
    boxes = DecodeBoxes()([image, answers["regression"]])
    selected = SelectBoxes(max_boxes=7, max_candidates=500, score_threshold=0)([boxes, answers["classification"]])
    return keras.Model([image, *levels], selected)


@pytest.mark.parametrize("height, width", [(32, 32), (64, 96)])
def test_one_graph_serves_every_size_and_batches_are_singles(detector, height, width):
    levels = pyramid(np.random.default_rng(4), 3, height, width)
    inputs = [np.zeros((3, height, width, 3), "float32"), *levels]
    together = detector.predict(inputs, verbose=0)
    for i in range(3):
        alone = detector.predict([part[i:i + 1] for part in inputs], verbose=0)
        for a, b in zip(together, alone):
            np.testing.assert_allclose(a[i], b[0], atol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_suppression_is_the_greedy_one(seed):
    rng = np.random.default_rng(seed)
    boxes, scores = random_boxes(rng, 3, 60), rng.random((3, 60)).astype("float32")
    select = SelectBoxes(max_boxes=12, max_candidates=60, score_threshold=0.3, nms_iou=0.3)
    for i, (kept, kept_scores) in enumerate(zip(*map(ops.convert_to_numpy, select([boxes, scores])))):
        expected, expected_scores = greedy(boxes[i], scores[i], 12, 0.3, 0.3)
        np.testing.assert_allclose(kept, expected)
        np.testing.assert_allclose(kept_scores, expected_scores)


@pytest.mark.parametrize("seed", range(4))
def test_dropped_boxes_vote_where_those_that_stay_lie(seed):
    rng = np.random.default_rng(seed)
    boxes, scores = random_boxes(rng, 1, 60), rng.random((1, 60)).astype("float32")
    select = SelectBoxes(max_boxes=12, max_candidates=60, score_threshold=0.3, nms_iou=0.3, vote_spread=0.1)
    expected, expected_scores = greedy(boxes[0], scores[0], 12, 0.3, 0.3)
    voters, weights = boxes[0][scores[0] > 0.3], scores[0][scores[0] > 0.3]
    for i in np.flatnonzero(expected_scores):
        iou = geometry.iou(expected[i:i + 1], voters)[0]
        near = iou > 0.3
        expected[i] = np.average(voters[near], axis=0, weights=(weights * np.exp(-(1 - iou) ** 2 / 0.1))[near])
    kept, kept_scores = map(ops.convert_to_numpy, select([boxes, scores]))
    np.testing.assert_allclose(kept[0], expected, rtol=1e-4)
    np.testing.assert_allclose(kept_scores[0], expected_scores)


def test_votes_leave_lonely_and_empty_boxes_alone():
    boxes = np.array([[[10, 10, 30, 50], [60, 60, 90, 90], [40, 5, 40, 5]]], "float32")
    kept, _ = SelectBoxes(max_boxes=3, max_candidates=3, vote_spread=0.05)([boxes, np.float32([[0.9, 0.8, 0.7]])])
    np.testing.assert_allclose(ops.convert_to_numpy(kept)[0, :2], boxes[0, :2], rtol=1e-6)
    assert (ops.convert_to_numpy(kept)[0, 2, 2:] <= ops.convert_to_numpy(kept)[0, 2, :2]).all()


def test_suppression_follows_long_chains():
    left = np.arange(40, dtype="float32")[:, None] * 4
    boxes = np.concatenate([left, 0 * left, left + 10, 0 * left + 10], axis=1)  # each overlaps its two neighbours
    scores = np.linspace(0.9, 0.5, 40, dtype="float32")
    kept, kept_scores = SelectBoxes(max_boxes=40, max_candidates=40, nms_iou=0.4)([boxes[None], scores[None]])
    np.testing.assert_allclose(ops.convert_to_numpy(kept)[0, :20], boxes[::2])
    assert not ops.convert_to_numpy(kept_scores)[0, 20:].any()


def test_of_equal_boxes_with_equal_scores_one_stays():
    boxes = np.tile([[10, 10, 30, 50]], (1, 5, 1)).astype("float32")
    kept, scores = SelectBoxes(max_boxes=3, max_candidates=4)([boxes, np.full((1, 5), 0.5, "float32")])
    np.testing.assert_allclose(ops.convert_to_numpy(scores), [[0.5, 0, 0]])
    np.testing.assert_allclose(ops.convert_to_numpy(kept)[0], [[10, 10, 30, 50], [0] * 4, [0] * 4])


def test_more_boxes_than_candidates_are_refused():
    with pytest.raises(UserError, match="max_candidates"):
        SelectBoxes(max_boxes=10, max_candidates=5)


def test_focal_loss_of_one_anchor_by_hand():
    y_true = np.array([[[1, 1], [0, 0], [0, -1]]], "float32")
    y_pred = np.array([[[0.9], [0.2], [0.99]]], "float32")
    expected = -0.25 * 0.1**2 * np.log(0.9) - 0.75 * 0.2**2 * np.log(0.8)
    assert float(FocalLoss()(y_true, y_pred)) == pytest.approx(expected, rel=1e-4)


def test_smooth_l1_by_hand_counts_objects_only():
    y_true = np.array([[[0, 0, 0, 0, 1], [9, 9, 9, 9, 0], [9, 9, 9, 9, -1]]], "float32")
    y_pred = np.array([[[0.1, 1, 0, 0]] * 3], "float32")
    assert float(SmoothL1Loss()(y_true, y_pred)) == pytest.approx(0.5 * 9 * 0.01 + 1 - 0.5 / 9, rel=1e-5)


@pytest.mark.parametrize("loss", [FocalLoss(alpha=0.3, gamma=1.5), SmoothL1Loss(sigma=2)])
def test_losses_survive_serialization_and_batches_without_people(loss):
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert copy.get_config() == loss.get_config()
    width = 1 if isinstance(loss, FocalLoss) else 4
    value = float(copy(np.zeros((2, 5, width + 1), "float32"), np.full((2, 5, width), 0.01, "float32")))
    assert np.isfinite(value)


def test_heads_learn_one_box():
    """From a constant pyramid to the box of one picture: targets, losses and decoding fit each other."""
    keras.utils.set_random_seed(1)
    heads = RetinaNetHeads(channels=4, filters=8, depth=1)
    levels = pyramid(np.random.default_rng(5), 1, 64, 64, 4)
    grid, person = anchors.anchor_boxes(64, 64), np.array([[12, 8, 44, 60]], "float32")
    regression, labels = anchors.targets(grid, person, [], (64, 64))
    heads.compile(keras.optimizers.Adam(0.02), {"regression": SmoothL1Loss(), "classification": FocalLoss()})
    for _ in range(100):
        heads.train_on_batch(levels, {"regression": regression[None], "classification": labels[None]})
    answers = heads(levels)
    boxes = DecodeBoxes()([np.zeros((1, 64, 64, 3), "float32"), answers["regression"]])
    kept, scores = SelectBoxes()([boxes, answers["classification"]])
    assert float(scores[0, 0]) > 0.5
    assert geometry.iou(ops.convert_to_numpy(kept)[0, :1], person)[0, 0] > 0.8

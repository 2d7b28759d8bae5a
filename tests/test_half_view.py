"""The second look at half size: what it sees, and how both looks are put together."""

import cv2
import keras
import numpy as np
import pytest
from scenes import noisy_pictures

from multiposenet.codecs import anchors
from multiposenet.codecs.heatmap import cell_centers
from multiposenet.geometry import widen
from multiposenet.models.half_view import BlendViews, HalfPicture
from multiposenet.models.multiposenet import MultiPoseNet
from multiposenet.models.retinanet import SelectBoxes
from multiposenet.weights import load_model, save_model


SIZE_PX = 50


@pytest.fixture(scope="module")
def both_looks(tiny_model, tiny_config):
    model = MultiPoseNet(tiny_config.model_copy(update={"half_view": SIZE_PX}))
    for name, head in model.heads.items():
        head.set_weights(tiny_model.heads[name].get_weights())
    return model


def halved(pictures):
    """(n, h, w, 3) -> (n, h / 2, w / 2, 3), padded by grey to multiples of 32."""
    n, height, width, _ = pictures.shape
    half = pictures.reshape(n, height // 2, 2, width // 2, 2, 3).mean(axis=(2, 4))
    return np.pad(half, [(0, 0), (0, -(height // 2) % 32), (0, -(width // 2) % 32), (0, 0)], constant_values=128)


def half_share(boxes, scores, rows, columns, margin):
    """(rows, columns), by a loop over boxes."""
    halves, total = np.zeros((2, rows, columns))
    for (x1, y1, x2, y2), (left, top, right, bottom), score in zip(boxes, widen(boxes, margin), scores):
        x, y = cell_centers(columns), cell_centers(rows)
        inside = score * np.outer((y > top) & (y < bottom), (x > left) & (x < right))
        area = (x2 - x1) * (y2 - y1)
        halves += inside * area / (area + SIZE_PX ** 2)
        total += inside
    return halves / np.maximum(total, 1e-6)


@pytest.mark.parametrize("size", [(128, 192), (96, 128), (64, 96)])
def test_half_a_picture_is_padded_to_what_the_network_takes(size):
    pictures = noisy_pictures(range(2), size)
    layer = HalfPicture()
    half = keras.ops.convert_to_numpy(layer(pictures))
    np.testing.assert_allclose(half, halved(pictures), atol=1e-3)
    assert half.shape == layer.compute_output_shape(pictures.shape)
    assert layer.compute_output_shape((None, None, None, 3)) == (None, None, None, 3)


@pytest.mark.parametrize("size", [(128, 128), (96, 160)])
def test_joints_of_large_people_come_from_the_half_view(tiny_model, tiny_config, both_looks, size):
    pictures = noisy_pictures(range(2), size)
    whole, blended = (model.dense.predict_on_batch(pictures) for model in (tiny_model, both_looks))
    half = tiny_model.heads["keypoints"].predict_on_batch(halved(pictures).astype("float32"))
    rows, columns = whole["heatmaps"].shape[1:3]
    for i, (one, other) in enumerate(zip(whole["heatmaps"], half)):
        fine = cv2.resize(other, (2 * other.shape[1], 2 * other.shape[0]))[:rows, :columns]
        shares = half_share(blended["boxes"][i], blended["scores"][i], rows, columns, tiny_config.box_margin)
        assert shares.max() > 0.05
        np.testing.assert_allclose(blended["heatmaps"][i], one + shares[..., None] * (fine - one), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [(128, 128), (96, 160)])
def test_boxes_of_large_people_come_from_the_half_view(tiny_model, tiny_config, both_looks, size):
    pictures = noisy_pictures(range(2), size)
    found = []
    for scale, view in ((1, pictures), (2, halved(pictures))):
        features = tiny_model.heads["keypoints"].get_layer("backbone").predict_on_batch(view.astype("float32"))
        raw = tiny_model.heads["detector"].predict_on_batch(features[1:])
        boxes = scale * anchors.decode(anchors.anchor_boxes(*view.shape[1:3]), raw["regression"])
        boxes = np.clip(boxes, 0, [size[1], size[0]] * 2)
        large = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]) > SIZE_PX ** 2
        found.append((boxes, raw["classification"][..., 0] * (large == (scale == 2))))
    assert all((scores > tiny_config.score_threshold).any() for _, scores in found)
    boxes, scores = (np.concatenate(parts, axis=1).astype("float32") for parts in zip(*found))
    select = SelectBoxes(tiny_config.score_threshold, tiny_config.nms_iou, tiny_config.max_candidates, tiny_config.max_people,
                         tiny_config.vote_spread)
    seen = both_looks.dense.predict_on_batch(pictures)
    for key, expected in zip(("boxes", "scores"), select([boxes, scores])):
        np.testing.assert_allclose(seen[key], expected, rtol=1e-3, atol=1e-2)


def test_outside_of_boxes_and_without_any_the_first_look_counts():
    whole, half = np.zeros((1, 16, 16, 3), "float32"), np.ones((1, 8, 8, 3), "float32")
    boxes = np.array([[[8, 16, 32, 40], [0, 0, 0, 0]]], "float32")
    blend = BlendViews(size_px=24, margin=0)
    for score, inside in ((0.7, 0.5), (0, 0)):
        heatmaps = keras.ops.convert_to_numpy(blend([whole, half, boxes, np.array([[score, 0]], "float32")]))
        np.testing.assert_allclose(heatmaps[0, 4:10, 2:8], inside, atol=1e-6)
        assert heatmaps.sum() == pytest.approx(inside * 6 * 6 * 3, abs=1e-4)


def test_save_and_load(both_looks, tmp_path):
    pictures = noisy_pictures(range(2), (96, 128))
    save_model(both_looks, tmp_path / "both.keras")
    loaded = load_model(tmp_path / "both.keras")
    assert len(loaded.weights) == len(both_looks.weights)
    for key, value in both_looks.predict_on_batch(pictures).items():
        np.testing.assert_allclose(loaded.predict_on_batch(pictures)[key], value, rtol=1e-4, atol=1e-4)

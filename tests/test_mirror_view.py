"""Looks at the picture and at its mirror image, and how what they say becomes one."""

import keras
import numpy as np
import pytest
from scenes import noisy_pictures

from multiposenet.codecs import anchors
from multiposenet.models.mirror_view import MeanOfAnchors, MeanOfMaps, WithMirror
from multiposenet.models.multiposenet import MultiPoseNet
from multiposenet.skeleton import COCO17
from multiposenet.weights import load_model, save_model

SIZE = 96, 160  # of which P6 and P7 cover more than there is


def mirror_places(height, width):
    """For each anchor the one in its place in a mirror, -1 where there is none: by looking for it."""
    boxes = anchors.anchor_boxes(height, width)
    rows = {tuple(box): i for i, box in enumerate(boxes.round(2).tolist())}
    mirrored = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    return np.array([rows.get(tuple(box), -1) for box in mirrored.round(2).tolist()])


def test_what_a_mirror_says_of_boxes_is_turned_back():
    height, width = SIZE
    rng, places, pictures = np.random.default_rng(0), anchors.anchor_boxes(*SIZE), np.zeros((2, *SIZE, 3), "uint8")
    there = mirror_places(*SIZE)
    assert (there >= 0).sum() > 0.9 * len(there) and (there < 0).any()
    boxes = places + rng.normal(0, 5, (2, *places.shape))
    turned = np.stack([width - boxes[..., 2], boxes[..., 1], width - boxes[..., 0], boxes[..., 3]], axis=-1)[:, there]
    other = rng.normal(0, 1, places.shape)  # where no anchor is the other's image, what the mirror says must not count
    raw = np.concatenate([anchors.encode(places, boxes), np.where(there[:, None] >= 0, anchors.encode(places, turned), other)])
    mean = keras.ops.convert_to_numpy(MeanOfAnchors("regression")([pictures, raw.astype("float32")]))
    np.testing.assert_allclose(anchors.decode(places, mean), boxes, atol=1e-2)


def test_scores_of_both_are_averaged():
    rng, there = np.random.default_rng(0), mirror_places(*SIZE)
    plain, mirrored = rng.random((2, 1, len(there), 1)).astype("float32")
    mean = keras.ops.convert_to_numpy(MeanOfAnchors("classification")([np.zeros((1, *SIZE, 3)), np.concatenate([plain, mirrored])]))
    aligned = np.arange(len(there)) < sum(np.prod(SIZE) // stride ** 2 for stride in (8, 16, 32)) * anchors.ANCHORS_PER_CELL
    assert (there[aligned] >= 0).all()
    np.testing.assert_allclose(mean[0], np.where(aligned[:, None], (plain[0] + mirrored[0][there]) / 2, plain[0]), rtol=1e-6)


def test_left_joints_are_right_ones_in_a_mirror():
    maps = np.random.default_rng(0).random((2, 6, 8, len(COCO17) + 1)).astype("float32")
    order = [*COCO17.mirror_order, len(COCO17)]
    both = np.concatenate([maps, maps[:, :, ::-1][..., order]])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(MeanOfMaps(COCO17.mirror_order)(both)), maps, rtol=1e-6)


def test_pictures_come_before_their_mirror_images():
    pictures = noisy_pictures(range(3), (32, 64))
    both = keras.ops.convert_to_numpy(WithMirror()(pictures))
    np.testing.assert_array_equal(both, np.concatenate([pictures, pictures[:, :, ::-1]]))
    assert WithMirror().compute_output_shape((None, None, None, 3)) == (None, None, None, 3)
    assert WithMirror().compute_output_shape(pictures.shape) == both.shape


@pytest.fixture(scope="module", params=[0, 50], ids=["one look", "half view"])
def mirrored_model(request, tiny_model, tiny_config):
    model = MultiPoseNet(tiny_config.model_copy(update={"mirror_view": True, "half_view": request.param, "score_threshold": 0.0}))
    for name, head in model.heads.items():
        head.set_weights(tiny_model.heads[name].get_weights())
    return model


def test_a_picture_and_its_mirror_image_are_seen_alike(mirrored_model, tiny_config):
    pictures = noisy_pictures(range(2), (128, 256))  # whole cells of P7, and of its half
    seen = mirrored_model.dense.predict(pictures, verbose=0)
    mirrored = mirrored_model.dense.predict(np.ascontiguousarray(pictures[:, :, ::-1]), verbose=0)
    order = [*tiny_config.skeleton.mirror_order, len(tiny_config.skeleton)]
    np.testing.assert_allclose(mirrored["heatmaps"][:, :, ::-1][..., order], seen["heatmaps"], atol=1e-4)
    for i in range(2):
        assert mirrored["scores"][i, 0] == pytest.approx(seen["scores"][i, 0], abs=1e-3)


def test_batched_is_single_and_the_file_keeps_it(mirrored_model, tmp_path):
    pictures = noisy_pictures(range(3), (64, 96))
    save_model(mirrored_model, tmp_path / "both.keras")
    loaded = load_model(tmp_path / "both.keras")
    assert loaded.config.mirror_view
    batched = loaded.dense.predict(pictures, verbose=0)
    for i in range(3):
        single = mirrored_model.dense.predict(pictures[i:i + 1], verbose=0)
        for key, values in single.items():
            np.testing.assert_allclose(batched[key][i:i + 1], values, atol=1e-3)

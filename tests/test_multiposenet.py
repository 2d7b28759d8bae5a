import keras
import numpy as np
import pytest
from scenes import noisy_pictures

from multiposenet.codecs import anchors, peaks, person_grid, pose_vector
from multiposenet.geometry import iou
from multiposenet.models.multiposenet import MultiPoseNet
from multiposenet.weights import load_model, save_model


@pytest.fixture(scope="module")
def pictures():
    return noisy_pictures(range(4), (128, 160))


@pytest.fixture(scope="module")
def found(tiny_model, pictures):
    return tiny_model.predict_on_batch(pictures)


def test_outputs_have_the_promised_shapes(found, tiny_config):
    n = tiny_config.max_people
    assert {key: value.shape for key, value in found.items()} == {
        "boxes": (4, n, 4), "scores": (4, n), "keypoints": (4, n, 17, 3), "activities": (4, n, 4), "count": (4,)}
    assert found["count"].sum() > 4  # else the other tests would compare nothing
    assert (np.diff(found["scores"], axis=1) <= 0).all()
    np.testing.assert_allclose(found["activities"].sum(-1)[found["scores"] > 0], 1, rtol=1e-4)


def test_nothing_is_found_beyond_count(found):
    empty = np.arange(found["scores"].shape[1]) >= found["count"][:, None]
    for key in ("boxes", "scores", "keypoints"):
        assert not found[key][empty].any()


def test_batch_is_its_singles(tiny_model, pictures, found):
    for i, picture in enumerate(pictures):
        single = tiny_model.predict_on_batch(picture[None])
        for key, value in single.items():
            np.testing.assert_allclose(value[0], found[key][i], rtol=2e-3, atol=2e-3, err_msg=key)


def test_bytes_and_floats_are_the_same(tiny_model, pictures, found):
    for key, value in tiny_model.predict_on_batch(pictures.astype("float32")).items():
        np.testing.assert_allclose(value, found[key], rtol=1e-4, atol=1e-4)


def test_dense_then_people_is_the_whole(tiny_model, pictures, found):
    seen = tiny_model.dense.predict_on_batch(pictures)
    assert seen["heatmaps"].shape == (4, 32, 40, 18)
    people = tiny_model.people.predict_on_batch(seen)
    for key, value in people.items():
        np.testing.assert_allclose(value, found[key], rtol=1e-3, atol=1e-3)


def test_people_are_those_of_the_graph_with_all_its_places(tiny_model, pictures, found):
    whole = keras.Model(tiny_model.inputs, tiny_model.output).predict_on_batch(pictures)
    for key, value in whole.items():
        value = np.where((found["scores"] > 0)[..., None], value, 0) if key == "activities" else value
        np.testing.assert_allclose(found[key], value, rtol=1e-3, atol=1e-3, err_msg=key)


def select_boxes(boxes, scores, config):
    """Boxes above the threshold, best first, each dropping what overlaps it; then moved by those. Scores (k,) as well."""
    order = [i for i in np.argsort(-scores, kind="stable")[:config.max_candidates] if scores[i] > config.score_threshold]
    kept = []
    for i in order:
        if all(iou(boxes[i:i + 1], boxes[j:j + 1])[0, 0] <= config.nms_iou for j in kept):
            kept.append(i)
    kept, moved = kept[:config.max_people], []
    for i in kept:
        overlap = iou(boxes[i:i + 1], boxes[order])[0]
        weights = np.where(overlap > config.nms_iou, scores[order] * np.exp(-(1 - overlap) ** 2 / config.vote_spread), 0)
        moved.append(np.average(boxes[order], axis=0, weights=weights))
    return np.array(moved), scores[kept]


def test_graph_equals_the_numpy_reference(tiny_model, tiny_config, pictures, found):
    """From the networks' raw outputs to poses and activity inputs, by loops in NumPy (METHOD sections 4 to 6)."""
    height, width = pictures.shape[1:3]
    features = tiny_model.dense.get_layer("backbone").predict_on_batch(pictures)
    raw = tiny_model.heads["detector"].predict_on_batch(features[1:])
    heatmaps = tiny_model.heads["keypoints"].predict_on_batch(pictures)
    for i in range(len(pictures)):
        boxes = anchors.decode(anchors.anchor_boxes(height, width), raw["regression"][i])
        boxes = np.clip(boxes, 0, [width, height, width, height])
        boxes, scores = select_boxes(boxes, raw["classification"][i, :, 0], tiny_config)
        count = len(boxes)
        assert count == found["count"][i]
        np.testing.assert_allclose(found["boxes"][i, :count], boxes, atol=0.05)
        poses = reference_poses(tiny_model, tiny_config, heatmaps[i], boxes, scores)
        np.testing.assert_allclose(found["keypoints"][i, :count], poses, atol=0.1)
        vectors = pose_vector.encode(poses, boxes, tiny_config.pose_min_score, tiny_config.pose_pairs)
        np.testing.assert_allclose(found["activities"][i, :count],
                                   tiny_model.heads["activity"].predict_on_batch(vectors), atol=1e-3)


def reference_poses(model, config, heatmaps, boxes, scores):
    peaks_found = peaks.find_peaks(heatmaps, 17, config.max_peaks, config.peak_threshold)
    candidates = np.broadcast_to(peaks_found.swapaxes(0, 1), (len(boxes), config.max_peaks, 17, 3))
    grids = person_grid.encode(boxes, candidates, config.grid, config.box_margin, person_grid.INPUT_SIGMA)
    marks = model.heads["prn"].predict_on_batch(grids)
    return peaks.assign_joints(boxes, scores, peaks_found, marks, heatmaps, config.box_margin, config.peak_threshold)


def test_saved_is_loaded_in_safe_mode(tiny_model, pictures, found, tmp_path):
    save_model(tiny_model, tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert isinstance(loaded, MultiPoseNet) and loaded.config == tiny_model.config
    for key, value in loaded.predict_on_batch(pictures).items():
        np.testing.assert_allclose(value, found[key], rtol=1e-4, atol=1e-4)


def test_half_precision_file_is_half_the_size_and_nearly_the_same(tiny_model, pictures, tmp_path):
    save_model(tiny_model, tmp_path / "full.keras")
    save_model(tiny_model, tmp_path / "half.keras", half=True)
    full, half = ((tmp_path / f"{name}.keras").stat().st_size for name in ("full", "half"))
    assert half < 0.75 * full
    loaded = load_model(tmp_path / "half.keras")
    assert loaded.dense.dtype == "float32"
    expected = tiny_model.heads["keypoints"].predict_on_batch(pictures)
    np.testing.assert_allclose(loaded.heads["keypoints"].predict_on_batch(pictures), expected,
                               atol=0.02 * np.abs(expected).max())


def test_a_grey_picture_of_nothing(tiny_model):
    found = tiny_model.predict_on_batch(np.full((1, 64, 96, 3), 128, "uint8"))
    assert all(np.isfinite(value).all() for value in found.values())

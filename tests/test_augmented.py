import json
from pathlib import Path

import numpy as np
import pytest
from conftest import with_heads_of
from scenes import noisy_pictures, write_coco

from multiposenet.codecs.heatmap import encode_joints
from multiposenet.codecs.peaks import find_peaks
from multiposenet.codecs.person_grid import ENCODER
from multiposenet.commands.evaluate import main
from multiposenet.config import Config, PredictConfig
from multiposenet.data.coco import read_coco
from multiposenet.data.pictures import read_picture
from multiposenet.evaluation import association
from multiposenet.evaluation.augmented import AugmentedPredictor, View, align, average, average_logits, swap_sides
from multiposenet.evaluation.coco import Truth
from multiposenet.geometry import Letterbox
from multiposenet.prediction import Predictor
from multiposenet.skeleton import COCO17
from multiposenet.weights import load_pretrained, save_head, save_model

HEIGHT, WIDTH = 150, 230


@pytest.mark.parametrize("scale", [0.5, 1, 1.5, 2])
@pytest.mark.parametrize("mirror", [False, True])
def test_a_joint_comes_back_to_its_pixel(scale, mirror):
    """The joint drawn where the view sees it is found where the plain canvas has it."""
    plain = Letterbox.fit(HEIGHT, WIDTH, 192, 400)
    view = Letterbox.fit(HEIGHT, WIDTH, round(192 * scale), round(400 * scale))
    for point in np.random.default_rng(0).uniform((20, 20), (WIDTH - 20, HEIGHT - 20), (5, 2)):
        seen = np.array([WIDTH - 1 - point[0], point[1]]) if mirror else point
        joints = np.append(view.to_canvas(seen), 2)[None, None]
        drawn = encode_joints(joints, view.canvas_height, view.canvas_width)
        aligned, _ = align(drawn, view, plain, WIDTH if mirror else None)
        assert aligned.shape == (plain.canvas_height // 4, plain.canvas_width // 4, 1)
        found = find_peaks(aligned, 1, 1, 0.1)[0, 0, :2]
        np.testing.assert_allclose(found, plain.to_canvas(point), atol=0.5 + 1 / view.scale)


def test_the_plain_view_stays_as_it_is():
    letterbox = Letterbox.fit(HEIGHT, WIDTH, 160, 400)
    maps = np.random.default_rng(0).random((letterbox.canvas_height // 4, letterbox.canvas_width // 4, 3))
    aligned, seen = align(maps, letterbox, letterbox)
    np.testing.assert_allclose(aligned, maps, atol=1e-5)
    assert seen[:letterbox.height // 4, :letterbox.width // 4].all() and not seen[-1, -1]


def test_two_mirrors_are_none():
    letterbox = Letterbox.fit(160, 256, 160, 256)
    maps = np.random.default_rng(0).random((40, 64, 18)).astype("float32")
    once = swap_sides(align(maps, letterbox, letterbox, 256)[0], COCO17)
    assert not np.allclose(once, maps)
    twice = swap_sides(align(once, letterbox, letterbox, 256)[0], COCO17)
    np.testing.assert_allclose(twice, maps, atol=1e-5)


def test_averages_are_over_the_views_that_see():
    one, two = np.ones((2, 2, 1)), np.full((2, 2, 1), 3.0)
    seen = np.array([[True, True], [True, False]]), np.array([[True, False], [True, False]])
    np.testing.assert_allclose(average([one, two], seen)[..., 0], [[2, 1], [2, 0]])


def test_logits_are_averaged_as_probabilities():
    one, two = np.random.default_rng(0).normal(0, 3, (2, 1, 2, 4, 3, 5)).astype("float32")

    def softmax(logits):
        return np.exp(logits) / np.exp(logits).sum(axis=(2, 3), keepdims=True)

    mean = average_logits([one, two + 7])  # a logit says something only beside the others
    np.testing.assert_allclose(softmax(mean), (softmax(one) + softmax(two)) / 2, rtol=1e-4)


@pytest.fixture(scope="module", params=[0, 8])
def model(request, tiny_model, tiny_config):
    """The tiny model without and with a refiner."""
    changes = dict(refiner_filters=request.param, refiner_boxes=True, refiner_grid=(16, 8), half_view=50, refiner_min_score=0)
    if not request.param:
        return tiny_model
    model = with_heads_of(tiny_model, tiny_config, **changes)
    for weight in model.heads["refiner"].weights:
        if weight.path.endswith("logits/kernel"):
            weight.assign(weight * 1e6)  # untrained logits are so flat that rounding moves their highest place
    return model


def test_variants_of_a_picture(model):
    config = PredictConfig(short_side=96, long_side=192)
    predictor, (picture,) = AugmentedPredictor(model, config), noisy_pictures([1], (96, 128))
    variants = {"plain": (View(),), "twice": (View(), View()), "mirror": (View(), View(mirror=True))}
    people = predictor.predict_variants(picture, variants)
    expected = Predictor(model, config).predict(picture)
    assert len(expected) > 1
    for name in ("plain", "twice"):
        for a, b in zip(expected, people[name], strict=True):
            np.testing.assert_allclose(a.keypoints, b.keypoints, atol=0.01)
            np.testing.assert_allclose(a.box_xyxy, b.box_xyxy, atol=1e-3)
            assert a.activity_probabilities == pytest.approx(b.activity_probabilities, abs=1e-4)
    mirror = people["mirror"]  # rounding decides whether the heads, whose weights are random, find as many people there
    assert len(mirror) != len(expected) or any(not np.allclose(a.keypoints, b.keypoints) for a, b in zip(expected, mirror))
    # what the mirror view of a mirrored picture sees is the picture itself
    seen, plain = predictor.see(picture)
    mirrored = seen["boxes"][0][:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [128, 0, 128, 0]
    heatmaps, _, logits = predictor._aligned(picture[:, ::-1], View(mirror=True), mirrored[None], plain)
    np.testing.assert_allclose(heatmaps, swap_sides(seen["heatmaps"][0][:, ::-1], COCO17), atol=1e-4)
    if model.config.refiner_filters:
        whole = predictor.read_windows(seen)
        np.testing.assert_allclose(logits, whole[..., ::-1, :][..., model.config.window_mirror_order], atol=1e-3)
        assert np.abs(whole - logits).max() > 0.01


def test_association_with_everything_true(tmp_path):
    """Drawn crowds, true boxes and joints: the PRN finds nearly every joint's owner; without it owners are mixed up."""
    truth, model = Truth(write_coco(tmp_path, 4, people=4)), load_pretrained("lite")
    records = {}
    for picture in truth.pictures:
        scene = association.true_scene(picture, len(COCO17))
        for name, people in association.poses(model.heads["prn"], model.config, scene).items():
            records.setdefault(name, []).extend(person.as_coco(picture.id, picture.name) for person in people)
    found = {name: truth.figures(of_method, "keypoints")["AP"] for name, of_method in records.items()}
    assert found["PRN (ours)"] > 0.75, found
    assert min(found["PRN (ours)"], found["reference greedy"]) > found["highest in the box"], found


def test_one_person_with_true_joints_is_perfect(tmp_path):
    picture, = read_coco(write_coco(tmp_path, 1, people=1))
    scene = association.true_scene(picture, len(COCO17))
    model = load_pretrained("lite")
    for people in association.poses(model.heads["prn"], model.config, scene).values():
        person, = people
        labelled = picture.people[0].keypoints[:, 2] > 0
        np.testing.assert_allclose(person.keypoints[labelled, :2], picture.people[0].keypoints[labelled, :2], atol=1e-3)
        np.testing.assert_allclose(person.box_xyxy, picture.people[0].box_xyxy)


def test_found_boxes_are_those_that_the_graph_keeps(tmp_path):
    """Before, some people have several boxes; afterwards everybody has one, as `Predictor` says."""
    lite = load_pretrained("lite")
    model = with_heads_of(lite, lite.config, nms_iou=0.9, pose_nms=True)
    picture, = read_coco(write_coco(tmp_path, 1, people=3), tmp_path / "images")
    pixels, predictor = read_picture(picture.file), AugmentedPredictor(model, PredictConfig(short_side=256))
    scenes, graph = association.scenes(predictor, picture, pixels)
    assert list(graph) == ["true boxes, found joints", "found boxes, found joints"] and len(scenes) == 4
    seen, letterbox = predictor.see(pixels)
    people = Predictor(model, predictor.config).predict(pixels)
    found = scenes["found boxes, true joints"]
    assert 0 < len(people) == len(found.boxes) < (seen["scores"] > 0).sum()
    np.testing.assert_allclose(letterbox.boxes_to_picture(found.boxes).clip(0, pixels.shape[1]), [person.box_xyxy for person in people], atol=0.05)
    np.testing.assert_allclose(found.scores, [person.box_score for person in people], atol=1e-4)
    assert len(graph["found boxes, found joints"]) == len(people)


def test_all_tables_from_the_command(tmp_path, tiny_model):
    annotations, out = write_coco(tmp_path, 2, size=96), tmp_path / "out"
    save_model(tiny_model, tmp_path / "tiny.keras")
    assert main(["all", "--annotations", str(annotations), "--images", str(tmp_path / "images"), "--out", str(out),
                 "--weights", str(tmp_path / "tiny.keras"), "--set", "predict.short_side=64"]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert list(metrics["keypoints"]) == ["single scale", "mirror", "multi-scale", "multi-scale, mirror"]
    assert list(metrics["boxes"]) == ["single scale"] and list(metrics["prn"]) == ["all people", "people with official areas"]
    grid = metrics["association, keypoint AP"]
    assert list(grid) == list(association.METHODS) and len(grid["PRN (ours)"]) == 4
    assert grid["PRN (ours)"]["true boxes, true joints"] > grid["PRN (ours)"]["found boxes, found joints"]
    assert len(list(out.glob("results_*.json"))) == 4
    assert {path.name for path in out.glob("*.png")} == {"by_joint.png", "precision_recall_keypoints.png",
                                                         "precision_recall_boxes.png"}
    assert len(list(out.glob("best_*.jpg"))) == len(list(out.glob("worst_*.jpg"))) == 2


def test_a_prn_run_is_scored_alone(tmp_path):
    annotations, run = write_coco(tmp_path, 2, people=3), tmp_path / "run"
    run.mkdir()
    model = load_pretrained("lite")
    save_head("prn", model.heads["prn"], run, Config(model=model.config), {}, encoder=ENCODER)
    found = {}
    for name in (str(run), "lite"):
        out = tmp_path / Path(name).name
        assert main(["prn", "--annotations", str(annotations), "--out", str(out / "eval"), "--weights", name]) == 0
        metrics = json.loads((out / "eval" / "metrics.json").read_text())
        found[name] = metrics["prn"]["all people"]["AP"]
    assert found[str(run)] == found["lite"] > 0.75


def test_predict_averages_its_views(tiny_model):
    config, (picture,) = PredictConfig(short_side=64, long_side=128), noisy_pictures([1], (96, 128))
    views = (View(), View(mirror=True))
    both = AugmentedPredictor(tiny_model, config).predict_variants(picture, {"plain": views[:1], "mirror": views})
    for name, chosen in (("plain", views[:1]), ("mirror", views)):
        found = AugmentedPredictor(tiny_model, config, chosen).predict(picture)
        assert found and len(found) == len(both[name])
        np.testing.assert_array_equal([person.keypoints for person in found], [person.keypoints for person in both[name]])
    assert any((a.keypoints != b.keypoints).any() for a, b in zip(*both.values()))

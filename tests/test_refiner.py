"""The second look at each person: windows, crops, where joints are read, and the whole graph with it."""

import keras
import numpy as np
import pytest
from keras import ops
from conftest import with_heads_of
from scenes import noisy_pictures
from scipy.ndimage import map_coordinates

from multiposenet.codecs import person_window
from multiposenet.config import ModelConfig, parse_config
from multiposenet.errors import UserError
from multiposenet.models.person_windows import PersonWindows
from multiposenet.models.refined import (AREA_SHARE, HALF, STRICTNESS, UNREAD, UNSEEN, ReadBoxes, ReadJoints, ScoreJoints,
                                         ScorePeople, Sharpness)
from multiposenet.models.refiner import SIGMA_CELLS, AtCellsOf, PoseRefiner, RefinerLoss
from multiposenet.weights import load_model, save_model

GRID, MARGIN = (16, 8), 0.2
BOXES = np.array([[10, 20, 50, 100], [-5, 3, 60, 40]], "float32")
ONES = np.ones((1, 2), "float32")  # scores of the boxes
REFINER = {"refiner_filters", "refiner_grid", "refiner_boxes"}


def test_places_in_a_window_and_back():
    """A box is widened, then made as wide or as high as the grid; its middle stays."""
    rng = np.random.default_rng(0)
    corner, height = person_window.corner_and_height(BOXES, GRID, MARGIN)
    np.testing.assert_allclose(height[:, 0], [1.4 * 80, 1.4 * 65 * 2])
    sides = np.concatenate([height / 2, height], axis=1)
    np.testing.assert_allclose(corner + sides / 2, (BOXES[:, :2] + BOXES[:, 2:]) / 2)
    pixels = np.concatenate([rng.uniform(-30, 90, (2, 40, 2)), rng.choice((0, 0.5, 1), (2, 40, 1))], axis=-1)  # of the window
    places = person_window.encode(pixels, GRID)
    joints = corner[:, None] + (pixels[..., :2] + 0.5) / 64 * height[:, None] - 0.5
    np.testing.assert_allclose(person_window.decode(BOXES, places[..., :2], GRID, MARGIN), joints, atol=1e-3)
    edges = pixels[..., :2] + 0.5
    inside = ((edges > 0) & (edges < [32, 64])).all(-1)
    assert 5 < inside.sum() < 60
    np.testing.assert_array_equal(places[..., 2], inside * pixels[..., 2])


def test_windows_show_what_lies_there():
    """Of a ramp, which every average leaves as it is: the window is the ramp at its pixels' centres, grey beyond the picture."""
    y, x = np.mgrid[:160, :240].astype("float32")
    picture = np.stack([np.stack([x, y, np.full_like(x, level)], axis=-1) for level in (10, 20)])
    boxes = np.array([[[40, 40, 60, 70], [60, 30, 200, 120], [-100, -100, -60, -50]]] * 2, "float32")
    boxes[1, 0] += 7
    windows = ops.convert_to_numpy(PersonWindows(GRID, MARGIN)([picture, boxes]))
    rows, columns = person_window.pixels(GRID)
    at = (np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2) + 0.5) / 4 - 0.5  # in cells
    for i, j in np.ndindex(2, 3):
        places = person_window.decode(boxes[i, j], at, GRID, MARGIN).reshape(rows, columns, 2)
        inside = ((places > 3) & (places < [236, 156])).all(axis=-1)  # coarse levels blur the border
        outside = ((places < -1) | (places > [240, 160])).any(axis=-1)
        assert inside.any() == (j < 2) and outside.any() == (j > 0)
        np.testing.assert_allclose(windows[i, j][inside], np.column_stack([places[inside], np.full(inside.sum(), 10 * (i + 1))]), atol=0.01)
        assert (windows[i, j][outside] == 128).all()


def test_large_people_are_averaged():
    """Stripes of one pixel: a window eight times as coarse must not see single ones."""
    picture = np.zeros((1, 256, 256, 3), "float32")
    picture[:, :, ::2] = 255
    window = ops.convert_to_numpy(PersonWindows((4, 4), 0.0)([picture, np.array([[[64, 64, 192, 192]]], "float32")]))
    np.testing.assert_allclose(window, 127.5)


def test_loss_is_least_at_the_target():
    places = np.array([[[3.3, 5.8, 1], [0, 0, 0], [7, 0.4, 1]]], "float32")  # column, row, labelled
    at = np.indices(GRID)[::-1, ..., None].transpose(1, 2, 3, 0)  # (rows, columns, 1, 2)
    ideal = -np.square(at - places[0, :, :2]).sum(-1) / (2 * SIGMA_CELLS ** 2)
    loss = RefinerLoss()
    least = float(loss(places, ideal[None].astype("float32")))
    entropy = []
    for k in (0, 2):
        p = np.exp(ideal[..., k] - np.log(np.exp(ideal[..., k]).sum()))
        entropy.append(-(p * np.log(np.maximum(p, 1e-30))).sum())
    assert least == pytest.approx(np.mean(entropy), rel=1e-4)
    elsewhere = ideal.copy()
    elsewhere[..., 1] += np.random.default_rng(0).normal(size=GRID)  # nobody knows where the second joint is
    assert float(loss(places, elsewhere[None].astype("float32"))) == pytest.approx(least, rel=1e-4)
    for k in (0, 2):
        worse = ideal.copy()
        worse[..., k] = np.roll(worse[..., k], 1, axis=0)
        assert float(loss(places, worse[None].astype("float32"))) > least + 0.1
    assert float(loss(places * [1, 1, 0], ideal[None].astype("float32"))) == 0


def test_loss_of_edges_counts_columns_or_rows_alone():
    """However their cells are shared among the rows of a column, left and right stay as good."""
    rng, (rows, columns) = np.random.default_rng(3), GRID
    places = np.zeros((1, 5, 3), "float32")  # a joint that is not labelled, left, upper, right, lower
    places[0, 1:, :2], places[0, 1:, 2] = np.array([[1.5], [3.2], [6], [14.9]]), 1
    maps = np.zeros((1, *GRID, 5), "float32")
    ideal = [-np.square(np.arange(columns if k % 2 else rows) - places[0, k, 0]) / (2 * SIGMA_CELLS ** 2) for k in range(1, 5)]
    for k in range(4):
        other = rng.normal(size=rows if k % 2 == 0 else columns)
        maps[0, ..., k + 1] = other[:, None] + ideal[k] if k % 2 == 0 else ideal[k][:, None] + other
    p = [np.exp(logits - np.log(np.exp(logits).sum())) for logits in ideal]
    loss = RefinerLoss(edges=True)
    least = float(loss(places, maps))
    assert least == pytest.approx(np.mean([-(q * np.log(q)).sum() for q in p]), rel=1e-4)
    for k, axis in ((1, 2), (2, 1), (3, 2), (4, 1)):
        worse = maps.copy()
        worse[..., k] = np.roll(worse[..., k], 1, axis=axis)
        assert float(loss(places, worse)) > least + 0.05
        along = maps.copy()
        along[..., k] = np.roll(along[..., k], 1, axis=3 - axis)
        assert float(loss(places, along)) == pytest.approx(least, rel=1e-4)


def test_an_edge_goes_halfway_to_the_median():
    true = np.array([[14, 30, 44, 97], [0, 5, 50, 44]], "float32")
    corner, height = person_window.corner_and_height(BOXES, GRID, MARGIN)
    cells = (true - np.tile(corner, 2)) / height * GRID[0] - 0.5
    maps = np.full((1, 2, *GRID, 5), -20, "float32")
    for i, k in np.ndindex(2, 4):
        at = np.arange(GRID[1 - k % 2])
        within = np.minimum(at + 0.5, cells[i, k] + 1.5) - np.maximum(at - 0.5, cells[i, k] - 1.5)  # of three cells around the edge
        logits = np.log(np.maximum(within, 1e-9))
        maps[0, i, ..., k + 1] = logits if k % 2 == 0 else logits[:, None]
    heatmaps = np.zeros((1, 24, 15, 2), "float32")  # of a picture 96 high and 60 wide
    read = ops.convert_to_numpy(ReadBoxes(GRID, MARGIN, 0.3)([BOXES[None], np.array([[0.4, 0.5]], "float32"), maps, heatmaps]))[0]
    np.testing.assert_allclose(read, np.clip((BOXES + true) / 2, 0, [60, 96] * 2), atol=0.02)
    kept = ops.convert_to_numpy(ReadBoxes(GRID, MARGIN, 0.3)([BOXES[None], np.array([[0.4, 0.2]], "float32"), maps, heatmaps]))[0]
    np.testing.assert_array_equal(kept, [read[0], BOXES[1]])


def in_cells(box, point):
    corner, height = person_window.corner_and_height(box, GRID, MARGIN)
    return (point + 0.5 - corner) / height * GRID[0] - 0.5


def expected_similarity(box, probabilities, sigma):
    """(rows, columns): mean OKS of one joint at each cell, by a loop over cells."""
    rows, columns = np.indices(GRID)
    side = person_window.corner_and_height(box, GRID, MARGIN)[1] / GRID[0]  # of a cell
    area = AREA_SHARE * np.prod(box[2:] - box[:2])
    expected = np.zeros(GRID)
    for row, column in np.ndindex(*GRID):
        squared = ((columns - column) ** 2 + (rows - row) ** 2) * side ** 2
        expected[row, column] = (probabilities * np.exp(-squared / (2 * area * (2 * sigma * STRICTNESS) ** 2))).sum()
    return expected


def heights(box, heatmap):
    """(rows, columns): a heatmap's values at the centres of the window's cells; beyond the picture those of its border."""
    cells = np.stack(np.meshgrid(np.arange(GRID[1]), np.arange(GRID[0])), axis=-1).reshape(-1, 2)
    places = person_window.decode(box, cells, GRID, MARGIN) - 1.5  # the first cell's centre is at 1.5 pixels
    return map_coordinates(heatmap, places[:, ::-1].T / 4, order=1, mode="nearest").reshape(GRID)


def test_how_sharp_maps_are_and_how_well_somebody_was_read():
    """Maps as sharp as those that are learnt, or sharper: 1; half of the joints twice as wide; maps that say nothing; and a person not read."""
    rows, columns = np.mgrid[:32, :24]
    sharp = -((rows - 15) ** 2 + (columns - 11) ** 2)[..., None] / np.array([2, 2, 2, 0.2], "float32")
    wide = sharp / np.array([1, 4, 4, 1], "float32")
    edges = np.random.default_rng(0).normal(size=(4, 32, 24, 4))
    logits = np.concatenate([np.stack([sharp, wide + 7, 0 * sharp, sharp]), edges], axis=-1)[None].astype("float32")
    scores = np.array([[0.9, 0.6, 0.3, 0.1]], "float32")
    sharpness = np.asarray(Sharpness(4)(logits))
    np.testing.assert_allclose(sharpness[0], [[1] * 4, [1, 1 / 4, 1 / 4, 1], [2 * np.pi / (32 * 24)] * 4, [1] * 4], rtol=2e-3)
    found = np.asarray(ScorePeople(0.2)([scores, sharpness]))[0]
    shares = np.array([1, (1 + 1 / 4) / 2, 2 * np.pi / (32 * 24), UNREAD])
    np.testing.assert_allclose(found, scores[0] * (1 + HALF) * shares / (shares + HALF), rtol=2e-3)

    poses = np.random.default_rng(1).uniform(0, 1, (1, 4, 4, 3)).astype("float32")
    poses[0, 0, 1, 2] = 0
    scored = np.asarray(ScoreJoints(0.2)([scores, sharpness, poses]))
    np.testing.assert_array_equal(scored[..., :2], poses[..., :2])
    np.testing.assert_allclose(scored[0, :3, :, 2], np.sqrt(sharpness * poses[..., 2])[0, :3], rtol=1e-5)
    np.testing.assert_array_equal(scored[0, 3], poses[0, 3])


def test_joints_are_read_where_they_are_most_similar():
    rng, sigmas = np.random.default_rng(1), (0.03, 0.1)
    logits = rng.normal(scale=2, size=(1, 2, *GRID, 2)).astype("float32")
    heatmaps = rng.uniform(-0.2, 1, (1, 20, 11, 3)).astype("float32")  # the last map is not a joint's
    poses = np.array([[[[-300, 2, 0.5], [3, -400, 0.2]], [[5, 6, 0], [700, 8, 0.9]]]], "float32")
    read = ops.convert_to_numpy(ReadJoints(sigmas, GRID, MARGIN)([BOXES[None], ONES, logits, poses, heatmaps]))[0]
    for i, box in enumerate(BOXES):
        for k, sigma in enumerate(sigmas):
            p = np.exp(logits[0, i, ..., k]) * (np.maximum(heights(box, heatmaps[0, ..., k]), 0) + UNSEEN)
            expected = expected_similarity(box, p / p.sum(), sigma)
            row, column = np.unravel_index(expected.argmax(), GRID)
            if not poses[0, i, k, 2]:
                np.testing.assert_array_equal(read[i, k], poses[0, i, k])
                continue
            assert (np.abs(in_cells(box, read[i, k, :2]) - [column, row]) <= 0.501).all()
            assert read[i, k, 2] == pytest.approx(np.sqrt(expected.max() * poses[0, i, k, 2]), rel=1e-3)


def read_one(logits, heatmap, pose=(0, 0, 1)):
    """The only joint of the first box, from (rows, columns) logits and a (h, w) heatmap."""
    inputs = [BOXES[None, :1], ONES[:, :1], logits[None, None, ..., None], np.array([[[pose]]]), heatmap[None, ..., None]]
    return ops.convert_to_numpy(ReadJoints((0.1,), GRID, MARGIN)([np.asarray(x, "float32") for x in inputs]))[0, 0, 0]


def bump(at, place, width):
    return -np.square(at - place).sum(-1) / (2 * width ** 2)


def test_a_sure_joint_is_read_exactly_and_a_silent_heatmap_says_nothing():
    at, place = np.indices(GRID)[::-1].transpose(1, 2, 0), np.array([3.3, 5.8])
    for heatmap in (np.zeros((30, 20)), np.full((30, 20), 0.4), np.full((8, 8), -0.1)):
        x, y, score = read_one(bump(at, place, 1.5), heatmap)
        np.testing.assert_allclose(in_cells(BOXES[0], np.array([x, y])), place, atol=0.06)
        assert score == pytest.approx(read_one(bump(at, place, 1.5), np.zeros((30, 20)))[2], rel=1e-4)


def test_where_the_refiner_hesitates_the_heatmap_decides():
    """Two places are as likely, and a peak is at one of them. A peak where the refiner sees nothing moves nothing."""
    at, places = np.indices(GRID)[::-1].transpose(1, 2, 0), np.array([[2.0, 4.0], [5.0, 11.0]])
    logits = np.logaddexp(*(bump(at, place, 1) for place in places))
    points = person_window.decode(BOXES[0], places, GRID, MARGIN)
    cells = np.indices((30, 20))[::-1].transpose(1, 2, 0)
    hesitant = read_one(logits, np.zeros((30, 20)))[2]
    for point in points:
        *found, score = read_one(logits, np.exp(bump(cells, (point - 1.5) / 4, 1.5)))
        np.testing.assert_allclose(found, point, atol=2)
        assert score > 1.1 * hesitant
    sure = bump(at, places[0], 1)
    np.testing.assert_allclose(read_one(sure, np.exp(bump(cells, (points[1] - 1.5) / 4, 1.5)))[:2], points[0], atol=2)


@pytest.fixture(scope="module", params=[False, True], ids=["joints", "boxes too"])
def refined(request, tiny_model, tiny_config):
    """The tiny model with a refiner."""
    keras.utils.set_random_seed(5)
    return with_heads_of(tiny_model, tiny_config, refiner_filters=8, refiner_grid=(16, 8), refiner_min_score=0, refiner_boxes=request.param)


@pytest.fixture(scope="module")
def pictures():
    return noisy_pictures(range(3), (128, 160))


def test_only_joints_and_boxes_change(refined, tiny_model, pictures):
    found, plain = (model.predict_on_batch(pictures) for model in (refined, tiny_model))
    assert found["count"].sum() > 3
    for key in ("scores", "count") if refined.config.refiner_boxes else ("boxes", "scores", "count"):
        np.testing.assert_allclose(found[key], plain[key], atol=1e-3)
    if refined.config.refiner_boxes:
        changed = np.abs(found["boxes"] - plain["boxes"]).max(axis=-1)
        assert changed.max() > 1 and not changed[plain["scores"] == 0].any()
        assert (found["boxes"] >= 0).all() and (found["boxes"] <= np.tile((160, 128), 2)).all()
    for boxes, poses, other, count in zip(plain["boxes"], found["keypoints"], plain["keypoints"], found["count"]):
        assert not poses[count:].any()
        if not count:
            continue
        known = poses[:count, :, 2] > 0
        assert known.any() and (np.abs(poses - other)[:count][known] > 0.5).any()
        low, height = person_window.corner_and_height(boxes[:count], (16, 8), refined.config.refiner_margin)
        edges = poses[:count, :, :2] + 0.5  # nobody's joints leave the window
        high = low + height * [0.5, 1]
        assert ((edges >= low[:, None] - 1e-2) & (edges <= high[:, None] + 1e-2)).all(axis=-1)[known].all()


def test_people_of_low_score_are_left_alone(refined, tiny_config, pictures):
    scores = refined.predict_on_batch(pictures)["scores"]
    middle = float(np.median(scores[scores > 0]))
    some, none = (with_heads_of(refined, tiny_config, **{**refined.config.model_dump(include=REFINER), "refiner_min_score": low})
                  for low in (middle, 1.0))
    seen = some.dense.predict_on_batch(pictures)
    found, whole = some.predict_on_batch(pictures), some.people.predict_on_batch({**seen, "image": pictures})
    above = scores > middle
    assert above.any() and (~above & (scores > 0)).any()
    for key in ("keypoints", "boxes"):
        np.testing.assert_allclose(found[key][above], refined.predict_on_batch(pictures)[key][above], rtol=2e-3, atol=2e-2)
        np.testing.assert_allclose(found[key][~above], none.predict_on_batch(pictures)[key][~above], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(found[key], {**seen, **whole}[key], rtol=2e-3, atol=2e-2)  # TensorFlow leaves out what other backends throw away


def test_batch_is_its_singles_and_people_any_number(refined, pictures):
    found = refined.predict_on_batch(pictures)
    for i, picture in enumerate(pictures):
        seen = refined.dense.predict_on_batch(picture[None])
        one = refined.people.predict_on_batch({**seen, "image": picture[None], "boxes": seen["boxes"][:, :2], "scores": seen["scores"][:, :2]})
        np.testing.assert_allclose(one["keypoints"][0], found["keypoints"][i, :2], rtol=2e-3, atol=2e-2)


def test_with_the_mirror_image_left_and_right_are_alike(refined, tiny_config, pictures):
    sizes = refined.config.model_dump(include=REFINER)
    model = with_heads_of(refined, tiny_config, **sizes)
    plain = model.heads["refiner"]
    sharpen = plain.reader.get_layer("logits").kernel
    sharpen.assign(1e4 * sharpen)  # untrained, it finds every cell alike
    both = with_heads_of(model, tiny_config, **sizes, refiner_mirror=True).heads["refiner"]
    boxes = np.tile(BOXES, (len(pictures), 1, 1))
    mirrored = np.stack([160 - boxes[..., 2], boxes[..., 1], 160 - boxes[..., 0], boxes[..., 3]], axis=-1)
    order = refined.config.window_mirror_order
    assert sorted(order) == list(range(21 if refined.config.refiner_boxes else 17))
    ours, there = (_places(both([pixels, them])) for pixels, them in ((pictures, boxes), (pictures[:, :, ::-1], mirrored)))
    np.testing.assert_allclose(there[..., ::-1, :][..., order], ours, atol=1e-4)
    one, other = (_places(plain([pixels, them])) for pixels, them in ((pictures, boxes), (pictures[:, :, ::-1], mirrored)))
    np.testing.assert_allclose(ours, (one + other[..., ::-1, :][..., order]) / 2, atol=1e-4)
    assert np.abs(ours - one).max() > 1e-3


@pytest.mark.parametrize("mirror", [False, True])
def test_several_readers_are_averaged(pictures, mirror):
    sizes = dict(joints=2, filters=8, grid=(16, 8), margin=MARGIN, network="mobilenetv2", mirror_order=(1, 0) if mirror else None)
    keras.utils.set_random_seed(6)
    both = PoseRefiner(**sizes, more_grids=[(32, 16)])
    for reader in both.readers:  # untrained, it finds every cell alike
        reader.get_layer("logits").kernel.assign(1e4 * reader.get_layer("logits").kernel)
    singles = [PoseRefiner(**{**sizes, "grid": grid}) for grid in ((16, 8), (32, 16))]
    for single, reader in zip(singles, both.readers):
        single.reader.set_weights(reader.get_weights())
    seen = [pictures, np.tile(BOXES, (len(pictures), 1, 1))]
    coarse, fine = (single(seen) for single in singles)
    found, expected = _places(both(seen)), (_places(coarse) + _places(AtCellsOf((16, 8))(fine))) / 2
    assert found.shape == coarse.shape and np.abs(found - _places(coarse)).max() > 1e-3
    if not mirror:  # a mirrored look of the finer reader becomes coarse before the mean, not after
        np.testing.assert_allclose(found, expected, atol=1e-5)
    again = PoseRefiner.from_config(both.get_config())
    again.set_weights(both.get_weights())
    np.testing.assert_allclose(_places(again(seen)), found, atol=1e-6)


def test_logits_at_the_cells_of_another_grid():
    """A slope stays one, in the same part of the window."""
    places = [(np.arange(cells) + 0.5) / cells for cells in (24, 16)]
    slope = (2 * places[0][:, None] - places[1])[None, None, :, :, None].astype("float32")
    coarse = ops.convert_to_numpy(AtCellsOf((16, 8))(slope))[0, 0, ..., 0]
    np.testing.assert_allclose(coarse, 2 * (np.arange(16)[:, None] + 0.5) / 16 - (np.arange(8) + 0.5) / 8, atol=1e-5)


def test_readers_must_see_the_same_windows():
    with pytest.raises(UserError, match="has not the shape of refiner_grid"):
        parse_config({"refiner_grid": [64, 48], "refiner_more_grids": [[96, 64]]}, "test", ModelConfig)


def _places(logits):
    """Distributions over rows and columns."""
    shape = logits.shape
    return ops.convert_to_numpy(ops.reshape(ops.softmax(ops.reshape(logits, (*shape[:2], -1, shape[-1])), axis=2), shape))


@pytest.mark.parametrize("mirror", [False, True])
def test_save_and_load(refined, tiny_config, pictures, tmp_path, mirror):
    refined = with_heads_of(refined, tiny_config, **refined.config.model_dump(include=REFINER), refiner_mirror=mirror, refiner_min_score=0)
    save_model(refined, tmp_path / "refined.keras")
    loaded = load_model(tmp_path / "refined.keras")
    assert len(loaded.weights) == len(refined.weights)
    for key, value in refined.predict_on_batch(pictures).items():
        np.testing.assert_allclose(loaded.predict_on_batch(pictures)[key], value, rtol=1e-4, atol=1e-4)

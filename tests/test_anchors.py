"""Anchors: their number and places, encoding there and back, and what counts as an object."""

import numpy as np
import pytest

from multiposenet import geometry
from multiposenet.codecs import anchors


@pytest.fixture(scope="module")
def grid():
    return anchors.anchor_boxes(128, 160)


def random_boxes(rng, count, size):
    corners = np.sort(rng.uniform(0, size, (count, 2, 2)), axis=1)
    return corners.reshape(count, 4).astype("float32")


def test_one_anchor_set_per_cell():
    cells = sum(-(-96 // stride) * -(-200 // stride) for stride in anchors.STRIDES)
    assert anchors.anchor_boxes(96, 200).shape == (cells * anchors.ANCHORS_PER_CELL, 4)


@pytest.mark.parametrize("size", anchors.SIZES)
def test_cell_anchors_have_their_areas_and_ratios(size):
    cell = anchors.cell_anchors(size)
    np.testing.assert_allclose(geometry.area(cell), np.tile((size * np.array(anchors.SCALES)) ** 2, 3), rtol=1e-5)
    width, height = (cell[:, 2:] - cell[:, :2]).T
    np.testing.assert_allclose(height / width, np.repeat(anchors.RATIOS, 3), rtol=1e-5)
    np.testing.assert_allclose(cell[:, :2], -cell[:, 2:])


def test_rows_run_along_x_first(grid):
    centres = (grid[:, :2] + grid[:, 2:]) / 2
    np.testing.assert_allclose(centres[0], [4, 4], atol=1e-4)
    np.testing.assert_allclose(centres[anchors.ANCHORS_PER_CELL], [12, 4], atol=1e-4)


def test_decode_undoes_encode(grid):
    boxes = random_boxes(np.random.default_rng(0), len(grid), 150)
    np.testing.assert_allclose(anchors.decode(grid, anchors.encode(grid, boxes)), boxes, atol=1e-3)


def test_an_anchor_on_its_person_is_an_object_with_zero_deltas(grid):
    regression, labels = anchors.targets(grid, grid[500:501], [], (128, 160))
    np.testing.assert_allclose(regression[500], [0, 0, 0, 0, 1], atol=1e-6)
    np.testing.assert_array_equal(labels[500], [1, 1])


def test_objects_decode_to_the_person_they_overlap_most(grid):
    boxes = random_boxes(np.random.default_rng(1), 6, 120)
    regression, labels = anchors.targets(grid, boxes, [], (128, 160))
    objects = labels[:, 0] == 1
    best = geometry.iou(grid, boxes).argmax(axis=1)
    assert objects.any()
    np.testing.assert_allclose(anchors.decode(grid, regression[:, :4])[objects], boxes[best[objects]], atol=1e-3)


def test_states_follow_the_overlap(grid):
    boxes = random_boxes(np.random.default_rng(2), 6, 120)
    _, labels = anchors.targets(grid, boxes, [], (1000, 1000))
    overlap = geometry.iou(grid, boxes).max(axis=1)
    assert (labels[overlap >= 0.5] == [1, 1]).all()
    assert (labels[(overlap > 0.4) & (overlap < 0.5)] == [0, -1]).all()
    assert (labels[overlap < 0.4] == [0, 0]).all()


def test_without_people_everything_inside_is_background(grid):
    regression, labels = anchors.targets(grid, np.zeros((0, 4)), np.zeros((0, 4)), (100, 160))
    inside = ((grid[:, :2] + grid[:, 2:]) / 2 < (160, 100)).all(axis=1)
    assert 0 < inside.sum() < len(grid)
    assert (labels[~inside] == [0, -1]).all() and (labels[inside] == 0).all()
    np.testing.assert_array_equal(regression[:, 4], labels[:, 1])


def test_crowds_hide_background_but_not_people(grid):
    person, crowd = grid[500:501], np.array([[0, 0, 160, 64]])
    _, labels = anchors.targets(grid, person, crowd, (128, 160))
    inside = geometry.intersection(grid, crowd)[:, 0] >= 0.5 * geometry.area(grid)
    people = geometry.iou(grid, person)[:, 0]
    assert (labels[inside & (people < 0.5), 1] == -1).all()
    assert (labels[people >= 0.5, 1] == 1).all()
    centred = ((grid[:, :2] + grid[:, 2:]) / 2 < (160, 128)).all(axis=1)
    assert (labels[~inside & (people < 0.4) & centred, 1] == 0).all()

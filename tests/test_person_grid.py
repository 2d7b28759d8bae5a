import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from multiposenet.codecs.person_grid import blur_matrix, decode, encode, locate, window_matrix

GRID, MARGIN = (56, 36), 0.21


def random_people(rng, people=6, candidates=7, joints=5):
    corner = rng.uniform(0, 200, (people, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(20, 300, (people, 2))], axis=1)
    points = corner[:, None, None] + rng.uniform(-60, 260, (people, candidates, joints, 2))
    seen = rng.random((people, candidates, joints, 1)) < 0.7
    return boxes, np.concatenate([points, seen], axis=-1)


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_blur_matrix_is_scipys_gaussian_filter(sigma):
    values = np.random.default_rng(0).random(36)
    expected = gaussian_filter1d(values, sigma, mode="constant", truncate=4)
    np.testing.assert_allclose(blur_matrix(36, sigma) @ values, expected, atol=1e-6)


def test_window_matrix_sums_neighbours():
    values = np.arange(1.0, 6.0)
    np.testing.assert_allclose(window_matrix(5, 3) @ values, [3, 6, 9, 12, 9])


def test_encode_is_one_hot_then_blurred():
    boxes, keypoints = random_people(np.random.default_rng(1))
    keypoints[:, 1] = keypoints[:, 0]  # two in one cell count once
    one_hot = np.zeros((len(boxes), *GRID, keypoints.shape[2]))
    for person, box in enumerate(boxes):
        side = box[2:] - box[:2]
        for candidate, joint in np.ndindex(keypoints.shape[1:3]):
            x, y, v = keypoints[person, candidate, joint]
            share = (np.array([x, y]) + 0.5 - box[:2]) / side
            if v and (share >= -MARGIN).all() and (share <= 1 + MARGIN).all():
                column, row = np.clip((share * [36, 56]).astype(int), 0, [35, 55])
                one_hot[person, row, column, joint] = 1
    blurred = np.einsum("ih,nhwk,wj->nijk", blur_matrix(56, 1), one_hot, blur_matrix(36, 1))
    assert one_hot.sum() > 20
    np.testing.assert_allclose(encode(boxes, keypoints, GRID, MARGIN, 1), blurred, atol=1e-6)


def test_batched_is_single():
    boxes, keypoints = random_people(np.random.default_rng(2))
    singles = [encode(boxes[i:i + 1], keypoints[i:i + 1], GRID, MARGIN, 2)[0] for i in range(len(boxes))]
    np.testing.assert_array_equal(encode(boxes, keypoints, GRID, MARGIN, 2), singles)


def test_points_in_the_margin_clamp_and_those_beyond_are_left_out():
    boxes = np.array([[100, 100, 200, 300]])
    points = np.array([[[80, 99], [78, 200], [220, 341], [220, 343], [99.5, 99.5]]])
    rows, columns, inside = locate(boxes, points, GRID, MARGIN)
    assert inside.tolist() == [[True, False, True, False, True]]
    assert (rows[0, 0], columns[0, 0]) == (0, 0)
    assert (rows[0, 2], columns[0, 2]) == (55, 35)
    assert (rows[0, 4], columns[0, 4]) == (0, 0)


def test_an_empty_box_holds_nothing():
    points = np.array([[[-0.5, -0.5], [10, 10]], [[9.5, 15], [9, 15]]])
    assert not locate(np.array([[0, 0, 0, 0], [10, 10, 10, 20]]), points, GRID, MARGIN)[2].any()


def test_round_trip_is_exact_in_cells_and_within_half_a_cell_in_pixels():
    boxes, keypoints = random_people(np.random.default_rng(3))
    rows, columns, _ = locate(boxes, keypoints, GRID, MARGIN)
    centers = decode(boxes, rows, columns, GRID)
    again = locate(boxes, centers, GRID, MARGIN)
    np.testing.assert_array_equal(again[0], rows)
    np.testing.assert_array_equal(again[1], columns)
    corner, side = boxes[:, None, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None, None]
    share = (keypoints[..., :2] + 0.5 - corner) / side
    within = ((share > 0) & (share < 1)).all(axis=-1)
    error = np.abs(centers - keypoints[..., :2]) / side * [36, 56]
    assert within.any() and error[within].max() <= 0.5 + 1e-4


def test_a_lower_peak_weighs_less_and_what_is_labelled_is_equal():
    box = np.array([[0.0, 0, 36, 56]])
    peaks = np.array([[[[5.0, 5, 0.8]], [[20, 30, 0.4]], [[200, 30, 1.0]]]])  # the last is outside
    grid = encode(box, peaks, GRID, MARGIN, 1)[0, ..., 0]
    assert grid[30, 20] / grid[5, 5] == pytest.approx(0.25)
    peaks[..., 2] = 1
    grid = encode(box, peaks, GRID, MARGIN, 1)[0, ..., 0]
    assert grid[30, 20] == pytest.approx(grid[5, 5])

import numpy as np

from multiposenet.codecs.heatmap import encode_joints
from multiposenet.codecs.peaks import assign_joints, best_each, find_peaks, one_to_one


def test_peaks_of_drawn_joints_are_the_joints():
    joints = np.array([[[40.3, 50.9, 2], [100, 20, 2]], [[90, 81.5, 2], [0, 0, 0]]])
    peaks = find_peaks(encode_joints(joints, 128, 160), 2, max_peaks=4, threshold=0.05)
    assert (peaks[..., 2] > 0).sum(axis=1).tolist() == [2, 1]
    first = peaks[0, np.argsort(peaks[0, :2, 0])]
    np.testing.assert_allclose(first[:, :2], joints[:, 0, :2], atol=0.35)
    np.testing.assert_allclose(peaks[1, 0, :2], joints[0, 1, :2], atol=0.35)


def test_highest_first_and_no_more_than_asked():
    maps = np.zeros((9, 9, 1), "float32")
    maps[1::3, 1::3, 0] = np.arange(1, 10).reshape(3, 3) / 10
    peaks = find_peaks(maps, 1, max_peaks=3, threshold=0.15)
    np.testing.assert_allclose(peaks[0, :, 2], [0.9, 0.8, 0.7])
    np.testing.assert_allclose(peaks[0, :, 0], [7 * 4 + 1.5, 4 * 4 + 1.5, 1 * 4 + 1.5])
    assert (find_peaks(maps, 1, max_peaks=20, threshold=0.15)[0, :, 2] > 0).sum() == 8


def test_a_plateau_is_one_peak_between_its_cells():
    maps = np.zeros((8, 8, 1), "float32")
    maps[3, 3:5] = 1
    peaks = find_peaks(maps, 1, max_peaks=5, threshold=0.1)
    np.testing.assert_allclose(peaks[0, :2], [[3.5 * 4 + 1.5, 3 * 4 + 1.5, 1], [0, 0, 0]])


def test_a_peak_on_the_border_stays_in_the_middle_of_its_cell():
    maps = np.zeros((8, 8, 1), "float32")
    maps[:2, :, 0] = [[1] + [0.5] * 7, [0.9] * 8]
    np.testing.assert_allclose(find_peaks(maps, 1, max_peaks=1, threshold=0.1)[0, 0], [1.5, 1.5, 1])


def test_one_to_one_is_greedy_over_all_pairs_in_order():
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.integers(0, 4, (6, 5)) / 4  # many ties
        expected = np.full(6, -1)
        for value, person, peak in sorted((-v, i, j) for (i, j), v in np.ndenumerate(values)):
            if value < 0 and expected[person] < 0 and peak not in expected:
                expected[person] = peak
        np.testing.assert_array_equal(one_to_one(values), expected)


def test_one_to_one_of_nothing():
    assert one_to_one(np.zeros((3, 0))).tolist() == [-1, -1, -1]
    assert one_to_one(np.zeros((0, 3))).tolist() == []


def test_choices_of_the_assignment():
    """Two people in one box, one peak of height 0.5: who gets it, with which score, and what the other one gets."""
    boxes, peaks = np.array([[0, 0, 40, 40]] * 2, "float32"), np.array([[[10, 10, 0.5]]], "float32")
    marks = np.full((2, 4, 4, 1), [[[[0.6 / 16]]], [[[1 / 16]]]], "float32")
    heatmaps = np.zeros((10, 10, 1), "float32")

    def poses(**choices):
        return assign_joints(boxes, np.ones(2), peaks, marks, heatmaps, 0.2, 0.05, **choices)[:, 0]

    assert poses(unique=True, fill=False).tolist() == [[0, 0, 0], [10, 10, 0.5]]  # the whole mass lies in the window
    guess, owner = poses(unique=True)
    assert owner.tolist() == [10, 10, 0.5] and guess[2] == 0 and (guess[:2] > 0).all()
    np.testing.assert_allclose(poses(), [[10, 10, 0.3], [10, 10, 0.5]], atol=1e-6)
    np.testing.assert_allclose(poses(heights=False), [[10, 10, 0.6], [10, 10, 1]], atol=1e-6)
    assert best_each(np.array([[0, 2, 1], [0, 0, 0]])).tolist() == [1, -1] and best_each(np.zeros((2, 0))).tolist() == [-1, -1]

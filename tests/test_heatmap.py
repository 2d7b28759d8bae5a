import numpy as np
import pytest

from multiposenet.codecs import heatmap
from multiposenet.codecs.peaks import find_peaks

RNG = np.random.default_rng(0)


def brute_force(keypoints, height, width):
    """METHOD section 3, written as it is said."""
    x, y = heatmap.cell_centers(width // 4), heatmap.cell_centers(height // 4)
    maps = np.zeros((height // 4, width // 4, keypoints.shape[1]))
    for person in keypoints:
        for k, (px, py, v) in enumerate(person):
            if v >= 1 and 0 <= px <= width - 1 and 0 <= py <= height - 1:
                blob = np.exp(-((x[None] - px) ** 2 + (y[:, None] - py) ** 2) / (2 * 7 ** 2))
                maps[..., k] = np.maximum(maps[..., k], np.where(blob < 0.01, 0, blob))
    return maps


def test_joints_are_gaussians_combined_by_maximum():
    keypoints = RNG.uniform(-20, 150, (6, 17, 3))
    keypoints[..., 2] = RNG.integers(0, 3, (6, 17))
    np.testing.assert_allclose(heatmap.encode_joints(keypoints, 96, 128), brute_force(keypoints, 96, 128), atol=1e-5)


def test_joints_may_be_as_wide_as_their_person():
    np.testing.assert_allclose(heatmap.sigmas_px([50, 100, 400], 0.08, (5, 14)), [5, 8, 14])
    np.testing.assert_allclose(heatmap.sigmas_px([50, 400], 0, (5, 14)), 7)
    keypoints = np.array([[[41.5, 41.5, 2]], [[81.5, 41.5, 2]]])
    maps, widths = heatmap.draw_joints(keypoints, 96, 128, [4, 9])
    np.testing.assert_allclose(maps[10, 11, 0], np.exp(-4 ** 2 / (2 * 4 ** 2)), atol=1e-6)
    np.testing.assert_allclose(maps[10, 21, 0], np.exp(-4 ** 2 / (2 * 9 ** 2)), atol=1e-6)
    np.testing.assert_allclose(widths[10, [10, 20, 31], 0], [4, 9, 7])
    nearest = np.hypot(*(heatmap.cell_centers(n) - 41.5 for n in (24,)), 0).argmin()
    assert widths[nearest, 14, 0] == 9 and not (maps[widths == 7] > 0).any()  # 16 px from the narrow one, 24 from the wide


def test_cell_centers():
    np.testing.assert_allclose(heatmap.cell_centers(3), [1.5, 5.5, 9.5])


def test_no_people_is_all_background():
    maps = heatmap.encode_joints(np.zeros((0, 17, 3)), 32, 64)
    assert maps.shape == (8, 16, 17) and not maps.any()
    assert (heatmap.background(maps) == 1).all()


def test_background_is_the_complement_of_the_highest_joint():
    maps = RNG.uniform(0, 1.2, (4, 5, 3))
    np.testing.assert_allclose(heatmap.background(maps)[..., 0], np.clip(1 - maps.max(-1), 0, 1))


@pytest.mark.parametrize("position", [(30, 41), (17.3, 60.9), (64.5, 20.2)])
def test_a_peak_comes_back_to_its_pixel(position):
    keypoints = np.array([[[*position, 2.0]]])
    peaks = find_peaks(heatmap.encode_joints(keypoints, 96, 96), 1, 5, 0.1)
    np.testing.assert_allclose(peaks[0, 0, :2], position, atol=0.4)
    assert not peaks[0, 1:, 2].any()


def test_disc():
    inside = heatmap.disc((9.5, 5.5), 4, 16, 20)
    assert inside.sum() == 5 and inside[1, 2] and inside[1, 1] and inside[0, 2]

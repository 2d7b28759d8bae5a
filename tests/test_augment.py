import cv2
import numpy as np
import pytest

from multiposenet.config import AugmentConfig
from multiposenet.data import augment

RNG = np.random.default_rng(0)


def dot(height, width, x, y):
    picture = np.zeros((height, width, 3), "uint8")
    cv2.circle(picture, (x, y), 2, (255, 255, 255), -1)
    return picture


def center_of_light(picture):
    weights = picture[..., 0].astype(float)
    y, x = np.indices(weights.shape)
    return np.array([(weights * x).sum(), (weights * y).sum()]) / weights.sum()


@pytest.mark.parametrize("angle, scale, flip", [(0, 1, False), (30, 1.5, False), (-40, 0.8, True), (10, 0.4, True)])
def test_points_follow_the_picture(angle, scale, flip):
    matrix = augment.similarity((60, 50), angle, scale, (70, 70))
    if flip:
        matrix = augment.mirrored(matrix, 140)
    warped = augment.warp_picture(dot(100, 120, 80, 40), matrix, (140, 140), 0)
    expected = augment.warp_points(np.array([[80, 40]]), matrix)[0]
    np.testing.assert_allclose(center_of_light(warped), expected, atol=0.35)


def test_similarity_turns_counter_clockwise_about_the_center():
    matrix = augment.similarity((10, 10), 90, 2, (50, 50))
    np.testing.assert_allclose(augment.warp_points(np.array([[10.0, 10], [11, 10]]), matrix), [[50, 50], [50, 48]], atol=1e-5)


def test_flip_is_about_the_vertical_axis_and_twice_is_identity():
    """The article says "vertical flip" and means left against right (METHOD section 3)."""
    matrix = augment.similarity((0, 0), 0, 1, (0, 0))
    flipped = augment.mirrored(matrix, 100)
    np.testing.assert_allclose(augment.warp_points(np.array([[0.0, 7]]), flipped), [[99, 7]])
    np.testing.assert_allclose(augment.mirrored(flipped, 100), matrix, atol=1e-9)
    picture = RNG.integers(0, 255, (20, 100, 3)).astype("uint8")
    np.testing.assert_array_equal(augment.warp_picture(picture, flipped, (20, 100), 0), picture[:, ::-1])


def test_boxes_are_edges():
    matrix = augment.mirrored(augment.similarity((0, 0), 0, 1, (0, 0)), 100)
    np.testing.assert_allclose(augment.warp_boxes([[0, 0, 10, 5]], matrix), [[90, 0, 100, 5]], atol=1e-5)
    assert augment.warp_boxes(np.zeros((0, 4)), matrix).shape == (0, 4)


def test_outside_is_grey():
    matrix = augment.similarity((5, 5), 0, 1, (50, 50))
    warped = augment.warp_picture(np.zeros((10, 10, 3), "uint8"), matrix, (100, 100), 128)
    assert (warped[:20] == 128).all()


def test_color_jitter_keeps_type_and_can_be_off():
    picture = RNG.integers(0, 255, (8, 8, 3)).astype("uint8")
    assert augment.jitter_color(picture, 0, RNG) is picture
    assert augment.jitter_color(picture, 0.4, RNG).dtype == np.uint8


def test_color_jitter_is_brightness_then_contrast_about_the_mean_then_saturation_about_the_grey():
    picture = RNG.integers(60, 190, (8, 8, 3)).astype("uint8")
    brightness, contrast, saturation = 1 + np.random.default_rng(4).uniform(-0.2, 0.2, 3)
    pixels = picture * brightness
    pixels = (pixels - pixels.mean()) * contrast + pixels.mean()
    grey = pixels.mean(axis=2, keepdims=True)
    expected = np.clip((pixels - grey) * saturation + grey, 0, 255)
    assert np.abs(augment.jitter_color(picture, 0.2, np.random.default_rng(4)) - expected).max() <= 0.51


def test_pixels_stay_as_they_are_until_blur_or_compression_is_switched_on():
    picture = (100 * RNG.random((64, 48, 1)) * [1, 0.5, 0] + [100, 60, 20]).astype("uint8")  # reddish noise
    assert augment.vary_pixels(picture, AugmentConfig(), RNG) is picture
    for settings in (AugmentConfig(blur=3), AugmentConfig(jpeg=1)):
        varied = augment.vary_pixels(picture, settings, np.random.default_rng(0))
        assert varied.shape == picture.shape and varied.dtype == np.uint8 and (varied != picture).any()
        np.testing.assert_allclose(varied.mean((0, 1)), picture.mean((0, 1)), atol=3)  # red is still red
    blurred = [augment.vary_pixels(picture, AugmentConfig(blur=blur), np.random.default_rng(0)) for blur in (1, 3)]
    assert picture.std() > blurred[0].std() > blurred[1].std()
    kept = [augment.vary_pixels(picture, AugmentConfig(jpeg=0.3), RNG) is picture for _ in range(100)]
    assert 50 < sum(kept) < 90


def test_quarters_are_in_reading_order():
    whole = RNG.random((6, 8, 3))
    tiles = [whole[:3, :4], whole[:3, 4:], whole[3:, :4], whole[3:, 4:]]
    np.testing.assert_array_equal(augment.quarters(tiles), whole)

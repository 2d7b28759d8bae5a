import numpy as np
import pytest
from pycocotools import mask as coco_mask

from multiposenet import geometry
from multiposenet.skeleton import COCO17

RNG = np.random.default_rng(0)


def random_boxes(n):
    corner = RNG.uniform(0, 80, (n, 2))
    return np.concatenate([corner, corner + RNG.uniform(1, 60, (n, 2))], axis=1)


def test_xywh_round_trip():
    boxes = random_boxes(9)
    np.testing.assert_allclose(geometry.xywh_to_xyxy(geometry.xyxy_to_xywh(boxes)), boxes, rtol=1e-6)


def test_iou_is_pycocotools():
    a, b = random_boxes(7), random_boxes(5)
    expected = coco_mask.iou(geometry.xyxy_to_xywh(a).astype("float64"), geometry.xyxy_to_xywh(b).astype("float64"), [0] * 5)
    np.testing.assert_allclose(geometry.iou(a, b), expected, atol=1e-5)


def test_empty_boxes_have_no_area_and_no_iou():
    assert geometry.area([[5, 5, 3, 9]]) == 0
    assert geometry.iou([[5, 5, 5, 5]], [[5, 5, 5, 5]]) == 0
    assert geometry.iou(np.zeros((0, 4)), random_boxes(3)).shape == (0, 3)


def test_widen_grows_every_side():
    np.testing.assert_allclose(geometry.widen([10, 20, 20, 40], 0.1), [9, 18, 21, 42])


@pytest.mark.parametrize("size", [(480, 640), (1, 1), (37, 501), (4000, 3000)])
def test_letterbox_round_trip_and_multiples(size):
    box = geometry.Letterbox.fit(*size, short_side=480, long_side=960)
    assert box.canvas_height % 32 == box.canvas_width % 32 == 0
    assert max(box.height, box.width) <= 960
    points = RNG.uniform(0, 100, (6, 3))
    there = box.to_canvas(points)
    np.testing.assert_allclose(box.to_picture(there), points, atol=1e-3)
    np.testing.assert_allclose(there[:, 2], points[:, 2], rtol=1e-6)
    boxes = random_boxes(4)
    np.testing.assert_allclose(box.boxes_to_picture(box.boxes_to_canvas(boxes)), boxes, rtol=1e-5)


def test_oks_of_the_truth_is_one_and_falls_as_coco_defines():
    truth = np.concatenate([RNG.uniform(0, 100, (2, 17, 2)), np.full((2, 17, 1), 2)], axis=-1)
    truth[1, 5:, 2] = 0
    similar = geometry.oks(truth, truth, [900, 900], COCO17.sigmas)
    np.testing.assert_allclose(np.diag(similar), 1)
    moved = truth.copy()
    moved[0, 0, 0] += 3
    one = np.exp(-9 / (2 * (2 * COCO17.sigmas[0]) ** 2 * 900))
    np.testing.assert_allclose(geometry.oks(moved, truth, [900, 900], COCO17.sigmas)[0, 0], (16 + one) / 17)

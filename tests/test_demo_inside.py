import numpy as np
import pytest
from scenes import noisy_pictures

from multiposenet.codecs.heatmap import STRIDE, encode_joints
from multiposenet.config import PredictConfig
from multiposenet.demo.inside import CAPTION, GAP, ZOOM, Insight, OpenPredictor, heatmap_view, prn_view
from multiposenet.geometry import Letterbox
from multiposenet.skeleton import COCO17

CONFIG = PredictConfig(short_side=96, long_side=160)


@pytest.fixture(scope="module")
def seen(tiny_model):
    """(predictor, picture, people, insight); half of the canvas is padding, where people are left out."""
    predictor, picture = OpenPredictor(tiny_model, CONFIG), noisy_pictures([0], (160, 33))[0]
    return predictor, picture, *predictor.look_inside(picture)


def test_people_are_those_of_predict(seen):
    predictor, picture, people, _ = seen
    plain = predictor.predict(picture)
    assert len(people) == len(plain) > 0
    for one, other in zip(people, plain):
        assert np.allclose(one.box_xyxy, other.box_xyxy, atol=1e-3)
        assert np.allclose(one.keypoints, other.keypoints, atol=1e-3)


def test_insight_belongs_to_the_people(seen):
    predictor, _, people, insight = seen
    assert insight.grids.shape == insight.marks.shape == (len(people), *predictor.model.config.grid, len(COCO17))
    assert np.allclose(insight.marks.sum(axis=(1, 2)), 1, atol=.02)  # the PRN's softmax over the cells, as float16
    assert insight.heatmaps.shape == (insight.letterbox.canvas_height // STRIDE,
                                      insight.letterbox.canvas_width // STRIDE, len(COCO17))


@pytest.mark.parametrize("scale", [.5, 1, 2])
def test_heat_lies_on_its_joint(scale):
    x, y, joint, letterbox = 61, 42, 5, Letterbox.fit(100, 130, 96, 160)
    keypoints = np.zeros((1, len(COCO17), 3))
    keypoints[0, joint] = *letterbox.to_canvas(np.array([x, y], "float32")), 2
    heatmaps = encode_joints(keypoints, letterbox.canvas_height, letterbox.canvas_width)
    insight = Insight(heatmaps[..., :len(COCO17)].astype("float16"), letterbox, None, None)
    picture = np.full((round(100 * scale), round(130 * scale), 3), 90, "uint8")
    for chosen in (joint, None):
        view = heatmap_view(picture, insight, chosen)
        row, column = np.unravel_index(view.sum(axis=-1).argmax(), view.shape[:2])
        assert view.shape == picture.shape and np.hypot(column / scale - x, row / scale - y) < 3
    assert heatmap_view(picture, insight, joint + 1).max() == 45  # nothing but the darker picture


def test_grids_side_by_side():
    """The brightest place of each pair's halves is the peak's and the mark's."""
    grids, marks = np.zeros((2, 2, 56, 36, len(COCO17)), "float16")
    grids[1, 10, 20, 0], marks[1, 30, 5, 0] = .16, .01
    view = prn_view(Insight(None, None, grids, marks), 1, COCO17.joints).astype(int)
    pair = view[CAPTION:CAPTION + 56 * ZOOM, GAP:]
    for half, (row, column) in ((pair[:, :36 * ZOOM], (10, 20)), (pair[:, 36 * ZOOM + 2:72 * ZOOM + 2], (30, 5))):
        bright = np.argwhere(half.sum(axis=-1) > 300)
        assert (bright // ZOOM == (row, column)).all() and len(bright) == ZOOM ** 2
    assert (prn_view(Insight(None, None, grids, marks), 0, COCO17.joints) != view).any()

from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pytest
from pycocotools.coco import COCO

from multiposenet.config import PredictConfig
from multiposenet.errors import UserError
from multiposenet.geometry import PADDING, Letterbox, xywh_to_xyxy
from multiposenet.prediction import Person, Predictor, on_canvas
from multiposenet.skeleton import COCO17
from scenes import ACTIVITIES

CONFIG = SimpleNamespace(skeleton=COCO17, activities=ACTIVITIES)


class FindsWhite:
    """Stands in for the network: one person, whose box and joints are the bright rectangle of the canvas."""

    config = CONFIG

    def __call__(self, batch):
        assert batch.dtype == np.uint8 and batch.shape[0] == 1 and batch.shape[1] % 32 == batch.shape[2] % 32 == 0
        self.seen = batch
        rows, columns = np.nonzero(batch[0].mean(axis=-1) > 191)
        x1, y1, x2, y2 = columns.min(), rows.min(), columns.max(), rows.max()
        boxes, keypoints = np.zeros((1, 5, 4)), np.zeros((1, 5, 17, 3))
        boxes[0, 0] = x1, y1, x2 + 1, y2 + 1  # edges, while joints are centres
        keypoints[0, 0] = [(x1, y1, .5), *[(x2, y2, .5)] * 16]
        return dict(boxes=boxes, scores=np.array([[.8, 0, 0, 0, 0]]), keypoints=keypoints,
                    activities=np.tile([.1, .6, .2, .1], (1, 5, 1)), count=np.array([1]))


def white_rectangle(height, width, x1, y1, x2, y2):
    picture = np.zeros((height, width, 3), "uint8")
    picture[y1:y2, x1:x2] = 255
    return picture


SETTINGS = PredictConfig(short_side=480, long_side=960)


@pytest.mark.parametrize("height, width", [(90, 120), (480, 480), (1000, 700), (2000, 3000), (333, 77)])
def test_coordinates_come_back(height, width):
    corners = np.array([width // 5, height // 4, width // 2, height * 3 // 4])
    person, = Predictor(FindsWhite(), SETTINGS).predict(white_rectangle(height, width, *corners))
    scale = Letterbox.fit(height, width, SETTINGS.short_side, SETTINGS.long_side).scale
    assert np.allclose(person.box_xyxy, corners, atol=1.01 * max(1, 1 / scale))
    assert np.allclose(person.keypoints[0, :2], corners[:2], atol=1.01 * max(1, 1 / scale))
    assert np.allclose(person.keypoints[5, :2], corners[2:] - 1, atol=1.01 * max(1, 1 / scale))
    assert person.activity == "running" and np.isclose(person.score, .8 * .5) and person.box_score == .8


@pytest.mark.parametrize("height, width", [(1, 1), (1, 500), (700, 1), (50, 20_000)])
def test_odd_sizes(height, width):
    person, = Predictor(FindsWhite(), SETTINGS).predict(np.full((height, width, 3), 255, "uint8"))
    half_a_cell = .5 / Letterbox.fit(height, width, SETTINGS.short_side, SETTINGS.long_side).scale  # the canvas has whole pixels
    assert np.allclose(person.box_xyxy, (0, 0, width, height), atol=half_a_cell + .01)


@pytest.mark.parametrize("height, width", [(90, 120), (1000, 700), (333, 77)])
def test_an_engine_of_one_size_gets_that_size(height, width):
    class Fixed(FindsWhite):
        size = (192, 256)

    model = Fixed()
    corners = np.array([width // 5, height // 4, width // 2, height * 3 // 4])
    person, = Predictor(model, SETTINGS).predict(white_rectangle(height, width, *corners))
    pixel = max(1, height / 192, width / 256)
    assert model.seen.shape == (1, 192, 256, 3) and np.allclose(person.box_xyxy, corners, atol=1.01 * pixel)


def test_padding_is_grey_and_nobody_stands_there():
    class InThePadding(FindsWhite):
        def __call__(self, batch):
            found = super().__call__(batch)
            found["boxes"][0, 1] = 490, 10, 512, 100
            found["boxes"][0, 0, 2] = 511
            return {**found, "count": np.array([2])}

    model = InThePadding()
    people = Predictor(model, PredictConfig(short_side=490)).predict(white_rectangle(490, 490, 100, 100, 200, 200))
    assert len(people) == 1 and people[0].box_xyxy[2] == 490  # clipped to the picture
    padding = model.seen[0, 490:]
    assert padding.shape == (22, 512, 3) and (padding == PADDING).all()


def test_canvas_pixels_match_the_letterbox():
    y, x = np.mgrid[:60, :80]
    letterbox = Letterbox.fit(60, 80, 96, 960)
    canvas = on_canvas(np.dstack([x * 3, y * 4, x]).astype("uint8"), letterbox)
    points = np.array([[30, 20], [55.5, 40.25]])
    for (x, y), (u, v) in zip(points, letterbox.to_canvas(points)):
        patch = cv2.getRectSubPix(canvas, (1, 1), (float(u), float(v)))[0, 0]
        assert np.allclose(patch[:2], (3 * x, 4 * y), atol=1.5)


@keras.saving.register_keras_serializable("multiposenet_tests")
class Constant(keras.Model):
    """A real Keras model with the contract's outputs."""

    config = CONFIG

    def call(self, image):
        image = keras.ops.cast(image, "float32")
        total = keras.ops.reshape(keras.ops.mean(image), (1, 1))
        one = keras.ops.ones_like(total)
        return dict(boxes=keras.ops.stack([0 * one, 0 * one, 9 * one, 9 * one], axis=-1), scores=0.5 * one,
                    keypoints=keras.ops.ones((1, 1, 17, 3)) * total[..., None, None],
                    activities=keras.ops.ones((1, 1, 4)) / 4, count=keras.ops.cast(one[0], "int32"))


def test_keras_models_and_changing_sizes():
    predictor = Predictor(Constant(), PredictConfig(short_side=64, long_side=96))
    for height, width in ((64, 64), (50, 80), (80, 50)):
        person, = predictor.predict(np.full((height, width, 3), 128, "uint8"))
        assert isinstance(person.keypoints, np.ndarray) and np.allclose(person.keypoints[:, 2], 128)


def test_files(tmp_path):
    cv2.imwrite(str(tmp_path / "good.png"), white_rectangle(60, 80, 10, 10, 40, 50))
    (tmp_path / "bad.png").touch()
    bad, good = Predictor(FindsWhite()).predict_files([tmp_path / "bad.png", tmp_path / "good.png"])
    assert isinstance(bad.error, UserError) and bad.picture is None and not bad.people
    assert good.error is None and good.picture.shape == (60, 80, 3) and len(good.people) == 1
    assert set(good.seconds) == {"read", "predict"} and min(good.seconds.values()) > 0


def test_record_is_a_coco_result():
    keypoints = np.random.default_rng(0).uniform(0, 50, (17, 3)).astype("float32")
    person = Person(np.array([1, 2, 31, 52], "float32"), .5, keypoints, {"walking": .75, "sitting": .25})
    record = person.as_coco(7, "a.jpg")
    assert record["bbox"] == [1, 2, 30, 50] and record["activity"] == "walking"
    assert np.allclose(np.reshape(record["keypoints"], (17, 3)), keypoints, atol=.01)
    assert np.isclose(record["score"], .5 * keypoints[keypoints[:, 2] > 0.1, 2].mean()) and record["activity_scores"]["sitting"] == .25
    truth = COCO()
    truth.dataset = dict(images=[dict(id=7)], annotations=[], categories=[dict(id=1, keypoints=list(COCO17.joints))])
    truth.createIndex()
    loaded, = truth.loadRes([record]).anns.values()
    assert np.allclose(xywh_to_xyxy(record["bbox"]), person.box_xyxy) and loaded["image_id"] == 7


def test_activity_may_be_unknown():
    person = Person(np.zeros(4), .5, np.zeros((17, 3)))
    assert person.activity is None and person.as_coco(1, "a.jpg")["activity_scores"] == {}


def test_the_rank_counts_the_joints_that_were_seen():
    keypoints = np.zeros((17, 3))
    keypoints[3:5, 2] = 0.6, 0.4
    keypoints[7:, 2] = 0.05
    assert Person(np.zeros(4), 0.5, keypoints).score == pytest.approx(0.25)
    assert Person(np.zeros(4), 0.5, np.zeros((17, 3))).score == 0

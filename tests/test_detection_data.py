"""The detector's samples: boxes follow the pixels, and what is no clear person counts for nothing."""

import cv2
import numpy as np
import pytest
from scenes import write_coco

from multiposenet.codecs import anchors
from multiposenet.config import AugmentConfig, Config
from multiposenet.data.coco import Person, Picture, read_coco
from multiposenet.data.detection import DetectionSource, people_in_crop

CROP = 128
CONFIG = Config(augment=AugmentConfig(crop=CROP, scale=(0.5, 1.5), flip=0.5))
IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])


def person(box, crowd=False):
    return Person(0, np.array(box, "float32"), np.zeros((17, 3), "float32"), crowd, 1.0)


def picture_of(people, height=160, width=200):
    return Picture(1, "drawn.png", None, height, width, people)


def sample(source, picture, pixels, rng):
    crop, found = source.view(picture, pixels, rng, CROP)
    return crop, {key: values[0] for key, values in source.targets([found]).items()}


def found_boxes(source, target):
    """(n, 4) distinct boxes the targets ask for, in whole pixels."""
    objects = target["classification"][:, 0] == 1
    boxes = anchors.decode(source.anchors, target["regression"][:, :4])[objects]
    return np.unique(boxes.round(), axis=0)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    return read_coco(write_coco(folder, 3, negatives=1), folder / "images")


@pytest.mark.parametrize("seed", range(8))
def test_the_box_stays_around_its_pixels(seed):
    pixels = np.zeros((160, 200, 3), "uint8")
    pixels[40:130, 60:120] = 255
    source = DetectionSource([], CONFIG)
    crop, target = sample(source, picture_of([person((60, 40, 120, 130))]), pixels, np.random.default_rng(seed))
    rows, columns = np.nonzero(crop.min(axis=2) > 190)  # between the grey border and white
    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(found_boxes(source, target), [edges], atol=1)


def test_validation_shows_the_whole_picture_in_the_middle():
    source = DetectionSource([], CONFIG, varied=False)
    white = np.full((100, 200, 3), 255, "uint8")
    crop, target = sample(source, picture_of([person((50, 0, 150, 100))], 100, 200), white, None)
    assert (crop[32:96] == 255).all() and (crop[:31] == 128).all() and (crop[97:] == 128).all()
    np.testing.assert_allclose(found_boxes(source, target), [[32, 32, 96, 96]], atol=1)


def test_the_whole_range_of_scales_is_used():
    source, picture, black = DetectionSource([], CONFIG), picture_of([], 200, 200), np.zeros((200, 200, 3), "uint8")
    crops = [sample(source, picture, black, np.random.default_rng(seed))[0] for seed in range(40)]
    shares = [(crop.max(axis=2) == 0).mean() for crop in crops]
    assert min(shares) < 0.35 and max(shares) == 1


def test_slivers_specks_and_crowds_are_ignored_and_people_outside_forgotten():
    whole, cut = person((10, 10, 60, 110)), person((100, 20, 148, 120))
    sliver, speck = person((120, 20, 200, 120)), person((70, 70, 76, 90))
    crowd, outside = person((0, 0, 50, 50), crowd=True), person((130, 0, 180, 90))
    boxes, ignored = people_in_crop([whole, cut, sliver, speck, crowd, outside], IDENTITY, CROP)
    np.testing.assert_allclose(boxes, [[10, 10, 60, 110], [100, 20, 128, 120]])
    np.testing.assert_allclose(ignored, [[120, 20, 128, 120], [70, 70, 76, 90], [0, 0, 50, 50]])


def test_a_crowd_is_neither_object_nor_background():
    source = DetectionSource([], CONFIG, varied=False)
    crowd = picture_of([person((0, 0, 128, 128), crowd=True)], 128, 128)
    _, target = sample(source, crowd, np.zeros((128, 128, 3), "uint8"), None)
    assert not target["classification"][:, 0].any()
    inside = (source.anchors[:, :2] >= 0).all(axis=1) & (source.anchors[:, 2:] <= 128).all(axis=1)
    assert inside.any() and (target["classification"][inside, 1] == anchors.IGNORED).all()


def test_batches_of_drawn_scenes(drawn):
    source = DetectionSource(drawn, CONFIG)
    x, y = source.load([0, 1, 2, 3], np.random.default_rng(0))
    count = len(source.anchors)
    assert x.shape == (4, CROP, CROP, 3) and x.dtype == np.uint8
    assert y["regression"].shape == (4, count, 5) and y["classification"].shape == (4, count, 2)
    assert {target.dtype for target in y.values()} == {np.dtype("float32")}
    np.testing.assert_array_equal(y["regression"][..., -1], y["classification"][..., -1])
    assert (y["classification"][:3, :, 0].sum(axis=1) > 0).all()
    assert not y["classification"][3, :, 0].any(), "nobody is in the negative"


def test_a_mosaic_finds_the_people_of_four_pictures(drawn):
    """White boxes on black: under every box that is asked for there is white, and none outside."""
    source = DetectionSource(drawn, CONFIG.model_copy(update={"augment": CONFIG.augment.model_copy(update={"mosaic": 1})}))
    white = np.zeros((160, 200, 3), "uint8")
    white[40:130, 60:120] = 255
    source._readable = lambda index: (picture_of([person((60, 40, 120, 130)), person((0, 0, 30, 30), crowd=True)]), white)
    crop, (boxes, ignored) = source._composed(0, np.random.default_rng(1))
    assert crop.shape == (CROP, CROP, 3) and len(boxes) == 4
    bright = crop.min(axis=2) > 190
    covered = np.zeros_like(bright)
    for x1, y1, x2, y2 in boxes.round().astype(int):
        assert bright[y1 + 1:y2 - 1, x1 + 1:x2 - 1].all()
        covered[max(y1 - 1, 0):y2 + 1, max(x1 - 1, 0):x2 + 1] = True
    assert not bright[~covered].any()
    assert {(x > 64, y > 64) for x, y in boxes[:, :2] + boxes[:, 2:] - 64} == {(a, b) for a in (0, 1) for b in (0, 1)}


def test_samples_are_a_function_of_the_rng(drawn):
    source = DetectionSource(drawn, CONFIG)
    (a, targets_a), (b, targets_b), (c, _) = (source.load([0, 1], np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(targets_a["regression"], targets_b["regression"])
    assert (a != c).any()


def test_an_unreadable_picture_is_replaced_and_reported_once(drawn, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    source = DetectionSource([Picture(9, "broken.png", broken, 10, 10, []), *drawn], CONFIG, varied=False)
    with pytest.warns(UserWarning, match="broken.png") as caught:
        x, _ = source.load([0, 0, 1], np.random.default_rng(0))
    assert len(caught) == 1
    np.testing.assert_array_equal(x[0], x[2])
    assert cv2.countNonZero(x[0][..., 0]) > 0

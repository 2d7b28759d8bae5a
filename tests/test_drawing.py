import numpy as np
import pytest

from multiposenet.drawing import SMALLEST_SIDE, caption, draw_people, heat_overlay
from multiposenet.prediction import Person
from multiposenet.skeleton import COCO17
from scenes import draw_scene


def people_of(scene, factor=1):
    """The scene's labels as predictions; hidden and missing joints get a low score."""
    found = []
    for person in scene.people:
        keypoints = person.keypoints.copy()
        keypoints[:, :2] *= factor
        keypoints[:, 2] = np.where(keypoints[:, 2] == 2, .8, .01)
        found.append(Person(person.box_xyxy * factor, .9, keypoints, {person.activity: .93, "other": .07}))
    return found


@pytest.mark.parametrize("height, width", [(64, 64), (1, 1), (1, 300), (300, 400), (2000, 20), (720, 1280)])
def test_sizes(height, width):
    scene = draw_scene(np.random.default_rng(0), (120, 160))
    picture = np.full((height, width, 3), 40, "uint8")
    drawn = draw_people(picture, people_of(scene, min(height / 120, width / 160)), COCO17)
    assert drawn.dtype == np.uint8 and max(drawn.shape) >= SMALLEST_SIDE
    assert drawn.shape[0] / height == drawn.shape[1] / width  # whole factor
    assert (picture == 40).all() and (drawn != 40).any()


def test_lines_grow_with_the_picture():
    scene = draw_scene(np.random.default_rng(0), (120, 160))
    shares = [np.mean((draw_people(np.zeros((side, side * 4 // 3, 3), "uint8"), people_of(scene, side / 120), COCO17)
                       != 0).any(axis=-1)) for side in (64, 480, 5000)]
    assert max(shares) < 2 * min(shares)


def test_each_person_has_a_colour():
    box = np.array([0, 0, 40, 100], "float32")
    people = [Person(box + (60 * i + 5, 60, 60 * i + 5, 60), .9, np.zeros((17, 3), "float32")) for i in range(8)]
    drawn = draw_people(np.zeros((480, 500, 3), "uint8"), people, COCO17)
    colors = {tuple(drawn[150, int(person.box_xyxy[0])].tolist()) for person in people}
    assert len(colors) == 8 and (0, 0, 0) not in colors


def test_weak_joints_and_their_limbs_are_left_out():
    keypoints = np.zeros((17, 3), "float32")
    keypoints[COCO17.index("left_knee")] = 200, 200, .9
    keypoints[COCO17.index("left_ankle")] = 200, 300, .05
    person = Person(np.array([10, 10, 30, 30], "float32"), .9, keypoints)
    below = draw_people(np.zeros((480, 480, 3), "uint8"), [person], COCO17, joint_threshold=.1)[220:]
    assert not below.any()
    assert draw_people(np.zeros((480, 480, 3), "uint8"), [person], COCO17, joint_threshold=.01)[250, 200].any()


def test_colours_are_rgb():
    person = Person(np.array([100, 100, 300, 300], "float32"), .9, np.zeros((17, 3), "float32"))
    red, green, blue = draw_people(np.zeros((480, 480, 3), "uint8"), [person], COCO17)[200, 100]
    assert red == 255 and green == blue < 100  # the first person is red


def test_nobody():
    picture = np.random.default_rng(0).integers(0, 255, (500, 600, 3), "uint8")
    drawn = draw_people(picture, [], COCO17)
    assert np.array_equal(drawn, picture) and drawn is not picture


def test_a_followed_person_keeps_colour_and_shows_the_number():
    box = np.array([100, 100, 300, 300], "float32")
    alone = Person(box, .9, np.zeros((17, 3), "float32"), track_id=2)
    empty = np.zeros((480, 480, 3), "uint8")
    after_another = draw_people(empty, [Person(box / 10, .9, np.zeros((17, 3), "float32"), track_id=1), alone], COCO17)
    assert np.array_equal(after_another[150:], draw_people(empty, [alone], COCO17)[150:])
    assert caption(alone) == "2: person 90%"


def test_heat_lies_over_its_place():
    picture = np.full((64, 96, 3), 90, "uint8")
    heatmap = np.zeros((16, 24))
    heatmap[4, 6] = 2  # more than full heat is full heat
    drawn = heat_overlay(picture, heatmap)
    red, green, blue = drawn[17, 25].astype(int)
    assert red > 120 and red > blue
    drawn[12:24, 20:32] = 90
    assert (drawn == 90).all() and (picture == 90).all()

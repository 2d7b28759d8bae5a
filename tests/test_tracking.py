import math

import numpy as np
import pytest

from multiposenet.prediction import Person
from multiposenet.tracking import KEEP_S, Tracker, smoothed

FPS = 10


def person(x, score=.9, y=50, size=(40, 100), **activities):
    box = np.array([x, y, x + size[0], y + size[1]], "float32")
    return Person(box, score, np.zeros((17, 3), "float32"), activities)


def ids(tracker, frames, fps=FPS):
    """track_id of every person of every frame."""
    return [[found.track_id for found in tracker.update(people, i / fps)] for i, people in enumerate(frames)]


def test_numbers_stay_whatever_the_order():
    frames = [[person(20 + 3 * i), person(200 - 3 * i)][::(-1) ** i] for i in range(10)]
    assert ids(Tracker(.4), frames) == [[1, 2][::(-1) ** i] for i in range(10)]


@pytest.mark.parametrize("hidden", [0, 4])
def test_two_people_cross(hidden):
    frames = []
    for i in range(41):
        people = [person(10 * i, y=50), person(400 - 10 * i, y=60)]
        frames.append(people[:1] if abs(i - 20) < hidden / 2 else people)  # the second one is behind the first
    found = ids(Tracker(.4), frames)
    assert all(numbers in ([1, 2], [1]) for numbers in found) and found[-1] == [1, 2]


def test_an_unsure_box_continues_a_track_and_begins_none():
    tracker = Tracker(.4)
    assert ids(tracker, [[person(10), person(200, .3)], [person(12, .2), person(200, .3)], [person(14)]]) == [
        [1, None], [1, None], [1]]
    assert tracker.count == 1


def test_a_sure_box_comes_first():
    tracker = Tracker(.4)
    tracker.update([person(10)], 0)
    unsure, sure = tracker.update([person(10, .3), person(16, .8)], .1)
    assert sure.track_id == 1 and unsure.track_id is None


def test_who_is_long_out_of_sight_is_new():
    tracker = Tracker(.4)
    for seconds, number in ((0, 1), (.9 * KEEP_S, 1), (2.1 * KEEP_S, 2)):
        assert tracker.update([person(10)], seconds)[0].track_id == number


def test_missing_frames_do_not_matter():
    tracker = Tracker(.4)
    positions = {i: 8 * i for i in (*range(10), 14, 15, 16, 20)}  # up to 40 pixels apart, as wide as the box
    assert {tracker.update([person(x)], i / FPS)[0].track_id for i, x in positions.items()} == {1}


def test_the_numbers_of_a_crowd_are_not_handed_on():
    crowd = [person(30 * i) for i in range(4)]  # each box overlaps the next
    moved = [person(30 * i + 8) for i in range(-1, 4)]
    found = ids(Tracker(.4), [crowd, moved])
    assert found == [[1, 2, 3, 4], [5, 1, 2, 3, 4]]


def test_activities_are_averaged_in_time():
    assert smoothed({"a": 1, "b": 0}, {"a": 0, "b": 1}, .5, .5) == pytest.approx(
        {"a": math.exp(-1), "b": 1 - math.exp(-1)})
    assert smoothed({"a": 1}, {"a": 0}, .5, 0) == {"a": 0}
    two_steps = smoothed(smoothed({"a": 1}, {"a": 0}, .2, .5), {"a": 0}, .3, .5)
    assert two_steps == pytest.approx(smoothed({"a": 1}, {"a": 0}, .5, .5))  # the frame rate does not matter


def test_a_flicker_does_not_change_the_activity():
    tracker = Tracker(.4, smoothing_s=.5)
    frames = [[person(10, walking=.8, sitting=.2)]] * 10 + [[person(10, walking=.1, sitting=.9)]]
    for i, people in enumerate(frames):
        found, = tracker.update(people, i / FPS)
    keep = math.exp(-.1 / .5)
    assert found.activity == "walking"
    assert found.activity_probabilities == pytest.approx({"walking": .8 * keep + .1 * (1 - keep),
                                                          "sitting": .2 * keep + .9 * (1 - keep)})
    assert frames[-1][0].activity == "sitting"  # what came in is not changed


def test_nobody_and_people_without_activities():
    tracker = Tracker(.4)
    assert tracker.update([], 0) == []
    assert tracker.update([person(10)], .1)[0].track_id == tracker.update([person(10)], .2)[0].track_id == 1
    assert tracker.update([], .3) == []

"""Who is who from frame to frame: numbers that stay with people, and activities that do not flicker.

After ByteTrack (Zhang et al., ECCV 2022, arXiv 2110.06864): boxes of a high score are matched first; boxes of a low
score may only continue the tracks left over, which carries people through moments in which they are half hidden. Motion
is a constant velocity in pixels a second instead of ByteTrack's Kalman filter a frame, because frames may be missing.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from multiposenet.geometry import iou

SURE_IOU, UNSURE_IOU = 0.2, 0.5  # least overlap of a box with where its track is expected; ByteTrack's
KEEP_S = 1.0  # a person may be out of sight so long and keeps the number
VELOCITY_SHARE = 0.3  # of the newest displacement in the velocity; boxes tremble by a few pixels
LOWEST_SCORE = 0.1  # boxes below are not looked at; ByteTrack's


@dataclass
class Track:
    """One person through time.

    Args:
        number: its id, from 1.
        box_xyxy: (4,) the latest box, pixels.
        seconds: when that was.
        activities: dict name -> averaged probability.
        velocity: (2,) pixels a second, x and y.
    """

    number: int
    box_xyxy: np.ndarray
    seconds: float
    activities: dict
    velocity: np.ndarray

    def expected(self, seconds):
        """(4,) the box where it should be by now."""
        return self.box_xyxy + np.tile(self.velocity * (seconds - self.seconds), 2)

    def follow(self, person, seconds, smoothing_s):
        """Take in the person's box and activities at a later time."""
        passed = max(seconds - self.seconds, 1e-3)
        middle, before = (box.reshape(2, 2).mean(axis=0) for box in (person.box_xyxy, self.box_xyxy))
        self.velocity = self.velocity + VELOCITY_SHARE * ((middle - before) / passed - self.velocity)
        self.activities = smoothed(self.activities, person.activity_probabilities, passed, smoothing_s)
        self.box_xyxy, self.seconds = person.box_xyxy, seconds


class Tracker:
    """Gives the people of consecutive frames their numbers.

    Args:
        sure_score: boxes of at least this score begin tracks.
        smoothing_s: time constant of the activities' average; 0: none.
    """

    def __init__(self, sure_score, smoothing_s=0.5):
        self.sure_score, self.smoothing_s = sure_score, smoothing_s
        self.tracks, self.count = [], 0

    def update(self, people, seconds):
        """The people of the next frame, with `track_id` (None for unsure people of no track) and averaged activities.

        Args:
            people: list of `prediction.Person`.
            seconds: time of the frame.
        """
        tracks = [track for track in self.tracks if seconds - track.seconds <= KEEP_S]
        expected = np.reshape([track.expected(seconds) for track in tracks], (-1, 4))
        sure = [i for i, person in enumerate(people) if person.box_score >= self.sure_score]
        unsure = [i for i, person in enumerate(people) if LOWEST_SCORE <= person.box_score < self.sure_score]
        of_person, free = {}, list(range(len(tracks)))
        for candidates, least in ((sure, SURE_IOU), (unsure, UNSURE_IOU)):
            for i, j in match([people[i].box_xyxy for i in candidates], expected[free], least):
                of_person[candidates[i]] = tracks[free[j]]
            free = [j for j in free if tracks[j] not in of_person.values()]
        for i, track in of_person.items():
            track.follow(people[i], seconds, self.smoothing_s)
        for i in sure:
            if i not in of_person:
                self.count += 1
                of_person[i] = Track(self.count, people[i].box_xyxy, seconds, people[i].activity_probabilities,
                                     np.zeros(2))
                tracks.append(of_person[i])
        self.tracks = tracks
        return [replace(person, track_id=of_person[i].number, activity_probabilities=of_person[i].activities)
                if i in of_person else person for i, person in enumerate(people)]


def match(boxes, expected, least_iou):
    """Pairs (i, j) of (n, 4) boxes and (m, 4) expected boxes, the largest overlap first, none below `least_iou`.

    Not the largest sum of overlaps: where people stand close it would hand their numbers on from one to the next.
    """
    overlap = iou(boxes, expected) if len(boxes) else np.zeros((0, 0))
    pairs = []
    while overlap.size and overlap.max() >= least_iou:
        i, j = np.unravel_index(overlap.argmax(), overlap.shape)
        pairs.append((i, j))
        overlap[i], overlap[:, j] = -1, -1
    return pairs


def smoothed(before, now, passed_s, smoothing_s):
    """Exponential mean in time of dicts name -> probability: after `smoothing_s` seconds the old share is 1 / e."""
    keep = math.exp(-passed_s / smoothing_s) if smoothing_s else 0
    return {name: keep * before.get(name, value) + (1 - keep) * value for name, value in now.items()}

"""Heatmaps to peaks, and peaks to people: the plain reference of the graph in `models/association.py`.

Slow and simple on purpose; loops over people and joints follow METHOD section 5 line by line.
"""

import numpy as np

from multiposenet.codecs import person_grid
from multiposenet.codecs.heatmap import STRIDE


def find_peaks(heatmaps, joints, max_peaks, threshold, stride=STRIDE):
    """Local maxima of one picture's heatmaps.

    Args:
        heatmaps: (h, w, joints or more) one cell every `stride` pixels.
        joints: K, the leading maps to look at.
        max_peaks: m, kept per joint.
        threshold: a peak must be higher.

    Returns:
        (K, m, 3) float32 x, y in pixels and height, sorted by height; unused places are zeros.
    """
    peaks = np.zeros((joints, max_peaks, 3), "float32")
    for joint in range(joints):
        padded = np.pad(np.asarray(heatmaps[..., joint], "float32"), 1, constant_values=-np.inf)
        found = [place for place in np.ndindex(*heatmaps.shape[:2]) if _is_peak(padded, *place, threshold)]
        found.sort(key=lambda place: -padded[place[0] + 1, place[1] + 1])
        for i, (row, column) in enumerate(found[:max_peaks]):
            up, height, down = padded[row:row + 3, column + 1]
            left, _, right = padded[row + 1, column:column + 3]
            x, y = column + _vertex(left, height, right), row + _vertex(up, height, down)
            peaks[joint, i] = x * stride + (stride - 1) / 2, y * stride + (stride - 1) / 2, height
    return peaks


def one_to_one(values):
    """Give peaks to people: always the best pair that is left, each peak and each person once.

    Args:
        values: (people, peaks) for one joint; pairs at or below 0 are never made.
            Of equal pairs the one with the lower person, then the lower peak is taken.

    Returns:
        (people,) int: peak of each person, -1 for none.
    """
    values, owned = np.array(values, "float32"), np.full(len(values), -1)
    while values.size and values.max() > 0:
        person, peak = np.unravel_index(values.argmax(), values.shape)
        owned[person] = peak
        values[person], values[:, peak] = 0, 0
    return owned


def assign_joints(boxes_xyxy, scores, peaks, marks, heatmaps, margin, threshold, window=person_grid.WINDOW, stride=STRIDE,
                  unique=False, heights=True, fill=True):
    """Poses of one picture's people.

    Args:
        boxes_xyxy: (n, 4) pixels.
        scores: (n,) of the boxes; 0 marks padding.
        peaks: (K, m, 3) x, y, height from `find_peaks`.
        marks: (n, rows, columns, K) the PRN's output for each box.
        heatmaps: (h, w, K or more).
        margin: share of its sides by which a box is widened.
        threshold: the peaks'; joints filled from the PRN alone count as no higher.
        window: cells, odd; side of the square in which the PRN's output is summed.
        unique: a peak goes to one person at most; else everybody takes the best in the box.
        heights: a peak's height counts beside the PRN's mass; else every peak's is 1.
        fill: joints without a peak are guessed; else they stay zeros. The graph does the last two, the public
            reference code none of the three.

    Returns:
        (n, K, 3) float32 x, y in pixels and score: height x PRN mass, at most 1; zeros for padding.
    """
    poses = np.zeros((*marks.shape[::3], 3), "float32")
    real = np.nonzero(np.asarray(scores) > 0)[0]
    for joint in range(len(peaks)):
        values = np.zeros((len(boxes_xyxy), peaks.shape[1]), "float32")
        for person in real:
            rows, columns, inside = person_grid.locate(boxes_xyxy[person:person + 1], peaks[None, joint],
                                                       marks.shape[1:3], margin)
            for i in np.nonzero(inside[0] & (peaks[joint, :, 2] > 0))[0]:
                mass = _mass(marks[person, ..., joint], rows[0, i], columns[0, i], window)
                values[person, i] = mass * (peaks[joint, i, 2] if heights else 1)
        owned = one_to_one(values) if unique else best_each(values)
        for person in real:
            if owned[person] >= 0:
                poses[person, joint] = *peaks[joint, owned[person], :2], min(values[person, owned[person]], 1)
            elif fill:
                poses[person, joint] = _filled(boxes_xyxy[person], marks[person, ..., joint], heatmaps[..., joint],
                                               threshold, window, stride)
    return poses


def best_each(values):
    """Give every person the best peak, whoever else has it; arguments and result as of `one_to_one`."""
    if not values.size:
        return np.full(len(values), -1)
    return np.where(values.max(axis=1) > 0, values.argmax(axis=1), -1)


def _is_peak(padded, row, column, threshold):
    """Above the threshold and its eight neighbours; of equal neighbours the first in reading order wins."""
    around = padded[row:row + 3, column:column + 3].ravel()
    return around[4] > threshold and (around[4] > around[:4]).all() and (around[4] >= around[5:]).all()


def _vertex(before, center, after):
    """Vertex of the parabola through three values, in cells from the middle one; 0 at the picture's border."""
    bend = 2 * center - before - after
    if not 0 < bend < np.inf:
        return 0
    return np.clip((after - before) / (2 * bend), -0.5, 0.5)


def _mass(mark, row, column, window):
    reach = window // 2
    return mark[max(row - reach, 0):row + reach + 1, max(column - reach, 0):column + reach + 1].sum()


def _filled(box_xyxy, mark, heatmap, threshold, window, stride):
    """The PRN's own guess: its best cell, as high as the heatmap there but not above what a peak must have."""
    row, column = np.unravel_index(mark.argmax(), mark.shape)
    x, y = person_grid.decode(box_xyxy[None], [row], [column], mark.shape)[0]
    cell = np.round((np.array([y, x]) - (stride - 1) / 2) / stride).astype(int)
    height = heatmap[tuple(np.clip(cell, 0, np.array(heatmap.shape) - 1))]
    return x, y, np.clip(height, 0, threshold) * _mass(mark, row, column, window)

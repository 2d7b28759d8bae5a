"""Pictures that are there twice: the same bytes, or nearly the same look."""

import cv2
import numpy as np

SIDE = 16  # of the grid of steps in brightness that makes a look
NEAR = 0.85  # similarity at which two pictures are said to look alike; of 1.6 million pairs of photos one passed 0.73
FLAT = 2  # grey levels, root mean square of the steps, below which a picture looks like any other flat one


def look(pixels):
    """(h, w, 3) uint8 -> (SIDE^2,) float32 of length 1: steps in brightness from left to right; zeros if it is flat.

    Another size, format, brightness or contrast hardly changes it. The product of two looks is their similarity, 1 at
    most.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype("float32")
    steps = np.diff(cv2.resize(grey, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)).ravel()
    size = np.linalg.norm(steps)
    return steps / size if size > FLAT * SIDE else np.zeros_like(steps)


def same_files(ours, theirs=None):
    """Pairs (i, j) of equal hashes in two lists, or within one: then j < i, the first that is equal."""
    first, pairs = {}, []
    for j, value in enumerate(theirs or []):
        first.setdefault(value, j)
    for i, value in enumerate(ours):
        if value in first:
            pairs.append((i, first[value]))
        elif theirs is None:
            first[value] = i
    return pairs


def near_looks(ours, theirs=None):
    """Triples (i, j, similarity) of two lists of looks: the nearest j of each i that has a near one.

    Within one list j < i.
    """
    ours = np.asarray(ours, "float32").reshape(-1, SIDE * SIDE)
    others = ours if theirs is None else np.asarray(theirs, "float32").reshape(-1, SIDE * SIDE)
    found = []
    for i, one in enumerate(ours):
        similar = others[:i if theirs is None else None] @ one
        if similar.size and similar.max() >= NEAR:
            found.append((i, int(similar.argmax()), float(similar.max())))
    return found

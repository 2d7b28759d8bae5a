"""What the network saw on its way to the people, as pictures: heatmaps, and each person's way through the PRN."""

from dataclasses import dataclass

import cv2
import numpy as np

from multiposenet.codecs.heatmap import STRIDE
from multiposenet.config import PredictConfig
from multiposenet.drawing import heat_overlay
from multiposenet.evaluation.augmented import AugmentedPredictor, for_poses
from multiposenet.geometry import Letterbox
from multiposenet.prediction import run_model, set_compiler

KEPT = "float16"  # fine enough to look at, and half the memory
ZOOM = 3  # pixels per cell of a grid
COLUMNS = 6  # joints side by side in `prn_view`
CAPTION, GAP = 20, 6  # pixels


@dataclass
class Insight:
    """On the way from a picture to its n people.

    Args:
        heatmaps: (canvas height / 4, canvas width / 4, K) float16.
        letterbox: from picture to canvas.
        grids, marks: (n, rows, columns, K) float16, the PRN's input and output for each person.
    """

    heatmaps: np.ndarray
    letterbox: Letterbox
    grids: np.ndarray
    marks: np.ndarray


class OpenPredictor(AugmentedPredictor):
    """A `Predictor` that tells what the network saw; it wants the Keras model, exported graphs are closed."""

    def __init__(self, model, config=PredictConfig()):
        import keras  # not above: other engines start without it

        from multiposenet.models.pose_nms import InOrder

        super().__init__(model, config)
        layer = model.poses.get_layer
        seen = {"grids": layer("person_grids").output, "marks": layer("prn_per_person").output}
        if model.config.pose_nms:
            seen = {key: InOrder()([values, *layer("pose_nms").output]) for key, values in seen.items()}
        self.inner = keras.Model(model.poses.input, {**model.poses.output, **seen})
        set_compiler(self.inner)

    def look_inside(self, picture):
        """(list of `Person` as `predict` finds them, their `Insight`) of one picture, (h, w, 3) uint8 RGB."""
        dense, letterbox = self.see(picture)
        found = {**dense, **run_model(self.inner, for_poses(dense, self.read_windows(dense)))}
        people, places = [], []
        for i in range(int(found["count"][0])):  # one by one: `people` leaves out those in the padding
            one = {key: found[key][:, i:i + 1] for key in ("boxes", "scores", "keypoints", "activities")}
            kept = self.people({**one, "count": [1]}, letterbox, picture.shape)
            people += kept
            places += [i] * len(kept)
        return people, Insight(found["heatmaps"][0, ..., :len(self.skeleton)].astype(KEPT), letterbox,
                               found["grids"][0, places].astype(KEPT), found["marks"][0, places].astype(KEPT))


def heatmap_view(picture, insight, joint=None):
    """The picture, darker, and over it the heatmap of a joint.

    Args:
        picture: (h, w, 3) uint8 RGB, the one looked at or a smaller copy.
        insight: `Insight`.
        joint: channel, or None for the highest of all joints.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    heat = insight.heatmaps.max(axis=-1) if joint is None else insight.heatmaps[..., joint]
    heat = cv2.resize(heat.astype("float32"), None, fx=STRIDE, fy=STRIDE)
    return heat_overlay(picture // 2, heat[:insight.letterbox.height, :insight.letterbox.width])


def prn_view(insight, person, joints):
    """One person's grids, a pair for each joint: the peaks in the box, and where the PRN sees this person's joint.

    Args:
        insight: `Insight`.
        person: which of its n people.
        joints: K names.

    Returns:
        (h, w, 3) uint8 RGB, each grid as bright as its own maximum allows.
    """
    pairs = zip(np.moveaxis(insight.grids[person], -1, 0), np.moveaxis(insight.marks[person], -1, 0))
    tiles = [_tile(*pair, joint) for pair, joint in zip(pairs, joints)]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % COLUMNS)
    return np.vstack([np.hstack(tiles[i:i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)])


def _tile(grid, mark, joint):
    shown = [cv2.resize(_colored(values.astype("float32") / max(values.max(), 1e-4)), None, fx=ZOOM, fy=ZOOM,
                        interpolation=cv2.INTER_NEAREST) for values in (grid, mark)]
    pair = np.hstack([np.pad(picture, ((0, 0), (0, GAP // 3), (0, 0)), constant_values=255) for picture in shown])
    tile = np.pad(pair, ((CAPTION, GAP), (GAP, GAP), (0, 0)), constant_values=255)
    return cv2.putText(tile, joint.replace("_", " "), (GAP, CAPTION - GAP), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40),
                       1, cv2.LINE_AA)


def _colored(values):
    """(h, w) 0..1 -> (h, w, 3) uint8 RGB."""
    return cv2.applyColorMap((255 * values).astype("uint8"), cv2.COLORMAP_INFERNO)[..., ::-1]

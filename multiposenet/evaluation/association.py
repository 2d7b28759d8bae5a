"""Who owns which joint: ways to decide it compared, with true and with found boxes and joints (METHOD section 5)."""

from dataclasses import dataclass, replace

import numpy as np
from keras import ops

from multiposenet.codecs import peaks as codec
from multiposenet.codecs import person_grid
from multiposenet.codecs.heatmap import STRIDE
from multiposenet.geometry import Letterbox
from multiposenet.prediction import Person, run_model

# Name -> arguments of `codecs.peaks.assign_joints`. The first is what the graph does before any refiner, "reference greedy"
# what the public code does; the last asks no PRN. In the grids of those of `ALIKE` every peak is of one height.
METHODS = {
    "PRN (ours)": {},
    "- one peak for one person": dict(unique=True),
    "- heights thrown away": dict(heights=False),
    "- nothing filled in": dict(fill=False),
    "- peaks alike in the grid": {},
    "- window of 9 cells": dict(window=9),
    "reference greedy": dict(heights=False, fill=False),
    "highest in the box": dict(fill=False, window=1),
}
ALIKE = {"- peaks alike in the grid", "reference greedy"}
WITHOUT_PRN = "highest in the box"


@dataclass
class Scene:
    """People and joints of one picture, on a canvas.

    Args:
        boxes: (n, 4) canvas pixels.
        scores: (n,) of the boxes.
        peaks: (K, m, 3) x, y in canvas pixels and height, zeros where there is none.
        heatmaps: (h, w, K or more).
        letterbox: from picture to canvas.
    """

    boxes: np.ndarray
    scores: np.ndarray
    peaks: np.ndarray
    heatmaps: np.ndarray
    letterbox: Letterbox


def scenes(predictor, picture, pixels):
    """All four scenes of an annotated picture: true or found boxes with true or found joints.

    Found boxes are those of the people whom the graph keeps, as a refiner reads their edges: before, there may be several a person
    (`model.nms_iou`).

    Args:
        predictor: `AugmentedPredictor`.
        picture: `Picture`, its labels.
        pixels: (h, w, 3) uint8 RGB.

    Returns:
        Dict title -> `Scene`, and dict title -> list of `Person`: what the graph, refiner included, makes of true and of found boxes.
    """
    dense, letterbox = predictor.see(pixels)
    heatmaps, true = dense["heatmaps"][0], true_scene(picture, len(predictor.skeleton), letterbox)
    given = {"true": {**dense, "boxes": true.boxes[None].astype("float32"), "scores": true.scores[None]}, "found": dense}
    graph = {kind: {**seen, **run_model(predictor.model.people, seen)} for kind, seen in given.items() if seen["boxes"].shape[1]}
    count = int(graph["found"]["count"][0])
    peaks = ops.convert_to_numpy(predictor.model.poses.get_layer("peaks")(dense["heatmaps"]))[0]
    found = Scene(*(graph["found"][key][0, :count] for key in ("boxes", "scores")), peaks, heatmaps, letterbox)
    four = {f"{box_kind} boxes, {joint_kind} joints": replace(boxes, peaks=joints.peaks, heatmaps=heatmaps)
            for box_kind, boxes in (("true", true), ("found", found))
            for joint_kind, joints in (("true", true), ("found", found))}
    return four, {f"{kind} boxes, found joints": predictor.people(people, letterbox, pixels.shape) for kind, people in graph.items()}


def true_scene(picture, joints, letterbox=None):
    """The labels of a `Picture`; without `letterbox` in its own pixels, heatmaps are empty."""
    letterbox = letterbox or Letterbox(1, picture.height, picture.width, picture.height, picture.width)
    people = [person for person in picture.people if person.num_joints and not person.crowd]
    keypoints = np.reshape([person.keypoints for person in people], (-1, joints, 3)).astype("float32")
    peaks = letterbox.to_canvas(keypoints.transpose(1, 0, 2))
    peaks[..., 2] = peaks[..., 2] > 0
    peaks *= peaks[..., 2:]
    boxes = letterbox.boxes_to_canvas(np.reshape([person.box_xyxy for person in people], (-1, 4)))
    empty = np.zeros((-(-letterbox.canvas_height // STRIDE), -(-letterbox.canvas_width // STRIDE), joints), "float32")
    return Scene(boxes, np.ones(len(people), "float32"), peaks, empty, letterbox)


def poses(prn, config, scene, methods=tuple(METHODS)):
    """Dict method -> list of `Person` in the picture's pixels, without activities.

    Args:
        prn: `PoseResidualNetwork`.
        config: its ModelConfig.
        scene: `Scene`.
        methods: keys of `METHODS`.
    """
    if not len(scene.boxes):
        return {name: [] for name in methods}
    marks = {alike: _marks(prn, config, scene, alike) for alike in {name in ALIKE for name in methods}}
    found = {}
    for name in methods:
        seen = marks[name in ALIKE]
        keypoints = codec.assign_joints(scene.boxes, scene.scores, scene.peaks,
                                        np.ones_like(seen) if name == WITHOUT_PRN else seen, scene.heatmaps,
                                        config.box_margin, config.peak_threshold, **METHODS[name])
        boxes, points = scene.letterbox.boxes_to_picture(scene.boxes), scene.letterbox.to_picture(keypoints)
        found[name] = [Person(*person) for person in zip(boxes, map(float, scene.scores), points)]
    return found


def _marks(prn, config, scene, alike):
    """(n, rows, columns, K): the PRN's output for each box."""
    peaks = np.dstack([scene.peaks[..., :2], scene.peaks[..., 2] > 0]) if alike else scene.peaks
    everybody = np.broadcast_to(peaks.transpose(1, 0, 2), (len(scene.boxes), *peaks.shape[1::-1], 3))
    grids = person_grid.encode(scene.boxes, everybody, config.grid, config.box_margin, person_grid.INPUT_SIGMA)
    return ops.convert_to_numpy(prn(grids, training=False))

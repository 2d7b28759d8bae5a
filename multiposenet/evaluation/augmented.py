"""Test-time augmentation (METHOD section 7): several views of a picture, their heatmaps averaged in its coordinates.

A refiner looks at each view, and what it says of each person's window is averaged, too.
"""

from dataclasses import dataclass

import numpy as np

from multiposenet.codecs.heatmap import STRIDE
from multiposenet.config import PredictConfig
from multiposenet.errors import UserError
from multiposenet.prediction import Predictor, on_canvas, run_model, set_compiler

SCALES = (0.5, 1, 1.5, 2)  # of the configured size


@dataclass(frozen=True)
class View:
    """One way to look at a picture: its size relative to the configured one, and whether in a mirror."""

    scale: float = 1
    mirror: bool = False


VARIANTS = {
    "single scale": (View(),),
    "mirror": (View(), View(mirror=True)),
    "multi-scale": tuple(View(scale) for scale in SCALES),
    "multi-scale, mirror": tuple(View(scale, mirror) for scale in SCALES for mirror in (False, True)),
}


class AugmentedPredictor(Predictor):
    """A `Predictor` that looks several times. Boxes are found in the plain view.

    Args:
        model: `MultiPoseNet`.
        config: `PredictConfig`.
        views: tuple of `View`, what `predict` averages over.

    Raises:
        UserError: a model that does not show its heatmaps.
    """

    def __init__(self, model, config=PredictConfig(), views=(View(),)):
        if not hasattr(model, "dense"):
            raise UserError("test-time augmentation averages heatmaps, which an exported graph keeps to itself: "
                            "take Keras weights, such as --weights lite or a .keras file")
        super().__init__(model, config)
        self.views = views
        self.refiner = model.heads.get("refiner")
        for part in (model.dense, model.people, model.poses, self.refiner):
            set_compiler(part)

    def predict(self, picture):
        if self.views == (View(),):
            return super().predict(picture)
        return self.predict_variants(picture, {"": self.views})[""]

    def predict_variants(self, picture, variants=VARIANTS):
        """People of one picture by each variant; a view that several share is computed once.

        Args:
            picture: (h, w, 3) uint8 RGB.
            variants: dict name -> tuple of `View`.

        Returns:
            Dict name -> list of `Person`.
        """
        seen, plain = self.see(picture)
        aligned = {view: self._aligned(picture, view, seen["boxes"], plain)
                   for view in {v for views in variants.values() for v in views} if view != View()}
        heatmaps = seen["heatmaps"][0]
        aligned[View()] = heatmaps, np.ones(heatmaps.shape[:2], bool), self.read_windows(seen)
        people = {}
        for name, views in variants.items():
            maps, masks, logits = zip(*(aligned[view] for view in views))
            found = for_poses({**seen, "heatmaps": average(maps, masks)[None]}, average_logits(logits) if self.refiner else None)
            people[name] = self.people({**found, **run_model(self.model.poses, found)}, plain, picture.shape)
        return people

    def see(self, picture, view=View()):
        """(what `MultiPoseNet.people` takes, letterbox) for one view of a picture, (h, w, 3) uint8 RGB."""
        letterbox = self.letterbox(picture, view.scale)
        canvas = on_canvas(picture[:, ::-1] if view.mirror else picture, letterbox)[None]
        seen = filled(run_model(self.model.dense, canvas))
        return {**seen, "image": canvas} if self.refiner else seen, letterbox

    def _aligned(self, picture, view, boxes, plain):
        """A view's heatmaps and where it sees, as `align` has them, and the logits of `read_windows`.

        Args:
            picture, view: as above.
            boxes: (1, n, 4) on the canvas of `plain`.
            plain: letterbox of the plain view.
        """
        seen, letterbox = self.see(picture, view)
        width = picture.shape[1] if view.mirror else None
        heatmaps = swap_sides(seen["heatmaps"][0], self.skeleton) if view.mirror else seen["heatmaps"][0]
        boxes = plain.boxes_to_picture(boxes[0])
        if view.mirror:
            boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
        logits = self.read_windows({**seen, "boxes": letterbox.boxes_to_canvas(boxes)[None]})
        if view.mirror and self.refiner:
            logits = logits[..., ::-1, :][..., self.model.config.window_mirror_order]
        return *align(heatmaps, letterbox, plain, width), logits

    def read_windows(self, seen):
        """The refiner's logits (1, n, rows, columns, K) for the boxes in an output of `see`; None without a refiner."""
        if self.refiner:
            return np.asarray(self.refiner.predict_on_batch([seen["image"], seen["boxes"]]))


def for_poses(seen, logits):
    """Inputs of `MultiPoseNet.poses`, from outputs of `see` and of `read_windows`."""
    found = {key: seen[key] for key in ("heatmaps", "boxes", "scores")}
    return found if logits is None else {**found, "logits": logits}


def filled(seen):
    """Output of the dense half with only as many places as people fill, in tens: the other half takes any number, but JAX
    compiles it for each."""
    places = 10 * max(1, -(-np.count_nonzero(seen["scores"], axis=1).max() // 10))
    return {**seen, "boxes": seen["boxes"][:, :places], "scores": seen["scores"][:, :places]}


def swap_sides(heatmaps, skeleton):
    """(..., K or more maps): left and right joints exchange their maps, further maps stay."""
    return np.concatenate([heatmaps[..., skeleton.mirror_order], heatmaps[..., len(skeleton):]], axis=-1)


def align(heatmaps, letterbox, reference, mirrored_width=None):
    """Heatmaps of one canvas, read at the places of another canvas' cells.

    Args:
        heatmaps: (h, w, maps) of the canvas of `letterbox`.
        letterbox, reference: of the view and of the canvas wanted.
        mirrored_width: the picture's width in pixels if the view is a mirror image.

    Returns:
        (rows, columns, maps) float32 by bilinear interpolation, and (rows, columns) bool: where the view's picture is.
    """
    axes = []
    for size, cells, inside, mirrored in (
            (heatmaps.shape[0], reference.canvas_height // STRIDE, letterbox.height, None),
            (heatmaps.shape[1], reference.canvas_width // STRIDE, letterbox.width, mirrored_width)):
        pixels = np.arange(cells) * STRIDE + (STRIDE - 1) / 2
        picture = (pixels + 0.5) / reference.scale - 0.5
        if mirrored is not None:
            picture = mirrored - 1 - picture
        pixels = (picture + 0.5) * letterbox.scale - 0.5
        axes.append((_interpolation((pixels - (STRIDE - 1) / 2) / STRIDE, size), (pixels > -0.5) & (pixels < inside - 0.5)))
    (rows, seen_rows), (columns, seen_columns) = axes
    return np.einsum("ih,hwk,jw->ijk", rows, heatmaps, columns, optimize=True), np.outer(seen_rows, seen_columns)


def average(maps, masks):
    """Mean over the views, cell by cell over those that see it; lists of what `align` gives."""
    total = sum(heatmaps * seen[..., None] for heatmaps, seen in zip(maps, masks))
    return (total / np.maximum(sum(seen.astype(int) for seen in masks), 1)[..., None]).astype("float32")


def average_logits(views):
    """Logits whose softmax over rows and columns is the mean of the views' softmaxes; a list of (1, n, rows, columns, K)."""
    logs = np.stack([logits - np.logaddexp.reduce(logits, axis=(2, 3), keepdims=True) for logits in views])
    return np.logaddexp.reduce(logs, axis=0).astype("float32")


def _interpolation(places, size):
    """(n,) places among `size` samples -> (n, size) float32 linear weights; beyond the ends the last sample counts."""
    weights = np.zeros((len(places), size), "float32")
    low = np.clip(np.floor(places), 0, max(size - 2, 0)).astype(int)
    share = np.clip(places - low, 0, 1)
    weights[np.arange(len(places)), low] = 1 - share
    weights[np.arange(len(places)), np.minimum(low + 1, size - 1)] += share
    return weights

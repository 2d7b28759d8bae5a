"""Test-time augmentation (METHOD section 7): several views of a picture, their heatmaps averaged in its coordinates."""

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
    """A `Predictor` that looks several times. Boxes come from the plain view.

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
        set_compiler(model.dense)
        set_compiler(model.people)

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
        aligned = {view: self._aligned(picture, view, plain) for view in {v for views in variants.values() for v in views}
                   if view != View()}
        aligned[View()] = seen["heatmaps"][0], np.ones(seen["heatmaps"].shape[1:3], bool)
        people = {}
        for name, views in variants.items():
            dense = {**seen, "heatmaps": average([aligned[view] for view in views])[None]}
            people[name] = self.people({**dense, **run_model(self.model.people, dense)}, plain, picture.shape)
        return people

    def see(self, picture, view=View()):
        """(output of the model's dense half, letterbox) for one view of a picture, (h, w, 3) uint8 RGB."""
        letterbox = self.letterbox(picture, view.scale)
        canvas = on_canvas(picture[:, ::-1] if view.mirror else picture, letterbox)
        return run_model(self.model.dense, canvas[None]), letterbox

    def _aligned(self, picture, view, plain):
        seen, letterbox = self.see(picture, view)
        heatmaps = seen["heatmaps"][0]
        if view.mirror:
            heatmaps = swap_sides(heatmaps, self.skeleton)
        return align(heatmaps, letterbox, plain, picture.shape[1] if view.mirror else None)


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


def average(aligned):
    """Mean over the views, cell by cell over those that see it; `aligned` is a list of results of `align`."""
    total = sum(heatmaps * seen[..., None] for heatmaps, seen in aligned)
    return (total / np.maximum(sum(seen.astype(int) for _, seen in aligned), 1)[..., None]).astype("float32")


def _interpolation(places, size):
    """(n,) places among `size` samples -> (n, size) float32 linear weights; beyond the ends the last sample counts."""
    weights = np.zeros((len(places), size), "float32")
    low = np.clip(np.floor(places), 0, max(size - 2, 0)).astype(int)
    share = np.clip(places - low, 0, 1)
    weights[np.arange(len(places)), low] = 1 - share
    weights[np.arange(len(places)), np.minimum(low + 1, size - 1)] += share
    return weights

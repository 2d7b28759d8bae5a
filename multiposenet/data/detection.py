"""Crops and anchor targets for the person detector (METHOD section 4)."""

import numpy as np

from multiposenet import geometry
from multiposenet.codecs import anchors
from multiposenet.data import augment
from multiposenet.data.sets import CropSource

MIN_VISIBLE = 0.25  # of a person's box inside the crop; whether less is still a person nobody can say
MIN_SIDE_PX = 8  # a quarter of the smallest anchor: nothing there could be found


class DetectionSource(CropSource):
    """x: (crop, crop, 3) uint8; y: `regression` (A, 5) and `classification` (A, 2) float32 of `codecs.anchors.targets`.

    The crop shows the whole picture, its longer side `augment.scale` times the crop's, at a random place: small factors
    leave a grey border, factors above 1 cut. So that people span about 0.1 to 0.9 of the crop, the range must fit the
    pictures. Pictures without people are welcome. Crowds, slivers of people and specks are ignore regions.

    Args:
        pictures: list of `Picture` with files.
        config: `Config`; of `augment`, crop, scale, flip, border and color are used.
        varied: False shows the whole picture in the middle, without chance, for validation.
    """

    def __init__(self, pictures, config, varied=True):
        super().__init__(pictures, config.augment, varied)
        self.anchors = anchors.anchor_boxes(config.augment.crop, config.augment.crop)

    def view(self, picture, pixels, rng, size):
        matrix = self._placed(pixels.shape[:2], rng, size)
        crop = augment.warp_picture(pixels, matrix, (size, size), self.settings.border)
        if self.varied:
            crop = augment.vary_pixels(crop, self.settings, rng)
        return crop, people_in_crop(picture.people, matrix, size)

    def joined(self, found, size):
        """Boxes to find and boxes to ignore, each moved to its quarter."""
        corners = [np.tile(corner, 2) for corner in ((0, 0), (size, 0), (0, size), (size, size))]
        return tuple(np.concatenate([boxes + corner for boxes, corner in zip(kind, corners)]) for kind in zip(*found))

    def targets(self, found):
        shape = (self.settings.crop,) * 2
        regression, labels = zip(*(anchors.targets(self.anchors, *boxes, shape) for boxes in found))
        return {"regression": np.stack(regression), "classification": np.stack(labels)}

    def _placed(self, shape, rng, size):
        """The crop's matrix."""
        settings = self.settings
        scale = size / max(shape) * (augment.log_uniform(rng, *settings.scale) if self.varied else 1)
        room = size - scale * np.array([shape[1], shape[0]])
        corner = room * (rng.random(2) if self.varied else 0.5)
        matrix = augment.similarity((-0.5, -0.5), 0, scale, corner - 0.5)
        return augment.mirrored(matrix, size) if self.varied and rng.random() < settings.flip else matrix


def people_in_crop(people, matrix, size):
    """Where people are in a square crop of `size` pixels.

    Args:
        people: list of `Person`.
        matrix: 2x3, picture to crop.

    Returns:
        (n, 4) boxes to find and (m, 4) boxes to ignore, xyxy pixels, clipped to the crop.
    """
    whole = augment.warp_boxes([person.box_xyxy for person in people], matrix)
    clipped = np.clip(whole, 0, size)
    visible = geometry.area(clipped)
    crowd = np.array([person.crowd for person in people], bool)
    clear = (visible >= MIN_VISIBLE * geometry.area(whole)) & ((clipped[:, 2:] - clipped[:, :2]).min(1) >= MIN_SIDE_PX)
    return clipped[clear & ~crowd], clipped[(visible > 0) & (crowd | ~clear)]

"""Crops and anchor targets for the person detector (METHOD section 4)."""

import numpy as np

from multiposenet import geometry
from multiposenet.codecs import anchors
from multiposenet.data import augment
from multiposenet.data.sets import PictureSource

MIN_VISIBLE = 0.25  # of a person's box inside the crop; whether less is still a person nobody can say
MIN_SIDE_PX = 8  # a quarter of the smallest anchor: nothing there could be found


class DetectionSource(PictureSource):
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
        super().__init__(pictures)
        self.settings, self.varied = config.augment, varied
        self.anchors = anchors.anchor_boxes(config.augment.crop, config.augment.crop)

    def sample(self, picture, pixels, rng):
        size, settings = self.settings.crop, self.settings
        matrix = self._view(pixels.shape[:2], rng)
        crop = augment.warp_picture(pixels, matrix, (size, size), settings.border)
        if self.varied:
            crop = augment.jitter_color(crop, settings.color, rng)
        boxes, ignore_boxes = people_in_crop(picture.people, matrix, size)
        regression, labels = anchors.targets(self.anchors, boxes, ignore_boxes, (size, size))
        return crop, {"regression": regression, "classification": labels}

    def _view(self, shape, rng):
        """The crop's matrix."""
        size, settings = self.settings.crop, self.settings
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

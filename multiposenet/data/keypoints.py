"""Crops, heatmap targets and loss masks for the keypoint head (METHOD section 3)."""

import numpy as np

from multiposenet.codecs import heatmap
from multiposenet.data import augment
from multiposenet.data.coco import region_mask
from multiposenet.data.sets import CropSource


class KeypointSource(CropSource):
    """x: (crop, crop, 3) uint8; y: (crop / 4, crop / 4, 2 (K + 1)) float16, heatmaps and then their masks.

    Half precision, for the targets are most of what the loaders send to the training, and it to the GPU.

    Args:
        pictures: list of `Picture` with files.
        config: `Config`; `augment`, `loss`, `model.extra_channel` are used.
        skeleton: for the mirror.
        outputs: names of the model's outputs; all have the same target.
        varied: False centres the main person without chance, for validation.
    """

    def __init__(self, pictures, config, skeleton, outputs, varied=True):
        super().__init__(pictures, config.augment, varied)
        self.loss = config.loss
        self.extra_channel, self.skeleton, self.outputs = config.model.extra_channel, skeleton, outputs

    def view(self, picture, pixels, rng, size):
        matrix, flip = self._placed(picture, pixels.shape[:2], rng, size)
        crop = augment.warp_picture(pixels, matrix, (size, size), self.settings.border)
        if self.varied:
            crop = augment.vary_pixels(crop, self.settings, rng)
        return crop, self._target(picture, pixels.shape[:2], matrix, flip, size)

    def joined(self, found, size):
        return augment.quarters(found)

    def targets(self, found):
        return dict.fromkeys(self.outputs, np.stack(found).astype("float16"))  # one array, so that it is sent between processes once

    def _placed(self, picture, shape, rng, size):
        """The crop's matrix, and whether it is mirrored."""
        settings = self.settings
        center, extent = _main_person(picture, shape, rng)
        scale = settings.person_height * size / extent
        middle = np.full(2, (size - 1) / 2)
        if not self.varied:
            return augment.similarity(center, 0, scale, middle), False
        shift_px = settings.shift_px * size / settings.crop
        matrix = augment.similarity(center, rng.uniform(-1, 1) * settings.rotation_deg,
                                    scale * augment.log_uniform(rng, *settings.scale),
                                    middle + rng.uniform(-1, 1, 2) * shift_px)
        flip = rng.random() < settings.flip
        return (augment.mirrored(matrix, size) if flip else matrix), flip

    def _target(self, picture, shape, matrix, flip, size):
        """(size / 4, size / 4, 2 (K + 1)): heatmaps and masks."""
        cells = size // heatmap.STRIDE
        people = [person for person in picture.people if not person.crowd and person.num_joints]
        joints = self._moved([person.keypoints for person in people], matrix, flip)
        sizes = np.sqrt([np.prod(_sides(person)) * abs(np.linalg.det(matrix[:, :2])) for person in people])
        sigmas = heatmap.sigmas_px(sizes, self.loss.sigma_share, self.loss.sigma_px)
        maps, widths = heatmap.draw_joints(joints, size, size, sigmas)
        mask = np.ones((cells, cells, len(self.skeleton) + 1), "float32")
        mask[..., :-1] = (heatmap.SIGMA_PX / widths) ** 2  # wide joints have more cells: so all weigh the same
        for person in picture.people:
            if person.crowd or not person.num_joints:
                region = self._warped_region(person, shape, matrix, cells)
                mask[region > 0] *= self.loss.region_weight
        self._mask_unsure(people, sigmas, matrix, flip, mask, size)
        return np.concatenate([maps, self._extra_map(people, maps, shape, matrix, cells), mask], axis=-1)

    def _moved(self, keypoints, matrix, flip):
        keypoints = np.reshape(keypoints, (-1, len(self.skeleton), 3)).astype("float32")
        moved = augment.warp_points(keypoints, matrix)
        return moved[:, self.skeleton.mirror_order] if flip else moved

    def _mask_unsure(self, people, sigmas, matrix, flip, mask, size):
        """Less loss, or none, on a joint's map near a place where the teacher half saw it."""
        for person, sigma in zip(people, sigmas):
            places = self._moved([person.unsure_joints], matrix, flip)[0]
            for joint in np.nonzero(places[:, 2])[0]:
                around = heatmap.disc(places[joint], 3 * sigma, size, size)
                mask[around, joint] *= self.loss.unsure_weight
                mask[around, -1] *= self.loss.unsure_weight

    def _extra_map(self, people, maps, shape, matrix, cells):
        if self.extra_channel == "background":
            return heatmap.background(maps)
        regions = [self._warped_region(person, shape, matrix, cells) for person in people]
        return np.max([np.zeros((cells, cells), "float32"), *regions], axis=0)[..., None]

    def _warped_region(self, person, shape, matrix, cells):
        """(cells, cells): 1 in cells whose centre lies on the person."""
        to_cells = (matrix - [[0, 0, 1.5], [0, 0, 1.5]]) / heatmap.STRIDE
        return augment.warp_picture(region_mask(person, *shape), to_cells, (cells, cells), 0)


def _main_person(picture, shape, rng):
    """Centre (x, y) and longer side of one person with joints, of any person, or else of the picture."""
    people = [person for person in picture.people if not person.crowd and min(_sides(person)) > 1]
    people = [person for person in people if person.num_joints] or people
    if not people:
        return np.array([shape[1] - 1, shape[0] - 1]) / 2, max(shape)
    person = people[rng.integers(len(people))]
    return (person.box_xyxy[:2] + person.box_xyxy[2:] - 1) / 2, max(_sides(person))


def _sides(person):
    return person.box_xyxy[2:] - person.box_xyxy[:2]

"""The pictures a configuration names, split into training and validation."""

import warnings
from abc import abstractmethod
from pathlib import Path

import numpy as np

from multiposenet.data import augment
from multiposenet.data.batches import Source, is_held_out
from multiposenet.data.coco import read_coco
from multiposenet.data.pictures import read_picture
from multiposenet.errors import UserError


def read_sets(config, skeleton, with_images=True):
    """Read every set of `config` (a DataConfig), each picture `repeat` times.

    Returns:
        (training, validation): lists of `Picture`; the split depends on the picture's name alone.

    Raises:
        UserError: no set, or a set without its folder of images.
    """
    if not config.sets:
        raise UserError("data.sets is empty: name at least one {annotations: FILE, images: FOLDER}")
    training, validation = [], []
    for entry in config.sets:
        if with_images and entry.images is None:
            raise UserError(f"data.sets: {entry.annotations} needs its folder of images")
        root = Path(config.root)
        for picture in read_coco(root / entry.annotations, root / entry.images if with_images else None, skeleton):
            if is_held_out(picture.name, config.validation):
                validation.append(picture)
            else:
                training.extend([picture] * entry.repeat)
    if not training:
        raise UserError("data.sets hold no picture to train on")
    return training, validation


class PictureSource(Source):
    """Samples made from pictures; one that cannot be read is reported once and its neighbour taken instead.

    Args:
        pictures: list of `Picture` with files.
        settings: AugmentConfig.
        varied: False leaves nothing to chance, for validation.
    """

    def __init__(self, pictures, settings, varied=True):
        self.pictures, self.settings, self.varied = pictures, settings, varied
        self.unreadable = set()

    def __len__(self):
        return len(self.pictures)

    def names(self, indices):
        return [str(self.pictures[i].file) for i in indices]

    def _readable(self, index):
        for offset in range(len(self.pictures)):
            picture = self.pictures[(index + offset) % len(self.pictures)]
            if picture.file in self.unreadable:
                continue
            try:
                return picture, read_picture(picture.file)
            except UserError as error:
                self.unreadable.add(picture.file)
                warnings.warn(f"skipped ({len(self.unreadable)} so far in this process): {error}")
        raise UserError("none of the pictures can be read")


class CropSource(PictureSource):
    """Square crops of `augment.crop` pixels; a share `augment.mosaic` of them is put together from four."""

    @abstractmethod
    def view(self, picture, pixels, rng, size):
        """(size, size, 3) uint8 crop of one picture, and what is to be found in it."""

    @abstractmethod
    def joined(self, found, size):
        """What is to be found in four crops of `size` pixels, put together in reading order."""

    @abstractmethod
    def targets(self, found):
        """What the model shall answer, a dict of arrays, given what is to be found in each crop of a batch."""

    def load(self, indices, rng):
        crops, found = zip(*(self._composed(i, rng) for i in indices))
        return np.stack(crops), self.targets(found)

    def _composed(self, index, rng):
        """A view of one picture, or a mosaic: its four people are small and close, as in a crowd."""
        size, mosaic = self.settings.crop, self.settings.mosaic
        if not (self.varied and mosaic and rng.random() < mosaic):
            return self.view(*self._readable(index), rng, size)
        tiles = [self.view(*self._readable(i), rng, size // 2) for i in (index, *rng.integers(len(self), size=3))]
        crops, found = zip(*tiles)
        return augment.quarters(crops), self.joined(found, size // 2)

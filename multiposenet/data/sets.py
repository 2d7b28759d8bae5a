"""The pictures a configuration names, split into training and validation."""

import warnings
from abc import abstractmethod
from pathlib import Path

import numpy as np

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
    """

    def __init__(self, pictures):
        self.pictures = pictures
        self.unreadable = set()

    @abstractmethod
    def sample(self, picture, pixels, rng):
        """(x, y) of one picture; y an array or a dict of arrays."""

    def __len__(self):
        return len(self.pictures)

    def names(self, indices):
        return [str(self.pictures[i].file) for i in indices]

    def load(self, indices, rng):
        samples = [self.sample(*self._readable(i), rng) for i in indices]
        inputs, targets = zip(*samples)
        if isinstance(targets[0], dict):
            return np.stack(inputs), {key: np.stack([target[key] for target in targets]) for key in targets[0]}
        return np.stack(inputs), np.stack(targets)

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

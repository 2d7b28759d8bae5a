"""The folder `infer.py` fills: one drawing a picture and one COCO results list."""

import itertools
import json
import os
import re
import tempfile
import time

from multiposenet.drawing import as_jpeg
from multiposenet.errors import UserError
from multiposenet.files import write_whole

RESULTS = "results.json"
UNFINISHED = "results.unfinished.json"  # what a killed run leaves; it never reads as a whole one
KEEP_S = 10


class Output:
    """Names for what is written, decided before any work is done.

    Args:
        folder: Path.
        paths: Paths of the pictures.
        draw: False writes the results list alone.
    """

    def __init__(self, folder, paths, draw=True):
        self.folder, self.paths = folder, paths
        self.drawings = _drawing_paths(paths, folder) if draw else []
        self.image_ids = image_ids(paths)
        self.kept = time.monotonic()

    def prepare(self, overwrite=False):
        """Make the folder, see `prepare_folder`."""
        prepare_folder(self.folder, (self.folder / RESULTS, *self.drawings), self.paths, overwrite)

    def save_drawing(self, i, drawn):
        """Write the i-th picture's drawing, (h, w, 3) uint8 RGB."""
        write_whole(self.drawings[i], as_jpeg(drawn))

    def save_results(self, records):
        """Write the COCO results list."""
        write_whole(self.folder / RESULTS, json.dumps(records))
        (self.folder / UNFINISHED).unlink(missing_ok=True)

    def save_unfinished(self, records):
        """Keep what there is so far, at most every `KEEP_S` seconds."""
        if time.monotonic() - self.kept > KEEP_S:
            write_whole(self.folder / UNFINISHED, json.dumps(records))
            self.kept = time.monotonic()


def prepare_folder(folder, targets, sources, overwrite=False):
    """Make the folder for `targets`, files made from `sources`.

    Raises:
        UserError: something would be lost, or the folder cannot be written to.
    """
    sources = {os.path.abspath(path) for path in sources}
    try:
        for target in targets:
            if os.path.abspath(target) in sources:
                raise UserError(f"{target}: the drawing would replace the picture or video; choose another --output")
            if target.exists() and not overwrite:
                raise UserError(f"{target}: exists already; choose another --output or add --overwrite")
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"{folder}: cannot write there ({error.strerror}); choose another --output") from None


def _drawing_paths(paths, folder):
    """folder/<stem>.jpg for each path; a stem that was there before gets a number."""
    taken, drawings = set(), []
    for path in paths:
        names = itertools.chain([path.stem], (f"{path.stem}_{i}" for i in itertools.count(2)))
        name = next(name for name in names if name.lower() not in taken)  # some file systems ignore case
        taken.add(name.lower())
        drawings.append(folder / f"{name}.jpg")
    return drawings


def image_ids(paths):
    """List of int for Paths: the number a file is named after, as in COCO; otherwise the next one that is free."""
    numbers = [int(path.stem) if re.fullmatch("[0-9]{1,15}", path.stem) else None for path in paths]
    reserved, taken, ids = set(numbers), set(), []
    free = (i for i in itertools.count(1) if i not in reserved)
    for number in numbers:
        ids.append(next(free) if number is None or number in taken else number)
        taken.add(number)
    return ids

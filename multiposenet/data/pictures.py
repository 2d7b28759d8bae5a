"""Pictures from disk: one reader for training and prediction, and the search for files."""

import contextlib
import glob
import os
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from multiposenet.errors import UserError

# What counts as a picture in folders and globs; a file named outright is tried whatever its name.
# HEIC is listed, though it cannot be decoded, so that a phone's pictures are reported and not passed over.
SUFFIXES = frozenset((".jpg .jpeg .jpe .jfif .mpo .png .bmp .dib .gif .tif .tiff .webp .jp2 .avif .ppm .pgm .pbm .pnm "
                      ".heic .heif").split())
MAX_PIXELS = 2 ** 27  # 134 million, 400 MB in memory: a square of 10,000 fits, a decompression bomb does not


def read_picture(path):
    """Any picture OpenCV can decode, upright, as 8-bit RGB.

    EXIF rotation is applied; grey, palette and CMYK become RGB; 16 bits are scaled to 8; alpha is dropped, so
    transparent pixels show the colour stored under them; of several frames the first is read.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        UserError: missing, empty, cut short, no picture, or above `MAX_PIXELS`; the message names the file.
    """
    path = Path(path)
    return read_opened(lambda: _open(path), path)


def read_opened(open_file, name):
    """As `read_picture`, from wherever the bytes lie.

    Args:
        open_file: called without arguments, returns a binary file that can seek.
        name: for the messages.
    """
    try:
        with open_file() as file:
            kind = _check(file, name)
            file.seek(0)
            picture = _decode(file.read())
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror or error}); copy it again") from None
    if picture is None:
        raise UserError(f"{name}: this {kind} picture cannot be decoded: it is cut short, damaged or of a rare kind; "
                        "copy it again or save it as an 8-bit JPEG or PNG")
    return picture


def find_pictures(patterns):
    """Files named outright, the pictures lying in folders, and glob matches (`**` looks into folders below).

    Args:
        patterns: paths of files and folders, and globs.

    Returns:
        Sorted list of Paths, each file once.

    Raises:
        UserError: a pattern without any picture.
    """
    found = {}
    for pattern in patterns:
        paths = _matches(Path(pattern))
        if not paths:
            raise UserError(f"{pattern}: {_nothing_found(Path(pattern))}")
        found.update({os.path.abspath(path): path for path in paths})
    return sorted(found.values())


@contextlib.contextmanager
def quiet_opencv():
    """OpenCV's own messages are kept silent inside the block: the caller reports."""
    set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # OpenCV 4, OpenCV 5
    previous = set_log_level(0)
    try:
        yield
    finally:
        set_log_level(previous)


def _open(path):
    if not path.exists():
        raise UserError(f"{path}: no such file; check the path")
    if not path.is_file():
        raise UserError(f"{path}: not a file; give a picture")
    return open(path, "rb")


def _check(file, name):
    """Name of the file's format. Pillow reads the header alone, so that a decompression bomb is never unpacked."""
    if file.seek(0, os.SEEK_END) == 0:
        raise UserError(f"{name}: the file is empty; copy it again")
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # harmless faults, and sizes below our own limit
            with Image.open(file) as header:
                if header.width * header.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                header.verify()  # finds cut or altered PNGs, about which libpng would print
                return header.format
    except Image.DecompressionBombError:  # Pillow's own, above 179 million, or ours
        raise UserError(f"{name}: more than {MAX_PIXELS // 10 ** 6} million pixels; scale it down") from None
    except Image.UnidentifiedImageError:
        raise UserError(f"{name}: not a picture in a known format; save it as JPEG or PNG") from None
    except OSError:
        raise
    except Exception as error:  # header parsers meet any bytes at all and raise many kinds
        raise UserError(f"{name}: damaged ({error}); copy it again") from None


def _decode(encoded):
    """bytes -> (h, w, 3) uint8 RGB, or None."""
    try:
        with quiet_opencv():
            picture = cv2.imdecode(np.frombuffer(encoded, "uint8"), cv2.IMREAD_COLOR)
        return None if picture is None else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    except cv2.error:
        return None


def _matches(pattern):
    if pattern.is_file():
        return [pattern]
    if pattern.is_dir():
        paths = map(Path, glob.iglob(os.path.join(glob.escape(pattern), "*")))
    else:
        paths = map(Path, glob.iglob(str(pattern), recursive=True))
    return [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]


def _nothing_found(pattern):
    if pattern.is_dir():
        return f"no picture lies in this folder; for the folders below it write {pattern}/**/*.jpg in quotes"
    if glob.has_magic(str(pattern)):
        return "no picture matches; check the path and keep the pattern in quotes"
    return "no such file or folder; check the path"

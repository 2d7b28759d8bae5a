"""Files that are there whole or not at all: written under another name first, then renamed."""

import contextlib
import os
from pathlib import Path

from multiposenet.errors import UserError


@contextlib.contextmanager
def replacing(path):
    """Yield a temporary path beside `path` (same suffixes); it takes the name of `path` when the block ends well.

    Raises:
        UserError: the disk is full or the folder cannot be written; a file of that name from before stays.
    """
    path = Path(path)
    temporary = path.with_name(f"writing{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); make room or choose another place") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path, content):
    """Write text or bytes, see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def make_folder(path):
    """Make a folder and those above it, unless it is there.

    Raises:
        UserError: it cannot be made.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be made a folder ({error.strerror}); choose another place") from None

"""Files that are there whole or not at all: written under another name first, then renamed."""

import contextlib
import os
from pathlib import Path

from multiposenet.errors import UserError


@contextlib.contextmanager
def writing(path):
    """Turn the system's refusal inside the block into a `UserError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); make room or choose another place") from None


@contextlib.contextmanager
def replacing(path):
    """Yield a temporary path beside `path` (same suffixes); it takes the name of `path` when the block ends well.

    Raises:
        UserError: the disk is full or the folder cannot be written; a file of that name from before stays.
    """
    path = Path(path)
    temporary = path.with_name(f"writing{os.getpid()}.{path.name}")
    try:
        with writing(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path, content):
    """Write text or bytes, see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)

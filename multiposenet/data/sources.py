"""Pictures by the million: from folders, lists and object stores, each named by one string."""

import functools
import io
import os
from pathlib import Path, PurePath

from multiposenet.data.pictures import SUFFIXES, find_pictures, read_opened, read_picture
from multiposenet.errors import UserError

STORES = ("s3://", "gs://", "file://")


def is_store(text):
    """Whether it is the address of an object or a prefix of objects, such as s3://bucket/prefix."""
    return text.startswith(STORES)


def find_sources(patterns):
    """What the patterns mean, in the same order whatever the order of the patterns.

    Args:
        patterns: str each: what `find_pictures` takes; @FILE or FILE.txt, a list with a path or address a line, where
            empty lines and those that begin with # do not count; or an address `is_store` knows, with all below it.

    Returns:
        Sorted list of str, each once: absolute paths, which differ where names are equal, and addresses.

    Raises:
        UserError: a pattern without any picture, a list or a store that cannot be read. A listed file that is not there
            is no error here: one of a million ends nothing.
    """
    found = {source for pattern in patterns for source in _expand(pattern)}
    return sorted(found, key=lambda source: (PurePath(source), source))  # folder by folder, as `find_pictures` does


def read_source(source):
    """(height, width, 3) uint8 RGB.

    Raises:
        UserError: see `read_picture`; or the store gives no answer.
    """
    if not is_store(source):
        return read_picture(source)
    return read_opened(lambda: _fetch(source), source)


def _fetch(address):
    """All bytes at once: a request to the store for each of the header's fields would cost more than the picture."""
    store, path = _store(address)
    try:
        with store.open_input_file(path) as file:
            return io.BytesIO(file.read())
    except ValueError as error:  # ArrowInvalid: the store allows no such address
        raise OSError(error) from None


def _expand(pattern):
    if is_store(pattern):
        return _below(pattern)
    if pattern.startswith("@") or pattern.endswith(".txt"):
        return _listed(pattern.removeprefix("@"))
    return [os.path.abspath(path) for path in find_pictures([pattern])]


def _listed(file):
    try:
        lines = [line.strip() for line in Path(file).read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: this list cannot be read ({error}); write a path a line, in UTF-8") from None
    listed = [line if is_store(line) else os.path.abspath(line) for line in lines if line and line[0] != "#"]
    if not listed:
        raise UserError(f"{file}: no path in this list; write one a line")
    return listed


def _below(address):
    from pyarrow.fs import FileSelector, FileType

    store, path = _store(address)
    scheme = address[:address.index("://") + 3]
    try:
        there = store.get_file_info(path)
        found = [there] if there.type == FileType.File else store.get_file_info(FileSelector(path, recursive=True))
    except (OSError, ValueError) as error:  # ArrowInvalid is one
        raise UserError(f"{address}: cannot be listed ({error}); check the address and your access to it") from None
    pictures = [scheme + file.path for file in found
                if file.type == FileType.File and PurePath(file.path).suffix.lower() in SUFFIXES]
    if not pictures:
        raise UserError(f"{address}: no picture lies there; check the address")
    return pictures


def _store(address):
    """(pyarrow file system, path in it)."""
    scheme, path = address.split("://", 1)
    bucket, path = path.partition("/")[0], path.rstrip("/")
    if not bucket and scheme != "file":
        raise UserError(f"{address}: no bucket; write it as {scheme}://bucket/prefix")
    return _file_system(scheme, bucket), path


@functools.cache  # a new connection for every picture would cost more than the picture
def _file_system(scheme, bucket):
    """Region, endpoint and keys come from the environment, where records cannot give them away."""
    try:
        from pyarrow.fs import FileSystem

        return FileSystem.from_uri(f"{scheme}://{bucket or '/'}")[0]
    except ImportError:
        raise UserError(f"{scheme}:// needs pyarrow: pip install 'multiposenet[ray]'") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{scheme}://{bucket}: cannot be opened ({error}); check the address and your access") from None

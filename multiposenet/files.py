"""Files that are there whole or not at all: written under another name first, then renamed. And text files, read."""

import contextlib
import gzip
import hashlib
import json
import os
import zlib
from pathlib import Path

import yaml

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


def sha256(path):
    """Hexadecimal fingerprint of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def read_json(path):
    """Parse plain or gzipped JSON.

    Raises:
        UserError: naming the file, and the line where its text is broken.
    """
    try:
        raw = Path(path).read_bytes()
        return json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (EOFError, UnicodeDecodeError, zlib.error) as error:
        raise UserError(f"{path}: damaged file ({error})") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise UserError(f"{path}: not valid JSON: brackets nested too deep") from None


def read_yaml(path):
    """Parse a YAML file of keys and values -> dict.

    Raises:
        UserError: naming the file.
    """
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that is none, bytes that are no text
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if tree is not None and not isinstance(tree, dict):
        raise UserError(f"{path}: expected 'key: value' lines, found a {type(tree).__name__}")
    return tree or {}


def make_folder(path):
    """Make a folder and those above it, unless it is there.

    Raises:
        UserError: it cannot be made.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be made a folder ({error.strerror}); choose another place") from None

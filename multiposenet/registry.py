"""Weights too large for the package: where they lie, and their download.

A registry is a YAML file, `pretrained/registry.yaml` here or the one that MULTIPOSENET_REGISTRY names (of a team that
keeps weights of its own):

    r50:
      url: https://example.org/r50.keras     # a merged model
      sha256: 5f2c...                        # of the file
      size_mb: 230
      card: https://example.org/r50.md       # what it was trained on, and how good it is
"""

import os
from pathlib import Path

from pydantic import Field

from multiposenet.config import Section, parse_config
from multiposenet.errors import UserError
from multiposenet.files import read_yaml

VARIABLE = "MULTIPOSENET_REGISTRY"
OURS = Path(__file__).with_name("pretrained") / "registry.yaml"


class Entry(Section):
    """One file of weights."""

    url: str = Field(pattern=r"^[a-z]+://.*\.keras$")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size_mb: float
    card: str


def entries():
    """Dict name -> `Entry`; a name in the user's registry wins.

    Raises:
        UserError: a broken registry.
    """
    found = {}
    for file in filter(None, (OURS, os.environ.get(VARIABLE))):
        for name, entry in read_yaml(file).items():
            found[str(name)] = parse_config(entry, f"{file}, {name}", Entry)
    return found


def fetch(name, entry):
    """Path of the weights, downloaded unless they are in Keras' cache already; the hash is checked either way.

    Raises:
        UserError: no connection, or a file with another hash.
    """
    import keras  # not above: the names alone are wanted without it

    print(f"weights {name}: {entry.size_mb:.0f} MB from {entry.url} (card: {entry.card})")
    try:
        return Path(keras.utils.get_file(f"{name}-{entry.sha256[:8]}.keras", entry.url, file_hash=entry.sha256,
                                         hash_algorithm="sha256", cache_subdir="multiposenet",
                                         cache_dir=os.environ.get("KERAS_HOME")))
    except Exception as error:  # Keras raises a bare Exception for the network, ValueError for the hash
        raise UserError(f"{name}: cannot be downloaded from {entry.url} ({_first_line(error)}); bring the file by other "
                        "means and give its path") from None


def _first_line(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

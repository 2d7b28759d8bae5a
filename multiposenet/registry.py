"""Weights by name: those in the package, and the download of those too large for it.

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


def pretrained_path(name_or_path):
    """Path of the weights that `weights.load_pretrained` opens.

    Raises:
        UserError: an unknown name.
    """
    if str(name_or_path).endswith(".keras"):
        return Path(name_or_path)
    ours, others = shipped(name_or_path), entries()
    if ours.is_file():
        return ours
    if str(name_or_path) in others:
        return fetch(name_or_path, others[str(name_or_path)])
    known = sorted({path.stem for path in shipped("").parent.glob("*.keras")} | set(others))
    raise UserError(f"no pretrained weights named {name_or_path!r} (there are: {', '.join(known)}); give a name or a "
                    ".keras file")


def shipped(name):
    """Where weights of that name would lie in the package."""
    return Path(__file__).with_name("pretrained") / f"{name}.keras"


def cache():
    """Folder of what is downloaded or made once and kept: `multiposenet` in Keras' home."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "multiposenet"


def fetch(name, entry):
    """Path of the weights, downloaded unless they are in Keras' cache already; the hash is checked either way.

    Raises:
        UserError: no connection, or a file with another hash.
    """
    import keras  # not above: the names alone are wanted without it

    print(f"weights {name}: {entry.size_mb:.0f} MB from {entry.url} (card: {entry.card})")
    try:
        return Path(keras.utils.get_file(f"{name}-{entry.sha256[:8]}.keras", entry.url, file_hash=entry.sha256,
                                         hash_algorithm="sha256", cache_subdir=cache().name,
                                         cache_dir=cache().parent))
    except Exception as error:  # Keras raises a bare Exception for the network, ValueError for the hash
        raise UserError(f"{name}: cannot be downloaded from {entry.url} ({_first_line(error)}); bring the file by other "
                        "means and give its path") from None


def _first_line(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

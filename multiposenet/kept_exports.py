"""Exports that are made at the first use and kept, so that weights by name run on another engine than Keras."""

import importlib.util

from multiposenet.engines import CONTRACT, ENGINES, fitting_engine
from multiposenet.errors import UserError
from multiposenet.files import sha256
from multiposenet.registry import cache, pretrained_path

# Fastest first (RESULTS.md). LiteRT's are for one size of picture, which nobody named.
FORMATS = {"onnxruntime": "onnx", "openvino": "openvino"}
GRAPH = 3  # rises when the same weights give other figures, so that no file is used that was kept before


def kept_export(name_or_path, engine):
    """Path of the export of some weights, which lies beside downloaded ones (`registry.cache`).

    The first call imports TensorFlow and takes minutes; later ones look at the file's SHA-256 alone.

    Args:
        name_or_path: what `weights.load_pretrained` takes.
        engine: a key of `engines.ENGINES`.

    Raises:
        UserError: an engine that needs to know the size; see `pretrained_path`, `load_model` and `export.export`.
    """
    if engine not in FORMATS:
        raise UserError(f"{name_or_path}: {engine} reads {ENGINES[engine].suffix} files, each for one size of picture; make one "
                        "with export.py --size")
    weights = pretrained_path(name_or_path)
    if not weights.is_file():
        raise UserError(f"{weights}: no such model file; make one with merge_weights.py")
    place = _place(weights, engine)
    if not place.is_file():
        print(f"{name_or_path}: making the file for {engine} once, {place}; this takes some minutes", flush=True)
        _make(weights, place, FORMATS[engine])
    return place


def fastest_engine(name_or_path):
    """Key of `engines.ENGINES` for which an export of these weights is kept already and which is installed, or else what
    their file is for.

    Raises:
        UserError: see `pretrained_path`.
    """
    fitting = fitting_engine(name_or_path)
    if fitting != "keras":
        return fitting
    weights = pretrained_path(name_or_path)
    return next((engine for engine in FORMATS if weights.is_file() and _place(weights, engine).is_file()
                 and importlib.util.find_spec(ENGINES[engine].package)), fitting)


def _place(weights, engine):
    return cache() / f"{weights.stem}-{sha256(weights)[:12]}-{CONTRACT}-{GRAPH}{ENGINES[engine].suffix}"


def _make(weights, place, form):
    from multiposenet.export import export
    from multiposenet.weights import load_model

    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{place.parent}: cannot be made ({error.strerror}); set KERAS_HOME to another folder") from None
    export(load_model(weights), place, form)

"""Weights: a head's file with its manifest, and the merged model's `.keras` file."""

import hashlib
import json
import os
import shutil
import zipfile
from datetime import date
from pathlib import Path

import h5py
import keras
import numpy as np

import multiposenet
from multiposenet.config import Config, parse_config
from multiposenet.errors import UserError
from multiposenet.files import replacing, write_whole
from multiposenet.registry import entries, pretrained_path, shipped

# The ModelConfig fields each head's weights depend on; parts that share a field must agree on it.
BACKBONE = ("backbone", "preprocessing", "backbone_padding", "fpn_channels", "fpn_context")
FIELDS = {
    "keypoints": (*BACKBONE, "skeleton", "subnet_filters", "fusion_filters", "subnet_batch_norm",
                  "extra_channel"),
    "detector": (*BACKBONE, "head_filters", "head_depth"),
    "refiner": ("skeleton", "refiner_backbone", "refiner_filters", "refiner_grid", "refiner_more_grids", "refiner_margin", "refiner_boxes"),
    "prn": ("skeleton", "prn_hidden", "grid", "box_margin"),
    "activity": ("skeleton", "activities", "activity_units", "activity_batch_norm", "activity_limbs"),
}


def fingerprint(model):
    """SHA-256 of a model's weights, the same whatever file they came from."""
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight), "float32").tobytes())
    return digest.hexdigest()


def save_head(head, model, workdir, config, metrics, **stands_on):
    """Write `<head>.weights.h5` and its manifest `<head>.json` into a run folder.

    Args:
        head: one of `HEADS`.
        model: keras.Model of the head alone.
        config: the run's `Config`.
        metrics: dict of figures to keep with the weights.
        stands_on: what must be the same when it is merged: `encoder`, name of the person grids' (PRN);
            `backbone_sha256`, fingerprint of the backbone (keypoints, detector).
    """
    workdir = Path(workdir)
    manifest = dict(head=head, version=multiposenet.__version__, date=date.today().isoformat(),
                    skeleton=config.model.skeleton.name, **stands_on,
                    data=[entry.model_dump() for entry in config.data.sets], metrics=metrics,
                    config=config.model_dump(mode="json"))
    with replacing(workdir / f"{head}.weights.h5") as temporary:
        model.save_weights(temporary)
    write_whole(workdir / f"{head}.json", json.dumps(manifest, indent=1))


def read_manifest(head, path):
    """Manifest of a head's weights, given the run folder or the weights file.

    Returns:
        (manifest dict with `config` parsed, path of the weights file).

    Raises:
        UserError: weights or manifest are missing, broken, or of another head.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    weights, file = folder / f"{head}.weights.h5", folder / f"{head}.json"
    if not weights.is_file():
        raise UserError(f"{path}: no {head}.weights.h5 there; run train_{head}.py first, or finish it with --resume")
    try:
        manifest = json.loads(file.read_text())
        manifest["config"] = parse_config(manifest["config"], file, Config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{file}: missing or damaged manifest ({error}); it belongs beside {weights.name}") from None
    if manifest.get("head") != head:
        raise UserError(f"{file}: a manifest of {manifest.get('head')!r}, expected {head!r}")
    return manifest, weights


def load_head(head, model, path):
    """Load a head's weights into a model of the same shape.

    Returns:
        The manifest.

    Raises:
        UserError: weights that are missing, damaged or do not fit.
    """
    manifest, weights = read_manifest(head, path)
    try:
        model.load_weights(weights)
    except (ValueError, OSError, KeyError) as error:
        raise UserError(f"{weights}: does not fit this {head} model: {_first_line(error)}") from None
    return manifest


def start_from(head, model, source, config):
    """Give a head that is about to be trained the weights of another run or of a merged model.

    They may be for other joints or activities, or lack layers that the configuration adds (`model.fpn_context`): the
    weights that hang on these start anew, and their layers are printed.

    Args:
        head: one of `HEADS`.
        model: keras.Model of the head.
        source: a run folder, a weights file, a `.keras` file or the name of shipped weights.
        config: ModelConfig of the head.

    Raises:
        UserError: nothing there, or weights of other shapes.
    """
    old, old_config = trained_head(head, source)
    if head == "refiner":  # one reader is trained at a time, and begins with the first of several
        old, model = old.reader, model.reader
    had, has = ({weight.path: weight for weight in it.weights} for it in (old, model))
    other = [path for path in had if path not in has or has[path].shape != had[path].shape]
    same_task = (config.skeleton, config.activities) == (old_config.skeleton, old_config.activities)
    if any(path not in has for path in other) or other and same_task:
        raise UserError(f"{source}: its {head} head has other sizes than this configuration ({', '.join(other[:3])}); "
                        "set the same sizes under model, or leave out train.init")
    new = [path for path in has if path not in had or path in other]
    for path in has.keys() - new:
        has[path].assign(had[path])
    if new:
        layers = dict.fromkeys(path.rpartition("/")[0] for path in new)
        print(f"{source} has other joints, activities or layers; start anew: {', '.join(layers)}")


def trained_head(head, source):
    """A head with its weights, and its ModelConfig; arguments and errors as `start_from` has them."""
    from multiposenet.models.multiposenet import MultiPoseNet

    if not _is_head(source):
        model = load_pretrained(source)
        if head not in model.heads:
            raise UserError(f"{source}: a model without {head}")
    else:
        model = MultiPoseNet(read_manifest(head, source)[0]["config"].model)
        load_head(head, model.heads[head], source)
    return model.heads[head], model.config


def keypoints_to_stand_on(config):
    """The keypoint head named by `train.keypoints`, on whose backbone the detector of `config` is trained.

    Args:
        config: `Config`.

    Raises:
        UserError: it is not named, not there, damaged, or does not agree.
    """
    source = config.train.keypoints
    if not source:
        raise UserError("train.keypoints is not set: this head stands on a keypoint head; name the run folder of "
                        "train_keypoints.py, or a merged model")
    head, theirs = trained_head("keypoints", source)
    for field in BACKBONE:
        ours, other = getattr(config.model, field), getattr(theirs, field)
        if ours != other:
            raise UserError(f"{source} was trained with model.{field} = {other!r}, this configuration says {ours!r}: "
                            "the two could never be merged; use the same value")
    if _is_head(source) and read_manifest("keypoints", source)[0]["backbone_sha256"] != fingerprint(head.get_layer("backbone")):
        raise UserError(f"{source}: its backbone is not the one its manifest names; take both files from one run")
    return head


def load_prn(source):
    """A Pose Residual Network alone.

    Args:
        source: a run folder or weights file of train_prn.py, or what `load_pretrained` takes.

    Returns:
        (PoseResidualNetwork, its ModelConfig, path of the file).

    Raises:
        UserError: nothing there, or weights that do not fit.
    """
    from multiposenet.models.heads import build_prn

    if not _is_head(source):
        model = load_pretrained(source)
        return model.heads["prn"], model.config, pretrained_path(source)
    manifest, file = read_manifest("prn", source)
    prn = build_prn(manifest["config"].model)
    load_head("prn", prn, source)
    return prn, manifest["config"].model, file


def save_model(model, output, half=False):
    """Save a `MultiPoseNet` whole or not at all; `half` stores its weights in float16."""
    with replacing(output) as temporary:
        model.save(temporary)
        if half:
            _halve(temporary)


def load_model(path):
    """Open a merged `.keras` file in Keras' safe mode.

    Raises:
        UserError: no such file, or not a model of this package.
    """
    from multiposenet.models.multiposenet import MultiPoseNet  # registers every class

    if not Path(path).is_file():
        raise UserError(f"{path}: no such model file; make one with merge_weights.py")
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a model this version can open: {_first_line(error)}") from None
    if not isinstance(model, MultiPoseNet):
        raise UserError(f"{path}: a {type(model).__name__}, not a merged MultiPoseNet")
    return model


def load_pretrained(name_or_path):
    """The model shipped under a preset's name, one of the registry (downloaded once), or the one in a `.keras` file.

    Raises:
        UserError: none of these.
    """
    return load_model(pretrained_path(name_or_path))


def _is_head(source):
    """Whether it names one head's weights, not a merged model."""
    return not (str(source).endswith(".keras") or shipped(source).is_file() or str(source) in entries())


def _halve(path):
    """Rewrite a `.keras` archive with float16 arrays; Keras casts them to the variables' type on loading."""
    folder = path.with_name(path.name + ".parts")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    _halve_h5(folder / "model.weights.h5")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in sorted(folder.iterdir()):
            archive.write(part, part.name)
    shutil.rmtree(folder)


def _halve_h5(path):
    small = path.with_name("half.h5")
    with h5py.File(path) as source, h5py.File(small, "w") as target:
        def copy(name, item):
            if isinstance(item, h5py.Group):
                group = target.require_group(name)
            else:
                group = target.create_dataset(name, data=_halved(item[()]))
            group.attrs.update(item.attrs)

        target.attrs.update(source.attrs)
        source.visititems(copy)
    os.replace(small, path)


def _halved(values):
    """float32 as float16, unless one is too large for it: variances of ResNet's first BatchNorm are above 65,504."""
    return values.astype(np.float16) if values.dtype == np.float32 and np.abs(values).max(initial=0) < 65_504 else values


def _first_line(error):
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__

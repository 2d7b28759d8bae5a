"""The merge of all heads' weights into one `.keras` model: only of what belongs together."""

from pathlib import Path

from multiposenet.config import HEADS, Config, ModelConfig, changed_model
from multiposenet.errors import UserError
from multiposenet.registry import pretrained_path
from multiposenet.weights import FIELDS, fingerprint, load_head, load_pretrained, read_manifest, save_model, trained_head


def merge(paths, output, half=False, base=None, overrides=(), share=1.0):
    """Merge the heads' weights into one end-to-end `.keras` file.

    Args:
        paths: dict head -> run folder or weights file; heads that are missing or None are taken from `base`. The refiner's may be a
            list of these, of `.keras` files and of names of shipped weights; several are averaged (`PoseRefiner`).
        output: path of the `.keras` file.
        half: store the weights in float16; they are loaded as float32 again.
        base: a merged model's `.keras` file or the name of shipped weights; needed only where `paths` lacks a head.
        overrides: `model.key=value` settings of the merged model that no weight depends on.
        share: of the weights of `paths` in these heads' weights, the rest is the base's (a refiner's readers in turn); between a run
            and what it began with there often is something better than both (Wortsman et al. 2022, Robust fine-tuning of zero-shot models).

    Raises:
        UserError: a head from nowhere, a setting that weights depend on, a share of heads that cannot be mixed, or parts that stand on
            different backbones or do not fit each other; the files are named.
    """
    from multiposenet.codecs.person_grid import ENCODER
    from multiposenet.models.multiposenet import MultiPoseNet

    if not str(output).endswith(".keras"):
        raise UserError(f"{output}: the merged model's name must end in .keras")
    paths = {head: path for head, path in paths.items() if path}
    old = load_pretrained(base) if base else None
    readers = _readers(paths.get("refiner", ()))
    if readers:
        paths["refiner"] = readers[0][3]  # named in messages for all of them
    wanted = (read_manifest("keypoints", paths["keypoints"])[0]["config"].model if "keypoints" in paths
              else old.config if old else ModelConfig())
    heads = [head for head in HEADS if head in paths or head in changed_model(wanted, overrides).heads]
    if missing := [head for head in heads if head not in paths and head not in (old.heads if old else ())]:
        raise UserError(f"no weights of {', '.join(missing)}: name their runs, or a merged model to take them from"
                        + (" (--set model.refiner_filters=0 does without a refiner)" if "refiner" in missing else ""))
    parts = {head: (_manifest_of(old), pretrained_path(base)) if head not in paths else read_manifest(head, paths[head])
             if head != "refiner" else (dict(config=Config(model=_refiner_config(readers))), paths[head]) for head in heads}
    manifests, files = ({head: part[i] for head, part in parts.items()} for i in (0, 1))
    _check_backbones(manifests, files)
    if manifests["prn"]["encoder"] != ENCODER:
        raise UserError(f"{files['prn']}: trained with person grids {manifests['prn']['encoder']!r}, this version makes "
                        f"{ENCODER!r}; train the PRN again")
    model = MultiPoseNet(_overridden(_merged_config(manifests, files), overrides))
    if share != 1:
        _check_mixture(paths, share, model.config, old)
    for head in model.heads:
        if head == "refiner" and readers:
            for ours, (theirs, *_) in zip(model.heads[head].readers, readers, strict=True):
                ours.set_weights(theirs.get_weights())
        elif head in paths:
            load_head(head, model.heads[head], files[head])
        else:
            model.heads[head].set_weights(old.heads[head].get_weights())
        if head in paths and share != 1:
            _mix(model.heads[head], old.heads[head], share)
    save_model(model, output, half)
    return model


def _readers(sources):
    """(reader, its grid, ModelConfig, source) of each reader of these refiners."""
    sources = [sources] if isinstance(sources, (str, Path)) else sources
    found = [(*trained_head("refiner", source), source) for source in sources]
    return [(reader, grid, config, source) for head, config, source in found
            for reader, grid in zip(head.readers, (config.refiner_grid, *config.refiner_more_grids))]


def _refiner_config(readers):
    """ModelConfig of a refiner that averages them."""
    (_, grid, first, source), *others = readers
    for _, _, config, other in others:
        for field in FIELDS["refiner"]:
            if "grid" not in field and getattr(config, field) != getattr(first, field):
                raise UserError(f"{source} and {other} have not the same {field}, so these refiners cannot be averaged")
    return first.model_copy(update={"refiner_grid": grid, "refiner_more_grids": tuple(other[1] for other in others)})


def _manifest_of(model):
    """Of a merged model's heads, what their runs' manifests would say."""
    from multiposenet.codecs.person_grid import ENCODER

    return dict(config=Config(model=model.config), encoder=ENCODER,
                backbone_sha256=fingerprint(model.dense.get_layer("backbone")))


def _check_backbones(manifests, files):
    ours, theirs = manifests["keypoints"]["backbone_sha256"], manifests["detector"]["backbone_sha256"]
    if ours != theirs:
        raise UserError(f"{files['keypoints']} and {files['detector']} stand on different backbones, so merging them would "
                        "silently spoil one of them. Train the detector again on this keypoint run: "
                        f"train_detector.py --set train.keypoints={files['keypoints'].parent}")


def _check_mixture(paths, share, config, base):
    if base is None or not paths or not 0 < share < 1:
        raise UserError(f"--share {share}: give a number between 0 and 1, a head, and --base, which the rest of that head comes from")
    for head in paths:
        if head == "keypoints":
            raise UserError("--share: a mixed keypoint head has a backbone on which no detector was trained")
        if head not in base.heads or any(getattr(base.config, field) != getattr(config, field) for field in FIELDS[head]):
            raise UserError(f"--share: {paths[head]} and the {head} of --base have not the same settings, so their weights cannot "
                            "be mixed; leave out --share")


def _mix(head, base, share):
    head.set_weights([share * ours + (1 - share) * theirs for ours, theirs in zip(head.get_weights(), base.get_weights(), strict=True)])


def _merged_config(manifests, files):
    chosen = {}
    for head in manifests:
        model = manifests[head]["config"].model
        for field in FIELDS[head]:
            value = getattr(model, field)
            owner = next((other for other in HEADS if other in chosen and field in chosen[other]), None)
            if owner and chosen[owner][field] != value:
                raise UserError(f"{files[owner]} has {field} = {chosen[owner][field]!r}, {files[head]} has {value!r}: "
                                "train one of them again with the other's setting")
            chosen.setdefault(head, {})[field] = value
    base = manifests["keypoints"]["config"].model
    return base.model_copy(update={key: value for fields in chosen.values() for key, value in fields.items()})


def _overridden(config, overrides):
    changed = changed_model(config, overrides)
    for head in changed.heads:
        for field in FIELDS[head]:
            if getattr(changed, field) != getattr(config, field):
                raise UserError(f"model.{field} = {getattr(changed, field)!r}: the weights of {head} were trained with "
                                f"{getattr(config, field)!r}; train them again for another"
                                + (", or do without: --set model.refiner_filters=0" if head == "refiner" else ""))
    return changed

"""The merge of all heads' weights into one `.keras` model: only of what belongs together."""

from multiposenet.config import HEADS, Config, ModelConfig, changed_model
from multiposenet.errors import UserError
from multiposenet.registry import pretrained_path
from multiposenet.weights import FIELDS, fingerprint, load_head, load_pretrained, read_manifest, save_model


def merge(paths, output, half=False, base=None, overrides=()):
    """Merge the heads' weights into one end-to-end `.keras` file.

    Args:
        paths: dict head -> run folder or weights file; heads that are missing or None are taken from `base`.
        output: path of the `.keras` file.
        half: store the weights in float16; they are loaded as float32 again.
        base: a merged model's `.keras` file or the name of shipped weights; needed only where `paths` lacks a head.
        overrides: `model.key=value` settings of the merged model that no weight depends on.

    Raises:
        UserError: a head from nowhere, a setting that weights depend on, or parts that stand on different backbones or do
            not fit each other; the files are named.
    """
    from multiposenet.codecs.person_grid import ENCODER
    from multiposenet.models.multiposenet import MultiPoseNet

    if not str(output).endswith(".keras"):
        raise UserError(f"{output}: the merged model's name must end in .keras")
    paths = {head: path for head, path in paths.items() if path}
    old = load_pretrained(base) if base else None
    wanted = (read_manifest("keypoints", paths["keypoints"])[0]["config"].model if "keypoints" in paths
              else old.config if old else ModelConfig())
    heads = [head for head in HEADS if head in paths or head in changed_model(wanted, overrides).heads]
    if missing := [head for head in heads if head not in paths and head not in (old.heads if old else ())]:
        raise UserError(f"no weights of {', '.join(missing)}: name their runs, or a merged model to take them from"
                        + (" (--set model.refiner_filters=0 does without a refiner)" if "refiner" in missing else ""))
    parts = {head: read_manifest(head, paths[head]) if head in paths else (_manifest_of(old), pretrained_path(base))
             for head in heads}
    manifests, files = ({head: part[i] for head, part in parts.items()} for i in (0, 1))
    _check_backbones(manifests, files)
    if manifests["prn"]["encoder"] != ENCODER:
        raise UserError(f"{files['prn']}: trained with person grids {manifests['prn']['encoder']!r}, this version makes "
                        f"{ENCODER!r}; train the PRN again")
    model = MultiPoseNet(_overridden(_merged_config(manifests, files), overrides))
    for head in model.heads:
        if head in paths:
            load_head(head, model.heads[head], files[head])
        else:
            model.heads[head].set_weights(old.heads[head].get_weights())
    save_model(model, output, half)
    return model


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

"""Train backbone, keypoint pyramid and keypoint subnet (METHOD section 3)."""

import warnings

import keras
import numpy as np
from keras import ops

from multiposenet import training, weights
from multiposenet.data.keypoints import KeypointSource
from multiposenet.data.sets import read_sets
from multiposenet.drawing import heat_overlay
from multiposenet.losses import HeatmapLoss
from multiposenet.models.heads import build_backbone, keypoint_parts, keypoints_model
from multiposenet.models.keypoint_subnet import IntermediateHeatmaps

LEVELS = ("level2", "level3", "level4", "level5")
SAMPLE = 8  # pictures the features are watched on
DRAWN = 4  # pictures that TensorBoard shows
DEAD = 0.15  # MobileNetV2 with its ImageNet weights varies by 0.5 to 0.65 of its size at every level, dead ones by 0.06


def build(config):
    """The training graph and the head inside it.

    Returns:
        (trainer, head): trainer maps pixels to a dict of `heatmaps` and one intermediate output a level; head is
        pixels -> heatmaps, sharing its layers.
    """
    backbone = build_backbone(config.model)
    if config.train.backbone_weights and not config.train.init:
        backbone.load_imagenet(config.train.backbone_weights)
    backbone.freeze(config.train.frozen_stages, config.train.live_batch_norm)
    fpn, subnet = keypoint_parts(config.model, backbone)
    head = keypoints_model(backbone, fpn, subnet)
    if config.train.init:
        weights.start_from("keypoints", head, config.train.init, config.model)
    pyramid = fpn(backbone(head.inputs[0]))
    levels = IntermediateHeatmaps(config.model.fpn_channels, subnet.output_shape[-1])(pyramid)
    outputs = {"heatmaps": subnet(pyramid), **dict(zip(LEVELS, levels))}
    return keras.Model(head.inputs[0], outputs, name="keypoint_training"), head


def train(config, workdir, resume=False):
    """Train as configured and write the head; returns its figures.

    Raises:
        UserError: see `training.fit`, `read_sets`, `weights.load_head`.
    """
    training.prepare(config)
    skeleton = config.model.skeleton
    train_pictures, held_out = read_sets(config.data, skeleton)
    outputs = ("heatmaps", *LEVELS)
    source = KeypointSource(train_pictures, config, skeleton, outputs)
    validation = KeypointSource(held_out, config, skeleton, outputs, varied=False) if held_out else None
    model, head = build(config)
    loss = HeatmapLoss(config.loss.reduction == "mean", config.loss.peak_weight)
    training.compile_model(model, {name: loss for name in outputs}, config, training.steps_per_epoch(source, config),
                           {"heatmaps": 1.0, **{name: config.loss.intermediate for name in LEVELS}},
                           backbone=head.get_layer("backbone").trainable_variables)
    backbone = head.get_layer("backbone")
    sample, _ = source.sample(SAMPLE, config.train.devices)
    shown, targets = (validation or source).sample(DRAWN, config.train.devices)
    metrics = training.fit(model, source, validation, config, workdir, resume,
                           watch=(lambda: watch_features(backbone, sample)) if backbone.trainable_weights else None,
                           draw=lambda: draw(model, shown, targets["heatmaps"]))
    weights.save_head("keypoints", head, workdir, config, metrics, backbone_sha256=weights.fingerprint(backbone))
    return metrics


def draw(model, pictures, targets):
    """Each picture under the heatmaps as predicted, and beside it under their targets; the hottest joint of each place.

    Args:
        model: the trainer of `build`.
        pictures: (n, height, width, 3) uint8.
        targets: of `HeatmapLoss`.

    Returns:
        (n, height, 2 width, 3) uint8.
    """
    found = ops.convert_to_numpy(model.predict_on_batch(pictures)["heatmaps"])[..., :-1]
    return np.stack([np.hstack([heat_overlay(picture, maps[..., :found.shape[-1]].max(axis=-1)) for maps in both])
                     for picture, *both in zip(pictures, found, targets)])


def watch_features(backbone, pictures):
    """How much each of C2..C5 differs between pictures, as a share of its size, by name.

    Too high a rate for the backbone makes its deep features the same for every picture. The keypoints hardly show it,
    but the detector's large boxes hang on C5; hence the warning.

    Args:
        backbone: `Backbone`.
        pictures: (n, height, width, 3) different ones.
    """
    figures = {}
    for level, features in enumerate(backbone.predict_on_batch(pictures), start=2):
        features = features.astype("float32")  # sums of half precision would say that all is dead
        size = np.sqrt(np.mean(np.square(features)))
        figures[f"variation_c{level}"] = float(features.std(axis=0).mean() / max(size, 1e-9))
    dead = [name for name, share in figures.items() if share < DEAD and len(pictures) > 1]
    if dead:
        warnings.warn(f"the backbone answers nearly the same to every picture ({', '.join(dead)} below {DEAD}): "
                      "lower train.backbone_rate and start again")
    return figures

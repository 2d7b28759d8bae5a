"""Train backbone, keypoint pyramid and keypoint subnet (METHOD section 3)."""

import keras

from multiposenet import training, weights
from multiposenet.data.keypoints import KeypointSource
from multiposenet.data.sets import read_sets
from multiposenet.losses import HeatmapLoss
from multiposenet.models.heads import build_backbone, keypoint_parts, keypoints_model
from multiposenet.models.keypoint_subnet import IntermediateHeatmaps
from multiposenet.skeleton import get_skeleton

LEVELS = ("level2", "level3", "level4", "level5")


def build(config):
    """The training graph and the head inside it.

    Returns:
        (trainer, head): trainer maps pixels to a dict of `heatmaps` and one intermediate output a level; head is
        pixels -> heatmaps, sharing its layers.
    """
    backbone = build_backbone(config.model)
    if config.train.backbone_weights and not config.train.init:
        backbone.load_imagenet(config.train.backbone_weights)
    backbone.freeze(config.train.frozen_stages)
    fpn, subnet = keypoint_parts(config.model, backbone)
    head = keypoints_model(backbone, fpn, subnet)
    if config.train.init:
        weights.start_from("keypoints", head, config.train.init)
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
    skeleton = get_skeleton(config.model.skeleton)
    train_pictures, held_out = read_sets(config.data, skeleton)
    outputs = ("heatmaps", *LEVELS)
    source = KeypointSource(train_pictures, config, skeleton, outputs)
    validation = KeypointSource(held_out, config, skeleton, outputs, varied=False) if held_out else None
    model, head = build(config)
    loss = HeatmapLoss(config.loss.reduction == "mean", config.loss.peak_weight)
    training.compile_model(model, {name: loss for name in outputs}, config, training.steps_per_epoch(source, config),
                           {"heatmaps": 1.0, **{name: config.loss.intermediate for name in LEVELS}},
                           backbone=head.get_layer("backbone").trainable_variables)
    metrics = training.fit(model, source, validation, config, workdir, resume)
    weights.save_head("keypoints", head, workdir, config, metrics,
                      backbone_sha256=weights.backbone_sha256(head.get_layer("backbone")))
    return metrics

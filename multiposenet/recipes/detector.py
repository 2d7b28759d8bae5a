"""Train the detection pyramid and the RetinaNet heads on the frozen backbone of a keypoint run (METHOD section 4)."""

import keras
import numpy as np
from keras import ops

from multiposenet import training, weights
from multiposenet.codecs import anchors
from multiposenet.data.detection import DetectionSource
from multiposenet.data.sets import read_sets
from multiposenet.drawing import draw_boxes
from multiposenet.losses import FocalLoss, SmoothL1Loss
from multiposenet.models.backbone import with_folded_norms
from multiposenet.models.heads import detector_model, detector_parts
from multiposenet.models.retinanet import DecodeBoxes, SelectBoxes

DRAWN = 4  # pictures that TensorBoard shows
SURE = 0.3  # score of the boxes on them


def build(config):
    """The training graph and the two parts inside it.

    Returns:
        (trainer, head, backbone): trainer maps pixels to a dict of `regression` and `classification`; head does so
        from the backbone's features.

    Raises:
        UserError: see `weights.keypoints_to_stand_on`.
    """
    backbone = weights.keypoints_to_stand_on(config).get_layer("backbone")
    backbone.trainable = False  # the keypoint head stands on it too
    head = detector_model(backbone, *detector_parts(config.model, backbone))
    if config.train.init:
        weights.start_from("detector", head, config.train.init, config.model)
    image = keras.Input((None, None, 3), name="image")
    features = with_folded_norms(backbone)(image, training=False)
    return keras.Model(image, head(features[1:]), name="detector_training"), head, backbone


def train(config, workdir, resume=False):
    """Train as configured and write the head; returns its figures.

    Raises:
        UserError: see `build`, `training.fit`, `read_sets`.
    """
    training.prepare(config)
    train_pictures, held_out = read_sets(config.data, config.model.skeleton)
    source = DetectionSource(train_pictures, config)
    validation = DetectionSource(held_out, config, varied=False) if held_out else None
    model, head, backbone = build(config)
    losses = {"regression": SmoothL1Loss(config.loss.smooth_l1_sigma),
              "classification": FocalLoss(config.loss.focal_alpha, config.loss.focal_gamma)}
    training.compile_model(model, losses, config, training.steps_per_epoch(source, config))
    shown, targets = (validation or source).sample(DRAWN, config.train.devices)
    metrics = training.fit(model, source, validation, config, workdir, resume,
                           draw=lambda: draw(model, shown, targets["regression"]))
    weights.save_head("detector", head, workdir, config, metrics, backbone_sha256=weights.fingerprint(backbone))
    return metrics


def draw(model, pictures, targets):
    """Pictures with the boxes found (red) over those to find (green).

    Args:
        model: the trainer of `build`.
        pictures: (n, height, width, 3) uint8.
        targets: of `SmoothL1Loss`.

    Returns:
        (n, height, width, 3) uint8.
    """
    answers = model.predict_on_batch(pictures)
    found = SelectBoxes(SURE)([DecodeBoxes()([pictures, answers["regression"]]), answers["classification"]])
    places = anchors.anchor_boxes(*pictures.shape[1:3])
    drawn = []
    for picture, target, boxes, scores in zip(pictures, targets, *map(ops.convert_to_numpy, found)):
        is_object = target[:, -1] == anchors.OBJECT
        picture = draw_boxes(picture, anchors.decode(places, target[:, :4])[is_object], (0, 255, 0))
        drawn.append(draw_boxes(picture, boxes[scores > 0], (255, 0, 0)))
    return np.stack(drawn)

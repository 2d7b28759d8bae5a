"""Train the refiner on a finished keypoint head, which stays as it is (docs/refiner.md)."""

import keras
import numpy as np
from keras import ops

from multiposenet import training, weights
from multiposenet.codecs import person_window
from multiposenet.data.refiner import RefinerSource
from multiposenet.data.sets import read_sets
from multiposenet.drawing import draw_people
from multiposenet.errors import UserError
from multiposenet.models.heads import build_refiner
from multiposenet.models.looks import look, look_for_joints
from multiposenet.models.refiner import ReadJoints, RefinerLoss
from multiposenet.prediction import Person

DRAWN = 4  # pictures that TensorBoard shows


def build(config):
    """The training graph and the two heads inside it.

    Returns:
        (trainer, head, keypoints): trainer maps `image` and `boxes` to the logits of `PoseRefiner`; head does so from
        features, heatmaps and boxes.

    Raises:
        UserError: a configuration without a refiner; see `weights.keypoints_to_stand_on`.
    """
    model = config.model
    if not model.refiner_filters:
        raise UserError("model.refiner_filters is 0: this configuration has no refiner; configs/refiner_lite.yaml's has 64")
    keypoints = weights.keypoints_to_stand_on(config, weights.FIELDS["keypoints"])
    keypoints.trainable = False
    head = build_refiner(model)
    if config.train.init:
        weights.start_from("refiner", head, config.train.init, model)
    image, boxes = keras.Input((None, None, 3), name="image"), keras.Input((None, 4), dtype="float32", name="boxes")
    backbone, fpn, subnet = (keypoints.get_layer(name) for name in ("backbone", "keypoint_fpn", "keypoint_subnet"))
    heatmaps, maps = look_for_joints(model, look(model, image, backbone), boxes, ops.ones_like(boxes[..., 0]), fpn, subnet)
    return keras.Model({"image": image, "boxes": boxes}, head([*maps, heatmaps, boxes]), name="refiner_training"), head, keypoints


def train(config, workdir, resume=False):
    """Train as configured and write the head; returns its figures.

    Raises:
        UserError: see `build`, `training.fit`, `read_sets`, `RefinerSource`.
    """
    training.prepare(config)
    skeleton = config.model.skeleton
    pictures, held_out = read_sets(config.data, skeleton)
    source = RefinerSource(pictures, config, skeleton)
    validation = RefinerSource(held_out, config, skeleton, varied=False) if held_out else None
    model, head, keypoints = build(config)
    training.compile_model(model, RefinerLoss(), config, training.steps_per_epoch(source, config))
    shown, places = (validation or source).sample(DRAWN, config.train.devices)
    metrics = training.fit(model, source, validation, config, workdir, resume,
                           draw=lambda: draw(model, shown, places, config.model))
    weights.save_head("refiner", head, workdir, config, metrics, keypoints_sha256=weights.fingerprint(keypoints))
    return metrics


def draw(model, shown, places, config):
    """Each picture with the joints found, and beside it with those labelled.

    Args:
        model: the trainer of `build`.
        shown, places: x and y of `RefinerSource`.
        config: ModelConfig.

    Returns:
        (n, height, 2 width, 3) uint8.
    """
    window = config.refiner_grid, config.refiner_margin
    certain = np.ones_like(places) * (places[..., 2:].max(axis=2, keepdims=True))  # no joints where nobody is
    found = ReadJoints(config.skeleton.sigmas, *window)([shown["boxes"], certain[..., 0, 0], model.predict_on_batch(shown), certain])
    labelled = person_window.decode(shown["boxes"], places[..., :2], *window)
    labelled = np.concatenate([labelled, places[..., 2:]], axis=-1)
    return np.stack([np.hstack([draw_people(picture, _people(boxes, poses), config.skeleton) for poses in both])
                     for picture, boxes, *both in zip(shown["image"], shown["boxes"], ops.convert_to_numpy(found), labelled)])


def _people(boxes, poses):
    return [Person(box, 1.0, pose) for box, pose in zip(boxes, poses) if pose[:, 2].any()]

"""Train the refiner on single people's windows; it stands on no other head (docs/refiner.md)."""

import numpy as np
from keras import ops

from multiposenet import training, weights
from multiposenet.codecs import person_window
from multiposenet.data.refiner import RefinerSource
from multiposenet.data.sets import read_sets
from multiposenet.drawing import draw_people
from multiposenet.errors import UserError
from multiposenet.models.heads import build_refiner
from multiposenet.models.refined import ReadJoints
from multiposenet.models.refiner import RefinerLoss
from multiposenet.prediction import Person

DRAWN = 4  # windows that TensorBoard shows


def build(config):
    """The head, ready to be trained.

    Its backbone begins with the weights of `train.init`, a refiner; else with those of the keypoint head `train.keypoints`,
    which has seen people; else with `train.backbone_weights`.

    Raises:
        UserError: a configuration without a refiner, or a start that does not fit.
    """
    if not config.model.refiner_filters:
        raise UserError("model.refiner_filters is 0: this configuration has no refiner; configs/refiner_lite.yaml's has 64")
    if config.model.refiner_more_grids:
        raise UserError("model.refiner_more_grids: readers are trained one by one; leave it out, and average them with "
                        "merge_weights.py --refiner RUN RUN")
    head = build_refiner(config.model)
    backbone = head.reader.get_layer("reader_backbone")
    if config.train.init:
        weights.start_from("refiner", head, config.train.init, config.model)
    elif config.train.keypoints:
        theirs, model = weights.trained_head("keypoints", config.train.keypoints)
        network = backbone.network, backbone.preprocessing
        if (model.backbone, model.preprocessing) != network:
            raise UserError(f"{config.train.keypoints}: its backbone is a {model.backbone} ({model.preprocessing}), this refiner's "
                            f"is a {' ('.join(network)}); leave out train.keypoints and set train.backbone_weights")
        backbone.set_weights(theirs.get_layer("backbone").get_weights())
    elif config.train.backbone_weights:
        backbone.load_imagenet(config.train.backbone_weights)
    backbone.freeze(config.train.frozen_stages, config.train.live_batch_norm)
    return head


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
    head = build(config)
    model = training.trainer_of(head.reader)
    training.compile_model(model, RefinerLoss(config.model.refiner_boxes), config, training.steps_per_epoch(source, config),
                           backbone=head.reader.get_layer("reader_backbone").trainable_variables)
    windows, places = (validation or source).sample(DRAWN, config.train.devices)
    metrics = training.fit(model, source, validation, config, workdir, resume,
                           draw=lambda: draw(model, windows, places, config.model))
    weights.save_head("refiner", head, workdir, config, metrics)
    return metrics


def draw(model, windows, places, config):
    """Each window with the joints found, and beside it with those labelled.

    Args:
        model: the trainer.
        windows, places: x and y of `RefinerSource`.
        config: ModelConfig.

    Returns:
        (n, height, 2 width, 3) uint8.
    """
    rows, columns = windows.shape[1:3]
    boxes = np.tile(np.array([0, 0, columns, rows], "float32"), (len(windows), 1, 1))
    places = places[:, :len(config.skeleton)]
    certain = np.ones_like(places)[:, None]
    found = ReadJoints(config.skeleton.sigmas, config.refiner_grid, 0)(
        [boxes, certain[..., 0, 0], ops.expand_dims(model.predict_on_batch(windows), 1), certain,
         np.zeros((len(windows), 1, 1, places.shape[1]), "float32")])  # no picture was seen besides
    labelled = person_window.decode(boxes[:, 0], places[..., :2], config.refiner_grid, 0)
    labelled = np.concatenate([labelled, places[..., 2:]], axis=-1)
    return np.stack([np.hstack([draw_people(window, [Person(box[0], 1.0, pose)], config.skeleton) for pose in both])
                     for window, box, *both in zip(windows, boxes, ops.convert_to_numpy(found)[:, 0], labelled)])

"""Train the Pose Residual Network on annotations alone; no picture is opened (METHOD section 5)."""

import numpy as np

from multiposenet import training, weights
from multiposenet.codecs.person_grid import ENCODER
from multiposenet.data.prn import PrnSource
from multiposenet.data.sets import read_sets
from multiposenet.drawing import heat_overlay
from multiposenet.models.heads import build_prn
from multiposenet.models.prn import PersonGridLoss

DRAWN = 8  # people that TensorBoard shows


def train(config, workdir, resume=False):
    """Train as configured and write the head; returns its figures.

    Raises:
        UserError: see `read_sets`, `PrnSource`, `training.fit`, `weights.load_head`.
    """
    training.prepare(config)
    skeleton = config.model.skeleton
    pictures, held_out = read_sets(config.data, skeleton, with_images=False)
    source = PrnSource(pictures, config, skeleton)
    validation = PrnSource(held_out, config, skeleton, varied=False) if held_out else None
    head = build_prn(config.model)
    if config.train.init:
        weights.start_from("prn", head, config.train.init, config.model)
    model = training.trainer_of(head)
    training.compile_model(model, PersonGridLoss(), config, training.steps_per_epoch(source, config))
    grids, targets = (validation or source).sample(DRAWN, config.train.devices)
    metrics = training.fit(model, source, validation, config, workdir, resume, draw=lambda: draw(model, grids, targets))
    weights.save_head("prn", head, workdir, config, metrics, encoder=ENCODER)
    return metrics


def draw(model, grids, targets):
    """Person grids in colours, side by side: everybody's joints, the owner's as predicted, and as they are.

    Each is as bright as its hottest cell allows: a prediction spreads a joint's one whole over many cells.

    Args:
        model: the Pose Residual Network, or its trainer.
        grids, targets: (n, rows, columns, K), see `PrnSource`.

    Returns:
        (n, 4 rows, 3 x 4 columns, 3) uint8; in each cell the hottest joint.
    """
    rows, columns = grids.shape[1:3]
    black = np.zeros((4 * rows, 4 * columns, 3), "uint8")
    return np.stack([np.hstack([heat_overlay(black, grid.max(axis=-1) / grid.max()) for grid in three])
                     for three in zip(grids, model.predict_on_batch(grids), targets)])

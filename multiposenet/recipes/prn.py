"""Train the Pose Residual Network on annotations alone; no picture is opened (METHOD section 5)."""

from multiposenet import training, weights
from multiposenet.codecs.person_grid import ENCODER
from multiposenet.data.prn import PrnSource
from multiposenet.data.sets import read_sets
from multiposenet.models.heads import build_prn
from multiposenet.models.prn import PersonGridLoss


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
    metrics = training.fit(model, source, validation, config, workdir, resume)
    weights.save_head("prn", head, workdir, config, metrics, encoder=ENCODER)
    return metrics

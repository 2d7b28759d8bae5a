"""Train the activity classifier (METHOD section 6): cross-validation first, then the fit on everything."""

import warnings
from pathlib import Path

import keras
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from multiposenet import training, weights
from multiposenet.codecs import pose_vector
from multiposenet.data.activity import ActivitySource, hold_out, read_pose_sets
from multiposenet.errors import UserError
from multiposenet.evaluation import activity as evaluation
from multiposenet.models.heads import build_activity

FOLDS = "folds"  # each fold is a run of its own in this folder, so that it can be resumed


def train(config, workdir, resume=False):
    """Train as configured and write the head; returns its figures, `cross_validation` among them.

    Raises:
        UserError: see `read_pose_sets`, `split`, `training.fit`; or several devices.
    """
    workdir, skeleton = Path(workdir), config.model.skeleton
    if config.train.devices > 1:
        raise UserError("the activity classifier is too small to be shared by devices: leave out train.devices")
    if resume and not _started(workdir) and not _started(workdir / FOLDS / "1"):
        raise UserError(f"{workdir}: nothing to resume there; leave out --resume to start")
    table = read_pose_sets(config, skeleton)
    print(table.describe())
    metrics = {}
    if config.activity.folds:
        metrics["cross_validation"] = cross_validate(table, config, skeleton, workdir / FOLDS, resume)
        print(evaluation.table(metrics["cross_validation"]))
    head, best = fit(table, config, skeleton, workdir, resume)
    metrics.update(best)
    weights.save_head("activity", head, workdir, config, metrics)
    return metrics


def cross_validate(table, config, skeleton, workdir, resume=False):
    """`evaluation.summarise` over the folds; each is trained on the others, its best epoch chosen among those alone."""
    figures = []
    for number, (learn, test) in enumerate(split(table, config.activity.folds, config.train.seed), start=1):
        model, _ = fit(table.take(learn), config, skeleton, Path(workdir) / str(number), resume)
        figures.append(evaluation.evaluate(table.labels[test], predict(model, table.take(test), config), table.classes))
    return evaluation.summarise(figures)


def split(table, folds, seed):
    """List of (training rows, test rows): stratified by class, a group's people together.

    Raises:
        UserError: a class has people in fewer pictures than there are folds.
    """
    if folds < 2:
        raise UserError("activity.folds: cross-validation needs at least 2 folds (0 switches it off)")
    for label, name in enumerate(table.classes):
        pictures = len(set(table.groups[table.labels == label]))
        if pictures < folds:
            raise UserError(f"{folds} folds need {name!r} people in at least {folds} pictures, found {pictures}; "
                            "set activity.folds lower (0 for none)")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(table)), table.labels, table.groups))


def fit(table, config, skeleton, workdir, resume=False):
    """Train one classifier, `data.validation` of the pictures held out; returns (head, best epoch's figures)."""
    training.prepare(config)
    learn, held_out = hold_out(table, config.data.validation)
    source = ActivitySource(learn, config, skeleton)
    validation = ActivitySource(held_out, config, skeleton, varied=False) if len(held_out) else None
    if validation is None and config.train.schedule == "plateau":
        warnings.warn("no picture is held out (data.validation), so the learning rate stays as it is")
    head = build_activity(config.model)
    if config.train.init:
        weights.start_from("activity", head, config.train.init, config.model)
    model = training.trainer_of(head)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=config.activity.label_smoothing)
    training.compile_model(model, loss, config, training.steps_per_epoch(source, config),
                           metrics=["accuracy"])
    return head, training.fit(model, source, validation, config, workdir, resume and _started(workdir))


def predict(model, table, config):
    """(N, classes) probabilities of a table's people."""
    vectors = pose_vector.encode(table.poses, table.boxes, config.model.pose_min_score, config.model.pose_pairs)
    return model.predict(vectors, verbose=0)


def _started(workdir):
    return (Path(workdir) / training.LAST).exists()

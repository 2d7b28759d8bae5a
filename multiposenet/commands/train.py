"""`train_keypoints`, `train_detector`, `train_refiner`, `train_prn`, `train_activity`: one command line, five recipes."""

import argparse
import importlib
import json
import resource
import tempfile
from pathlib import Path

from multiposenet.commands.common import add_config_arguments, config_from, quiet_tensorflow, run

CURVE = "learning_curve.png"
DRY_STEPS = 5  # the first one or two compile


def train(head, description, argv=None):
    """Train one head from a command line and print its figures."""
    parser = argparse.ArgumentParser(description=description)
    add_config_arguments(parser)
    parser.add_argument("--workdir", help="run folder: checkpoints, logs, the head's weights and manifest")
    parser.add_argument("--resume", action="store_true", help="continue the run of that folder")
    parser.add_argument("--finish", action="store_true",
                        help="write the head of a run that was stopped, as its best epoch so far left it")
    parser.add_argument("--dry-run", action="store_true",
                        help="a few steps through everything in a folder that is thrown away; says how long all would take")
    parser.add_argument("--mixed-precision", action="store_true", help="same as --set train.precision=mixed_bfloat16")
    arguments = parser.parse_args(argv)
    if arguments.mixed_precision:
        arguments.overrides.append("train.precision=mixed_bfloat16")
    if arguments.finish:
        arguments.overrides.append("train.max_steps=1")  # it has more behind it, so none is added
    config = config_from(arguments)
    if not arguments.workdir and not arguments.dry_run:
        parser.error("--workdir is missing: name the run's folder")
    if arguments.dry_run:
        rehearse(head, config)
        peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** 20  # Linux counts in KiB
        return print(f"dry run of {DRY_STEPS} steps: everything works, {peak_gib:.1f} GiB of memory; nothing was kept")
    metrics = _recipe(head).train(config, arguments.workdir, arguments.resume or arguments.finish)
    print(json.dumps(metrics, indent=1))
    _draw_learning_curve(Path(arguments.workdir))
    print(f"wrote {arguments.workdir}/{head}.weights.h5, its manifest {head}.json and {CURVE}")


def _draw_learning_curve(workdir):
    from multiposenet.evaluation.figures import learning_curve  # matplotlib takes a while

    learning_curve(workdir / CURVE, workdir / "log.csv")


def rehearse(head, config):
    """Train, validate and save as the run would, but for `DRY_STEPS` steps; `training.fit` prints what all would take.

    Returns:
        Dict of the epoch's figures, among them `step_s` and `loads_per_s`; see `training.fit`.
    """
    trial = {"train": config.train.model_copy(update={"max_steps": DRY_STEPS}),
             "activity": config.activity.model_copy(update={"folds": 0})}
    with tempfile.TemporaryDirectory() as folder:
        return _recipe(head).train(config.model_copy(update=trial), folder)


def _recipe(head):
    with quiet_tensorflow():  # Keras comes only after the arguments hold
        return importlib.import_module(f"multiposenet.recipes.{head}")


def keypoints():
    """Console entry point."""
    return run(train, "keypoints", "Train backbone, keypoint pyramid and keypoint subnet.")


def detector():
    """Console entry point."""
    return run(train, "detector", "Train the person detector on the frozen backbone of a keypoint run "
                                  "(--set train.keypoints=RUN).")


def refiner():
    """Console entry point."""
    return run(train, "refiner", "Train the refiner, a second look at each person. It fits every model of the same joints.")


def prn():
    """Console entry point."""
    return run(train, "prn", "Train the Pose Residual Network; annotations only, no picture is opened.")


def activity():
    """Console entry point."""
    return run(train, "activity", "Train the activity classifier on poses with activity labels.")

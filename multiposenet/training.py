"""One training loop for all heads: checkpoints, exact resume, clean interruption, logs.

Every step's batch is a function of the seed and the step (data/batches.py) and the optimizer counts the steps, so a
run that was killed continues from its last checkpoint to the losses that an unbroken run gives.
"""

import contextlib
import json
import math
import os
import signal
import time
from pathlib import Path

import keras
import numpy as np

from multiposenet.config import load_config, save_config
from multiposenet.data.batches import Batches, loader_is_done
from multiposenet.devices import share_batches, share_statistics
from multiposenet.errors import UserError
from multiposenet.files import replacing, write_whole
from multiposenet.loggers import make_loggers, plateau_state
from multiposenet.optimizer import Adam, averaged, learning_rate

LAST, BEST, STATE = "last.weights.h5", "best.weights.h5", "state.json"
REHEARSED_LOADS = 8  # batches


def prepare(config):
    """Seed, precision and devices; call before the model is built.

    Raises:
        UserError: see `share_batches`.
    """
    keras.utils.set_random_seed(config.train.seed)
    keras.config.set_dtype_policy(config.train.precision)
    share_batches(config.train)


def steps_per_epoch(source, config):
    """Optimizer steps that make one epoch."""
    return config.train.steps_per_epoch or _batches(source, config).steps_per_epoch


def _batches(source, config, **options):
    return Batches(source, config.train.batch_size, config.train.seed, devices=config.train.devices, **options)


def compile_model(model, losses, config, steps, loss_weights=None, metrics=None, backbone=()):
    """Compile with the configured optimizer. `losses`: dict by output name, or one loss; `backbone`: its variables."""
    train = config.train
    optimizer = Adam(learning_rate(train, steps), global_clipnorm=train.clip_norm, use_ema=train.ema > 0,
                     ema_momentum=train.ema or 0.99, slow=backbone, slow_rate=train.backbone_rate,
                     gradient_accumulation_steps=train.accumulate if train.accumulate > 1 else None)
    compiled = train.jit_compile or keras.backend.backend() == "jax"  # JAX without its compiler crawls
    share_statistics(model)
    model.compile(optimizer, loss=losses, loss_weights=loss_weights, metrics=metrics, jit_compile=compiled)


def trainer_of(head):
    """A model around a head that is all there is to train: compiled, it keeps the optimizer out of the head's file."""
    inputs = keras.Input(head.input_shape[1:])
    return keras.Model(inputs, head(inputs), name=f"{head.name}_training")


def fit(model, source, validation, config, workdir, resume=False, watch=None, draw=None):
    """Train a compiled model; it ends with the weights of the epoch that `train.keep` means.

    Args:
        model: a compiled keras.Model.
        source: `Source` to train on.
        validation: `Source` that picks the best epoch, or None: then the training loss does.
        config: `Config`.
        workdir: run folder; gets config.yaml, log.csv, tensorboard/, last and best weights, state.json.
        resume: continue the run of that folder.
        watch: function that gives a dict of further figures to log after each epoch.
        draw: function that gives (n, height, width, 3) uint8 pictures of predictions, for TensorBoard after each epoch.

    Returns:
        Dict of the best epoch's figures; with `train.max_steps` also the samples a second that one process loads.

    Raises:
        UserError: the folder holds another run, nothing to resume, or a loss that is not finite.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after the checkpoint was written.
    """
    workdir, steps = Path(workdir), steps_per_epoch(source, config)
    state = _open_run(model, config, workdir, resume)
    total, last, patience = config.train.epochs * steps, config.train.max_steps, config.train.stop_after
    guard, loggers = _StepGuard(), make_loggers(model, workdir, config, state, draw)
    print(_plan(config.train, steps))
    rehearsed = {}
    if last and _step(model) < last:  # a rehearsal, which --finish is not
        rehearsed["loads_per_s"] = _loads_per_s(_batches(source, config))
        print(f"one process loads {rehearsed['loads_per_s']:.0f} samples/s; train.workers is {config.train.workers}")
    with guard.signals():
        while (step := _step(model)) < min(total, last or total):
            epoch = step // steps
            batches = _batches(source, config, first=step, last=min((epoch + 1) * steps, last or total),
                               workers=config.train.workers)
            guard.batches = batches
            history = model.fit(batches, initial_epoch=epoch, epochs=config.train.epochs, shuffle=False,
                                callbacks=[guard], verbose=2 - _tty())
            if guard.interrupted:
                _save(model, workdir, state)
                raise KeyboardInterrupt(f"stopped at step {_step(model)} of {total}; continue with --resume")
            logs = {key: values[-1] for key, values in history.history.items()}
            logs.update(_validate(model, validation, config), step_s=guard.step_s(), **rehearsed)
            logs.update(watch() if watch else {})
            _keep_best(model, workdir, state, epoch, logs, config.train.keep)
            loggers.on_epoch_end(epoch, logs)
            state["plateau"] = plateau_state(loggers)
            _save(model, workdir, state)
            print(f"{logs['step_s']:.2g} s a step, so all {total} take {total * logs['step_s'] / 3600:.2g} h and validation")
            if patience and epoch + 1 - state["best"]["epoch"] >= patience:
                print(f"no better epoch in {patience} (train.stop_after), so the run ends here")
                break
    loggers.on_train_end()
    if not state["best"]:
        raise UserError(f"{workdir}: no epoch was finished yet; go on with --resume")
    model.load_weights(workdir / BEST)
    return state["best"]


def _plan(train, steps):
    """What is about to happen, in one line."""
    total, rate = train.epochs * steps, learning_rate(train, steps)
    rates = [rate if isinstance(rate, float) else float(rate(step)) for step in (0, total // 4, total // 2, total - 1)]
    return (f"{train.epochs} epochs of {steps} steps of {train.batch_size} samples; learning rate {train.schedule}, at the "
            f"start, a quarter, half and the end: {', '.join(f'{value:.2g}' for value in rates)}")


def _loads_per_s(batches):
    """Samples a second that one process loads, first reads of every file included."""
    start, count = time.perf_counter(), min(REHEARSED_LOADS, batches.steps_per_epoch)
    for i in range(count):
        batches[i]
    return count * batches.batch_size / (time.perf_counter() - start)


def _open_run(model, config, workdir, resume):
    workdir.mkdir(parents=True, exist_ok=True)
    model.optimizer.build(model.trainable_variables)
    if not resume:
        if (workdir / LAST).exists():
            raise UserError(f"{workdir} holds a run already: add --resume to continue it, or choose another folder")
        save_config(config, workdir / "config.yaml")
        return {"best": None, "plateau": None}
    if not (workdir / LAST).exists():
        raise UserError(f"{workdir}: no {LAST} to resume from")
    _check_same_run(config, load_config(workdir / "config.yaml"), workdir)
    model.load_weights(workdir / LAST)
    state = json.loads((workdir / STATE).read_text())
    for seed, value in zip(_dropout_seeds(model), state["seeds"]):
        seed.assign(value)
    return state


def _check_same_run(config, before, workdir):
    """Only what leaves the losses may differ: a constant-rate run's length, workers, devices, a trial's end, data's root."""
    def fixed(c):
        tree = c.model_dump()
        for key in ("workers", "devices", "max_steps", *(() if c.train.schedule == "cosine" else ("epochs",))):
            tree["train"].pop(key)
        tree["data"].pop("root")
        return tree

    different = [section for section, value in fixed(config).items() if fixed(before)[section] != value]
    if different:
        raise UserError(f"{workdir}/config.yaml differs from this configuration in: {', '.join(different)}; "
                        "resume with the same one, or start a new run with train.init")


def _step(model):
    return int(model.optimizer.variables[0].numpy())  # counts every step; `iterations` only those that move the weights


def _tty():
    """A live progress bar with ETA in a terminal, one line an epoch in a log file."""
    return os.isatty(1)


def _save(model, workdir, state):
    _write_weights(model, workdir / LAST)
    state["seeds"] = [keras.ops.convert_to_numpy(seed).tolist() for seed in _dropout_seeds(model)]
    write_whole(workdir / STATE, json.dumps(state, indent=1))


def _dropout_seeds(model):
    """States of the model's random layers: Keras leaves them out of weights files."""
    return [variable for variable in model.variables if "seed_generator" in variable.path]


def _write_weights(model, path):
    with replacing(path) as temporary:
        model.save_weights(temporary)


def _validate(model, validation, config):
    if not validation:
        return {}
    batches = _batches(validation, config, augment=False)
    batches.last = 1 if config.train.max_steps else batches.last
    with averaged(model):
        figures = model.evaluate(batches, return_dict=True, verbose=0)
    return {f"val_{key}": value for key, value in figures.items()}


def _keep_best(model, workdir, state, epoch, logs, keep):
    best = state["best"]
    watched = "val_loss" if "val_loss" in logs else "loss"
    if best is None or keep == "last" or logs[watched] < best[watched]:
        state["best"] = {"epoch": epoch + 1, **{key: float(value) for key, value in logs.items()}}
        with averaged(model):
            _write_weights(model, workdir / BEST)


class _StepGuard(keras.callbacks.Callback):
    """Ends every `fit` after one epoch, after the step in which a signal came, or at a loss that is not finite."""

    def __init__(self):
        super().__init__()
        self.batches, self.interrupted, self.ends, self.latest = None, False, [], None

    def step_s(self):
        """Median seconds between this epoch's steps; of one step alone, nothing can be said."""
        return float(np.median(np.diff(self.ends))) if len(self.ends) > 1 else float("nan")

    def on_epoch_begin(self, epoch, logs=None):
        self.ends, self.latest = [], None

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())
        self._check_latest()
        self.latest = batch, logs["loss"]
        if self.interrupted:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        self._check_latest()
        self.model.stop_training = True

    def _check_latest(self):
        """One step late: a GPU works on a step while the next batch is sent to it, unless its loss is waited for."""
        if self.latest and not math.isfinite(self.latest[1]):
            batch, loss = self.latest
            names = ", ".join(self.batches.names(self.batches.first + batch))
            raise UserError(f"the loss became {loss} at step {self.batches.first + batch}, on: {names}. "
                            "Look at these samples, or lower train.learning_rate")

    @contextlib.contextmanager
    def signals(self):
        """Ctrl-C and SIGTERM ask for a stop after the running step; a second one stops at once."""
        owner = os.getpid()

        def ask(number, frame):
            if os.getpid() != owner:  # a process that loads samples
                if number == signal.SIGTERM and loader_is_done(owner):
                    os._exit(0)
            elif self.interrupted:
                raise KeyboardInterrupt
            else:
                self.interrupted = True

        try:
            previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread, e.g. in a notebook's worker
            previous = {}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

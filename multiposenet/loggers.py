"""Where a training's figures and pictures go after every epoch."""

import importlib.util
import os
import zlib

import keras

from multiposenet.optimizer import averaged


def make_loggers(model, workdir, config, state, draw):
    """Keras' own callbacks, told of whole epochs only, so that they outlive the `fit` of one epoch."""
    callbacks = [keras.callbacks.CSVLogger(workdir / "log.csv", append=True)]
    if config.train.schedule == "plateau":
        callbacks.append(keras.callbacks.ReduceLROnPlateau("val_loss", config.train.decay_rate, config.train.patience))
    if all(importlib.util.find_spec(name) for name in ("tensorflow", "tensorboard")):  # Keras' callback needs both
        callbacks.append(keras.callbacks.TensorBoard(workdir / "tensorboard"))
        if draw:
            callbacks.append(_Pictures(draw, workdir / "tensorboard" / "pictures"))
    if os.environ.get("WANDB_PROJECT") and importlib.util.find_spec("wandb"):
        callbacks.append(_WandbLogger(workdir, config))
    callbacks = keras.callbacks.CallbackList(callbacks, model=model)
    callbacks.on_train_begin()
    for callback in callbacks.callbacks:
        if isinstance(callback, keras.callbacks.ReduceLROnPlateau) and state["plateau"]:
            vars(callback).update(state["plateau"])
    return callbacks


def plateau_state(loggers):
    """What `ReduceLROnPlateau` has seen so far, for a resumed run, or None without it."""
    for callback in loggers.callbacks:
        if isinstance(callback, keras.callbacks.ReduceLROnPlateau):
            return {"best": float(callback.best), "wait": callback.wait, "cooldown_counter": callback.cooldown_counter}
    return None


class _Pictures(keras.callbacks.Callback):
    """Shows TensorBoard what the weights that count, the averaged ones, predict after each epoch."""

    def __init__(self, draw, folder):
        super().__init__()
        self.draw, self.folder, self.writer = draw, folder, None

    def on_epoch_end(self, epoch, logs=None):
        import tensorflow as tf  # on any backend: TensorBoard's files are written by it

        self.writer = self.writer or tf.summary.create_file_writer(str(self.folder))
        with averaged(self.model):
            pictures = self.draw()
        with self.writer.as_default():
            tf.summary.image("predictions", pictures, step=epoch, max_outputs=len(pictures))
        self.writer.flush()


class _WandbLogger(keras.callbacks.Callback):
    """Figures of every epoch to Weights & Biases, for who has it installed and names a project; a resumed run goes on."""

    def __init__(self, workdir, config):
        super().__init__()
        import wandb

        self.run = wandb.init(name=workdir.name, id=f"{zlib.crc32(str(workdir.resolve()).encode()):08x}", resume="allow",
                              reinit="create_new", config=config.model_dump(mode="json"))

    def on_epoch_end(self, epoch, logs=None):
        self.run.log(logs, step=epoch)

    def on_train_end(self, logs=None):
        self.run.finish()

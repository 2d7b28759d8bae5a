"""Several devices that share every batch, by JAX' own means."""

import keras

from multiposenet.errors import UserError


def share_batches(devices, batch_size):
    """Split every batch over the first `devices` of the machine; call before the model is built.

    JAX runs one program over the whole batch: dropout, BatchNorm's statistics, the losses' numbers of object anchors
    and the clipping of gradients are those of the whole batch, as on one device, and so are the losses of the run.

    Raises:
        UserError: not on JAX, fewer devices there, or a batch that cannot be shared evenly.
    """
    if batch_size % devices:
        raise UserError(f"train.batch_size = {batch_size} cannot be shared evenly by train.devices = {devices}")
    if keras.backend.backend() == "jax":
        keras.distribution.set_distribution(None if devices == 1 else _data_parallel(devices))
    elif devices > 1:
        # Keras 3's `fit` runs under TensorFlow's MirroredStrategy, but trains otherwise: each device clips its own
        # gradients and counts its own object anchors, dropout differs, losses that are one number for the batch are
        # summed over the devices, and gradient accumulation ends in an error.
        raise UserError(f"train.devices = {devices} works on JAX alone: set KERAS_BACKEND=jax, or train.devices=1")


def _data_parallel(devices):
    there = keras.distribution.list_devices()
    if len(there) < devices:
        raise UserError(f"train.devices = {devices}, but JAX finds {len(there)} here: {', '.join(there)}")
    return keras.distribution.DataParallel(devices=there[:devices])

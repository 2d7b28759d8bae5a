"""Several devices that share every batch, by the backend's own means: the losses of a run are those of one device."""

import functools

import keras
from keras import ops

from multiposenet.errors import UserError


def share_batches(train):
    """Split every batch over the first `train.devices` of the machine; call before the model is built.

    On JAX one program runs over the whole batch (`keras.distribution`). On TensorFlow each device runs its share
    (`tf.distribute`), and what belongs to the whole batch is put together: gradients before they are clipped
    (`optimizer.Adam`), the losses' numbers of objects (`batch_count`), BatchNorm's statistics
    (`share_statistics`). Dropout alone draws other numbers there.

    Args:
        train: TrainConfig.

    Raises:
        UserError: fewer devices there, a batch that cannot be shared evenly, a backend or settings that cannot share.
    """
    if train.batch_size % train.devices:
        raise UserError(f"train.batch_size = {train.batch_size} cannot be shared evenly by train.devices = {train.devices}")
    backend = keras.backend.backend()
    if backend == "jax":
        keras.distribution.set_distribution(None if train.devices == 1 else _data_parallel(train.devices))
    elif backend == "tensorflow":
        _mirror(train)
    elif train.devices > 1:
        raise UserError(f"train.devices = {train.devices} works on TensorFlow and JAX: set KERAS_BACKEND, or train.devices=1")


def batch_count(count):
    """What a loss that sums over its batch divides by: the batch's count of what is to find, at least 1.

    On several devices of TensorFlow each has its share of the sum and Keras adds such losses up, so it is the count of
    all shares.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        device = tf.distribute.get_replica_context()
        if device:
            count = device.all_reduce(tf.distribute.ReduceOp.SUM, count)
    return ops.maximum(count, 1.0)


def share_statistics(model):
    """BatchNorm's statistics become those of the whole batch on all devices that TensorFlow has been told of."""
    if keras.backend.backend() == "tensorflow" and model.distribute_strategy.num_replicas_in_sync > 1:
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True


def _data_parallel(devices):
    there = keras.distribution.list_devices()
    _check_number(devices, there)
    return keras.distribution.DataParallel(devices=there[:devices])


def _mirror(train):
    import tensorflow as tf

    if train.devices == 1:
        if tf.distribute.has_strategy():
            tf.distribute.experimental_set_strategy(None)
        return
    for setting, meant in (("accumulate", 1), ("jit_compile", False)):
        if getattr(train, setting) != meant:
            raise UserError(f"on TensorFlow, train.devices = {train.devices} needs train.{setting}={str(meant).lower()}; "
                            "KERAS_BACKEND=jax does without")
    there = [device.name for device in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")]
    _check_number(train.devices, there)
    tf.distribute.experimental_set_strategy(_mirrored_strategy(tuple(there[:train.devices])))


@functools.cache
def _mirrored_strategy(devices):
    """One for the whole process: a second one would number its reductions as the first did, and they would be mixed up."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(devices)


def _check_number(devices, there):
    if len(there) < devices:
        raise UserError(f"train.devices = {devices}, but {keras.backend.backend()} finds {len(there)} here: {', '.join(there)}")

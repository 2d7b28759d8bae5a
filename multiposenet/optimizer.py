"""Adam with what our trainings want of it: slow variables, a moving average kept apart, schedules from the configuration."""

import contextlib

import keras


class Adam(keras.optimizers.Adam):
    """Adam whose moving average of the weights is used for checkpoints and validation only.

    Args:
        slow: variables that learn at `slow_rate` of the learning rate.
        slow_rate: their factor.
    """

    def __init__(self, *args, slow=(), slow_rate=1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.slow, self.slow_rate = {self._var_key(variable) for variable in slow}, slow_rate

    def apply(self, grads, trainable_variables=None):
        """On several devices of TensorFlow the gradients are summed first, so that the whole batch's are clipped."""
        if keras.backend.backend() == "tensorflow":
            grads = [gradient for gradient, _ in super()._all_reduce_sum_gradients([(gradient, None) for gradient in grads])]
        super().apply(grads, trainable_variables)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        """Keras on TensorFlow would sum only now, after clipping."""
        return grads_and_vars

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        """Where every backend's update passes: once for each rate."""
        for slow, rate in ((False, learning_rate), (True, learning_rate * self.slow_rate)):
            group = [(g, v) for g, v in zip(grads, trainable_variables) if (self._var_key(v) in self.slow) == slow]
            if group:
                super()._backend_update_step(*map(list, zip(*group)), rate)

    def _update_model_variables_moving_average(self, variables):
        """A young average forgets faster, as TensorFlow's does that counts updates: after 1,500 steps of momentum 0.998 the
        weights from before the training would still make up a twentieth of it."""
        momentum, updates = self.ema_momentum, keras.ops.cast(self.iterations, "float32")
        self.ema_momentum = keras.ops.minimum(momentum, (1 + updates) / (10 + updates))
        try:
            super()._update_model_variables_moving_average(variables)
        finally:
            self.ema_momentum = momentum

    def finalize_variable_values(self, var_list):
        """Keras calls this at the end of every `fit`, here of every epoch: the training weights must stay."""

    def use_average(self, variables):
        """Overwrite the variables with their moving average, if one is kept."""
        super().finalize_variable_values(variables)
        for variable in variables:  # on JAX they share the average's memory now, which `evaluate` would give away
            variable.assign(keras.ops.copy(variable))


def learning_rate(train, steps):
    """The configured schedule over `steps` optimizer steps an epoch."""
    schedules = keras.optimizers.schedules
    if train.schedule == "cosine":
        total = train.epochs * steps
        warmup = min(train.warmup_steps, total // 2)
        start = train.learning_rate / 100 if warmup else train.learning_rate
        return schedules.CosineDecay(start, total - warmup, warmup_target=train.learning_rate if warmup else None,
                                     warmup_steps=warmup)
    if train.schedule == "step":
        return schedules.ExponentialDecay(train.learning_rate, max(1, round(train.decay_epochs * steps)),
                                          train.decay_rate, staircase=True)
    return train.learning_rate


@contextlib.contextmanager
def averaged(model):
    """Inside, the model has the moving average of its weights, if its optimizer keeps one."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        yield
        return
    training = [variable.numpy() if hasattr(variable, "numpy") else variable for variable in model.trainable_variables]
    optimizer.use_average(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, training):
            variable.assign(value)

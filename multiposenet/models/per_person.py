"""What is done for every person of every picture, done for all at once."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("multiposenet")
class PerPerson(keras.layers.Layer):
    """Applies a model to every person at once: (batch, people, ...) -> (batch, people, ...)."""

    def __init__(self, model, **kwargs):
        super().__init__(**kwargs)
        self.model = model

    def call(self, x, training=None):
        shape = ops.shape(x)
        y = self.model(ops.reshape(x, (-1, *x.shape[2:])), training=training)
        return ops.reshape(y, (shape[0], shape[1], *y.shape[1:]))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:2], *self.model.output_shape[1:])

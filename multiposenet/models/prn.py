"""Pose Residual Network: which joints in a box are its owner's (METHOD section 5; Kocabas et al. 2018, section 3.4)."""

import math

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("multiposenet")
class PoseResidualNetwork(keras.Model):
    """Person grids (batch, rows, columns, K) -> the same shape, float32; each joint's cells sum to 1.

    Args:
        joints: K.
        grid: rows, columns.
        hidden: units of both hidden layers.
        dropout: after each of them.
    """

    def __init__(self, joints=17, grid=(56, 36), hidden=1024, dropout=0.5, name="prn", **kwargs):
        cells = math.prod(grid)
        flatten = layers.Flatten(name="flatten")
        residual = layers.Dense(cells * joints, name="residual")
        add = layers.Add(dtype="float32", name="add")
        to_cells = layers.Reshape((cells, joints), dtype="float32", name="cells")
        softmax = layers.Softmax(axis=1, dtype="float32", name="owner")  # over the cells of one joint
        to_grid = layers.Reshape((*grid, joints), dtype="float32", name="grid")

        grids = keras.Input((*grid, joints), name="grids")
        inputs = x = flatten(grids)
        for step in "ab":
            x = layers.Dense(hidden, activation="relu", name=f"hidden_{step}")(x)
            x = layers.Dropout(dropout, name=f"dropout_{step}")(x)
        logits = add([inputs, residual(x)])
        super().__init__(grids, to_grid(softmax(to_cells(logits))), name=name, **kwargs)

        self.arguments = dict(joints=joints, grid=tuple(grid), hidden=hidden, dropout=dropout)

    def get_config(self):
        return {**self.arguments, "name": self.name}


@keras.saving.register_keras_serializable("multiposenet")
class PersonGridLoss(keras.losses.Loss):
    """Binary cross-entropy between grids (batch, rows, columns, K), as Keras' own but summed over a person's cells.

    Keras' mean over 34272 cells would leave gradients near Adam's epsilon.
    """

    def __init__(self, name="person_grid", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        return ops.sum(ops.binary_crossentropy(ops.cast(y_true, "float32"), y_pred), axis=(1, 2, 3))

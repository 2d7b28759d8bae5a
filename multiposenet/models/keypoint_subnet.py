"""Heatmaps from the keypoint pyramid, and the intermediate supervision that trains it (METHOD section 3)."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("multiposenet")
class BilinearUpsampling(layers.Layer):
    """(batch, h, w, channels) -> (batch, factor h, factor w, channels), cells being squares, the border repeated.

    Bilinear, since of nearest cells the coarse levels make steps of up to 32 pixels, between which no joint can be
    placed (docs/experiments.md). By two matrix products, which every backend and exporter has for sizes not known before.
    """

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, features):
        rows, columns = ops.shape(features)[1:3]
        maps = ops.transpose(features, (0, 3, 1, 2))
        maps = ops.matmul(ops.matmul(self._matrix(rows), maps), ops.transpose(self._matrix(columns)))
        return ops.transpose(maps, (0, 2, 3, 1))

    def _matrix(self, cells):
        """(factor cells, cells): the shares of two neighbouring cells in each fine one."""
        places = (ops.arange(cells * self.factor, dtype="float32") + 0.5) / self.factor - 0.5
        places = ops.clip(places, 0, ops.cast(cells - 1, "float32"))
        distances = ops.abs(places[:, None] - ops.arange(cells, dtype="float32"))
        return ops.cast(ops.maximum(1 - distances, 0), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        batch, rows, columns, channels = input_shape
        return batch, rows and rows * self.factor, columns and columns * self.factor, channels

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def _upsampled(features, level, name):
    """To stride 4."""
    return features if level == 2 else BilinearUpsampling(2 ** (level - 2), name=name)(features)


def _to_heatmaps(maps, name):
    """Small initial weights: the first heatmaps are near zero, as almost every target cell is."""
    small = keras.initializers.RandomNormal(stddev=0.01)
    return layers.Conv2D(maps, 1, kernel_initializer=small, dtype="float32", name=name)


@keras.saving.register_keras_serializable("multiposenet")
class KeypointSubnet(keras.Model):
    """[P2, P3, P4, P5] -> heatmaps (batch, height / 4, width / 4, maps), linear, float32.

    Args:
        channels: of the pyramid.
        filters: of the two 3x3 convolutions on each level.
        fusion_filters: of the 3x3 convolution on the concatenated levels.
        maps: joints + 1.
        batch_norm: normalise after each 3x3 convolution.
    """

    def __init__(self, channels, filters=128, fusion_filters=512, maps=18, batch_norm=False, name="keypoint_subnet",
                 **kwargs):
        def conv(features, filters, name):
            features = layers.Conv2D(filters, 3, padding="same", use_bias=not batch_norm, name=name)(features)
            if batch_norm:
                features = layers.BatchNormalization(name=f"{name}_bn")(features)
            return layers.ReLU(name=f"{name}_relu")(features)

        pyramid = [keras.Input((None, None, channels), name=f"P{level}") for level in (2, 3, 4, 5)]
        branches = []
        for level, features in zip((2, 3, 4, 5), pyramid):
            for step in "ab":
                features = conv(features, filters, f"D{level}{step}")
            branches.append(_upsampled(features, level, f"D{level}_upsampled"))
        fused = conv(layers.Concatenate(name="Z")(branches), fusion_filters, "Z_smooth")
        heatmaps = _to_heatmaps(maps, "heatmaps")(fused)
        super().__init__(pyramid, heatmaps, name=name, **kwargs)
        self.arguments = dict(channels=channels, filters=filters, fusion_filters=fusion_filters, maps=maps,
                              batch_norm=batch_norm)

    def get_config(self):
        return {**self.arguments, "name": self.name}


@keras.saving.register_keras_serializable("multiposenet")
class IntermediateHeatmaps(keras.Model):
    """[P2, P3, P4, P5] -> one set of heatmaps from each level at stride 4; only in training."""

    def __init__(self, channels, maps=18, name="intermediate_heatmaps", **kwargs):
        pyramid = [keras.Input((None, None, channels), name=f"P{level}") for level in (2, 3, 4, 5)]
        outputs = [_upsampled(_to_heatmaps(maps, f"level{level}")(features), level, f"level{level}_upsampled")
                   for level, features in zip((2, 3, 4, 5), pyramid)]
        super().__init__(pyramid, outputs, name=name, **kwargs)
        self.arguments = dict(channels=channels, maps=maps)

    def get_config(self):
        return {**self.arguments, "name": self.name}

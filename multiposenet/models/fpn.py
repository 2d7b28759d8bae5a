"""Feature pyramid, used twice: P2..P5 for the keypoints, P3..P7 for the detector (METHOD section 2)."""

import keras
from keras import layers


@keras.saving.register_keras_serializable("multiposenet")
class FPN(keras.Model):
    """Lateral 1x1, top-down nearest x2 and add, 3x3 on every level; layer names are keras-retinanet's.

    Args:
        first: finest level; the inputs are C<first>..C5.
        depths: channels of the inputs.
        channels: channels of every output.
        coarse: True adds P6 (3x3 stride 2 on C5) and P7 (ReLU, 3x3 stride 2).
        context: residual blocks on what C4 and C5 say at stride 32, added to C5's lateral: a picture's size of context for
            little work. They start without effect.

    Returns:
        List of P<first>..P5, or ..P7.
    """

    def __init__(self, first, depths, channels=256, coarse=False, context=0, name="fpn", **kwargs):
        def conv(level, kernel, strides=1, kind=""):
            return layers.Conv2D(channels, kernel, strides, padding="same", name=f"{level}{kind}")

        levels = list(range(first, first + len(depths)))
        inputs = {level: keras.Input((None, None, depth), name=f"C{level}") for level, depth in zip(levels, depths)}
        laterals = {level: conv(f"C{level}", 1, kind="_reduced")(inputs[level]) for level in reversed(levels)}
        outputs, above = {}, None
        for level in reversed(levels):
            merged = laterals[level]
            if above is not None:
                merged = layers.Add(name=f"P{level}_merged")([above, merged])
            elif context:
                merged = layers.Add(name=f"P{level}_merged")([_context(laterals[level - 1], merged, channels, context), merged])
            if level > first:
                above = layers.UpSampling2D(2, interpolation="nearest", name=f"P{level}_upsampled")(merged)
            outputs[level] = conv(f"P{level}", 3)(merged)
        if coarse:
            outputs[6] = conv("P6", 3, strides=2)(inputs[levels[-1]])
            outputs[7] = conv("P7", 3, strides=2)(layers.ReLU(name="C6_relu")(outputs[6]))
        super().__init__(list(inputs.values()), [outputs[level] for level in sorted(outputs)], name=name, **kwargs)
        self.arguments = dict(first=first, depths=list(depths), channels=channels, coarse=coarse, context=context)

    def get_config(self):
        return {**self.arguments, "name": self.name}


def _context(finer, coarse, channels, blocks):
    """Two laterals -> what `blocks` residual blocks at the coarse one's stride make of both; zero before training."""
    def conv(features, name):
        features = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"context_{name}")(features)
        return layers.BatchNormalization(name=f"context_{name}_bn")(features)

    features = layers.Concatenate(name="context_inputs")([layers.AveragePooling2D(2, name="context_pooled")(finer), coarse])
    features = layers.ReLU(name="context_relu")(conv(features, "first"))
    for i in range(1, blocks + 1):
        inner = layers.ReLU(name=f"context_{i}a_relu")(conv(features, f"{i}a"))
        features = layers.Add(name=f"context_{i}")([features, conv(inner, f"{i}b")])
        features = layers.ReLU(name=f"context_{i}_relu")(features)
    return layers.Conv2D(channels, 1, kernel_initializer="zeros", name="context_last")(features)

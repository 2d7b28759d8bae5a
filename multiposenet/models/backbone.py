"""Feature extractors from keras.applications, preprocessing inside, BatchNorm frozen."""

from pathlib import Path

import keras
import numpy as np
from keras import ops

from multiposenet.errors import UserError
from multiposenet.files import replacing

# Where C2..C5 (strides 4, 8, 16, 32) leave each network, METHOD section 2. MobileNetV2 is tapped after the
# expansion that precedes each stride, where the features are widest.
TAPS = {
    "resnet50": ("ResNet50", ("conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")),
    "resnet101": ("ResNet101", ("conv2_block3_out", "conv3_block4_out", "conv4_block23_out", "conv5_block3_out")),
    "resnet152": ("ResNet152", ("conv2_block3_out", "conv3_block8_out", "conv4_block36_out", "conv5_block3_out")),
    "mobilenetv2": ("MobileNetV2", ("block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu", "out_relu")),
}
STRIDES = (4, 8, 16, 32)
# Zeros (before, after) each side ahead of the two windows of stride 2 that a ResNet begins with, sides being even.
# keras.applications puts as many before as after; keras-resnet, on which keras-retinanet stands, has TensorFlow's
# "same": more after. It sees the picture 1 + 2 pixels further on, and no change of weights makes up for that.
PADDINGS = {"keras": {}, "keras_resnet": {"conv1_pad": (2, 3), "pool1_pad": (0, 1)}}
MOMENTUM = 0.99  # of live BatchNorm; keras.applications' 0.999 is too slow for runs of a few thousand steps


@keras.saving.register_keras_serializable("multiposenet")
class Preprocess(keras.layers.Layer):
    """RGB pixels 0..255 -> what the ImageNet weights expect.

    Args:
        mode: "caffe" (BGR minus the mean, no scaling), "torch" (0..1, then mean and deviation) or "tf" (-1..1).
    """

    def __init__(self, mode, **kwargs):
        super().__init__(**kwargs)
        self.mode = mode

    def call(self, image):
        image = ops.cast(image, self.compute_dtype)
        if self.mode == "caffe":
            return ops.flip(image, axis=-1) - ops.cast([103.939, 116.779, 123.68], self.compute_dtype)
        if self.mode == "tf":
            return image / 127.5 - 1
        batch, height, width, channels = ops.shape(image)
        mean, deviation = np.array([.485, .456, .406]), np.array([.229, .224, .225])
        # Rows of numbers, not pixels of three: ONNX Runtime is many times slower when the last axis is so short.
        scale, offset = (ops.tile(ops.cast(v, self.compute_dtype), [width]) for v in (1 / (255 * deviation), mean / deviation))
        rows = ops.reshape(image, (batch, height, width * channels)) * scale - offset
        return ops.reshape(rows, (batch, height, width, channels))

    def get_config(self):
        return {**super().get_config(), "mode": self.mode}


@keras.saving.register_keras_serializable("multiposenet")
class Backbone(keras.Model):
    """(batch, height, width, 3) RGB 0..255, sides multiples of 32 -> [C2, C3, C4, C5].

    Args:
        network: a key of `TAPS`.
        preprocessing: mode of `Preprocess`.
        padding: a key of `PADDINGS`.

    Raises:
        UserError: a padding that the network does not have.
    """

    def __init__(self, network, preprocessing, padding="keras", name="backbone", **kwargs):
        if PADDINGS[padding] and not network.startswith("resnet"):
            raise UserError(f"model.backbone_padding = {padding!r} is for ResNets, not for {network}")
        constructor, taps = TAPS[network]
        image = keras.Input((None, None, 3), name="image")
        pixels = Preprocess(preprocessing, name="preprocess")(image)
        body = getattr(keras.applications, constructor)(include_top=False, weights=None, input_tensor=pixels)
        for layer, sides in PADDINGS[padding].items():
            body.get_layer(layer).padding = (sides, sides)
        super().__init__(image, [body.get_layer(tap).output for tap in taps], name=name, **kwargs)
        self.network, self.preprocessing, self.padding = network, preprocessing, padding
        for layer in self.layers:
            if _is_norm(layer):
                layer.trainable = False

    @property
    def depths(self):
        """Channels of C2..C5."""
        return [output.shape[-1] for output in self.outputs]

    def freeze(self, stage, live_batch_norm=False):
        """Keep the weights up to C<stage>; 0 freezes nothing, 5 everything.

        Args:
            live_batch_norm: above that stage BatchNorm normalises by the batch and learns, else it stays frozen too.
        """
        kept = 0 if stage < 2 else 1 + self.layers.index(self.get_layer(TAPS[self.network][1][stage - 2]))
        for layer in self.layers[:kept]:
            layer.trainable = False
        for layer in self.layers[kept:]:
            if live_batch_norm and _is_norm(layer):
                layer.trainable, layer.momentum = True, MOMENTUM

    def load_imagenet(self, weights):
        """Take the weights of keras.applications: "imagenet" downloads them, else a notop `.h5` file.

        Raises:
            UserError: the file is missing or of another network, or the download fails.
        """
        constructor = TAPS[self.network][0]
        if weights != "imagenet" and not Path(weights).is_file():
            raise UserError(f"{weights}: no such backbone weights; give a .h5 file, 'imagenet' or null")
        try:
            source = getattr(keras.applications, constructor)(include_top=False, weights=weights)
        except Exception as error:  # Keras raises many kinds: URL errors, h5 errors, ValueError
            raise UserError(f"{weights}: cannot load {constructor} weights ({error})") from None
        for layer in self.layers:
            if layer.weights:
                layer.set_weights(source.get_layer(layer.name).get_weights())

    def save_body(self, path):
        """Write the weights as the kind of file that `load_imagenet` takes; its name must end in `.weights.h5`."""
        body = getattr(keras.applications, TAPS[self.network][0])(include_top=False, weights=None)
        for layer in body.layers:
            if layer.weights:
                layer.set_weights(self.get_layer(layer.name).get_weights())
        with replacing(path) as temporary:
            body.save_weights(temporary)

    def get_config(self):
        return {"network": self.network, "preprocessing": self.preprocessing, "padding": self.padding,
                "name": self.name}


def with_folded_norms(backbone):
    """A model that answers as a frozen `Backbone` does, its BatchNorms folded into the convolutions before them.

    For training on top of it: without their passes over the features it is about twice as fast in bfloat16 on a CPU, where
    convolutions themselves are cheap (docs/speed.md). Later changes of the backbone's weights do not reach it.
    """
    norms = {layer.input._keras_history.operation.name: layer for layer in backbone.layers if _is_norm(layer)}

    def clone(layer):
        if _is_norm(layer):
            return keras.layers.Identity(name=layer.name)
        return type(layer).from_config({**layer.get_config(), **({"use_bias": True} if layer.name in norms else {})})

    body = keras.Model(backbone.inputs[0], backbone.outputs)  # cloned as a plain graph, which `Backbone` is not
    folded = keras.models.clone_model(body, clone_function=clone, call_function=lambda layer, *inputs, **_: layer(*inputs))
    for layer in backbone.layers:
        if layer.name in norms:
            folded.get_layer(layer.name).set_weights(_folded(layer, norms[layer.name]))
    folded.trainable = False
    return folded


def _is_norm(layer):
    return isinstance(layer, keras.layers.BatchNormalization)


def _folded(convolution, norm):
    """Kernel and bias of the convolution with the norm behind it."""
    kernel, *bias = convolution.get_weights()
    gamma, beta, mean, variance = norm.get_weights()
    scale = gamma / np.sqrt(variance + norm.epsilon)
    depthwise = isinstance(convolution, keras.layers.DepthwiseConv2D)  # (h, w, channels, 1), not (h, w, in, channels)
    return kernel * (scale[:, None] if depthwise else scale), (sum(bias) - mean) * scale + beta

"""Parameters and floating-point operations of every part of a model."""

import contextlib
from unittest import mock

import keras
import numpy as np

from multiposenet.models.half_view import HalfPicture
from multiposenet.models.heads import (build_activity, build_backbone, build_prn, build_refiner, detector_model,
                                       detector_parts, keypoint_parts, keypoints_model)

COUNTED = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D, keras.layers.Dense)
# All else is below one per cent.


def count_flops(model, inputs):
    """Multiplications and additions of one call, by running it: every convolution and dense layer counts
    2 x kernel size x output positions, however often it is shared.
    """
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        total += 2 * _multiplications(layer, inputs, output)

    with _watched(count):
        model(inputs, training=False)
    return total


def _multiplications(layer, inputs, output):
    cells = int(np.prod(output.shape[:-1]))
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return int(np.prod(layer.kernel.shape)) * cells
    if isinstance(layer, keras.layers.SeparableConv2D):
        return int(np.prod(layer.depthwise_kernel.shape) + np.prod(layer.pointwise_kernel.shape)) * cells
    return int(np.prod(layer.kernel.shape[:-1])) * output.shape[-1] * cells


def summarise(config, size=480):
    """Rows (part, parameters, FLOPs) of a ModelConfig at `size` x `size` pixels; the last ones are once a person.

    Returns:
        (rows, number of those that are once a person).
    """
    backbone = build_backbone(config)
    keypoint_fpn, subnet = keypoint_parts(config, backbone)
    detection_fpn, heads = detector_parts(config, backbone)
    picture = np.zeros((1, size, size, 3), "float32")
    features = backbone(picture)
    prn, activity = build_prn(config), build_activity(config)
    parts = [(backbone, picture), (keypoint_fpn, features), (subnet, keypoint_fpn(features)),
             (detection_fpn, features[1:]), (heads, detection_fpn(features[1:])),
             (prn, np.zeros((1, *prn.input_shape[1:]), "float32")),
             (activity, np.zeros((1, *activity.input_shape[1:]), "float32"))]
    rows = [(part.name, part.count_params(), count_flops(part, inputs)) for part, inputs in parts]
    if config.half_view:
        rows.insert(-2, ("half_picture", 0, _look_flops(HalfPicture()(picture), *(part for part, _ in parts[:5]))))
    if config.mirror_view:
        rows[-2:-2] = [("mirror images", 0, sum(flops for _, _, flops in rows[:-2]))]
    if not config.refiner_filters:
        return rows, 2
    readers = build_refiner(config).readers
    work = sum(count_flops(reader, np.zeros((1, *reader.input_shape[1:]), "float32")) for reader in readers)
    return [*rows, ("refiner", sum(reader.count_params() for reader in readers), (2 if config.refiner_mirror else 1) * work)], 3


def _look_flops(picture, backbone, keypoint_fpn, subnet, detection_fpn, heads):
    """Of one look for joints and people."""
    return (count_flops(keypoints_model(backbone, keypoint_fpn, subnet), picture)
            + count_flops(detector_model(backbone, detection_fpn, heads), backbone(picture)[1:]))


def format_table(title, rows, people):
    """The rows as text, with the sum of what runs once a picture and of what runs once a person, the last `people` rows."""
    picture, person = rows[:-people], rows[-people:]
    lines = [title, f"{'part':24}{'parameters':>14}{'GFLOP':>10}"]
    for name, group in (("once a picture", picture), ("once a person", person)):
        group = [*group, (f"= {name}", sum(row[1] for row in group), sum(row[2] for row in group))]
        lines += [f"{part:24}{parameters:14,}{flops / 1e9:10.3f}" for part, parameters, flops in group]
    return "\n".join([*lines, f"{'= all weights':24}{sum(row[1] for row in rows):14,}"])


@contextlib.contextmanager
def _watched(count):
    """Inside, `count(layer, inputs, output)` hears of every call of a counted layer."""
    def watching(call):
        def watched(self, inputs, *args, **kwargs):
            output = call(self, inputs, *args, **kwargs)
            count(self, inputs, output)
            return output
        return watched

    with contextlib.ExitStack() as stack:
        for kind in COUNTED:
            stack.enter_context(mock.patch.object(kind, "call", watching(kind.call)))
        yield

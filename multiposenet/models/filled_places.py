"""The second half of the graph only for the places that people fill: for TensorFlow, and for what is exported from it.

Keras' other backends need as many places at every call. With 17 of 50 filled, ONNX Runtime is done a sixth sooner even
without a refiner.
"""

import tensorflow as tf


def find_people(model, image):
    """`MultiPoseNet`'s outputs; activities are zeros beyond `count`."""
    seen = model.dense(image)
    places, most = seen["scores"].shape[1], _most_above(seen["scores"], 0)
    filled = {**seen, "boxes": seen["boxes"][:, :most], "scores": seen["scores"][:, :most]}
    if model.config.refiner_filters:
        sure = _most_above(seen["scores"], model.config.refiner_min_score)
        logits = model.heads["refiner"]([image, seen["boxes"][:, :sure]])
        filled["logits"] = _padded(logits, most - sure)
    found = model.poses({key: filled[key] for key in model.poses.input})
    whole = {key: tf.ensure_shape(_padded(x, places - most), (None, places, *x.shape[2:])) for key, x in found.items() if key != "count"}
    return {"boxes": seen["boxes"], "scores": seen["scores"], **whole, "count": found["count"]}


def _most_above(scores, threshold):
    """Of any picture, but at least 1; best scores come first."""
    return tf.maximum(tf.reduce_max(tf.math.count_nonzero(scores > threshold, axis=1, dtype="int32")), 1)


def _padded(x, places):
    return tf.pad(x, [[0, 0], [0, places], *[[0, 0]] * (len(x.shape) - 2)])

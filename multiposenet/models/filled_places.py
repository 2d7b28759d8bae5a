"""The second half of the graph only for the places that people fill: for TensorFlow, and for what is exported from it.

Keras' other backends need as many places at every call. With 17 of 50 filled, ONNX Runtime is done a sixth sooner even
without a refiner.
"""

import tensorflow as tf


def find_people(model, image):
    """`MultiPoseNet`'s outputs; activities are zeros beyond `count`."""
    seen = model.dense(image)
    places, most = seen["scores"].shape[1], tf.reduce_max(tf.math.count_nonzero(seen["scores"], axis=1, dtype="int32"))
    most = tf.maximum(most, 1)
    found = model.people({**seen, "boxes": seen["boxes"][:, :most], "scores": seen["scores"][:, :most]})

    def padded(x):
        x = tf.pad(x, [[0, 0], [0, places - most], *[[0, 0]] * (len(x.shape) - 2)])
        return tf.ensure_shape(x, (None, places, *x.shape[2:]))

    return {"boxes": seen["boxes"], "scores": seen["scores"], "keypoints": padded(found["keypoints"]),
            "activities": padded(found["activities"]), "count": found["count"]}

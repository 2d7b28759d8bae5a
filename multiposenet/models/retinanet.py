"""The person detector's heads, the boxes behind their answers, and non-maximum suppression (METHOD section 4).

Layer names and defaults are keras-retinanet 1.0.0's; the code is our own, so that any Keras backend runs it.
"""

import math

import keras
from keras import ops

from multiposenet.codecs.anchors import ANCHORS_PER_CELL, SIZES, STD, STRIDES, cell_anchors
from multiposenet.errors import UserError


@keras.saving.register_keras_serializable("multiposenet")
class RetinaNetHeads(keras.Model):
    """Box deltas and class probabilities for every anchor, by two small networks shared by all levels.

    The list [P3..P7], each (batch, h, w, channels) -> dict of `regression` (batch, A, 4), in the units of
    `codecs.anchors.encode`, and `classification` (batch, A, num_classes) in 0..1. Lin et al. 2017, section 4.

    Args:
        channels: depth of the pyramid.
        filters, depth: of the 3x3 convolutions before the last one.
        num_anchors: anchors per cell.
        num_classes: 1, a person.
        prior: probability of an object the untrained network answers, which keeps the many background anchors
            from swamping the first steps.
    """

    def __init__(self, channels=256, filters=256, depth=4, num_anchors=ANCHORS_PER_CELL, num_classes=1, prior=0.01,
                 name="retinanet_heads", **kwargs):
        regression = _submodel("regression", channels, filters, depth, num_anchors, 4)
        classification = _submodel("classification", channels, filters, depth, num_anchors, num_classes,
                                   bias=-math.log((1 - prior) / prior), activation="sigmoid")

        levels = [keras.Input((None, None, channels), name=f"P{level}") for level in range(3, 3 + len(STRIDES))]
        outputs = {
            kind: keras.layers.Concatenate(axis=1, name=kind, dtype="float32")([model(level) for level in levels])
            for kind, model in (("regression", regression), ("classification", classification))
        }
        super().__init__(inputs=levels, outputs=outputs, name=name, **kwargs)

        self.arguments = dict(channels=channels, filters=filters, depth=depth, num_anchors=num_anchors,
                              num_classes=num_classes, prior=prior)

    def get_config(self):
        return {**self.arguments, "name": self.name}


def _submodel(kind, channels, filters, depth, num_anchors, num_values, bias=0.0, activation="linear"):
    def convolution(filters, name, activation="relu", bias=0.0):
        return keras.layers.Conv2D(
            filters, 3, padding="same", activation=activation, name=name,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            bias_initializer=keras.initializers.Constant(bias))

    inputs = x = keras.Input((None, None, channels))
    for i in range(depth):
        x = convolution(filters, f"pyramid_{kind}_{i}")(x)
    x = convolution(num_anchors * num_values, f"pyramid_{kind}", activation=None, bias=bias)(x)
    x = keras.layers.Reshape((-1, num_values), name=f"pyramid_{kind}_reshape")(x)
    outputs = keras.layers.Activation(activation, name=f"pyramid_{kind}_activation", dtype="float32")(x)
    return keras.Model(inputs, outputs, name=f"{kind}_submodel")


@keras.saving.register_keras_serializable("multiposenet")
class DecodeBoxes(keras.layers.Layer):
    """[picture (batch, height, width, 3), of which only the size counts, deltas (batch, A, 4)] ->
    boxes (batch, A, 4) xyxy in pixels, clipped to the picture.
    """

    def __init__(self, dtype="float32", **kwargs):
        super().__init__(dtype=dtype, **kwargs)

    def call(self, inputs):
        image, regression = inputs
        height, width = ops.shape(image)[1:3]
        anchors = ops.concatenate([_level_anchors(height, width, stride, size) for stride, size in zip(STRIDES, SIZES)])
        sides = ops.tile(anchors[:, 2:] - anchors[:, :2], (1, 2))
        boxes = anchors + STD * sides * regression
        edge = ops.stack([ops.cast(side, "float32") for side in (width, height, width, height)])
        return ops.minimum(ops.maximum(boxes, 0.0), edge)

    def compute_output_shape(self, input_shape):
        return input_shape[1]


def _level_anchors(height, width, stride, size):
    """Rows of `codecs.anchors.anchor_boxes` for one level. Sides stay positive: ONNX divides towards zero."""
    rows, columns = ((side + stride - 1) // stride for side in (height, width))
    y = (ops.arange(rows, dtype="float32") + 0.5) * stride
    x = (ops.arange(columns, dtype="float32") + 0.5) * stride
    y, x = ops.meshgrid(y, x, indexing="ij")
    centres = ops.reshape(ops.stack([x, y, x, y], axis=-1), (-1, 1, 4))
    return ops.reshape(centres + cell_anchors(size), (-1, 4))


@keras.saving.register_keras_serializable("multiposenet")
class SelectBoxes(keras.layers.Layer):
    """Exact greedy non-maximum suppression: each box, best first, drops the later ones that overlap it too much.

    With `vote_spread` each that stays then moves to the mean of itself and all that overlap it too much, which weigh
    score x exp(-(1 - IoU)^2 / vote_spread) (He et al., CVPR 2019, "variance voting", with scores for variances).

    [boxes (batch, A, 4), scores (batch, A) or (batch, A, 1)] -> boxes (batch, max_boxes, 4) and scores
    (batch, max_boxes), best first, zeros behind the last one.

    Args:
        score_threshold: boxes must score above it.
        nms_iou: a box goes when its intersection over union with a kept one is above it.
        max_candidates: best boxes that are looked at.
        max_boxes: boxes given out per picture.
        vote_spread: see above; 0 leaves the boxes as they are.

    Raises:
        UserError: more boxes asked for than candidates.
    """

    def __init__(self, score_threshold=0.05, nms_iou=0.5, max_candidates=300, max_boxes=50, vote_spread=0.0,
                 dtype="float32", **kwargs):
        super().__init__(dtype=dtype, **kwargs)
        if max_boxes > max_candidates:
            raise UserError(f"cannot keep {max_boxes} boxes (max_people) out of {max_candidates} (max_candidates)")
        self.score_threshold, self.nms_iou = score_threshold, nms_iou
        self.max_candidates, self.max_boxes, self.vote_spread = max_candidates, max_boxes, vote_spread

    def call(self, inputs):
        boxes, scores = inputs
        boxes, scores = self._candidates(boxes, ops.reshape(scores, ops.shape(boxes)[:2]))
        iou = _iou(boxes)
        keep = _suppress(iou > self.nms_iou, scores > 0)
        if self.vote_spread:
            boxes = self._voted(boxes, scores, iou)
        return _best(boxes, ops.where(keep, scores, 0.0), self.max_boxes)

    def _candidates(self, boxes, scores):
        scores = ops.where(scores > self.score_threshold, scores, 0.0)
        spare = self.max_candidates  # a small picture has fewer anchors than that
        boxes, scores = ops.pad(boxes, ((0, 0), (0, spare), (0, 0))), ops.pad(scores, ((0, 0), (0, spare)))
        return _best(boxes, scores, self.max_candidates)

    def _voted(self, boxes, scores, iou):
        weights = ops.where(iou > self.nms_iou, scores[:, None] * ops.exp(-ops.square(1 - iou) / self.vote_spread), 0.0)
        return ops.matmul(weights, boxes) / ops.maximum(ops.sum(weights, axis=-1, keepdims=True), 1e-7)

    def compute_output_shape(self, input_shape):
        batch = input_shape[0][0]
        return (batch, self.max_boxes, 4), (batch, self.max_boxes)

    def get_config(self):
        return {**super().get_config(), "score_threshold": self.score_threshold, "nms_iou": self.nms_iou,
                "max_candidates": self.max_candidates, "max_boxes": self.max_boxes, "vote_spread": self.vote_spread}


def _best(boxes, scores, k):
    """The k best boxes and scores, best first; zeros where the score is zero."""
    scores, order = ops.top_k(scores, k)
    boxes = ops.take_along_axis(boxes, order[..., None], axis=1)
    return ops.where(scores[..., None] > 0, boxes, 0.0), scores


def _iou(boxes):
    """(batch, k, 4) -> (batch, k, k), as `geometry.iou`."""
    a, b = boxes[:, :, None], boxes[:, None]
    sides = ops.minimum(a[..., 2:], b[..., 2:]) - ops.maximum(a[..., :2], b[..., :2])
    common = ops.prod(ops.maximum(sides, 0.0), axis=-1)
    area = ops.prod(ops.maximum(boxes[..., 2:] - boxes[..., :2], 0.0), axis=-1)
    return common / ops.maximum(area[:, :, None] + area[:, None] - common, 1e-7)


def _suppress(overlapping, valid):
    """Which boxes stay, (batch, k) bool, given which pairs overlap (batch, k, k) and which boxes count (batch, k).

    "A box stays when no earlier box that stays overlaps it" has exactly one solution, the greedy one. Repeating the
    rule from any start makes at least one more box final each time, and a few rounds reach it in practice.
    """
    overlapping = ops.cast(ops.tril(ops.cast(overlapping, "int8"), k=-1), "float32")

    def rule(keep):
        return ops.logical_and(valid, ops.matmul(overlapping, ops.cast(keep[..., None], "float32"))[..., 0] == 0)

    def changed(keep, previous):
        return ops.any(keep != previous)

    keep, _ = ops.while_loop(changed, lambda keep, previous: (rule(keep), keep), (rule(valid), valid))
    return keep

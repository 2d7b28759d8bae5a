"""A second look at each person: joints read from crops of the features, at the person's own scale (docs/refiner.md).

Heatmap peaks are as fine as the picture's cells, however small or large somebody is. Here every person fills the same
grid, so that joints can be placed exactly and by one person alone, as in two-stage detectors (Mask R-CNN, section 3).
"""

import math

import keras
from keras import layers, ops

from multiposenet.codecs import person_window
from multiposenet.devices import batch_count
from multiposenet.models.association import vertex
from multiposenet.models.keypoint_subnet import BilinearUpsampling
from multiposenet.models.per_person import PerPerson

SIGMA_CELLS = 0.8  # of the target's Gaussian
AREA_SHARE = 0.53  # of a person in its box: COCO's labels
STRICTNESS = 0.7  # of OKS' distances when a joint's best place is looked for; AP's mean threshold is above half
NEAR = 0.4  # OKS between refiner and peak from which on they mean the same place


@keras.saving.register_keras_serializable("multiposenet")
class PersonCrops(layers.Layer):
    """[features (batch, h, w, channels), boxes (batch, n, 4) pixels] -> (batch, n, rows, columns, channels).

    Bilinear, and averaged where a cell of the crop is wider than one of the features; zeros beyond the picture. Two
    matrix products, which every backend and exporter has.

    Args:
        stride: pixels per cell of the features.
        grid: rows, columns.
        margin: share of its sides by which a box is widened.
    """

    def __init__(self, stride, grid, margin, **kwargs):
        super().__init__(autocast=False, **kwargs)  # half precision would move the boxes
        self.stride, self.grid, self.margin = stride, tuple(grid), margin

    def call(self, inputs):
        features, boxes = inputs
        corner, sides = person_window.corner_and_sides(boxes, self.margin)
        down, across = (ops.cast(self._matrix(corner[..., i], sides[..., i], self.grid[1 - i], ops.shape(features)[2 - i]),
                                 features.dtype) for i in (1, 0))
        batch, height, width, channels = ops.shape(features)
        wide = ops.reshape(features, (batch, height, width * channels))  # no product has to turn its factors round
        rows = ops.matmul(ops.reshape(down, (batch, -1, height)), wide)
        rows = ops.reshape(rows, (batch, -1, self.grid[0], width, channels))
        return ops.matmul(across[:, :, None], rows)

    def _matrix(self, corner, side, cells, length):
        """(batch, n, cells, length): the shares of the features' cells in each cell of the crop, along one axis."""
        places = (corner[..., None] + side[..., None] * (ops.arange(cells, dtype="float32") + 0.5) / cells) / self.stride - 0.5
        reach = ops.maximum(side / cells / self.stride, 1.0)[..., None, None]
        shares = ops.maximum(1 - ops.abs(places[..., None] - ops.arange(length, dtype="float32")) / reach, 0.0)
        return shares / ops.maximum(ops.sum(shares, axis=-1, keepdims=True), 1e-6)

    def compute_output_shape(self, input_shapes):
        features, boxes = input_shapes
        return *boxes[:2], *self.grid, features[-1]

    def get_config(self):
        return {**super().get_config(), "stride": self.stride, "grid": self.grid, "margin": self.margin}


@keras.saving.register_keras_serializable("multiposenet")
class PoseRefiner(keras.Model):
    """[features..., heatmaps, boxes (batch, n, 4)] -> logits (batch, n, rows, columns, K) float32, each joint's of one softmax.

    Args:
        strides, depths: pixels per cell and channels of each of the features; the last ones are the heatmaps'.
        joints: K.
        filters: of every convolution; half as many of each of the features enter a crop.
        blocks: residual blocks at half the grid's resolution, where they see the whole person.
        grid: rows, columns, even.
        margin: share of its sides by which a box is widened.
    """

    def __init__(self, strides, depths, joints, filters=64, blocks=4, grid=(28, 20), margin=0.15, name="refiner", **kwargs):
        maps = [keras.Input((None, None, depth), name=f"map{i}") for i, depth in enumerate(depths)]
        boxes = keras.Input((None, 4), name="boxes")
        thin = [layers.Conv2D(filters // 2, 1, name=f"thin{i}")(features) for i, features in enumerate(maps[:-1])]
        crops = layers.Concatenate(name="crops")([
            PersonCrops(stride, grid, margin, name=f"crops{i}")([features, boxes])
            for i, (stride, features) in enumerate(zip(strides, [*thin, maps[-1]]))])
        reader = _reader(crops.shape[-1], joints, filters, blocks, grid)
        super().__init__([*maps, boxes], PerPerson(reader, name="reader_per_person")(crops), name=name, **kwargs)
        self.arguments = dict(strides=list(strides), depths=list(depths), joints=joints, filters=filters, blocks=blocks,
                              grid=tuple(grid), margin=margin)

    def get_config(self):
        return {**self.arguments, "name": self.name}


def _reader(channels, joints, filters, blocks, grid):
    """One person's crop (rows, columns, channels) -> logits (rows, columns, joints)."""
    def conv(x, kernel, name, strides=1, relu=True):
        x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        return layers.ReLU(name=f"{name}_relu")(x) if relu else x

    crop = keras.Input((*grid, channels))
    fine = conv(crop, 1, "fine")
    x = conv(fine, 3, "coarse", strides=2)
    for i in range(1, blocks + 1):
        inner = conv(conv(x, 3, f"block{i}a"), 3, f"block{i}b", relu=False)
        x = layers.ReLU(name=f"block{i}_relu")(layers.Add(name=f"block{i}")([x, inner]))
    x = BilinearUpsampling(2, name="upsampled")(x)
    x = conv(layers.Concatenate(name="both")([x, fine]), 1, "joined")
    x = layers.ReLU(name="last_relu")(layers.BatchNormalization(name="last_bn")(
        layers.SeparableConv2D(filters, 3, padding="same", use_bias=False, name="last")(x)))
    return keras.Model(crop, layers.Conv2D(joints, 1, dtype="float32", name="logits")(x), name="reader")


@keras.saving.register_keras_serializable("multiposenet")
class RefinerLoss(keras.losses.Loss):
    """Cross-entropy between each joint's cells and a Gaussian at its place; the mean over labelled joints.

    `y_true` is (batch, n, K, 3) of `codecs.person_window.encode`, `y_pred` the logits of `PoseRefiner`.
    """

    def __init__(self, name="refiner", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        y_true, (rows, columns) = ops.cast(y_true, "float32"), y_pred.shape[2:4]
        across, down = (-ops.square(ops.arange(cells, dtype="float32")[:, None] - y_true[:, :, None, :, i])
                        / (2 * SIGMA_CELLS ** 2) for i, cells in ((0, columns), (1, rows)))
        target = ops.softmax(down, axis=2)[:, :, :, None] * ops.softmax(across, axis=2)[:, :, None]
        spread = ops.logsumexp(y_pred, axis=(2, 3), keepdims=True)
        losses = ops.sum(target * (spread - y_pred), axis=(2, 3))
        return ops.sum(losses * y_true[..., 2]) / batch_count(ops.sum(y_true[..., 2]))


@keras.saving.register_keras_serializable("multiposenet")
class ReadJoints(layers.Layer):
    """[boxes (batch, n, 4), scores (batch, n), logits (batch, n, rows, columns, K), poses (batch, n, K, 3)] -> poses.

    A joint goes where its expected similarity (OKS of that joint) is highest, and is as sure as that. Where `poses`, those
    of `AssignJoints`, mean the same place, it goes to the mean of both, weighted by how sure they are: their errors differ.
    Its score is the geometric mean of both. Joints that score 0 in `poses` stay as they are, and so do people of low score.

    Args:
        sigmas: OKS' of each joint.
        grid: rows, columns.
        margin: share of its sides by which a box is widened.
        min_score: people's scores must be above it.
    """

    def __init__(self, sigmas, grid, margin, min_score=0.0, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.sigmas, self.grid, self.margin = [float(sigma) for sigma in sigmas], tuple(grid), margin
        self.min_score = min_score

    def call(self, inputs):
        boxes, box_scores, logits, poses = inputs
        rows, columns = self.grid
        shape = (*ops.shape(boxes)[:2], len(self.sigmas))
        places = ops.softmax(ops.reshape(ops.transpose(logits, (0, 1, 4, 2, 3)), (*shape, rows * columns)))
        down, across = self._similarity(boxes, 1), self._similarity(boxes, 0)
        expected = ops.matmul(ops.matmul(down, ops.reshape(places, (*shape, rows, columns))), across)
        expected = ops.reshape(expected, (*shape, rows * columns))
        surest, best = ops.top_k(expected, 1)
        cells = ops.concatenate([vertex(expected, best, best % columns, columns, step=1),
                                 vertex(expected, best, best // columns, rows, step=columns)], axis=-1)
        points = person_window.decode(boxes, cells, self.grid, self.margin)
        surest = ops.clip(surest, 0.0, 1.0)
        share = poses[..., 2:] / ops.maximum(poses[..., 2:] + surest, 1e-6)
        points = ops.where(self._near(boxes, points, poses), points + share * (poses[..., :2] - points), points)
        scores = ops.sqrt(surest * poses[..., 2:])
        read = ops.logical_and(poses[..., 2:] > 0, box_scores[..., None, None] > self.min_score)
        return ops.where(read, ops.concatenate([points, scores], axis=-1), poses)

    def _near(self, boxes, points, poses):
        """(batch, n, K, 1)"""
        area = AREA_SHARE * ops.prod(ops.maximum(boxes[..., 2:] - boxes[..., :2], 1.0), axis=-1)[..., None]
        squared = ops.sum(ops.square(points - poses[..., :2]), axis=-1)
        reach = ops.square(2 * ops.array(self.sigmas, "float32"))
        return (squared < -2 * math.log(NEAR) * area * reach)[..., None]

    def _similarity(self, boxes, axis):
        """(batch, n, K, cells, cells): OKS of each joint between the cells along one axis of each window."""
        sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 1.0)
        cells = self.grid[1 - axis]
        size = ops.sqrt(AREA_SHARE * sides[..., 1 - axis] / sides[..., axis]) * cells / (1 + 2 * self.margin)  # in cells
        reach = 2 * STRICTNESS * ops.array(self.sigmas, "float32") * size[..., None]
        distances = ops.arange(cells, dtype="float32")[:, None] - ops.arange(cells, dtype="float32")
        return ops.exp(-0.5 * ops.square(distances / reach[..., None, None]))

    def compute_output_shape(self, input_shapes):
        return input_shapes[3]

    def get_config(self):
        return {**super().get_config(), "sigmas": self.sigmas, "grid": self.grid, "margin": self.margin,
                "min_score": self.min_score}

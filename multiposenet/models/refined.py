"""What the refiner's maps say in the picture: places of joints, edges of boxes, and how well somebody was read (docs/refiner.md, steps 3 to 5)."""

import math

import keras
from keras import layers, ops

from multiposenet.codecs import person_window
from multiposenet.codecs.heatmap import STRIDE
from multiposenet.models.association import vertex
from multiposenet.models.refiner import SIGMA_CELLS, edge_logits, linear_weights

AREA_SHARE = 0.53  # of a person in its box: COCO's labels
STRICTNESS = 0.7  # of OKS' distances when a joint's best place is looked for; AP's mean threshold is above half
OLD_EDGES = 0.5  # share of a box's edge that was found before the refiner looked
SHARPEST = 1 / (2 * math.pi * SIGMA_CELLS ** 2)  # highest probability of a cell in the Gaussian that is learnt
HALF = 0.1  # share of the sharpest at which a reading's quality is about half (docs/experiments.md, "Who ranks first")
UNREAD = 0.01  # the same share of people whom the refiner does not look at
UNSEEN = 0.02  # added to heatmaps, whose peaks are up to 1: how little their silence says


@keras.saving.register_keras_serializable("multiposenet")
class ReadJoints(layers.Layer):
    """[boxes (batch, n, 4), scores (batch, n), logits (batch, n, rows, columns, K), poses (batch, n, K, 3), heatmaps (batch, h, w, K or
    more)] -> poses.

    Two networks that err differently have seen every joint: its distribution over the window's cells is multiplied by the picture's
    heatmap there, and a little, so that a place without a peak is only less likely. A joint goes where its expected similarity (OKS of
    that joint) is highest, and is as sure as that. Its score is the geometric mean of this and of its score in `poses`, those of
    `AssignJoints`. Joints that score 0 there stay as they are, and so do people of low score.

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
        boxes, box_scores, logits, poses, heatmaps = inputs
        rows, columns = self.grid
        shape = (*ops.shape(boxes)[:2], len(self.sigmas))
        logits = ops.transpose(logits[..., :len(self.sigmas)], (0, 1, 4, 2, 3))
        places = ops.softmax(ops.reshape(logits, (*shape, rows * columns)))
        places = places * ops.reshape(ops.maximum(self._heights(boxes, heatmaps), 0.0) + UNSEEN, (*shape, rows * columns))
        places = places / ops.sum(places, axis=-1, keepdims=True)
        down, across = self._similarity(boxes, 1), self._similarity(boxes, 0)
        expected = ops.matmul(ops.matmul(down, ops.reshape(places, (*shape, rows, columns))), across)
        expected = ops.reshape(expected, (*shape, rows * columns))
        surest, best = ops.top_k(expected, 1)
        cells = ops.concatenate([vertex(expected, best, best % columns, columns, step=1),
                                 vertex(expected, best, best // columns, rows, step=columns)], axis=-1)
        points = person_window.decode(boxes, cells, self.grid, self.margin)
        scores = ops.sqrt(ops.clip(surest, 0.0, 1.0) * poses[..., 2:])
        read = ops.logical_and(poses[..., 2:] > 0, box_scores[..., None, None] > self.min_score)
        return ops.where(read, ops.concatenate([points, scores], axis=-1), poses)

    def _heights(self, boxes, heatmaps):
        """(batch, n, K, rows, columns): the heatmaps at the windows' cells, bilinear; beyond the picture those of its border."""
        batch, high, wide = ops.shape(heatmaps)[:3]
        people, joints, rows = ops.shape(boxes)[1], len(self.sigmas), self.grid[0]
        across, down = (linear_weights(places / STRIDE - 0.5, size)
                        for places, size in zip(person_window.lines(boxes, self.grid, self.margin), (wide, high)))
        maps = ops.reshape(ops.cast(heatmaps[..., :joints], "float32"), (batch, high, wide * joints))
        lines = ops.reshape(ops.matmul(ops.reshape(down, (batch, people * rows, high)), maps), (batch, people, rows, wide, joints))
        return ops.matmul(ops.transpose(lines, (0, 1, 4, 2, 3)), ops.swapaxes(across, 2, 3)[:, :, None])

    def _similarity(self, boxes, axis):
        """(batch, n, K, cells, cells): OKS of each joint between the cells along one axis of each window."""
        sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 1.0)
        _, height = person_window.corner_and_height(boxes, self.grid, self.margin)
        size = ops.sqrt(AREA_SHARE * ops.prod(sides, axis=-1, keepdims=True)) * self.grid[0] / ops.maximum(height, 1.0)  # in cells
        reach = 2 * STRICTNESS * ops.array(self.sigmas, "float32") * size
        distances = ops.arange(self.grid[1 - axis], dtype="float32")[:, None] - ops.arange(self.grid[1 - axis], dtype="float32")
        return ops.exp(-0.5 * ops.square(distances / reach[..., None, None]))

    def compute_output_shape(self, input_shapes):
        return input_shapes[3]

    def get_config(self):
        return {**super().get_config(), "sigmas": self.sigmas, "grid": self.grid, "margin": self.margin,
                "min_score": self.min_score}


@keras.saving.register_keras_serializable("multiposenet")
class ReadBoxes(layers.Layer):
    """[boxes (batch, n, 4), scores (batch, n), logits (batch, n, rows, columns, K + 4), heatmaps (batch, h, w, maps)] -> boxes.

    An edge goes to the mean of where it was and of the median of what the refiner says; none leaves the picture, which is as
    large as its heatmaps. People of low score keep their boxes.

    Args:
        grid: rows, columns.
        margin: share of its sides by which a box is widened.
        min_score: people's scores must be above it.
    """

    def __init__(self, grid, margin, min_score=0.0, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.grid, self.margin, self.min_score = tuple(grid), margin, min_score

    def call(self, inputs):
        boxes, scores, logits, heatmaps = inputs
        corners = ops.stack([_median_cells(along) for along in edge_logits(logits)], axis=-1)  # upper left, lower right
        read = ops.reshape(person_window.decode(boxes, corners, self.grid, self.margin), ops.shape(boxes)) + 0.5
        height, width = ops.shape(heatmaps)[1:3]
        ends = STRIDE * ops.stack([ops.cast(side, "float32") for side in (width, height, width, height)])
        read = ops.clip(OLD_EDGES * boxes + (1 - OLD_EDGES) * read, 0.0, ends)
        return ops.where(scores[..., None] > self.min_score, read, boxes)

    def compute_output_shape(self, input_shapes):
        return input_shapes[0]

    def get_config(self):
        return {**super().get_config(), "grid": self.grid, "margin": self.margin, "min_score": self.min_score}


@keras.saving.register_keras_serializable("multiposenet")
class Sharpness(layers.Layer):
    """Logits (batch, n, rows, columns, K or more) -> (batch, n, K), 0 to 1: how sharp each joint's map is.

    The highest probability of a cell, as a share of that of the Gaussian which the refiner learnt.

    Args:
        joints: K.
    """

    def __init__(self, joints, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.joints = joints

    def call(self, logits):
        logits = logits[..., :self.joints]
        highest = ops.exp(ops.max(logits, axis=(2, 3)) - ops.logsumexp(logits, axis=(2, 3)))
        return ops.minimum(highest / SHARPEST, 1.0)

    def compute_output_shape(self, input_shape):
        return *input_shape[:2], self.joints

    def get_config(self):
        return {**super().get_config(), "joints": self.joints}


@keras.saving.register_keras_serializable("multiposenet")
class ScoreJoints(layers.Layer):
    """[scores (batch, n), `Sharpness` (batch, n, K), poses (batch, n, K, 3)] -> poses.

    A joint's score is the geometric mean of what it was and of how sharp its map is: the expected similarity alone hardly tells a
    joint that is a little off from one in its place. Joints that score 0 stay as they are, and so do people of low score.

    Args:
        min_score: people's scores must be above it.
    """

    def __init__(self, min_score=0.0, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.min_score = min_score

    def call(self, inputs):
        scores, sharpness, poses = inputs
        new = ops.where(scores[..., None] > self.min_score, ops.sqrt(sharpness * poses[..., 2]), poses[..., 2])
        return ops.concatenate([poses[..., :2], new[..., None]], axis=-1)

    def compute_output_shape(self, input_shapes):
        return input_shapes[2]

    def get_config(self):
        return {**super().get_config(), "min_score": self.min_score}


@keras.saving.register_keras_serializable("multiposenet")
class ScorePeople(layers.Layer):
    """[scores (batch, n), `Sharpness` (batch, n, K)] -> scores, times how well each person was read.

    A detector says how sure it is that somebody is there, the sharpness of the joints' maps how well he is seen; both together rank
    people better (Huang et al., CVPR 2019, "Mask Scoring R-CNN", which learns the second; here it follows from the maps).
    With h the mean over the joints, the factor is h / (h + `HALF`), times what makes it 1 for h = 1.

    Args:
        min_score: people's scores must be above it, else h is `UNREAD`.
    """

    def __init__(self, min_score=0.0, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.min_score = min_score

    def call(self, inputs):
        scores, sharpness = inputs
        share = ops.where(scores > self.min_score, ops.mean(sharpness, axis=-1), UNREAD)
        return scores * (1 + HALF) * share / (share + HALF)

    def compute_output_shape(self, input_shapes):
        return input_shapes[0]

    def get_config(self):
        return {**super().get_config(), "min_score": self.min_score}


def _median_cells(logits):
    """(batch, n, cells, 2) -> (batch, n, 2): how many cells hold half of what there is, less the half before the first's centre."""
    share = ops.softmax(logits, axis=2)
    before = ops.cumsum(share, axis=2) - share
    return ops.sum(ops.clip((0.5 - before) / ops.maximum(share, 1e-9), 0.0, 1.0), axis=2) - 0.5

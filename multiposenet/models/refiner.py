"""A second look at each person: joints read from a window of the picture, at the person's own scale (docs/refiner.md).

Heatmap peaks are as fine as the picture's cells, however small or large somebody is. Here every person fills the same
window, so that joints can be placed exactly and by one person alone, as in top-down pose estimation (Xiao et al. 2018).
"""

import keras
from keras import layers, ops

from multiposenet.codecs import person_window
from multiposenet.codecs.heatmap import STRIDE
from multiposenet.devices import batch_count
from multiposenet.geometry import PADDING
from multiposenet.models.association import vertex
from multiposenet.models.backbone import Backbone
from multiposenet.models.keypoint_subnet import BilinearUpsampling
from multiposenet.models.per_person import PerPerson

LEVELS = 4  # of the picture, each half as fine as the one before: windows of large people come from a coarse one
EDGES = 4  # of a box: left, upper, right, lower
SIGMA_CELLS = 1.0  # of the target's Gaussian
AREA_SHARE = 0.53  # of a person in its box: COCO's labels
STRICTNESS = 0.7  # of OKS' distances when a joint's best place is looked for; AP's mean threshold is above half
OLD_EDGES = 0.5  # share of a box's edge that was found before the refiner looked
UNSEEN = 0.02  # added to heatmaps, whose peaks are up to 1: how little their silence says


@keras.saving.register_keras_serializable("multiposenet")
class PersonWindows(layers.Layer):
    """[picture (batch, h, w, 3), boxes (batch, n, 4) pixels] -> windows (batch, n, *person_window.pixels(grid), 3).

    Bilinear, of the level of the picture that is about as fine as the window; grey beyond the picture.

    Args:
        grid: rows, columns.
        margin: share of its sides by which a box is widened.
    """

    def __init__(self, grid, margin, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.grid, self.margin = tuple(grid), margin

    def call(self, inputs):
        picture, boxes = inputs
        batch = ops.shape(picture)[0]
        pixels, sizes, starts = _levels(picture)
        corner, height = person_window.corner_and_height(boxes, self.grid, self.margin)
        rows, columns = person_window.pixels(self.grid)
        step = ops.maximum(height, 1.0) / rows  # pixels of the picture per pixel of the window
        level = ops.clip(ops.cast(ops.floor(ops.log2(step)), "int32"), 0, LEVELS - 1)  # (batch, n, 1)
        scale = 1 / ops.power(2.0, ops.cast(level, "float32"))
        high, wide, start = (ops.take(values, level, axis=0) for values in (sizes[0], sizes[1], starts))
        start = start + ops.arange(batch)[:, None, None] * (ops.shape(pixels)[0] // batch)
        across, down = ((corner[..., i:i + 1] + step * (ops.arange(cells, dtype="float32") + 0.5)) * scale - 0.5
                        for i, cells in ((0, columns), (1, rows)))
        (left, right, to_right, in_columns), (upper, lower, to_lower, in_rows) = _taps(across, wide), _taps(down, high)

        def row(y):
            first = (start + y * wide)[..., None]
            one, other = (ops.take(pixels, first + x[:, :, None], axis=0) for x in (left, right))
            return one + to_right[:, :, None, :, None] * (other - one)

        above, below = row(upper), row(lower)
        seen = above + to_lower[..., None, None] * (below - above)
        inside = ops.logical_and(in_rows[..., None], in_columns[:, :, None])[..., None]
        return ops.where(inside, seen, ops.cast(PADDING, seen.dtype))

    def compute_output_shape(self, input_shapes):
        return *input_shapes[1][:2], *person_window.pixels(self.grid), 3

    def get_config(self):
        return {**super().get_config(), "grid": self.grid, "margin": self.margin}


def _levels(picture):
    """Pixels (batch all, 3) of the picture and its halves, picture by picture; [heights, widths] and starts of the levels."""
    batch, levels = ops.shape(picture)[0], [ops.cast(picture, "float32")]
    for _ in range(LEVELS - 1):
        levels.append(ops.average_pool(levels[-1], 2, 2))
    sizes = ops.stack([[ops.shape(level)[axis] for level in levels] for axis in (1, 2)])
    counts = sizes[0] * sizes[1]
    flat = ops.concatenate([ops.reshape(level, (batch, -1, 3)) for level in levels], axis=1)
    return ops.reshape(flat, (-1, 3)), sizes, ops.cumsum(counts) - counts


def _taps(places, size):
    """The two samples next to each place, the second one's share, and whether it lies within the picture."""
    low = ops.floor(places)
    first = ops.cast(low, "int32")
    return (ops.clip(first, 0, size - 1), ops.clip(first + 1, 0, size - 1), places - low,
            ops.logical_and(places > -0.5, places < ops.cast(size, "float32") - 0.5))


def preprocessing(network):
    """What a window's backbone expects (`Preprocess`): that of the ImageNet weights which it is trained from."""
    return "torch" if network == "mobilenetv2" else "caffe"


@keras.saving.register_keras_serializable("multiposenet")
class PoseRefiner(keras.Model):
    """[picture (batch, h, w, 3), boxes (batch, n, 4)] -> logits (batch, n, rows, columns, K) float32, each joint's of one softmax.

    `reader` does so for windows: (batch, *person_window.pixels(grid), 3) -> (batch, rows, columns, K). With `edges` there are
    four maps more, of the left, upper, right and lower edge of the person's box: the logarithms of their sums over rows (left,
    right) or columns (upper, lower) are logits of the edge's place.

    There may be several readers: each sees the person in windows of its own grid, and their distributions are averaged over the cells
    of the first's. Networks err differently, so their mean is most often better than each (Lakshminarayanan et al. 2017, Deep ensembles).

    Args:
        joints: K.
        filters: of the convolutions behind the backbone.
        grid: rows, columns, multiples of 8.
        margin: share of its sides by which a box is widened.
        network: of the windows' `Backbone`.
        edges: whether it reads the box's edges, too.
        mirror_order: of the maps; given, each window's mirror image is read too, and their distributions are averaged.
        more_grids: of further readers; as high for their width as `grid`, so that all see the same part of the picture.
    """

    def __init__(self, joints, filters, grid, margin, network, edges=False, mirror_order=None, more_grids=(), name="refiner", **kwargs):
        picture, boxes = keras.Input((None, None, 3), name="image"), keras.Input((None, 4), name="boxes")
        readers, said = [], []
        for number, own in enumerate((grid, *more_grids), start=1):
            reader = _reader(joints, filters, own, network, edges, name="reader" if number == 1 else f"reader_{number}")
            windows = PersonWindows(own, margin, name=f"windows_of_{reader.name}")([picture, boxes])
            read = PerPerson(reader, name=f"{reader.name}_per_person")
            looks = [read(windows)]
            if mirror_order is not None:
                looks.append(ops.take(ops.flip(read(ops.flip(windows, axis=3)), axis=3), mirror_order, axis=-1))
            readers.append(reader)
            said += looks if tuple(own) == tuple(grid) else [AtCellsOf(grid)(logits) for logits in looks]
        super().__init__([picture, boxes], _mean_distribution(said), name=name, **kwargs)
        self.readers = readers
        self.arguments = dict(joints=joints, filters=filters, grid=tuple(grid), margin=margin, network=network, edges=edges,
                              mirror_order=None if mirror_order is None else [int(k) for k in mirror_order],
                              more_grids=[tuple(own) for own in more_grids])

    @property
    def reader(self):
        """The first, and most often the only one."""
        return self.readers[0]

    def get_config(self):
        return {**self.arguments, "name": self.name}


@keras.saving.register_keras_serializable("multiposenet")
class AtCellsOf(layers.Layer):
    """Logits (batch, n, rows, columns, maps) at the cells of another grid over the same window, bilinear.

    Args:
        grid: rows, columns of that grid.
    """

    def __init__(self, grid, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.grid = tuple(grid)

    def call(self, logits):
        down, across = (_linear_weights((ops.arange(cells, dtype="float32") + 0.5) * (size / cells) - 0.5, size)
                        for cells, size in zip(self.grid, logits.shape[2:4]))
        maps = ops.matmul(ops.matmul(down, ops.transpose(logits, (0, 1, 4, 2, 3))), ops.transpose(across))
        return ops.transpose(maps, (0, 1, 3, 4, 2))

    def compute_output_shape(self, input_shape):
        return *input_shape[:2], *self.grid, input_shape[4]

    def get_config(self):
        return {**super().get_config(), "grid": self.grid}


def _mean_distribution(looks):
    """Logits whose softmax over rows and columns is the mean of those of all these logits."""
    if len(looks) == 1:
        return looks[0]
    logs = ops.stack([logits - ops.logsumexp(logits, axis=(2, 3), keepdims=True) for logits in looks])
    return ops.logsumexp(logs, axis=0)


def _reader(joints, filters, grid, network, edges, name):
    """One person's window -> logits (rows, columns, joints and edges): C5 sees all of the person, finer features are added to it."""
    def conv(x, kernel, name, kind=layers.Conv2D, relu=True):
        x = kind(filters, kernel, padding="same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        return layers.ReLU(name=f"{name}_relu")(x) if relu else x

    window = keras.Input((*person_window.pixels(grid), 3), name="window")
    *finer, coarsest = Backbone(network, preprocessing(network), name="reader_backbone")(window)
    x = conv(conv(coarsest, 1, "C5_reduced"), 3, "P5")
    for level, features in zip((4, 3, 2), reversed(finer)):
        kind = layers.SeparableConv2D if level == 2 else layers.Conv2D  # there are four times as many cells there
        added = [BilinearUpsampling(2, name=f"P{level}_upsampled")(x), conv(features, 1, f"C{level}_reduced", relu=False)]
        x = layers.ReLU(name=f"P{level}_merged_relu")(layers.Add(name=f"P{level}_merged")(added))
        x = conv(x, 3, f"P{level}", kind)
    logits = layers.Conv2D(joints, 1, dtype="float32", name="logits")(x)
    if edges:  # a layer of their own, so that they can be added to a trained reader
        logits = layers.Concatenate(name="maps")([logits, layers.Conv2D(EDGES, 1, dtype="float32", name="edge_logits")(x)])
    return keras.Model(window, logits, name=name)


@keras.saving.register_keras_serializable("multiposenet")
class RefinerLoss(keras.losses.Loss):
    """Cross-entropy between each joint's cells and a Gaussian at its place, each edge's columns or rows and one at its; the mean
    over labelled joints and edges.

    `y_true` is (batch, K, 3) of `codecs.person_window.encode`, with `edges` then (batch, 4, 3) of `encode_edges`, `y_pred` the
    logits of `PoseRefiner.reader`.
    """

    def __init__(self, edges=False, name="refiner", **kwargs):
        super().__init__(name=name, **kwargs)
        self.edges = edges

    def call(self, y_true, y_pred):
        y_true, (rows, columns) = ops.cast(y_true, "float32"), y_pred.shape[1:3]
        joints = y_pred.shape[3] - EDGES * self.edges
        across, down = (-ops.square(ops.arange(cells, dtype="float32")[:, None] - y_true[:, None, :, i])
                        / (2 * SIGMA_CELLS ** 2) for i, cells in ((0, columns), (1, rows)))
        across, down = ops.softmax(across, axis=1), ops.softmax(down, axis=1)
        target = down[:, :, None, :joints] * across[:, None, :, :joints]
        known = y_true[..., 2]
        total = ops.sum(known[:, :joints] * _cross_entropy(target, y_pred[..., :joints], (1, 2)))
        if self.edges:
            sides, ends = edge_logits(y_pred)
            total += ops.sum(known[:, joints::2] * _cross_entropy(across[..., joints::2], sides, 1))
            total += ops.sum(known[:, joints + 1::2] * _cross_entropy(down[..., joints + 1::2], ends, 1))
        return total / batch_count(ops.sum(known))


def _cross_entropy(target, logits, axis):
    return ops.sum(target * (ops.logsumexp(logits, axis=axis, keepdims=True) - logits), axis=axis)


def edge_logits(maps):
    """Maps of `PoseRefiner` with edges (..., rows, columns, K + 4) -> logits of left and right (..., columns, 2) and of upper and
    lower edge (..., rows, 2)."""
    return ops.logsumexp(maps[..., -EDGES::2], axis=-3), ops.logsumexp(maps[..., 1 - EDGES::2], axis=-2)


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
        people, joints, (rows, columns) = ops.shape(boxes)[1], len(self.sigmas), self.grid
        corner, height = person_window.corner_and_height(boxes, self.grid, self.margin)
        down, across = (_linear_weights((corner[..., i:i + 1] + height / rows * (ops.arange(cells, dtype="float32") + 0.5)) / STRIDE - 0.5, size)
                        for i, cells, size in ((1, rows, high), (0, columns, wide)))
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


def _linear_weights(places, size):
    """(..., n) places among `size` samples -> (..., n, size) weights of linear interpolation; beyond the ends the last sample counts."""
    last = ops.cast(size - 1, "float32")
    away = ops.abs(ops.clip(places, 0.0, last)[..., None] - ops.arange(size, dtype="float32"))
    return ops.maximum(1 - away, 0.0)


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


def _median_cells(logits):
    """(batch, n, cells, 2) -> (batch, n, 2): how many cells hold half of what there is, less the half before the first's centre."""
    share = ops.softmax(logits, axis=2)
    before = ops.cumsum(share, axis=2) - share
    return ops.sum(ops.clip((0.5 - before) / ops.maximum(share, 1e-9), 0.0, 1.0), axis=2) - 0.5

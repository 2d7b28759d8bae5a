"""A second look at each person: joints read from a window of the picture, at the person's own scale (docs/refiner.md).

Heatmap peaks are as fine as the picture's cells, however small or large somebody is. Here every person fills the same
window, so that joints can be placed exactly and by one person alone, as in top-down pose estimation (Xiao et al. 2018).
"""

import keras
from keras import layers, ops

from multiposenet.codecs import person_window
from multiposenet.devices import batch_count
from multiposenet.models.backbone import Backbone
from multiposenet.models.keypoint_subnet import BilinearUpsampling
from multiposenet.models.per_person import PerPerson
from multiposenet.models.person_windows import PersonWindows

EDGES = 4  # of a box: left, upper, right, lower
SIGMA_CELLS = 1.0  # of the target's Gaussian


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
        down, across = (linear_weights((ops.arange(cells, dtype="float32") + 0.5) * (size / cells) - 0.5, size)
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


def linear_weights(places, size):
    """(..., n) places among `size` samples -> (..., n, size) weights of linear interpolation; beyond the ends the last sample counts."""
    last = ops.cast(size - 1, "float32")
    away = ops.abs(ops.clip(places, 0.0, last)[..., None] - ops.arange(size, dtype="float32"))
    return ops.maximum(1 - away, 0.0)


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

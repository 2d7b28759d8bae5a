"""keras-retinanet's snapshots: their weights carried over into our backbone and detector.

A snapshot is an HDF5 file of Keras 2, and nothing in it is executed: arrays are looked up by the names of their layers.
"""

from pathlib import Path

import h5py
import numpy as np

from multiposenet import weights
from multiposenet.codecs.anchors import ANCHORS_PER_CELL
from multiposenet.config import load_config
from multiposenet.errors import UserError
from multiposenet.files import make_folder
from multiposenet.models.heads import build_backbone, detector_model, detector_parts

BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3), "resnet152": (3, 8, 36, 3)}  # of C2..C5
BRANCHES = ("1", "2a", "2b", "2c")  # keras.applications counts them 0..3; the first is the shortcut
EPSILON = 1e-5  # keras-resnet's in BatchNorm; keras.applications has 1.001e-5
BACKBONE_FILE = "backbone.weights.h5"


def import_snapshot(path, workdir, class_index=0):
    """Write a snapshot's detector (`weights.save_head`) and its backbone (`BACKBONE_FILE`) into a run folder.

    Args:
        path: training snapshot, converted model or weights file of keras-retinanet 1.0, with a ResNet.
        class_index: which of its classes the detector shall find.

    Returns:
        (network, lines saying what was not carried over).

    Raises:
        UserError: not such a file, not such a class, weights that are missing or of another shape, or a folder that
            holds a detector already.
    """
    if (Path(workdir) / "detector.weights.h5").exists():
        raise UserError(f"{workdir}: holds a detector already; choose another folder")
    with _opened(path) as file:
        arrays = arrays_by_layer(file)
        network = _network(arrays, path)
        source = _Source(arrays, path, class_index)
        config = load_config(None, [f"model.backbone={network}", "model.backbone_padding=keras_resnet"])
        backbone = build_backbone(config.model)
        detector = detector_model(backbone, *detector_parts(config.model, backbone))
        names = backbone_names(network)
        for layer in _leaves(backbone):
            layer.set_weights(source.backbone_layer(layer, names[layer.name]))
        for layer in _leaves(detector):
            layer.set_weights(source.detector_layer(layer))
    make_folder(workdir)
    backbone.save_body(Path(workdir) / BACKBONE_FILE)
    weights.save_head("detector", detector, workdir, config, dict(source=Path(path).name, class_index=class_index),
                      backbone_sha256=weights.fingerprint(backbone))
    return network, source.left_over()


def backbone_names(network):
    """Dict: layer with weights of keras.applications' ResNet -> the same layer's name in keras-resnet."""
    names = {"conv1_conv": "conv1", "conv1_bn": "bn_conv1"}
    for stage, blocks in enumerate(BLOCKS[network], start=2):
        for block in range(blocks):
            # Long networks count the blocks of C3 and C4 (a, b1, b2, ..), the others have letters.
            numbered = block and network != "resnet50" and stage in (3, 4)
            theirs = f"{stage}b{block}" if numbered else f"{stage}{chr(ord('a') + block)}"
            for i, branch in enumerate(BRANCHES):
                if i or not block:
                    ours = f"conv{stage}_block{block + 1}_{i}"
                    names |= {f"{ours}_conv": f"res{theirs}_branch{branch}", f"{ours}_bn": f"bn{theirs}_branch{branch}"}
    return names


def arrays_by_layer(file):
    """Dict of layer -> dict of weight -> h5py.Dataset of an open HDF5 file, from `model.save` or `save_weights`.

    Both keep `<layer>/<layer>/<weight>:0`, and `<submodel>/<layer>/<weight>:0` for the two heads.
    """
    arrays = {}

    def note(name, item):
        *groups, weight = name.split("/")
        if isinstance(item, h5py.Dataset) and groups:
            layer = groups[1] if groups[0].endswith("_submodel") and len(groups) > 1 else groups[0]
            arrays.setdefault(layer, {})[weight.split(":")[0]] = item

    file.get("model_weights", file).visititems(note)
    return arrays


class _Source:
    """Hands out the snapshot's arrays as our layers want them, and remembers which it gave.

    Args:
        arrays: dict of layer -> dict of weight -> h5py.Dataset.
        path: for messages.
        class_index: which class the classification's last layer keeps.
    """

    def __init__(self, arrays, path, class_index):
        self.arrays, self.path, self.used = arrays, path, set()
        self.class_index, self.classes = class_index, self._count_classes()
        if not 0 <= class_index < self.classes:
            raise UserError(f"{path}: no class {class_index}; it has {self.classes}, numbered from 0")

    def backbone_layer(self, layer, theirs):
        """Weights of a layer of the backbone; the convolutions there have no bias."""
        values = {weight.name: np.zeros(weight.shape, "float32")
                  if weight.name == "bias" and "bias" not in self.arrays.get(theirs, {})
                  else self._array(theirs, weight.name, weight.shape) for weight in layer.weights}
        if "moving_variance" in values:  # only its sum with epsilon counts
            values["moving_variance"] = values["moving_variance"] + np.float32(EPSILON - layer.epsilon)
        return list(values.values())

    def detector_layer(self, layer):
        """Weights of a layer of pyramid or heads, which has keras-retinanet's name."""
        if layer.name != "pyramid_classification":
            return [self._array(layer.name, weight.name, weight.shape) for weight in layer.weights]
        shapes = [(*weight.shape[:-1], ANCHORS_PER_CELL * self.classes) for weight in layer.weights]
        every = [self._array(layer.name, weight.name, shape) for weight, shape in zip(layer.weights, shapes)]
        return [array.reshape(*array.shape[:-1], ANCHORS_PER_CELL, self.classes)[..., self.class_index]
                for array in every]

    def left_over(self):
        """Lines that say what nobody asked for."""
        lines = [f"{layer}/{name}: has no place in our detector" for layer, found in sorted(self.arrays.items())
                 for name in sorted(found) if (layer, name) not in self.used]
        others = [f"pyramid_classification: {self.classes - 1} other classes"] if self.classes > 1 else []
        return others + lines

    def _count_classes(self):
        bias = self._find("pyramid_classification", "bias")
        if bias.ndim != 1 or not bias.size or bias.size % ANCHORS_PER_CELL:
            raise UserError(f"{self.path}: pyramid_classification/bias is {bias.shape}, not {ANCHORS_PER_CELL} numbers "
                            "a class; only the default ratios and scales of anchors can be imported")
        return bias.size // ANCHORS_PER_CELL

    def _find(self, layer, name):
        try:
            return self.arrays[layer][name]
        except KeyError:
            raise UserError(f"{self.path}: {layer}/{name} is missing; give a whole snapshot of keras-retinanet 1.0 "
                            "with the default pyramid and heads") from None

    def _array(self, layer, name, shape):
        """float32 array of that shape; the shape is checked before anything is read."""
        data = self._find(layer, name)
        if data.shape != tuple(shape) or data.dtype.kind != "f":
            raise UserError(f"{self.path}: {layer}/{name} is {data.dtype} {data.shape}, expected float {tuple(shape)}; "
                            "only keras-retinanet's default sizes can be imported")
        try:
            array = data[()].astype("float32")
        except OSError as error:
            raise UserError(f"{self.path}: {layer}/{name} cannot be read ({error}); copy the file again") from None
        if not np.isfinite(array).all():
            raise UserError(f"{self.path}: {layer}/{name} is not finite; take an earlier snapshot")
        self.used.add((layer, name))
        return array


def _opened(path):
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; give a keras-retinanet snapshot (.h5)")
    try:
        return h5py.File(path)
    except OSError as error:
        raise UserError(f"{path}: not an HDF5 file ({error}); give a keras-retinanet snapshot (.h5)") from None


def _network(arrays, path):
    """The longest of `BLOCKS` whose layers are all there.

    Raises:
        UserError: none of them.
    """
    for network in reversed(BLOCKS):
        if arrays.keys() >= set(backbone_names(network).values()):
            return network
    found = ", ".join(sorted(arrays)[:5]) or "none"
    raise UserError(f"{path}: its layers ({found}, ..) are not all those of keras-retinanet's ResNet-50, 101 or 152, "
                    "and only these can be imported")


def _leaves(model):
    """Layers with weights, also those of models inside."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _leaves(layer)
        elif layer.weights:
            yield layer

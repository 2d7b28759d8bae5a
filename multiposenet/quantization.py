"""An exported ONNX file in int8: its convolutions on bytes, with ranges calibrated on pictures.

Left in float32 are the backbone up to C2, whose few channels differ most in range, and the last convolution of every
head, whose rare large values are what counts: that costs no time that can be measured and wins back most of the
accuracy (docs/experiments.md); and all of the refiner, which has little to compute and exact places to say.
"""

import contextlib
import logging
import warnings

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from multiposenet.data.pictures import read_picture
from multiposenet.engines import load_engine
from multiposenet.prediction import Predictor, on_canvas

PICTURES = 24  # to calibrate on
C2_READER = "C2_reduced"  # the keypoint pyramid's convolution on C2
BEST_BOXES = "TopK", "select_boxes"  # operator and layer; what depends on the boxes chosen is the refiner's


def quantize(source, target, pictures):
    """Write an int8 copy of an exported file.

    Args:
        source: path of the `.onnx` file.
        target: path of the new one.
        pictures: paths of pictures such as the model will see; the first `PICTURES` are looked at.

    Raises:
        UserError: a picture that cannot be read.
    """
    graph = onnx.load(source).graph
    refiner = _after(graph, [node for node in graph.node if node.op_type == BEST_BOXES[0] and BEST_BOXES[1] in node.name])
    convolutions = [node for node in graph.node if node.op_type == "Conv" and node.name not in refiner]
    early = _before(graph, [node for node in convolutions if C2_READER in node.name])
    chosen = (_before(graph, convolutions) - early) & {node.name for node in convolutions}  # a head's last is before none
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")  # of NumPy about channels that are always zero
        # Ranges are averaged over the pictures: the widest ever seen, of one odd picture, costs 0.8 AP.
        quantize_static(source, target, _Canvases(source, pictures), quant_format=QuantFormat.QDQ, per_channel=True,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, nodes_to_quantize=sorted(chosen),
                        extra_options=dict(CalibMovingAverage=True))


class _Canvases(CalibrationDataReader):
    """The pictures as the network sees them, one at a time."""

    def __init__(self, source, pictures):
        self.predictor, self.pictures = Predictor(load_engine(source)), iter(pictures[:PICTURES])

    def get_next(self):
        for path in self.pictures:
            picture = read_picture(path)
            return {"image": on_canvas(picture, self.predictor.letterbox(picture))[None]}


def _after(graph, nodes):
    """Names of the nodes that depend on these; their own names would not tell, since nodes that do the same are one. A
    graph lists its nodes in the order of their work."""
    names, outputs = set(), {output for node in nodes for output in node.output}
    for node in graph.node:
        if not outputs.isdisjoint(node.input):
            names.add(node.name)
            outputs.update(node.output)
    return names


def _before(graph, nodes):
    """Names of the nodes that these depend on."""
    maker = {output: node for node in graph.node for output in node.output}
    todo, found = list(nodes), set()
    while todo:
        above = [maker[name] for name in todo.pop().input if name in maker]
        todo += [node for node in above if node.name not in found]
        found.update(node.name for node in above)
    return found


@contextlib.contextmanager
def _quiet():
    """Without ONNX Runtime's advice to optimise first: tf2onnx has folded BatchNorm already."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

"""The whole graph, pixels to people, as a file for another engine: Keras' own exporters, and what the file says of itself."""

import contextlib
import importlib.util
import json
import os
import tempfile
import warnings
import zipfile
from pathlib import Path

import keras

import multiposenet
from multiposenet.engines import CONTRACT, LITERT_METADATA, load_engine
from multiposenet.errors import UserError
from multiposenet.weights import fingerprint

LICENCE = "code and graph: Apache-2.0; weights: as their training data allows, for the shipped ones see MODEL_CARD.md"


def export(model, output, form="onnx", size=None, calibration=None):
    """Write a model for another engine; `engines.load_engine` opens it (a SavedModel is for TensorFlow Serving).

    Input `image`: (batch, height, width, 3) uint8 RGB, sides multiples of 32. Outputs as `MultiPoseNet`'s.

    Args:
        model: `MultiPoseNet`.
        output: file, or folder for a SavedModel; it is there whole or not at all. OpenVINO puts a .bin beside its .xml.
        form: a key of `WRITERS`.
        size: (height, width) for one picture of one size; None for any batch and size.
        calibration: paths of pictures for int8 (`quantization.quantize`), for ONNX alone; None leaves float32.

    Raises:
        UserError: a wrong suffix or size, a package that is missing, a size that LiteRT needs, no room, or a picture
            of `calibration` that cannot be read.
    """
    suffix, packages, write = WRITERS[form]
    if calibration and form != "onnx":
        raise UserError(f"int8 is for --format onnx, not {form}")
    if keras.backend.backend() != "tensorflow":
        raise UserError("only Keras on TensorFlow exports this graph: set KERAS_BACKEND=tensorflow")
    _check_size(form, size)
    _check_output(output, form, suffix, (*packages, *(["onnxruntime"] if calibration else [])))
    signature = [keras.InputSpec(shape=(1, *size, 3) if size else (None, None, None, 3), dtype="uint8", name="image")]
    with _written_whole(output) as path:
        write(model, path, signature, metadata(model))
        if calibration:
            whole = path.with_name(f"float32.{path.name}")
            os.replace(path, whole)
            _quantize(whole, path, calibration)
            whole.unlink()


def export_int8(source, output, calibration):
    """Write an int8 copy of an exported `.onnx` file: the same as `export` with `calibration`, without its minutes.

    Raises:
        UserError: a source that is no such file, or see `export`.
    """
    load_engine(source, "onnxruntime")
    _check_output(output, "onnx", ".onnx", ("onnx", "onnxruntime"))
    with _written_whole(output) as path:
        _quantize(source, path, calibration)


def metadata(model):
    """dict of str: what travels inside every exported file."""
    skeleton = model.config.skeleton
    return dict(contract=str(CONTRACT), multiposenet_version=multiposenet.__version__, licence=LICENCE,
                config=model.config.model_dump_json(), joints=json.dumps(skeleton.joints),
                limbs=json.dumps(skeleton.limb_indices), activities=json.dumps(model.config.activities),
                weights_sha256=fingerprint(model))


def _check_size(form, size):
    if size and any(side <= 0 or side % 32 for side in size):
        raise UserError(f"size {size[0]} x {size[1]}: height and width must be multiples of 32")
    if form == "litert" and not size:
        raise UserError("LiteRT needs a fixed size: add --size HEIGHT WIDTH, such as --size 384 512")


def _check_output(output, form, suffix, packages):
    output = Path(output)
    if output.suffix != suffix:
        raise UserError(f"{output}: the name of {form} output must {f'end in {suffix}' if suffix else 'have no suffix'}")
    if not output.parent.is_dir():
        raise UserError(f"{output.parent}: no such folder; make it first")
    if output.is_dir():
        raise UserError(f"{output}: exists already; choose another name")
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise UserError(f"{form} needs {package}, which is not installed: pip install 'multiposenet[export]'")


@contextlib.contextmanager
def _written_whole(output):
    """Yields where to write; what lies beside that goes to its place when the block ends well."""
    output = Path(output)
    try:
        with tempfile.TemporaryDirectory(dir=output.parent, prefix="exporting") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tf2onnx about NumPy, and of TensorFlow about its own converter
            yield Path(folder) / output.name
            for part in sorted(Path(folder).iterdir()):
                os.replace(part, output.parent / part.name)
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror or error}); make room or choose another place") from None


class _Whole(keras.Model):
    """What a model computes, with its layers out of sight: Keras' exporters would trace each model within it for itself, too,
    which takes several times as long as the whole."""

    def __init__(self, model):
        super().__init__(name=model.name)
        self.computed = lambda image: model(image, training=False)
        self.built = True

    def call(self, image):
        return self.computed(image)


def _keras_export(model, path, form, signature):
    _Whole(model).export(str(path), format=form, verbose=False, input_signature=signature)


def _write_onnx(model, path, signature, properties):
    import onnx

    _keras_export(model, path, "onnx", signature)
    graph = onnx.load(path)
    for tensor, names in ((graph.graph.input[0], ("batch", "height", "width")),
                          *((output, ("batch",)) for output in graph.graph.output)):
        for axis, name in zip(tensor.type.tensor_type.shape.dim, names):
            if axis.dim_param:
                axis.dim_param = name
    onnx.helper.set_model_props(graph, properties)
    onnx.checker.check_model(graph)
    onnx.save(graph, path)


def _quantize(source, target, pictures):
    from multiposenet.quantization import quantize  # needs onnxruntime

    quantize(source, target, pictures)


def _write_openvino(model, path, signature, properties):
    import openvino

    _keras_export(model, path, "openvino", signature)
    graph = openvino.Core().read_model(path)
    for key, value in properties.items():
        graph.set_rt_info(value, ["multiposenet", key])
    final = path.with_name(f"final.{path.name}")  # the weights are still read from the first file
    openvino.save_model(graph, final, compress_to_fp16=False)
    del graph
    for suffix in (".xml", ".bin"):
        os.replace(final.with_suffix(suffix), path.with_suffix(suffix))


def _write_litert(model, path, signature, properties):
    fixed = keras.Model(model.inputs, model.output)  # as many places at every call
    _keras_export(fixed, path, "litert", signature)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(LITERT_METADATA, json.dumps(properties))


def _write_saved_model(model, path, signature, properties):
    _keras_export(model, path, "tf_saved_model", signature)
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / "multiposenet.json").write_text(json.dumps(properties))


WRITERS = {  # form: suffix, packages beside TensorFlow, writer
    "onnx": (".onnx", ("onnx", "tf2onnx"), _write_onnx),
    "openvino": (".xml", ("openvino",), _write_openvino),
    "litert": (".tflite", (), _write_litert),
    "saved_model": ("", (), _write_saved_model),
}

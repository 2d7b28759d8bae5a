"""The exported graph on the engine its file is for. Neither Keras nor TensorFlow is imported for it.

    predictor = Predictor(load_engine("lite.onnx"))
"""

import importlib
import json
import os
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

import multiposenet
from multiposenet.config import ModelConfig, parse_config
from multiposenet.errors import UserError

CONTRACT = 1  # rises when the exported graph's input or outputs change; `export.py` writes it into every file
LITERT_METADATA = "multiposenet.json"  # in a zip archive behind the model, as TensorFlow Lite keeps associated files


class Engine(ABC):
    """(batch, height, width, 3) uint8 RGB, sides multiples of 32 -> `MultiPoseNet`'s outputs as NumPy arrays.

    Attributes:
        config: ModelConfig of the exported model.
        metadata: dict of str, what `export.metadata` wrote.
        size: (height, width) the graph is fixed to, or None.
    """

    name = suffix = package = None

    def __init__(self, path, threads=None):
        self.threads = threads
        try:
            self.metadata, shape = self._open(_package(self.package), str(path))
        except Exception as error:  # the engines' own kinds share no base
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path}: {self.name} cannot open it ({_short(error)}); export the model again") from None
        self.config = _config(self.metadata, path)
        self.size = None if None in shape[1:3] else tuple(shape[1:3])

    @abstractmethod
    def _open(self, package, path):
        """(metadata, input shape with None where any size fits)."""

    @abstractmethod
    def __call__(self, batch):
        """See the class."""


class OnnxRuntime(Engine):
    """ONNX Runtime on the CPU."""

    name, suffix, package = "onnxruntime", ".onnx", "onnxruntime"

    def _open(self, onnxruntime, path):
        self.session = _onnx_session(onnxruntime, path, self.threads)
        self.outputs = [output.name for output in self.session.get_outputs()]
        shape = [side if isinstance(side, int) else None for side in self.session.get_inputs()[0].shape]
        return self.session.get_modelmeta().custom_metadata_map, shape

    def __call__(self, batch):
        return dict(zip(self.outputs, self.session.run(None, {"image": batch})))


class Peer:
    """Somebody else's ONNX network on ONNX Runtime, set up as ours is, to compare speeds: it sees noise of its own size.

    Attributes:
        shape: of its one input, (1, channels, height, width) float32.

    Raises:
        UserError: no such file, one that ONNX Runtime cannot open, or one whose size is not fixed.
    """

    def __init__(self, path):
        onnxruntime = _package(OnnxRuntime.package)
        try:
            self.session = _onnx_session(onnxruntime, str(path))
        except Exception as error:  # ONNX Runtime's own kinds share no base
            raise UserError(f"{path}: onnxruntime cannot open it ({_short(error)})") from None
        image = self.session.get_inputs()[0]
        self.shape = (1, *image.shape[1:])
        if len(self.shape) != 4 or not all(isinstance(side, int) for side in self.shape):
            raise UserError(f"{path}: its input is {image.shape}; export it with a fixed height and width")
        self.noise = {image.name: np.random.default_rng(0).random(self.shape, "float32")}

    def __call__(self, batch):
        self.session.run(None, self.noise)
        return {}


class OpenVino(Engine):
    """OpenVINO on the CPU, in float32: left to itself it takes bfloat16 where the processor has it."""

    name, suffix, package = "openvino", ".xml", "openvino"

    def _open(self, openvino, path):
        core = openvino.Core()
        model = core.read_model(path)
        self.compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32",
                                                          "INFERENCE_NUM_THREADS": self.threads or 0})
        shape = [side.get_length() if side.is_static else None for side in model.input().partial_shape]
        return model.get_rt_info("multiposenet").value if model.has_rt_info("multiposenet") else {}, shape

    def __call__(self, batch):
        found = self.compiled(batch)
        return {output.any_name: found[output] for output in self.compiled.outputs}


class LiteRT(Engine):
    """LiteRT (TensorFlow Lite) on the CPU."""

    name, suffix, package = "litert", ".tflite", "ai_edge_litert.interpreter"

    def _open(self, interpreter, path):
        self.interpreter = interpreter.Interpreter(path, num_threads=self.threads)
        self.run = self.interpreter.get_signature_runner()
        shape = [side if side > 0 else None for side in self.interpreter.get_input_details()[0]["shape_signature"]]
        return json.loads(zipfile.ZipFile(path).read(LITERT_METADATA)), shape

    def __call__(self, batch):
        return self.run(image=batch)


ENGINES = {engine.name: engine for engine in (OnnxRuntime, OpenVino, LiteRT)}


def load_engine(path, engine="auto", threads=None):
    """A model for `Predictor`, from its file.

    Args:
        path: exported file (.onnx, .xml, .tflite), .keras file, or the name of shipped weights.
        engine: a key of `ENGINES`, "keras", or "auto": the one the file is for. Weights for Keras are exported for another
            engine once, see `kept_export`.
        threads: that the engine may use; None leaves it to the engine. Keras takes its number from the environment.

    Returns:
        `Engine`, or `MultiPoseNet` for "keras".

    Raises:
        UserError: no such file, one the engine does not read, a damaged one, one of another version, or an engine that
            is not installed.
    """
    fitting = fitting_engine(path)
    if fitting == "keras" and engine in ENGINES:
        from multiposenet.kept_exports import kept_export

        _package(ENGINES[engine].package)  # before minutes are spent
        return ENGINES[engine](kept_export(path, engine), threads)
    if engine not in ("auto", fitting):
        wanted = ENGINES[engine].suffix if engine in ENGINES else ".keras"
        raise UserError(f"{path}: {engine} reads {wanted} files; export one with export.py or choose --engine {fitting}")
    if fitting == "keras":
        from multiposenet import weights

        return weights.load_pretrained(path)
    if not Path(path).is_file():
        raise UserError(f"{path}: no such model file; make one with export.py")
    return ENGINES[fitting](path, threads)


def fitting_engine(path):
    """What a file is for, by its suffix: a key of `ENGINES`, or "keras" for all else."""
    return next((name for name, kind in ENGINES.items() if Path(path).suffix == kind.suffix), "keras")


def _onnx_session(onnxruntime, path, threads=None):
    options = onnxruntime.SessionOptions()
    # Threads that wait in a loop steal time from reading and drawing: 0.34 instead of 0.24 s a picture on two cores
    # that other work shared.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.intra_op_num_threads = threads or 0
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _package(name):
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reports to its makers unless told before its start
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{name.split('.')[0]} is not installed ({error}): pip install 'multiposenet[export]'") from None


def _config(metadata, path):
    contract = metadata.get("contract")
    if contract is None:
        raise UserError(f"{path}: not exported by multiposenet; make a file with export.py")
    if contract != str(CONTRACT):
        raise UserError(f"{path}: exported by multiposenet {metadata.get('multiposenet_version')}, which this version "
                        f"({multiposenet.__version__}) cannot use; export the model again")
    return parse_config(json.loads(metadata["config"]), path, ModelConfig)


def _short(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

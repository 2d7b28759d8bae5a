"""What every command shares: configuration options, quiet imports, and errors turned into exit statuses."""

import math
import os
import signal
import sys
import threading
from contextlib import contextmanager

from multiposenet.config import PRESETS, load_config
from multiposenet.engines import ENGINES
from multiposenet.errors import UserError


def run(function, *args):
    """Call a command's function and return its exit status.

    A `UserError` becomes its message on stderr and status 2, Ctrl-C and SIGTERM become status 130; otherwise what the
    function returns, or 0.
    """
    try:
        with terminated_like_ctrl_c():
            return function(*args) or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


@contextmanager
def terminated_like_ctrl_c():
    """SIGTERM, which ends a service, leaves finished work and whole files behind as well."""
    if threading.current_thread() is not threading.main_thread():  # only there Python takes signals
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def add_config_arguments(parser, preset=True):
    """Add --config, --preset and --set; `config_from` reads them."""
    parser.add_argument("--config", metavar="FILE", help="YAML file; it holds only what differs from the defaults")
    if preset:
        parser.add_argument("--preset", choices=sorted(PRESETS), help="model sizes; wins over the file's")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides",
                        help="one setting, such as train.batch_size=8; may be repeated, wins over the file")


def add_weights_arguments(parser, *others, also=""):
    """Add --weights and --engine, for `engines.load_engine`; `others` are further choices, which `also` explains."""
    parser.add_argument("--weights", default="lite",
                        help="shipped weights by name, a .keras file, or a file of export.py (default: lite)")
    parser.add_argument("--engine", choices=("auto", "keras", *ENGINES, *others), default="auto",
                        help="what runs the weights (default: auto, what their file is for); onnxruntime and openvino "
                        "export Keras weights once and keep the file" + also)


def config_from(args, *overrides):
    """The `Config` that the options ask for; `overrides` come last.

    Raises:
        UserError: a bad file, key or value.
    """
    return load_config(args.config, [*args.overrides, *overrides], getattr(args, "preset", None))


def predict_config(args, **settings):
    """The `PredictConfig` that the options ask for; `settings` that are not None come last.

    Raises:
        UserError: see `config_from`, or an override of anything else: the weights decide the rest.
    """
    for override in args.overrides:
        if not override.startswith("predict."):
            raise UserError(f"--set {override}: only predict.* can be set here, the weights decide the rest")
    return config_from(args, *(f"predict.{key}={value}" for key, value in settings.items() if value is not None)).predict


def positive(text):
    """An option's value above 0, for argparse."""
    if not 0 < float(text) < math.inf:
        raise ValueError
    return float(text)


@contextmanager
def quiet_tensorflow():
    """Keep TensorFlow's start-up messages off the terminal while Keras is imported inside the block.

    It prints some before it reads its log level, hence the redirection of file descriptor 2. A user who has set
    TF_CPP_MIN_LOG_LEVEL sees what he asked for.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)

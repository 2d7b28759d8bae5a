"""`demo.py`: a web page that finds the people on a photo, a camera's snapshot or a video."""

import argparse
import contextlib
import os
import tempfile
import time

from multiposenet.commands.common import (add_config_arguments, add_weights_arguments, positive, predict_config,
                                          quiet_tensorflow, run)
from multiposenet.demo.inside import OpenPredictor
from multiposenet.engines import load_engine
from multiposenet.errors import UserError
from multiposenet.prediction import Predictor


def main(argv=None):
    """Exit status: 2 a mistake of the user, 130 stopped by Ctrl-C or SIGTERM, which is how it ends."""
    return run(demo, _parser().parse_args(argv))


def demo(args):
    """Serve the page until a signal comes; all that is written lies in one temporary folder, which is gone then."""
    config = predict_config(args)
    with one_temporary_folder():
        page = _page()
        with quiet_tensorflow():
            model = load_engine(args.weights, args.engine)
        predictor = OpenPredictor if hasattr(model, "dense") else Predictor  # exported graphs are closed
        app = page.build_app(predictor(model, config))
        page.serve(app, args.host, args.port, args.max_mb)
        print(f"{app.local_url} (Ctrl-C ends it)", flush=True)
        try:
            wait()
        finally:
            app.close(verbose=False)


def wait():
    """For a signal, while other threads serve the page. If one of them gets it, Python acts when this one wakes."""
    while True:
        time.sleep(1)


@contextlib.contextmanager
def one_temporary_folder():
    """Python's and Gradio's temporary files go to one folder, yielded, which is removed after the block.

    Gradio is also told to send nothing to its makers; it reads this when it is first imported.
    """
    with tempfile.TemporaryDirectory(prefix="multiposenet-demo-") as folder:
        os.environ.update(GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED="False")
        before, tempfile.tempdir = tempfile.tempdir, folder
        try:
            yield folder
        finally:
            tempfile.tempdir = before


def _page():
    try:
        import gradio  # noqa: F401
    except ImportError:
        raise UserError("the demo's page is made with Gradio: pip install 'multiposenet[demo]'") from None
    from multiposenet.demo import page

    return page


def _parser():
    parser = argparse.ArgumentParser(prog="demo.py", description=__doc__.split(":", 1)[1].strip())
    add_weights_arguments(parser)
    parser.add_argument("--host", default="127.0.0.1",
                        help="address to listen on; 0.0.0.0 lets the whole network in (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=7860, help="default: 7860")
    parser.add_argument("--max-mb", type=positive, default=20, help="largest upload in MiB (default: 20)")
    add_config_arguments(parser, preset=False)
    return parser

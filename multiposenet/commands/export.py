"""`export.py`: the whole model, pixels to people, as one file for ONNX Runtime, OpenVINO, LiteRT or TensorFlow Serving."""

import argparse

from multiposenet.commands.common import quiet_tensorflow, run
from multiposenet.data.pictures import find_pictures
from multiposenet.engines import fitting_engine
from multiposenet.errors import UserError

FORMATS = ("onnx", "openvino", "litert", "saved_model")


def main(argv=None):
    """Exit status 0, or 2 for a mistake of the user."""
    return run(export_model, _parser().parse_args(argv))


def export_model(args):
    """Export as the options say and print what was written."""
    if args.int8 != bool(args.calibrate):
        raise UserError("--int8 and --calibrate PICTURES go together: the pictures show what ranges occur")
    calibration = find_pictures(args.calibrate) if args.int8 else None
    with quiet_tensorflow():  # the converters print their progress there
        from multiposenet.export import export, export_int8
        from multiposenet.weights import load_pretrained

        if args.int8 and fitting_engine(args.weights) == "onnxruntime":
            if args.size or args.format != "onnx":
                raise UserError(f"{args.weights} has its size and format; leave out --size and --format")
            export_int8(args.weights, args.output, calibration)
        else:
            export(load_pretrained(args.weights), args.output, args.format, args.size, calibration)
    size = "" if args.size is None else " for {} x {} pixels".format(*args.size)
    print(f"wrote {args.output}: {args.weights}{size}")


def _parser():
    parser = argparse.ArgumentParser(prog="export.py", description=__doc__.split(":", 1)[1].strip())
    parser.add_argument("--weights", default="lite", help="shipped weights by name, or a .keras file (default: lite); for --int8 also "
                        "an .onnx file of this program")
    parser.add_argument("--format", choices=FORMATS, default="onnx", help="default: onnx")
    parser.add_argument("--output", required=True, help="name ending in .onnx, .xml (openvino), .tflite (litert), or folder")
    parser.add_argument("--int8", action="store_true", help="convolutions on bytes, for onnx; needs --calibrate")
    parser.add_argument("--calibrate", nargs="+", metavar="PATH",
                        help="pictures such as the model will see, none of those it is evaluated on: files, folders or globs")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--dynamic", dest="size", action="store_const", const=None,
                      help="any batch and size of picture (default; LiteRT has no such thing)")
    size.add_argument("--size", nargs=2, type=int, metavar=("HEIGHT", "WIDTH"), help="one picture of one size")
    return parser

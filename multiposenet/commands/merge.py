"""`merge_weights`: the heads into one end-to-end model file."""

import argparse

from multiposenet.commands.common import quiet_tensorflow, run
from multiposenet.config import HEADS


def merge_weights(argv=None):
    """Merge from a command line."""
    parser = argparse.ArgumentParser(description="Check that trained heads belong together and write one .keras model.")
    for head in HEADS:
        parser.add_argument(f"--{head}", help=f"run folder of train_{head}.py, or its weights file"
                            + (", a .keras file, or a shipped model; of several the mean is taken" if head == "refiner" else ""),
                            nargs="+" if head == "refiner" else None)
    parser.add_argument("--base", metavar="WEIGHTS",
                        help="take heads that are not named from this .keras file or shipped model, such as lite")
    parser.add_argument("--output", required=True, help="the .keras file to write")
    parser.add_argument("--half", action="store_true", help="store the weights in float16, half the size")
    parser.add_argument("--share", type=float, default=1.0, metavar="S",
                        help="the named heads get S times their weights and 1 - S times those of --base, which they began with; "
                        "0.5 is often better than either")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides",
                        help="a setting that no weight depends on, such as model.refiner_filters=0; may be repeated")
    arguments = parser.parse_args(argv)
    with quiet_tensorflow():
        from multiposenet.merging import merge
    model = merge({head: getattr(arguments, head) for head in HEADS}, arguments.output, arguments.half,
                  arguments.base, arguments.overrides, arguments.share)
    print(f"wrote {arguments.output}: {model.count_params():,} parameters")


def main(argv=None):
    """Exit status 0, or 2 for a mistake of the user."""
    return run(merge_weights, argv)

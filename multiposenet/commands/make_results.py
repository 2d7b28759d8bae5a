"""`make_results.py`: RESULTS.md from what `evaluate.py` and `benchmark.py` wrote."""

import argparse
from pathlib import Path

from multiposenet.commands.common import run
from multiposenet.errors import UserError
from multiposenet.files import read_json, write_whole


def main(argv=None):
    """Exit status 0, or 2 for a mistake of the user."""
    return run(make_results, _parser().parse_args(argv))


def make_results(args):
    """Write the page; evaluations keep the order in which they are given."""
    from multiposenet.evaluation.report import METRICS, page

    evaluations, benchmarks = {}, {}
    for entry in args.evaluations:
        name, _, place = entry.rpartition("=")
        if place.endswith(".json"):
            benchmarks[name or Path(place).stem] = _read(Path(place), "network", "benchmark.py")
        else:
            metrics = _read(Path(place) / METRICS, "source", "evaluate.py")
            evaluations[name or metrics["source"]["file"]] = metrics
    write_whole(args.output, page(evaluations, benchmarks))
    print(f"wrote {args.output}: {len(evaluations)} evaluations, {len(benchmarks)} benchmarks")


def _read(path, key, program):
    figures = read_json(path)
    if not isinstance(figures, dict) or not {key, "command", "date"} <= set(figures):
        raise UserError(f"{path}: not written by {program}, or by an older version")
    return figures


def _parser():
    parser = argparse.ArgumentParser(prog="make_results.py", description="RESULTS.md from evaluations and benchmarks.")
    parser.add_argument("evaluations", nargs="+", metavar="NAME=PLACE",
                        help="name of the rows, and --out of evaluate.py or --output of benchmark.py (a .json file)")
    parser.add_argument("--output", type=Path, default=Path("RESULTS.md"), help="default: RESULTS.md")
    return parser

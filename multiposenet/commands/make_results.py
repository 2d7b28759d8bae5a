"""`make_results.py`: RESULTS.md from the metrics.json files of `evaluate.py`."""

import argparse
from pathlib import Path

from multiposenet.commands.common import run
from multiposenet.errors import UserError
from multiposenet.files import write_whole


def main(argv=None):
    """Exit status 0, or 2 for a mistake of the user."""
    return run(make_results, _parser().parse_args(argv))


def make_results(args):
    """Write the page; evaluations keep the order in which they are given."""
    from multiposenet.files import read_json
    from multiposenet.evaluation.report import METRICS, page

    entries = {}
    for entry in args.evaluations:
        name, _, folder = entry.rpartition("=")
        metrics = read_json(Path(folder) / METRICS)
        if not isinstance(metrics, dict) or "source" not in metrics:
            raise UserError(f"{Path(folder) / METRICS}: not written by evaluate.py")
        entries[name or metrics["source"]["file"]] = metrics
    write_whole(args.output, page(entries))
    print(f"wrote {args.output}: {len(entries)} evaluations")


def _parser():
    parser = argparse.ArgumentParser(prog="make_results.py", description="RESULTS.md from evaluations.")
    parser.add_argument("evaluations", nargs="+", metavar="NAME=DIR", help="name of the rows and --out of evaluate.py")
    parser.add_argument("--output", type=Path, default=Path("RESULTS.md"), help="default: RESULTS.md")
    return parser

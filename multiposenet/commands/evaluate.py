"""`evaluate.py`: COCO figures of a results file."""

import argparse

from multiposenet.commands.common import run


def evaluate_results(argv=None):
    """Evaluate from a command line and print one line for boxes and one for keypoints."""
    parser = argparse.ArgumentParser(prog="evaluate.py", description="COCO figures of the results.json of infer.py.")
    parser.add_argument("results", help="results.json")
    parser.add_argument("--annotations", required=True, help="COCO annotation file of the same pictures")
    parser.add_argument("--subset", choices=("all", "all_annotated"), default="all",
                        help="all pictures, or only those in which every person is annotated")
    arguments = parser.parse_args(argv)
    from multiposenet.evaluation.coco import evaluate

    figures, pictures = evaluate(arguments.annotations, arguments.results, arguments.subset)
    print(f"{pictures} pictures ({arguments.subset})")
    for kind, values in figures.items():
        print(f"{kind:10}" + "  ".join(f"{name} {value:.3f}" for name, value in values.items()))


def main(argv=None):
    """Exit status 0, or 2 for a mistake of the user."""
    return run(evaluate_results, argv)

"""`evaluate.py`: the tables of the paper for any weights and any COCO-format set (METHOD sections 5, 7)."""

import argparse
from pathlib import Path

from multiposenet.commands.common import add_config_arguments, config_from, predict_config, quiet_tensorflow, run
from multiposenet.errors import UserError
from multiposenet.evaluation import report
from multiposenet.registry import pretrained_path

PARTS = ("keypoints", "boxes", "prn", "association")


def main(argv=None):
    """Exit status 0, or 2 for a mistake of the user."""
    return run(evaluate, _parser().parse_args(argv))


def evaluate(args):
    """Compute and print the tables of `args.part`, and write them into `args.out`.

    Raises:
        UserError: options that do not go together, or a fault in one of the files; it is named.
    """
    from multiposenet.evaluation.coco import Truth

    parts = PARTS if args.part == "all" else (args.part,)
    _check(args, parts)
    if args.part == "activity":
        return _activity(args)
    truth = Truth(args.annotations, args.subset, args.limit, args.images)
    tables, source = _tables(args, truth)
    args.out.mkdir(parents=True, exist_ok=True)
    found = {title: rows for part in parts for title, rows in getattr(tables, part)().items()}
    scored = dict(subset=args.subset, pictures=len(truth.pictures))
    print(report.write(args.out, {**found, **report.provenance(source, args.annotations, scored)}, found))
    print(f"{len(truth.pictures)} pictures ({args.subset}); see {args.out}")


def _tables(args, truth):
    """What computes the tables, and the file that is evaluated."""
    with quiet_tensorflow():
        from multiposenet import weights
        from multiposenet.evaluation.tables import VARIANTS, ModelTables, PrnTables, ResultsTables

    if args.results:
        return ResultsTables(truth, args.out, {"results": truth.read_results(args.results)}), args.results
    if args.part == "prn":
        prn, config, source = weights.load_prn(args.weights)
        return PrnTables(truth, prn, config), source
    variants = list(VARIANTS)[:1] if args.single or args.part == "boxes" else VARIANTS
    model = weights.load_pretrained(args.weights)
    return ModelTables(truth, args.out, model, predict_config(args), variants), pretrained_path(args.weights)


def _activity(args):
    from multiposenet.commands.evaluate_activity import compare

    config = config_from(args)
    args.out.mkdir(parents=True, exist_ok=True)
    tables = compare(config, args.out)
    source = Path(config.data.root) / config.data.sets[0].annotations
    print(report.write(args.out, {**tables, **report.provenance(source)}, tables))


def _parser():
    parser = argparse.ArgumentParser(prog="evaluate.py", description="Tables of COCO figures, by pycocotools.")
    parser.add_argument("part", choices=(*PARTS, "activity", "all"),
                        help="keypoints: with test-time augmentation, by joint and by people in the picture; boxes; "
                        "prn: true boxes and joints, no picture is opened; association: who gets which joint, compared; "
                        "all: these four; activity: cross-validation of the MLP and of scikit-learn's classifiers on "
                        "the poses that --config names, as for train_activity.py")
    parser.add_argument("--annotations", type=Path, help="COCO annotation file")
    parser.add_argument("--images", type=Path, help="folder of its pictures")
    parser.add_argument("--weights", default="lite",
                        help="shipped weights by name, or a .keras file (default: lite); for prn also a run of train_prn.py")
    parser.add_argument("--results", type=Path, help="score this results.json (infer.py's or another program's) instead")
    parser.add_argument("--subset", choices=("all", "all_annotated"), default="all",
                        help="all pictures, or only those in which every person is annotated")
    parser.add_argument("--limit", type=int, help="only the first so many pictures")
    parser.add_argument("--single", action="store_true", help="no test-time augmentation")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="for metrics.json, tables.md and results")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier evaluation in DIR")
    add_config_arguments(parser, preset=False)
    return parser


def _check(args, parts):
    metrics = args.out / report.METRICS
    if metrics.exists() and not args.overwrite:
        raise UserError(f"{metrics}: exists already; choose another --out or add --overwrite")
    if args.part == "activity":
        return
    if args.limit is not None and args.limit < 1:
        raise UserError(f"--limit {args.limit}: give a number above 0")
    if not args.annotations:
        raise UserError(f"{args.part} needs --annotations, a COCO annotation file")
    if args.results and not set(parts) <= {"keypoints", "boxes"}:
        raise UserError(f"--results: {args.part} needs --weights; a results list has only keypoints and boxes")
    if not args.results and not args.images and set(parts) != {"prn"}:
        raise UserError(f"{args.part} needs --images, the folder of the annotated pictures")

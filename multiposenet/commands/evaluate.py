"""`evaluate.py`: the tables of the paper for any weights and any COCO-format set (METHOD sections 5, 7)."""

import argparse
import json
from pathlib import Path

from tqdm import tqdm

from multiposenet.commands.common import add_config_arguments, config_from, predict_config, quiet_tensorflow, run
from multiposenet.data.pictures import read_picture
from multiposenet.errors import UserError
from multiposenet.files import write_whole

PARTS = ("keypoints", "boxes", "prn", "association")


def main(argv=None):
    """Exit status 0, or 2 for a mistake of the user."""
    return run(evaluate, _parser().parse_args(argv))


def evaluate(args):
    """Compute and print the tables of `args.part`, and write them into `args.out`."""
    from multiposenet.evaluation import report
    from multiposenet.evaluation.coco import Truth

    parts = PARTS if args.part == "all" else (args.part,)
    _check(args, parts)
    if args.part == "activity":
        return _activity(args)
    truth = Truth(args.annotations, args.subset, args.limit, args.images)
    args.out.mkdir(parents=True, exist_ok=True)
    evaluator = _Results(args, truth) if args.results else _Weights(args, truth)
    tables = {}
    for part in parts:
        tables.update(getattr(evaluator, part)())
    scored = dict(subset=args.subset, pictures=len(truth.pictures))
    metrics = {**tables, **report.provenance(evaluator.source, args.annotations, scored)}
    print(report.write(args.out, metrics, tables))
    print(f"{len(truth.pictures)} pictures ({args.subset}); see {args.out}")


def _activity(args):
    from multiposenet.commands.evaluate_activity import compare
    from multiposenet.evaluation import report

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
    parser.add_argument("--weights", default="lite", help="shipped weights by name, or a .keras file (default: lite)")
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
    from multiposenet.evaluation.report import METRICS

    if (args.out / METRICS).exists() and not args.overwrite:
        raise UserError(f"{args.out / METRICS}: exists already; choose another --out or add --overwrite")
    if args.part == "activity":
        return
    if not args.annotations:
        raise UserError(f"{args.part} needs --annotations, a COCO annotation file")
    if args.results and not set(parts) <= {"keypoints", "boxes"}:
        raise UserError(f"--results: {args.part} needs --weights; a results list has only keypoints and boxes")
    if not args.results and not args.images and set(parts) != {"prn"}:
        raise UserError(f"{args.part} needs --images, the folder of the annotated pictures")


class _Results:
    """Tables of a results list."""

    def __init__(self, args, truth):
        self.args, self.truth, self.source = args, truth, args.results
        self.records = {"results": truth.read_results(args.results)}

    def keypoints(self):
        from multiposenet.evaluation import figures

        rows = {name: self.truth.figures(records, "keypoints") for name, records in self.records.items()}
        first = next(iter(self.records.values()))
        tables = {"keypoints": rows, "keypoints by joint": self.truth.by_joint(first),
                  "keypoints by people in the picture": self.truth.by_people(first)}
        self._curves("keypoints", "keypoints", first)
        figures.joint_bars(self.args.out / "by_joint.png", tables["keypoints by joint"])
        return {title: rows for title, rows in tables.items() if rows}

    def boxes(self):
        first, records = next(iter(self.records.items()))
        self._curves("boxes", "bbox", records)
        return {"boxes": {first: self.truth.figures(records, "bbox")}}  # augmentation leaves the boxes alone

    def _curves(self, name, kind, records):
        from multiposenet.evaluation import figures

        word = "OKS" if kind == "keypoints" else "IoU"
        curves = {f"{word} {threshold}": self.truth.precision(records, kind, threshold) for threshold in (0.5, 0.75)}
        figures.precision_recall(self.args.out / f"precision_recall_{name}.png", curves, name)


class _Weights(_Results):
    """Tables of a model; pictures are looked at once, when first needed."""

    def __init__(self, args, truth):
        with quiet_tensorflow():
            from multiposenet.evaluation.augmented import AugmentedPredictor
            from multiposenet.weights import load_pretrained, pretrained_path
        self.args, self.truth, self.source = args, truth, pretrained_path(args.weights)
        self.predictor = AugmentedPredictor(load_pretrained(args.weights), predict_config(args))
        self._records = None

    @property
    def records(self):
        """Dict variant -> results list, written to DIR as well."""
        if self._records is None:
            self._records = self._predict()
            for i, (name, records) in enumerate(self._records.items()):
                write_whole(self.args.out / f"results_{name.replace(', ', '_').replace(' ', '_')}.json", json.dumps(records))
        return self._records

    def prn(self):
        """PRN with true boxes and joints: all people, then only those whose area is not an estimate."""
        from multiposenet.evaluation import association

        records = []
        for picture in tqdm(self.truth.pictures, unit="picture"):
            scene = association.true_scene(picture, len(self.truth.skeleton))
            found = association.poses(self.predictor.model, scene, list(association.METHODS)[:1])
            records += _as_records(picture, next(iter(found.values())))
        return {"prn": {"all people": self.truth.figures(records, "keypoints"),
                        "people with official areas": self.truth.figures(records, "keypoints",
                                                                         change=_ignore_estimated_area)}}

    def association(self):
        """{true, found} boxes x {true, found} joints x ways to bring them together: keypoint AP."""
        from multiposenet.evaluation import association

        records = {}
        for picture, pixels in self._pictures():
            for title, scene in association.scenes(self.predictor, picture, pixels).items():
                for method, people in association.poses(self.predictor.model, scene).items():
                    records.setdefault(method, {}).setdefault(title, []).extend(_as_records(picture, people))
        return {"association, keypoint AP": {
            method: {title: self.truth.figures(found, "keypoints")["AP"] for title, found in columns.items()}
            for method, columns in records.items()}}

    def _predict(self):
        from multiposenet.evaluation.augmented import VARIANTS

        from multiposenet.evaluation import figures

        variants = dict(list(VARIANTS.items())[:1]) if self.args.single or self.args.part == "boxes" else VARIANTS
        records, scored, settings = {name: [] for name in variants}, [], self.predictor.config
        for picture, pixels in self._pictures():
            found = self.predictor.predict_variants(pixels, variants)
            for name, people in found.items():
                records[name] += _as_records(picture, people)
            shown = [person for person in next(iter(found.values())) if person.box_score >= settings.score_threshold]
            score = figures.picture_score(picture, shown, self.truth.skeleton.sigmas)
            scored += [(score, picture, shown)] if score is not None else []
        figures.save_examples(self.args.out, scored, read_picture, self.truth.skeleton, settings.joint_threshold)
        return records

    def _pictures(self):
        for picture in tqdm(self.truth.pictures, unit="picture"):
            yield picture, read_picture(picture.file)


def _as_records(picture, people):
    return [person.as_coco(picture.id, picture.name) for person in people]


def _ignore_estimated_area(annotation):
    return {**annotation, "iscrowd": 1} if annotation.get("area_estimated") else annotation

"""The tables of an evaluation: of a results list, of a whole model, or of a Pose Residual Network alone."""

import json

from tqdm import tqdm

from multiposenet.data.pictures import read_picture
from multiposenet.evaluation import association, figures
from multiposenet.evaluation.augmented import VARIANTS, AugmentedPredictor
from multiposenet.files import write_whole

OKS_OR_IOU = {"keypoints": "OKS", "bbox": "IoU"}


class ResultsTables:
    """Tables of results lists.

    Args:
        truth: `Truth`.
        folder: Path, for the figures.
        records: dict row name -> results list.
    """

    def __init__(self, truth, folder, records):
        self.truth, self.folder, self.records = truth, folder, records

    def keypoints(self):
        """Dict title -> rows: all lists; then the first by joint and by people in the picture."""
        first = next(iter(self.records.values()))
        by_joint = self.truth.by_joint(first)
        tables = {"keypoints": {name: self.truth.figures(records, "keypoints") for name, records in self.records.items()},
                  "keypoints by joint": by_joint, "keypoints by people in the picture": self.truth.by_people(first)}
        self._curves("keypoints", first, "keypoints")
        figures.joint_bars(self.folder / "by_joint.png", by_joint)
        return {title: rows for title, rows in tables.items() if rows}

    def boxes(self):
        """Of the first list alone: augmentation leaves the boxes as they are."""
        name, records = next(iter(self.records.items()))
        self._curves("boxes", records, "bbox")
        return {"boxes": {name: self.truth.figures(records, "bbox")}}

    def _curves(self, name, records, kind):
        curves = {f"{OKS_OR_IOU[kind]} {threshold}": self.truth.precision(records, kind, threshold)
                  for threshold in (0.5, 0.75)}
        figures.precision_recall(self.folder / f"precision_recall_{name}.png", curves, name)


class PrnTables:
    """Tables of a Pose Residual Network, given true boxes and joints; no picture is opened.

    Args:
        truth: `Truth`.
        prn: `PoseResidualNetwork`.
        config: its ModelConfig.
    """

    def __init__(self, truth, prn, config):
        self.truth, self.prn_model, self.config = truth, prn, config

    def prn(self):
        """All people, then only those whose area is not an estimate."""
        records, method = [], next(iter(association.METHODS))
        for picture in tqdm(self.truth.pictures, unit="picture", disable=None):
            scene = association.true_scene(picture, len(self.truth.skeleton))
            records += _as_records(picture, association.poses(self.prn_model, self.config, scene, [method])[method])
        return {"prn": {"all people": self.truth.figures(records, "keypoints"),
                        "people with official areas": self.truth.figures(records, "keypoints",
                                                                         change=_ignore_estimated_area)}}


class ModelTables(ResultsTables, PrnTables):
    """Tables of a whole model.

    Args:
        truth: `Truth` with pictures.
        folder: Path, for the figures, the results lists, and drawings of the best and worst pictures.
        model: `MultiPoseNet`.
        config: `PredictConfig`.
        variants: names of `augmented.VARIANTS`.
    """

    def __init__(self, truth, folder, model, config, variants=tuple(VARIANTS)):
        PrnTables.__init__(self, truth, model.heads["prn"], model.config)
        self.folder, self.predictor = folder, AugmentedPredictor(model, config)
        self.variants = {name: VARIANTS[name] for name in variants}
        self._records = None

    @property
    def records(self):
        """Dict variant -> results list, written to the folder as well; the pictures are looked at when first needed."""
        if self._records is None:
            self._records = self._predict()
            for name, records in self._records.items():
                write_whole(self.folder / f"results_{name.replace(', ', '_').replace(' ', '_')}.json", json.dumps(records))
        return self._records

    def association(self):
        """{true, found} boxes x {true, found} joints x ways to bring them together: keypoint AP; last what a refiner makes of it."""
        records = {}
        for picture, pixels in self._pictures():
            scenes, graph = association.scenes(self.predictor, picture, pixels)
            for title, scene in scenes.items():
                for method, people in association.poses(self.prn_model, self.config, scene).items():
                    records.setdefault(method, {}).setdefault(title, []).extend(_as_records(picture, people))
            if self.config.refiner_filters:
                for title, people in graph.items():
                    records.setdefault("PRN (ours), then the refiner", {}).setdefault(title, []).extend(_as_records(picture, people))
        return {"association, keypoint AP": {
            method: {title: self.truth.figures(found, "keypoints")["AP"] for title, found in columns.items()}
            for method, columns in records.items()}}

    def _predict(self):
        records, scored, settings = {name: [] for name in self.variants}, [], self.predictor.config
        for picture, pixels in self._pictures():
            found = self.predictor.predict_variants(pixels, self.variants)
            for name, people in found.items():
                records[name] += _as_records(picture, people)
            shown = [person for person in next(iter(found.values())) if person.box_score >= settings.score_threshold]
            score = figures.picture_score(picture, shown, self.truth.skeleton.sigmas)
            scored += [(score, picture, shown)] if score is not None else []
        figures.save_examples(self.folder, scored, read_picture, self.truth.skeleton, settings.joint_threshold)
        return records

    def _pictures(self):
        for picture in tqdm(self.truth.pictures, unit="picture", disable=None):
            yield picture, read_picture(picture.file)


def _as_records(picture, people):
    return [person.as_coco(picture.id, picture.name) for person in people]


def _ignore_estimated_area(annotation):
    return {**annotation, "iscrowd": 1} if annotation.get("area_estimated") else annotation

"""Figures of the activity classifier against answers worked out by hand."""

import numpy as np
import pytest

from multiposenet.evaluation import activity as evaluation

CLASSES = ("walking", "running", "sitting", "standing")


def test_perfect_predictions():
    labels = np.array([0, 1, 2, 3, 3])
    figures = evaluation.evaluate(labels, np.eye(4)[labels], CLASSES)
    assert all(figures[name] == 1 for name in evaluation.FIGURES)
    assert figures["confusion"] == np.eye(4).tolist() and figures["support"] == [1, 1, 1, 2]


def test_by_hand():
    labels, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    figures = evaluation.evaluate(labels, np.eye(2)[predicted], CLASSES[:2])
    assert figures["accuracy"] == 0.75
    assert figures["precision"] == pytest.approx((1 + 1 / 2) / 2)
    assert figures["recall"] == pytest.approx((2 / 3 + 1) / 2)
    assert figures["f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    np.testing.assert_allclose(figures["confusion"], [[2 / 3, 1 / 3], [0, 1]])


def test_a_class_nobody_has_counts_zero_and_makes_no_nan():
    figures = evaluation.evaluate([0, 0], np.eye(4)[[0, 0]], CLASSES)
    assert figures["accuracy"] == 1 and figures["f1"] == 0.25
    assert np.isfinite(figures["confusion"]).all()


def test_summary_and_its_table():
    folds = [evaluation.evaluate([0, 1], np.eye(2)[predicted], CLASSES[:2]) for predicted in ([0, 1], [0, 0])]
    summary = evaluation.summarise(folds)
    assert summary["mean"]["accuracy"] == 0.75 and summary["std"]["accuracy"] == 0.25
    assert summary["confusion"] == [[1, 0], [0.5, 0.5]] and len(summary["folds"]) == 2
    text = evaluation.table(summary)
    assert "accuracy   0.750 +- 0.250" in text and "running" in text.splitlines()[-1]

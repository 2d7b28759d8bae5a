"""Figures of an activity classifier (METHOD section 6; the article's Table 3 and confusion matrix)."""

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

FIGURES = ("accuracy", "precision", "recall", "f1")


def evaluate(labels, probabilities, classes):
    """Score predictions.

    Args:
        labels: (N,) int true classes.
        probabilities: (N, classes).
        classes: names.

    Returns:
        Dict of `accuracy`, `precision`, `recall`, `f1` (the last three are means over the classes), `confusion`
        (rows: truth, each sums to 1; columns: predictions), `support` (poses a class) and `classes`.
    """
    labels, predicted, numbers = np.asarray(labels), np.argmax(probabilities, axis=-1), range(len(classes))
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, labels=numbers, average="macro",
                                                               zero_division=0)
    confusion = confusion_matrix(labels, predicted, labels=numbers, normalize="true")
    return dict(accuracy=float(accuracy_score(labels, predicted)), precision=float(precision), recall=float(recall),
                f1=float(f1), confusion=confusion.tolist(),
                support=np.bincount(labels, minlength=len(classes)).tolist(), classes=list(classes))


def summarise(folds):
    """Mean and spread (standard deviation) over the folds' dicts of `evaluate`; the confusion matrix is their mean."""
    values = {name: [fold[name] for fold in folds] for name in FIGURES}
    return dict(mean={name: float(np.mean(value)) for name, value in values.items()},
                std={name: float(np.std(value)) for name, value in values.items()},
                confusion=np.mean([fold["confusion"] for fold in folds], axis=0).tolist(),
                classes=folds[0]["classes"], folds=[{name: fold[name] for name in FIGURES} for fold in folds])


def table(summary):
    """The text of a `summarise`: the figures with their spread, then the confusion matrix."""
    lines = [f"{name:<10} {summary['mean'][name]:.3f} +- {summary['std'][name]:.3f}" for name in FIGURES]
    width = max(len(name) for name in summary["classes"]) + 2
    lines.append("truth \\ predicted".ljust(18) + "".join(name.rjust(width) for name in summary["classes"]))
    for name, row in zip(summary["classes"], summary["confusion"]):
        lines.append(name.ljust(18) + "".join(f"{share:{width}.2f}" for share in row))
    return "\n".join(lines)

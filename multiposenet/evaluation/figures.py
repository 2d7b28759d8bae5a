"""Pictures of an evaluation: precision over recall, bars for the joints, and the best and worst pictures."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay

from multiposenet import geometry
from multiposenet.drawing import as_jpeg, draw_people
from multiposenet.files import replacing, write_whole

EXAMPLES = 4  # of the best and of the worst pictures


def precision_recall(path, curves, title):
    """`curves`: dict label -> (101,) precision at recalls 0 .. 1."""
    figure = Figure(figsize=(5, 4))  # without pyplot, whose backend is the caller's choice
    axes = figure.subplots()
    for label, precision in curves.items():
        axes.plot(np.linspace(0, 1, len(precision)), precision, label=label)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title=title)
    axes.legend()
    _save(figure, path)


def joint_bars(path, by_joint):
    """`by_joint`: dict joint -> dict of AP and AR."""
    figure = Figure(figsize=(6, 5))
    axes = figure.subplots()
    places = np.arange(len(by_joint))
    for offset, name in ((-0.2, "AP"), (0.2, "AR")):
        axes.barh(places + offset, [max(row[name], 0) for row in by_joint.values()], height=0.4, label=name)
    axes.set(yticks=places, yticklabels=[name.replace("_", " ") for name in by_joint], xlim=(0, 1))
    axes.invert_yaxis()
    axes.legend()
    _save(figure, path)


def confusion(path, matrix, classes):
    """`matrix` (classes, classes): rows are the truth and sum to 1."""
    figure = Figure(figsize=(5, 4.5))
    axes = figure.subplots()
    ConfusionMatrixDisplay(np.array(matrix), display_labels=classes).plot(ax=axes, values_format=".2f", cmap="Blues")
    _save(figure, path)


def learning_curve(path, log):
    """`log`: path of a run's log.csv; accuracy over the epochs, or loss where there is none."""
    columns = np.atleast_1d(np.genfromtxt(log, delimiter=",", names=True))
    figure = Figure(figsize=(5, 4))
    axes = figure.subplots()
    watched = "accuracy" if "accuracy" in columns.dtype.names else "loss"
    for name, label in ((watched, "training"), (f"val_{watched}", "held out")):
        if name in columns.dtype.names:
            axes.plot(columns["epoch"] + 1, columns[name], label=label)
    axes.set(xlabel="epoch", ylabel=watched)
    axes.legend()
    _save(figure, path)


def seconds_bars(path, rows):
    """`rows`: of `benchmark.time_network`; a bar for the median, a line to the 95th percentile."""
    figure = Figure(figsize=(7, 1 + 0.35 * len(rows)))
    axes = figure.subplots()
    median, p95 = (np.array([row[name] for row in rows]) for name in ("median_s", "p95_s"))
    axes.barh(np.arange(len(rows)), median, xerr=(0 * median, p95 - median))
    labels = [f"{Path(row['weights']).name}, {row['height']} x {row['width']}, batch {row['batch']}" for row in rows]
    axes.set(yticks=np.arange(len(rows)), yticklabels=labels, xlabel="seconds")
    axes.invert_yaxis()
    _save(figure, path)


def picture_score(picture, people, sigmas):
    """Mean over a picture's labelled people of the best OKS that any pose found has; None without labelled people."""
    labelled = [person for person in picture.people if person.num_joints and not person.crowd]
    if not labelled:
        return None
    if not people:
        return 0.0
    similarities = geometry.oks(np.stack([person.keypoints for person in people]),
                                np.stack([person.keypoints for person in labelled]),
                                [person.area for person in labelled], sigmas)
    return float(similarities.max(axis=0).mean())


def save_examples(folder, scored, read, skeleton, joint_threshold):
    """Draw the best and the worst pictures.

    Args:
        folder: Path; best_1.jpg .. and worst_1.jpg .. are written there.
        scored: list of (score, `Picture`, list of `Person` to draw).
        read: function from a file to its (h, w, 3) RGB pixels.
        skeleton: of the poses.
        joint_threshold: joints below it are not drawn.
    """
    scored = sorted(scored, key=lambda entry: -entry[0])
    for name, chosen in (("best", scored[:EXAMPLES]), ("worst", scored[::-1][:EXAMPLES])):
        for i, (_, picture, people) in enumerate(chosen, start=1):
            drawn = draw_people(read(picture.file), people, skeleton, joint_threshold)
            write_whole(folder / f"{name}_{i}.jpg", as_jpeg(drawn))


def _save(figure, path):
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, bbox_inches="tight")

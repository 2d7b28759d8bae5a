"""What an evaluation leaves behind: `metrics.json` with where its figures come from, and the same as Markdown tables."""

import json
import shlex
import sys
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from multiposenet.files import sha256, write_whole

METRICS, TABLES = "metrics.json", "tables.md"
TITLES = ("keypoints", "keypoints by joint", "keypoints by people in the picture", "boxes", "prn",
          "association, keypoint AP", "activity")
COLUMNS = ("AP", "AP50", "AP75", "APm", "APl", "AR")
PUBLISHED = {  # METHOD section 8; what is not given is -1
    "keypoints": {
        "*MultiPoseNet, COCO test-dev (paper)*": (.696, .863, .766, .650, .763, .735),
        "*MultiPoseNet, own boxes and joints, val2017 (paper)*": (.639, -1., -1., -1., -1., -1.),
        "*PyTorch re-implementation, R101, val2017*": (.590, .791, .644, .565, .636, .644),
        "*Keypoint R-CNN R50-3x, val2017*": (.655, -1., -1., -1., -1., -1.),
    },
    "boxes": {"*Keypoint R-CNN R50-3x, person boxes, val2017*": (.554, -1., -1., -1., -1., -1.)},
    "prn": {
        "*authors, Keras, val2017*": (.894, .971, .912, .875, .918, .909),
        "*authors, PyTorch, val2017*": (.892, .978, .921, .883, .912, .917),
    },
}
SPEED = ("machine", "network", "crowds", "whole", "training")  # the tables of `benchmark.py`
PREFACE = """# Results

Made by `scripts/make_results.py` from the files of `scripts/evaluate.py` and `scripts/benchmark.py`; not edited by hand. AP and AR
are pycocotools'. Rows in italics are published figures, on other pictures than ours, to stand beside. A dash: nothing
of the kind to find, or not published.
"""
PACKAGES = ("multiposenet", "keras", "numpy", "pycocotools")


def provenance(source, annotations=None, scored=None):
    """Dict that says where figures come from.

    Args:
        source: path of the weights, of the results list or of the poses.
        annotations: path of the annotation file, if there is one.
        scored: dict of which part of it was scored.
    """
    origin = dict(source=_named(source), **made_by(PACKAGES))
    return origin | (dict(annotations=_named(annotations) | (scored or {})) if annotations else {})


def made_by(packages):
    """Dict of the running command, today's date and the versions of those of the packages that are installed."""
    return dict(command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]), date=date.today().isoformat(),
                versions={name: found for name in packages if (found := _version(name))})


def markdown(title, rows):
    """A heading and a table.

    Args:
        title: text.
        rows: dict name -> dict of figure's name -> number; the first row names the columns.
    """
    return f"### {title}\n\n" + listing([{"": name, **figures} for name, figures in rows.items()])


def listing(rows):
    """The Markdown table of a list of dicts; the first has all the columns, of which the others may lack some."""
    columns = list(rows[0])
    cells = [columns, ["---"] * len(columns), *([_text(row.get(name, -1.)) for name in columns] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def published(title):
    """Rows of the literature for a table of `evaluate.py`, figures that were not published are -1 (METHOD section 8)."""
    return {name: dict(zip(COLUMNS, figures)) for name, figures in PUBLISHED.get(title, {}).items()}


def page(entries, benchmarks):
    """Text of RESULTS.md.

    Args:
        entries: dict name -> metrics of one evaluation, as in its metrics.json.
        benchmarks: dict name -> what `benchmark.py --output` wrote.
    """
    parts = [PREFACE]
    for title in TITLES:
        rows = {f"{name}, {row}": figures for name, metrics in entries.items()
                for row, figures in metrics.get(title, {}).items()}
        if rows and title in PUBLISHED:
            rows = {name: {key: figures[key] for key in COLUMNS if key in figures} for name, figures in rows.items()}
            rows |= published(title)
        if rows:
            parts.append(markdown(title, rows))
    for name, figures in benchmarks.items():
        parts.append(f"### {name}\n\n" + "\n".join(listing(figures[table]) for table in SPEED if figures.get(table)))
    parts.append("### where the figures come from\n")
    parts += [f"- **{name}**: {_origin(metrics)}, {metrics['date']}: `{metrics['command']}`"
              for name, metrics in entries.items()]
    parts += [f"- **{name}**: {', '.join(map(' '.join, figures['versions'].items()))}, {figures['date']}: `{figures['command']}`"
              for name, figures in benchmarks.items()]
    return "\n".join(parts) + "\n"


def write(folder, metrics, tables):
    """`metrics` (a dict) to metrics.json and `tables` (dict title -> rows) to tables.md; returns the Markdown."""
    text = "\n".join(markdown(title, rows) for title, rows in tables.items())
    write_whole(folder / METRICS, json.dumps(metrics, indent=1))
    write_whole(folder / TABLES, text)
    return text


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _named(path):
    return dict(file=Path(path).name, sha256=sha256(path))


def _origin(metrics):
    text = "`{file}` (SHA-256 {sha256:.12})".format(**metrics["source"])
    if "annotations" in metrics:
        text += " on {pictures} pictures ({subset}) of `{file}` (SHA-256 {sha256:.12})".format(**metrics["annotations"])
    return text


def _text(value):
    if isinstance(value, int | str):
        return str(value)
    return "–" if value < 0 else f"{value:.3f}"  # pycocotools' -1: nothing of that kind to find

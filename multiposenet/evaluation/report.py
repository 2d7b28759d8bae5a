"""What an evaluation leaves behind: `metrics.json` with where its figures come from, and the same as Markdown tables."""

import hashlib
import json
import shlex
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

from multiposenet.files import write_whole

METRICS, TABLES = "metrics.json", "tables.md"
PACKAGES = ("multiposenet", "keras", "numpy", "pycocotools")


def sha256(path):
    """Hexadecimal fingerprint of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def provenance(annotations, subset, pictures, source):
    """Dict that says where figures come from.

    Args:
        annotations: path of the annotation file.
        subset: name of the part that was scored.
        pictures: how many pictures that is.
        source: path of the weights or of the results list.
    """
    return dict(source=dict(file=str(source), sha256=sha256(source)),
                annotations=dict(file=str(annotations), sha256=sha256(annotations), subset=subset, pictures=pictures),
                command=shlex.join(sys.argv), date=date.today().isoformat(),
                versions={name: version(name) for name in PACKAGES})


def markdown(title, rows):
    """A heading and a table.

    Args:
        title: text.
        rows: dict name -> dict of figure's name -> number; the first row names the columns.
    """
    names = list(next(iter(rows.values())))
    lines = [f"### {title}", "", "| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(_text(figures[column]) for column in names) + " |"
              for name, figures in rows.items()]
    return "\n".join(lines) + "\n"


def write(folder, metrics, tables):
    """`metrics` (a dict) to metrics.json and `tables` (dict title -> rows) to tables.md; returns the Markdown."""
    text = "\n".join(markdown(title, rows) for title, rows in tables.items())
    write_whole(folder / METRICS, json.dumps(metrics, indent=1))
    write_whole(folder / TABLES, text)
    return text


def _text(value):
    if isinstance(value, int):
        return str(value)
    return "–" if value < 0 else f"{value:.3f}"  # pycocotools' -1: nothing of that kind to find

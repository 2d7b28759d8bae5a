"""CSV files, plain or gzipped, whose faults are named by row."""

import csv
import gzip
import io
from pathlib import Path

from multiposenet.errors import UserError


def read_csv(path):
    """Header and rows (dicts) of a CSV file, plain or gzipped.

    Raises:
        UserError: a file that cannot be read, or a row with too many or too few cells.
    """
    try:
        raw = Path(path).read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        header, rows = reader.fieldnames or [], list(reader)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (EOFError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: damaged, or not a CSV file in UTF-8 ({error})") from None
    for i, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise UserError(f"{path}: row {i} has too {'many' if None in row else 'few'} cells, "
                            f"the header has {len(header)}")
    return header, rows


def check_columns(path, header, needed):
    """Raises UserError unless the header has the needed columns."""
    missing = [name for name in needed if name not in header]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing[:4])}{', ...' if len(missing) > 4 else ''}; "
                        f"the header has {', '.join(header[:8]) or 'nothing'}{', ...' if len(header) > 8 else ''}")


def number(row, column, empty=None):
    """A cell as float; an empty one as `empty`, if that is given."""
    if empty is not None and not row[column].strip():
        return empty
    try:
        return float(row[column])
    except ValueError:
        raise ValueError(f"column {column}: {row[column]!r} is not a number") from None

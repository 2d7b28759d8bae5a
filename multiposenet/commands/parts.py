"""The folder of a job over many pictures: parts that are there whole or not at all, so that a resumed job goes on."""

import hashlib
import json
import math
import os
import shutil

from multiposenet.commands.output import prepare_folder
from multiposenet.errors import UserError
from multiposenet.files import read_json, replacing, write_whole

JOB, SKIPPED = "job.json", "skipped.jsonl"
FORMATS = ("jsonl", "parquet")
BLOCK = 256  # pictures a part: about a minute of a core, the most that is lost with a worker


class Parts:
    """`parts/part-00000.jsonl` and so on: the people of each block of the sorted list of pictures.

    Beside them: `job.json`, what the parts are made of; `reports/`, what became of each block's pictures; at the end
    `skipped.jsonl`, the pictures that could not be read, with the reason.

    Args:
        folder: Path.
        sources: list of str, see `find_sources`.
        workers: how many share the blocks.
        made_of: dict of what else decides the results, as JSON gives it back.
        form: one of `FORMATS`.
    """

    def __init__(self, folder, sources, workers, made_of, form):
        self.folder, self.sources = folder, sources
        digest = hashlib.sha256(json.dumps(sources).encode()).hexdigest()
        block = min(BLOCK, math.ceil(len(sources) / (4 * workers)))  # of few pictures everybody gets some
        self.job = dict(list_sha256=digest, pictures=len(sources), **made_of, format=form, block=block)

    def prepare(self, resume=False, overwrite=False):
        """Make the folder; an earlier job's parts are kept or removed as asked.

        Raises:
            UserError: there is an earlier job that nobody asked to resume or to overwrite, or it is another one.
        """
        file, folders = self.folder / JOB, [self.folder / name for name in ("parts", "reports")]
        if resume and file.exists():
            self._continue(read_json(file))
            return
        for folder in folders:
            if folder.exists() and not file.exists() and any(folder.iterdir()):
                raise UserError(f"{folder}: not of a job that can be told; choose another --output")
        if file.exists() and not overwrite:
            raise UserError(f"{file}: a job was here already; --resume goes on with it, --overwrite starts anew, or "
                            "choose another --output")
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
            prepare_folder(folder, (), ())
        write_whole(file, json.dumps(self.job, indent=1))

    def missing(self):
        """Numbers of the parts that are not there."""
        return [i for i in range(self._count()) if not self._part(i).exists()]

    def block(self, i):
        """(first, end) in the list of pictures."""
        return i * self.job["block"], min((i + 1) * self.job["block"], len(self.sources))

    def save(self, i, records, report):
        """Write a block's people, list of dicts, and its report: dict of `people` shown and `skipped` pictures."""
        write_whole(self._report(i), json.dumps(report))  # first: a part that is there is finished
        if self.job["format"] == "jsonl":
            write_whole(self._part(i), "".join(json.dumps(record) + "\n" for record in records))
        else:
            with replacing(self._part(i)) as temporary:
                _write_parquet(records, temporary)

    def close(self):
        """Write `skipped.jsonl` -> (pictures read, people shown, pictures skipped, parts missing)."""
        missing = set(self.missing())
        done = [i for i in range(self._count()) if i not in missing]
        reports = [read_json(self._report(i)) for i in done]
        skipped = [picture for report in reports for picture in report["skipped"]]
        write_whole(self.folder / SKIPPED, "".join(json.dumps(picture) + "\n" for picture in skipped))
        tried = sum(end - first for first, end in map(self.block, done))
        return tried - len(skipped), sum(report["people"] for report in reports), len(skipped), len(missing)

    def _count(self):
        return math.ceil(len(self.sources) / self.job["block"])

    def _continue(self, earlier):
        for key, value in {**self.job, "block": earlier.get("block")}.items():
            if earlier.get(key) != value:
                raise UserError(f"{self.folder / JOB}: the job there has another {key}; repeat its own command with "
                                "--resume, or choose another --output")
        self.job = earlier

    def _part(self, i):
        return self.folder / "parts" / f"part-{i:05d}.{self.job['format']}"

    def _report(self, i):
        return self.folder / "reports" / f"part-{i:05d}.json"


def _write_parquet(records, path):
    import pyarrow as pa
    from pyarrow import parquet

    numbers = pa.list_(pa.float64())
    # Written down, since a part without people says nothing of its columns' types, and all parts are read as one table.
    schema = pa.schema(dict(image_id=pa.int64(), file_name=pa.string(), path=pa.string(), category_id=pa.int64(),
                            score=pa.float64(), bbox=numbers, box_score=pa.float64(), keypoints=numbers,
                            activity=pa.string(), activity_scores=pa.map_(pa.string(), pa.float64())))
    rows = [{**record, "activity_scores": list(record["activity_scores"].items()),
             **{key: _utf8(record[key]) for key in ("file_name", "path")}} for record in records]
    parquet.write_table(pa.Table.from_pylist(rows, schema), path)


def _utf8(name):
    """A file's name may be any bytes, Parquet's text may not."""
    return os.fsencode(name).decode(errors="replace")

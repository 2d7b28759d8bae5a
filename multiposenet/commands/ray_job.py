"""`infer.py --engine ray`: very many pictures as a Ray Data job, on this machine or on the cluster at RAY_ADDRESS."""

import importlib.util
import json
import os
import sys
import time
import warnings
from pathlib import Path

from tqdm import tqdm

from multiposenet.commands.common import quiet_tensorflow
from multiposenet.commands.output import image_ids
from multiposenet.commands.parts import FORMATS, SKIPPED, Parts
from multiposenet.commands.ray_start import ray_started
from multiposenet.commands.ray_worker import Worker
from multiposenet.data.sources import find_sources, is_store
from multiposenet.data.videos import is_video
from multiposenet.engines import load_engine
from multiposenet.errors import UserError
from multiposenet.files import sha256
from multiposenet.registry import pretrained_path

RETRIES = 3  # of a block whose worker died: more often than that, it is the block that kills


def add_job_arguments(parser):
    """Add the options that belong to --engine ray."""
    job = parser.add_argument_group("--engine ray", "PATH may also be @FILE or FILE.txt, a list with a path a line, or "
                                    "an address such as s3://bucket/prefix; nothing is drawn")
    job.add_argument("--workers", type=_count, metavar="N", help="processes, each with the model (default: one a core)")
    job.add_argument("--format", choices=FORMATS, help="of the parts (default: jsonl)")
    job.add_argument("--resume", action="store_true", help="do what is missing of the job in DIR")


def refuse_job_arguments(args):
    """Raises:
        UserError: one of them without --engine ray.
    """
    if args.workers or args.format or args.resume:
        raise UserError("--workers, --format and --resume go with --engine ray; add it or leave them out")


def run_job(args, config):
    """Predict all pictures that no part has yet; returns the exit status: 1 as well where a part is missing in the end.

    Args:
        args: `infer.py`'s options.
        config: `PredictConfig`.

    Raises:
        UserError: --tta, a video, Ray is not installed, and see `find_sources`, `load_engine` and `Parts.prepare`.
    """
    if args.tta:
        raise UserError("--engine ray runs exported graphs, which cannot be looked into: leave out --tta")
    if args.sample or args.live or any(is_video(path) and not is_store(path) for path in args.paths):
        raise UserError("--engine ray takes pictures: leave out --sample, --live and videos")
    if importlib.util.find_spec("ray") is None:
        raise UserError("Ray is not installed: pip install 'multiposenet[ray]'")
    sources, weights = find_sources(args.paths), _weights_file(args.weights)
    made_of = dict(weights_sha256=sha256(weights), predict=config.model_dump(mode="json"))
    parts = Parts(args.output, sources, args.workers or os.cpu_count(), made_of, args.format or "jsonl")
    parts.prepare(args.resume, args.overwrite)
    start, todo = time.perf_counter(), parts.missing()
    try:
        if todo:
            with ray_started() as cores:
                _do(parts, todo, min(args.workers or cores, len(todo)), cores, (str(weights), config))
    finally:  # what is finished stays, whatever stopped the rest
        read, missing = _summarise(parts, time.perf_counter() - start)
    return 0 if read and not missing else 1


def _weights_file(name):
    """Absolute path of the weights, opened here once so that a mistake is told before any worker starts."""
    with quiet_tensorflow():
        load_engine(name)
        if not Path(name).is_file():
            name = pretrained_path(name)
    return Path(name).absolute()


def _do(parts, todo, workers, cores, model):
    """Parts are written here, not by the workers, which may live on machines that do not see the folder."""
    with tqdm(total=len(parts.sources), unit="picture") as progress:
        progress.update(len(parts.sources) - sum(end - first for first, end in map(parts.block, todo)))
        for row in _job(parts, todo, workers, cores, model).iter_rows():
            records, report = json.loads(row["found"])
            parts.save(int(row["block"]), records, report)
            for picture in report["skipped"]:
                progress.write(f"skipped {picture['reason']}", file=sys.stderr)
            first, end = parts.block(int(row["block"]))
            progress.update(end - first)


def _job(parts, todo, workers, cores, model):
    """Ray's dataset of `Worker`'s answers. Ray Data starts a worker that died anew and repeats its block, so plain
    actors with retries of our own would add nothing."""
    import ray.data

    threads, ids = max(1, cores // workers), image_ids(list(map(Path, parts.sources)))
    spans = [slice(*parts.block(i)) for i in todo]
    blocks = [dict(block=i, pictures=json.dumps([ids[span], parts.sources[span]])) for i, span in zip(todo, spans)]
    pool = ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1)  # no block waits for a busy worker
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that `max_task_retries` goes in 2.64, see setup.py
        return ray.data.from_items(blocks, override_num_blocks=len(blocks)).map_batches(
            Worker, batch_size=1, compute=pool, fn_constructor_args=(*model, threads),
            num_cpus=min(threads, cores / workers), max_task_retries=RETRIES)


def _summarise(parts, seconds):
    read, people, skipped, missing = parts.close()
    print(f"{read} of {len(parts.sources)} pictures, {people} people, {skipped} skipped (see {SKIPPED}), "
          f"{seconds:.0f} s; see {parts.folder / 'parts'}")
    if missing:
        print(f"{missing} part(s) are missing; repeat the command with --resume", file=sys.stderr)
    elif not read:
        print(f"none of {len(parts.sources)} pictures could be read", file=sys.stderr)
    return read, missing


def _count(text):
    if int(text) < 1:
        raise ValueError
    return int(text)

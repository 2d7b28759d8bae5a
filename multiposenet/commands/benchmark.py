"""`benchmark.py`: seconds a picture by weights, size and batch, and their parts: start-up, reading, predicting, drawing;
and seconds a training step.

All weights take turns on every picture, so that whatever else the machine does hits them alike.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from multiposenet.commands.common import quiet_tensorflow, run
from multiposenet.commands.train import rehearse
from multiposenet.config import HEADS, load_config
from multiposenet.data.pictures import find_pictures, read_picture
from multiposenet.drawing import draw_people
from multiposenet.engines import Peer, load_engine
from multiposenet.errors import UserError
from multiposenet.evaluation.figures import seconds_bars
from multiposenet.evaluation.report import listing, made_by
from multiposenet.files import write_whole
from multiposenet.geometry import Letterbox
from multiposenet.prediction import Predictor, on_canvas, run_model

PACKAGES = ("multiposenet", "keras", "tensorflow", "onnxruntime", "openvino", "ai-edge-litert", "numpy")
INFER = "import sys; from multiposenet.commands.infer import main; sys.exit(main())"


def main(argv=None):
    """Exit status 0, or 2 for a mistake of the user."""
    return run(benchmark, _parser().parse_args(argv))


def benchmark(args):
    """Measure, print Markdown tables and write `--output`; a training that fails leaves the other figures there."""
    configs = [(_head(head), load_config(path, args.overrides)) for head, path in args.train]
    figures, origin = time_pictures(args), made_by(PACKAGES)
    try:  # last: a training sets Keras' precision
        figures["training"] = [time_training(head, config) for head, config in configs]
    finally:
        print("\n".join(listing(rows) for rows in figures.values() if rows))
        if args.output:
            write_whole(args.output, json.dumps(origin | figures, indent=1))
            seconds_bars(Path(args.output).with_suffix(".png"), figures["network"])


def time_pictures(args):
    """Dict of tables, each a list of dicts: the machine, and what the command line asks of pictures."""
    paths, names = find_pictures(args.pictures), list(dict.fromkeys(args.weights))
    starts = [time_start(name, paths[0]) for name in names]  # first: Linux counts our own memory as a child's
    with quiet_tensorflow():
        models = {name: load_engine(name) for name in names}
    peers = {name: Peer(name) for name in args.peer}
    canvases = {size: _canvases(paths, size) for size in map(tuple, args.size or [(480, 640)])}
    network = [row for size in canvases for batch in args.batch
               for row in time_network({**models, **peers}, canvases[size], batch, args.rounds)]
    crowds = [row for size in canvases for canvas in crowded(models, canvases[size], args.people)
              for row in time_network(models, canvas[None], 1, args.rounds)]
    whole = [{**start, **parts} for start, parts in zip(starts, time_parts(models, paths).values())]
    machine = dict(cores=os.cpu_count(), load_average=round(os.getloadavg()[0], 1), pictures=len(paths))
    return dict(machine=[machine], network=network, crowds=crowds, whole=whole)


def time_network(models, canvases, batch, rounds):
    """The network alone, pixels to people.

    Args:
        models: dict name -> model, see `load_engine`, or `Peer`; one that is fixed to another size or batch is left
            out. A peer's row has its own size.
        canvases: (n, height, width, 3) uint8 RGB, taken in turn.
        batch: pictures at once.
        rounds: batches that are timed, after one that is not.

    Returns:
        List of dicts: weights, height, width, batch, people found in a picture (of a peer nobody asks), median and 95th
        percentile of seconds a batch, median of processor seconds, in which other work on the machine hardly counts,
        pictures a second, and how many times those of each peer that is.
    """
    size = canvases.shape[1:3]
    seconds = {name: [] for name, model in models.items() if _takes(model, size, batch)}
    people = {name: [] for name in seconds}
    for i in range(rounds + 1):
        chosen = canvases[np.arange(i * batch, (i + 1) * batch) % len(canvases)]
        for name in seconds:
            cpu = time.process_time()
            wall, found = _timed(run_model, models[name], chosen)
            seconds[name].append((wall, time.process_time() - cpu))
            people[name].extend(found.get("count", ()))
    sizes = {name: models[name].shape[2:] if isinstance(models[name], Peer) else size for name in seconds}
    rows = [dict(weights=name, height=sizes[name][0], width=sizes[name][1], batch=batch,
                 people=float(np.mean(people[name])) if people[name] else "", **_summary(np.array(taken[1:]), batch))
            for name, taken in seconds.items()]
    peers = {Path(row["weights"]).stem: row["pictures_per_s"] for row in rows if isinstance(models[row["weights"]], Peer)}
    return [{**row, **{f"x {peer}": row["pictures_per_s"] / rate for peer, rate in peers.items()}} for row in rows]


def crowded(models, canvases, wanted):
    """For the wanted numbers of people canvases on which about as many are found, each once; (height, width, 3) uint8.

    Chosen by the first model that runs at this size, among the canvases, a black one and those with four, nine, sixteen
    and 25 of them, made smaller.
    """
    height, width = canvases.shape[1:3]
    model = next((model for model in models.values() if _takes(model, (height, width), 1)), None)
    if not wanted or model is None:
        return []
    tried = [np.zeros_like(canvases[0]), *canvases]
    for side in range(2, 6):
        for first in range(0, len(canvases), side ** 2):
            tiles = canvases[np.arange(first, first + side ** 2) % len(canvases)]
            tiles = tiles.reshape(side, side, height, width, 3).swapaxes(1, 2).reshape(side * height, side * width, 3)
            tried.append(cv2.resize(tiles, (width, height), interpolation=cv2.INTER_AREA))
    found = np.array([run_model(model, canvas[None])["count"][0] for canvas in tried])
    return [tried[place] for place in dict.fromkeys(int(np.abs(found - number).argmin()) for number in wanted)]


def time_parts(models, paths):
    """Dict name -> median seconds a picture of reading, predicting and drawing, as infer.py does them."""
    predictors = {name: Predictor(model) for name, model in models.items()}
    seconds = {name: [] for name in models}
    for path in [paths[0], *paths]:
        for name, predictor in predictors.items():
            read, picture = _timed(read_picture, path)
            predict, people = _timed(predictor.predict, picture)
            draw, _ = _timed(draw_people, picture, people, predictor.skeleton)
            seconds[name].append((read, predict, draw))
    return {name: dict(zip(("read_s", "predict_s", "draw_s"), np.median(taken[1:], axis=0).tolist()))
            for name, taken in seconds.items()}


def time_start(weights, path):
    """A new process that runs infer.py on one picture.

    Returns:
        Dict: weights, seconds from nothing to the drawing, peak memory in MiB.

    Raises:
        UserError: it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-c", INFER, path, "--weights", weights, "--output", folder],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise UserError(f"{weights}: infer.py fails on {path}; run it to see why")
        return dict(weights=weights, infer_one_s=time.perf_counter() - start, peak_mib=usage.ru_maxrss // 1024)


def time_training(head, config):
    """A few steps of a training and the loading of its samples, which are measured one after the other.

    Returns:
        Dict: head, side of its crops, batch, seconds a step, samples a second of the training, and of one process that
        loads them.

    Raises:
        UserError: as the training itself.
    """
    figures, batch = rehearse(head, config), config.train.batch_size
    crop = config.augment.crop if head in ("keypoints", "detector") else ""
    return dict(head=head, crop=crop, batch=batch, step_s=figures["step_s"], trained_per_s=batch / figures["step_s"],
                loaded_per_s=figures["loads_per_s"])


def _head(name):
    if name not in HEADS:
        raise UserError(f"--train {name}: no such head; there are {', '.join(HEADS)}")
    return name


def _canvases(paths, size):
    return np.stack([on_canvas(picture, Letterbox.fit_into(*picture.shape[:2], *size))
                     for picture in map(read_picture, paths)])


def _summary(seconds, batch):
    wall, cpu = np.median(seconds, axis=0).tolist()
    return dict(median_s=wall, p95_s=float(np.percentile(seconds[:, 0], 95)), cpu_s=cpu, pictures_per_s=batch / wall)


def _takes(model, size, batch):
    if isinstance(model, Peer):
        return batch == 1
    fixed = getattr(model, "size", None)
    return fixed is None or (fixed == size and batch == 1)


def _timed(function, *args):
    start = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - start, result


def _parser():
    parser = argparse.ArgumentParser(prog="benchmark.py", description=__doc__.split(":", 1)[1].strip())
    parser.add_argument("pictures", nargs="+", metavar="PATH", help="picture, folder of pictures or quoted glob")
    parser.add_argument("--weights", nargs="+", default=["lite"], help="names, .keras files and files of export.py")
    parser.add_argument("--peer", nargs="+", default=[], metavar="FILE.onnx",
                        help="other people's networks with one picture as input: they take turns too, on noise")
    parser.add_argument("--size", nargs=2, type=int, action="append", metavar=("HEIGHT", "WIDTH"),
                        help="of the network's input, multiples of 32; may be repeated (default: 480 640)")
    parser.add_argument("--batch", nargs="+", type=int, default=[1], help="pictures at once (default: 1)")
    parser.add_argument("--people", nargs="+", type=int, default=[], metavar="N",
                        help="also time pictures on which about so many are found, made of the given ones")
    parser.add_argument("--train", nargs=2, action="append", default=[], metavar=("HEAD", "CONFIG.yaml"),
                        help="also rehearse this training, such as: keypoints configs/keypoints_lite.yaml; may be repeated")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides",
                        help="one setting of these trainings, such as data.root=data; may be repeated")
    parser.add_argument("--rounds", type=int, default=20, help="batches that are timed (default: 20)")
    parser.add_argument("--output", metavar="FILE.json", help="write the figures here too, and bars beside them as .png")
    return parser

"""`infer.py`: people, joints and activities of pictures or of a video, drawn and as COCO results."""

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
from tqdm import tqdm

from multiposenet.commands.common import (add_config_arguments, add_weights_arguments, positive, predict_config,
                                          quiet_tensorflow, run)
from multiposenet.commands.output import RESULTS, Output
from multiposenet.commands.ray_job import add_job_arguments, refuse_job_arguments, run_job
from multiposenet.commands.video import annotate_video
from multiposenet.data.pictures import find_pictures
from multiposenet.data.sources import is_store
from multiposenet.data.videos import USUAL_FPS, is_video
from multiposenet.drawing import draw_people
from multiposenet.engines import load_engine
from multiposenet.errors import UserError
from multiposenet.evaluation.augmented import VARIANTS, AugmentedPredictor
from multiposenet.kept_exports import fastest_engine
from multiposenet.prediction import Predictor

TTA = ("multi-scale", "mirror")  # in the order of the keys of VARIANTS


def main(argv=None):
    """Exit status: 0 done, 1 no picture or frame could be read, 2 a mistake of the user, 130 stopped by Ctrl-C."""
    return run(infer, _parser().parse_args(argv))


def infer(args):
    """Predict, draw and write the results; returns the exit status."""
    if args.sample == bool(args.paths):
        raise UserError("name pictures, folders, globs or one video, or give --sample alone")
    config = predict_config(args, score_threshold=args.score, joint_threshold=args.joint_score)
    if args.engine == "ray":
        return run_job(args, config)
    refuse_job_arguments(args)
    videos = [path for path in args.paths if is_video(path)]
    if videos and len(args.paths) > 1:
        raise UserError(f"{videos[0]}: a video is followed alone; give one command for each")
    if videos:
        return annotate_video(args, lambda: _predictor(args, config))
    if args.live:
        raise UserError("--live shows videos, streams and webcams; leave it out for pictures")
    with tempfile.TemporaryDirectory() as folder:
        paths = _write_samples(Path(folder)) if args.sample else find_pictures(args.paths)
        output = Output(args.output, paths, args.draw)
        output.prepare(args.overwrite)
        return _predict_all(_predictor(args, config), output)


def _predictor(args, config):
    with quiet_tensorflow():
        if args.tta:
            views = VARIANTS[", ".join(way for way in TTA if way in args.tta)]
            return AugmentedPredictor(load_engine(args.weights, args.engine), config, views)
        engine = fastest_engine(args.weights) if args.engine == "auto" else args.engine
        return Predictor(load_engine(args.weights, engine), config)


def _parser():
    parser = argparse.ArgumentParser(prog="infer.py", description=__doc__.split(":", 1)[1].strip())
    parser.add_argument("paths", nargs="*", metavar="PATH", help="picture, folder of pictures or quoted glob; "
                        "or one video file, URL (rtsp://, http://), webcam number or pattern such as frames/%%05d.png")
    parser.add_argument("--output", required=True, type=_folder, metavar="DIR",
                        help=f"for the drawings and {RESULTS}, or for the drawn video and its .jsonl")
    add_weights_arguments(parser, "ray", also=", which auto takes from then on; ray: the same for very many pictures, see below")
    parser.add_argument("--score", type=float, help="people drawn and counted have at least this box score "
                        f"(predict.score_threshold); {RESULTS} holds all the model finds")
    parser.add_argument("--joint-score", type=float, help="the same for joints drawn (predict.joint_threshold)")
    parser.add_argument("--tta", nargs="+", choices=TTA, metavar="WAY", help="look several times at every picture and "
                        f"average: {' and '.join(TTA)}, together the best poses for some fifteen times the time")
    parser.add_argument("--no-draw", action="store_false", dest="draw", help="write the results alone")
    parser.add_argument("--overwrite", action="store_true", help="replace results of an earlier run")
    parser.add_argument("--sample", action="store_true", help="two pictures that come with scikit-image")
    parser.add_argument("--live", action="store_true", help="show the video and the frame rate in a window; q ends it")
    parser.add_argument("--stall", type=positive, default=10, metavar="SECONDS",
                        help="end a stream that is silent for so long (default: 10)")
    parser.add_argument("--fps", type=positive, default=USUAL_FPS,
                        help=f"frame rate of numbered pictures (default: {USUAL_FPS})")
    add_job_arguments(parser)
    add_config_arguments(parser, preset=False)
    return parser


def _folder(text):
    if is_store(text):
        raise argparse.ArgumentTypeError(f"{text}: results go into a folder; copy it to the store afterwards")
    return Path(text)


def _write_samples(folder):
    try:
        from skimage import data
    except ImportError:
        raise UserError("--sample takes its pictures from scikit-image: pip install 'multiposenet[demo]'") from None
    for name in ("astronaut", "camera"):
        picture = getattr(data, name)()
        cv2.imwrite(str(folder / f"{name}.png"), picture[..., ::-1] if picture.ndim == 3 else picture)
    return find_pictures([folder])


def _predict_all(predictor, output):
    start, records, read, skipped, people = time.perf_counter(), [], 0, 0, 0
    progress = tqdm(predictor.predict_files(output.paths), total=len(output.paths), unit="picture")
    artist, drawing = ThreadPoolExecutor(1), None  # draws while the network looks at the next picture
    try:
        for i, prediction in enumerate(progress):
            if prediction.error:
                progress.write(f"skipped {prediction.error}", file=sys.stderr)
                skipped += 1
                continue
            shown = [person for person in prediction.people if person.box_score >= predictor.config.score_threshold]
            if output.drawings:
                if drawing:
                    drawing.result()  # a full disk, say
                drawing = artist.submit(_draw, output, i, prediction.picture, shown, predictor)
            records += [person.as_coco(output.image_ids[i], prediction.path.name) for person in prediction.people]
            read, people = read + 1, people + len(shown)
            output.save_unfinished(records)
        if drawing:
            drawing.result()
    finally:  # what is finished stays, whatever stopped the rest
        progress.close()
        artist.shutdown()
        if read:
            output.save_results(records)
            print(f"{read} of {len(output.paths)} pictures, {people} people, {skipped} skipped, "
                  f"{(time.perf_counter() - start) / read:.3g} s a picture; see {output.folder}")
    if not read:
        print(f"none of {len(output.paths)} pictures could be read", file=sys.stderr)
    return 0 if read else 1


def _draw(output, i, picture, people, predictor):
    output.save_drawing(i, draw_people(picture, people, predictor.skeleton, predictor.config.joint_threshold))

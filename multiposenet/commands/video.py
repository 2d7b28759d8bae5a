"""`infer.py` on a moving picture: an annotated video and one JSON line for every frame."""

import contextlib
import sys
import time

from tqdm import tqdm

from multiposenet.commands.output import prepare_folder
from multiposenet.video_results import VideoResults
from multiposenet.commands.window import Window
from multiposenet.data.read_ahead import ReadAhead
from multiposenet.data.videos import open_video
from multiposenet.drawing import draw_people
from multiposenet.tracking import Tracker


def annotate_video(args, load_predictor):
    """Follow the people of one source through time; returns the exit status.

    Args:
        args: `infer.py`'s options; `paths` holds the source alone.
        load_predictor: called without arguments once all else is known to be right.

    Raises:
        UserError: no such source, no screen, results of an earlier run, a full disk.
    """
    with contextlib.ExitStack() as stack:
        window = stack.enter_context(contextlib.closing(Window())) if args.live else None
        source = open_video(args.paths[0], args.stall, args.fps, sound=args.draw)
        results = stack.enter_context(contextlib.closing(VideoResults(args.output, source, args.draw)))
        prepare_folder(args.output, results.targets, args.paths, args.overwrite)
        predictor = load_predictor()
        return _all_frames(predictor, ReadAhead(source, args.stall), results, window)


def _all_frames(predictor, reader, results, window):
    tracker = Tracker(predictor.config.score_threshold, predictor.config.smoothing_s)
    start, read, broken = time.perf_counter(), 0, 0
    with contextlib.closing(iter(reader)) as frames:
        progress = tqdm(frames, total=reader.source.count, unit="frame")
        try:
            for frame in progress:
                if frame.picture is None:
                    broken += 1
                    continue
                people = tracker.update(predictor.predict(frame.picture), frame.seconds)
                drawn = _draw(predictor, frame.picture, people) if results.draw or window else None
                results.write(frame, people, drawn)
                read += 1
                if window and not window.show(drawn):
                    break
        finally:  # what is finished stays, whatever stopped the rest
            progress.close()
            if reader.ending:
                print(f"ended early: {reader.ending}", file=sys.stderr)
            announced = f" of {reader.source.count}" if reader.source.count else ""
            print(f"{read}{announced} frames, {tracker.count} tracks, {broken} skipped, {reader.dropped} passed over, "
                  f"{read / (time.perf_counter() - start):.1f} frames/s; see {results.targets[-1]}")
    if not read:
        print(f"no frame of {reader.source.name} could be read", file=sys.stderr)
    return 0 if read else 1


def _draw(predictor, picture, people):
    config = predictor.config
    shown = [person for person in people if person.box_score >= config.score_threshold]
    return draw_people(picture, shown, predictor.skeleton, config.joint_threshold)

"""Moving pictures, one frame at a time: video files, network streams, numbered pictures and webcams."""

import os
import re
import time
from fractions import Fraction
from pathlib import Path

import cv2

from multiposenet.data.pictures import quiet_opencv, read_picture
from multiposenet.data.video_source import USUAL_FPS, Frame, Source
from multiposenet.data.video_stream import VideoStream, is_url
from multiposenet.errors import UserError

SUFFIXES = frozenset(".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .ts .mts .m2ts .wmv .flv .3gp .ogv .mjpg .h264".split())
NUMBERED = re.compile(r"(.*)%0?(\d*)d(.*)")


class NumberedPictures(Source):
    """Pictures whose numbers make a video, such as frames/%05d.png; the numbers may have gaps.

    Raises:
        UserError: there are none.
    """

    def __init__(self, pattern, fps=USUAL_FPS):
        folder, (before, digits, after) = Path(pattern).parent, NUMBERED.fullmatch(Path(pattern).name).groups()
        super().__init__(pattern, folder.name)
        rule = re.compile(f"{re.escape(before)}([0-9]{{{digits or 1},}}){re.escape(after)}")
        matches = [rule.fullmatch(name) for name in (os.listdir(folder) if folder.is_dir() else [])]
        self.paths = [folder / match[0] for match in sorted(filter(None, matches), key=lambda match: int(match[1]))]
        if not self.paths:
            raise UserError(f"{pattern}: no picture has such a name; check the path")
        self.fps, self.count = Fraction(fps), len(self.paths)

    def frames(self):
        for i, path in enumerate(self.paths):
            try:
                yield Frame(i, float(i / self.fps), read_picture(path))
            except UserError:
                yield Frame(i)


class Webcam(Source):
    """The camera of a number, the first is 0.

    Raises:
        UserError: it is not there or used by another program.
    """

    live = True

    def __init__(self, number, stall_s):
        super().__init__(f"webcam {number}", f"webcam{number}")
        self.stall_s = stall_s
        with quiet_opencv():
            self.capture = cv2.VideoCapture(int(number))
        if not self.capture.isOpened():
            raise UserError(f"{self.name}: cannot be opened; is it plugged in, and does no other program use it?")
        self.fps = Fraction(self.capture.get(cv2.CAP_PROP_FPS) or USUAL_FPS)

    def frames(self):
        index, start, latest = 0, None, time.monotonic()
        while time.monotonic() - latest < self.stall_s:
            there, picture = self.capture.read()
            if not there:
                time.sleep(.01)
                continue
            latest = time.monotonic()
            start = latest if start is None else start
            yield Frame(index, latest - start, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
            index += 1
        raise UserError(f"{self.name}: no picture for {self.stall_s:g} s")


def is_video(argument):
    """Whether an argument means a moving picture; a file is looked at for its name alone."""
    if os.path.exists(argument):
        return os.path.isfile(argument) and Path(argument).suffix.lower() in SUFFIXES
    return bool(argument.isdecimal() or is_url(argument) or NUMBERED.fullmatch(Path(argument).name)
                or Path(argument).suffix.lower() in SUFFIXES and not re.search("[*?[]", argument))


def open_video(argument, stall_s=10, fps=USUAL_FPS, sound=True):
    """The `Source` an argument means.

    Args:
        argument: what `is_video` is true of.
        stall_s: a live source may be silent for so many seconds.
        fps: frames a second of numbered pictures.
        sound: whether to read the sound as well.

    Raises:
        UserError: it cannot be opened.
    """
    if os.path.isfile(argument) or is_url(argument):
        return VideoStream(argument, stall_s, sound)
    if argument.isdecimal():
        return Webcam(argument, stall_s)
    if NUMBERED.fullmatch(Path(argument).name):
        return NumberedPictures(argument, fps)
    return VideoStream(argument, stall_s, sound)

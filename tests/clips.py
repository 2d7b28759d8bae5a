"""Videos drawn by code: a white person of 20 x 40 pixels walks from left to right."""

from fractions import Fraction

import av
import numpy as np

SIZE = 64, 96


def picture(i):
    """(64, 96, 3) uint8 RGB: the i-th frame, whose person is `2 * i % 70` from the left."""
    drawn = np.full((*SIZE, 3), (60, 20, 20), "uint8")
    x = 2 * i % 70
    drawn[12:52, x:x + 20] = 255
    return drawn


def write_clip(path, frames=20, fps=25, sound=None, codec="mpeg4", **options):
    """Write a clip in the format of its suffix; `sound`: a codec, for a tone as long as the clip."""
    with av.open(str(path), "w", options=options) as file:
        video = file.add_stream(codec, rate=Fraction(fps), width=SIZE[1], height=SIZE[0], pix_fmt="yuvj420p"
                                if codec == "mjpeg" else "yuv420p", gop_size=5)
        audio = file.add_stream(sound, rate=44_100, layout="mono") if sound else None
        for i in range(frames):
            file.mux(video.encode(av.VideoFrame.from_ndarray(picture(i), format="rgb24")))
        file.mux(video.encode())
        if audio:
            tone = np.sin(np.arange(round(44_100 * frames / fps)) / 20).astype("float32")[None]
            heard = av.AudioFrame.from_ndarray(tone, format="flt", layout="mono")
            heard.rate, heard.pts, heard.time_base = 44_100, 0, Fraction(1, 44_100)
            file.mux(audio.encode(heard))
            file.mux(audio.encode())
    return path

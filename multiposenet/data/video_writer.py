"""MP4 files that browsers play and that can be read up to the point at which their writing stopped."""

import contextlib
from fractions import Fraction

import av
import cv2
import numpy as np

from multiposenet.files import writing

FINEST_CLOCK = 65_535  # ticks a second; MPEG-4 allows no more
SLOWEST, FASTEST = Fraction(1, 1000), Fraction(240)  # frames a second
KEPT_SOUND = ("aac", "mp3", "opus", "flac")  # browsers play them from an MP4; other sound becomes AAC
FRAGMENT_S = 2  # a killed program loses no more than about that


class VideoWriter:
    """An H.264 file (MPEG-4 where PyAV was built without it), with the source's sound.

    The frames keep their times, so sound and picture stay together where frames are missing.

    Args:
        path: Path of the .mp4 file.
        picture: (h, w, 3) uint8, like those to come. Odd sides get one more row or column: the format needs even ones.
        source: `video_source.Source` whose frame rate and sound the file gets.

    Raises:
        UserError: by every method, when the file cannot be written.
    """

    def __init__(self, path, picture, source):
        self.path, self.source, self.latest = path, source, -1
        self.height, self.width = picture.shape[:2]
        fps = min(max(source.fps, SLOWEST), FASTEST).limit_denominator(1001)  # streams may claim any rate
        self.frame_ticks = fps.denominator * max(1, FINEST_CLOCK // fps.numerator)  # a whole number: the rate is kept
        self.clock = 1 / (fps * self.frame_ticks)
        with writing(self.path):
            # A fragmented file needs no index at its end; closing it makes it a plain one.
            self.file = av.open(f"file:{path}", "w", format="mp4",
                                options={"movflags": "hybrid_fragmented", "flush_packets": "1"})
            self.video = self.file.add_stream(
                "libx264" if "libx264" in av.codecs_available else "mpeg4", rate=fps, time_base=self.clock,
                width=self.width + self.width % 2, height=self.height + self.height % 2, pix_fmt="yuv420p",
                gop_size=max(1, round(FRAGMENT_S * fps)), max_b_frames=0,  # B-frames would begin later than the sound
                options={"preset": "veryfast", "crf": "20"},
                bit_rate=round(self.height * self.width * fps / 5))  # for MPEG-4; H.264 follows crf
            self.sound = _Sound(self.file, source) if source.audio else None

    def write(self, picture, seconds):
        """Add a frame, (h, w, 3) uint8 RGB; one of another size is scaled."""
        if picture.shape[:2] != (self.height, self.width):
            picture = cv2.resize(picture, (self.width, self.height), interpolation=cv2.INTER_AREA)
        padding = (0, self.height % 2), (0, self.width % 2), (0, 0)
        frame = av.VideoFrame.from_ndarray(np.pad(picture, padding, "edge"), format="rgb24")
        self.latest = max(round(seconds / self.clock), self.latest + 1)  # a damaged source's times may go back
        frame.pts, frame.time_base, frame.duration = self.latest, self.clock, self.frame_ticks
        with writing(self.path):
            self.file.mux(self.video.encode(frame))
            if self.sound:
                self.sound.write()

    def close(self):
        """Write what is still on its way; the file is complete afterwards."""
        with writing(self.path), self.file:
            self.file.mux(self.video.encode())
            if self.sound:
                self.sound.close()


class _Sound:
    """The source's sound on its way into the file: copied where browsers play it, else encoded anew."""

    def __init__(self, file, source):
        self.file, self.source = file, source
        self.copied = source.audio.codec_context.codec.canonical_name in KEPT_SOUND
        if self.copied:
            self.stream = file.add_stream_from_template(source.audio)
        else:
            layout = "mono" if source.audio.codec_context.channels == 1 else "stereo"
            self.stream = file.add_stream("aac", rate=48_000, layout=layout)

    def write(self):
        """Write the packets read so far."""
        while self.source.packets:
            packet = self.source.packets.popleft()
            if None not in (packet.pts, packet.dts):
                with contextlib.suppress(av.error.InvalidDataError, av.error.ArgumentError):  # one damaged packet
                    self._write(packet)

    def close(self):
        """Write the rest."""
        self.write()
        if not self.copied:
            self._mux(self.stream.encode(None))

    def _write(self, packet):
        start = round((self.source.start or 0) / packet.time_base)
        packet.pts -= start
        if self.copied:
            packet.dts, packet.stream = packet.dts - start, self.stream
            self._mux([packet])
        else:
            for frame in packet.decode():
                self._mux(self.stream.encode(frame))

    def _mux(self, packets):
        # What encoders put before the beginning would move all pictures.
        self.file.mux([packet for packet in packets if packet.pts >= 0])

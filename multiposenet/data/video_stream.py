"""Video files and network streams, read by PyAV, which brings FFmpeg's libraries along."""

import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import av
import numpy as np

from multiposenet.data.video_source import Frame, Source
from multiposenet.errors import UserError
# What a file may be. Playlists are left out: one from a stranger could point at other files of this computer.
FORMATS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,h264,hevc,mjpeg,m4v,gif"


class VideoStream(Source):
    """A video file or a URL.

    Raises:
        UserError: it cannot be opened within `stall_s`, or holds no video.
    """

    def __init__(self, address, stall_s, sound=True):
        url = urlsplit(address) if is_url(address) else None
        host = url.netloc.rpartition("@")[2] if url else None
        path = Path(url.path if url else address)
        super().__init__(f"{url.scheme}://{host}{url.path}" if url else path.name,
                         re.sub(r"[^\w.-]+", "_", path.stem or host) if url else path.stem)
        if not url and not path.is_file():
            raise UserError(f"{address}: no such file; check the path")
        began = time.monotonic()
        try:
            # A name may hold a colon. RTSP's default, UDP, loses packets and smears the pictures.
            self.container = av.open(address if url else f"file:{address}", timeout=stall_s,
                                     options={"rtsp_transport": "tcp"} if url else {"format_whitelist": FORMATS})
        except (av.FFmpegError, ValueError) as error:
            silent = time.monotonic() - began >= stall_s  # RTSP's own error is another then
            reason = _silence(stall_s) if silent else _reason(error, stall_s)
            raise UserError(f"{self.name}: cannot be opened as a video ({reason}); "
                            "is it one, and is it whole?") from None
        if not self.container.streams.video:
            raise UserError(f"{self.name}: holds no video")
        self.stall_s, self.video = stall_s, self.container.streams.video[0]
        self.video.thread_type = "AUTO"
        self.audio = next(iter(self.container.streams.audio), None) if sound else None
        self.fps = self.video.average_rate or self.video.guessed_rate or self.fps
        self.count = self.video.frames or None
        self.live = bool(url) and _is_live(self.container)
        start = self.video.start_time
        self.start = None if start is None else start * self.video.time_base

    def frames(self):
        index = 0
        for packet in self._demux():
            if packet.stream is self.audio:
                self.packets.append(packet)
                continue
            for decoded in _decode(packet):
                yield self._frame(index, decoded)
                index += 1

    def _demux(self):
        try:
            yield from self.container.demux([stream for stream in (self.video, self.audio) if stream])
        except av.FFmpegError as error:
            raise UserError(f"{self.name}: {_reason(error, self.stall_s)}") from None
        if self.live:  # also what is left of a server that died
            raise UserError(f"{self.name}: the server ended the stream")

    def _frame(self, index, decoded):
        if decoded is None or decoded.is_corrupt:
            return Frame(index)
        seconds = index / self.fps  # raw H.264 has no times
        if decoded.pts is not None:
            seconds = decoded.pts * decoded.time_base
            self.start = seconds if self.start is None else self.start
            seconds -= self.start
        picture = np.rot90(decoded.to_ndarray(format="rgb24"), decoded.rotation // 90)
        return Frame(index, float(seconds), np.ascontiguousarray(picture))


def is_url(argument):
    """Whether it begins like rtsp://."""
    return bool(re.match("[A-Za-z][A-Za-z0-9+.-]+://", argument))


def _is_live(container):
    """Whether nothing says how long it is: neither seconds, nor bytes, which for a playlist are its own."""
    return container.duration is None and (container.size <= 0 or container.format.name in ("hls", "dash"))


def _decode(packet):
    """Decoded frames of a packet, None for one that is broken."""
    try:
        return packet.decode()
    except av.FFmpegError:
        return [None]


def _reason(error, stall_s):
    if isinstance(error, av.error.ExitError):
        return _silence(stall_s)
    return getattr(error, "strerror", None) or str(error)


def _silence(stall_s):
    return f"no data for {stall_s:g} s"

import functools
import os
import socket
import threading
import time
from fractions import Fraction
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import av
import cv2
import numpy as np
import pytest

from clips import picture, write_clip
from multiposenet.data import videos
from multiposenet.data.read_ahead import AHEAD, ReadAhead
from multiposenet.data.video_source import Frame, Source
from multiposenet.data.video_writer import VideoWriter
from multiposenet.data.videos import NumberedPictures, is_video, open_video
from multiposenet.errors import UserError


def person_at(frame):
    """The person's left edge."""
    return np.nonzero(frame.picture[30].mean(axis=-1) > 160)[0].min()


@pytest.mark.parametrize("argument, moving", [
    ("clip.mp4", True), ("CLIP.MOV", True), ("0", True), ("rtsp://camera/1", True), ("http://a/b.jpg", True),
    ("frames/%05d.png", True), ("frames/img%d.jpg", True), ("a.jpg", False), ("*.mp4", False), ("frames", False)])
def test_what_counts_as_a_video(argument, moving, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").mkdir()
    assert is_video(argument) is moving


def test_existing_files_go_before_meanings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("7", "a%d.png"):
        (tmp_path / name).touch()
        assert not is_video(name)


@pytest.mark.parametrize("name, options", [("a.mp4", {}), ("a.avi", {}), ("a.avi", dict(codec="mjpeg")), ("a.mkv", {}),
                                           ("a.ts", {})])
def test_every_frame_with_its_time(tmp_path, name, options):
    source = open_video(str(write_clip(tmp_path / name, frames=12, fps=10, **options)))
    assert source.fps == 10 and not source.live and source.count in (12, None) and source.stem == "a"
    frames = list(source.frames())
    assert [frame.index for frame in frames] == list(range(12))
    assert np.allclose([frame.seconds for frame in frames], np.arange(12) / 10, atol=.002)
    assert all(abs(person_at(frame) - 2 * i) <= 1 for i, frame in enumerate(frames))
    assert frames[0].picture.shape == (64, 96, 3) and frames[0].picture[5, 90, 0] > frames[0].picture[5, 90, 2]  # RGB


def test_any_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.rename(write_clip("plain.mp4", 3), "a:b %d (1).mp4")
    source = open_video("a:b %d (1).mp4")
    assert source.stem == "a:b %d (1)" and len(list(source.frames())) == 3


def test_opencv_writes_what_we_read(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "a.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 30000 / 1001, (96, 64))
    for i in range(5):
        writer.write(picture(i)[..., ::-1])
    writer.release()
    source = open_video(str(tmp_path / "a.mp4"))
    assert abs(float(source.fps) - 29.97) < .01 and len(list(source.frames())) == 5


def test_a_cut_file_gives_what_there_is(tmp_path):
    whole = write_clip(tmp_path / "a.mp4", 40, movflags="faststart").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[:len(whole) * 3 // 4])
    source = open_video(str(tmp_path / "cut.mp4"))
    read = [frame for frame in source.frames() if frame.picture is not None]
    assert source.count == 40 and 15 < len(read) < 40
    assert all(abs(person_at(frame) - 2 * frame.index % 70) <= 1 for frame in read)


def test_broken_frames_are_said_to_be_broken(tmp_path):
    damaged = bytearray(write_clip(tmp_path / "a.avi", 20).read_bytes())
    starts = [i for i in range(len(damaged)) if damaged[i:i + 4] == b"\x00\x00\x01\xb6"]  # MPEG-4's frames
    damaged[starts[7] + 5:starts[8] - 12] = bytes(starts[8] - 12 - starts[7] - 5)
    (tmp_path / "b.avi").write_bytes(damaged)
    frames = list(open_video(str(tmp_path / "b.avi")).frames())
    assert len(frames) == 20 and 1 <= sum(frame.picture is None for frame in frames) <= 5


@pytest.mark.parametrize("content", [b"", b"these are words", None])
def test_no_video(tmp_path, content):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="a.mp4: .*(video|no such file)"):
        open_video(str(path))


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        audio = file.add_stream("aac", rate=44_100, layout="mono")
        heard = av.AudioFrame.from_ndarray(np.zeros((1, 4000), "float32"), format="flt", layout="mono")
        heard.rate = 44_100
        file.mux(audio.encode(heard))
        file.mux(audio.encode())
    with pytest.raises(UserError, match="holds no video"):
        open_video(str(tmp_path / "a.mp4"))


def test_numbered_pictures(tmp_path):
    folder = tmp_path / "walk"
    folder.mkdir()
    for i in (8, 9, 10, 12):
        cv2.imwrite(str(folder / f"p{i:03d}.png"), picture(i)[..., ::-1])
    (folder / "p011.png").write_bytes(b"broken")
    (folder / "p11.png").touch()  # not three digits
    source = open_video(str(folder / "p%03d.png"), fps=5)
    frames = list(source.frames())
    assert (source.stem, source.count, source.fps) == ("walk", 5, 5)
    assert [frame.seconds for frame in frames] == [0, .2, .4, None, .8]
    assert [person_at(frame) for frame in frames if frame.picture is not None] == [16, 18, 20, 24]
    assert [path.name for path in NumberedPictures(f"{folder}/p%d.png").paths][-2:] in (
        ["p11.png", "p012.png"], ["p011.png", "p012.png"])
    with pytest.raises(UserError, match="no picture has such a name"):
        open_video(str(folder / "q%03d.png"))


def test_webcam(monkeypatch):
    class Capture:
        left = [True, False, True]

        def __init__(self, number):
            self.there = number == 0

        def isOpened(self):
            return self.there

        def get(self, property):
            return 0

        def read(self):
            there = bool(self.left) and self.left.pop()
            return there, np.full((4, 6, 3), (1, 2, 3), "uint8") if there else None

    monkeypatch.setattr(videos.cv2, "VideoCapture", Capture)
    webcam, seen = open_video("0", stall_s=.2), []
    assert webcam.live and webcam.fps == 25 and webcam.stem == "webcam0"
    with pytest.raises(UserError, match="webcam 0: no picture for 0.2 s"):
        for frame in webcam.frames():
            seen.append(frame)
    assert [frame.index for frame in seen] == [0, 1] and tuple(seen[0].picture[0, 0]) == (3, 2, 1)
    with pytest.raises(UserError, match="webcam 1: cannot be opened"):
        open_video("1")


@pytest.fixture
def server():
    """serve(content) -> URL that sends it and then says nothing more, or does `then` to the connection."""
    listening, connections = socket.create_server(("127.0.0.1", 0)), []

    def serve(content, then=id):
        def answer():
            connection, _ = listening.accept()
            connections.append(connection)
            connection.recv(4096)
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(content)
            connection.sendall(head + content + b"\r\n" if content else b"")
            then(connection)

        threading.Thread(target=answer, daemon=True).start()
        return f"http://me:secret@127.0.0.1:{listening.getsockname()[1]}/cam/live.ts?key=hidden"

    yield serve
    for connection in (listening, *connections):
        connection.close()


def test_a_stalled_stream_ends(tmp_path, server):
    url = server(write_clip(tmp_path / "a.ts", 90, fps=10, codec="mpeg2video").read_bytes())
    source = open_video(url, stall_s=1)
    assert source.stem == "live" and source.name.endswith("/cam/live.ts") and "secret" not in source.name
    start, reader = time.monotonic(), ReadAhead(source, 1)
    read = sum(frame.picture is not None for frame in reader)
    assert time.monotonic() - start > .9
    assert read and 80 < read + reader.dropped <= 90 and "for 1 s" in reader.ending and "secret" not in reader.ending


def test_a_silent_server(server):
    with pytest.raises(UserError, match="no data for 0.5 s") as raised:
        open_video(server(b""), stall_s=.5)
    assert "secret" not in str(raised.value)


def test_a_stream_that_is_cut_off_says_so(tmp_path, server):
    clip = write_clip(tmp_path / "a.ts", 30, codec="mpeg2video").read_bytes()
    source = open_video(server(clip, then=lambda connection: connection.sendall(b"0\r\n\r\n")))
    reader = ReadAhead(source, 20)
    read = sum(frame.picture is not None for frame in reader)
    assert source.live and read + reader.dropped > 25 and "/cam/live.ts: the server ended the stream" in reader.ending


@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
def test_a_file_on_a_web_server_is_read_whole(tmp_path, name):
    write_clip(tmp_path / name, 30, **dict(movflags="faststart") if name == "a.mp4" else {})
    handler = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        source = open_video(f"{address}/{name}")
        reader = ReadAhead(source, 20)
        assert not source.live and [frame.index for frame in reader] == list(range(30)) and not reader.ending
        with pytest.raises(UserError, match="404"):
            open_video(f"{address}/gone.mp4")
        server.shutdown()


def test_a_silent_rtsp_server():
    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.raises(UserError, match="no data for 0.5 s"):
        open_video(f"rtsp://127.0.0.1:{listening.getsockname()[1]}/cam", stall_s=.5)


class Counting(Source):
    """`count` frames without pictures; then it breaks off, fails or hangs."""

    def __init__(self, count, live=False, then=None):
        super().__init__("counting", "counting")
        self.count, self.live, self.then, self.made = count, live, then, 0

    def frames(self):
        for i in range(self.count):
            self.made += 1
            yield Frame(i)
        if isinstance(self.then, Exception):
            raise self.then
        if self.then:
            self.then.wait()


def test_files_wait_for_their_reader():
    source = Counting(50)
    frames = iter(ReadAhead(source, 5))
    first = next(frames)
    time.sleep(.1)
    assert source.made <= AHEAD + 3
    assert [first.index, *(frame.index for frame in frames)] == list(range(50))


def test_live_sources_do_not_wait():
    reader, seen = ReadAhead(Counting(50, live=True), 5), []
    for frame in reader:
        seen.append(frame.index)
        time.sleep(.2)
    assert seen[-1] == 49 and len(seen) < 25 and len(seen) + reader.dropped == 50


def test_how_sources_end():
    for then, ending in ((UserError("pulled out"), "pulled out"), (threading.Event(), "counting: no frame for 0.2 s")):
        reader = ReadAhead(Counting(3, then=then), .2)
        assert len(list(reader)) == 3 and reader.ending == ending
    with pytest.raises(ZeroDivisionError):
        list(ReadAhead(Counting(3, then=ZeroDivisionError()), .2))


def test_the_thread_ends_with_its_caller():
    before, source = threading.active_count(), Counting(1000)
    frames = iter(ReadAhead(source, 5))
    next(frames)
    frames.close()
    deadline = time.monotonic() + 30  # it ends at once, but on a busy machine "at once" takes its time
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(.05)
    assert threading.active_count() == before and source.made < 20


def copy(path, target):
    """The clip through our reader and writer."""
    source, writer = open_video(str(path)), None
    for frame in source.frames():
        writer = writer or VideoWriter(target, frame.picture, source)
        writer.write(frame.picture, frame.seconds)
    writer.close()
    return av.open(str(target))


@pytest.mark.parametrize("name, sound, kept", [
    ("a.mp4", "aac", "aac"), ("a.avi", "pcm_s16le", "aac"), ("a.ts", "mp2", "aac"), ("a.avi", None, None)])
def test_sound_is_kept(tmp_path, name, sound, kept):
    with copy(write_clip(tmp_path / name, 50, sound=sound), tmp_path / "out.mp4") as file:
        video, audio = file.streams.video[0], next(iter(file.streams.audio), None)
        assert (video.frames, video.average_rate, video.codec_context.pix_fmt) == (50, 25, "yuv420p")
        assert video.codec_context.name == ("h264" if "libx264" in av.codecs_available else "mpeg4")
        assert bool(audio) == bool(kept)
        if audio:
            assert audio.codec_context.name == kept and abs(audio.duration * audio.time_base - 2) < .06
            heard = np.concatenate([frame.to_ndarray().ravel() for frame in file.decode(audio)])
            assert .6 < np.sqrt(np.mean(heard ** 2)) < .8  # a sine's


@pytest.mark.parametrize("fps", ["25", "24000/1001", "30000/1001", "60", "10", "1/2", "1000", "1/9000"])
def test_the_frame_rate_is_kept(tmp_path, fps):
    source = Counting(0)
    source.fps = Fraction(fps)
    writer = VideoWriter(tmp_path / "a.mp4", picture(0), source)
    for i in range(30):
        writer.write(picture(i), float(i / source.fps))
    writer.close()
    copied = open_video(str(tmp_path / "a.mp4"))
    assert copied.count == 30 and (copied.fps == source.fps or fps in ("1000", "1/9000"))


def test_odd_sides_and_changing_sizes(tmp_path):
    writer = VideoWriter(tmp_path / "a.mp4", np.zeros((65, 97, 3), "uint8"), Counting(0))
    for i, size in enumerate(((65, 97), (130, 194), (65, 97))):
        writer.write(np.full((*size, 3), 200, "uint8"), i / 25)
    writer.write(np.full((65, 97, 3), 200, "uint8"), 0)  # time goes back
    writer.close()
    frames = list(open_video(str(tmp_path / "a.mp4")).frames())
    assert len(frames) == 4
    assert all(frame.picture.shape == (66, 98, 3) and frame.picture.min() > 190 for frame in frames)


def test_without_h264(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with copy(write_clip(tmp_path / "a.avi"), tmp_path / "out.mp4") as file:
        assert file.streams.video[0].codec_context.name == "mpeg4" and file.streams.video[0].frames == 20


def test_a_full_disk(tmp_path):
    with pytest.raises(UserError, match="full.*No space left"):
        writer = VideoWriter("/dev/full", picture(0), Counting(0))
        for i in range(60):
            writer.write(picture(i), i / 25)
        writer.close()

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import multiposenet.weights
from clips import picture, write_clip
from multiposenet.commands import infer as command
from multiposenet.commands import window
from test_prediction import FindsWhite


class Follows(FindsWhite):
    """Finds the clip's person, and calls `at` (frame number -> function) before a frame."""

    def __init__(self, at=None):
        self.at, self.calls = at or {}, 0

    def __call__(self, batch):
        self.at.get(self.calls, int)()
        self.calls += 1
        return super().__call__(batch)


@pytest.fixture
def infer(monkeypatch, tmp_path):
    """main(argv) with a stand-in for the network, into tmp_path / "out"."""
    def call(*args, at=None):
        monkeypatch.setattr(multiposenet.weights, "load_pretrained", lambda name: Follows(at))
        return command.main([*map(str, args), "--output", str(tmp_path / "out")])

    return call


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def frames(path):
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


@pytest.mark.parametrize("name, fps", [("walk.mp4", "30000/1001"), ("walk.avi", 10)])
def test_a_file(infer, tmp_path, capsys, name, fps):
    clip = write_clip(tmp_path / name, 20, fps)
    assert infer(clip) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["walk.jsonl", "walk.mp4"]
    found = lines(tmp_path / "out" / "walk.jsonl")
    assert [line["frame"] for line in found] == list(range(20)) and found[0]["time"] == 0
    for i, line in enumerate(found):
        person, = line["people"]
        assert person["track_id"] == 1 and person["file_name"] == name and person["image_id"] == i
        assert np.allclose(person["bbox"], (2 * i, 12, 20, 40), atol=2)
        assert person["activity"] == "running" and len(person["keypoints"]) == 51
    with av.open(str(clip)) as before, av.open(str(tmp_path / "out" / "walk.mp4")) as after:
        assert before.streams.video[0].average_rate == after.streams.video[0].average_rate
        assert before.streams.video[0].frames == after.streams.video[0].frames == 20
    drawn = frames(tmp_path / "out" / "walk.mp4")
    plain = np.kron(picture(3), np.ones((5, 5, 1)))
    assert drawn[3].shape == (320, 480, 3) and np.abs(drawn[3] - plain).max() > 99
    assert "20 of 20 frames, 1 tracks, 0 skipped" in capsys.readouterr().out


def test_no_draw(infer, tmp_path):
    assert infer(write_clip(tmp_path / "walk.mp4", sound="aac"), "--no-draw") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["walk.jsonl"]
    assert len(lines(tmp_path / "out" / "walk.jsonl")) == 20


def test_numbered_pictures(infer, tmp_path, capsys):
    for i in range(6):
        cv2.imwrite(str(tmp_path / f"{i}.png"), picture(i)[..., ::-1])
    (tmp_path / "3.png").write_bytes(b"broken")
    assert infer(tmp_path / "%d.png", "--fps", 5) == 0
    found, = (tmp_path / "out").glob("*.jsonl")
    assert [line["time"] for line in lines(found)] == [0, .2, .4, .8, 1]
    assert "5 of 6 frames, 1 tracks, 1 skipped" in capsys.readouterr().out
    with av.open(str(found.with_suffix(".mp4"))) as file:
        assert file.streams.video[0].frames == 5 and abs(file.duration / av.time_base - 1.2) < .01


def test_a_cut_file(infer, tmp_path, capsys):
    whole = write_clip(tmp_path / "walk.mp4", 40, movflags="faststart").read_bytes()
    (tmp_path / "walk.mp4").write_bytes(whole[:len(whole) * 3 // 4])
    assert infer(tmp_path / "walk.mp4") == 0
    count = len(lines(tmp_path / "out" / "walk.jsonl"))
    assert 15 < count < 40 and len(frames(tmp_path / "out" / "walk.mp4")) == count
    assert f"{count} of 40 frames" in capsys.readouterr().out


def test_no_frame_can_be_read(infer, tmp_path, capsys):
    (tmp_path / "1.png").write_bytes(b"broken")
    assert infer(tmp_path / "%d.png") == 1
    assert "no frame of" in capsys.readouterr().err and not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("args, says", [
    (["{0}/text.mp4"], "text.mp4: cannot be opened as a video"), (["{0}/gone.mp4"], "gone.mp4: no such file"),
    (["{0}/walk.mp4", "{0}/a.png"], "walk.mp4: a video is followed alone"), (["{0}/f%d.png"], "no picture has such"),
    (["{0}/a.png", "--live"], "leave it out for pictures"),
    (["{0}/walk.mp4", "--set", "predict.smoothing_s=-1"], "smoothing_s"),
    (["http://127.0.0.1:9/a.mp4"], "Connection refused")])
def test_mistakes(infer, tmp_path, capsys, args, says):
    write_clip(tmp_path / "walk.mp4")
    (tmp_path / "text.mp4").write_text("words")
    cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    assert infer(*(arg.format(tmp_path) for arg in args)) == 2
    assert says in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_earlier_results_and_the_source_are_safe(infer, tmp_path, capsys):
    clip = write_clip(tmp_path / "walk.mp4")
    assert infer(clip) == 0 and infer(clip) == 2 and "add --overwrite" in capsys.readouterr().err
    assert infer(clip, "--overwrite") == 0
    (tmp_path / "out").joinpath("walk.jsonl").unlink()
    assert infer(tmp_path / "out" / "walk.mp4", "--overwrite") == 2
    assert "would replace" in capsys.readouterr().err and len(frames(tmp_path / "out" / "walk.mp4")) == 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped(infer, tmp_path, capsys, number):
    before = signal.getsignal(signal.SIGTERM)
    assert infer(write_clip(tmp_path / "walk.mp4"), at={7: lambda: os.kill(os.getpid(), number)}) == 130
    assert len(lines(tmp_path / "out" / "walk.jsonl")) == len(frames(tmp_path / "out" / "walk.mp4")) == 7
    assert "7 of 20 frames" in capsys.readouterr().out and signal.getsignal(signal.SIGTERM) is before


KILLED = """
import sys, time
import numpy as np
from types import SimpleNamespace
from multiposenet.commands import infer

class Slow:
    config = SimpleNamespace(skeleton="coco17", activities=("walking",))
    def __call__(self, batch):
        time.sleep(.01)
        return dict(boxes=np.zeros((1, 1, 4)), scores=np.zeros((1, 1)), keypoints=np.zeros((1, 1, 17, 3)),
                    activities=np.ones((1, 1, 1)), count=np.array([0]))

infer.load_engine = lambda *args: Slow()
raise SystemExit(infer.main(sys.argv[1:]))
"""


def test_killed(tmp_path):
    clip, root = write_clip(tmp_path / "walk.mp4", 900, fps=10), Path(__file__).parents[1]
    results = tmp_path / "out" / "walk.jsonl"
    process = subprocess.Popen([sys.executable, "-c", KILLED, clip, "--output", tmp_path / "out"], cwd=root,
                               stderr=subprocess.DEVNULL)
    while process.poll() is None and not (results.exists() and results.read_text().count("\n") > 60):
        time.sleep(.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    count = len(lines(results))
    assert 60 < count < 900 and len(frames(results.with_suffix(".mp4"))) > count - 50  # the encoder keeps some back


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
def test_ffmpeg_reads_it_without_complaint(infer, tmp_path):
    assert infer(write_clip(tmp_path / "walk.mp4", sound="aac")) == 0
    done = subprocess.run(["ffmpeg", "-v", "warning", "-i", tmp_path / "out" / "walk.mp4", "-f", "null", "-"],
                          capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr


@pytest.fixture
def screen(monkeypatch):
    """A screen that keeps what it is shown."""
    shown = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(window.cv2, "getBuildInformation", lambda: "GUI: QT5")
    monkeypatch.setattr(window.cv2, "imshow", lambda title, drawn: shown.append(drawn))
    monkeypatch.setattr(window.cv2, "setWindowTitle", lambda title, text: shown.append(text))
    monkeypatch.setattr(window.cv2, "getWindowProperty", lambda title, property: 1)
    monkeypatch.setattr(window.cv2, "destroyAllWindows", lambda: None)
    monkeypatch.setattr(window.cv2, "waitKey", lambda milliseconds: ord("q") if len(shown) > 5 else -1)
    return shown


@pytest.mark.parametrize("options", [[], ["--no-draw"]])
def test_live(infer, tmp_path, screen, options):
    assert infer(write_clip(tmp_path / "walk.mp4"), "--live", *options) == 0
    assert [type(item) for item in screen] == [np.ndarray, np.ndarray, str, np.ndarray, str, np.ndarray, str]
    assert screen[0].shape == (320, 480, 3) and "frames/s" in screen[2]
    assert len(lines(tmp_path / "out" / "walk.jsonl")) == 4


def test_no_screen(infer, tmp_path, monkeypatch, capsys):
    clip = write_clip(tmp_path / "walk.mp4")
    monkeypatch.setattr(window.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for windows, says in (("QT5", "there is no screen"), ("NONE", "pip install opencv-python")):
        monkeypatch.setattr(window.cv2, "getBuildInformation", lambda: f"  GUI:                           {windows}\n")
        assert infer(clip, "--live") == 2 and says in capsys.readouterr().err

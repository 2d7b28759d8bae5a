import json
import socket
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import multiposenet.weights
from multiposenet.commands import demo as command
from multiposenet.config import PredictConfig
from multiposenet.data.pictures import read_picture
from multiposenet.prediction import Predictor
from clips import write_clip
from scenes import noisy_pictures
from test_infer import TwoPeople

gradio = pytest.importorskip("gradio", reason="the demo's page is made with Gradio: pip install 'multiposenet[demo]'")
MAX_MB = 1


@pytest.fixture(scope="module")
def served(tiny_model):
    """The page on a free port: `url`, and the `folder` its temporary files go to."""
    from multiposenet.demo.page import build_app, serve
    from multiposenet.demo.inside import OpenPredictor

    with pytest.MonkeyPatch.context() as patch, command.one_temporary_folder() as folder:
        patch.setenv("GRADIO_TEMP_DIR", folder)
        app = build_app(OpenPredictor(tiny_model, PredictConfig(short_side=64, score_threshold=0)))
        port = free_port()
        serve(app, "127.0.0.1", port, MAX_MB)
        yield SimpleNamespace(url=f"http://127.0.0.1:{port}", folder=Path(folder))
        app.close(verbose=False)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def write_photo(path, size=(120, 160), seed=0):
    cv2.imwrite(str(path), noisy_pictures([seed], size)[0])
    return path


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """What the events call, over a network that counts its calls."""
    from multiposenet.demo.events import Demo

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return Demo(Predictor(Counted()))


class Counted(TwoPeople):
    calls = 0

    def __call__(self, batch):
        self.calls += 1
        return super().__call__(batch)


def test_thresholds_move_without_the_network(demo, tmp_path):
    seen, message, button = demo.look(str(write_photo(tmp_path / "party.png")))
    assert message == "" and seen.insight is None
    records = json.loads(Path(button["value"]).read_text())
    assert [record["box_score"] for record in records] == [.9, .2] and records[0]["file_name"] == "party.png"
    for score, joint_score, count, joints in ((.5, .1, 1, 17), (.1, .1, 2, 17), (.1, .6, 2, 0), (1, 0, 0, 0)):
        drawing, button, table, person = demo.show(seen, score, joint_score)
        assert read_picture(drawing).shape == (360, 480, 3) and Path(button["value"]).name == "party_people.jpg"
        assert table.count("<tr>") == (count and count + 1) and table.count(f"{joints} of 17") == count
        assert len(person["choices"]) == count
    assert demo.predictor.model.calls == 1


def test_large_photos_are_shown_smaller_but_told_in_their_own_pixels(demo, tmp_path, monkeypatch):
    monkeypatch.setattr("multiposenet.demo.events.SHOWN_SIDE", 80)
    path = write_photo(tmp_path / "large.png", (120, 160))
    seen, _, button = demo.look(str(path))
    people = demo.predictor.predict(read_picture(path))
    assert json.loads(Path(button["value"]).read_text()) == [person.as_coco(1, "large.png") for person in people]
    assert seen.picture.shape == (60, 80, 3) and read_picture(demo.show(seen, 0, 0)[0]).shape == (360, 480, 3)


def test_a_bad_file_gets_a_message(demo, tmp_path):
    (tmp_path / "notes.jpg").write_text("not much of a picture")
    seen, message, button = demo.look(str(tmp_path / "notes.jpg"))
    assert seen is None and not button["interactive"]
    assert "notes.jpg: not a picture" in message and str(tmp_path) not in message
    drawing, button, table, person = demo.show(seen, .5, .1)
    assert drawing is None and not button["interactive"] and table == "" and person["choices"] == []
    assert demo.look(None)[1] == "" and demo.heatmap(None, "nose") is None and demo.prn(None, None) is None


def test_a_video_is_followed(demo, tmp_path):
    clip = write_clip(tmp_path / "walk.mp4", frames=6)
    video, message, button = demo.follow(str(clip), .5, .1)
    assert message == "" and Path(video).name == "walk.mp4" and Path(video) != clip
    lines = [json.loads(line) for line in Path(button["value"]).read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(6)) and lines[5]["people"][0]["track_id"] == 1
    for content, name in ((b"not much of a video", "notes.mp4"), (f"#EXTM3U\nfile://{clip}\n".encode(), "list.mp4")):
        (tmp_path / name).write_bytes(content)
        video, message, button = demo.follow(str(tmp_path / name), .5, .1)
        assert video is None and name in message and str(tmp_path) not in message and not button["interactive"]
    assert demo.follow(None, .5, .1)[1]


def test_long_videos_are_followed_for_a_while(demo, tmp_path, monkeypatch):
    monkeypatch.setattr("multiposenet.demo.events.VIDEO_S", 0.3)
    _, _, button = demo.follow(str(write_clip(tmp_path / "walk.mp4", frames=40, fps=10)), .5, .1)
    assert len(Path(button["value"]).read_text().splitlines()) == 4


def test_names_are_text(demo, tmp_path):
    from multiposenet.demo.events import people_table

    _, message, _ = demo.look(str(tmp_path / "<script>.jpg"))
    people = demo.predictor.predict(np.zeros((60, 80, 3), "uint8"))
    people[0].activity_probabilities = {"<script>": 1.}
    assert "script" in message and "<script" not in message + people_table(people[:1], .1)


def test_twenty_at_once_are_all_answered(served, tmp_path):
    from gradio_client import Client, handle_file

    photos = [handle_file(write_photo(tmp_path / f"photo{i}.png", seed=i)) for i in range(20)]
    client = Client(served.url, verbose=False, download_files=str(tmp_path / "got"))
    for i, job in enumerate([client.submit(photo, api_name="/look") for photo in photos]):
        message, button = job.result(timeout=120)
        records = json.loads(Path(button["value"]).read_text())
        assert message == "" and {record["file_name"] for record in records} == {f"photo{i}.png"}


def test_limits(served, tmp_path):
    import httpx

    upload = f"{served.url}/gradio_api/upload"
    too_large = httpx.post(upload, files={"files": ("a.jpg", bytes(MAX_MB * 2 ** 20 + 1))})
    assert too_large.status_code == 413 and "maximum allowed size" in too_large.text
    stored, = httpx.post(upload, files={"files": ("../../a.jpg", b"x")}).json()
    assert served.folder in Path(stored).parents
    assert httpx.get(f"{served.url}/gradio_api/file={stored}").status_code == 200
    (tmp_path / "private.txt").write_text("mine")
    for path in (tmp_path / "private.txt", __file__, served.folder.parent):
        assert httpx.get(f"{served.url}/gradio_api/file={path}").status_code == 403


@pytest.fixture
def run_demo(monkeypatch, tmp_path):
    """main(argv) with a stand-in for the network, stopped by Ctrl-C as soon as the page is open."""
    def interrupted():
        assert any(tmp_path.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(multiposenet.weights, "load_pretrained", lambda name: TwoPeople())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setattr(command, "wait", interrupted)
    return lambda *args: command.main([str(arg) for arg in args])


def test_nothing_is_left_behind(run_demo, tmp_path, capsys):
    port = free_port()
    assert run_demo("--port", port) == 130
    assert f"http://127.0.0.1:{port}" in capsys.readouterr().out and not any(tmp_path.iterdir())


def test_mistakes(run_demo, served, tmp_path, monkeypatch, capsys):
    port = served.url.rsplit(":")[-1]
    assert run_demo("--port", port) == 2 and f"127.0.0.1:{port} cannot be opened" in capsys.readouterr().err
    assert run_demo("--weights", tmp_path / "gone.onnx") == 2 and "no such model file" in capsys.readouterr().err
    assert run_demo("--port", 70_000) == 2 and "choose another --port" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run_demo("--max-mb", 0)
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert run_demo() == 2 and "pip install" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())

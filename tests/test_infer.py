import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import multiposenet.weights
from multiposenet.commands import infer as command
from multiposenet.commands.common import quiet_tensorflow, run
from multiposenet.commands.output import Output
from multiposenet.errors import UserError
from multiposenet.evaluation.augmented import VARIANTS
from multiposenet.prediction import Predictor
from scenes import write_coco
from test_prediction import FindsWhite


class TwoPeople(FindsWhite):
    """A sure and an unsure person wherever one looks."""

    def __call__(self, batch):
        boxes, keypoints = np.zeros((1, 5, 4)), np.full((1, 5, 17, 3), .5)
        boxes[0, :2] = (5, 5, 60, 90), (40, 5, 90, 80)
        return dict(boxes=boxes, scores=np.array([[.9, .2, 0, 0, 0]]), keypoints=keypoints,
                    activities=np.tile([.1, .6, .2, .1], (1, 5, 1)), count=np.array([2]))


@pytest.fixture
def infer(monkeypatch):
    """main(argv) with a stand-in for the network."""
    monkeypatch.setattr(multiposenet.weights, "load_pretrained", lambda name: TwoPeople())
    return lambda *args: command.main([str(arg) for arg in args])


@pytest.fixture
def photos(tmp_path):
    write_coco(tmp_path / "drawn", 2, (96, 128))
    folder = tmp_path / "drawn" / "images"
    os.rename(folder / "000001.png", folder / "party.PNG")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much of a picture")
    return folder


def results(folder):
    return json.loads((folder / "results.json").read_text())


def test_folder(infer, photos, tmp_path, capsys):
    assert infer(photos, "--output", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000002.jpg", "party.jpg", "results.json"]
    found = results(tmp_path / "out")
    assert [(person["image_id"], person["file_name"], person["box_score"]) for person in found] == [
        (2, "000002.png", .9), (2, "000002.png", .2), (3, "party.PNG", .9), (3, "party.PNG", .2)]
    assert found[0]["activity"] == "running" and len(found[0]["keypoints"]) == 51 and found[0]["category_id"] == 1
    out, err = capsys.readouterr()
    assert "2 of 3 pictures, 2 people, 1 skipped" in out and "skipped" in err and "broken.jpg" in err


def test_drawing_follows_the_score(infer, photos, tmp_path):
    pixels = {}
    for score in (.1, .5, 1):
        assert infer(photos / "party.PNG", "--output", tmp_path / "out", "--score", score, "--overwrite") == 0
        pixels[score] = cv2.imread(str(tmp_path / "out" / "party.jpg")).astype(int)
        assert len(results(tmp_path / "out")) == 2  # the list always holds everybody
    drawn = [np.abs(pixels[score] - pixels[1]).sum() for score in (.1, .5)]
    assert drawn[0] > drawn[1] > 0


@pytest.mark.parametrize("ways, key", [(["mirror"], "mirror"), (["mirror", "multi-scale"], "multi-scale, mirror")])
def test_tta_looks_several_times(infer, photos, tmp_path, monkeypatch, ways, key):
    asked = []

    class Looks(Predictor):
        def __init__(self, model, config, views):
            super().__init__(model, config)
            asked.append(views)

    monkeypatch.setattr(command, "AugmentedPredictor", Looks)
    assert infer(photos, "--output", tmp_path / "out", "--tta", *ways) == 0
    assert asked == [VARIANTS[key]] and len(results(tmp_path / "out")) == 4


def test_tta_needs_heatmaps(infer, photos, tmp_path, capsys):
    assert infer(photos, "--output", tmp_path / "out", "--tta", "mirror") == 2
    assert "--weights lite" in capsys.readouterr().err
    assert infer(photos, "--output", tmp_path / "out", "--tta", "mirror", "--engine", "ray") == 2
    assert "--tta" in capsys.readouterr().err


def test_no_draw(infer, photos, tmp_path):
    assert infer(photos, "--output", tmp_path / "out", "--no-draw") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.json"]


def test_glob_and_equal_names(infer, photos, tmp_path):
    write_coco(tmp_path / "more", 2, (64, 64))
    assert infer(f"{tmp_path}/**/*.png", "--output", tmp_path / "out") == 0
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.jpg")) == ["000001", "000002", "000002_2"]
    ids = [person["image_id"] for person in results(tmp_path / "out")]
    assert len(set(ids)) == 3 and len(ids) == 6


def test_earlier_results_are_safe(infer, photos, tmp_path, monkeypatch, capsys):
    assert infer(photos, "--output", tmp_path / "out") == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr(multiposenet.weights, "load_pretrained", lambda name: pytest.fail("loaded"))
    assert infer(photos, "--output", tmp_path / "out") == 2
    assert "add --overwrite" in capsys.readouterr().err
    (tmp_path / "out" / "results.json").unlink()
    assert infer(photos, "--output", tmp_path / "out") == 2  # the drawings alone are guarded too
    assert all(path.read_bytes() == content for path, content in before.items() if path.suffix == ".jpg")


def test_pictures_are_never_replaced(infer, photos, tmp_path, capsys):
    cv2.imwrite(str(photos / "photo.jpg"), np.zeros((50, 50, 3), "uint8"))
    content = (photos / "photo.jpg").read_bytes()
    assert infer(photos, "--output", photos, "--overwrite") == 2
    assert "would replace the picture" in capsys.readouterr().err and (photos / "photo.jpg").read_bytes() == content


@pytest.mark.parametrize("args, says", [
    (["nowhere.jpg"], "nowhere.jpg: no such file"), ([], "--sample"), (["{photos}", "--sample"], "--sample alone"),
    (["{photos}", "--score", "3"], "predict.score_threshold"), (["{photos}", "--set", "predict.size=3"], "unknown key"),
    (["{photos}", "--set", "model.grid=3"], "only predict"), (["{photos}/*.gif"], "no picture matches"),
])
def test_mistakes(infer, photos, tmp_path, capsys, args, says):
    args = [arg.format(photos=photos) for arg in args]
    assert infer(*args, "--output", tmp_path / "out") == 2
    assert says in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_output_is_a_file(infer, photos, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert infer(photos, "--output", tmp_path / "out") == 2
    assert "cannot write there" in capsys.readouterr().err and (tmp_path / "out").read_text() == "mine"


def test_disk_full(infer, photos, tmp_path, capsys, monkeypatch):
    def full(path, content):
        Path.touch(path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert infer(photos, "--output", tmp_path / "out") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not any((tmp_path / "out").iterdir())


def test_unknown_weights(photos, tmp_path, capsys):
    assert command.main([str(photos), "--output", str(tmp_path / "out"), "--weights", "tiny"]) == 2
    assert "'tiny'" in capsys.readouterr().err


def test_nothing_readable(infer, photos, tmp_path, capsys):
    assert infer(photos / "broken.jpg", "--output", tmp_path / "out") == 1
    assert "none of 1 pictures" in capsys.readouterr().err and not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_keeps_what_is_finished(infer, photos, tmp_path, monkeypatch, number):
    monkeypatch.setattr(multiposenet.weights, "load_pretrained", lambda name: Stopped(number))
    assert infer(photos, "--output", tmp_path / "out") == 130
    assert {person["file_name"] for person in results(tmp_path / "out")} == {"000002.png"}


class Stopped(TwoPeople):
    """Sends its own process a signal when it sees a second picture."""

    def __init__(self, number):
        self.number, self.calls = number, 0

    def __call__(self, batch):
        self.calls += 1
        if self.calls > 1:
            os.kill(os.getpid(), self.number)
        return super().__call__(batch)


KILLED = """
import signal, sys
import multiposenet.weights
from multiposenet.commands import infer, output
from test_infer import Stopped
output.KEEP_S = 0
multiposenet.weights.load_pretrained = lambda name: Stopped(signal.SIGKILL)
infer.main(sys.argv[1:])
"""


def test_a_killed_run_leaves_what_it_had_under_another_name(photos, tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(photos), "--no-draw", "--output", str(tmp_path / "out")],
                          cwd=Path(__file__).parent, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    kept, = (tmp_path / "out").iterdir()
    assert kept.name == "results.unfinished.json"
    assert {person["file_name"] for person in json.loads(kept.read_text())} == {"000002.png"}


def test_sample(infer, tmp_path):
    pytest.importorskip("skimage")
    assert infer("--sample", "--output", tmp_path / "out") == 0
    assert {person["file_name"] for person in results(tmp_path / "out")} == {"astronaut.png", "camera.png"}
    assert cv2.imread(str(tmp_path / "out" / "astronaut.jpg")).shape == (512, 512, 3)


def test_sample_without_scikit_image(infer, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert infer("--sample", "--output", tmp_path / "out") == 2
    assert "pip install" in capsys.readouterr().err


def test_image_ids_are_unique():
    paths = [Path(name) for name in ("a/7.jpg", "b/7.png", "1.jpg", "x.jpg", "y.jpg")]
    assert Output(Path("out"), paths).image_ids == [7, 2, 1, 3, 4]


def test_names_differ_whatever_the_case(tmp_path):
    drawings = Output(tmp_path, [Path("a.png"), Path("A.png"), Path("a_2.jpg")]).drawings
    assert [path.name for path in drawings] == ["a.jpg", "A_2.jpg", "a_2_2.jpg"]


def test_drawings_fit_into_jpeg(tmp_path):
    output = Output(tmp_path, [Path("long.png")])
    output.save_drawing(0, np.zeros((2, 70_000, 3), "uint8"))
    assert cv2.imread(str(tmp_path / "long.jpg")).shape[1] <= 65_500


def test_run_maps_errors_to_statuses(capsys):
    def fail(error):
        raise error

    assert run(lambda: None) == 0 and run(lambda: 1) == 1
    assert run(fail, UserError("mend this")) == 2 and capsys.readouterr().err == "error: mend this\n"
    assert run(fail, KeyboardInterrupt()) == 130
    with pytest.raises(ZeroDivisionError):
        run(fail, ZeroDivisionError())


def test_quiet_tensorflow(monkeypatch, capfd):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    with quiet_tensorflow():
        os.write(2, b"start-up noise\n")
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n" and os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"
    with quiet_tensorflow():  # the user has chosen a level
        os.write(2, b"wanted\n")
    assert capfd.readouterr().err == "wanted\n"


def test_the_door_opens_quickly_and_quietly(tmp_path):
    script = Path(__file__).parents[1] / "scripts" / "infer.py"
    env = {**os.environ, "PYTHONPATH": str(script.parents[1])}
    done = subprocess.run([sys.executable, script, "gone.jpg", "--output", tmp_path / "out"], capture_output=True,
                          text=True, env=env)
    assert done.returncode == 2 and done.stderr == "error: gone.jpg: no such file or folder; check the path\n"

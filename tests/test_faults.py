"""Damaged input of every kind: each is used as well as it can be, or a `UserError` names the file. Nothing else happens."""

import copy
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scenes import draw_scene, write_coco

from multiposenet import weights
from multiposenet.config import load_config
from multiposenet.data.coco import read_coco, region_mask
from multiposenet.data.pictures import read_picture
from multiposenet.data.pose_table import read_pose_json
from multiposenet.errors import UserError
from multiposenet.evaluation.coco import Truth
from multiposenet.skeleton import COCO17

SCRIPTS = Path(__file__).parents[1] / "scripts"
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
DAMAGES = 30  # of each format
FUZZ = settings(max_examples=150, deadline=None, derandomize=True,
                suppress_health_check=[HealthCheck.function_scoped_fixture])
ODD = st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.just(10 ** 30), st.floats(), st.text(max_size=3),
                st.lists(st.integers(-1, 300), max_size=7), st.just({}), st.just("id"))


def encoded(format):
    """bytes of a drawn scene in that format."""
    buffer = io.BytesIO()
    Image.fromarray(draw_scene(np.random.default_rng(0), 64).picture).save(buffer, format)
    return buffer.getvalue()


def damaged(content, rng):
    """Cut short, holed, stirred, lengthened or with another beginning."""
    kind, size = rng.integers(5), len(content)
    content = bytearray(content)
    start, end = sorted(rng.integers(0, size, 2))
    if kind == 0:
        return bytes(content[:end])
    if kind == 1:
        content[start:end] = bytes(end - start)
    elif kind == 2:
        for place in rng.integers(0, min(size, 200 if rng.random() < 0.5 else size), rng.integers(1, 30)):
            content[place] = rng.integers(256)
    elif kind == 3:
        content += rng.bytes(100)
    else:
        content[:rng.integers(1, 40)] = encoded(FORMATS[rng.integers(4)])[:rng.integers(1, 40)]
    return bytes(content)


@pytest.mark.parametrize("format", FORMATS)
def test_damaged_pictures(tmp_path, format, capfd):
    whole, read = encoded(format), 0
    for i in range(DAMAGES):
        path = tmp_path / f"{i}.{rng_suffix(i, format)}"
        path.write_bytes(damaged(whole, np.random.default_rng([i, len(format)])) if i else whole)
        try:
            picture = read_picture(path)
        except UserError as error:
            assert str(path) in str(error)
        else:
            assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
            read += 1
    assert read, "the one that is whole"
    assert "Traceback" not in capfd.readouterr().err  # libjpeg may say what is wrong with its data


def rng_suffix(i, format):
    """Every third file has a wrong extension."""
    return format.lower() if i % 3 else FORMATS[i % len(FORMATS)].lower()


def places(tree, path=()):
    """Paths of all values in nested lists and dicts."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))


def altered(tree, data):
    """A copy in which one to three values are odd, or gone."""
    tree = copy.deepcopy(tree)
    for _ in range(data.draw(st.integers(1, 3))):
        *parents, last = data.draw(st.sampled_from(sorted(places(tree), key=str)))
        holder = tree
        for key in parents:
            holder = holder[key]
        if data.draw(st.booleans()) and isinstance(holder, dict):
            del holder[last]
        else:
            holder[last] = data.draw(ODD)
    return tree


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coco")
    data = json.loads(write_coco(folder, 2, size=64, people=2).read_text())
    data["annotations"][0]["iscrowd"] = 1
    data["annotations"][1]["segmentation"] = dict(size=[64, 64], counts=[10, 20, 4066])
    return data


@FUZZ
@given(data=st.data())
def test_altered_annotations(tmp_path, coco, data):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(altered(coco, data)))
    try:
        pictures = read_coco(path)
        for picture in pictures:
            for person in picture.people:
                region_mask(person, 64, 64)
        truth = Truth(path)
        found = [dict(image_id=picture.id, category_id=1, score=1, bbox=[1, 2, 3, 4], keypoints=[5] * 51)
                 for picture in truth.pictures]
        for kind in ("bbox", "keypoints"):
            assert -1 <= truth.figures(found, kind)["AP"] <= 1
    except UserError as error:
        assert "a.json" in str(error)


@FUZZ
@given(data=st.data())
def test_altered_results(tmp_path, coco, data):
    (tmp_path / "a.json").write_text(json.dumps(coco))
    truth = Truth(tmp_path / "a.json")
    people = [dict(image_id=1, category_id=1, score=0.5, bbox=entry["bbox"], keypoints=entry["keypoints"],
                   activity="walking", file_name="000001.png") for entry in coco["annotations"][2:]]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(altered(people, data)))
    for read in (lambda: truth.figures(truth.read_results(path), "keypoints"),
                 lambda: read_pose_json(path, COCO17, ("walking",))):
        try:
            read()
        except UserError as error:
            assert "results.json" in str(error)


@FUZZ
@given(data=st.data())
def test_altered_configurations(tmp_path, data):
    tree = load_config(preset="lite").model_dump(mode="json")
    tree["data"]["sets"] = [dict(annotations="a.json", images="b", repeat=2)]
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(altered(tree, data)))
    try:
        load_config(path)
    except UserError as error:
        assert "c.yaml" in str(error) or "model" in str(error)


@FUZZ
@given(text=st.one_of(st.text(max_size=60), st.sampled_from([
    "a: &a [*a]", "x: !!python/object/apply:os.system ['touch hacked']", "&a {a: *a}", "[" * 5000, "a: 2001-99-99", "? : :",
    "preset: lite\npreset: r50", "model: {skeleton: {joints: 3}}", "model: {skeleton: /}", "data: {sets: {}}"])))
def test_odd_texts_as_configurations(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        load_config(path)
    except UserError:
        pass
    assert not (tmp_path / "hacked").exists()


def rewritten(source, path, change):
    """A copy of a .keras archive whose parts went through `change(name, bytes) -> bytes or None`."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(path, "w") as target:
        for name in archive.namelist():
            if (content := change(name, archive.read(name))) is not None:
                target.writestr(name, content)


def with_layer(layer):
    def change(name, content):
        if name != "config.json":
            return content
        return json.dumps(layer).encode()

    return change


HOSTILE = {
    "lambda": with_layer(dict(module="keras.layers", class_name="Lambda", registered_name=None, config=dict(
        name="evil", function=dict(class_name="__lambda__", config=dict(code="4wEAAAA=", defaults=None, closure=None))))),
    "any function": with_layer(dict(module="os", class_name="system", registered_name=None, config=dict(command="touch hacked"))),
    "no weights": lambda name, content: None if name.endswith(".h5") else content,
    "weights cut": lambda name, content: content[:len(content) // 2] if name.endswith(".h5") else content,
    "weights of zeros": lambda name, content: bytes(len(content)) if name.endswith(".h5") else content,
    "configuration cut": lambda name, content: content[:100] if name == "config.json" else content,
    "configuration of a list": with_layer([]),
    "no configuration": lambda name, content: None if name == "config.json" else content,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_weights_of_strangers(tmp_path, tiny_model, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights.save_model(tiny_model, tmp_path / "whole.keras")
    rewritten(tmp_path / "whole.keras", tmp_path / "a.keras", HOSTILE[kind])
    with pytest.raises(UserError, match="a.keras"):
        weights.load_model(tmp_path / "a.keras")
    assert not (tmp_path / "hacked").exists()


def test_a_picture_that_vanishes(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((8, 8, 3), "uint8"))
    path.unlink()
    with pytest.raises(UserError, match="a.png"):
        read_picture(path)


def loaders(run):
    """Process numbers of those that load samples for a run."""
    return [int(number) for number in
            subprocess.run(["ps", "--ppid", str(run.pid), "-o", "pid="], capture_output=True, text=True).stdout.split()]


@pytest.fixture
def long_run(tmp_path):
    """A training that would go on for hours, while another process loads for it; its folder is `run`, its words `log`."""
    write_coco(tmp_path, 4, size=64, people=2)
    sets = json.dumps([dict(annotations="annotations.json", repeat=20_000)])
    settings = (f"data.root={tmp_path}", f"data.sets={sets}", "data.validation=0", "model.prn_hidden=4", "train.workers=1",
                "train.epochs=1000")
    command = [sys.executable, SCRIPTS / "train_prn.py", "--preset", "lite", "--workdir", tmp_path / "run",
               *(part for setting in settings for part in ("--set", setting))]
    with open(tmp_path / "log", "w") as log:
        run = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True,
                               env={**os.environ, "PYTHONUNBUFFERED": "1"})
        try:
            while "Epoch 1" not in (tmp_path / "log").read_text() and run.poll() is None:
                time.sleep(0.1)
            time.sleep(2)
            assert loaders(run)
            yield run
        finally:
            run.kill()


def terminate_by_name(run):
    """As `pkill -f` does: each process by itself, here those that load first."""
    for loader in loaders(run):
        os.kill(loader, signal.SIGTERM)
    time.sleep(0.5)
    run.terminate()


@pytest.mark.parametrize("stop", [lambda run: os.killpg(run.pid, signal.SIGTERM), terminate_by_name],
                         ids=["as a service manager", "by name"])
def test_a_stopped_service_leaves_a_run_to_resume(tmp_path, long_run, stop):
    """SIGTERM to all its processes while others load samples for it."""
    stop(long_run)
    assert long_run.wait(120) == 130
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said and "stopped" in said, said
    assert (tmp_path / "run" / "last.weights.h5").exists() and not list((tmp_path / "run").glob("writing*"))


def test_a_killed_run_leaves_no_process_behind(long_run):
    left = loaders(long_run)
    long_run.kill()
    deadline = time.monotonic() + 60
    while left and time.monotonic() < deadline:
        time.sleep(0.2)
        left = [number for number in left if runs(number)]
    assert not left


def runs(number):
    """Whether the process is there and not just waiting to be forgotten by its parent."""
    status = subprocess.run(["ps", "-o", "stat=", "-p", str(number)], capture_output=True, text=True).stdout.strip()
    return bool(status) and not status.startswith("Z")

"""Many pictures as a Ray job: what it finds is what one process finds, whatever happens to its workers."""

import importlib.util
import json
import os
import signal
import sys
import types

import numpy as np
import pytest
from scenes import write_coco

from multiposenet.commands import infer as command
from multiposenet.commands import ray_job
from multiposenet.commands.parts import Parts
from multiposenet.commands.ray_start import LOCALHOST, QUIET, ray_started
from multiposenet.commands.ray_worker import Worker
from multiposenet.config import ModelConfig
from multiposenet.data.sources import find_sources, read_source
from multiposenet.engines import CONTRACT, load_engine
from multiposenet.errors import UserError

RECORD = dict(image_id=1, file_name="a.png", path="/a.png", category_id=1, score=.5, bbox=[1., 2., 3., 4.],
              box_score=.6, keypoints=[0.] * 51, activity="walking", activity_scores=dict(walking=1.))


@pytest.mark.parametrize("address, says", [(None, "RAY_ADDRESS=local.*timed out.*less busy"),
                                           ("somewhere:6379", "RAY_ADDRESS=somewhere:6379.*timed out.*unset RAY_ADDRESS")])
def test_ray_that_does_not_start(monkeypatch, address, says):
    """Ray's own time-out is a bare Exception; a stand-in raises it."""
    def init(*arguments, **options):
        raise Exception("The current node timed out during startup.\nMore of it.")

    ray, data = types.ModuleType("ray"), types.ModuleType("ray.data")
    ray.init, ray.shutdown, ray.data = init, lambda: None, data
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", data)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for name in (*QUIET, LOCALHOST):
        monkeypatch.setenv(name, "0")
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=says), ray_started():
        pass


@pytest.fixture
def weights(tmp_path):
    """An exported file whose two people hang on the picture's brightness: no TensorFlow makes or runs it."""
    for package in ("ray", "onnxruntime"):
        if importlib.util.find_spec(package) is None:  # not imported: the job sets Ray's environment first
            pytest.skip(f"{package} is not installed")
    onnx = pytest.importorskip("onnx")
    rng, nodes, outputs, constants = np.random.default_rng(0), [], [], []
    for name, shape in dict(boxes=(2, 4), scores=(2,), keypoints=(2, 17, 3), activities=(2, 4)).items():
        values = np.sort(rng.uniform(.1, 1, (1, *shape)), axis=-1).astype("float32") * (100 if name == "boxes" else 1)
        shape = np.array([-1, *[1] * len(shape)])
        constants += [onnx.numpy_helper.from_array(value, f"{name}_{kind}") for kind, value in
                      (("values", values), ("shape", shape))]
        nodes += [onnx.helper.make_node("Reshape", ["brightness", f"{name}_shape"], [f"{name}_brightness"]),
                  onnx.helper.make_node("Mul", [f"{name}_values", f"{name}_brightness"], [name])]
        outputs.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", *values.shape[1:]]))
    return save_graph(onnx, tmp_path / "bright.onnx", nodes, outputs, constants)


def save_graph(onnx, path, nodes, outputs, constants):
    make, kinds = onnx.helper, onnx.TensorProto
    constants += [onnx.numpy_helper.from_array(np.float32(1 / 128), "scale"),
                  onnx.numpy_helper.from_array(np.array([2], "int32"), "two")]
    nodes = [make.make_node("Cast", ["image"], ["pixels"], to=kinds.FLOAT),
             make.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3], keepdims=0),
             make.make_node("Mul", ["mean", "scale"], ["brightness"]), *nodes,
             make.make_node("Identity", ["two"], ["count"])]
    outputs = [*outputs, make.make_tensor_value_info("count", kinds.INT32, [1])]
    image = make.make_tensor_value_info("image", kinds.UINT8, ["batch", "height", "width", 3])
    model = make.make_model(make.make_graph(nodes, "bright", [image], outputs, constants), ir_version=8,
                            opset_imports=[make.make_opsetid("", 17)])
    make.set_model_props(model, dict(contract=str(CONTRACT), config=ModelConfig().model_dump_json()))
    onnx.save(model, path)
    return path


@pytest.fixture
def photos(tmp_path):
    """Seven pictures in two folders, two of the same name, and one that cannot be read."""
    for folder, count in (("a", 4), ("b", 3)):
        write_coco(tmp_path / folder, count, (96, 128), seed=ord(folder))
    (tmp_path / "b" / "images" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much of a picture")
    return [str(tmp_path / folder / "images") for folder in "ab"]


def infer(*args):
    return command.main([str(arg) for arg in (*args, "--set", "predict.short_side=96")])


def records(folder):
    return [json.loads(line) for part in sorted((folder / "parts").iterdir()) for line in part.read_text().splitlines()]


def without_path(found):
    return sorted(json.dumps({key: value for key, value in record.items() if key != "path"}) for record in found)


def listeners():
    """(address, port) in hexadecimal of all sockets that wait for connections, see proc(5)."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in open(f"/proc/net/{name}").readlines()[1:]]
    return {tuple(row[1].split(":")) for row in rows if row[3] == "0A"}


def killed_once(marker):
    class KilledOnce(Worker):
        """Leaves in the middle of a block, as after `kill -9`, once."""

        def find(self, ids, sources):
            found = super().find(ids, sources)
            if not marker.exists():
                marker.write_text(repr(sorted(listeners())))
                os.kill(os.getpid(), signal.SIGKILL)
            return found

    return KilledOnce


def test_a_killed_worker_loses_nothing_and_what_is_missing_is_resumed(weights, photos, tmp_path, monkeypatch, capfd):
    before, many = listeners(), tmp_path / "many"
    here = os.path.dirname(__file__)  # where its workers find the stand-in
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))))
    monkeypatch.setattr(ray_job, "Worker", killed_once(tmp_path / "killed"))
    assert infer(*photos, "--weights", weights, "--engine", "ray", "--workers", 2, "--output", many) == 0
    out, err = capfd.readouterr()
    assert "7 of 8 pictures" in out and "1 skipped" in out and "broken.jpg" in err and "Traceback" not in err
    new = set(eval((tmp_path / "killed").read_text())) - before
    assert new and all(address.endswith("0100007F") for address, _ in new)  # nothing listens beyond this machine

    assert infer(*photos, "--weights", weights, "--no-draw", "--output", tmp_path / "one") == 0
    one, found = json.loads((tmp_path / "one" / "results.json").read_text()), records(many)
    assert without_path(found) == without_path(one) and len(found) > 7
    assert len({record["path"] for record in found}) == 7 > len({record["file_name"] for record in found})
    assert "broken.jpg" in json.loads((many / "skipped.jsonl").read_text())["path"]

    parts = {path: path.stat().st_mtime_ns for path in (many / "parts").iterdir()}
    assert [path.name for path in sorted(parts)] == [f"part-{i:05d}.jsonl" for i in range(8)]
    lost = many / "parts" / "part-00002.jsonl"
    lost.unlink()
    assert infer(*photos, "--weights", weights, "--engine", "ray", "--resume", "--output", many) == 0
    assert [path for path in parts if path.stat().st_mtime_ns != parts[path]] == [lost] and records(many) == found


def test_engines_keep_to_their_threads(weights):
    assert load_engine(weights, threads=1).session.get_session_options().intra_op_num_threads == 1


def parts(folder, sources=tuple("abcdefghi"), workers=1, weights="1", form="jsonl"):
    return Parts(folder, list(sources), workers, dict(weights_sha256=weights, predict=dict(short_side=384)), form)


@pytest.mark.parametrize("changed", [dict(sources="abc"), dict(weights="2"), dict(form="parquet")])
def test_another_job_is_not_resumed(tmp_path, changed):
    parts(tmp_path).prepare()
    before = (tmp_path / "job.json").read_text()
    with pytest.raises(UserError, match="another (list|weights|format)"):
        parts(tmp_path, **changed).prepare(resume=True)
    with pytest.raises(UserError, match="--resume goes on"):
        parts(tmp_path).prepare()
    assert (tmp_path / "job.json").read_text() == before


def test_parts_stay_and_their_blocks_do_not_hang_on_the_workers(tmp_path):
    job = parts(tmp_path)
    job.prepare(resume=True)  # there is nothing yet: the same command begins and goes on
    assert [job.block(i) for i in job.missing()] == [(0, 3), (3, 6), (6, 9)]
    job.save(1, [RECORD], dict(people=1, skipped=[dict(path="d", reason="broken")]))
    again = parts(tmp_path, workers=5)
    again.prepare(resume=True)
    assert again.missing() == [0, 2] and again.block(2) == (6, 9) and again.close() == (2, 1, 1, 2)
    parts(tmp_path).prepare(overwrite=True)
    assert not list((tmp_path / "parts").iterdir())


def test_folders_of_others_are_left_alone(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "mine.txt").touch()
    with pytest.raises(UserError, match="not of a job"):
        parts(tmp_path).prepare(overwrite=True)
    assert (tmp_path / "parts" / "mine.txt").exists()


def test_a_part_that_cannot_be_written_is_not_there(tmp_path, monkeypatch):
    job = parts(tmp_path)
    job.prepare()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="No space"):
        job.save(0, [RECORD], dict(people=1, skipped=[]))
    assert job.missing() == [0, 1, 2] and not list((tmp_path / "parts").iterdir())


def test_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    job = parts(tmp_path, form="parquet")
    job.prepare()
    odd = {**RECORD, "path": "/\udcff.png", "activity": None, "activity_scores": {}}
    for i, found in enumerate(([RECORD], [], [odd])):
        job.save(i, found, dict(people=len(found), skipped=[]))
    first, second = parquet.read_table(tmp_path / "parts", pre_buffer=False).to_pylist()
    assert {**first, "activity_scores": dict(first["activity_scores"])} == RECORD
    assert second["path"] == "/\N{REPLACEMENT CHARACTER}.png" and second["activity"] is None


def test_lists(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = ["# three", "b/images/000001.png", "", "  gone.jpg", "s3://bucket/x y.jpg", "b/images/000001.png"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    expected = [str(tmp_path / "b/images/000001.png"), str(tmp_path / "gone.jpg"), "s3://bucket/x y.jpg"]
    assert find_sources(["list.txt"]) == find_sources(["@list.txt", expected[0]]) == expected
    assert len(find_sources([*photos, "@list.txt"])) == 10


@pytest.mark.parametrize("text, says", [(b"# no\n", "no path in this list"), (b"\xff\xfe", "UTF-8"),
                                        (None, "cannot be read")])
def test_lists_that_are_none(tmp_path, text, says):
    if text:
        (tmp_path / "list.txt").write_bytes(text)
    with pytest.raises(UserError, match=says):
        find_sources([str(tmp_path / "list.txt")])


def test_stores(photos, tmp_path):
    pytest.importorskip("pyarrow.fs")
    found = find_sources([f"file://{tmp_path}/"])
    assert len(found) == 8 and found[0] == f"file://{photos[0]}/000001.png"
    np.testing.assert_array_equal(read_source(found[0]), read_source(found[0].removeprefix("file://")))
    with pytest.raises(UserError, match="broken.jpg: .*copy it again"):
        read_source(f"file://{photos[1]}/broken.jpg")
    with pytest.raises(UserError, match="gone.jpg: cannot be read"):
        read_source(f"file://{tmp_path}/gone.jpg")
    assert find_sources([found[0]]) == found[:1]
    with pytest.raises(UserError, match="cannot be read"):
        read_source("file:////x//y.jpg")
    for address, says in ((f"file://{tmp_path}/none", "cannot be listed|no picture"), ("s3://", "no bucket")):
        with pytest.raises(UserError, match=says):
            find_sources([address])


def test_results_go_into_a_folder(photos, capsys):
    with pytest.raises(SystemExit):
        infer(photos[0], "--output", "s3://bucket/found")
    assert "results go into a folder" in capsys.readouterr().err


@pytest.mark.parametrize("args, says", [
    (["--workers", "2"], "go with --engine ray"), (["--resume"], "go with --engine ray"),
    (["--engine", "ray", "--live"], "takes pictures"), (["clip.mp4", "--engine", "ray"], "takes pictures"),
    (["--engine", "ray"], r"pip install 'multiposenet[ray]'"),
])
def test_mistakes(photos, tmp_path, monkeypatch, capsys, args, says):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert infer(photos[0], *args, "--output", tmp_path / "out") == 2
    assert says in capsys.readouterr().err and not (tmp_path / "out").exists()

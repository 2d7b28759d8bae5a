"""Exported files give Keras' people on every engine that is installed, say what they are, and refuse what they are not."""

import importlib.util
import itertools
import json
import shutil
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest
from conftest import with_heads_of
from scenes import noisy_pictures

from multiposenet.commands import export as command
from multiposenet.config import PredictConfig
from multiposenet.engines import ENGINES, load_engine
from multiposenet.errors import UserError
from multiposenet.export import WRITERS, export
from multiposenet.kept_exports import fastest_engine, kept_export
from multiposenet.models.multiposenet import MultiPoseNet
from multiposenet.models.refiner import PoseRefiner
from multiposenet.prediction import Predictor
from multiposenet.skeleton import COCO17
from multiposenet.weights import save_model

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the exporters need TensorFlow")
SIZE = (192, 256)  # of the graphs that are fixed to one


@pytest.fixture(scope="module")
def lite():
    """The shipped weights: an untrained model's scores differ by less than the engines do."""
    return load_engine("lite", "keras")


@pytest.fixture(scope="module")
def one_look(lite):
    """The same without the half view, for every other engine takes half as long to write; it and the refiner see mirror images."""
    return with_heads_of(lite, lite.config, half_view=0, mirror_view=True, refiner_mirror=True)


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    for package in ("onnx", "tf2onnx", "onnxruntime"):
        pytest.importorskip(package)
    path = tmp_path_factory.mktemp("onnx") / "lite.onnx"
    assert command.main(["--weights", "lite", "--output", str(path)]) == 0
    assert [file.name for file in path.parent.iterdir()] == ["lite.onnx"]
    return path


def assert_same_people(ours, theirs):
    """Each of our people is found by the other engine within half a pixel. Their order counts for nothing, since scores
    may tie, nor do guessed joints, whose scores are next to nothing and whose cells may tie."""
    assert ours["count"].sum() > 1
    for i, count in enumerate(ours["count"]):
        assert theirs["count"][i] == count
        for k in range(count):
            distance = np.abs(theirs["boxes"][i, :count] - ours["boxes"][i, k]).max(-1)
            j = distance.argmin()
            assert distance[j] < 0.5 and abs(theirs["scores"][i, j] - ours["scores"][i, k]) < 1e-3
            a, b = ours["keypoints"][i, k], theirs["keypoints"][i, j]
            sure = a[:, 2] > 1e-3
            np.testing.assert_allclose(b[sure, :2], a[sure, :2], atol=0.5)
            np.testing.assert_allclose(b[:, 2], a[:, 2], atol=1e-3)
            np.testing.assert_allclose(theirs["activities"][i, j], ours["activities"][i, k], atol=1e-3)


@pytest.mark.parametrize("seeds, size", [((0, 1, 2), (128, 160)), ((6,), (192, 256)), ((3, 4), (256, 192))])
def test_onnx_finds_the_same_people_at_any_size_and_batch(onnx_file, lite, seeds, size):
    pictures = noisy_pictures(seeds, size)
    assert_same_people(lite.predict_on_batch(pictures), load_engine(onnx_file)(pictures))


def test_nobody_is_found_in_a_plain_colour(onnx_file, lite):
    plain = (np.full((1, 96, 128, 3), color, "uint8") for color in itertools.product((0, 255, 128), repeat=3))
    empty = next(picture for picture in plain if lite.predict_on_batch(picture)["count"] == 0)
    found = load_engine(onnx_file)(empty)
    assert found["count"] == 0 and {key: value.shape[1:] for key, value in found.items()} == {
        "boxes": (50, 4), "scores": (50,), "keypoints": (50, 17, 3), "activities": (50, 4), "count": ()}
    assert not any(value.any() for key, value in found.items() if key != "activities")


@pytest.mark.parametrize("readers", [1, 2])
def test_onnx_with_mirror_images(one_look, tmp_path, readers):
    """The refiner alone, which takes a third of the time: the rest is in the other files."""
    for package in ("onnx", "tf2onnx", "onnxruntime"):
        pytest.importorskip(package)
    import onnxruntime

    refiner = one_look.heads["refiner"]
    if readers == 2:
        refiner = PoseRefiner(2, 8, (16, 8), 0.2, "mobilenetv2", mirror_order=[1, 0], more_grids=[(32, 16)])
    inputs = {"image": noisy_pictures((5,), SIZE).astype("float32"), "boxes": np.array([[[20, 30, 90, 180], [5, 5, 60, 40]]], "float32")}
    expected = refiner.predict_on_batch(list(inputs.values()))
    refiner.export(str(tmp_path / "refiner.onnx"), format="onnx", verbose=False)
    found, = onnxruntime.InferenceSession(tmp_path / "refiner.onnx").run(None, inputs)
    np.testing.assert_allclose(found, expected, atol=1e-2)


@pytest.mark.parametrize("form, name, size", [("openvino", "lite.xml", None), ("litert", "lite.tflite", SIZE)])
def test_other_engines_find_the_same_people(one_look, tmp_path, form, name, size):
    if importlib.util.find_spec(ENGINES[form].package.split(".")[0]) is None:
        pytest.skip(f"{form} is not installed")
    export(one_look, tmp_path / name, form, size)
    engine = load_engine(tmp_path / name)
    assert engine.name == form and engine.config == one_look.config and engine.size == size
    assert json.loads(engine.metadata["joints"]) == list(COCO17.joints)
    picture = noisy_pictures((0,), SIZE)  # in which two are found
    assert_same_people(one_look.predict_on_batch(picture), engine(picture))
    pictures = noisy_pictures(range(4), (190, 250))
    found, expected = ([len(Predictor(model, PredictConfig(short_side=192)).predict(picture)) for picture in pictures]
                       for model in (engine, one_look))
    assert found == expected and any(found)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:2000])
    with pytest.raises(UserError, match=f"{name}: .*export the model again"):
        load_engine(tmp_path / name)


def test_saved_model_finds_the_same_people(one_look, tmp_path):
    export(one_look, tmp_path / "saved", "saved_model")
    described = json.loads((tmp_path / "saved" / "assets.extra" / "multiposenet.json").read_text())
    assert described["activities"] == json.dumps(one_look.config.activities)
    picture = noisy_pictures((0,), SIZE)  # in which two are found
    found = keras.layers.TFSMLayer(tmp_path / "saved", call_endpoint="serve")(picture)
    assert_same_people(one_look.predict_on_batch(picture), {key: np.asarray(value) for key, value in found.items()})


def test_int8_is_smaller_and_finds_nearly_the_same(onnx_file, lite, tmp_path):
    import onnx

    photo = pytest.importorskip("skimage.data").astronaut()
    for side in (256, 512):
        cv2.imwrite(str(tmp_path / f"{side}.png"), cv2.resize(photo, (side, side))[..., ::-1])
    assert command.main(["--weights", str(onnx_file), "--int8", "--calibrate", str(tmp_path),
                         "--output", str(tmp_path / "int8.onnx")]) == 0
    assert [file.name for file in tmp_path.glob("*.onnx")] == ["int8.onnx"]
    assert (tmp_path / "int8.onnx").stat().st_size < 0.8 * onnx_file.stat().st_size
    graph = onnx.load(tmp_path / "int8.onnx").graph
    made = {output: node.op_type for node in graph.node for output in node.output}
    reads_bytes = {node.name: made.get(node.input[0]) == "DequantizeLinear" for node in graph.node if node.op_type == "Conv"}
    exact = [[name for name in reads_bytes if part in name]
             for part in ("block_1_", "heatmaps", "pyramid_regression_3/", "pyramid_classification_3/", "reader_backbone")]
    assert sum(reads_bytes.values()) > 80 and all(exact) and not any(map(reads_bytes.get, sum(exact, [])))
    engine = load_engine(tmp_path / "int8.onnx")
    assert engine.metadata == {**load_engine(onnx_file).metadata, **engine.metadata}
    ours, theirs = (Predictor(model).predict(photo)[0] for model in (lite, engine))
    error = 0.15 * np.max(ours.box_xyxy[2:] - ours.box_xyxy[:2])
    np.testing.assert_allclose(theirs.box_xyxy, ours.box_xyxy, atol=error)
    sure = ours.keypoints[:, 2] > 0.3
    np.testing.assert_allclose(theirs.keypoints[sure, :2], ours.keypoints[sure, :2], atol=error)
    assert sure.sum() >= 5


def test_int8_of_a_fixed_size(tmp_path, tiny_model):
    """Its ranges are calibrated at that size: no other would pass through it."""
    cv2.imwrite(str(tmp_path / "picture.png"), noisy_pictures((5,), (50, 70))[0])
    save_model(tiny_model, tmp_path / "tiny.keras")
    assert command.main(["--weights", str(tmp_path / "tiny.keras"), "--int8", "--calibrate", str(tmp_path), "--size", "64", "96",
                         "--output", str(tmp_path / "int8.onnx")]) == 0
    assert load_engine(tmp_path / "int8.onnx").size == (64, 96)


@pytest.mark.parametrize("options, says", [
    (["--int8"], "--calibrate"), (["--calibrate", "somewhere"], "--int8"),
    (["--int8", "--calibrate", "{folder}"], "no picture"),
    (["--int8", "--calibrate", "{picture}", "--format", "openvino"], "int8 is for --format onnx"),
    (["--int8", "--calibrate", "{picture}", "--weights", "a.onnx", "--size", "64", "96"], "leave out --size"),
    (["--int8", "--calibrate", "{picture}", "--weights", "a.onnx"], "a.onnx: no such model file"),
])
def test_int8_needs_pictures_and_onnx(tmp_path, capsys, options, says):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((32, 32, 3), 128, "uint8"))
    (tmp_path / "empty").mkdir()
    options = [option.format(folder=tmp_path / "empty", picture=tmp_path / "grey.png") for option in options]
    suffix = ".xml" if "openvino" in options else ".onnx"
    assert command.main([*options, "--output", str(tmp_path / f"int8{suffix}")]) == 2
    assert says in capsys.readouterr().err


def test_the_file_says_what_it_is(onnx_file, lite):
    engine = load_engine(onnx_file, "onnxruntime")
    assert engine.config == lite.config and engine.size is None
    assert json.loads(engine.metadata["limbs"]) == [list(limb) for limb in COCO17.limb_indices]
    assert len(engine.metadata["weights_sha256"]) == 64 and "MODEL_CARD.md" in engine.metadata["licence"]
    assert engine.session.get_inputs()[0].shape == ["batch", "height", "width", 3]


def test_files_that_are_no_good(onnx_file, tmp_path):
    import onnx

    (tmp_path / "cut.onnx").write_bytes(onnx_file.read_bytes()[:5000])
    graph = onnx.load(onnx_file)
    onnx.helper.set_model_props(graph, {"contract": "0", "multiposenet_version": "0.0.7"})
    onnx.save(graph, tmp_path / "old.onnx")
    onnx.helper.set_model_props(graph, {"author": "somebody"})
    onnx.save(graph, tmp_path / "foreign.onnx")
    for name, says in (("cut", "onnxruntime cannot open it"), ("old", r"exported by multiposenet 0\.0\.7"),
                       ("foreign", "not exported by multiposenet"), ("gone", "no such model file")):
        with pytest.raises(UserError, match=rf"{name}\.onnx: {says}"):
            load_engine(tmp_path / f"{name}.onnx")


def test_an_engine_that_is_not_there_or_does_not_fit(onnx_file, monkeypatch):
    with pytest.raises(UserError, match="openvino reads .xml files"):
        load_engine(onnx_file, "openvino")
    with pytest.raises(UserError, match="keras reads .keras files"):
        load_engine(onnx_file, "keras")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="pip install"):
        load_engine(onnx_file)


def test_weights_by_name_are_exported_once(onnx_file, lite, tmp_path, monkeypatch, capsys):
    made = []
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("multiposenet.export.export",
                        lambda model, output, form: made.append((type(model), form)) or shutil.copy(onnx_file, output))
    assert fastest_engine("lite") == "keras" and fastest_engine("a.tflite") == "litert"
    engines = [load_engine("lite", "onnxruntime") for _ in range(2)]
    assert made == [(MultiPoseNet, "onnx")] and capsys.readouterr().out.count("once") == 1
    assert all(engine.name == "onnxruntime" and engine.config == lite.config for engine in engines)
    assert fastest_engine("lite") == "onnxruntime" and fastest_engine(tmp_path / "none.keras") == "keras"
    cv2.imwrite(str(tmp_path / "a.png"), noisy_pictures((6,), (190, 250))[0])
    subprocess.run([sys.executable, "-c", LIGHT, str(tmp_path / "a.png"), "--output", str(tmp_path / "out")], check=True)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "onnxruntime", None)
        assert fastest_engine("lite") == "keras"
    (tmp_path / "other.keras").write_bytes(b"other weights")
    for weights, engine, says in ((tmp_path / "other.keras", "onnxruntime", "other.keras: not a model"),
                                  (tmp_path / "none.keras", "onnxruntime", "none.keras: no such model file"),
                                  ("heavy", "onnxruntime", "no pretrained weights named 'heavy'")):
        with pytest.raises(UserError, match=says):
            load_engine(weights, engine)
    with pytest.raises(UserError, match="export.py --size"):
        kept_export("lite", "litert")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match="pip install"):
        load_engine("lite", "openvino")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set KERAS_HOME"):
        load_engine("lite", "onnxruntime")


LIGHT = """
import sys
from multiposenet.commands.infer import main
assert main(sys.argv[1:]) == 0
assert not {"tensorflow", "keras", "h5py", "pycocotools"} & set(sys.modules), "slow to import and not needed"
"""


def test_infer_takes_the_file_and_imports_no_keras(onnx_file, lite, tmp_path):
    pictures = noisy_pictures((6, 7), (190, 250))
    for i, picture in enumerate(pictures):
        cv2.imwrite(str(tmp_path / f"{i + 1}.png"), picture[..., ::-1])
    subprocess.run([sys.executable, "-c", LIGHT, tmp_path, "--weights", onnx_file, "--output", tmp_path / "out",
                    "--set", "predict.short_side=192"], check=True, capture_output=True)
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 2
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    predictor = Predictor(lite, PredictConfig(short_side=192))
    ours = [person.as_coco(i + 1, f"{i + 1}.png") for i, picture in enumerate(pictures)
            for person in predictor.predict(picture)]
    assert len(found) == len(ours) > 1
    for a, b in zip(found, ours):
        assert np.allclose(a["bbox"], b["bbox"], atol=0.5) and a["activity"] == b["activity"]


@pytest.mark.parametrize("name, form, size, says", [
    ("a.tflite", "onnx", None, "must end in .onnx"), ("a.onnx", "onnx", (100, 128), "multiples of 32"),
    ("a.tflite", "litert", None, "--size"), ("gone/a.onnx", "onnx", None, "no such folder"),
    ("a.zip", "saved_model", None, "no suffix"), ("there", "saved_model", None, "exists already"),
])
def test_export_mistakes(lite, tmp_path, name, form, size, says):
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match=says):
        export(lite, tmp_path / name, form, size)


def test_export_needs_its_packages(lite, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"onnx needs onnx.*pip install 'multiposenet\[export\]'"):
        export(lite, tmp_path / "a.onnx")


def test_command(tmp_path, capsys):
    assert command.FORMATS == tuple(WRITERS)
    assert command.main(["--weights", "none", "--output", str(tmp_path / "a.onnx")]) == 2
    assert "'none'" in capsys.readouterr().err

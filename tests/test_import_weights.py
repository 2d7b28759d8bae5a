"""keras-retinanet's snapshots imported: the same boxes from the same picture.

Under Keras 3 keras-retinanet can neither build its ResNet nor write Keras 2's HDF5 files. So its BatchNormalization is
replaced here by an equal one that Keras 3 can build, and the files are written in the layout of Keras 2's `model.save`
and `save_weights`. What keras-retinanet 1.0.0 itself wrote under tf_keras 2.21 (random weights; training snapshot,
weights and converted model of ResNet-50, converted model of ResNet-101 with 80 classes) was imported once by hand: of
92 and 53 boxes none was off by more than 1e-4 px. A downloaded, trained snapshot was not at hand.
"""

import contextlib
import io

import h5py
import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("keras-retinanet runs on TensorFlow alone", allow_module_level=True)
pytest.importorskip("keras_retinanet", reason="keras-retinanet is not installed: pip install multiposenet[retinanet]")

import keras_resnet.layers  # noqa: E402
import keras_resnet.models  # noqa: E402
from keras_retinanet import layers as their_layers  # noqa: E402
from keras_retinanet import models as their_models  # noqa: E402
from keras_retinanet.utils import anchors as their_anchors  # noqa: E402

from multiposenet import merging, snapshots, weights  # noqa: E402
from multiposenet.codecs.person_grid import ENCODER  # noqa: E402
from multiposenet.commands.import_weights import main  # noqa: E402
from multiposenet.config import load_config  # noqa: E402
from multiposenet.models.heads import (build_activity, build_backbone, build_prn, keypoint_parts,  # noqa: E402
                                       keypoints_model)
from scenes import noisy_pictures  # noqa: E402

CLASSES, CLASS = 3, 1
HEIGHT, WIDTH = 96, 160
SMALL = ["model.subnet_filters=4", "model.fusion_filters=4", "model.prn_hidden=4", "model.activity_units=[4]",
         "model.max_candidates=3000", "model.max_people=1000"]


class BatchNormalization(keras.layers.BatchNormalization):
    """keras-resnet's, with a `call` that Keras 3 understands."""

    def __init__(self, freeze, **kwargs):
        super().__init__(**kwargs)


@pytest.fixture(scope="module", autouse=True)
def buildable():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras_resnet.layers, "BatchNormalization", BatchNormalization)
        yield


@pytest.fixture(scope="module")
def theirs():
    """Their ResNet-50 detector with weights that keep the signal's size and give boxes of many scores."""
    model = their_models.backbone("resnet50").retinanet(num_classes=CLASSES)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(_value(rng, weight))
    return model


def _value(rng, weight):
    layer, name = weight.path.split("/")[-2:]
    if name == "gamma":
        return rng.uniform(.1, .3, weight.shape) if "2c" in layer else rng.uniform(.5, 1.2, weight.shape)
    if name == "moving_variance":
        return rng.uniform(.5, 1.5, weight.shape)
    if name != "kernel":
        return rng.normal(-2 if layer == "pyramid_classification" else 0, .1, weight.shape)
    gain = {"pyramid_classification": 4, "pyramid_regression": .1}.get(layer, 1)
    return rng.normal(0, gain / np.sqrt(np.prod(weight.shape[:-1])), weight.shape)


def write_snapshot(model, path, root):
    """Keras 2's layout; `root` is "model_weights/" for model.save, "" for save_weights."""
    with h5py.File(path, "w") as file:
        for layer in model.layers:
            for weight in layer.weights:
                file[f"{root}{layer.name}/{'/'.join(weight.path.split('/')[-2:])}:0"] = weight.numpy()


@pytest.fixture(scope="module")
def snapshot(theirs, tmp_path_factory):
    path = tmp_path_factory.mktemp("snapshot") / "resnet50_csv_10.h5"
    write_snapshot(theirs, path, "model_weights/")
    with h5py.File(path, "a") as file:
        file["optimizer_weights/Adam/P3/kernel:0"] = np.zeros(3)
        file["model_weights/C2_reduced/C2_reduced/kernel:0"] = np.zeros(3)
    return path


@pytest.fixture(scope="module")
def imported(snapshot, tmp_path_factory):
    """The run folder and what the command printed."""
    folder, printed = tmp_path_factory.mktemp("runs") / "imported", io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main([str(snapshot), "--workdir", str(folder), "--class-index", str(CLASS)]) == 0
    return folder, printed.getvalue()


def their_boxes(model, picture):
    """(n, 4) boxes and (n,) scores of class `CLASS`, as keras-retinanet finds them."""
    pixels = picture[..., ::-1].astype("float32") - [103.939, 116.779, 123.68]
    regression, classification = model(pixels)
    boxes = their_layers.RegressBoxes()([their_anchors.anchors_for_shape(picture.shape[1:])[None], regression])
    # They stop at the last pixel's coordinate (width - 1), we at the picture's edge (width).
    boxes = their_layers.ClipBoxes()([np.zeros((1, HEIGHT + 1, WIDTH + 1, 3)), boxes])
    found = their_layers.FilterDetections(max_detections=1000)([boxes, classification])
    boxes, scores, labels = (np.asarray(array)[0] for array in found)
    return boxes[labels == CLASS], scores[labels == CLASS]


def test_same_boxes_after_import_training_and_merge(theirs, imported, tmp_path):
    """The keypoint head is untrained here, but made as train_keypoints.py makes it on a frozen imported backbone."""
    folder, _ = imported
    config = load_config(None, ["model.backbone_padding=keras_resnet", "model.vote_spread=0", *SMALL])
    backbone = build_backbone(config.model)
    backbone.load_imagenet(folder / snapshots.BACKBONE_FILE)
    heads = {"keypoints": keypoints_model(backbone, *keypoint_parts(config.model, backbone)),
             "prn": build_prn(config.model), "activity": build_activity(config.model)}
    for head, model in heads.items():
        (tmp_path / head).mkdir()
        weights.save_head(head, model, tmp_path / head, config, {}, encoder=ENCODER,
                          backbone_sha256=weights.fingerprint(backbone))
    merged = merging.merge({**{head: tmp_path / head for head in heads}, "detector": folder}, tmp_path / "all.keras")
    picture = noisy_pictures([0], (HEIGHT, WIDTH))
    found = merged.dense.predict_on_batch(picture)
    boxes, scores = their_boxes(theirs, picture)
    assert len(boxes) > 20 and np.ptp(scores) > 0.1
    np.testing.assert_allclose(found["boxes"][0, :len(boxes)], boxes, atol=0.1)
    np.testing.assert_allclose(found["scores"][0, :len(boxes)], scores, atol=1e-3)
    assert not found["scores"][0, len(boxes):].any()


def test_what_has_no_place_is_named(imported):
    lines = [line for line in imported[1].splitlines() if line.startswith("not carried over")]
    assert lines == ["not carried over: pyramid_classification: 2 other classes",
                     "not carried over: C2_reduced/kernel: has no place in our detector"]
    assert "model.backbone=resnet50" in imported[1]


@pytest.mark.parametrize("network", ["resnet101", "resnet152"])
def test_backbone_names(network):
    """Both networks have these layers, with the same kernels. ResNet-50 is above."""
    theirs = getattr(keras_resnet.models, network.replace("resnet", "ResNet"))(
        keras.Input((None, None, 3)), include_top=False, freeze_bn=True)
    ours = build_backbone(load_config(None, [f"model.backbone={network}"]).model)
    names = snapshots.backbone_names(network)
    assert sorted(names.values()) == sorted(layer.name for layer in theirs.layers if layer.weights)
    assert sorted(names) == sorted(layer.name for layer in ours.layers if layer.weights)
    for name, other in names.items():
        assert ours.get_layer(name).weights[0].shape == theirs.get_layer(other).weights[0].shape


def test_weights_saved_alone(theirs, snapshot, tmp_path):
    write_snapshot(theirs, tmp_path / "weights.h5", "")
    with h5py.File(tmp_path / "weights.h5") as alone, h5py.File(snapshot) as whole:
        found, expected = (snapshots.arrays_by_layer(file) for file in (alone, whole))
        del expected["C2_reduced"]
        assert {layer: found[layer].keys() for layer in found} == {layer: expected[layer].keys() for layer in expected}
        np.testing.assert_array_equal(found["P3"]["kernel"], expected["P3"]["kernel"])


@contextlib.contextmanager
def changed(snapshot, layer, weight, value):
    """The snapshot without an array, or with another one there."""
    place = f"model_weights/{layer}/{layer.rsplit('/')[-1]}/{weight}:0".replace("submodel/submodel/", "submodel/")
    with h5py.File(snapshot, "a") as file:
        file.move(place, "kept")
        if value is not None:
            file[place] = value
    yield
    with h5py.File(snapshot, "a") as file:
        if value is not None:
            del file[place]
        file.move("kept", place)


@pytest.mark.parametrize("layer, weight, value, says", [
    ("P7", "kernel", None, "P7/kernel is missing"),
    ("res4f_branch2a", "kernel", None, "not all those of keras-retinanet's ResNet-50"),
    ("P7", "bias", np.zeros(128, "float32"), r"P7/bias is float32 \(128,\), expected float \(256,\)"),
    ("P7", "bias", np.full(256, np.nan, "float32"), "P7/bias is not finite"),
    ("P7", "bias", np.full(256, b"code"), "expected float"),
])
def test_damaged_snapshots(snapshot, tmp_path, layer, weight, value, says):
    with changed(snapshot, layer, weight, value), pytest.raises(weights.UserError, match=says) as error:
        snapshots.import_snapshot(snapshot, tmp_path / "run")
    assert snapshot.name in str(error.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("index", [3, -1])
def test_no_such_class(snapshot, tmp_path, index):
    with pytest.raises(weights.UserError, match=f"no class {index}; it has 3"):
        snapshots.import_snapshot(snapshot, tmp_path / "run", index)


def test_files_that_are_no_snapshots(tmp_path, capsys):
    (tmp_path / "text.h5").write_text("weights")
    with h5py.File(tmp_path / "vgg.h5", "w") as file:
        file["model_weights/block1_conv1/block1_conv1/kernel:0"] = np.zeros((3, 3, 3, 64))
        file["note"] = "no layer"
    for name, says in (("gone.h5", "no such file"), ("text.h5", "not an HDF5 file"), ("vgg.h5", "block1_conv1")):
        assert main([str(tmp_path / name), "--workdir", str(tmp_path / "run")]) == 2
        error = capsys.readouterr().err
        assert name in error and says in error
    assert not (tmp_path / "run").exists()


def test_a_detector_is_not_replaced(snapshot, imported):
    with pytest.raises(weights.UserError, match="holds a detector already"):
        snapshots.import_snapshot(snapshot, imported[0])

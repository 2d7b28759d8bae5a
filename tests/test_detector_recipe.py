"""The detector's training: it stands on a keypoint run, leaves its backbone alone and learns."""

import json

import keras
import numpy as np
import pytest
from keras import ops
from scenes import write_coco

from multiposenet import weights
from multiposenet.codecs import anchors
from multiposenet.config import load_config
from multiposenet.errors import UserError
from multiposenet.models.heads import build_backbone, keypoint_parts, keypoints_model
from multiposenet.recipes import detector

TINY = {"model": dict(backbone="mobilenetv2", fpn_channels=8, subnet_filters=4, fusion_filters=4, head_filters=8,
                      head_depth=1)}


def tiny(folder, *overrides):
    """A configuration of tiny heads on the scenes and the keypoint run of `folder`."""
    sets = [{"annotations": "annotations.json", "images": "images"}]
    model = [f"model.{key}={value}" for key, value in TINY["model"].items()]
    return load_config(None, [*model, f"data.root={folder}", f"data.sets={json.dumps(sets)}", "data.validation=0",
                              "augment.crop=64", "train.batch_size=2", "train.epochs=1", "train.workers=0",
                              "train.learning_rate=0.01", f"train.keypoints={folder}/run", *overrides])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two scenes and a keypoint run of random weights."""
    folder = tmp_path_factory.mktemp("detector")
    write_coco(folder, 2, size=64, people=1)
    (folder / "run").mkdir()
    config = tiny(folder)
    keras.utils.set_random_seed(0)
    backbone = build_backbone(config.model)
    head = keypoints_model(backbone, *keypoint_parts(config.model, backbone))
    weights.save_head("keypoints", head, folder / "run", config, {}, backbone_sha256=weights.fingerprint(backbone))
    return folder


def test_training_writes_a_head_on_the_untouched_backbone(folder, tmp_path):
    metrics = detector.train(tiny(folder), tmp_path / "detector")
    assert list((tmp_path / "detector/tensorboard/pictures").iterdir())
    assert np.isfinite(metrics["loss"]) and {"regression_loss", "classification_loss"} <= set(metrics)
    manifest, _ = weights.read_manifest("detector", tmp_path / "detector")
    assert manifest["backbone_sha256"] == weights.read_manifest("keypoints", folder / "run")[0]["backbone_sha256"]
    _, head, backbone = detector.build(tiny(folder, f"train.init={tmp_path}/detector"))
    features = backbone(np.zeros((1, 64, 64, 3), "float32"))[1:]
    assert ops.convert_to_numpy(head(features)["regression"]).any()


def test_only_pyramid_and_heads_are_trained(folder):
    trainer, head, _ = detector.build(tiny(folder))
    assert {id(weight) for weight in trainer.trainable_weights} == {id(weight) for weight in head.trainable_weights}


@pytest.mark.parametrize("override, message", [
    ("train.keypoints=null", "train.keypoints is not set"),
    ("train.keypoints=nowhere", "nowhere"),
    ("model.fpn_channels=16", "fpn_channels = 8"),
    ("model.backbone=resnet50", "backbone = 'mobilenetv2'"),
])
def test_a_keypoint_run_that_does_not_fit_is_refused(folder, override, message):
    with pytest.raises(UserError, match=message):
        detector.build(tiny(folder, override))


def test_found_boxes_are_drawn_over_those_to_find():
    class Model:
        def predict_on_batch(self, pictures):
            return {"regression": regression[:, :, :4], "classification": labels[:, :, :1] * [[[1.0]], [[0.2]]]}

    boxes = np.array([[10, 12, 50, 60], [70, 20, 120, 110]], "float32")
    target, label = anchors.targets(anchors.anchor_boxes(128, 128), boxes, np.zeros((0, 4)), (128, 128))
    regression, labels = np.stack([target, target]), np.stack([label, label])
    sure, unsure = detector.draw(Model(), np.zeros((2, 128, 128, 3), "uint8"), regression)
    for x1, y1, *_ in boxes.astype(int):
        assert sure[y1, x1].tolist() == [255, 0, 0] and unsure[y1, x1].tolist() == [0, 255, 0]

import gzip
import json

import numpy as np
import pytest
from keras import ops
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from multiposenet import weights
from multiposenet.codecs.person_grid import ENCODER
from multiposenet.config import load_config
from multiposenet.errors import UserError
from multiposenet.models.heads import build_prn
from multiposenet.recipes import prn


def write_annotations(path, people):
    rng = np.random.default_rng(0)
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 300, "width": 300} for i in range(1, people + 1)]
    annotations = [{"id": 10 * i + j, "image_id": i, "bbox": [40 * j, 20, 100, 200], "iscrowd": 0,
                    "keypoints": np.column_stack([rng.uniform([40 * j, 20], [40 * j + 100, 220], (17, 2)),
                                                  np.full(17, 2)]).ravel().tolist()}
                   for i in range(1, people + 1) for j in range(2)]
    path.write_bytes(gzip.compress(json.dumps({"images": images, "annotations": annotations}).encode()))


def config(folder, *overrides):
    return load_config(None, [f"data.root={folder}", "data.sets=[{annotations: people.json.gz}]", "model.prn_hidden=8",
                              "train.epochs=2", "train.batch_size=4", "train.learning_rate=0.001", "train.workers=0",
                              "data.validation=0.3", *overrides])


def test_trains_from_labels_alone_and_comes_back_from_its_folder(tmp_path):
    write_annotations(tmp_path / "people.json.gz", 12)
    settings = config(tmp_path)
    metrics = prn.train(settings, tmp_path / "run")
    assert np.isfinite(metrics["val_loss"])
    shown = EventAccumulator(str(tmp_path / "run/tensorboard/pictures")).Reload().Tensors("predictions")
    assert [event.step for event in shown] == [0, 1]
    model = build_prn(settings.model)
    assert weights.load_head("prn", model, tmp_path / "run")["encoder"] == ENCODER
    started = config(tmp_path, f"train.init={tmp_path / 'run'}", "train.epochs=1", "train.learning_rate=1.0e-9")
    again = prn.train(started, tmp_path / "again")
    assert again["val_loss"] == pytest.approx(metrics["val_loss"], rel=1e-4)
    assert ops.shape(model.weights[0])[0] == 56 * 36 * 17


def test_nobody_to_train_on(tmp_path):
    write_annotations(tmp_path / "people.json.gz", 3)
    with pytest.raises(UserError, match="prn.min_joints = 18"):
        prn.train(config(tmp_path, "prn.min_joints=18", "data.validation=0"), tmp_path / "run")

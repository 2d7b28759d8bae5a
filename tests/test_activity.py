"""The activity classifier and its training."""

import json
import shutil

import keras
import numpy as np
import pytest

from multiposenet import weights
from multiposenet.codecs import pose_vector
from multiposenet.config import Config, parse_config
from multiposenet.data.activity import read_pose_sets
from multiposenet.data.pose_table import PoseTable
from multiposenet.errors import UserError
from multiposenet.models.activity import ActivityClassifier, PoseVector
from multiposenet.recipes import activity as recipe
from multiposenet.skeleton import COCO17
from scenes import ACTIVITIES, draw_scene

K = len(COCO17)


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return ActivityClassifier(2 * K, 4, units=(24, 12))


@pytest.fixture(scope="module")
def people():
    """[keypoints (3, 5, K, 3), boxes (3, 5, 4)] with missing joints, joints far outside and empty boxes."""
    rng = np.random.default_rng(1)
    corner, sides = rng.uniform(0, 90, (3, 5, 2)), rng.uniform(5, 90, (3, 5, 2))
    points = corner[:, :, None] + rng.normal(0.5, 0.6, (3, 5, K, 2)) * sides[:, :, None]
    scores = rng.uniform(0, 1, (3, 5, K, 1)) * (rng.random((3, 5, K, 1)) > 0.2)
    boxes = np.concatenate([corner, corner + sides], axis=-1)
    boxes[0, 3:] = boxes[2] = 0
    return np.concatenate([points, scores], axis=-1).astype("float32"), boxes.astype("float32")


@pytest.fixture(scope="module")
def poses():
    """JSON entries of the people of drawn scenes, as infer.py writes them."""
    entries = []
    for i in range(40):
        for person in draw_scene(np.random.default_rng([7, i]), size=(96, 128), people=4).people:
            x1, y1, x2, y2 = person.box_xyxy.tolist()
            entries.append(dict(file_name=f"{i}.png", bbox=[x1, y1, x2 - x1, y2 - y1], activity=person.activity,
                                keypoints=person.keypoints.ravel().tolist()))
    return entries


def configured(tmp_path, entries, folds=0, **train):
    (tmp_path / "poses.json").write_text(json.dumps(entries))
    train = dict(epochs=3, batch_size=32, learning_rate=1e-2, schedule="plateau", workers=0) | train
    return parse_config(dict(model=dict(activity_units=[32, 16], activity_dropout=0.1), train=train,
                             data=dict(root=str(tmp_path), sets=[dict(annotations="poses.json")], validation=0.2),
                             activity=dict(folds=folds)), "test", Config)


def test_probabilities(model):
    probabilities = keras.ops.convert_to_numpy(model(np.random.default_rng(0).uniform(size=(5, 2 * K))))
    assert probabilities.shape == (5, 4) and probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)


def test_layers_are_the_articles():
    kinds = [type(layer).__name__ for layer in ActivityClassifier(2 * K, 4).layers]
    assert kinds == ["InputLayer", *["Dense", "BatchNormalization", "ReLU", "Dropout"] * 2, "Dense"]
    assert [layer.units for layer in ActivityClassifier().layers if hasattr(layer, "units")] == [3072, 128, 4]


def test_batched_is_single(model):
    vectors = np.random.default_rng(0).uniform(size=(4, 2 * K)).astype("float32")
    single = np.concatenate([model.predict(vector[None], verbose=0) for vector in vectors])
    np.testing.assert_allclose(model.predict(vectors, verbose=0), single, atol=1e-6)


def test_save_and_load(model, tmp_path):
    vectors = np.random.default_rng(0).uniform(size=(4, 2 * K)).astype("float32")
    model.save(tmp_path / "activity.keras")
    loaded = keras.saving.load_model(tmp_path / "activity.keras")
    assert isinstance(loaded, ActivityClassifier) and loaded.get_config() == model.get_config()
    np.testing.assert_allclose(loaded.predict(vectors, verbose=0), model.predict(vectors, verbose=0), atol=1e-6)


@pytest.mark.parametrize("pairs", [[], COCO17.pair_indices])
def test_layer_is_the_codec(people, pairs):
    found = keras.ops.convert_to_numpy(PoseVector(0.3, pairs)(people))
    assert found.shape == (3, 5, pose_vector.size(K, pairs)) and found.any()
    np.testing.assert_allclose(found, pose_vector.encode(*people, 0.3, pairs), atol=1e-5)
    assert not found[2].any()


@pytest.mark.parametrize("pairs", [[], COCO17.pair_indices])
def test_layer_in_a_saved_graph(people, tmp_path, pairs):
    inputs = [keras.Input((None, K, 3)), keras.Input((None, 4))]
    graph = keras.Model(inputs, PoseVector(0.3, pairs, dtype="float32")(inputs))
    assert graph.output_shape == (None, None, pose_vector.size(K, pairs))
    graph.save(tmp_path / "graph.keras")
    found = keras.saving.load_model(tmp_path / "graph.keras").predict(list(people), verbose=0)
    np.testing.assert_allclose(found, pose_vector.encode(*people, 0.3, pairs), atol=1e-5)


def test_mixed_precision_keeps_pixels_and_probabilities():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        keypoints, boxes = np.full((1, 1, K, 3), 2001.25, "float32"), np.float32([[[1999, 1999, 2007, 2009]]])
        vectors = PoseVector()([keypoints, boxes])
        probabilities = ActivityClassifier(2 * K, 4, (8,))(np.ones((1, 2 * K)))
    finally:
        keras.config.set_dtype_policy("float32")
    expected = pose_vector.encode(keypoints, boxes, 0.05)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(vectors), expected, atol=1e-6)
    assert keras.backend.standardize_dtype(probabilities.dtype) == "float32"


@pytest.fixture(scope="module")
def run(tmp_path_factory, poses):
    """(config, run folder, metrics) of a whole training with two folds."""
    folder = tmp_path_factory.mktemp("activity")
    config = configured(folder, poses, folds=2, epochs=3, steps_per_epoch=100)
    return config, folder / "run", recipe.train(config, folder / "run")


def test_learns_drawn_people(run):
    config, folder, metrics = run
    assert metrics["val_accuracy"] > 0.8
    fresh = ActivityClassifier(2 * K, 4, (32, 16))
    manifest = weights.load_head("activity", fresh, folder)
    assert manifest["metrics"] == metrics and manifest["config"].model.activities == ACTIVITIES


def test_cross_validation_resumed_is_the_same(run, tmp_path):
    config, folder, metrics = run
    assert metrics["cross_validation"]["mean"]["f1"] > 0.7 and len(metrics["cross_validation"]["folds"]) == 2
    shutil.copytree(folder / recipe.FOLDS / "1", tmp_path / "1")  # as if killed after the first fold
    table = read_pose_sets(config, COCO17)
    assert recipe.cross_validate(table, config, COCO17, tmp_path, resume=True) == metrics["cross_validation"]


def test_a_finished_run_is_not_overwritten(run):
    config, folder, _ = run
    with pytest.raises(UserError, match="holds a run already"):
        recipe.train(config, folder)


def test_nothing_to_resume(tmp_path, poses):
    with pytest.raises(UserError, match="nothing to resume"):
        recipe.train(configured(tmp_path, poses), tmp_path / "run", resume=True)


def table_of(labels, groups):
    n = len(labels)
    return PoseTable(np.zeros((n, K, 3)), np.zeros((n, 4)), np.array(labels), np.array(groups, object),
                     ("walking", "running"))


def test_folds_keep_a_pictures_people_together():
    table = table_of([0, 1] * 20, [f"{i // 4}.png" for i in range(40)])
    folds = recipe.split(table, 5, seed=0)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(40))
    for learn, test in folds:
        assert not set(table.groups[learn]) & set(table.groups[test])
        assert np.bincount(table.labels[test]).tolist() == [4, 4]


@pytest.mark.parametrize("folds, message", [(1, "at least 2"), (5, "'running' people in at least 5 pictures, found 2")])
def test_impossible_folds(folds, message):
    with pytest.raises(UserError, match=message):
        recipe.split(table_of([0] * 8 + [1] * 2, [str(i) for i in range(10)]), folds, seed=0)

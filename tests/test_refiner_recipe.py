"""What the refiner trains on, that it learns on a keypoint head which stays as it is, and how it is merged."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY
from scenes import JOINT_COLORS, write_coco

from multiposenet import merging, weights
from multiposenet.codecs import person_window
from multiposenet.commands.merge import main as merge_main
from multiposenet.config import load_config
from multiposenet.data.refiner import RefinerSource
from multiposenet.data.sets import read_sets
from multiposenet.errors import UserError
from multiposenet.recipes import refiner
from multiposenet.skeleton import COCO17

CONFIGS = Path(__file__).parents[1] / "configs"
MODEL = {**TINY, "refiner_filters": 8, "refiner_blocks": 1, "refiner_grid": [12, 8], "half_view": 50}


def tiny(folder, *overrides):
    sets = [{"annotations": "annotations.json", "images": "images"}]
    return load_config(None, [f"model={json.dumps(MODEL)}", f"data.root={folder}", f"data.sets={json.dumps(sets)}",
                              "data.validation=0", "augment.crop=96", "augment.rotation_deg=0", "train.batch_size=2",
                              "train.epochs=1", "train.workers=0", "train.learning_rate=0.02",
                              f"train.keypoints={folder}/base.keras", *overrides])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model):
    """Two scenes and a merged model without a refiner."""
    folder = tmp_path_factory.mktemp("refiner")
    write_coco(folder, 2, size=96, people=2)
    weights.save_model(tiny_model, folder / "base.keras")
    return folder


@pytest.fixture(scope="module")
def run(folder):
    """A run folder, its figures and the first epoch's loss."""
    metrics = refiner.train(tiny(folder, "train.epochs=2", "train.steps_per_epoch=30", "augment.scale=[1, 1]",
                                 "augment.shift_px=0", "augment.flip=0", "refiner.box_jitter=0"), folder / "run")
    first = float((folder / "run/log.csv").read_text().splitlines()[1].split(",")[1])
    return folder / "run", metrics, first


def source(folder, *overrides, varied=True):
    config = tiny(folder, *overrides)
    return RefinerSource(read_sets(config.data, config.model.skeleton)[0], config, config.model.skeleton, varied)


@pytest.mark.parametrize("overrides", [
    ["augment.flip=1"], ["augment.flip=0", "augment.mosaic=1", "refiner.people=8"], ["augment.flip=0", "augment.rotation_deg=40"]])
def test_windows_hold_the_joints_that_are_drawn_there(folder, overrides):
    """Every joint is a disc of its own colour, so the crop itself says where it is. In a mirror left is right."""
    colors = JOINT_COLORS[COCO17.mirror_order] if "augment.flip=1" in overrides else JOINT_COLORS
    batches = source(folder, "augment.crop=256", *overrides)
    x, y = batches.load(np.arange(2).repeat(4), np.random.default_rng(0))
    joints = person_window.decode(x["boxes"], y[..., :2], *batches.window)
    assert y[..., 2].sum() > 60
    hits = []
    for picture, places, labelled in zip(x["image"], joints, y[..., 2]):
        for person, k in zip(*np.nonzero(labelled)):
            column, row = places[person, k].round().astype(int)
            near = picture[max(row - 2, 0):row + 3, max(column - 2, 0):column + 3].reshape(-1, 3).astype(int)
            hits.append((np.abs(near - colors[k].astype(int)).sum(axis=1) < 120).any())
    assert np.mean(hits) > 0.7  # others are hidden behind somebody, or too small to keep their colour


def test_nobody_labelled_is_an_error(folder):
    with pytest.raises(UserError, match="labelled joints"):
        RefinerSource([], tiny(folder), tiny(folder).model.skeleton)


def test_it_learns_and_leaves_the_keypoint_head_alone(folder, run, tiny_model):
    workdir, metrics, first = run
    assert metrics["loss"] < 0.9 * first
    assert list((workdir / "tensorboard/pictures").iterdir())
    trainer, head, keypoints = refiner.build(tiny(folder, f"train.init={workdir}"))
    assert {id(weight) for weight in trainer.trainable_weights} == {id(weight) for weight in head.trainable_weights}
    for ours, theirs in zip(keypoints.get_weights(), tiny_model.heads["keypoints"].get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    manifest, _ = weights.read_manifest("refiner", workdir)
    assert manifest["keypoints_sha256"] == weights.fingerprint(tiny_model.heads["keypoints"])


def test_the_shipped_weights_have_the_refiner_of_the_configuration():
    shipped, configured = weights.load_pretrained("lite").config, load_config(CONFIGS / "refiner_lite.yaml").model
    for field in weights.FIELDS["refiner"]:
        assert getattr(shipped, field) == getattr(configured, field)


@pytest.mark.parametrize("override, message", [
    ("train.keypoints=null", "train.keypoints is not set"), ("train.keypoints=nowhere", "nowhere"),
    ("model.fusion_filters=16", "fusion_filters = 8"), ("model.refiner_filters=0", "has no refiner")])
def test_a_head_to_stand_on_that_does_not_fit_is_refused(folder, override, message):
    with pytest.raises(UserError, match=message):
        refiner.build(tiny(folder, override))


def test_merged_with_its_keypoint_head_and_with_no_other(folder, run, tiny_model, tmp_path, capsys):
    base, output = folder / "base.keras", tmp_path / "all.keras"
    merged = merging.merge({"refiner": run[0]}, output, base=base)
    assert merged.config.refiner_filters == 8 and merged.config.half_view == 50
    for name, head in weights.load_model(output).heads.items():
        for ours, theirs in zip(head.get_weights(), merged.heads[name].get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    config = tiny(folder)
    other = tmp_path / "keypoints"
    other.mkdir()
    keypoints = tiny_model.heads["keypoints"]
    before = keypoints.get_weights()
    keypoints.set_weights([before[0] + 1, *before[1:]])
    sha = weights.fingerprint(keypoints.get_layer("backbone"))
    weights.save_head("keypoints", keypoints, other, config, {}, backbone_sha256=sha)
    detector = tmp_path / "detector"
    detector.mkdir()
    weights.save_head("detector", tiny_model.heads["detector"], detector, config, {}, backbone_sha256=sha)
    keypoints.set_weights(before)
    moved = {"keypoints": other, "detector": detector}
    with pytest.raises(UserError, match="another keypoint head"):
        merging.merge(moved, tmp_path / "moved.keras", base=output)
    with pytest.raises(UserError, match="no weights of refiner.*refiner_filters=0"):
        merging.merge(moved, tmp_path / "moved.keras", base=base)
    assert not (tmp_path / "moved.keras").exists()
    arguments = [f"--keypoints={other}", f"--detector={detector}", f"--base={output}", f"--output={tmp_path}/moved.keras"]
    assert merge_main([*arguments, "--set", "model.refiner_filters=0", "--set", "model.half_view=0"]) == 0
    assert set(weights.load_model(tmp_path / "moved.keras").heads) == set(tiny_model.heads)
    assert merge_main([f"--base={output}", f"--output={tmp_path}/x.keras", "--set", "model.half_view=60"]) == 2
    assert "half_view = 60" in capsys.readouterr().err

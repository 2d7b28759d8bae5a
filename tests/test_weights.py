import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from multiposenet import merging, weights
from multiposenet.codecs.person_grid import ENCODER
from multiposenet.commands.merge import main as merge_main
from multiposenet.config import load_config, preset_model
from multiposenet.errors import UserError
from multiposenet.models.multiposenet import MultiPoseNet
from multiposenet.models.heads import build_prn
from multiposenet.skeleton import get_skeleton

from conftest import TINY

CONFIGS = Path(__file__).parents[1] / "configs"
OTHER = dict(name="other", joints=["nose", "tail"])  # a skeleton

@pytest.fixture(scope="module")
def originals(tiny_model, tmp_path_factory):
    """A run folder for each head, all of one model."""
    folder = tmp_path_factory.mktemp("runs")
    config = load_config(None, [f"model={json.dumps(TINY)}"])
    sha = weights.fingerprint(tiny_model.dense.get_layer("backbone"))
    stands_on = {"keypoints": dict(backbone_sha256=sha), "detector": dict(backbone_sha256=sha), "prn": dict(encoder=ENCODER)}
    for head, model in tiny_model.heads.items():
        (folder / head).mkdir()
        weights.save_head(head, model, folder / head, config, {"loss": 1.0}, **stands_on.get(head, {}))
    return folder


@pytest.fixture
def runs(originals, tmp_path):
    """A copy to damage: dict head -> run folder."""
    shutil.copytree(originals, tmp_path, dirs_exist_ok=True)
    return {head.name: head for head in tmp_path.iterdir()}


def edit(file, change):
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


def test_merged_model_is_its_parts(runs, tiny_model, tmp_path):
    merging.merge(runs, tmp_path / "all.keras")
    merged = weights.load_model(tmp_path / "all.keras")
    picture = np.random.default_rng(0).integers(0, 255, (1, 96, 96, 3)).astype("uint8")
    for (key, value), other in zip(sorted(merged.predict_on_batch(picture).items()),
                                   (v for _, v in sorted(tiny_model.predict_on_batch(picture).items()))):
        np.testing.assert_allclose(value, other, rtol=1e-3, atol=1e-3, err_msg=key)
    assert not list(tmp_path.glob("writing*"))


def test_half_precision_keeps_what_is_too_large_for_it(tiny_model, tmp_path):
    model = MultiPoseNet(tiny_model.config)
    variance = next(weight for weight in model.weights if weight.path.endswith("moving_variance"))
    variance.assign(np.linspace(1, 300_000, variance.shape[0]))
    weights.save_model(model, tmp_path / "whole.keras")
    weights.save_model(model, tmp_path / "half.keras", half=True)
    assert (tmp_path / "half.keras").stat().st_size < 0.6 * (tmp_path / "whole.keras").stat().st_size
    for ours, theirs in zip(weights.load_model(tmp_path / "half.keras").get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)


def test_heads_that_are_not_named_come_from_a_merged_model(runs, tiny_model, tmp_path):
    weights.save_model(tiny_model, tmp_path / "base.keras")
    prn = build_prn(tiny_model.config.model_copy(update={"prn_hidden": 9}))
    config = load_config(None, [f"model={json.dumps({**TINY, 'prn_hidden': 9})}"])
    weights.save_head("prn", prn, runs["prn"], config, {}, encoder=ENCODER)
    assert merge_main(["--prn", str(runs["prn"]), "--base", str(tmp_path / "base.keras"),
                       "--output", str(tmp_path / "all.keras")]) == 0
    merged = weights.load_model(tmp_path / "all.keras")
    for head in tiny_model.heads:
        expected = prn if head == "prn" else tiny_model.heads[head]
        for ours, theirs in zip(merged.heads[head].get_weights(), expected.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(UserError, match="no weights of keypoints, activity"):
        merging.merge({head: runs[head] for head in ("detector", "prn")}, tmp_path / "part.keras")
    weights.save_head("keypoints", tiny_model.heads["keypoints"], runs["keypoints"], config, {}, backbone_sha256="moved")
    with pytest.raises(UserError, match="different backbones"):
        merging.merge({"keypoints": runs["keypoints"]}, tmp_path / "part.keras", base=tmp_path / "base.keras")


def test_settings_that_no_weight_depends_on_can_be_changed(tiny_model, tmp_path, capsys):
    weights.save_model(tiny_model, tmp_path / "base.keras")
    arguments = ["--base", str(tmp_path / "base.keras"), "--output", str(tmp_path / "all.keras"), "--set"]
    assert merge_main([*arguments, "model.half_view=200", "--set", "model.nms_iou=0.3"]) == 0
    merged = weights.load_model(tmp_path / "all.keras")
    assert merged.config == tiny_model.config.model_copy(update={"half_view": 200, "nms_iou": 0.3})
    for ours, theirs in zip(merged.get_weights(), tiny_model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for setting, word in (("model.fusion_filters=9", "model.fusion_filters = 9: the weights of keypoints were trained with"),
                          ("train.epochs=2", "only settings of the model"), ("model.half=true", "did you mean half_view")):
        assert merge_main([*arguments, setting]) == 2
        assert word in capsys.readouterr().err


def test_heads_can_be_mixed_with_those_they_began_with(runs, tiny_model, tmp_path, capsys):
    weights.save_model(tiny_model, tmp_path / "base.keras")
    prn = build_prn(tiny_model.config)
    config = load_config(None, [f"model={json.dumps(TINY)}"])
    weights.save_head("prn", prn, runs["prn"], config, {}, encoder=ENCODER)
    base, output = ["--base", str(tmp_path / "base.keras")], ["--output", str(tmp_path / "all.keras")]
    assert merge_main(["--prn", str(runs["prn"]), "--share", "0.25", *base, *output]) == 0
    merged = weights.load_model(tmp_path / "all.keras")
    for ours, theirs, mixed in zip(prn.get_weights(), tiny_model.heads["prn"].get_weights(), merged.heads["prn"].get_weights(),
                                   strict=True):
        np.testing.assert_allclose(mixed, 0.25 * ours + 0.75 * theirs, atol=1e-6)
    for ours, theirs in zip(merged.heads["activity"].get_weights(), tiny_model.heads["activity"].get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    output[1] = str(tmp_path / "none.keras")
    named = [part for head in runs for part in (f"--{head}", str(runs[head]))]
    other = build_prn(tiny_model.config.model_copy(update={"prn_hidden": 9}))
    for arguments, word in ((named, "--base"), (["--prn", str(runs["prn"]), *base, "--share", "1.5"], "between 0 and 1"),
                            ([*named, *base], "no detector was trained")):
        assert merge_main(["--share", "0.5", *arguments, *output]) == 2
        assert word in capsys.readouterr().err
    weights.save_head("prn", other, runs["prn"], load_config(None, [f"model={json.dumps({**TINY, 'prn_hidden': 9})}"]), {},
                      encoder=ENCODER)
    assert merge_main(["--prn", str(runs["prn"]), "--share", "0.5", *base, *output]) == 2
    assert "not the same settings" in capsys.readouterr().err and not (tmp_path / "none.keras").exists()


def test_prn_alone(runs, tiny_model, tmp_path):
    weights.save_model(tiny_model, tmp_path / "all.keras")
    for source in (runs["prn"], runs["prn"] / "prn.weights.h5", tmp_path / "all.keras"):
        prn, config, file = weights.load_prn(source)
        np.testing.assert_array_equal(prn.get_weights()[0], tiny_model.heads["prn"].get_weights()[0])
        assert config.prn_hidden == tiny_model.config.prn_hidden and file.is_file()
    with pytest.raises(UserError, match="no prn.weights.h5"):
        weights.load_prn(tmp_path / "nothing")


def test_manifest_tells_where_weights_come_from(runs):
    manifest, file = weights.read_manifest("prn", runs["prn"])
    assert file.name == "prn.weights.h5" and manifest["encoder"] == ENCODER
    assert {"config", "skeleton", "data", "metrics", "date", "version"} <= set(manifest)
    assert weights.read_manifest("prn", file)[1] == file


def test_moved_backbone_is_refused(runs, tmp_path):
    edit(runs["detector"] / "detector.json", lambda m: m.update(backbone_sha256="0" * 64))
    with pytest.raises(UserError) as error:
        merging.merge(runs, tmp_path / "all.keras")
    for word in ("keypoints.weights.h5", "detector.weights.h5", "different backbones", "train_detector.py"):
        assert word in str(error.value)
    assert not (tmp_path / "all.keras").exists()


@pytest.mark.parametrize("head, field, value", [
    ("detector", "fpn_channels", 16), ("prn", "skeleton", OTHER), ("activity", "skeleton", OTHER)])
def test_parts_that_disagree_are_refused(runs, tmp_path, head, field, value):
    edit(runs[head] / f"{head}.json", lambda m: m["config"]["model"].update({field: value}))
    with pytest.raises(UserError) as error:
        merging.merge(runs, tmp_path / "all.keras")
    for word in ("keypoints.weights.h5", f"{head}.weights.h5", field):
        assert word in str(error.value)


def test_another_grid_encoder_is_refused(runs, tmp_path):
    edit(runs["prn"] / "prn.json", lambda m: m.update(encoder="person_grid-0"))
    with pytest.raises(UserError, match="person_grid-0.*train the PRN again"):
        merging.merge(runs, tmp_path / "all.keras")


def test_weights_that_do_not_fit_are_refused(runs, tmp_path):
    edit(runs["prn"] / "prn.json", lambda m: m["config"]["model"].update(prn_hidden=16))
    with pytest.raises(UserError, match="prn.weights.h5: does not fit"):
        merging.merge(runs, tmp_path / "all.keras")


@pytest.mark.parametrize("damage, word", [
    (lambda folder: (folder / "prn.json").unlink(), "prn.json"),
    (lambda folder: (folder / "prn.json").write_text("{"), "prn.json"),
    (lambda folder: edit(folder / "prn.json", lambda m: m.update(head="activity")), "activity"),
    (lambda folder: edit(folder / "prn.json", lambda m: m["config"].update(modle=1)), "modle"),
    (lambda folder: (folder / "prn.weights.h5").unlink(), "train_prn.py"),
    (lambda folder: (folder / "prn.weights.h5").write_bytes(b"not h5"), "prn.weights.h5"),
    (lambda folder: (folder / "prn.weights.h5").write_bytes((folder / "prn.weights.h5").read_bytes()[:999]),
     "prn.weights.h5"),
])
def test_damaged_parts_are_named(runs, tmp_path, damage, word):
    damage(runs["prn"])
    with pytest.raises(UserError, match=word):
        merging.merge(runs, tmp_path / "all.keras")


def test_output_must_be_a_keras_file(runs, tmp_path):
    with pytest.raises(UserError, match="must end in .keras"):
        merging.merge(runs, tmp_path / "all.h5")
    with pytest.raises(UserError, match="nowhere"):
        merging.merge(runs, tmp_path / "nowhere" / "all.keras")


def test_model_files_that_are_none(tmp_path):
    with pytest.raises(UserError, match="no such model file"):
        weights.load_model(tmp_path / "none.keras")
    (tmp_path / "bad.keras").write_bytes(b"bad")
    with pytest.raises(UserError, match="bad.keras"):
        weights.load_model(tmp_path / "bad.keras")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    with pytest.raises(UserError, match="not a merged MultiPoseNet"):
        weights.load_model(tmp_path / "other.keras")
    for name in ("huge", "some/huge.onnx"):
        with pytest.raises(UserError, match=f"no pretrained weights named '{name}' .there are: lite"):
            weights.load_pretrained(name)


def test_shipped_weights_have_their_presets_sizes():
    """So that `train.init=lite` fits a training of the preset; the refiner is the configuration's, not the preset's."""
    shipped, preset = weights.load_pretrained("lite").config, preset_model("lite")
    for field in sorted({field for head in preset.heads for field in weights.FIELDS[head]}):
        assert getattr(shipped, field) == getattr(preset, field), field


def test_shipped_r50_has_its_configurations_sizes():
    shipped = weights.load_pretrained("r50").config
    for head, name in (("keypoints", "r50_release"), ("detector", "r50_release"), ("refiner", "r50")):
        configured = load_config(CONFIGS / f"{head}_{name}.yaml").model
        for field in weights.FIELDS[head]:
            if "_grid" not in field:
                assert getattr(shipped, field) == getattr(configured, field), field
    assert (shipped.refiner_grid, *shipped.refiner_more_grids) == (load_config(CONFIGS / "refiner_lite.yaml").model.refiner_grid,
                                                                   configured.refiner_grid)  # one reader of each configuration


def test_a_head_starts_from_a_run_or_from_a_merged_model(runs, tiny_model, tiny_config, tmp_path):
    weights.save_model(tiny_model, tmp_path / "all.keras")
    for source in (runs["prn"], tmp_path / "all.keras"):
        fresh = build_prn(tiny_config)
        weights.start_from("prn", fresh, source, tiny_config)
        np.testing.assert_allclose(fresh.get_weights()[0], tiny_model.heads["prn"].get_weights()[0])
    other = build_prn(tiny_config.model_copy(update={"prn_hidden": 9}))
    for source, word in ((tmp_path / "all.keras", "other sizes"), (tmp_path / "none", "no prn.weights.h5")):
        with pytest.raises(UserError, match=word):
            weights.start_from("prn", other, source, tiny_config)


@pytest.mark.parametrize("head", ["keypoints", "detector"])
def test_layers_that_are_added_start_anew_and_none_may_be_lost(head, tiny_model, tiny_config, tmp_path, capsys):
    weights.save_model(tiny_model, tmp_path / "plain.keras")
    larger = MultiPoseNet(tiny_config.model_copy(update={"fpn_context": 1}))
    weights.start_from(head, larger.heads[head], tmp_path / "plain.keras", larger.config)
    assert "start anew: context_first, " in capsys.readouterr().out
    ours = {weight.path: weight for weight in larger.heads[head].weights}
    assert len(ours) > len(tiny_model.heads[head].weights)
    for before in tiny_model.heads[head].weights:
        np.testing.assert_array_equal(ours[before.path], before)
    weights.save_model(larger, tmp_path / "larger.keras")
    with pytest.raises(UserError, match="other sizes than this configuration .context_"):
        weights.start_from(head, tiny_model.heads[head], tmp_path / "larger.keras", tiny_config)


def test_other_joints_start_anew_and_the_rest_is_kept(tiny_model, tiny_config, tmp_path, capsys):
    weights.save_model(tiny_model, tmp_path / "all.keras")
    config = tiny_config.model_copy(update={"skeleton": get_skeleton(OTHER)})
    fresh = build_prn(config)
    weights.start_from("prn", fresh, tmp_path / "all.keras", config)
    printed, kept = capsys.readouterr().out, 0
    for weight, before in zip(fresh.weights, tiny_model.heads["prn"].weights):
        if weight.shape == before.shape:
            np.testing.assert_allclose(weight, before)
            kept += 1
        else:
            assert weight.path.rpartition("/")[0] in printed
    assert 0 < kept < len(fresh.weights)

"""What the refiner trains on, that it learns, what it begins with, and how it is merged."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import TINY
from keras import ops
from scenes import JOINT_COLORS, write_coco

from multiposenet import merging, weights
from multiposenet.codecs import person_window
from multiposenet.commands.merge import main as merge_main
from multiposenet.config import load_config
from multiposenet.data import hindrances
from multiposenet.data import refiner as data
from multiposenet.data.pictures import read_picture
from multiposenet.data.refiner import RefinerSource
from multiposenet.data.sets import read_sets
from multiposenet.errors import UserError
from multiposenet.models.multiposenet import MultiPoseNet
from multiposenet.models.person_windows import PersonWindows
from multiposenet.recipes import refiner
from multiposenet.skeleton import COCO17

CONFIGS = Path(__file__).parents[1] / "configs"
MODEL = {**TINY, "refiner_filters": 8, "refiner_grid": [24, 16]}


def tiny(folder, *overrides):
    sets = [{"annotations": "annotations.json", "images": "images"}]
    return load_config(None, [f"model={json.dumps(MODEL)}", f"data.root={folder}", f"data.sets={json.dumps(sets)}",
                              "data.validation=0", "augment.rotation_deg=0", "augment.scale=[1, 1]", "refiner.half_share=0",
                              "refiner.cut_share=0", "refiner.crowd_share=0", "refiner.coarse_share=0", "refiner.hidden_share=0",
                              "train.batch_size=4", "train.epochs=1", "train.workers=0", "train.learning_rate=0.01",
                              "train.backbone_weights=null", *overrides])


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
    metrics = refiner.train(tiny(folder, "train.epochs=2", "train.steps_per_epoch=30", "augment.flip=0", "refiner.box_jitter=0",
                                 "train.live_batch_norm=true"), folder / "run")
    first = float((folder / "run/log.csv").read_text().splitlines()[1].split(",")[1])
    return folder / "run", metrics, first


def source(folder, *overrides, varied=True):
    config = tiny(folder, *overrides)
    return RefinerSource(read_sets(config.data, config.model.skeleton)[0], config, config.model.skeleton, varied)


@pytest.mark.parametrize("overrides", [
    ["augment.flip=1"], ["augment.flip=0"], ["augment.flip=0", "augment.rotation_deg=40", "augment.scale=[0.8, 1.25]"],
    ["augment.flip=0", "refiner.half_share=1"], ["augment.flip=0", "refiner.cut_share=1"]])
def test_windows_hold_the_joints_that_are_drawn_there(folder, overrides):
    """Every joint is a disc of its own colour, so the window itself says where it is. In a mirror left is right."""
    colors = JOINT_COLORS[COCO17.mirror_order] if "augment.flip=1" in overrides else JOINT_COLORS
    batches = source(folder, "model.refiner_grid=[48, 32]", *overrides)
    windows, places = batches.load(np.arange(4).repeat(4), np.random.default_rng(0))
    assert windows.shape[1:] == (192, 128, 3) and places[..., 2].sum() > 60
    hits = []
    for window, joints in zip(windows, places):
        for k in np.nonzero(joints[:, 2])[0]:
            column, row = ((joints[k, :2] + 0.5) * person_window.STRIDE - 0.5).round().astype(int)
            near = window[max(row - 2, 0):row + 3, max(column - 2, 0):column + 3].reshape(-1, 3).astype(int)
            hits.append((np.abs(near - colors[k].astype(int)).sum(axis=1) < 120).any())
    assert np.mean(hits) > 0.7  # others are hidden behind somebody


def test_training_and_graph_see_the_same_window(folder):
    batches = source(folder, varied=False)
    windows, places = batches.load(np.arange(4), np.random.default_rng(0))
    for window, cells, picture in zip(windows, places, batches.pictures):
        boxes = picture.people[0].box_xyxy[None].astype("float32")
        seen = PersonWindows(batches.grid, batches.margin)([read_picture(picture.file)[None], boxes[None]])
        assert np.median(np.abs(ops.convert_to_numpy(seen)[0, 0] - window)) < 3
        joints = person_window.decode(boxes, cells[None, :, :2], batches.grid, batches.margin)[0]
        labelled = cells[:, 2] > 0
        np.testing.assert_allclose(joints[labelled], picture.people[0].keypoints[labelled, :2], atol=0.01)


def test_coarse_and_hidden_windows_keep_their_joints(folder):
    plain, harder = (source(folder, "augment.flip=0", "refiner.box_jitter=0", *overrides) for overrides in (
        [], ["refiner.coarse_share=1", "refiner.coarsest=0.3", "refiner.hidden_share=1"]))
    (before, places), (after, same) = (it.load(np.arange(4), np.random.default_rng(0)) for it in (plain, harder))
    np.testing.assert_array_equal(places, same)
    assert all((a != b).any() and np.abs(a.astype(int) - b).mean() < 60 for a, b in zip(before, after))


def test_somebody_with_a_segmentation_may_stand_before_the_person(folder):
    calm = ["augment.flip=0", "refiner.box_jitter=0"]
    plain, crowded = (source(folder, f"refiner.crowd_share={share}", *calm) for share in (0, 1))
    (before, places), (after, same) = (it.load(np.arange(4), np.random.default_rng(0)) for it in (plain, crowded))
    np.testing.assert_array_equal(places, same)
    hidden = (before != after).any(axis=-1).mean(axis=(1, 2))
    assert (hidden < 0.6).all() and (hidden > 0.02).sum() > 2
    for picture in crowded.pictures:
        picture.people[0].segmentation = None
    alone = RefinerSource(crowded.pictures, tiny(folder, "refiner.crowd_share=1", *calm), COCO17)
    np.testing.assert_array_equal(alone.load(np.arange(4), np.random.default_rng(0))[0], before)


def test_halves_show_fewer_joints(folder):
    whole, half = (source(folder, f"refiner.half_share={share}") for share in (0, 1))
    counts = [it.load(np.arange(4).repeat(8), np.random.default_rng(0))[1][..., 2].sum() for it in (whole, half)]
    assert 0.3 < counts[1] / counts[0] < 0.95


def test_where_the_picture_ends_nothing_is_left(folder, monkeypatch):
    """Joints, box and pixels end together; the rest of the person is as it was."""
    monkeypatch.setattr(data, "MOST_ENDS", 1)
    batches = source(folder, "refiner.cut_share=1")
    picture, sides, rng = batches.pictures[0], set(), np.random.default_rng(0)
    pixels, box, joints = read_picture(picture.file), picture.people[0].box_xyxy, batches._weighted(picture)
    for _ in range(40):
        seen, part, left, end = batches._part(pixels, box, joints, rng)
        if seen is pixels:  # nothing would have been left
            continue
        kept = left[:, 2] > 0
        assert kept.sum() >= 1 and not (kept & (joints[:, 2] == 0)).any()
        x, y = np.floor(left[kept, :2] + 0.5).astype(int).T
        np.testing.assert_array_equal(seen[y, x], pixels[y, x])
        assert (part[:2] >= box[:2]).all() and (part[2:] <= box[2:]).all()
        gone = (seen != pixels).any(axis=-1)
        assert part[end] != box[end]
        side, = (side for side, edge in enumerate((gone[:, 0], gone[0], gone[:, -1], gone[-1])) if edge.mean() > 0.9)
        assert side == end
        sides.add(side)
        ended = np.moveaxis(gone, 1 - side % 2, 0)
        end = int(part[side])
        assert not (ended[:end] if side > 1 else ended[end:]).any()
        beyond = np.moveaxis(seen, 1 - side % 2, 0)
        assert ((beyond[end:] if side > 1 else beyond[:end]) == batches.settings.border).all()
    assert sides == {0, 1, 2, 3}


def test_an_arm_or_a_head_may_be_all_that_is_left(folder):
    batches = source(folder, "refiner.cut_share=1")
    picture, rng = batches.pictures[0], np.random.default_rng(0)
    pixels, box, joints = read_picture(picture.file), picture.people[0].box_xyxy, batches._weighted(picture)
    counts, ends = [], []
    for _ in range(100):
        seen, part, left, _ = batches._part(pixels, box, joints, rng)
        kept = left[:, 2] > 0
        counts.append(kept.sum())
        gone = (seen != pixels).any(axis=-1)
        ends.append(sum(edge.all() for edge in (gone[:, 0], gone[0], gone[:, -1], gone[-1])))
        assert (part[2:] - part[:2] > 1).all()
        assert (left[kept, :2] >= part[:2] - 1).all() and (left[kept, :2] <= part[2:] + 1).all()
    assert min(counts) >= 1 and 10 < np.sum(np.array(counts) <= 5) < 70
    assert {1, 2} <= set(ends)


def test_joints_of_which_a_teacher_was_unsure_count_less(folder):
    batches = source(folder, "refiner.unsure_weight=0.5", "augment.flip=0", "refiner.box_jitter=0")
    person, = batches.pictures[0].people
    was = person.keypoints.copy()
    places = batches.load([0], np.random.default_rng(0))[1][0]
    raw = np.column_stack([was[:, :2], np.full(17, 0.2)])
    raw[1, 0], raw[2, 2], person.keypoints[:4, 2] = -3, 0.05, 0  # the second lies outside of the picture, the third was not seen
    person.extra["teacher_raw"] = raw.ravel().tolist()
    unsure = batches.load([0], np.random.default_rng(0))[1][0]
    np.testing.assert_array_equal(unsure[:, 2], [0.5, 0, 0, 0.5, *places[4:, 2]])
    np.testing.assert_allclose(unsure[[0, 3, 4], :2], places[[0, 3, 4], :2], atol=1e-4)
    settled = RefinerSource(batches.pictures, tiny(folder, "refiner.unsure_weight=0.5"), COCO17, varied=False)
    assert places[:, 2].sum() > 10 and not settled.load([0], np.random.default_rng(0))[1][0, :4, 2].any()


@pytest.mark.parametrize("flip", [0, 1])
def test_edges_are_where_the_labelled_box_ends(folder, flip):
    batches = source(folder, "model.refiner_boxes=true", f"augment.flip={flip}", "refiner.box_jitter=0.02")
    upright = 0
    for index, rng in enumerate(map(np.random.default_rng, range(40))):
        picture, pixels = batches._readable(index % len(batches))
        box = picture.people[0].box_xyxy
        _, places = batches.view(picture, pixels, rng)
        joints, edges = places[:17], places[17:]
        if not edges[:, 2].any():
            continue  # turned, as half of them are
        upright += 1
        assert edges[:, 2].all()
        known = joints[:, 2] > 0
        labelled = picture.people[0].keypoints[COCO17.mirror_order if flip else slice(None)][known, :2] + 0.5
        scale = (edges[2, 0] - edges[0, 0]) / (box[2] - box[0])  # cells a pixel
        assert (edges[3, 1] - edges[1, 1]) / (box[3] - box[1]) == pytest.approx(scale, rel=1e-3)
        from_left = labelled[:, 0] - box[0] if not flip else box[2] - labelled[:, 0]
        np.testing.assert_allclose(joints[known, 0] - edges[0, 0], scale * from_left, atol=1e-3)
        np.testing.assert_allclose(joints[known, 1] - edges[1, 1], scale * (labelled[:, 1] - box[1]), atol=1e-3)
    assert 10 < upright < 30


@pytest.mark.parametrize("override, known", [
    ("refiner.cut_share=1", {1, 4}), ("refiner.crowd_share=1", {0, 4}), ("refiner.half_share=1", {1, 2, 3, 4})])
def test_edges_that_nobody_knows_are_left_out(folder, monkeypatch, override, known):
    monkeypatch.setattr(data, "UPRIGHT_SHARE", 1)
    batches = source(folder, "model.refiner_boxes=true", override, "refiner.box_jitter=0")
    numbers = {int(batches.load([i % 4], np.random.default_rng(i))[1][0, 17:, 2].sum()) for i in range(30)}
    assert numbers <= known and min(numbers) < 4
    for picture in batches.pictures:
        picture.people[0].extra["box_source"] = "ssd_mobilenet_v2"
    assert not batches.load(np.arange(4), np.random.default_rng(0))[1][:, 17:, 2].any()


def test_patches_show_other_people_too(folder, monkeypatch):
    monkeypatch.setattr(hindrances, "PLAIN_SHARE", 0)
    monkeypatch.setattr(data, "OTHERS_SHARE", 1)
    batches = source(folder, "refiner.hidden_share=1", "augment.flip=0")
    windows = np.stack([np.full((96, 64, 3), value, "uint8") for value in (10, 90, 200)])
    monkeypatch.setattr(batches, "view", lambda picture, pixels, rng: (windows[next(turns)], np.zeros((17, 3), "float32")))
    turns = iter(range(3))
    hidden, _ = batches.load(np.arange(3), np.random.default_rng(0))
    for mine, window, other in zip((10, 90, 200), hidden, (200, 10, 90)):
        assert set(np.unique(window)) == {mine, other}
        assert 0.01 < (window == other).mean() < 0.25


def test_nobody_labelled_is_an_error(folder):
    with pytest.raises(UserError, match="labelled joints"):
        RefinerSource([], tiny(folder), tiny(folder).model.skeleton)


def test_it_learns(folder, run):
    workdir, metrics, first = run
    assert metrics["loss"] < 0.9 * first
    assert list((workdir / "tensorboard/pictures").iterdir())
    head = refiner.build(tiny(folder, f"train.init={workdir}"))
    fresh = refiner.build(tiny(folder))
    weights.load_head("refiner", fresh, workdir)
    for ours, theirs in zip(head.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("backbone, preprocessing", [("mobilenetv2", "torch"), ("resnet50", "caffe")])
def test_it_begins_with_a_keypoint_heads_backbone(folder, tiny_config, backbone, preprocessing):
    keras.utils.set_random_seed(1)
    model = MultiPoseNet(tiny_config.model_copy(update={"backbone": backbone, "preprocessing": preprocessing}))
    weights.save_model(model, folder / "other.keras")
    head = refiner.build(tiny(folder, f"train.keypoints={folder}/other.keras", "train.frozen_stages=2",
                              f"model.refiner_backbone={backbone}"))
    backbone = head.reader.get_layer("reader_backbone")
    for ours, theirs in zip(backbone.get_weights(), model.dense.get_layer("backbone").get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert 0 < len(backbone.trainable_weights) < len(backbone.weights)


def test_edges_can_be_added_to_a_trained_refiner(folder, run, tmp_path, capsys):
    overrides = ["model.refiner_boxes=true", f"train.init={run[0]}", "augment.flip=0", "refiner.box_jitter=0", "train.live_batch_norm=true"]
    begun = refiner.build(tiny(folder, *overrides))
    assert "start anew: edge_logits" in capsys.readouterr().out
    trained = refiner.build(tiny(folder, f"train.init={run[0]}"))
    windows = np.random.default_rng(0).integers(0, 256, (2, 96, 64, 3)).astype("uint8")
    maps, joints = (head.reader.predict_on_batch(windows) for head in (begun, trained))
    assert maps.shape == (2, 24, 16, 21)
    np.testing.assert_allclose(maps[..., :17], joints, atol=1e-4)
    refiner.train(tiny(folder, "train.epochs=2", "train.steps_per_epoch=20", *overrides), tmp_path / "run")
    losses = np.loadtxt(tmp_path / "run/log.csv", delimiter=",", skiprows=1, usecols=1)
    assert losses[1] < losses[0]
    merged = merging.merge({"refiner": tmp_path / "run"}, tmp_path / "all.keras", base=folder / "base.keras")
    assert merged.config.refiner_boxes and weights.load_model(tmp_path / "all.keras").config.refiner_boxes


def test_a_finer_window_begins_with_the_weights_of_a_coarse_one(folder, run):
    finer = refiner.build(tiny(folder, f"train.init={run[0]}", "model.refiner_grid=[48, 32]"))
    coarse = refiner.build(tiny(folder, f"train.init={run[0]}"))
    for one, other in zip(coarse.get_weights(), finer.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert finer.reader.output_shape[1:3] == (48, 32)


def test_the_shipped_weights_have_the_refiner_of_the_configuration():
    shipped, configured = weights.load_pretrained("lite").config, load_config(CONFIGS / "refiner_lite.yaml").model
    for field in weights.FIELDS["refiner"]:
        assert getattr(shipped, field) == getattr(configured, field)


@pytest.mark.parametrize("override, message", [
    ("train.keypoints=nowhere", "nowhere"), ("train.keypoints={}/base.keras", r"a mobilenetv2 .tf., this refiner's is"),
    ("train.init=nowhere", "nowhere"), ("model.refiner_filters=0", "has no refiner"),
    ("model.refiner_more_grids=[[48, 32]]", "readers are trained one by one"),
    ("model.refiner_grid=[30, 16]", "refiner_grid.0: .*multiple of 8")])
def test_a_start_that_does_not_fit_is_refused(folder, override, message):
    with pytest.raises(UserError, match=message):
        refiner.build(tiny(folder, override.format(folder)))


def test_the_mean_of_several_runs(folder, run, tmp_path):
    """The second is a model's whose reader sees finer windows; training goes on from the first."""
    finer = refiner.build(tiny(folder, f"train.init={run[0]}", "model.refiner_grid=[48, 32]"))
    finer.reader.set_weights([0.9 * values for values in finer.reader.get_weights()])
    weights.save_head("refiner", finer, tmp_path, tiny(folder, "model.refiner_grid=[48, 32]"), {})
    one, both = tmp_path / "one.keras", tmp_path / "both.keras"
    merging.merge({"refiner": tmp_path}, one, base=folder / "base.keras")
    assert merge_main(["--base", str(folder / "base.keras"), "--refiner", str(run[0]), str(one), "--output", str(both)]) == 0
    merged = weights.load_model(both)
    assert merged.config.refiner_grid == (24, 16) and merged.config.refiner_more_grids == ((48, 32),)
    for reader, source in zip(merged.heads["refiner"].readers, (run[0], one), strict=True):
        for ours, theirs in zip(reader.get_weights(), weights.trained_head("refiner", source)[0].reader.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    on = refiner.build(tiny(folder, f"train.init={both}"))
    np.testing.assert_array_equal(on.reader.get_weights()[0], merged.heads["refiner"].reader.get_weights()[0])
    with pytest.raises(UserError, match="cannot be mixed"):
        merging.merge({"refiner": [run[0], one]}, one, base=folder / "base.keras", share=0.5)

    before = finer.reader.get_weights()
    finer.reader.set_weights([0.5 * values for values in before])
    (tmp_path / "later").mkdir()
    weights.save_head("refiner", finer, tmp_path / "later", tiny(folder, "model.refiner_grid=[48, 32]"), {})
    mixed = merging.merge({"refiner": [run[0], tmp_path / "later"]}, tmp_path / "mixed.keras", base=both, share=0.4).heads["refiner"]
    for ours, values in zip(mixed.readers[1].get_weights(), before, strict=True):
        np.testing.assert_allclose(ours, (0.4 * 0.5 + 0.6) * values, rtol=1e-5)


def test_merged_into_any_model_of_its_joints(folder, run, tiny_model, tmp_path, capsys):
    base, output = folder / "base.keras", tmp_path / "all.keras"
    merged = merging.merge({"refiner": run[0]}, output, base=base)
    assert merged.config.refiner_filters == 8
    for name, head in weights.load_model(output).heads.items():
        for ours, theirs in zip(head.get_weights(), merged.heads[name].get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    arguments = [f"--base={output}", f"--output={tmp_path}/plain.keras", "--set", "model.refiner_filters=0"]
    assert merge_main(arguments) == 0
    assert set(weights.load_model(tmp_path / "plain.keras").heads) == set(tiny_model.heads)
    assert merge_main([f"--base={base}", f"--output={tmp_path}/x.keras", "--set", "model.refiner_filters=8"]) == 2
    assert "no weights of refiner" in capsys.readouterr().err and not (tmp_path / "x.keras").exists()
    assert merge_main([f"--base={output}", f"--output={tmp_path}/x.keras", "--set", "model.refiner_margin=0.3"]) == 2
    assert "refiner_margin = 0.3" in capsys.readouterr().err

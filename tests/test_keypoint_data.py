import warnings

import numpy as np
import pytest

from multiposenet.codecs import heatmap
from multiposenet.config import load_config
from multiposenet.data.batches import Batches
from multiposenet.data.coco import Person, Picture, read_coco
from multiposenet.data.keypoints import KeypointSource
from multiposenet.data.pictures import read_picture
from multiposenet.data.sets import read_sets
from multiposenet.errors import UserError
from multiposenet.skeleton import COCO17
from scenes import JOINT_COLORS, write_coco


def source_of(folder, *overrides, count=3, **options):
    annotations = write_coco(folder, count)
    config = load_config(None, ["augment.crop=160", *overrides])
    return KeypointSource(read_coco(annotations, folder / "images"), config, COCO17, ["heatmaps"], **options)


def split(y):
    return np.split(y["heatmaps"], 2, axis=-1)


def test_shapes_and_types(tmp_path):
    x, y = source_of(tmp_path).load([0, 2], np.random.default_rng(0))
    assert x.shape == (2, 160, 160, 3) and x.dtype == np.uint8
    assert y["heatmaps"].shape == (2, 40, 40, 36) and y["heatmaps"].dtype == np.float16


@pytest.mark.parametrize("flip, mosaic", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("seed", range(2))
def test_heatmaps_follow_the_crop_and_its_mirror(tmp_path, seed, flip, mosaic):
    """Under a map's peak is the colour of its joint, or in a mirror of the joint on the other side."""
    source = source_of(tmp_path, f"augment.flip={flip}", f"augment.mosaic={mosaic}")
    colors = JOINT_COLORS[COCO17.mirror_order] if flip else JOINT_COLORS
    x, y = source.load([seed % 3], np.random.default_rng(seed))
    maps, hits = split(y)[0][0], []
    for joint, color in enumerate(colors):
        row, column = np.unravel_index(maps[..., joint].argmax(), maps.shape[:2])
        if maps[row, column, joint] > 0.9:
            patch = x[0, 4 * row:4 * row + 4, 4 * column:4 * column + 4].reshape(-1, 3).astype(int)
            hits.append(np.abs(patch - color).sum(axis=1).min() < 90)
    assert len(hits) > 5 and np.mean(hits) > 0.6  # the rest is hidden behind other limbs


def test_mirror_swaps_left_and_right(tmp_path):
    never, always = (source_of(tmp_path / str(p), f"augment.flip={p}", "augment.rotation_deg=0", "augment.shift_px=0",
                               "augment.scale=[1, 1]") for p in (0, 1))
    (_, plain), (_, mirrored) = (source.load([0], np.random.default_rng(3)) for source in (never, always))
    expected = split(plain)[0][:, :, ::-1][..., [*COCO17.mirror_order, len(COCO17)]]
    np.testing.assert_allclose(split(mirrored)[0], expected, atol=0.02)


def picture_with(people, tmp_path):
    write_coco(tmp_path, 1, size=(160, 160))
    file = next((tmp_path / "images").iterdir())
    return Picture(1, "a", file, 160, 160, people)


def person(box, joints=0, **options):
    keypoints = np.zeros((17, 3), "float32")
    keypoints[:joints] = [60, 60, 2]
    return Person(1, np.array(box, "float32"), keypoints, options.pop("crowd", False), 100, None, options)


def still(tmp_path, people, *settings):
    config = load_config(None, ["augment.crop=160", "augment.person_height=0.5", *settings])
    source = KeypointSource([picture_with(people, tmp_path)], config, COCO17, ["heatmaps"], varied=False)
    return split(source.load([0], np.random.default_rng(0))[1])


def test_no_loss_over_crowds_and_people_without_joints(tmp_path):
    main = person([40, 40, 120, 120], joints=5)  # fills half of the crop: scale 1, no shift
    people = [main, person([0, 0, 20, 160]), person([140, 0, 160, 40], crowd=True)]
    _, mask = still(tmp_path, people)
    assert not mask[0, :, :5].any() and not mask[0, :10, 35:].any()
    assert mask[0, :, 6:34].all() and mask[0, 11:, 35:].all()
    _, mask = still(tmp_path, people, "loss.region_weight=0.25")
    assert (mask[0, :, :5] == 0.25).all() and (mask[0, :, 6:34] == 1).all()


def test_no_loss_where_the_teacher_was_unsure(tmp_path):
    raw = np.zeros((17, 3))
    raw[9] = [100, 80, 0.2]
    raw[10] = [50, 80, 0.05]
    people = [person([40, 40, 120, 120], joints=5, teacher_raw=raw.ravel().tolist())]
    _, mask = still(tmp_path, people)
    around = heatmap.disc((100, 80), 21, 160, 160)
    np.testing.assert_array_equal(mask[0, ..., 9] == 0, around)
    np.testing.assert_array_equal(mask[0, ..., 17] == 0, around)  # the background map depends on it
    assert mask[0, ..., 10].all() and mask[0, ..., 0].all()
    _, mask = still(tmp_path, people, "loss.unsure_weight=0.5")
    np.testing.assert_array_equal(mask[0, ..., 9], np.where(around, 0.5, 1))


def test_joints_as_wide_as_their_person_weigh_by_their_width(tmp_path):
    """The crop doubles a person of 40 px, so with a share of 0.05 sigma is 4 px and a cell of the joint weighs (7 / 4)^2."""
    config = load_config(None, ["augment.crop=160", "augment.person_height=0.5", "loss.sigma_share=0.05"])
    picture = picture_with([person([40, 40, 80, 80], joints=1)], tmp_path)
    maps, mask = split(KeypointSource([picture], config, COCO17, ["heatmaps"], varied=False).load(
        [0], np.random.default_rng(0))[1])
    joint = maps[0, ..., 0] > 0
    expected = heatmap.encode_joints(np.array([[[80.5, 80.5, 2]]]), 160, 160, [4])
    np.testing.assert_allclose(maps[0, ..., :1], expected, atol=3e-4)  # of half precision
    np.testing.assert_allclose(mask[0, ..., 0], np.where(joint, (7 / 4) ** 2, 1), rtol=1e-5)
    assert joint.any() and (mask[0, ..., 1:] == 1).all()


def test_segmentation_channel(tmp_path):
    config = load_config(None, ["augment.crop=160", "augment.person_height=0.5", "model.extra_channel=segmentation"])
    picture = picture_with([person([40, 40, 120, 120], joints=5)], tmp_path)
    maps, _ = split(KeypointSource([picture], config, COCO17, ["heatmaps"], varied=False).load(
        [0], np.random.default_rng(0))[1])
    assert maps[0, 10:30, 10:30, 17].all() and maps[0, ..., 17].sum() == 400


def test_picture_that_cannot_be_read_is_replaced_and_reported_once(tmp_path):
    source = source_of(tmp_path)
    source.pictures[1].file.write_bytes(b"no picture")
    with pytest.warns(UserWarning, match=str(source.pictures[1].file.name)):
        x, _ = source.load([1], np.random.default_rng(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again, _ = source.load([1], np.random.default_rng(0))
    np.testing.assert_array_equal(x, again)
    assert len(source.unreadable) == 1


def test_nothing_readable_is_an_error(tmp_path):
    source = source_of(tmp_path)
    for picture in source.pictures:
        picture.file.unlink()
    with pytest.warns(UserWarning), pytest.raises(UserError, match="none of the pictures"):
        source.load([0], np.random.default_rng(0))


def test_batches_are_a_function_of_the_step(tmp_path):
    source = source_of(tmp_path, count=5)
    whole, rest = Batches(source, 2, seed=1, last=6), Batches(source, 2, seed=1, first=3, last=6)
    assert len(whole) == 6 and len(rest) == 3 and whole.steps_per_epoch == 2
    for i in range(3):
        for a, b in zip(whole[3 + i], rest[i]):
            np.testing.assert_array_equal(a["heatmaps"] if isinstance(a, dict) else a,
                                          b["heatmaps"] if isinstance(b, dict) else b)
    assert whole.names(3) == rest.names(3)


def test_an_epoch_shows_every_picture_once():
    class Numbers(KeypointSource):
        def __init__(self):
            self.pictures = list(range(7))

    batches = Batches(Numbers(), 7, seed=2)
    assert sorted(batches.indices(0)) == sorted(batches.indices(1)) == list(range(7))
    assert list(batches.indices(0)) != list(batches.indices(1))


def test_validation_mixes_the_sets_the_same_way_each_time():
    class Numbers(KeypointSource):
        def __init__(self):
            self.pictures = list(range(7))

    batches, other = Batches(Numbers(), 3, seed=1, augment=False), Batches(Numbers(), 3, seed=2, augment=False)
    order = [list(batches.indices(step)) for step in range(3)]
    assert list(map(len, order)) == [3, 3, 1] and sorted(sum(order, [])) == list(range(7)) != sum(order, [])
    assert order == [list(other.indices(step)) for step in range(3)]


def test_batches_that_devices_share_have_no_odd_end():
    class Numbers(KeypointSource):
        def __init__(self, count):
            self.pictures = list(range(count))

        def load(self, indices, rng):
            return indices

    batches = Batches(Numbers(7), 4, augment=False, devices=2)
    assert [len(batches.indices(step)) for step in range(len(batches))] == [4, 2]
    assert Batches(Numbers(7), 8, devices=2).batch_size == 6
    assert [len(Numbers(7).sample(4, devices)) for devices in (1, 2, 3, 5)] == [4, 4, 3, 5]
    with pytest.raises(UserError, match="1 samples cannot be shared"):
        Batches(Numbers(1), 4, devices=2)


def test_sets_are_split_by_picture_and_repeated(tmp_path):
    write_coco(tmp_path, 40, size=(64, 64), people=1)
    config = load_config(None, [f"data.root={tmp_path}", "data.validation=0.3",
                                "data.sets=[{annotations: annotations.json, images: images, repeat: 2}]"])
    training, validation = read_sets(config.data, COCO17)
    names = {picture.name for picture in training}
    assert len(training) == 2 * len(names) and len(names) + len(validation) == 40
    assert validation and not names & {picture.name for picture in validation}
    assert read_picture(training[0].file).shape == (64, 64, 3)


@pytest.mark.parametrize("sets, word", [("[]", "data.sets is empty"), ("[{annotations: annotations.json}]", "folder")])
def test_mistakes_in_sets(tmp_path, sets, word):
    write_coco(tmp_path, 1)
    with pytest.raises(UserError, match=word):
        read_sets(load_config(None, [f"data.root={tmp_path}", f"data.sets={sets}"]).data, COCO17)

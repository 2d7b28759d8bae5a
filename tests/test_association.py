import keras
import numpy as np
import pytest
from keras import ops

from multiposenet.codecs import peaks as reference
from multiposenet.codecs.heatmap import STRIDE, encode_joints
from multiposenet.codecs.person_grid import encode
from multiposenet.models.association import AssignJoints, FindPeaks, PersonGrids, best_each
from multiposenet.models.prn import PoseResidualNetwork

GRID, MARGIN, THRESHOLD, PEAKS = (56, 36), 0.21, 0.3, 12


def scene(seed, batch=1, people=3, joints=4, size=(24, 32)):
    """Smooth random heatmaps (with one map too many, as the background), boxes and scores; the last box is padding."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((batch, size[0] // 2, size[1] // 2, joints + 1))
    heatmaps = 0.8 * coarse.repeat(2, axis=1).repeat(2, axis=2) + 0.2 * rng.random((batch, *size, joints + 1))
    corner = rng.uniform(0, 0.6, (batch, people, 2)) * [4 * size[1], 4 * size[0]]
    boxes = np.concatenate([corner, corner + rng.uniform(8, 80, (batch, people, 2))], axis=-1)
    scores = rng.uniform(0.1, 1, (batch, people))
    boxes[:, -1], scores[:, -1] = 0, 0
    return tuple(array.astype("float32") for array in (heatmaps, boxes, scores))


def graph(prn, joints, people):
    """The people part of the graph with the PRN's output beside the poses; any picture size."""
    heatmaps, boxes, scores = keras.Input((None, None, joints + 1)), keras.Input((people, 4)), keras.Input((people,))
    peaks = FindPeaks(STRIDE, PEAKS, THRESHOLD, joints)(heatmaps)
    grids = PersonGrids(GRID, MARGIN)([boxes, peaks])
    marks = ops.reshape(prn(ops.reshape(grids, (-1, *GRID, joints))), (-1, people, *GRID, joints))
    poses = AssignJoints(GRID, MARGIN, threshold=THRESHOLD)([boxes, scores, peaks, marks, heatmaps])
    return keras.Model([heatmaps, boxes, scores], {"peaks": peaks, "grids": grids, "marks": marks, "poses": poses})


def run(model, *inputs):
    return {key: np.array(value) for key, value in model.predict_on_batch(list(inputs)).items()}


def random_prn(joints, seed=0):
    keras.utils.set_random_seed(seed)
    prn = PoseResidualNetwork(joints, GRID, hidden=8)
    for weight in prn.weights:  # far from uniform, so that the assignment has something to say
        weight.assign(3 * weight)
    return prn


def assigned_peaks(peaks, poses):
    """(people, K) index of the peak each joint stands on, -1 for none."""
    same = (poses[:, :, None, :2] == peaks[None, :, :, :2]).all(axis=-1) & (peaks[None, ..., 2] > 0)
    return np.where(same.any(axis=-1), same.argmax(axis=-1), -1)


@pytest.mark.parametrize("people", [3, 36])
def test_graph_is_the_reference(people):
    joints = 4
    heatmaps, boxes, scores = scene(people, people=people)
    out = run(graph(random_prn(joints), joints, people), heatmaps, boxes, scores)
    peaks = reference.find_peaks(heatmaps[0], joints, PEAKS, THRESHOLD)
    np.testing.assert_allclose(out["peaks"][0], peaks, atol=1e-4)
    candidates = np.broadcast_to(peaks.transpose(1, 0, 2), (people, PEAKS, joints, 3))
    np.testing.assert_allclose(out["grids"][0], encode(boxes[0], candidates, GRID, MARGIN, 1), atol=1e-6)
    poses = reference.assign_joints(boxes[0], scores[0], peaks, out["marks"][0], heatmaps[0], MARGIN, THRESHOLD)
    np.testing.assert_allclose(out["poses"][0], poses, atol=1e-3)


def test_padding_has_no_joints_and_guesses_score_low():
    heatmaps, boxes, scores = scene(5, people=36)
    out = run(graph(random_prn(4), 4, 36), heatmaps, boxes, scores)
    owned = assigned_peaks(out["peaks"][0], out["poses"][0])
    assert (owned[:-1] >= 0).any(axis=0).all(), "every joint is found on somebody"
    assert not out["poses"][0, -1].any()
    assert (out["poses"][0, :-1, :, 2][owned[:-1] < 0] < THRESHOLD).all()


def test_a_batch_is_its_single_pictures_and_any_size_will_do():
    model = graph(random_prn(4), 4, 5)
    for size in ((8, 8), (16, 24)):
        inputs = scene(7, batch=4, people=5, size=size)
        together = run(model, *inputs)
        for i in range(4):
            alone = run(model, *(array[i:i + 1] for array in inputs))
            np.testing.assert_allclose(together["poses"][i], alone["poses"][0], atol=1e-4)


def test_more_places_than_cells():
    heatmaps = np.random.default_rng(0).random((2, 2, 3, 2)).astype("float32")
    peaks = ops.convert_to_numpy(FindPeaks(STRIDE, 50, 0.1, 2)(heatmaps))
    for i in range(2):
        np.testing.assert_allclose(peaks[i], reference.find_peaks(heatmaps[i], 2, 50, 0.1), atol=1e-5)


def test_no_peaks_are_filled_and_no_boxes_are_zeros():
    heatmaps, boxes, scores = scene(9)
    model = graph(random_prn(4), 4, 3)
    empty = run(model, 0 * heatmaps, boxes, scores)
    assert not empty["peaks"].any() and np.isfinite(empty["marks"]).all()
    points = empty["poses"][0, :2]
    assert (points[..., 2] == 0).all()
    assert ((points[..., :2] >= boxes[0, :2, None, :2] - 0.5) & (points[..., :2] <= boxes[0, :2, None, 2:])).all()
    assert not run(model, heatmaps, 0 * boxes, 0 * scores)["poses"].any()


def test_of_equal_values_the_first_is_taken():
    rng = np.random.default_rng(0)
    values = (rng.integers(0, 3, (5, 6, 3, 7)) / 2).astype("float32")
    pairs = ops.convert_to_numpy(best_each(ops.convert_to_tensor(values)))
    for picture, joint in np.ndindex(5, 3):
        owned = reference.best_each(values[picture, :, joint])
        expected = np.zeros((6, 7))
        expected[owned >= 0, owned[owned >= 0]] = 1
        np.testing.assert_array_equal(pairs[picture, :, joint], expected)


def test_one_person_alone_gets_all_joints_whatever_the_weights():
    rng = np.random.default_rng(3)
    joints = np.concatenate([rng.uniform([30, 30], [98, 98], (1, 17, 2)), np.full((1, 17, 1), 2)], axis=-1)
    heatmaps = np.pad(encode_joints(joints, 128, 128), ((0, 0), (0, 0), (0, 1)))[None]
    boxes = np.float32([[[28, 28, 100, 100], [0, 0, 0, 0]]])
    prn = random_prn(17)
    model = graph(prn, 17, 2)
    for sign in (1, -1, 2):
        for weight in prn.weights:
            weight.assign(sign * weight)
        poses = run(model, heatmaps, boxes, np.float32([[0.9, 0]]))["poses"][0]
        np.testing.assert_allclose(poses[0, :, :2], joints[0, :, :2], atol=0.5)
        assert (poses[0, :, 2] > 0).all() and not poses[1].any()


def test_two_people_who_overlap():
    """Both boxes hold both peaks: everybody takes the likelier one, then the one that is left, then a guess."""
    boxes, scores = np.float32([[[0, 0, 72, 112], [36, 0, 108, 112]]]), np.ones((1, 2), "float32")
    heatmaps = np.zeros((1, 32, 32, 1), "float32")
    heatmaps[0, 10, [5, 15], 0] = 0.9, 0.8  # pixels (21.5, 41.5) and (61.5, 41.5)
    marks = np.zeros((1, 2, *GRID, 1), "float32")
    marks[0, 0, 20, 11] = 0.9  # where box 0 has the first peak
    marks[0, 1, 20, [0, 15], 0] = 0.3, 0.6  # the first peak clamps to the border of box 1, the second is near column 13
    layer = AssignJoints(GRID, MARGIN, threshold=THRESHOLD)

    def poses():
        peaks = FindPeaks(STRIDE, 4, THRESHOLD, 1)(heatmaps)
        return ops.convert_to_numpy(layer([boxes, scores, peaks, marks, heatmaps]))[0, :, 0]

    np.testing.assert_allclose(poses(), [[21.5, 41.5, 0.9 * 0.9], [61.5, 41.5, 0.8 * 0.6]], atol=1e-4)
    heatmaps[0, 10, 15] = 0  # one peak for two
    np.testing.assert_allclose(poses(), [[21.5, 41.5, 0.9 * 0.9], [21.5, 41.5, 0.9 * 0.3]], atol=1e-4)
    heatmaps[:] = 0  # the PRN's best cells
    np.testing.assert_allclose(poses(), [[11.5 * 2 - 0.5, 20.5 * 2 - 0.5, 0], [36 + 15.5 * 2 - 0.5, 20.5 * 2 - 0.5, 0]],
                               atol=1e-4)


def test_layers_come_back_from_their_config():
    for layer in (FindPeaks(4, 10, 0.1, 17), PersonGrids(GRID, MARGIN), AssignJoints(GRID, MARGIN, window=7)):
        again = type(layer).from_config(layer.get_config())
        assert again.get_config() == layer.get_config() and again.compute_dtype == "float32"

"""Our detector against keras-retinanet 1.0.0, with the same weights: every part agrees to 1e-5.

keras-retinanet is the reference and nothing else; it runs on TensorFlow alone (extras `retinanet` and `test`).
"""

import keras
import numpy as np
import pytest

from multiposenet.codecs import anchors
from multiposenet.losses import FocalLoss, SmoothL1Loss
from multiposenet.models.fpn import FPN
from multiposenet.models.retinanet import DecodeBoxes, RetinaNetHeads, SelectBoxes

if keras.backend.backend() != "tensorflow":
    pytest.skip("keras-retinanet runs on TensorFlow alone", allow_module_level=True)
pytest.importorskip("keras_retinanet", reason="keras-retinanet is not installed: pip install multiposenet[retinanet]")

from keras_retinanet import layers as their_layers  # noqa: E402
from keras_retinanet import losses as their_losses  # noqa: E402
from keras_retinanet.models.retinanet import retinanet  # noqa: E402
from keras_retinanet.utils import anchors as their_anchors  # noqa: E402

HEIGHT, WIDTH = 96, 160
DEPTHS = {3: 5, 4: 6, 5: 7}  # channels of C3..C5
CLOSE = dict(rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def theirs():
    """Their network on C3..C5 with weights that keep the signal's size, all outputs of the levels exposed."""
    inputs = {f"C{level}": keras.Input((None, None, depth)) for level, depth in DEPTHS.items()}
    model = retinanet(list(inputs.values()), inputs, num_classes=1)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 1 / np.sqrt(np.prod(w.shape[:-1]) or 1), w.shape) for w in model.get_weights()])
    levels = [model.get_layer(f"P{level}").output for level in range(3, 8)]
    return model, keras.Model(model.inputs, [*levels, *model.outputs])


@pytest.fixture(scope="module")
def their_answers(theirs):
    rng = np.random.default_rng(1)
    features = [rng.normal(size=(2, HEIGHT >> level, WIDTH >> level, depth)).astype("float32")
                for level, depth in DEPTHS.items()]
    *levels, regression, classification = theirs[1].predict(features, verbose=0)
    return features, levels, regression, classification


@pytest.fixture(scope="module")
def people():
    rng = np.random.default_rng(2)
    corners = rng.uniform(0, 90, (2, 5, 2))
    return np.concatenate([corners, corners + rng.uniform(20, 70, (2, 5, 2))], axis=-1)


def test_pyramid(theirs, their_answers):
    features, levels, *_ = their_answers
    fpn = FPN(first=3, depths=list(DEPTHS.values()), channels=256, coarse=True)
    for layer in fpn.layers:
        if layer.weights:
            layer.set_weights(theirs[0].get_layer(layer.name).get_weights())
    for ours, expected in zip(fpn.predict(features, verbose=0), levels, strict=True):
        np.testing.assert_allclose(ours, expected, **CLOSE)


def test_head_outputs(theirs, their_answers):
    _, levels, regression, classification = their_answers
    heads = RetinaNetHeads()
    for kind in ("regression", "classification"):
        heads.get_layer(f"{kind}_submodel").set_weights(theirs[0].get_layer(f"{kind}_submodel").get_weights())
    ours = heads.predict(levels, verbose=0)
    np.testing.assert_allclose(ours["regression"], regression, **CLOSE)
    np.testing.assert_allclose(ours["classification"], classification, **CLOSE)
    assert np.ptp(regression) > 0.1 and np.ptp(classification) > 0.1


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (32, 32), (480, 480), (333, 517)])
def test_anchors(shape):
    np.testing.assert_allclose(anchors.anchor_boxes(*shape), their_anchors.anchors_for_shape(shape), **CLOSE)


def test_decoded_boxes(their_answers):
    regression = their_answers[2]
    their_boxes = their_layers.RegressBoxes()([np.repeat(anchors.anchor_boxes(HEIGHT, WIDTH)[None], 2, 0), regression])
    # They stop at the last pixel's coordinate (width - 1), we at the picture's edge (width).
    one_larger = np.zeros((2, HEIGHT + 1, WIDTH + 1, 3), "float32")
    their_boxes = their_layers.ClipBoxes()([one_larger, their_boxes])
    ours = DecodeBoxes()([np.zeros((2, HEIGHT, WIDTH, 3), "float32"), regression])
    np.testing.assert_allclose(ours, their_boxes, **CLOSE)


def test_selected_boxes():
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 80, (2, 100, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (2, 100, 2))], axis=-1).astype("float32")
    scores = rng.random((2, 100)).astype("float32")
    their_boxes, their_scores, _ = their_layers.FilterDetections(max_detections=80)([boxes, scores[..., None]])
    ours, our_scores = SelectBoxes(max_boxes=80, max_candidates=100)([boxes, scores])
    np.testing.assert_allclose(ours, np.maximum(their_boxes, 0), **CLOSE)  # they pad with -1, we with 0
    np.testing.assert_allclose(our_scores, np.maximum(their_scores, 0), **CLOSE)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_training_targets(people, count):
    grid, picture = anchors.anchor_boxes(HEIGHT, WIDTH), np.zeros((HEIGHT - 20, WIDTH - 30, 3))
    annotation = dict(bboxes=people[0, :count], labels=np.zeros(count))
    (their_regression,), (their_labels,) = their_anchors.anchor_targets_bbox(grid, [picture], [annotation], 1)
    regression, labels = anchors.targets(grid, people[0, :count], [], picture.shape[:2])
    np.testing.assert_array_equal(labels, their_labels)
    np.testing.assert_allclose(regression, their_regression, **CLOSE)
    assert (labels[:, 0].sum() > 0) == (count > 0)


@pytest.mark.parametrize("count", [0, 5])
def test_losses(their_answers, people, count):
    *_, regression, classification = their_answers
    grid = anchors.anchor_boxes(HEIGHT, WIDTH)
    targets = [anchors.targets(grid, boxes[:count], [], (HEIGHT, WIDTH)) for boxes in people]
    deltas, labels = map(np.stack, zip(*targets))
    for ours, reference, truth, answer in ((FocalLoss(), their_losses.focal(), labels, classification),
                                           (SmoothL1Loss(), their_losses.smooth_l1(), deltas, regression)):
        np.testing.assert_allclose(float(ours(truth, answer)), float(reference(truth, answer)), **CLOSE)

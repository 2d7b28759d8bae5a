import cv2
import keras
import numpy as np
import pytest
from scenes import noisy_pictures

from multiposenet.errors import UserError
from multiposenet.models.backbone import Backbone, Preprocess, with_folded_norms
from multiposenet.models.fpn import FPN
from multiposenet.models.keypoint_subnet import BilinearUpsampling, IntermediateHeatmaps, KeypointSubnet


@pytest.mark.parametrize("mode", ["caffe", "torch", "tf"])
def test_preprocessing_is_keras_applications(mode):
    picture = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype("float32")
    expected = keras.applications.imagenet_utils.preprocess_input(picture.copy(), mode=mode)
    ours = keras.ops.convert_to_numpy(Preprocess(mode)(picture))
    np.testing.assert_allclose(ours, keras.ops.convert_to_numpy(expected), atol=1e-4)


@pytest.fixture(scope="module")
def mobilenet():
    return Backbone("mobilenetv2", "tf")


def test_taps_have_their_strides(mobilenet):
    features = mobilenet(np.zeros((1, 64, 96, 3), "uint8"))
    assert [f.shape[1:3] for f in features] == [(16, 24), (8, 12), (4, 6), (2, 3)]


def test_batch_norm_is_always_frozen(mobilenet):
    norms = [layer for layer in mobilenet.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms and not any(layer.trainable_weights for layer in norms)
    picture = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
    before = [weight.numpy() if hasattr(weight, "numpy") else np.array(weight) for weight in norms[0].weights]
    trained, still = mobilenet(picture, training=True)[0], mobilenet(picture, training=False)[0]
    np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, (trained, still)), rtol=1e-5)
    np.testing.assert_allclose(before[0], keras.ops.convert_to_numpy(norms[0].weights[0]))


@pytest.mark.parametrize("network", ["mobilenetv2", "resnet50"])
def test_folded_norms_change_nothing(network):
    backbone, rng = Backbone(network, "torch"), np.random.default_rng(0)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    folded, pictures = with_folded_norms(backbone), noisy_pictures(range(2), (64, 96))
    for before, after in zip(backbone(pictures, training=False), folded(pictures, training=True)):
        before = keras.ops.convert_to_numpy(before)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(after), before, atol=1e-4 * before.max())
    assert not folded.trainable_weights and not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)


def test_freezing_goes_up_to_the_stage():
    model = Backbone("mobilenetv2", "tf")
    whole = len(model.trainable_weights)
    model.freeze(0)
    assert len(model.trainable_weights) == whole
    model.freeze(3)
    assert not model.get_layer("block_6_expand").trainable_weights and model.get_layer("block_7_expand").trainable_weights
    model.freeze(5)
    assert not model.trainable_weights


def test_weights_file_of_keras_applications(tmp_path, mobilenet):
    source = keras.applications.MobileNetV2(include_top=False, weights=None)
    source.save_weights(tmp_path / "imagenet.weights.h5")
    mobilenet.load_imagenet(str(tmp_path / "imagenet.weights.h5"))
    np.testing.assert_array_equal(mobilenet.get_layer("Conv1").get_weights()[0], source.get_layer("Conv1").get_weights()[0])


def test_weights_that_are_missing_or_of_another_network(tmp_path, mobilenet):
    with pytest.raises(UserError, match="none.h5: no such backbone weights"):
        mobilenet.load_imagenet("none.h5")
    (tmp_path / "bad.h5").write_bytes(b"bad")
    with pytest.raises(UserError, match="bad.h5: cannot load MobileNetV2"):
        mobilenet.load_imagenet(str(tmp_path / "bad.h5"))


def test_pyramids_and_subnet_shapes():
    depths = [6, 7, 8, 9]
    features = [np.zeros((2, 32 // 2 ** i, 48 // 2 ** i, depth), "float32") for i, depth in enumerate(depths)]
    pyramid = FPN(2, depths, 5)(features)
    assert [p.shape for p in pyramid] == [(2, 32 // 2 ** i, 48 // 2 ** i, 5) for i in range(4)]
    coarse = FPN(3, depths[1:], 5, coarse=True)(features[1:])
    assert [p.shape[1:3] for p in coarse] == [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)]
    assert KeypointSubnet(5, 4, 6, maps=18)(pyramid).shape == (2, 32, 48, 18)
    assert [level.shape for level in IntermediateHeatmaps(5, maps=18)(pyramid)] == [(2, 32, 48, 18)] * 4


@pytest.mark.parametrize("first", [2, 3])
def test_context_reaches_across_the_picture_and_starts_without_effect(first):
    depths = [6, 7, 8, 9][first - 2:]
    sides = [8 * 2 ** i for i in reversed(range(len(depths)))]  # 3 blocks, 7 convolutions, see from end to end of 8 cells
    features = [np.random.default_rng(side).normal(size=(1, side, side, depth)).astype("float32")
                for side, depth in zip(sides, depths)]
    keras.utils.set_random_seed(0)  # of few random channels, ReLU may let none through
    plain, seeing = (FPN(first, depths, 16, coarse=first == 3, context=blocks) for blocks in (0, 3))
    ours = {weight.path: weight for weight in seeing.weights}
    for weight in plain.weights:
        ours[weight.path].assign(weight)
    for one, other in zip(plain(features), seeing(features)):
        np.testing.assert_array_equal(one, other)

    seeing.get_layer("context_last").kernel.assign(np.random.default_rng(0).normal(size=(1, 1, 16, 16)))
    elsewhere = [*features[:-2], features[-2].copy(), features[-1]]
    elsewhere[-2][:, -1, -1] += 10  # C4 at the far corner
    for fpn, reaches in ((plain, False), (seeing, True)):
        corners = [np.array(keras.ops.convert_to_numpy(fpn(x)[0]))[0, 0, 0] for x in (features, elsewhere)]
        assert (np.abs(corners[0] - corners[1]).max() > 1e-6) == reaches


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_upsampling_is_bilinear_between_cell_centres(factor):
    cells = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype("float32")
    layer = BilinearUpsampling(factor)
    fine = keras.ops.convert_to_numpy(layer(cells))
    assert fine.shape == layer.compute_output_shape(cells.shape) and layer.compute_output_shape((None, None, 7, 3))[1] is None
    for one, other in zip(cells, fine):
        np.testing.assert_allclose(other, cv2.resize(one, (7 * factor, 5 * factor)), atol=1e-5)


def test_mixed_precision_gives_float32_heatmaps():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        subnet = KeypointSubnet(4, 4, 4)
        heatmaps = subnet([np.ones((1, 16 // 2 ** i, 16 // 2 ** i, 4), "float32") for i in range(4)])
    finally:
        keras.config.set_dtype_policy("float32")
    assert keras.backend.standardize_dtype(heatmaps.dtype) == "float32"
    assert subnet.get_layer("Z_smooth").compute_dtype == "bfloat16"


def test_padding_of_another_network():
    with pytest.raises(UserError, match="backbone_padding = 'keras_resnet' is for ResNets, not for mobilenetv2"):
        Backbone("mobilenetv2", "tf", "keras_resnet")

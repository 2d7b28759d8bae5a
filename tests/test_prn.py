import keras
import numpy as np
from keras import ops

from multiposenet.models.prn import PersonGridLoss, PoseResidualNetwork

SMALL = dict(joints=3, grid=(6, 4), hidden=8, dropout=0.5)


def grids(people, seed=0):
    return np.random.default_rng(seed).random((people, 6, 4, 3)).astype("float32")


def predict(model, x):
    return ops.convert_to_numpy(model(x, training=False))


def test_softmax_is_over_the_cells_of_each_joint():
    model = PoseResidualNetwork(**SMALL)
    kernel, bias = model.get_layer("residual").weights
    kernel.assign(np.zeros(kernel.shape, "float32"))
    shift = np.random.default_rng(1).random((6, 4, 3)).astype("float32")
    bias.assign(shift.ravel())
    x = 5 * grids(2)
    expected = np.zeros_like(x)
    for person, joint in np.ndindex(2, 3):
        powers = np.exp(x[person, :, :, joint] + shift[:, :, joint])
        expected[person, :, :, joint] = powers / powers.sum()
    np.testing.assert_allclose(predict(model, x), expected, rtol=1e-5)


def test_batched_is_single():
    model, x = PoseResidualNetwork(**SMALL), grids(4)
    singles = np.concatenate([predict(model, x[i:i + 1]) for i in range(4)])
    np.testing.assert_allclose(predict(model, x), singles, rtol=1e-5)


def test_saved_is_loaded(tmp_path):
    model, x = PoseResidualNetwork(**SMALL), grids(2)
    model.save(tmp_path / "prn.keras")
    loaded = keras.saving.load_model(tmp_path / "prn.keras")
    assert loaded.get_config() == model.get_config()
    np.testing.assert_allclose(predict(loaded, x), predict(model, x), rtol=1e-6)


def test_probabilities_are_float32_under_mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        y = PoseResidualNetwork(**SMALL)(grids(2))
    finally:
        keras.config.set_dtype_policy(before)
    assert keras.backend.standardize_dtype(y.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(ops.sum(y, axis=(1, 2))), 1, rtol=1e-5)


def test_loss_is_keras_own_summed_over_a_persons_cells():
    y, p = grids(5), predict(PoseResidualNetwork(**SMALL), grids(5, 1))
    own = float(keras.losses.BinaryCrossentropy()(y, p))
    np.testing.assert_allclose(float(PersonGridLoss()(y, p)), own * 6 * 4 * 3, rtol=1e-5)


def test_it_learns_who_owns_which_joint():
    """Two joints are seen in each map, the owner's is in the lower half."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x, y = np.zeros((2, 256, 6, 4, 3), "float32")
    for person, joint in np.ndindex(256, 3):
        (top, low), columns = rng.integers(0, 3, 2), rng.integers(0, 4, 2)
        x[person, top, columns[0], joint] = x[person, 3 + low, columns[1], joint] = 1
        y[person, 3 + low, columns[1], joint] = 1
    model = PoseResidualNetwork(joints=3, grid=(6, 4), hidden=64, dropout=0.0)
    model.compile(keras.optimizers.Adam(0.01), PersonGridLoss())
    model.fit(x, y, batch_size=64, epochs=20, verbose=0)
    found = predict(model, x).reshape(256, 24, 3).argmax(axis=1)
    assert (found == y.reshape(256, 24, 3).argmax(axis=1)).mean() > 0.95

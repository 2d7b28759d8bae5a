"""Quiet logs, and a tiny model that all tests of the whole graph share."""

import os
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest  # noqa: E402

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and tests send it

TINY = dict(backbone="mobilenetv2", preprocessing="tf", fpn_channels=8, subnet_filters=4, fusion_filters=8,
            head_filters=8, head_depth=1, prn_hidden=8, activity_units=[8, 8], activity_limbs=True, max_people=6, max_candidates=40,
            max_peaks=12, score_threshold=0.0098)


SLOWEST = ("test_end_to_end", "test_export", "test_own_joints", "test_notebooks")  # minutes each


def pytest_collection_modifyitems(items):
    """The slowest files first: of two processes none shall be alone with one in the end."""
    items.sort(key=lambda item: item.path.stem not in SLOWEST)


@pytest.fixture(scope="session")
def tiny_config():
    """ModelConfig with all parts and few weights; its score threshold lets an untrained detector's boxes through."""
    from multiposenet.config import ModelConfig

    return ModelConfig(**TINY)


@pytest.fixture(scope="session")
def tiny_model(tiny_config):
    """An untrained MultiPoseNet whose outputs are not trivial."""
    import keras

    from multiposenet.models.multiposenet import MultiPoseNet

    keras.utils.set_random_seed(3)
    model = MultiPoseNet(tiny_config)
    for head in model.heads.values():
        for weight in head.trainable_weights:  # untrained heads are all but silent: make them speak
            if weight.path.split("/")[-2] in ("heatmaps", "pyramid_classification", "pyramid_regression"):
                if weight.path.endswith("kernel"):
                    weight.assign(weight * 40)
    return model


def with_heads_of(model, config, **changes):
    """Another MultiPoseNet with the same heads, as far as it has them."""
    from multiposenet.models.multiposenet import MultiPoseNet

    other = MultiPoseNet(config.model_copy(update=changes))
    for name, head in model.heads.items():
        other.heads[name].set_weights(head.get_weights())
    return other

import keras
import numpy as np
import pytest

from multiposenet.config import preset_model
from multiposenet.models.heads import build_refiner
from multiposenet.models.summary import count_flops, format_table, summarise


def test_flops_of_known_layers():
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    shared = layers.Conv2D(3, 3, padding="same")
    x = layers.Conv2D(5, 3, strides=2, padding="same")(shared(shared(image)))
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    model = keras.Model(image, layers.Dense(7)(layers.Flatten()(x)))
    expected = 2 * (2 * 64 * 27 * 3 + 16 * 27 * 5 + 16 * 9 * 5 + 80 * 7)
    assert count_flops(model, np.zeros((1, 8, 8, 3))) == expected
    assert "watched" not in layers.Conv2D.call.__qualname__


def test_lite_is_small():
    rows = {name: (parameters, flops) for name, parameters, flops in summarise(preset_model("lite"))[0]}
    assert sum(flops for _, flops in rows.values()) < 14e9
    parameters, flops = rows["half_picture"]
    look = ("backbone", "keypoint_fpn", "keypoint_subnet", "detection_fpn", "retinanet_heads")
    assert not parameters and 0.2 < flops / sum(rows[name][1] for name in look) < 0.35
    assert sum(parameters for name, (parameters, _) in rows.items() if name != "prn") < 10e6
    assert "once a picture" in format_table("lite", *summarise(preset_model("lite"), 64))


def test_a_refiner_is_counted_once_a_person():
    with_one, without = (preset_model("lite").model_copy(update={"refiner_filters": filters}) for filters in (8, 0))
    (rows, people), (plain, two) = summarise(with_one, 128), summarise(without, 128)
    assert (people, two) == (3, 2) and rows[:-1] == plain
    name, parameters, flops = rows[-1]
    assert name == "refiner" and parameters == build_refiner(with_one).count_params()
    window = np.zeros((1, 256, 192, 3), "float32")
    backbone = count_flops(build_refiner(with_one).reader.get_layer("reader_backbone"), window)
    cells = [48 * 4 ** level for level in range(4)]  # of C5..C2
    added = sum(8 * (depth + 9 * 8) * count for depth, count in zip((1280, 576, 192), cells))
    assert flops == backbone + 2 * (added + cells[3] * 8 * (144 + 9 + 8 + 17))
    mirrored = summarise(with_one.model_copy(update={"refiner_mirror": True}), 128)[0][-1]
    assert mirrored == (name, parameters, 2 * flops)


def test_mirror_images_cost_as_much_as_the_looks():
    plain, mirrored = (summarise(preset_model("lite").model_copy(update={"mirror_view": seen}), 128)[0] for seen in (False, True))
    looks = plain[:-2]
    assert mirrored == [*looks, ("mirror images", 0, sum(flops for _, _, flops in looks)), *plain[-2:]]
    assert looks[-1][0] == "half_picture"


@pytest.mark.parametrize("backbone, parameters", [("resnet101", 42_658_176), ("resnet152", 58_370_944)])
def test_deeper_backbones_have_the_published_sizes(backbone, parameters):
    """keras.applications' counts without the top; pixels to C2..C5 at strides 4 to 32."""
    from multiposenet.models.backbone import Backbone

    model = Backbone(backbone, "caffe")
    assert model.count_params() == parameters
    assert model.depths == [256, 512, 1024, 2048]
    shapes = model.compute_output_shape((1, 64, 96, 3))
    assert [shape[1:3] for shape in shapes] == [(16, 24), (8, 12), (4, 6), (2, 3)]

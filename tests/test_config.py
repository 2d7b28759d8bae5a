import pytest

from multiposenet.config import PRESETS, load_config, preset_model, save_config
from multiposenet.errors import UserError


def test_file_overrides_preset_and_command_line_overrides_file(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("preset: lite\nmodel: {fpn_channels: 32}\ntrain: {batch_size: 4}\n")
    config = load_config(file, ["train.batch_size=8", "augment.scale=[0.5, 2]"])
    assert config.model.fpn_channels == 32
    assert config.model.backbone == "mobilenetv2"
    assert config.train.batch_size == 8
    assert config.augment.scale == (0.5, 2)


def test_saved_configuration_reads_back_the_same(tmp_path):
    config = load_config(None, ["data.sets=[{annotations: a.json, images: b}]"], preset="lite")
    save_config(config, tmp_path / "c.yaml")
    assert load_config(tmp_path / "c.yaml") == config


def test_r50_has_the_sizes_of_the_method():
    model = preset_model("r50")
    assert (model.backbone, model.fpn_channels, model.subnet_filters, model.fusion_filters) == ("resnet50", 256, 128, 512)
    assert (model.prn_hidden, model.grid, model.activity_units) == (1024, (56, 36), (3072, 128))


@pytest.mark.parametrize("override, words", [
    ("train.batch_sze=4", ["train.batch_sze", "unknown key", "batch_size"]),
    ("trian.batch_size=4", ["trian", "unknown key", "train"]),
    ("train.batch_size=many", ["train.batch_size", "integer", "many"]),
    ("train.batch_size=0", ["train.batch_size", "greater than 0"]),
    ("train.schedule=sometimes", ["train.schedule", "cosine", "sometimes"]),
    ("augment.scale=[1]", ["augment.scale"]),
    ("data.sets=[{anotations: a}]", ["data.sets.0.annotations", "data.sets.0.anotations"]),
    ("train.batch_size", ["key.subkey=value"]),
    ("train.batch_size.x=1", ["train.batch_size"]),
    ("train.batch_size=[", ["not valid YAML"]),
    ("preset=huge", ["preset", "huge"]),
    ("model=3", ["model"]),
])
def test_mistakes_are_named(override, words):
    with pytest.raises(UserError) as error:
        load_config(None, [override])
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("text, word", [("a: [", "not valid YAML"), ("- 1", "list"), ("\x00", "not valid YAML")])
def test_broken_files_are_named(tmp_path, text, word):
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=word) as error:
        load_config(file)
    assert "broken.yaml" in str(error.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="nothing.yaml"):
        load_config(tmp_path / "nothing.yaml")


def test_unknown_preset_names_the_known_ones():
    with pytest.raises(UserError) as error:
        preset_model("huge")
    assert all(name in str(error.value) for name in PRESETS)

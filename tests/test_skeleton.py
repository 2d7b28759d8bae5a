import json

import numpy as np
import pytest
from pycocotools.cocoeval import Params
from scenes import write_coco

from multiposenet.config import load_config, save_config
from multiposenet.data.coco import read_coco
from multiposenet.errors import UserError
from multiposenet.evaluation.coco import Truth
from multiposenet.skeleton import COCO17, SIGMA, Skeleton, get_skeleton

HAND = "joints: [wrist, left_tip, right_tip]\nlimbs: [[wrist, left_tip]]\nsigmas: 0.05\n"


def category(**fields):
    return dict(images=[], annotations=[], categories=[dict(id=3, **fields)])


def test_skeleton_is_cocos():
    np.testing.assert_allclose(COCO17.sigmas, Params(iouType="keypoints").kpt_oks_sigmas)
    order = COCO17.mirror_order
    np.testing.assert_array_equal(order[order], np.arange(len(COCO17)))
    assert COCO17.joints[order[COCO17.index("left_knee")]] == "right_knee"
    assert order[COCO17.index("nose")] == COCO17.index("nose")


def test_own_joints_from_yaml_survive_the_run_folder(tmp_path):
    (tmp_path / "hand.yaml").write_text(HAND)
    config = load_config(None, [f"model.skeleton={tmp_path}/hand.yaml"])
    skeleton = config.model.skeleton
    assert skeleton == Skeleton("hand", ("wrist", "left_tip", "right_tip"), (("left_tip", "right_tip"),),
                                (("wrist", "left_tip"),), (0.05,) * 3)
    save_config(config, tmp_path / "config.yaml")
    (tmp_path / "hand.yaml").unlink()  # the run holds all it needs
    assert load_config(tmp_path / "config.yaml") == config
    assert "coco17" in load_config().model.model_dump_json()  # by name, as in weights of earlier versions


def test_joints_are_read_from_the_annotations(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(category(name="cat", keypoints=["nose", "tail"], skeleton=[[1, 2]])))
    skeleton = get_skeleton(tmp_path / "a.json")
    assert (skeleton.name, skeleton.joints, skeleton.limb_indices) == ("cat", ("nose", "tail"), [(0, 1)])
    assert skeleton.sigmas == (SIGMA, SIGMA)
    write_coco(tmp_path, 1)
    assert get_skeleton(tmp_path / "annotations.json") is COCO17


@pytest.mark.parametrize("text, word", [
    ("joints: [a, a]", "once"), ("joints: []", "names"), ("limbs: []", "joints are missing"), ("joints: 3", "not a skeleton"),
    ("joints: [a]\nlimbs: [[a, b]]", "'b'"), ("joints: [a, b]\nsigmas: [1]", "1 sigmas"), ("joints: [a]\nsigmas: 0", "above 0"),
    ("joints: [a]\nsigmas: x", "not a skeleton"), ("joints: [a]\ntail: 1", "tail is none of them"), ("- a", "list"),
])
def test_mistakes_in_a_yaml_file_are_named(tmp_path, text, word):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(UserError, match=word) as error:
        get_skeleton(tmp_path / "own.yaml")
    assert "own" in str(error.value)


@pytest.mark.parametrize("fields, word", [
    (dict(name="person"), "no keypoints"), (dict(name="a", keypoints=["a"], skeleton=[[1, 2]]), "from 1 to 1"),
    (dict(name="a", keypoints=["a"], skeleton=[1]), "pairs"),
])
def test_mistakes_in_a_category_are_named(tmp_path, fields, word):
    (tmp_path / "a.json").write_text(json.dumps(category(**fields)))
    with pytest.raises(UserError, match=word):
        get_skeleton(tmp_path / "a.json")


def test_unknown_names_are_mistakes():
    with pytest.raises(UserError, match="coco18"):
        get_skeleton("coco18")
    with pytest.raises(UserError, match="model.skeleton: none.yaml: cannot be read"):
        load_config(None, ["model.skeleton=none.yaml"])


def test_other_categories_are_passed_over(tmp_path):
    path = write_coco(tmp_path, 2)
    people = sum(len(picture.people) for picture in read_coco(path))
    data = json.loads(path.read_text())
    data["categories"] = [dict(data["categories"][0], id=7), dict(id=1, name="dog")]
    dogs = [dict(id=1000, image_id=1, category_id=1, bbox=[0, 0, 9, 9], iscrowd=0, area=81)]
    data["annotations"] = [dict(entry, category_id=7) for entry in data["annotations"]] + dogs
    path.write_text(json.dumps(data))
    pictures = read_coco(path)
    assert sum(len(picture.people) for picture in pictures) == people
    records = [dict(image_id=picture.id, category_id=1, score=1.0, bbox=entry.extra["bbox"],
                    keypoints=entry.keypoints.ravel().tolist()) for picture in pictures for entry in picture.people]
    for kind in ("bbox", "keypoints"):
        assert Truth(path).figures(records, kind)["AP"] == pytest.approx(1)
    data["categories"][0].pop("keypoints")
    data["categories"][0]["name"] = "cat"
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match="which of its 2 categories"):
        read_coco(path)

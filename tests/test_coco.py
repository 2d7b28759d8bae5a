import gzip
import json

import numpy as np
import pytest

from multiposenet.data.coco import Person, read_coco, region_mask
from multiposenet.errors import UserError
from scenes import write_coco


def minimal():
    keypoints = [0] * 51
    keypoints[:3] = [4, 5, 2]
    return {"images": [{"id": 7, "file_name": "a.jpg", "height": 20, "width": 30}],
            "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "keypoints": keypoints,
                             "area": 6, "iscrowd": 0}]}


def written(tmp_path, data):
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(data))
    return file


def test_reads_plain_and_gzipped_alike(tmp_path):
    plain = read_coco(written(tmp_path, minimal()))
    packed = tmp_path / "labels.json.gz"
    packed.write_bytes(gzip.compress(json.dumps(minimal()).encode()))
    for pictures in (plain, read_coco(packed)):
        person = pictures[0].people[0]
        np.testing.assert_allclose(person.box_xyxy, [1, 2, 4, 6])
        assert person.num_joints == 1 and not person.crowd and person.area == 6
        assert pictures[0].file is None


def test_scenes_read_back(tmp_path):
    annotations = write_coco(tmp_path, 2, negatives=1)
    pictures = read_coco(annotations, tmp_path / "images")
    assert len(pictures) == 3
    assert all(picture.file.is_file() for picture in pictures)
    assert sorted(bool(picture.people) for picture in pictures) == [False, True, True]


def test_unlabelled_joints_are_zero(tmp_path):
    data = minimal()
    data["annotations"][0]["keypoints"][3:6] = [9, 9, 0]
    assert not read_coco(written(tmp_path, data))[0].people[0].keypoints[1].any()


def change(path, value):
    def apply(data):
        *parents, last = path
        for key in parents:
            data = data[key]
        if value is None:
            del data[last]
        else:
            data[last] = value
    return apply


@pytest.mark.parametrize("fault, words", [
    (change(["images"], None), ["no list 'images'"]),
    (change(["annotations"], {}), ["no list 'annotations'"]),
    (change(["images", 0, "file_name"], None), ["image number 0", "id 7", "file_name"]),
    (change(["annotations", 0, "bbox"], None), ["annotation number 0", "id 1", "bbox"]),
    (change(["annotations", 0, "bbox"], [1, 2, 3]), ["bbox"]),
    (change(["annotations", 0, "bbox"], [1, 2, -3, 4]), ["bbox"]),
    (change(["annotations", 0, "bbox"], "box"), ["annotation number 0"]),
    (change(["annotations", 0, "bbox"], [1, 2, float("nan"), 4]), ["bbox"]),
    (change(["annotations", 0, "keypoints"], [1, 2]), ["keypoint", "51"]),
    (change(["annotations", 0, "keypoints"], [float("nan")] * 51), ["finite"]),
    (change(["annotations", 0, "teacher_raw"], [1, 2, 0.5]), ["annotation number 0", "teacher_raw", "17 joints"]),
    (change(["annotations", 0, "image_id"], 8), ["image_id 8"]),
    (change(["annotations", 0], 5), ["annotation number 0"]),
    (change(["images", 0, "height"], "tall"), ["image number 0", "tall"]),
])
def test_a_fault_names_its_entry(tmp_path, fault, words):
    data = minimal()
    fault(data)
    with pytest.raises(UserError) as error:
        read_coco(written(tmp_path, data))
    for word in ["labels.json", *words]:
        assert word in str(error.value)


def test_the_same_image_twice(tmp_path):
    data = minimal()
    data["images"] *= 2
    with pytest.raises(UserError, match="id 7 is there twice"):
        read_coco(written(tmp_path, data))


@pytest.mark.parametrize("content", [b"{", b"\x1f\x8b123", b"", b"\xff\xfe\x00", b"3"])
def test_damaged_files_are_named(tmp_path, content):
    file = tmp_path / "labels.json"
    file.write_bytes(content)
    with pytest.raises(UserError, match="labels.json"):
        read_coco(file)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(UserError, match="none.json"):
        read_coco(tmp_path / "none.json")
    with pytest.raises(UserError, match="no such folder"):
        read_coco(written(tmp_path, minimal()), tmp_path / "images")


def test_regions_from_polygon_rle_and_box():
    def person(segmentation):
        return Person(1, np.array([2, 3, 8, 9], "float32"), np.zeros((17, 3)), True, 36, segmentation)

    by_box = region_mask(person(None), 20, 30)
    assert by_box.sum() == 36 and by_box[3:9, 2:8].all()
    polygon = region_mask(person([[2, 3, 8, 3, 8, 9, 2, 9]]), 20, 30)
    np.testing.assert_array_equal(polygon, by_box)
    counts = [43, 6] + [14, 6] * 5
    rle = region_mask(person({"size": [20, 30], "counts": counts + [20 * 30 - sum(counts)]}), 20, 30)
    np.testing.assert_array_equal(rle, by_box)

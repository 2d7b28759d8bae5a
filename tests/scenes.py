"""Drawn scenes: articulated people in four activities, with their exact labels. The fixture of all tests.

Joints are discs of one colour each, so that a tiny network can learn them from a few pictures.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from multiposenet.geometry import xyxy_to_xywh
from multiposenet.skeleton import COCO17

ACTIVITIES = ("walking", "running", "sitting", "standing")

# Shares of a standing person's height.
LENGTHS = dict(torso=.30, thigh=.24, shin=.24, upper_arm=.17, forearm=.16, neck=.12, head=.07, shoulder=.11, hip=.07)

# Degrees from hanging straight down, forward positive: (low, high) of the torso's lean, then of (front, back) limbs.
# Knees bend backward, elbows forward.
POSES = {
    "standing": dict(lean=(-3, 3), thigh=((2, 6), (-6, -2)), knee=((0, 6), (0, 6)), arm=((4, 14), (-14, -4)),
                     elbow=((0, 20), (0, 20))),
    "walking": dict(lean=(0, 6), thigh=((18, 28), (-26, -16)), knee=((0, 12), (8, 25)), arm=((15, 28), (-28, -15)),
                    elbow=((10, 30), (5, 20))),
    "running": dict(lean=(8, 18), thigh=((45, 65), (-35, -15)), knee=((45, 75), (50, 90)), arm=((25, 50), (-60, -35)),
                    elbow=((70, 100), (75, 105))),
    "sitting": dict(lean=(-8, 6), thigh=((75, 92), (70, 88)), knee=((72, 95), (68, 92)), arm=((15, 35), (5, 25)),
                    elbow=((25, 60), (20, 50))),
}

# Hues a step of 7 of 17 apart: left and right, next to each other in the skeleton, look different.
JOINT_COLORS = cv2.cvtColor(np.uint8([[(180 * (7 * i % len(COCO17)) / len(COCO17), 255, 255)
                                       for i in range(len(COCO17))]]), cv2.COLOR_HSV2RGB)[0]


@dataclass
class DrawnPerson:
    """box_xyxy (4,) and keypoints (17, 3: x, y, v) in pixels; segmentation as COCO polygons of the visible part."""

    box_xyxy: np.ndarray
    keypoints: np.ndarray
    activity: str
    segmentation: list
    area: float


@dataclass
class Scene:
    """picture (h, w, 3) uint8 RGB and its people, the farthest first."""

    picture: np.ndarray
    people: list


def draw_scene(rng, size=(192, 256), people=None):
    """A scene of `size` (height, width), or one side for a square, with 2 to 4 people unless `people` says how many.

    Args:
        rng: numpy Generator, the only source of chance.
    """
    height, width = np.broadcast_to(size, 2)
    picture = _background(rng, height, width)
    count = rng.integers(2, 5) if people is None else people
    activities = [ACTIVITIES[i % len(ACTIVITIES)] for i in rng.integers(len(ACTIVITIES)) + np.arange(count)]
    columns = (rng.permutation(count) + rng.uniform(.3, .7, count)) * width / max(count, 1)
    poses, masks = [], []
    for activity, column in zip(activities, columns):
        joints = _pose(rng, activity) * rng.uniform(.55, .8) * min(height, 1.2 * width)
        lowest, middle = joints[:, 1].max(), (joints[:, 0].min() + joints[:, 0].max()) / 2
        joints += (column - middle, height * rng.uniform(.88, .97) - lowest)
        poses.append(joints)
        masks.append(_draw_person(rng, picture, joints))
    return Scene(picture, [_label(pose, activity, mask, masks[i + 1:])
                           for i, (pose, activity, mask) in enumerate(zip(poses, activities, masks))])


def write_coco(folder, count, size=(192, 256), seed=0, people=None, negatives=0):
    """Write `count` scenes and `negatives` empty ones to `folder`/images and `folder`/annotations.json.

    Each annotation carries its `activity` beside the COCO fields.

    Returns:
        Path of the annotation file; the pictures lie in `images` beside it.
    """
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for i in range(count + negatives):
        scene = draw_scene(np.random.default_rng([seed, i]), size, people if i < count else 0)
        name = f"{i + 1:06d}.png"
        cv2.imwrite(str(folder / "images" / name), scene.picture[..., ::-1])
        images.append(dict(id=i + 1, file_name=name, height=scene.picture.shape[0], width=scene.picture.shape[1]))
        annotations += [dict(_record(person), id=len(annotations) + j + 1, image_id=i + 1)
                        for j, person in enumerate(scene.people)]
    category = dict(id=1, name="person", supercategory="person", keypoints=list(COCO17.joints),
                    skeleton=[[a + 1, b + 1] for a, b in COCO17.limb_indices])
    path = folder / "annotations.json"
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=[category])))
    return path


def _record(person):
    return dict(category_id=1, iscrowd=0, activity=person.activity, area=person.area, segmentation=person.segmentation,
                bbox=xyxy_to_xywh(person.box_xyxy).tolist(), keypoints=person.keypoints.round(2).ravel().tolist(),
                num_keypoints=int((person.keypoints[:, 2] > 0).sum()))


def _background(rng, height, width):
    top, bottom = rng.uniform(20, 110, (2, 3))
    picture = np.linspace(top, bottom, height)[:, None] + rng.normal(0, 3, (height, width, 3))
    for _ in range(rng.integers(3, 8)):
        corner, extent = rng.uniform(0, 1, 2) * (width, height), rng.uniform(.05, .4, 2) * (width, height)
        cv2.rectangle(picture, corner.astype(int).tolist(), (corner + extent).astype(int).tolist(),
                      rng.uniform(20, 130, 3).tolist(), -1)
    return picture.clip(0, 255).astype("uint8")


def _pose(rng, activity):
    """(17, 2) joints of a person one unit tall when standing, hips at the origin, y down."""
    size = {name: length * rng.uniform(.92, 1.08) for name, length in LENGTHS.items()}
    ranges, facing, turn = POSES[activity], rng.choice([-1, 1]), rng.uniform(.4, 1)
    order = rng.permutation(2)  # which of left and right is the limb in front

    def along(start, length, degrees):
        angle = np.deg2rad(degrees)
        return start + length * np.array([facing * np.sin(angle), np.cos(angle)])

    lean = rng.uniform(*ranges["lean"])
    chest = along(np.zeros(2), size["torso"], 180 - lean)
    head = along(chest, size["neck"], 180 - lean)
    look = np.array([facing * (1 - turn) * size["head"], 0])
    joints = {"nose": head + look * 1.5 + (0, .01)}
    for i, (side, sign) in enumerate((("left", 1), ("right", -1))):  # seen from the front: left is on the right
        shoulder = chest + (sign * turn * size["shoulder"], 0)
        hip = np.array([sign * turn * size["hip"], 0])
        place = order[i]
        thigh, arm = rng.uniform(*ranges["thigh"][place]), rng.uniform(*ranges["arm"][place])
        knee = along(hip, size["thigh"], thigh)
        elbow = along(shoulder, size["upper_arm"], arm)
        joints |= {f"{side}_eye": head + look + (sign * .025, -.02), f"{side}_ear": head + (sign * .055, -.005),
                   f"{side}_shoulder": shoulder, f"{side}_hip": hip, f"{side}_knee": knee, f"{side}_elbow": elbow,
                   f"{side}_ankle": along(knee, size["shin"], thigh - rng.uniform(*ranges["knee"][place])),
                   f"{side}_wrist": along(elbow, size["forearm"], arm + rng.uniform(*ranges["elbow"][place]))}
    return np.array([joints[name] for name in COCO17.joints])


def _draw_person(rng, picture, joints):
    """Paint one person over the picture and return the silhouette, (h, w) bool."""
    canvas = np.zeros_like(picture)  # no colour below is black, so what is painted is the silhouette
    shirt, trousers, skin = (rng.uniform(80, 200, (3, 3)) * ((1, .5, .7), (.4, .6, 1), (1, .8, .6)) + 20).tolist()
    point = {name: joint.round().astype(int) for name, joint in zip(COCO17.joints, joints)}
    head = np.mean([joints[COCO17.index("left_ear")], joints[COCO17.index("right_ear")]], axis=0)
    height = np.linalg.norm(joints[COCO17.index("left_hip")] - head) / (LENGTHS["torso"] + LENGTHS["neck"])
    thickness = max(2, round(.055 * height))
    torso = [point[name] for name in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]
    cv2.fillPoly(canvas, [np.array(torso)], shirt)
    cv2.polylines(canvas, [np.array(torso)], True, shirt, thickness)
    cv2.line(canvas, head.astype(int), np.mean(torso[:2], axis=0).astype(int), skin, thickness)
    for a, b, color in (("hip", "knee", trousers), ("knee", "ankle", trousers),
                        ("shoulder", "elbow", shirt), ("elbow", "wrist", skin)):
        for side in ("left", "right"):
            cv2.line(canvas, point[f"{side}_{a}"], point[f"{side}_{b}"], color, thickness)
    cv2.circle(canvas, head.round().astype(int), round(.075 * height), skin, -1)
    for joint, color in zip(point.values(), JOINT_COLORS.tolist()):
        cv2.circle(canvas, joint, max(1, round(.02 * height)), color, -1)
    mask = canvas.any(axis=-1)
    picture[mask] = canvas[mask]
    return mask


def _label(joints, activity, mask, nearer):
    """Labels of a person partly hidden by the silhouettes `nearer`."""
    height, width = mask.shape
    hidden = np.any([np.zeros_like(mask), *nearer], axis=0)
    keypoints = np.concatenate([joints, np.full((len(joints), 1), 2)], axis=1)
    x, y = joints.round().astype(int).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    keypoints[~inside] = 0
    keypoints[inside, 2] -= hidden[y[inside], x[inside]]
    rows, columns = np.nonzero(mask)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], "float32")
    visible = mask & ~hidden
    outlines, _ = cv2.findContours(visible.astype("uint8"), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    polygons = [outline.ravel().astype(float).tolist() for outline in outlines if len(outline) > 2]
    return DrawnPerson(box, keypoints.astype("float32"), activity, polygons, float(visible.sum()))


def noisy_pictures(seeds, size):
    """(n, height, width, 3) uint8 scenes under noise: on flat colour all anchors score alike, and ties may fall anyhow."""
    pictures = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        picture = draw_scene(rng, size).picture
        pictures.append(np.clip(picture + rng.normal(0, 40, picture.shape), 0, 255).astype("uint8"))
    return np.stack(pictures)

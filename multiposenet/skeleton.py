"""The joints of a person: names, mirror pairs, limbs and OKS sigmas. Nothing else in the code writes 17.

Your own joints come from the annotations they are in, or from a YAML file, which may say more:

    name: hand                                  # the file's name, if left out
    joints: [wrist, thumb, index, middle, ring, little]
    mirror: []                                  # pairs that swap in a mirror; if left out, left_x with right_x
    limbs: [[wrist, thumb], [wrist, index]]     # to draw; none, if left out
    sigmas: 0.05                                # OKS constants: one for each joint, or one for all; 0.07, if left out
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from multiposenet.errors import UserError
from multiposenet.files import read_json, read_yaml

SEEN = 0.1  # score of a joint that is more than a guess
SIGMA = 0.07  # of a joint nobody has measured: the mean of COCO's


@dataclass(frozen=True, repr=False)
class Skeleton:
    """Joint names in channel order and what is known about them.

    Args:
        name: identifier stored in manifests.
        joints: K joint names; their order is the channel order of every heatmap and pose.
        mirror: pairs of names that swap when a picture is mirrored left to right.
        limbs: pairs of names to connect in drawings.
        sigmas: K OKS constants, as pycocotools' `kpt_oks_sigmas` (Kocabas et al. 2018, section 4).
    """

    name: str
    joints: tuple
    mirror: tuple
    limbs: tuple
    sigmas: tuple

    def __post_init__(self):
        if not self.joints or len(set(self.joints)) != len(self.joints):
            raise UserError(f"skeleton {self.name}: joints must be names, each given once")
        if len(self.sigmas) != len(self.joints):
            raise UserError(f"skeleton {self.name}: {len(self.joints)} joints but {len(self.sigmas)} sigmas")
        for joint in {joint for pair in self.mirror + self.limbs for joint in pair} - set(self.joints):
            raise UserError(f"skeleton {self.name}: {joint!r} is not one of its joints")

    def __len__(self):
        return len(self.joints)

    def __repr__(self):
        return f"{self.name} ({len(self)} joints)"

    def as_dict(self):
        """Plain lists; `skeleton_from` makes the same skeleton of them."""
        return dict(name=self.name, joints=list(self.joints), mirror=[list(pair) for pair in self.mirror],
                    limbs=[list(pair) for pair in self.limbs], sigmas=list(self.sigmas))

    def index(self, joint):
        """Channel of the named joint."""
        return self.joints.index(joint)

    @cached_property
    def mirror_order(self):
        """(K,) int: channel that takes the place of each channel in a mirrored picture."""
        order = np.arange(len(self))
        for left, right in self.mirror:
            order[[self.index(left), self.index(right)]] = self.index(right), self.index(left)
        return order

    @cached_property
    def limb_indices(self):
        """List of (from, to) channel pairs."""
        return [(self.index(a), self.index(b)) for a, b in self.limbs]

    @cached_property
    def pair_indices(self):
        """List of (from, to): the limbs and the mirror pairs that are none, such as both ankles."""
        pairs = [(self.index(a), self.index(b)) for a, b in self.mirror]
        return self.limb_indices + [pair for pair in pairs if pair not in self.limb_indices]


def _sides(*names):
    return tuple((f"left_{name}", f"right_{name}") for name in names)


COCO17 = Skeleton(
    name="coco17",
    joints=("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
            "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
            "left_knee", "right_knee", "left_ankle", "right_ankle"),
    mirror=_sides("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"),
    limbs=(_sides("shoulder", "hip")
           + tuple((f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in
                   (("shoulder", "elbow"), ("elbow", "wrist"), ("shoulder", "hip"), ("hip", "knee"), ("knee", "ankle"),
                    ("eye", "ear"), ("ear", "shoulder")))
           + (("nose", "left_eye"), ("nose", "right_eye"))),
    sigmas=(.026, .025, .025, .035, .035, .079, .079, .072, .072, .062, .062, .107, .107, .087, .087, .089, .089),
)

SKELETONS = {skeleton.name: skeleton for skeleton in (COCO17,)}


def get_skeleton(source):
    """A skeleton from whatever names it.

    Args:
        source: name of a built-in one, path of a YAML file or of COCO annotations (JSON, may be gzipped), a dict of
            what the YAML file would hold, or a `Skeleton`.

    Raises:
        UserError: no such skeleton, or a file or dict that does not describe one.
    """
    if isinstance(source, Skeleton):
        return source
    if isinstance(source, dict):
        return _from_dict(source, "skeleton")
    if isinstance(source, str) and source in SKELETONS:
        return SKELETONS[source]
    path = Path(str(source))
    if path.suffix in (".yaml", ".yml"):
        return _from_dict({"name": path.stem, **read_yaml(path)}, path)
    if path.suffix in (".json", ".gz"):
        return _from_category(person_category(read_json(path), path), path)
    raise UserError(f"no skeleton named {source!r}; known: {', '.join(SKELETONS)}, or give a .yaml file or COCO annotations")


def skeleton_of(annotations):
    """The joints that a COCO annotation file is about: its category's, or COCO's where it names none.

    Raises:
        UserError: see `get_skeleton`, `person_category`.
    """
    category = person_category(read_json(annotations), annotations)
    return _from_category(category, Path(annotations)) if category and category.get("keypoints") else COCO17


def person_category(data, path):
    """The category of a COCO annotation file that means people: the one with keypoints, else "person", else the only one.

    Returns:
        Its dict, or None in a file without categories.

    Raises:
        UserError: there are several, and none of them stands out.
    """
    categories = data.get("categories") if isinstance(data, dict) else None
    if not categories:
        return None
    named = [category for category in (categories if isinstance(categories, list) else [])
             if isinstance(category, dict) and "id" in category]
    for chosen in ([c for c in named if c.get("keypoints")], [c for c in named if c.get("name") == "person"], named):
        if len(chosen) == 1:
            return chosen[0]
    raise UserError(f"{path}: which of its {len(named)} categories are people? One must have keypoints or be named person")


def _from_category(category, path):
    joints = (category or {}).get("keypoints")
    if not joints or not isinstance(joints, list):
        raise UserError(f"{path}: its category names no keypoints, so it says nothing of joints")
    if tuple(joints) == COCO17.joints:
        return COCO17
    try:
        limbs = [(joints[a - 1], joints[b - 1]) for a, b in category.get("skeleton") or ()]  # COCO counts from 1
    except (IndexError, TypeError, ValueError):
        raise UserError(f"{path}: the category's skeleton must be pairs of numbers from 1 to {len(joints)}") from None
    return _from_dict(dict(name=str(category.get("name", path.stem)), joints=joints, limbs=limbs,
                           sigmas=category.get("sigmas", SIGMA)), path)


def _from_dict(tree, source):
    unknown = set(tree) - set(Skeleton.__dataclass_fields__)
    if unknown or "joints" not in tree:
        raise UserError(f"{source}: a skeleton has name, joints, mirror, limbs and sigmas; "
                        + (f"{', '.join(sorted(map(str, unknown)))} is none of them" if unknown else "joints are missing"))
    try:
        joints = tuple(map(str, tree["joints"]))
        sigmas = tree.get("sigmas", SIGMA)
        sigmas = tuple(map(float, sigmas if np.ndim(sigmas) else [sigmas] * len(joints)))
        mirror = tree.get("mirror", _by_name(joints))
        mirror, limbs = (tuple((str(a), str(b)) for a, b in pairs) for pairs in (mirror, tree.get("limbs") or ()))
    except (TypeError, ValueError) as error:
        raise UserError(f"{source}: not a skeleton: joints are names, mirror and limbs pairs of them, sigmas numbers "
                        f"({error})") from None
    if not all(0 < sigma < np.inf for sigma in sigmas):
        raise UserError(f"{source}: sigmas must be above 0")
    return Skeleton(str(tree.get("name", "own")), joints, mirror, limbs, sigmas)


def _by_name(joints):
    return [(joint, joint.replace("left", "right")) for joint in joints
            if "left" in joint and joint.replace("left", "right") in joints]

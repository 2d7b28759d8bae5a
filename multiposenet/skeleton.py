"""The joints of a person: names, mirror pairs, limbs and OKS sigmas. Nothing else in the code writes 17."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from multiposenet.errors import UserError


@dataclass(frozen=True)
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
        if len(self.sigmas) != len(self.joints):
            raise UserError(f"skeleton {self.name}: {len(self.joints)} joints but {len(self.sigmas)} sigmas")
        for joint in {joint for pair in self.mirror + self.limbs for joint in pair} - set(self.joints):
            raise UserError(f"skeleton {self.name}: {joint!r} is not one of its joints")

    def __len__(self):
        return len(self.joints)

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


def get_skeleton(name):
    """The skeleton of that name.

    Raises:
        UserError: no such skeleton.
    """
    if name not in SKELETONS:
        raise UserError(f"no skeleton named {name!r}; known: {', '.join(SKELETONS)}")
    return SKELETONS[name]

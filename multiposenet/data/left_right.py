"""People whose left and right joints look exchanged. A suspicion from anatomy, not a proof.

Seen from the front a person's left is on the right-hand side of the way up his body, seen from behind on the left-hand
side, however he lies in the picture. Shoulders and hips must agree about it, for nobody twists them by much more than a
right angle; and who shows both eyes and his nose is seen from the front.
"""

import numpy as np

WIDE = 0.25  # of the torso's length: shoulders or hips so far apart sideways are no matter of a joint's exact place
FROM_BEHIND = 0.5  # shoulders this far apart on the wrong side: the back is turned, and no neck brings the face round
EYES = 0.05  # of the torso's length; seen from the front they are about 0.12 apart
SHORT = 0.2  # of the box's longer side: a torso below it points at the camera, and directions mean little
UNLABELLED = (0, 0, 0)


def exchanged_sides(person, skeleton):
    """How a person's sides contradict each other.

    Args:
        person: `coco.Person`.
        skeleton: `Skeleton`; without COCO's names of shoulders and hips nothing can be said.

    Returns:
        (text, size), size growing with the contradiction, or None.
    """
    joints = dict(zip(skeleton.joints, person.keypoints))

    def pair(name):
        """(left, right) points, or None unless both are labelled."""
        found = [joints.get(f"{side}_{name}", UNLABELLED) for side in ("left", "right")]
        return np.array(found)[:, :2] if all(joint[2] for joint in found) else None

    shoulders, hips, eyes = (pair(name) for name in ("shoulder", "hip", "eye"))
    if shoulders is None or hips is None:
        return None
    up = shoulders.mean(axis=0) - hips.mean(axis=0)
    length = np.linalg.norm(up)
    if length < SHORT * (person.box_xyxy[2:] - person.box_xyxy[:2]).max():
        return None
    shoulder, hip = (_sideways(points, up) / length for points in (shoulders, hips))
    if shoulder * hip < 0 and min(abs(shoulder), abs(hip)) > WIDE:
        return "shoulders and hips disagree about left and right", min(abs(shoulder), abs(hip))
    if eyes is None or not joints.get("nose", UNLABELLED)[2]:
        return None
    eye = _sideways(eyes, up) / length
    if eye > EYES and shoulder < -FROM_BEHIND:
        return "the face is seen, but left and right shoulder lie as seen from behind", -shoulder
    upright = _sideways(eyes, eyes.mean(axis=0) - joints["nose"][:2])
    if eye < -EYES and upright < 0:
        return "left and right eye lie the wrong way round, or the face is not seen at all", -eye
    return None


def _sideways(points, up):
    """How far left lies from right, positive as seen from the front, in pixels; (left, right) points."""
    across = np.array([-up[1], up[0]]) / max(np.linalg.norm(up), 1e-6)
    return float((points[0] - points[1]) @ across)

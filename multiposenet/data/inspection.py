"""Faults of a COCO-format set, found by looking at every label and every picture."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Optional

from multiposenet import geometry
from multiposenet.data import duplicates
from multiposenet.data.left_right import exchanged_sides
from multiposenet.data.pictures import read_picture
from multiposenet.errors import UserError
from multiposenet.files import sha256

# Kind of finding -> what it means. Errors are wrong for certain, suspects want a look.
ERRORS = {
    "picture_unreadable": "a picture is missing or cannot be decoded",
    "picture_size": "the file has another size than the JSON says",
    "picture_twice": "the same file is in the set twice",
    "picture_in_both": "the same file is in the other set",
    "box_empty": "a box has no area",
    "box_off_picture": "a box reaches beyond the picture",
    "joint_off_picture": "a labelled joint lies outside the picture",
    "joint_count": "num_keypoints is not the number of labelled joints",
}
SUSPECTS = {
    "joint_off_box": "a joint lies far outside its person's box",
    "left_right": "left and right joints look exchanged",
    "picture_nearly_twice": "two pictures of the set look alike",
    "picture_nearly_in_both": "a picture looks like one of the other set",
}
SLACK_PX = 1  # rounding of annotation tools
OFF_BOX = 0.2  # of the box's longer side; COCO's boxes hug what is seen, and 0.6 % of its joints lie farther out


@dataclass
class Finding:
    """What is wrong, and where; `size` grows with the fault, within one kind."""

    kind: str
    text: str
    picture: Any  # coco.Picture
    person: Any = None  # coco.Person
    other: Any = None  # coco.Picture, of pairs
    size: float = 0.0

    @property
    def line(self):
        """The finding in one line."""
        place = f", annotation {self.person.id}" if self.person else ""
        return f"{self.picture.name}{place}: {self.text}"

    def as_dict(self):
        """For JSON."""
        return dict(kind=self.kind, error=self.kind in ERRORS, file=self.picture.name,
                    annotation=self.person.id if self.person else None, text=self.text, size=round(float(self.size), 3))


@dataclass
class Scan:
    """What was seen of a picture's file: hash of its bytes, look, and fault."""

    hash: Optional[str] = None
    look: Any = None
    finding: Optional[Finding] = None


def count(pictures, skeleton):
    """Figures of a set: pictures, people, crowds, people per picture, labelled joints by name."""
    people = [person for picture in pictures for person in picture.people if not person.crowd]
    per_picture = Counter(sum(not person.crowd for person in picture.people) for picture in pictures)
    joints = {name: sum(int(person.keypoints[i, 2] > 0) for person in people) for i, name in enumerate(skeleton.joints)}
    return dict(pictures=len(pictures), people=len(people), people_with_joints=sum(bool(p.num_joints) for p in people),
                crowds=sum(person.crowd for picture in pictures for person in picture.people),
                pictures_by_people=dict(sorted(per_picture.items())), labelled_joints=joints)


def label_findings(picture, skeleton):
    """Findings about the labels of one picture, without its pixels."""
    of_all, of_people = (_box,), (_joint_count, _joints_off_picture, _joints_off_box, _left_right)
    for person in picture.people:
        for check in of_all if person.crowd else of_all + of_people:
            if found := check(picture, person, skeleton):
                kind, text, size = found
                yield Finding(kind, text, picture, person, size=size)


def scan(picture):
    """`Scan` of one picture with a file."""
    try:
        pixels = read_picture(picture.file)
    except UserError as error:
        return Scan(finding=Finding("picture_unreadable", str(error), picture))
    finding = None
    if pixels.shape[:2] != (picture.height, picture.width):
        height, width = pixels.shape[:2]
        turned = ", as if turned" if (width, height) == (picture.height, picture.width) else ""
        finding = Finding("picture_size", f"{width} x {height} pixels, the JSON says {picture.width} x {picture.height}"
                          f"{turned}", picture, size=abs(height - picture.height) + abs(width - picture.width))
    return Scan(sha256(picture.file), duplicates.look(pixels), finding)


def pair_findings(pictures, scans, others=None, other_scans=None):
    """Findings about pictures that are there twice: in one set, or in `others` too. Equal files are said once."""
    ours = [(picture, found) for picture, found in zip(pictures, scans) if found.hash]
    theirs = None if others is None else [(p, found) for p, found in zip(others, other_scans) if found.hash]
    place, suffix = ("", "twice") if others is None else (" of the other set", "in_both")
    same = duplicates.same_files(*_column(ours, theirs, "hash"))
    seen = {i for i, _ in same}
    near = [pair for pair in duplicates.near_looks(*_column(ours, theirs, "look")) if pair[0] not in seen]
    second = ours if theirs is None else theirs
    for i, j in same:
        yield Finding(f"picture_{suffix}", f"the same bytes as {second[j][0].name}{place}", ours[i][0],
                      other=second[j][0])
    for i, j, similarity in near:
        yield Finding(f"picture_nearly_{suffix}", f"looks like {second[j][0].name}{place}, similarity {similarity:.2f}",
                      ours[i][0], other=second[j][0], size=similarity)


def _column(ours, theirs, name):
    return [None if rows is None else [getattr(found, name) for _, found in rows] for rows in (ours, theirs)]


def _box(picture, person, _):
    x1, y1, x2, y2 = person.box_xyxy.tolist()
    box = f"box {x1:g}, {y1:g} to {x2:g}, {y2:g}"
    if geometry.area(person.box_xyxy) == 0:
        return "box_empty", f"{box} has no area", 0
    beyond = max(-x1, -y1, x2 - picture.width, y2 - picture.height)
    if beyond > SLACK_PX:
        return "box_off_picture", f"{box} reaches {beyond:.0f} px beyond {picture.width} x {picture.height}", beyond
    return None


def _joint_count(picture, person, _):
    said = person.extra.get("num_keypoints", person.num_joints)
    if said == person.num_joints:
        return None
    return "joint_count", f"num_keypoints is {said}, labelled are {person.num_joints}", 0


def _joints_off_picture(picture, person, skeleton):
    edges = (0, 0, picture.width - 1, picture.height - 1)
    names, beyond = _beyond(person, edges, SLACK_PX, skeleton)
    return names and ("joint_off_picture", f"{names} up to {beyond:.0f} px outside the picture", beyond)


def _joints_off_box(picture, person, skeleton):
    longer = (person.box_xyxy[2:] - person.box_xyxy[:2]).max()
    names, beyond = _beyond(person, person.box_xyxy, max(OFF_BOX * longer, SLACK_PX), skeleton)
    if not names or not longer:
        return None
    share = beyond / longer
    return "joint_off_box", f"{names} up to {beyond:.0f} px outside the box, {share:.0%} of its longer side", share


def _left_right(picture, person, skeleton):
    found = exchanged_sides(person, skeleton)
    return found and ("left_right", *found)


def _beyond(person, edges, allowed, skeleton):
    """Names of the labelled joints farther than `allowed` outside `edges` (x1, y1, x2, y2), and the farthest, in px."""
    x, y, v = person.keypoints.T
    outside = [max(edges[0] - a, edges[1] - b, a - edges[2], b - edges[3]) if c else 0 for a, b, c in zip(x, y, v)]
    names = [name for name, px in zip(skeleton.joints, outside) if px > allowed]
    return ", ".join(names), max(outside)

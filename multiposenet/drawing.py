"""People drawn on pictures with supervision's annotators."""

import colorsys

import cv2
import numpy as np

JPEG_SIDE = 65_500  # the format's longest
SMALLEST_SIDE = 480  # below it there is no room for labels that can be read


def draw_people(picture, people, skeleton, joint_threshold=0.1):
    """Boxes, skeletons and activities, one colour a person; those of a video keep their colour and show their number.

    Lines and text grow with the picture. A picture whose longer side is below `SMALLEST_SIDE` is enlarged
    by a whole factor.

    Args:
        picture: (h, w, 3) uint8 RGB; it is not changed.
        people: `prediction.Person` objects.
        skeleton: `Skeleton` whose limbs are drawn.
        joint_threshold: joints with a lower score are left out, and so are their limbs.

    Returns:
        (h * factor, w * factor, 3) uint8 RGB.
    """
    import supervision as sv  # a second to import, and only drawing needs it

    factor = -(-SMALLEST_SIDE // max(picture.shape[:2]))
    canvas = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    if not people:
        return canvas
    side = np.prod(canvas.shape[:2]) ** 0.5
    thickness = max(1, round(side / 300))
    numbers = [i if person.track_id is None else person.track_id - 1 for i, person in enumerate(people)]
    colors = sv.ColorPalette([sv.Color(*person_color(i)[::-1]) for i in numbers])  # it draws on BGR, ours is RGB
    edges = [(a + 1, b + 1) for a, b in skeleton.limb_indices]  # supervision counts joints from 1
    by_person = dict(color=colors, color_lookup=sv.ColorLookup.INDEX)
    boxes = sv.Detections(np.array([person.box_xyxy for person in people], "float32") * factor)
    canvas = sv.BoxAnnotator(thickness=thickness, **by_person).annotate(canvas, boxes)
    for i, person in enumerate(people):
        joints = sv.KeyPoints(xy=((person.keypoints[None, :, :2] + 0.5) * factor - 0.5).round(),
                              visible=person.keypoints[None, :, 2] >= joint_threshold)
        limbs = sv.EdgeAnnotator(colors.by_idx(i), thickness, edges)
        dots = sv.VertexAnnotator(sv.Color.WHITE, radius=thickness)
        canvas = dots.annotate(limbs.annotate(canvas, joints), joints)
    text = max(0.4, side / 1200)
    labels = sv.LabelAnnotator(text_color=sv.Color.BLACK, text_scale=text, text_thickness=max(1, round(1.5 * text)),
                               text_padding=round(6 * text), smart_position=True, **by_person)
    return labels.annotate(canvas, boxes, [caption(person) for person in people])


def heat_overlay(picture, heatmap):
    """A heatmap over its picture, brighter where it is higher; where there is no heat the picture stays as it is.

    Args:
        picture: (h, w, 3) uint8 RGB; it is not changed.
        heatmap: (h / 4, w / 4) floats, shown from 0 to 1.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    heat = cv2.resize(np.clip(heatmap, 0, 1).astype("float32"), picture.shape[1::-1])
    colors = cv2.applyColorMap(np.uint8(255 * heat), cv2.COLORMAP_INFERNO)[..., ::-1]
    return np.uint8(picture + heat[..., None] * (colors - picture.astype("float32")))


def draw_boxes(picture, boxes_xyxy, color):
    """A copy of the picture with bare boxes, for a look at a training; `draw_people` is for people to see.

    Args:
        picture: (h, w, 3) uint8 RGB.
        boxes_xyxy: (n, 4) pixels.
        color: red, green, blue.
    """
    canvas = picture.copy()
    for x1, y1, x2, y2 in np.round(boxes_xyxy).astype(int).tolist():
        cv2.rectangle(canvas, (x1, y1), (x2, y2), color, max(1, round(max(picture.shape) / 240)))
    return canvas


def as_jpeg(picture):
    """bytes of a JPEG file of the picture, (h, w, 3) uint8 RGB, made smaller where the format does not allow its size."""
    shrink = max(1, max(picture.shape) / JPEG_SIDE)
    if shrink > 1:
        size = [max(1, int(side / shrink)) for side in picture.shape[1::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()


def person_color(i):
    """Bright colour of the i-th person: [red, green, blue], 0..255."""
    hue = i * 0.618 % 1  # the golden ratio: colours of consecutive people lie far apart
    return [round(255 * value) for value in colorsys.hsv_to_rgb(hue, 0.7, 1)]


def caption(person):
    """What stands beside a person: its number in a video, the activity if known, and how sure that is."""
    number = "" if person.track_id is None else f"{person.track_id}: "
    if not person.activity:
        return f"{number}person {person.box_score:.0%}"
    return f"{number}{person.activity} {person.activity_probabilities[person.activity]:.0%}"

"""What the demo's page does: a photo is looked at once, and shown as often as thresholds and views change."""

import contextlib
import html
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

import gradio as gr
import numpy as np

from multiposenet.data.pictures import read_picture
from multiposenet.data.read_ahead import ReadAhead
from multiposenet.data.videos import open_video
from multiposenet.demo.inside import Insight, OpenPredictor, heatmap_view, prn_view
from multiposenet.drawing import as_jpeg, caption, draw_people, person_color
from multiposenet.errors import UserError
from multiposenet.files import write_whole
from multiposenet.geometry import Letterbox
from multiposenet.prediction import on_canvas
from multiposenet.tracking import Tracker
from multiposenet.video_results import VideoResults

SHOWN_SIDE = 1600  # pixels, the longest side of what is drawn and kept
ANY_JOINT = "all joints"
VIDEO_S = 20  # of a video are looked at: a visitor keeps the others waiting
STALL_S = 10  # seconds after which a file that gives no frame is given up


@dataclass
class Seen:
    """One photo and what was found in it.

    Args:
        name: of its file.
        picture: (h, w, 3) uint8 RGB, at most `SHOWN_SIDE`.
        letterbox: from the photo to it.
        people: list of `Person` in the photo's own pixels, best box first.
        insight: `Insight`, or None from an exported graph.
    """

    name: str
    picture: np.ndarray
    letterbox: Letterbox
    people: list
    insight: Optional[Insight]


class Demo:
    """What the page's events do.

    Args:
        predictor: `OpenPredictor`, or a `Predictor`, with which the page has no views of the network's inside.
    """

    def __init__(self, predictor):
        self.predictor, self.joints = predictor, predictor.skeleton.joints
        self.open = isinstance(predictor, OpenPredictor)

    def look(self, path):
        """File -> (`Seen` or None, what is wrong with the file, button for its COCO results list)."""
        if not path:
            return None, "", _download(None)
        path = Path(path)
        try:
            photo = read_picture(path)
        except UserError as error:
            return None, _warning(error, path), _download(None)
        people, insight = self.predictor.look_inside(photo) if self.open else (self.predictor.predict(photo), None)
        side = min(SHOWN_SIDE, max(photo.shape[:2]))
        letterbox = Letterbox.fit(*photo.shape[:2], side, side, multiple=1)
        records = [person.as_coco(1, path.name) for person in people]
        return (Seen(path.name, on_canvas(photo, letterbox), letterbox, people, insight), "",
                _download(_temporary(f"{path.stem}.json", json.dumps(records))))

    def show(self, seen, score, joint_score):
        """(drawing, button for it, table, choice of a person) for these thresholds."""
        if seen is None:
            return None, _download(None), "", gr.update(choices=[], value=None)
        people = [replace(person, box_xyxy=seen.letterbox.boxes_to_canvas(person.box_xyxy),
                          keypoints=seen.letterbox.to_canvas(person.keypoints))
                  for person in seen.people if person.box_score >= score]  # the first ones: best boxes come first
        drawn = draw_people(seen.picture, people, self.predictor.skeleton, joint_score)
        file = _temporary(f"{Path(seen.name).stem}_people.jpg", as_jpeg(drawn))
        choices = [(f"{i}: {caption(person)}", i - 1) for i, person in enumerate(people, start=1)]
        person = gr.update(choices=choices, value=0 if people else None)
        return file, _download(file), people_table(people, joint_score), person

    def heatmap(self, seen, joint):
        """The heatmap of the named joint over the photo."""
        return seen and heatmap_view(seen.picture, seen.insight,
                                     None if joint == ANY_JOINT else self.joints.index(joint))

    def prn(self, seen, person):
        """The PRN's grids of the person with that number."""
        return None if seen is None or person is None else prn_view(seen.insight, person, self.joints)


    def follow(self, path, score, joint_score, progress=gr.Progress()):
        """Video file -> (annotated video or None, what is wrong with the file, button for its JSON lines)."""
        if not path:
            return None, "Choose a video first.", _download(None)
        path, folder = Path(path), Path(tempfile.mkdtemp())
        try:
            source = open_video(str(path), STALL_S)
            with contextlib.closing(VideoResults(folder, source)) as results:
                self._follow(source, results, score, joint_score, progress)
        except UserError as error:
            return None, _warning(error, path), _download(None)
        lines, video = (str(target) if target.exists() else None for target in results.targets)
        return video, "" if video else "### ⚠️ no frame of it could be read", _download(lines)

    def _follow(self, source, results, score, joint_score, progress):
        tracker, length = Tracker(score, self.predictor.config.smoothing_s), min(VIDEO_S * source.fps, source.count or 10**6)
        with contextlib.closing(iter(ReadAhead(source, STALL_S))) as frames:
            for frame in frames:
                if frame.picture is None:
                    continue
                if frame.seconds > VIDEO_S:
                    break
                people = tracker.update(self.predictor.predict(frame.picture), frame.seconds)
                shown = [person for person in people if person.box_score >= score]
                results.write(frame, people, draw_people(frame.picture, shown, self.predictor.skeleton, joint_score))
                progress((frame.index, float(length)), unit="frames")


def people_table(people, joint_score):
    """HTML: a row a person, with its colour in the drawing, its box score, its joints and all activities."""
    if not people:
        return "<p>Nobody is this sure. Lower the first threshold to see less certain people.</p>"
    names = list(people[0].activity_probabilities)
    head = "".join(f"<th>{html.escape(title)}</th>" for title in ("person", "score", "joints", *names))
    rows = "".join(_row(i, person, joint_score) for i, person in enumerate(people))
    return f"<div><table class='people'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _warning(error, path):
    return f"### ⚠️ {html.escape(str(error).replace(str(path), path.name))}"


def _download(path):
    """What a `gr.DownloadButton` becomes: greyed out while there is nothing."""
    return gr.update(value=path, interactive=path is not None)


def _temporary(name, content):
    path = Path(tempfile.mkdtemp()) / name
    write_whole(path, content)
    return str(path)


def _row(i, person, joint_score):
    joints = f"{(person.keypoints[:, 2] >= joint_score).sum()} of {len(person.keypoints)}"
    cells = [f"<i style='background: rgb{tuple(person_color(i))}'></i>{i + 1}", f"{person.box_score:.0%}", joints]
    for name, value in person.activity_probabilities.items():
        text = f"<b>{value:.0%}</b>" if name == person.activity else f"{value:.0%}"
        cells.append(f"<meter value='{value:.3f}'></meter>{text}")
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"

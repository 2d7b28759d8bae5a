"""The web page of `demo.py`: a photo goes in, people come out (Gradio).

The network runs once a photo, one photo at a time. What it found stays in the visitor's session, so that thresholds and
views change without it.
"""

import html
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

import cv2
import gradio as gr
import numpy as np

from multiposenet.data.pictures import read_picture
from multiposenet.drawing import caption, draw_people, person_color
from multiposenet.errors import UserError
from multiposenet.files import write_whole
from multiposenet.geometry import Letterbox
from multiposenet.inside import Insight, OpenPredictor, heatmap_view, prn_view
from multiposenet.prediction import on_canvas

SHOWN_SIDE = 1600  # pixels, the longest side of what is drawn and kept
WAITING = 100  # photos in the queue; whoever comes then is asked to try again
SESSIONS = 32  # visitors whose last photo is kept, a dozen MB each
KEPT_S = 1800  # seconds that files and sessions stay
ANY_JOINT = "all joints"

CSS = """
.people {width: 100%; border-collapse: collapse}
.people tr > * {padding: .4em .6em; text-align: left; border: solid var(--border-color-primary) !important;
                border-width: 0 0 1px !important}
.people i {display: inline-block; width: 1em; height: 1em; border-radius: 50%; vertical-align: -.1em; margin-right: .4em}
.people meter {width: 4em; margin-right: .4em}
"""


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
            message = html.escape(str(error).replace(str(path), path.name))
            return None, f"### ⚠️ {message}", _download(None)
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
        file = _temporary(f"{Path(seen.name).stem}_people.jpg", cv2.imencode(".jpg", drawn[..., ::-1])[1].tobytes())
        choices = [(f"{i}: {caption(person)}", i - 1) for i, person in enumerate(people, start=1)]
        return file, _download(file), people_table(people, joint_score), gr.update(choices=choices, value=0 if people else None)

    def heatmap(self, seen, joint):
        """The heatmap of the named joint over the photo."""
        return seen and heatmap_view(seen.picture, seen.insight,
                                     None if joint == ANY_JOINT else self.joints.index(joint))

    def prn(self, seen, person):
        """The PRN's grids of the person with that number."""
        return None if seen is None or person is None else prn_view(seen.insight, person, self.joints)


def people_table(people, joint_score):
    """HTML: a row a person, with its colour in the drawing, its box score, its joints and all activities."""
    if not people:
        return "<p>Nobody is this sure. Lower the first threshold to see less certain people.</p>"
    names = list(people[0].activity_probabilities)
    head = "".join(f"<th>{html.escape(title)}</th>" for title in ("person", "score", "joints", *names))
    rows = "".join(_row(i, person, joint_score) for i, person in enumerate(people))
    return f"<table class='people'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def build_app(predictor):
    """The page as `gr.Blocks`; `serve` opens it to the network."""
    demo, settings = Demo(predictor), predictor.config
    with gr.Blocks(title="MultiPoseNet", analytics_enabled=False, delete_cache=(60, KEPT_S)) as app:
        gr.Markdown("# MultiPoseNet\nWhere are the people, how do they stand, what are they doing?")
        photo_page(demo, settings)
    return app.queue(max_size=WAITING, api_open=False)


def photo_page(demo, settings):
    """Lay out what a photo needs and connect its events; `settings` is the `PredictConfig` the sliders start from."""
    seen = gr.State(time_to_live=KEPT_S)
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            photo = gr.Image(label="Photo", sources=["upload", "webcam", "clipboard"], height=320, elem_id="photo")
            photo.preprocess = _file_of
            score = gr.Slider(0, 1, settings.score_threshold, step=0.01, label="Show people from this score on")
            joint_score = gr.Slider(0, 1, settings.joint_threshold, step=0.01, label="Show joints from this score on")
            with gr.Row():
                picture_file, json_file = (gr.DownloadButton(label, size="md", interactive=False, min_width=120)
                                           for label in ("Save picture", "Save JSON"))
        with gr.Column(scale=5, min_width=320):
            message = gr.Markdown()
            with gr.Tab("People"):
                drawing = gr.Image(show_label=False, interactive=False, elem_id="drawing", buttons=["fullscreen"])
                table = gr.HTML()
            with gr.Tab("Heatmaps", visible=demo.open):
                joint = gr.Dropdown([ANY_JOINT, *demo.joints], label="Heatmap of")
                heatmap = gr.Image(show_label=False, interactive=False, elem_id="heatmap", buttons=["fullscreen"])
            with gr.Tab("PRN", visible=demo.open):
                gr.Markdown("Left: all peaks in the person's box, whoever's they are. "
                            "Right: where the Pose Residual Network sees this person's joint.")
                person = gr.Dropdown([], label="Person")
                grids = gr.Image(show_label=False, interactive=False, elem_id="prn", buttons=["fullscreen"])

    show = dict(fn=demo.show, inputs=[seen, score, joint_score], outputs=[drawing, picture_file, table, person],
                api_visibility="private")
    view = dict(fn=demo.heatmap, inputs=[seen, joint], outputs=heatmap, api_visibility="private")
    looked = photo.input(demo.look, photo, [seen, message, json_file], concurrency_id="network", api_name="look")
    shown = looked.then(**show)
    gr.on([score.change, joint_score.change], **show, trigger_mode="always_last", show_progress="hidden")
    if demo.open:
        shown.then(**view)
        joint.input(**view)
        person.change(demo.prn, [seen, person], grids, api_visibility="private")


def serve(app, host, port, max_mb):
    """Open the page to the network and return at once.

    Raises:
        UserError: the port cannot be had.
    """
    try:
        app.launch(server_name=host, server_port=port, max_file_size=max_mb * 2 ** 20, share=False, allowed_paths=[],
                   prevent_thread_lock=True, state_session_capacity=SESSIONS, ssr_mode=False, mcp_server=False, pwa=False,
                   run_history=False, enable_monitoring=False, footer_links=[], css=CSS, quiet=True)
    except OSError as error:
        raise UserError(f"{host}:{port} cannot be opened ({error}); choose another --port") from None


def _file_of(payload):
    """The file as it was uploaded. Gradio would open it with Pillow, whose failures reach nobody; `read_picture`
    says what is wrong."""
    return payload and payload.path


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

"""The demo's page (Gradio): its layout, and how it is opened to the network.

The network runs once a photo, one photo at a time. What it found stays in the visitor's session, so that thresholds and
views change without it.
"""

import gradio as gr

from multiposenet.demo.events import ANY_JOINT, VIDEO_S, Demo
from multiposenet.errors import UserError

WAITING = 100  # photos in the queue; whoever comes then is asked to try again
SESSIONS = 32  # visitors whose last photo is kept, a dozen MB each
KEPT_S = 1800  # seconds that files and sessions stay

CSS = """
div:has(> .people) {overflow-x: auto}
.people {width: 100%; border-collapse: collapse}
.people, .people tr, .people th, .people td {border: 0 !important}
.people tr > * {padding: .4em .6em !important; text-align: left}
.people tbody tr {border-top: 1px solid var(--border-color-primary) !important}
.people i {display: inline-block; width: 1em; height: 1em; border-radius: 50%; margin-right: .4em}
.people meter {width: 4em; margin-right: .4em}
"""


def build_app(predictor):
    """The page as `gr.Blocks`; `serve` opens it to the network."""
    demo, settings = Demo(predictor), predictor.config
    with gr.Blocks(title="MultiPoseNet", analytics_enabled=False, delete_cache=(60, KEPT_S)) as app:
        gr.Markdown("# MultiPoseNet\nWhere are the people, how do they stand, what are they doing?")
        with gr.Tab("Photo"):
            photo_page(demo, settings)
        with gr.Tab("Video"):
            video_page(demo, settings)
    return app.queue(max_size=WAITING, api_open=False)


def photo_page(demo, settings):
    """Lay out what a photo needs and connect its events; `settings` is the `PredictConfig` the sliders start from."""
    seen = gr.State(time_to_live=KEPT_S)
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            photo = gr.Image(label="Photo", sources=["upload", "webcam", "clipboard"], height=320, elem_id="photo")
            photo.preprocess = _file_of
            score = gr.Slider(0, 1, settings.score_threshold, step=0.01, label="People: lowest score")
            joint_score = gr.Slider(0, 1, settings.joint_threshold, step=0.01, label="Joints: lowest score")
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
    inside = dict(fn=demo.prn, inputs=[seen, person], outputs=grids, api_visibility="private")
    looked = photo.input(demo.look, photo, [seen, message, json_file], concurrency_id="network", api_name="look")
    shown = looked.then(**show)
    moved = gr.on([score.change, joint_score.change], **show, trigger_mode="always_last", show_progress="hidden")
    if demo.open:
        for event in (shown.then, joint.input):
            event(**view)
        for event in (shown.then, moved.then, person.input):
            event(**inside)


def video_page(demo, settings):
    """Lay out what a video needs; each is looked at once, with the sliders as they stand then."""
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            video = gr.Video(label=f"Video, its first {VIDEO_S} seconds", sources=["upload", "webcam"], height=320,
                             elem_id="video", webcam_options=gr.WebcamOptions(mirror=False))
            video.preprocess = _file_of
            score = gr.Slider(0, 1, settings.score_threshold, step=0.01, label="People: lowest score")
            joint_score = gr.Slider(0, 1, settings.joint_threshold, step=0.01, label="Joints: lowest score")
            with gr.Row():
                start = gr.Button("Follow the people", variant="primary", elem_id="follow")
                lines = gr.DownloadButton("Save JSON lines", interactive=False)
        with gr.Column(scale=5, min_width=320):
            message = gr.Markdown()
            followed = gr.Video(show_label=False, interactive=False, elem_id="followed")
    start.click(demo.follow, [video, score, joint_score], [followed, message, lines], concurrency_id="network",
                api_visibility="private")


def serve(app, host, port, max_mb):
    """Open the page to the network and return at once.

    Raises:
        UserError: the port cannot be had.
    """
    try:
        app.launch(server_name=host, server_port=port, max_file_size=round(max_mb * 2 ** 20), prevent_thread_lock=True,
                   share=False, allowed_paths=[], state_session_capacity=SESSIONS, ssr_mode=False, mcp_server=False,
                   pwa=False, run_history=False, enable_monitoring=False, footer_links=[], quiet=True, css=CSS,
                   theme=gr.themes.Default(font=["system-ui", "sans-serif"]))
    except (OSError, OverflowError) as error:  # taken or forbidden, no such port
        raise UserError(f"{host}:{port} cannot be opened ({error}); choose another --port") from None


def _file_of(payload):
    """The file as it was uploaded. Gradio would open it with Pillow, whose failures reach nobody; `read_picture`
    says what is wrong."""
    return payload and payload.path

"""What is written for a moving picture: a line of JSON and a drawing for every frame."""

import json

from multiposenet.data.video_writer import VideoWriter
from multiposenet.files import writing


class VideoResults:
    """DIR/<stem>.jsonl, and DIR/<stem>.mp4 unless `draw` is False; both begin with the first frame.

    Args:
        folder: Path.
        source: `video_source.Source`.
    """

    def __init__(self, folder, source, draw=True):
        self.source, self.draw = source, draw
        self.targets = [folder / f"{source.stem}.jsonl", *([folder / f"{source.stem}.mp4"] if draw else [])]
        self.lines = self.video = None

    def write(self, frame, people, drawn):
        """Write one `video_source.Frame`, its `prediction.Person`s and its drawing, (h, w, 3) uint8 RGB or None."""
        if not self.lines:
            with writing(self.targets[0]):
                self.lines = open(self.targets[0], "w")
            self.video = VideoWriter(self.targets[1], drawn, self.source) if self.draw else None
        records = [{**person.as_coco(frame.index, self.source.name), "track_id": person.track_id} for person in people]
        line = dict(frame=frame.index, time=round(frame.seconds, 4), people=records)
        with writing(self.targets[0]):
            self.lines.write(json.dumps(line) + "\n")
            self.lines.flush()  # a stopped program leaves whole lines
        if self.video:
            self.video.write(drawn, frame.seconds)

    def close(self):
        """Complete both files."""
        if self.lines:
            self.lines.close()
        if self.video:
            self.video.close()

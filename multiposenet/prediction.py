"""From pictures to people: letterbox, the one graph, and the way back to the picture's own pixels."""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import cv2
import numpy as np

from multiposenet.config import PredictConfig
from multiposenet.data.pictures import read_picture
from multiposenet.errors import UserError
from multiposenet.geometry import PADDING, Letterbox, xyxy_to_xywh
from multiposenet.skeleton import SEEN


@dataclass
class Person:
    """One person found, in pixels of the original picture.

    Args:
        box_xyxy: (4,) float32 edges.
        box_score: the detector's confidence; with a refiner and `model.pose_nms` times how well the person was read (`ScorePeople`).
        keypoints: (K, 3) float32 x, y, score.
        activity_probabilities: dict name -> probability, empty when activities are not known.
        track_id: number that stays with the person through a video, or None.
    """

    box_xyxy: np.ndarray
    box_score: float
    keypoints: np.ndarray
    activity_probabilities: dict = field(default_factory=dict)
    track_id: Optional[int] = None

    @property
    def score(self):
        """Rank of the pose: box score x mean score of the joints that were seen (METHOD section 5), 0 without any.

        The mean of all joints would rank people who are half in the picture behind false ones.
        """
        scores = self.keypoints[:, 2]
        return self.box_score * float(scores[scores > SEEN].mean()) if (scores > SEEN).any() else 0.0

    @property
    def activity(self):
        """The likeliest activity, or None."""
        return max(self.activity_probabilities, key=self.activity_probabilities.get, default=None)

    def as_coco(self, image_id, file_name):
        """The person's record in a COCO results list, with the activity beside COCO's fields."""
        keypoints = np.concatenate([self.keypoints[:, :2].round(2), self.keypoints[:, 2:].round(4)], axis=1)
        return dict(image_id=image_id, file_name=file_name, category_id=1, score=round(self.score, 6),
                    bbox=_plain(xyxy_to_xywh(self.box_xyxy), 2), box_score=round(self.box_score, 6),
                    keypoints=_plain(keypoints.ravel(), 4), activity=self.activity,
                    activity_scores={name: round(value, 4) for name, value in self.activity_probabilities.items()})


@dataclass
class Prediction:
    """What became of one file: its picture and people, or the error that says why there are none."""

    path: Path
    picture: Optional[np.ndarray] = None
    people: list = field(default_factory=list)
    error: Optional[UserError] = None
    seconds: dict = field(default_factory=dict)  # "read" and "predict"


class Predictor:
    """Finds the people of whole pictures.

    Args:
        model: `MultiPoseNet`, `engines.Engine`, or any callable with their outputs and `config`.
        config: `PredictConfig`: the size pictures are brought to, unless the engine is fixed to one.
    """

    def __init__(self, model, config=PredictConfig()):
        self.model, self.config = model, config
        self.skeleton = model.config.skeleton
        set_compiler(model)

    def predict(self, picture):
        """People of one picture, (h, w, 3) uint8 RGB, best box first; all that the model itself lets through."""
        letterbox = self.letterbox(picture)
        return self.people(run_model(self.model, on_canvas(picture, letterbox)[None]), letterbox, picture.shape)

    def letterbox(self, picture, scale=1):
        """How a picture is brought to the engine's or the configured size, times `scale`."""
        if size := getattr(self.model, "size", None):
            return Letterbox.fit_into(*picture.shape[:2], *size)
        return Letterbox.fit(*picture.shape[:2], round(scale * self.config.short_side),
                             round(scale * self.config.long_side))

    def people(self, found, letterbox, shape):
        """List of `Person`, from the graph's output for one canvas.

        Args:
            found: dict of NumPy arrays, as the model gives them.
            letterbox: from picture to canvas.
            shape: (height, width, ...) of the picture.
        """
        height, width = shape[:2]
        count = int(found["count"][0])
        boxes = letterbox.boxes_to_picture(found["boxes"][0, :count]).clip(0, (width, height, width, height))
        poses = letterbox.to_picture(found["keypoints"][0, :count])
        people = [Person(box, float(score), pose, dict(zip(self.model.config.activities, map(float, activities))))
                  for box, score, pose, activities in
                  zip(boxes, found["scores"][0], poses, found["activities"][0])]
        return [person for person in people if (person.box_xyxy[2:] > person.box_xyxy[:2]).all()]  # none in the padding

    def predict_files(self, paths):
        """Yield a `Prediction` for every path; a file that cannot be read has an `error` and stops nothing.

        The next file is read in a thread while the network works on this one.
        """
        paths = list(map(Path, paths))
        with ThreadPoolExecutor(1) as reader:
            coming = None
            for path, following in itertools.zip_longest(paths, paths[1:]):
                found = (coming or reader.submit(_read, path)).result()
                coming = following and reader.submit(_read, following)
                if not found.error:
                    start = time.perf_counter()
                    found.people = self.predict(found.picture)
                    found.seconds["predict"] = time.perf_counter() - start
                yield found


def _read(path):
    start = time.perf_counter()
    try:
        picture = read_picture(path)
    except UserError as error:
        return Prediction(path, error=error)
    return Prediction(path, picture, seconds={"read": time.perf_counter() - start})


def run_model(model, batch):
    """A batch of pictures through a Keras model or another callable -> dict of NumPy arrays."""
    found = getattr(model, "predict_on_batch", model)(batch)
    return {key: np.asarray(value) for key, value in found.items()}


def set_compiler(model):
    """Of Keras' backends only JAX needs its compiler. TensorFlow's XLA would compile anew for every picture size, and
    on the CPU its depthwise convolutions are several times slower."""
    if hasattr(model, "jit_compile"):
        import keras  # not above: other engines start without it

        model.jit_compile = keras.backend.backend() == "jax"


def on_canvas(picture, letterbox):
    """(h, w, 3) uint8 -> (canvas height, canvas width, 3) uint8, padded with grey at the right and bottom."""
    method = cv2.INTER_AREA if letterbox.scale < 1 else cv2.INTER_LINEAR
    canvas = np.full((letterbox.canvas_height, letterbox.canvas_width, 3), PADDING, "uint8")
    canvas[:letterbox.height, :letterbox.width] = cv2.resize(picture, (letterbox.width, letterbox.height),
                                                             interpolation=method)
    return canvas


def _plain(array, digits):
    return [round(float(value), digits) for value in array]

"""What all sources of moving pictures share."""

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Optional

import numpy as np

USUAL_FPS = 25  # where nothing says the frame rate


@dataclass
class Frame:
    """One frame of a source.

    Args:
        index: its place among all frames of the source, broken ones included.
        seconds: since the first frame; None when the frame is broken.
        picture: (h, w, 3) uint8 RGB, upright, or None when the frame is broken.
    """

    index: int
    seconds: Optional[float] = None
    picture: Optional[np.ndarray] = None


class Source(ABC):
    """What frames come from.

    Attributes:
        name: for messages and results, without passwords.
        stem: for the names of results.
        fps: Fraction, frames a second.
        count: frames announced, or None.
        live: the source does not wait for its reader.
        audio: PyAV's stream of the sound, or None.
        packets: deque that `frames` fills with the sound's packets.
        start: the first frame's time in the packets' clock, seconds, or None before it is known.
    """

    count, live, audio, start = None, False, None, None
    fps = Fraction(USUAL_FPS)

    def __init__(self, name, stem):
        self.name, self.stem, self.packets = name, stem or "video", deque()

    @abstractmethod
    def frames(self):
        """Yield every `Frame`.

        Raises:
            UserError: the source breaks off.
        """

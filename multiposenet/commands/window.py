"""The window of `infer.py --live`."""

import os
import sys
import time

import cv2

from multiposenet.errors import UserError

TITLE = "MultiPoseNet"
KEYS_TO_END = (27, ord("q"))


class Window:
    """Shows pictures and the frame rate at which they come.

    Raises:
        UserError: there is no screen, or this OpenCV has no windows.
    """

    def __init__(self):
        if "GUI:                           NONE" in cv2.getBuildInformation():
            raise UserError("--live: this OpenCV has no windows; pip uninstall opencv-python-headless, then "
                            "pip install opencv-python")
        # Qt would end the program without a word to us.
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UserError("--live: there is no screen (DISPLAY is not set); leave --live out")
        self.latest, self.seconds = None, None

    def show(self, picture):
        """Show (h, w, 3) uint8 RGB; whether the user wants to go on: q, Escape or closing the window ends it."""
        now = time.perf_counter()
        if self.latest is not None:  # smoothed, so that the number can be read
            passed = now - self.latest
            self.seconds = passed if self.seconds is None else .9 * self.seconds + .1 * passed
        self.latest = now
        cv2.imshow(TITLE, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        if self.seconds:
            cv2.setWindowTitle(TITLE, f"{TITLE}, {1 / self.seconds:.1f} frames/s")
        key = cv2.waitKey(1) & 0xff
        return key not in KEYS_TO_END and cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) > 0

    def close(self):
        """Take the window away."""
        cv2.destroyAllWindows()

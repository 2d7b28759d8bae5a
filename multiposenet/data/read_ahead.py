"""Reading and computing at the same time: a thread reads the next frames while the caller works on one."""

import collections
import threading

from multiposenet.errors import UserError

AHEAD = 4  # frames that wait for the caller


class ReadAhead:
    """Iterates over a source's frames.

    A live source does not wait: of the frames that came meanwhile only the newest stays, so that what is shown is
    current.

    Args:
        source: `video_source.Source`.
        stall_s: the iteration ends when no frame comes for so many seconds.

    Attributes:
        dropped: number of a live source's frames passed over.
        ending: why the source broke off, or None.
    """

    def __init__(self, source, stall_s):
        self.source, self.stall_s = source, stall_s
        self.dropped, self.ending = 0, None
        self._waiting, self._changed = collections.deque(), threading.Condition()
        self._finished = self._stopped = False
        self._failure = None

    def __iter__(self):
        # A daemon: a read that hangs must not keep the program from ending.
        threading.Thread(target=self._read, daemon=True).start()
        try:
            while (frame := self._next()) is not None:
                yield frame
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()

    def _next(self):
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting or self._finished, self.stall_s):
                self.ending = f"{self.source.name}: no frame for {self.stall_s:g} s"
                return None
            if self._waiting:
                self._changed.notify_all()
                return self._waiting.popleft()
        if self._failure:
            raise self._failure
        return None

    def _read(self):
        try:
            for frame in self.source.frames():
                if not self._offer(frame):
                    break
        except UserError as error:
            self.ending = str(error)
        except Exception as error:  # a fault of ours: the caller's thread shows it
            self._failure = error
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def _offer(self, frame):
        """Whether the caller still wants frames."""
        with self._changed:
            if self.source.live:
                self.dropped += len(self._waiting)
                self._waiting.clear()
            self._changed.wait_for(lambda: len(self._waiting) < AHEAD or self._stopped)
            self._waiting.append(frame)
            self._changed.notify_all()
            return not self._stopped

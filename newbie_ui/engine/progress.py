"""How long it will still take, from what the last steps took."""

from __future__ import annotations

import statistics
import time
from collections import deque

RECENT = 8


class Eta:
    """Seconds left of a job, told after each step.

    Args:
        together: pictures in the batch being made.
        later: pictures of the job that come after this batch.
        decode_s: seconds of decoding one picture, as last seen; None if never.
        cold: the first step includes compiling and is not to be counted.
    """

    def __init__(self, together: int, later: int, decode_s: float | None, cold: bool = False):
        self._together, self._later, self._decode_s = together, later, decode_s or 0.0
        self._steps: deque[float] = deque(maxlen=RECENT)
        self._skip_next = cold
        self._last = time.perf_counter()

    def after_step(self, index: int, total: int) -> float | None:
        """Seconds left after step `index` of `total`; None before there is anything to go by."""
        now = time.perf_counter()
        took, self._last = now - self._last, now
        if self._skip_next:
            self._skip_next = False
            return None
        self._steps.append(took)
        step_s = statistics.median(self._steps)
        a_picture = total * step_s / self._together + self._decode_s
        return (total - index) * step_s + self._together * self._decode_s + self._later * a_picture

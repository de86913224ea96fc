"""What a gallery does in the background: read what it found at the start, then clean up now and then."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

EVERY_S = 6 * 3600.0
FIRST_AFTER_S = 60.0  # after the start there is more urgent work


class Upkeep:
    """One daemon thread.

    Args:
        learn: brings the index up to date; is given a function that tells it to stop.
        clean: deletes what is old; returns how many files.
    """

    def __init__(self, learn: Callable[[Callable[[], bool]], object], clean: Callable[[], int]):
        self._learn, self._clean = learn, clean
        self._stop, self._learnt = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="gallery-upkeep", daemon=True)
        self._thread.start()

    @property
    def learning(self) -> bool:
        """True until everything found at the start is in the index."""
        return not self._learnt.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for that; False when it takes longer."""
        return self._learnt.wait(timeout_s)

    def stop(self, timeout_s: float = 10.0) -> None:
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        self._quietly(lambda: self._learn(self._stop.is_set))
        self._learnt.set()
        pause = FIRST_AFTER_S
        while not self._stop.wait(pause):
            self._quietly(self._clean)
            pause = EVERY_S

    def _quietly(self, work: Callable[[], object]) -> None:
        """Trouble here is told in the log; the gallery goes on."""
        try:
            work()
        except (OSError, sqlite3.Error):
            log.exception("upkeep of the gallery failed; it will be tried again")

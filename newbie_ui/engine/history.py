"""What pictures cost on this machine so far: one JSON line each, remembered across restarts.

Promises: `estimate` answers from the last pictures of the same model, preset, size and step count; where there is
none it scales from the nearest and says so; a damaged line is skipped; the file stays bounded. Pictures that waited
for a compiler are kept out of the medians. Without a folder it remembers for this run only.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

log = logging.getLogger(__name__)

FILE_NAME = "measurements.jsonl"
KEEP = 2000
RECENT = 20


@dataclass(frozen=True)
class Measurement:
    """One finished picture. Seconds without waiting in the queue; `peak_gb` is what its device's memory peaked at."""

    model: str
    preset: str
    width: int
    height: int
    steps: int
    device: str
    seconds: float
    denoise_s: float
    peak_gb: float
    images: int = 1  # made together; the seconds are this picture's share
    cold: bool = False  # waited for a compiler or for weights to arrive

    @property
    def pixels(self) -> int:
        return self.width * self.height


@dataclass(frozen=True)
class Estimate:
    """Median seconds and highest recent peak; `measured` is False when scaled from other sizes or step counts."""

    seconds: float
    peak_gb: float
    measured: bool


class History:
    """Thread-safe. See the module's docstring."""

    def __init__(self, folder: str | Path | None = None):
        self._file = Path(folder) / FILE_NAME if folder is not None else None
        self._lock = threading.Lock()
        self._items: deque[Measurement] = deque(maxlen=KEEP)
        self._lines = 0
        self._load()

    def add(self, item: Measurement) -> None:
        with self._lock:
            self._items.append(item)
            if self._file is None:
                return
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                with open(self._file, "a", encoding="utf-8") as lines:
                    lines.write(json.dumps(asdict(item)) + "\n")
                self._lines += 1
                if self._lines > 2 * KEEP:
                    self._rewrite()
            except OSError as error:
                log.warning("measurements are not kept: %s", error)

    def estimate(self, model: str, preset: str, device: str, width: int, height: int, steps: int) -> Estimate | None:
        """What one picture will probably cost, or None before the first of this model and preset on this device."""
        with self._lock:
            same = [m for m in self._items if (m.model, m.preset, m.device) == (model, preset, device) and not m.cold]
        exact = [m for m in same if (m.width, m.height, m.steps) == (width, height, steps)][-RECENT:]
        if exact:
            return _summary([m.seconds for m in exact], exact, measured=True)
        if not same:
            return None
        nearest = min({m.pixels for m in same}, key=lambda pixels: abs(pixels - width * height))
        near = [m for m in same if m.pixels == nearest][-RECENT:]
        scale = width * height / nearest
        seconds = [(m.seconds - m.denoise_s + m.denoise_s * steps / m.steps) * scale for m in near]
        return _summary(seconds, near, measured=False)

    def __len__(self) -> int:
        return len(self._items)

    def _load(self) -> None:
        if self._file is None or not self._file.is_file():
            return
        try:
            with open(self._file, encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    self._lines += 1
                    self._read_line(line)
        except OSError as error:
            log.warning("measurements cannot be read: %s", error)

    def _read_line(self, line: str) -> None:
        try:
            item = Measurement(**json.loads(line))
            usable = item.steps > 0 and item.pixels > 0 and item.seconds > 0
        except (ValueError, TypeError):
            usable = False
        if usable:
            self._items.append(item)
        else:
            log.info("a damaged line in %s is skipped", self._file)

    def _rewrite(self) -> None:
        partial = self._file.with_suffix(".part")
        partial.write_text("".join(json.dumps(asdict(m)) + "\n" for m in self._items), encoding="utf-8")
        os.replace(partial, self._file)
        self._lines = len(self._items)


def _summary(seconds: Iterable[float], items: Iterable[Measurement], measured: bool) -> Estimate:
    return Estimate(statistics.median(seconds), max(m.peak_gb for m in items), measured)

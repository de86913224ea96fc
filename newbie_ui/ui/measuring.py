"""Measuring presets from the page: the same request with each preset, through the same queue as everyone's pictures.

Promises: one run at a time for all open pages; figures are what the engine reports, the first picture of a preset is
kept apart (it may compile or load); a run can be stopped. The pictures go where all pictures go. It does not know how
pictures are made, and it cannot measure without the engine being used.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from newbie_ui.engine.base import Engine
from newbie_ui.errors import EngineError, NewbieError
from newbie_ui.request import Failed, GenerateRequest, GenerateResult, Picture, Step
from newbie_ui.ui.compose import EXAMPLE

SEED = 20_000
PICTURES = 3  # a preset: one to warm up, two to measure
CLIENT = "benchmark"


@dataclass(frozen=True)
class PresetFigures:
    """What one preset did in this run. Seconds without waiting in the queue; the first picture is not in the median."""

    preset: str
    first_s: float | None = None
    median_s: float | None = None
    per_step_s: float | None = None
    encode_s: float | None = None
    decode_s: float | None = None
    peak_gb: float | None = None
    error: str = ""


@dataclass(frozen=True)
class Run:
    """One run as it stands: also what pages show while it goes on."""

    presets: tuple[str, ...] = ()
    figures: tuple[PresetFigures, ...] = ()
    running: bool = False
    preset: str = ""
    made: int = 0
    step: int = 0
    steps: int = 0
    started_at: float = 0.0
    size: tuple[int, int] | None = None
    stopped: bool = False

    @property
    def fraction(self) -> float:
        whole = max(1, len(self.presets) * PICTURES)
        return min(1.0, (len(self.figures) * PICTURES + self.made + self.step / max(1, self.steps)) / whole)


@dataclass
class Measuring:
    """Starts and follows runs; safe to call from any thread."""

    engine: Engine
    run: Run = field(default_factory=Run)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _job: str = ""

    def start(self, presets: Sequence[str]) -> None:
        """Begin a run in the background. Raises EngineError if one is under way or no preset is given."""
        known = [choice.name for choice in self.engine.presets() if choice.fits and choice.name in presets]
        with self._lock:
            if self.run.running:
                raise EngineError("A measurement is under way. Wait for it, or stop it.")
            if not known:
                raise EngineError("None of these presets fits this device. Choose another.")
            self.run = Run(tuple(known), running=True, started_at=time.time())
        threading.Thread(target=self._measure, args=(known,), name="newbie-ui-measuring", daemon=True).start()

    def stop(self) -> None:
        """Give up after the present step; what is measured so far stays."""
        with self._lock:
            self.run = replace(self.run, stopped=self.run.running)
            job = self._job
        if job:
            self.engine.cancel(job)

    def _measure(self, presets: Sequence[str]) -> None:
        try:
            for preset in presets:
                if self.run.stopped:
                    break
                self._note(preset=preset, made=0, step=0)
                figures = self._one(preset)
                self._note(figures=(*self.run.figures, figures), made=0, step=0)
        finally:
            self._note(running=False, preset="")

    def _one(self, preset: str) -> PresetFigures:
        results: list[GenerateResult] = []
        error = ""
        try:
            job = self.engine.submit(GenerateRequest(EXAMPLE, seed=SEED, images=PICTURES, preset=preset), CLIENT)
            with self._lock:
                self._job = job
            for event in self.engine.events(job):
                if isinstance(event, Picture):
                    results.append(event.result)
                    self._note(
                        made=len(results), step=0, size=(event.result.resolved.width, event.result.resolved.height)
                    )
                elif isinstance(event, Step):
                    self._note(step=event.index, steps=event.total)
                elif isinstance(event, Failed):
                    error = event.message
        except NewbieError as problem:
            error = str(problem)
        with self._lock:
            self._job = ""
        return replace(figures_of(preset, results), error=error)

    def _note(self, **changes: object) -> None:
        with self._lock:
            self.run = replace(self.run, **changes)


def figures_of(preset: str, results: Sequence[GenerateResult]) -> PresetFigures:
    """Median of all but the first picture; peak of all of them."""
    if not results:
        return PresetFigures(preset)
    warm = results[1:] or results
    peaks = [peak for peak in (peak_gb(result) for result in results) if peak is not None]
    return PresetFigures(
        preset,
        first_s=seconds_of(results[0]),
        median_s=statistics.median(seconds_of(result) for result in warm),
        per_step_s=statistics.median(result.timings.s_per_step for result in warm),
        encode_s=statistics.median(result.timings.encode_s for result in warm),
        decode_s=statistics.median(result.timings.decode_s for result in warm),
        peak_gb=max(peaks, default=None),
    )


def seconds_of(result: GenerateResult) -> float:
    """Seconds of one picture without its time in the queue."""
    return max(0.0, result.timings.total_s - result.timings.queue_s)


def peak_gb(result: GenerateResult) -> float | None:
    """The figure that decides whether a picture fits: reserved on a card, resident on a CPU."""
    memory = result.memory
    return next((x for x in (memory.reserved_gb, memory.allocated_gb, memory.resident_gb) if x is not None), None)

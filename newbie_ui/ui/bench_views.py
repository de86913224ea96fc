"""What the Benchmark tab shows, as plain data: figures of finished pictures, presets, the device now. No Gradio.

Figures come from pictures that were really made here. Nothing is estimated in this file; what the engine itself marks
as an estimate stays marked.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from newbie_ui.engine.base import EngineStatus, PresetChoice
from newbie_ui.errors import EngineError
from newbie_ui.monitor import Cards
from newbie_ui.request import GenerateRequest, Memory, Timings
from newbie_ui.ui.measuring import PresetFigures, Run

Value = dict[str, Any]
RECENT = 20


@dataclass(frozen=True)
class Made:
    """One picture that was made here, as far as its cost goes."""

    id: str
    created_at: float
    model: str
    preset: str
    width: int
    height: int
    steps: int
    timings: Timings
    memory: Memory
    compile: str = ""

    @property
    def seconds(self) -> float:
        return max(0.0, self.timings.total_s - self.timings.queue_s)

    @property
    def gb(self) -> float | None:
        memory = self.memory
        return next((x for x in (memory.reserved_gb, memory.allocated_gb, memory.resident_gb) if x is not None), None)

    def row(self) -> Value:
        """For the chart and the CSV file."""
        timings = self.timings
        return {
            "id": self.id,
            "created_at": self.created_at,
            "model": self.model,
            "preset": self.preset,
            "width": self.width,
            "height": self.height,
            "steps": self.steps,
            "queue_s": timings.queue_s,
            "encode_s": timings.encode_s,
            "denoise_s": timings.denoise_s,
            "decode_s": timings.decode_s,
            "total_s": timings.total_s,
            "gb": self.gb,
            "compile": self.compile,
        }


def subject(status: EngineStatus, same: Sequence[Made]) -> str:
    """What the figures are about: model, device, and the size and steps made last."""
    if status.model is None or status.device is None or not same:
        return ""
    last = same[-1]
    return f"{status.model.name} on {status.device.name}, {last.width} × {last.height}, {last.steps} steps."


def comparable(made: Sequence[Made], status: EngineStatus) -> list[Made]:
    """Pictures of the model in use with the size and steps of the newest one, oldest first."""
    same = [m for m in made if status.model is not None and m.model == status.model.name]
    if not same:
        return []
    last = same[-1]
    return [m for m in same if (m.width, m.height, m.steps) == (last.width, last.height, last.steps)]


def request_like(same: Sequence[Made]) -> GenerateRequest | None:
    """A request for what the figures are about, so that the engine's own estimates speak of the same."""
    last = same[-1] if same else None
    return GenerateRequest(width=last.width, height=last.height, steps=last.steps) if last and last.steps else None


def key_figures(same: Sequence[Made], status: EngineStatus, run: Run, pictures: int, since: float | None) -> Value:
    """The row of large figures: the best preset's median, a step, memory, the first picture of the last run."""
    by_preset: dict[str, list[Made]] = {}
    for made in same:
        by_preset.setdefault(made.preset, []).append(made)
    medians = {name: statistics.median(m.seconds for m in rows[-RECENT:]) for name, rows in by_preset.items() if name}
    best = min(medians, key=medians.__getitem__, default=None)
    rows = by_preset.get(best, [])[-RECENT:] if best else []
    steps = [m.timings.s_per_step for m in rows if m.timings.steps]
    peaks = [m.gb for m in rows if m.gb is not None]
    first = [f.first_s for f in run.figures if f.first_s is not None]
    return {
        "best_s": medians.get(best) if best else None,
        "best_preset": best or "",
        "per_step_s": statistics.median(steps) if steps else None,
        "steps": rows[-1].steps if rows else None,
        "peak_gb": max(peaks, default=None),
        "device_gb": status.device.total_gb if status.device else None,
        "first_s": max(first, default=None),
        "pictures": pictures,
        "since": since,
    }


def preset_rows(choices: Sequence[PresetChoice], same: Sequence[Made], run: Run) -> list[Value]:
    """The ladder of presets: what the engine says of each, made sharper by what was measured."""
    figures = {f.preset: f for f in run.figures}
    return [_preset_row(choice, same, figures.get(choice.name)) for choice in choices]


def _preset_row(choice: PresetChoice, same: Sequence[Made], figures: PresetFigures | None) -> Value:
    rows = [m for m in same if m.preset == choice.name][-RECENT:]
    steps = [m.timings.s_per_step for m in rows if m.timings.steps]
    peaks = [m.gb for m in rows if m.gb is not None]
    return {
        "name": choice.name,
        "label": choice.label,
        "summary": choice.summary,
        "fits": choice.fits,
        "recommended": choice.recommended,
        "seconds": statistics.median(m.seconds for m in rows) if rows else choice.median_s,
        "gb": max(peaks) if peaks else choice.peak_gb,
        "measured": bool(rows) or choice.measured,
        "per_step": statistics.median(steps) if steps else (figures.per_step_s if figures else None),
        "first": figures.first_s if figures else None,
    }


def run_value(run: Run, labels: dict[str, str]) -> Value:
    """How the measurement stands."""
    label = labels.get(run.preset, run.preset)
    return {
        "running": run.running,
        "fraction": run.fraction,
        "label": f"{label}, {run.made + 1}" if run.running else "",
        "errors": [f"{labels.get(f.preset, f.preset)}: {f.error}" for f in run.figures if f.error],
    }


class Monitor:
    """What the device does now: cards through their driver, a CPU through the process and the machine."""

    def __init__(self) -> None:
        self._cards: Cards | None = None
        self._asked = False
        self._process = psutil.Process()

    def read(self, status: EngineStatus) -> Value:
        """Name, memory in use and in all, percent busy, and further readings as [key, text]."""
        device = status.device
        value: Value = {
            "name": device.name if device else "",
            "used_gb": status.memory.reserved_gb,  # the engine's own count, where no driver tells more
            "total_gb": device.total_gb if device else None,
            "busy": None,
            "more": [],
        }
        more = value["more"]
        if device is not None and device.kind == "cuda":
            self._read_card(value)
        else:
            machine = psutil.virtual_memory()
            value.update(used_gb=(machine.total - machine.available) / 1e9, total_gb=machine.total / 1e9)
            value["busy"] = psutil.cpu_percent(None)
        more.append(["process", f"{self._process.memory_info().rss / 1e9:.2f} GB"])
        more.append(["compile", status.compile])
        more.append(["queue", str(len(status.jobs))])
        return value

    def _read_card(self, value: Value) -> None:
        cards = self._open()
        reading = next(iter(cards.read()), None) if cards else None
        if reading is None:
            return
        value["used_gb"] = reading.used_mib * 2**20 / 1e9
        value["total_gb"] = (reading.used_mib + reading.free_mib) * 2**20 / 1e9
        value["busy"] = reading.utilization
        if reading.temperature is not None:
            value["more"].append(["temperature", f"{reading.temperature} °C"])
        if reading.power_w is not None:
            value["more"].append(["power", f"{reading.power_w:.0f} W"])

    def _open(self) -> Cards | None:
        if not self._asked:
            self._asked = True
            try:
                self._cards = Cards()
            except EngineError:
                self._cards = None  # no driver: the panel shows what the engine says
        return self._cards

"""The ladder of optimisations, run from the page: `python -m newbie_ui.bench` in a process of its own.

Promises: one run at a time; its last JSON line is kept in the output folder and found again after a restart; a run can
be stopped, and ends with this program. The page's engine goes on beside it, so on a small card close other work first.
It does not know what the rungs do; a line that it cannot read is left out.
"""

from __future__ import annotations

import atexit
import json
import logging
import math
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from newbie_ui.errors import EngineError
from newbie_ui.settings import PROJECT, Settings, flag

log = logging.getLogger(__name__)

FILE_NAME = "bench.jsonl"
ROUNDS = 3
SAID = "newbie_ui: "  # how commands begin the sentence that says why they ended
KEPT = 50
MODEL_FLAGS = ("model", "transformer", "text_encoder", "clip", "vae", "device")
COLUMNS = ("s/image", "peak GB", "first s", "of floor", "PSNR", "speed-up")
Value = dict[str, Any]


class Ladder:
    """Starts and follows runs; safe to call from any thread."""

    def __init__(self, settings: Settings | None, command: Sequence[str] = ()):
        self._settings = settings
        self._command = list(command) or [sys.executable, "-m", "newbie_ui.bench", "--rounds", str(ROUNDS)]
        self._file = Path(settings.output_dir) / FILE_NAME if settings else None
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._runs = _read(self._file)
        self.line = ""  # what the run said last
        self.error = ""

    @property
    def running(self) -> bool:
        with self._lock:
            return self._process is not None

    def runs(self) -> list[Value]:
        """Finished runs, oldest first."""
        with self._lock:
            return list(self._runs)

    def start(self) -> None:
        """Begin in the background. Raises EngineError if a run is under way."""
        with self._lock:
            if self._process is not None:
                raise EngineError("The ladder is being measured. Wait for it, or stop it.")
            self.line, self.error = "", ""
            self._process = subprocess.Popen(
                [*self._command, *model_flags(self._settings)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=PROJECT,
            )
            process = self._process
        atexit.register(process.kill)
        threading.Thread(target=self._follow, args=(process,), name="newbie-ui-ladder", daemon=True).start()

    def stop(self) -> None:
        """End the run; nothing of it is kept."""
        with self._lock:
            if self._process is not None:
                self._process.terminate()

    def _follow(self, process: subprocess.Popen[str]) -> None:
        said: list[str] = []
        listener = threading.Thread(target=lambda: said.extend(process.stderr), daemon=True)
        listener.start()
        last = ""
        for line in process.stdout:
            last = line.strip() or last
            if not last.startswith("{"):
                self.line = last[:200]
        code = process.wait()
        listener.join(5)
        process.stdout.close()
        process.stderr.close()
        atexit.unregister(process.kill)
        self._finish(code, last, "".join(said))

    def _finish(self, code: int, last: str, said: str) -> None:
        run = _parsed(last) if code == 0 else None
        if run is not None:
            self._keep(last)
        elif code > 0:
            reason = next(
                (line[len("newbie_ui: ") :] for line in said.splitlines() if line.startswith("newbie_ui: ")), ""
            )
            self.error = reason or f"The measurement ended with code {code}; the log has the reason."
            log.warning("bench ended with code %d: %s", code, said[-2000:])
        with self._lock:
            if run is not None:
                self._runs = [*self._runs, run][-KEPT:]
            self._process = None

    def _keep(self, line: str) -> None:
        if self._file is None:
            return
        try:
            with open(self._file, "a", encoding="utf-8") as lines:
                lines.write(line + "\n")
        except OSError as error:
            log.warning("the measurement is not kept: %s", error)


def model_flags(settings: Settings | None) -> list[str]:
    """The same model and device as the page's, as flags of the bench."""
    if settings is None:
        return []
    default = Settings()
    return [
        part
        for name in MODEL_FLAGS
        if getattr(settings, name) != getattr(default, name)
        for part in (flag(name), getattr(settings, name))
    ]


def _read(file: Path | None) -> list[Value]:
    try:
        lines = file.read_text("utf-8", "replace").splitlines() if file else []
    except OSError:
        return []
    return [run for run in map(_parsed, lines[-KEPT:]) if run is not None]


def _parsed(line: str) -> Value | None:
    try:
        run = json.loads(line)
        usable = isinstance(run["results"], list) and all(
            isinstance(r["rung"], str) and math.isfinite(r["step_ms"]) for r in run["results"]
        )
    except (ValueError, KeyError, TypeError):
        return None
    return run if usable and run["results"] else None


# ---- for the page ----------------------------------------------------------------------------------------------


def proof(run: Value | None) -> Value | None:
    """The chart of one run: bars in ms for a step, with a table, floors and ceilings."""
    if run is None:
        return None
    first = run["results"][0]
    rows = [r for r in run["results"] if _case(r) == _case(first)]
    reference = next((r for r in rows if r["rung"] == "reference"), None)
    best = min(r["step_ms"] for r in rows)
    floors = sorted({floor for floor in map(_floor, rows) if floor})
    size = f"{first.get('width')} × {first.get('height')}, {first.get('steps')} steps"
    made = (f"{run.get('model', '')} on {_device(run)}", run.get("dtype", ""), size, run.get("at", "")[:10])
    return {
        "subject": ", ".join(str(part) for part in made if part),
        "columns": list(COLUMNS),
        "floors": [{"value": ms, "label": f"floor {ms:.3g} ms"} for ms in floors],
        "rungs": [
            {
                "label": r["rung"],
                "title": str(r.get("adds", "")),
                "ms": r["step_ms"],
                "best": r["step_ms"] == best,
                "reference": r is reference,
                "cells": _cells(r, reference),
            }
            for r in rows
        ],
        "ceilings": _ceilings(run.get("ceilings")),
    }


def row(run: Value) -> Value:
    """One line of the list of runs."""
    best = min(run["results"], key=lambda r: r["step_ms"])
    return {"at": run.get("at", ""), "what": best["rung"], "figure": f"{best['step_ms']:.4g} ms/step"}


def _case(result: Value) -> tuple[Any, ...]:
    return result.get("width"), result.get("height"), result.get("batch")


def _floor(result: Value) -> float | None:
    floor = result.get("floor_ms")
    return round(float(floor), 2) if isinstance(floor, (int, float)) and floor > 0 else None


def _device(run: Value) -> str:
    device = run.get("device")
    return str(device.get("name", "")) if isinstance(device, Mapping) else ""


def _cells(result: Value, reference: Value | None) -> list[str]:
    def cell(key: str, form: str) -> str:
        value = result.get(key)
        return form.format(value) if isinstance(value, (int, float)) else "–"

    peak = "reserved_gb" if result.get("reserved_gb") is not None else "resident_gb"
    speed = f"{reference['step_ms'] / result['step_ms']:.2f} ×" if reference else "–"
    shown = (("steady_s", "{:.3g}"), (peak, "{:.2f}"), ("first_s", "{:.3g}"), ("share_of_floor", "{:.0%}"))
    return [*(cell(key, form) for key, form in shown), cell("psnr_db", "{:.0f}"), speed]


def _ceilings(found: Any) -> list[Value]:
    """[{name, tflops}] of all that was measured."""
    if not isinstance(found, Mapping):
        return []
    titles = (("matmul", "Matmul"), ("fp8", "Matmul fp8"), ("attention", "Attention"))
    return [
        {"name": f"{title}, {name}", "tflops": rate / 1e12}
        for key, title in titles
        if isinstance(found.get(key), Mapping)
        for name, rate in found[key].items()
        if isinstance(rate, (int, float))
    ]

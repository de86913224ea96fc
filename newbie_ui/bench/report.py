"""A bench run as a table, as rows of a CSV and as one JSON line."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from newbie_ui.bench.ceilings import Ceilings
from newbie_ui.bench.measure import RungResult
from newbie_ui.engine.base import DeviceInfo

TABLE = (
    ("rung", "rung", "{}"),
    ("size", None, "{}"),
    ("batch", "batch", "{}"),
    ("first s", "first_s", "{:.2f}"),
    ("compile s", "compile_s", "{:.1f}"),
    ("s/image", "steady_s", "{:.3f}"),
    ("× ref", None, "{}"),
    ("new prompt s", "new_prompt_s", "{:.3f}"),
    ("ms/step", "step_ms", "{:.1f}"),
    ("% floor", "share_of_floor", "{:.0%}"),
    ("img/min", "images_per_min", "{:.1f}"),
    ("alloc GB", "allocated_gb", "{:.2f}"),
    ("resv GB", "reserved_gb", "{:.2f}"),
    ("reuse", "reuse", "{:.0%}"),
    ("RSS GB", "resident_gb", "{:.2f}"),
    ("v err", "velocity_error", "{:.1e}"),
    ("PSNR", "psnr_db", "{:.1f}"),
    ("% right", "accuracy", "{:.1f}"),
    ("lossless", None, "{}"),
)


@dataclass(frozen=True)
class Run:
    """Everything that one call of the bench found."""

    device: DeviceInfo
    model: str
    dtype: str
    ceilings: Ceilings
    results: tuple[RungResult, ...]
    failures: Mapping[str, str]  # rung, size and batch → why
    at: str
    versions: Mapping[str, str]
    command: Sequence[str] = ()  # the flags


def ceilings_text(ceilings: Ceilings, floor_ms: float, fp8_floor_ms: float | None) -> str:
    """The ceilings as lines, in TFLOP/s."""
    lines = []
    for title, rates in (("matmul", ceilings.matmul), ("fp8", ceilings.fp8), ("attention", ceilings.attention)):
        if rates:
            lines.append(f"{title:10}" + "  ".join(f"{name} {rate / 1e12:.3g}" for name, rate in rates.items()))
    lines.append(f"{'floor':10}{floor_ms:.1f} ms a step" + (f", fp8 {fp8_floor_ms:.1f} ms" if fp8_floor_ms else ""))
    return "TFLOP/s at this model's shapes\n" + "\n".join(lines)


def cells(results: Sequence[RungResult], reference: str = "reference") -> list[list[str]]:
    """A row of titles and one a result; columns with nothing in them are left out."""
    base = {(r.width, r.height, r.batch): r.steady_s for r in results if r.rung == reference}
    rows = [[title for title, _, _ in TABLE]]
    for result in results:
        known = base.get((result.width, result.height, result.batch))
        made = {
            "size": f"{result.width}×{result.height}",
            "× ref": f"{known / result.steady_s:.2f}" if known else "",
            "lossless": "yes" if result.lossless else "no",
        }
        rows.append([made[title] if key is None else _cell(result, key, form) for title, key, form in TABLE])
    return [list(row) for row in zip(*(column for column in zip(*rows) if any(column[1:])))]


def table(results: Sequence[RungResult], reference: str = "reference") -> str:
    """Aligned columns for a terminal."""
    rows = cells(results, reference)
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(row, widths)) for row in rows)


def as_json(run: Run) -> str:
    """One line; numbers as measured."""
    return json.dumps({**asdict(run), "device": asdict(run.device)})


def append_csv(file: Path, run: Run) -> None:
    """One row a rung, with a header where the file is new."""
    names = [f.name for f in fields(RungResult) if f.name != "facts"]
    more = {"at": run.at, "device": run.device.name, "model": run.model, "torch": run.versions["torch"]}
    new = not file.exists() or file.stat().st_size == 0
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "a", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, [*more, *names])
        if new:
            writer.writeheader()
        for result in run.results:
            writer.writerow({**more, **{name: getattr(result, name) for name in names}})


def _cell(result: RungResult, key: str, form: str) -> str:
    value: Any = getattr(result, key)
    return "" if value is None else form.format(value)

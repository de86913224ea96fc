"""The suite's findings as Markdown: what was asked beside what was measured, then every stage's own table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from newbie_ui.bench.ceilings import Ceilings
from newbie_ui.bench.measure import RungResult
from newbie_ui.bench.report import ceilings_text, cells

Found = Mapping[str, Any]  # stage → {"result": …} or {"error": …}
Value = tuple[str, bool]  # what was measured, and whether it is enough

LOSSLESS, EAGER, TURBO = "vae", "eager", "turbo"
PEAKS = {"quality": 19.0, "balanced": 12.0, "economy": 8.5, "small": 6.5, "minimal": 4.0}
TIMES = {"quality": 1.0, "balanced": 1.1, "economy": 1.2, "small": 1.6, "minimal": 4.0}


def report(found: Found) -> str:
    """A whole page. Stages that were not run, or failed, are named and left out."""
    parts = [_head(found)]
    for title, rows in (("Targets", targets(found)), ("Presets under a cap", presets(found))):
        if rows:
            parts.append(f"## {title}\n\n{markdown(rows)}")
    for stage in ("ladder", "presets", "batch", "survive", "demo"):
        if result := _result(found, stage):
            parts.append(_ladder(stage, result))
    for stage, show in (("start", _start), ("shapes", _shapes), ("parts", _parts), ("soak", _soak), ("fit", _fit)):
        if result := _result(found, stage):
            parts.append(f"## {stage.capitalize()}\n\n{show(result)}")
    if errors := [f"- {name}: {entry['error']}" for name, entry in found.items() if "error" in entry]:
        parts.append("## Failed\n\n" + "\n".join(errors))
    commands = [f"{' '.join(entry['command'])}  # {entry['seconds']:.0f} s" for entry in found.values()]
    parts.append("## Commands\n\n```\n" + "\n".join(commands) + "\n```")
    return "\n\n".join(parts) + "\n"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first of them titles."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


# ---- what was asked --------------------------------------------------------------------------------------------


def targets(found: Found) -> list[list[str]]:
    """One row a target of the page; those whose stage is missing say so."""
    eight = next((row["rung"] for row in _rows(found, "ladder") if row["rung"] in ("fp8", "int8")), "fp8")

    def best(rung: str, key: str, wanted: float, form: str, factor: float = 1.0) -> Callable[[], Value]:
        return lambda: _at_least(factor * _of(found, rung, key), wanted, form)

    def most(rung: str, key: str, allowed: float, form: str, factor: float = 1.0) -> Callable[[], Value]:
        return lambda: _at_most(factor * _of(found, rung, key), allowed, form)

    asked: list[tuple[str, str, Callable[[], Value]]] = [
        ("lossless", "≥ 2.15 × the eager reference", lambda: _speed(found, LOSSLESS, "reference", 2.15)),
        ("lossless", "≥ 1.3 × the compiled reference", lambda: _speed(found, LOSSLESS, "reference-compiled", 1.3)),
        ("lossless", "step ≥ 90 % of the floor", best(LOSSLESS, "share_of_floor", 0.9, "{:.1%}")),
        ("lossless", "velocity error ≤ 1e-2", most(LOSSLESS, "velocity_error", 1e-2, "{:.1e}")),
        (eight, "≥ 2.9 × the eager reference", lambda: _speed(found, eight, "reference", 2.9)),
        (eight, "step ≥ 82 % of the floor", best(eight, "share_of_floor", 0.82, "{:.1%}")),
        (eight, "velocity error ≤ 5e-2", most(eight, "velocity_error", 5e-2, "{:.1e}")),
        (eight, "demo accuracy −1 point at most", lambda: _lost(found, eight, 1.0)),
        (TURBO, "≥ 6 × the eager reference", lambda: _speed(found, TURBO, "reference", 6.0)),
        (TURBO, "demo accuracy −2 points at most", lambda: _lost(found, TURBO, 2.0)),
        ("warm start", "≤ 10 s to the first picture", lambda: _started(found, "warm", "total_s", 10)),
        ("warm start", "≤ 3 s of it compiling", lambda: _started(found, "warm", "compile_s", 3)),
        ("cold start", "≤ 15 s compiling", lambda: _started(found, "cold", "compile_s", 15)),
        ("warmed shapes", "nothing compiled anew", lambda: _at_most(found["shapes"]["result"]["recompiled"], 0, "{}")),
        ("batch 4", "never fewer pictures a minute", lambda: _batch(found, large=True)),
        ("batch 4, small", "≥ 1.3 × the pictures a minute", lambda: _batch(found, large=False)),
        ("unchanged prompt", "encode ≤ 2 ms", most(LOSSLESS, "encode_s", 2, "{:.2f} ms", 1000)),
        ("engine overhead", "≤ 20 ms a picture", most(LOSSLESS, "overhead_ms", 20, "{:.1f} ms")),
        ("100 pictures", "reserved memory +3 % at most", lambda: _grown(found, 0.03)),
    ]
    rows = [["mode", "asked", "measured", "reached"]]
    return [*rows, *([mode, what, *_judged(measure)] for mode, what, measure in asked)]


def _judged(measure: Callable[[], Value]) -> tuple[str, str]:
    try:
        text, enough = measure()
    except LookupError:  # its stage was not run, or not on this device
        return "not measured", ""
    return text, "yes" if enough else "no"


def presets(found: Found) -> list[list[str]]:
    rows = _rows(found, "presets")
    base = {(row["width"], row["height"]): row["steady_s"] for row in rows if row["rung"] == "quality"}
    table = [
        ["preset", "size", "peak reserved GB", "asked", "× quality's time", "asked", "with a new prompt s", "reached"]
    ]
    for row in rows:
        name, size = row["rung"], (row["width"], row["height"])
        if name not in PEAKS or size not in base or row["reserved_gb"] is None:
            continue
        ratio = row["steady_s"] / base[size]
        reached = row["reserved_gb"] <= PEAKS[name] and ratio <= TIMES[name]
        figures = (f"{row['reserved_gb']:.2f}", f"≤ {PEAKS[name]:g}", f"{ratio:.2f}", f"≤ {TIMES[name]:g}")
        table.append(
            [name, "×".join(map(str, size)), *figures, f"{row['new_prompt_s']:.2f}", "yes" if reached else "no"]
        )
    return table if len(table) > 1 else []


def _of(found: Found, rung: str, key: str, stage: str = "ladder") -> Any:
    return {row["rung"]: row[key] for row in _rows(found, stage)}[rung]


def _speed(found: Found, rung: str, base: str, wanted: float) -> Value:
    return _at_least(_of(found, base, "steady_s") / _of(found, rung, "steady_s"), wanted, "{:.2f} ×")


def _lost(found: Found, rung: str, allowed: float) -> Value:
    before, after = _of(found, EAGER, "accuracy", "demo"), _of(found, rung, "accuracy", "demo")
    return f"{after - before:+.2f} ({before:.2f} → {after:.2f} %)", before - after <= allowed


def _started(found: Found, state: str, key: str, allowed: float) -> Value:
    return _at_most(found["start"]["result"][state][key], allowed, "{:.1f} s")


def _grown(found: Found, allowed: float) -> Value:
    return _at_most(found["soak"]["result"]["growth"], allowed, "{:+.1%}")


def _batch(found: Found, large: bool) -> Value:
    """Pictures together against one alone, each in the fastest way that was measured."""
    rows = _rows(found, "batch")
    pixels = [row["width"] * row["height"] for row in rows]
    chosen = sorted(pixels)[-1 if large else 0]
    rates: dict[int, float] = {}
    for row, size in zip(rows, pixels):
        if size == chosen:
            rates[row["batch"]] = max(row["images_per_min"], rates.get(row["batch"], 0.0))
    return _at_least(rates[4] / rates[1], 1.0 if large else 1.3, "{:.2f} ×")


def _at_least(value: float, wanted: float, form: str) -> Value:
    return form.format(value), value >= wanted


def _at_most(value: float, allowed: float, form: str) -> Value:
    return form.format(value), value <= allowed


# ---- what each stage found -------------------------------------------------------------------------------------


def _result(found: Found, stage: str) -> Any:
    return found.get(stage, {}).get("result")


def _rows(found: Found, stage: str) -> list[dict[str, Any]]:
    result = _result(found, stage)
    return result["results"] if result else []


def _head(found: Found) -> str:
    runs = [entry["result"] for entry in found.values() if "versions" in entry.get("result", ())]
    if not runs:
        return "# Measured"
    run = runs[0]
    device = run["device"]["name"] if isinstance(run["device"], dict) else run["device"]
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return f"# Measured on {device}\n\n{run['model']}, {run['at']}, {versions}."


def _ladder(stage: str, run: dict[str, Any]) -> str:
    rates = Ceilings(**run["ceilings"])
    first = run["results"][0] if run["results"] else {}
    floors = {row["floor_ms"] for row in run["results"] if row["floor_ms"]}
    ceilings = ceilings_text(rates, max(floors, default=0.0), None)
    table = markdown(cells([RungResult(**row) for row in run["results"]])) if run["results"] else ""
    what = "\n".join(f"- `{row['rung']}`: {row['adds']}" for row in _unique(run["results"]))
    notes = "".join(f"\n- {row['rung']}: {row['facts']['notes']}" for row in run["results"] if "notes" in row["facts"])
    failed = "".join(f"\n- failed, {name}: {why}" for name, why in run["failures"].items())
    steps = f"{first.get('steps', '?')} steps, {run['dtype']}"
    return f"## {stage.capitalize()}\n\n{steps}\n\n```\n{ceilings}\n```\n\n{table}\n\n{what}{notes}{failed}"


def _unique(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({row["rung"]: row for row in rows}.values())


def _start(result: dict[str, Any]) -> str:
    keys = ("import_s", "load_s", "picture_s", "total_s", "compile_s")
    rows = [["cache", *(key.removesuffix("_s") + " s" for key in keys)]]
    return markdown([*rows, *([state, *(f"{run[key]:.2f}" for key in keys)] for state, run in result.items())])


def _shapes(result: dict[str, Any]) -> str:
    return (
        f"{result['shapes']} shapes of preset {result['preset']} were warm {result['warm_s']:.1f} s after loading, "
        f"{result['compile_s']:.1f} s of it compiling. Pictures of all compiled {result['recompiled']} graphs anew."
    )


def _parts(result: dict[str, Any]) -> str:
    rows = [["decode", "ms", "GB beyond the weights", "levels off at most"]]
    for row in result["decode"]:
        memory = "" if row["extra_gb"] is None else f"{row['extra_gb']:.2f}"
        rows.append([row["way"], f"{row['ms']:.1f}", memory, f"{row['levels']:.2f}"])
    hoist, profile = result["hoist"], result["profile"]
    kinds = [["kernels", "ms of a guided step"], *([kind, f"{ms:.2f}"] for kind, ms in profile["ms"].items())]
    longest = "\n".join(f"{row['ms']:9.3f} ms  {row['name']}" for row in profile["longest"])
    return "\n\n".join(
        [
            markdown(rows),
            f"One evaluation with everything in it {hoist['inside_ms']:.2f} ms, with the fixed work hoisted out "
            f"{hoist['hoisted_ms']:.2f} ms.",
            markdown(kinds),
            f"Wall {profile['wall_ms']:.2f} ms.",
            f"```\n{longest}\n```",
        ]
    )


def _soak(result: dict[str, Any]) -> str:
    kept, presets = result["kept_gb"], ", ".join(result["presets"])
    return (
        f"{result['pictures']} pictures with {presets}: {kept[min(9, len(kept) - 1)]:.3f} GB after the tenth, "
        f"{kept[-1]:.3f} GB after the last, {result['growth']:+.1%}."
    )


def _fit(result: dict[str, Any]) -> str:
    rows = [["guided to", "cache", "work", "% right", "s a picture"]]
    for row in result["rows"]:
        figures = (f"{row['work']:.0%}", f"{row['percent']:.2f}", f"{row['seconds']:.2f}")
        rows.append([f"{row['guidance_end']:g}", f"{row['step_cache']:g}", *figures])
    best = result["best"]
    chosen = f"guidance to {best['guidance_end']:g}, cache {best['step_cache']:g}"
    return f"{markdown(rows)}\n\n{result['pictures']} pictures a row. Best within two points: {chosen}."

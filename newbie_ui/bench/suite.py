"""Every figure of `docs/performance.md` in one go: `python -m newbie_ui.bench.suite DIR`.

A row of stages, each a command of its own with a few minutes to run. After each one DIR holds

    results.json   what every stage found, its command, seconds and errors
    report.md      the same as tables, with the targets beside what was measured
    bench.csv      a row a rung
    cards.csv      what the cards did meanwhile
    log.txt        what libraries said

A stage that is in results.json is not run again, so a run that was broken off goes on where it stopped; `--stages`
chooses. On a processor the same stages run with what there is, on a small model in a minute or two.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from newbie_ui.bench.circumstances import now
from newbie_ui.bench.tables import report
from newbie_ui.engine.threads import keep_memory_whole, share_cores

GRID = ("--ends", "1,0.5,0.3", "--thresholds", "0,0.1,0.2,0.3")
CAPPED = ("quality", "balanced", "minimal", "economy", "small")  # those with the same weights next to each other


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    weights: tuple[str, ...] = ("--random-weights",)  # flags of the model
    device: str = "auto"
    size: str = "1024x1024"
    tall: str = "1024x1536"
    small: str = "512x512"
    steps: int | None = None
    rounds: int = 10
    side_rounds: int = 3
    count: int = 100  # pictures in a row
    fitted: int = 40  # pictures a combination of shortcuts
    judged: int = 100  # pictures that the demo's reader looks at


@dataclass(frozen=True)
class Stage:
    """One command. `minutes` is what it takes about, on an H100."""

    name: str
    minutes: float
    command: tuple[str, ...]


def stages(scale: Scale, eight: str, card: bool) -> list[Stage]:
    """All of them, the most wanted first. `eight` is what 8 bit means on the device ("off" for nothing)."""
    steps = () if scale.steps is None else ("--steps", str(scale.steps))
    device = ("--device", scale.device)
    common = (*scale.weights, *device, *steps)
    bench = ("newbie_ui.bench", *common)
    preset = "quality" if card else "cpu"
    rounds = ("--rounds", str(scale.rounds), "--side-rounds", str(scale.side_rounds))
    few = ("--rounds", str(scale.side_rounds))
    capped = ("--preset", ",".join(CAPPED), "--cap-gb", "preset") if card else ("--preset", preset)
    batch_rungs = "vae,graphs" if card else "eager"
    demo_rungs = ["eager", *(["vae"] if card else []), *([] if eight == "off" else [eight]), "interval", "turbo"]
    small_demo = (*device, *steps, "--rounds", "2", "--accuracy", str(scale.judged))
    batches = ("--batch", "1,4", "--sizes", f"{scale.size},{scale.small}")
    warmed = f"compile=block,warm=12,warm_sizes={scale.size} {scale.small}"
    still = ("--preset", preset, "--set", "warm=0")
    found = [
        Stage("ladder", 8.5, (*bench, "--sizes", scale.size, *rounds)),
        Stage("presets", 8, (*bench, *capped, "--sizes", f"{scale.size},{scale.tall}", *few)),
        Stage("start", 2, ("newbie_ui.bench.start", *common, "--preset", preset, "--size", scale.size)),
        Stage("batch", 3, (*bench, "--rungs", batch_rungs, *batches, *few)),
        Stage("shapes", 1.5, ("newbie_ui.bench.shapes", *common, "--preset", preset, "--set", warmed)),
        Stage("parts", 1.5, ("newbie_ui.bench.parts", *common, *still, "--size", scale.size, *few)),
        Stage("demo", 3, ("newbie_ui.bench", "--rungs", ",".join(demo_rungs), *small_demo)),
        Stage("soak", 2.5, ("newbie_ui.bench.soak", *common, *_soak(scale, card))),
        Stage("fit", 3.5, ("newbie_ui.bench.fit", *device, *steps, "--pictures", str(scale.fitted), *GRID)),
    ]
    if card:
        short = ("--preset", "quality", "--cap-gb", "12", "--sizes", scale.tall, "--rounds", "1")
        found.insert(6, Stage("survive", 1.5, (*bench, *short)))
    return found


def _soak(scale: Scale, card: bool) -> tuple[str, ...]:
    presets = "quality,balanced" if card else "cpu"
    few_steps = () if scale.steps else ("--steps", "4")
    return ("--preset", presets, "--set", "warm=0", "--size", scale.size, "--count", str(scale.count), *few_steps)


def run(folder: Path, wanted: Sequence[Stage], again: bool = False) -> dict[str, Any]:
    """Run what is not there yet, and write everything after each stage."""
    folder.mkdir(parents=True, exist_ok=True)
    results = read(folder)
    for stage in wanted:
        if "result" in results.get(stage.name, ()) and not again:
            print(f"{stage.name}: already there", flush=True)
            continue
        print(f"{stage.name}: about {stage.minutes:g} min on an H100", flush=True)
        results[stage.name] = _run_stage(folder, stage)
        _write(folder / "results.json", json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        _write(folder / "report.md", report(results))
    return results


def read(folder: Path) -> dict[str, Any]:
    file = folder / "results.json"
    return json.loads(file.read_text("utf-8")) if file.exists() else {}


def _run_stage(folder: Path, stage: Stage) -> dict[str, Any]:
    """Its result, or the error; a stage that fails does not end the others."""
    module, *flags = stage.command
    if module == "newbie_ui.bench":
        flags += ["--csv", str(folder / "bench.csv")]
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    share_cores(environ)
    keep_memory_whole(environ)
    started, last = time.monotonic(), ""
    with open(folder / "log.txt", "a", encoding="utf-8") as log:
        print(f"\n==== {stage.name} {now()}", file=log, flush=True)
        process = subprocess.Popen(
            [sys.executable, "-m", module, *flags],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environ,
        )
        try:
            for line in process.stdout:
                last = line.strip() or last
                if not last.startswith("{"):
                    print(f"  {last}", flush=True)
            code = process.wait()
        finally:
            process.kill()
            process.wait()
    done = {"command": ["python", "-m", *stage.command], "seconds": round(time.monotonic() - started, 1), "at": now()}
    if code == 0 and last.startswith("{"):
        return {**done, "result": json.loads(last)}
    print(f"  {stage.name} ended with code {code}; log.txt says why", flush=True)
    return {**done, "error": f"code {code}: {last[:300]}"}


def _write(file: Path, text: str) -> None:
    partial = file.with_suffix(".part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, file)


def _watch_cards(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "newbie_ui.monitor", "--csv", str(folder / "cards.csv")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m newbie_ui.bench.suite", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="where everything is written")
    parser.add_argument("--stages", default="", metavar="A,B", help="only these")
    parser.add_argument("--again", action="store_true", help="also those that are there already")
    parser.add_argument("--model", default="", help="this model instead of the full size with random weights")
    parser.add_argument("--device", default="auto")
    for name in ("size", "tall", "small"):
        parser.add_argument(f"--{name}", metavar="WxH", default=getattr(Scale, name))
    for name in ("steps", "rounds", "side_rounds", "count", "fitted", "judged"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", default=getattr(Scale, name))
    given: Mapping[str, Any] = vars(parser.parse_args(argv))
    names = [name for name in given["stages"].split(",") if name]
    scale = Scale(
        weights=("--model", given["model"]) if given["model"] else Scale.weights,
        **{name: given[name] for name in Scale.__dataclass_fields__ if name in given},
    )
    from newbie_ui.engine.measure import describe_device, find_device
    from newbie_ui.presets import resolve_8bit

    device = describe_device(find_device(scale.device))
    known = stages(scale, resolve_8bit("8bit", device.capability), device.kind == "cuda")
    if unknown := set(names) - {stage.name for stage in known}:
        parser.error(f"{unknown.pop()!r} is no stage here. There are: {', '.join(stage.name for stage in known)}.")
    given["folder"].mkdir(parents=True, exist_ok=True)
    watcher = _watch_cards(given["folder"])
    try:
        results = run(given["folder"], [s for s in known if not names or s.name in names], given["again"])
    except KeyboardInterrupt:
        return 130
    finally:
        watcher.terminate()
        watcher.wait()
    failed = [name for name, found in results.items() if "error" in found]
    print(f"{given['folder'] / 'report.md'} is written" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

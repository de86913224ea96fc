"""From the start of a process to its first picture: `python -m newbie_ui.bench.start`.

Twice in a process of its own: with an empty compile cache, then with what the first one left there. With
`--random-weights` a checkpoint of the full size is written to a temporary folder first (16 GB), so that reading it
counts; it is in the page cache then. The last line is JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from newbie_ui.exit_code import exit_code

CHILD = "--child"


def first_picture(argv: Sequence[str]) -> dict[str, Any]:
    """In a fresh process: the seconds since it began, at the loaded engine and at the first picture."""
    from newbie_ui.bench.setup import make, new_engine, read_flags, request_of
    from newbie_ui.engine.compile import graphs_built, seconds_compiling
    from newbie_ui.request import Encoded, Event, Loading, Step

    began = psutil.Process().create_time()
    imported = time.time()
    bench, source = read_flags("python -m newbie_ui.bench.start", __doc__, argv)
    begun: dict[str, float] = {}  # what was being done, and when that began

    def note(event: Event) -> None:
        name = event.message if isinstance(event, Loading) else {Encoded: "first step", Step: "steps"}.get(type(event))
        if name:
            begun.setdefault(name, time.time())

    with new_engine(bench.settings, source, bench.presets) as engine:  # the job waits while the model is loaded
        result = make(engine, request_of(bench), note)[-1]
        done = time.time()
    return {
        "import_s": imported - began,
        "load_s": done - imported - (result.timings.total_s - result.timings.queue_s),
        "picture_s": result.timings.total_s - result.timings.queue_s,
        "total_s": done - began,
        "phases": {name: until - at for (name, at), until in zip(begun.items(), [*begun.values(), done][1:])},
        "compile_s": seconds_compiling(),
        "graphs": graphs_built(),
        "preset": result.resolved.preset,
        "size": (result.resolved.width, result.resolved.height),
        "steps": result.resolved.steps,
        "device": engine.device.name,
    }


def measure_start(argv: Sequence[str], say) -> dict[str, Any]:
    """{"cold": …, "warm": …}: the same command with an empty cache and with a filled one."""
    with TemporaryDirectory() as scratch:
        if "--random-weights" in argv:
            model = _write_model(Path(scratch) / "model", say)
            argv = [*(flag for flag in argv if flag != "--random-weights"), "--model", str(model)]
        cache = {"TORCHINDUCTOR_CACHE_DIR": str(Path(scratch) / "compiled")}
        found = {}
        for state in ("cold", "warm"):
            found[state] = run = _in_a_process(argv, {**os.environ, **cache})
            say(f"{state}: {run['total_s']:.1f} s to the first picture, {run['compile_s']:.1f} s of it compiling")
        return found


def _in_a_process(argv: Sequence[str], environ: dict[str, str]) -> dict[str, Any]:
    from newbie_ui.errors import EngineError

    command = [sys.executable, "-m", "newbie_ui.bench.start", CHILD, *argv]
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, stderr=sys.stderr, text=True)
    if done.returncode:
        raise EngineError("The first picture of a fresh process failed; the reason is above.")
    return json.loads(done.stdout.splitlines()[-1])


def _write_model(folder: Path, say) -> Path:
    import torch

    from newbie_ui.bench.setup import load_random
    from newbie_ui.engine.measure import find_device

    started = time.perf_counter()
    load_random(find_device("auto"), torch.bfloat16, None).save_pretrained(folder)
    say(f"a checkpoint was written in {time.perf_counter() - started:.1f} s")
    return folder


@exit_code
def main(argv: Sequence[str] | None = None) -> None:
    from newbie_ui.bench.setup import prepared

    argv = list(sys.argv[1:] if argv is None else argv)
    with prepared() as say:
        result = first_picture(argv[1:]) if argv[:1] == [CHILD] else measure_start(argv, say)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    sys.exit(main())

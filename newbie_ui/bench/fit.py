"""Find how far the lossy shortcuts may go: `python -m newbie_ui.bench.fit`.

Makes the same pictures of the demo model with every combination of the end of guidance and the step cache's
threshold, reads them, and names the combination with the least work that costs at most two points of accuracy.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from newbie_ui.bench.accuracy import accuracy, counted_work
from newbie_ui.engine.history import History
from newbie_ui.engine.local import LocalEngine
from newbie_ui.engine.measure import find_device
from newbie_ui.presets import Preset
from newbie_ui.settings import Settings

POINTS = 2.0  # of accuracy that may be lost


@dataclass(frozen=True)
class Row:
    """One combination: the share of the full guided work that was done, and what it kept."""

    guidance_end: float
    step_cache: float
    work: float
    percent: float
    seconds: float  # a picture


def fit(
    ends: Sequence[float], thresholds: Sequence[float], number: int, device: str, steps: int | None, say
) -> list[Row]:
    """All combinations, the exact one first."""
    kind = find_device(device).type
    pairs = dict.fromkeys([(1.0, 0.0), *((end, threshold) for end in ends for threshold in thresholds)])
    presets = {
        pair: Preset(
            name=f"fit-{n}", device=kind, attention="native", preview_s=60.0, guidance_end=pair[0], step_cache=pair[1]
        )
        for n, pair in enumerate(pairs)
    }
    first = next(iter(presets.values())).name
    settings = Settings(device=device, preset=first)
    rows: list[Row] = []
    with LocalEngine(settings, history=History(), presets=list(presets.values())) as engine:
        engine.wait_until_open()
        accuracy(engine, first, 1, steps)  # warm up
        transformer = engine.rig.pipe.transformer
        for (end, threshold), preset in presets.items():
            started = time.perf_counter()
            with counted_work(transformer) as passes:
                percent = accuracy(engine, preset.name, number, steps)
            full = 2 * number * (steps or engine.model.defaults["steps"])
            rows.append(Row(end, threshold, sum(passes) / full, percent, (time.perf_counter() - started) / number))
            say(_line(rows[-1]))
    return rows


def best(rows: Sequence[Row]) -> Row:
    """The least work among those that keep enough; the first row is the exact one."""
    return min((row for row in rows if row.percent >= rows[0].percent - POINTS), key=lambda row: row.work)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m newbie_ui.bench.fit", description=__doc__.split("\n")[0])
    parser.add_argument("--ends", default="1,0.6,0.4", help="ends of guidance, 0 noise to 1 picture")
    parser.add_argument("--thresholds", default="0,0.05,0.1,0.2", help="of the step cache")
    parser.add_argument("--pictures", type=int, default=100, help="pictures a combination")
    parser.add_argument("--steps", type=int, help="default: the model's")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args(argv)
    ends, thresholds = ([float(part) for part in text.split(",")] for text in (given.ends, given.thresholds))
    rows = fit(ends, thresholds, given.pictures, given.device, given.steps, lambda text: print(text, flush=True))
    chosen = best(rows)
    print(f"best: {_line(chosen)}")
    print(json.dumps({"pictures": given.pictures, "rows": [asdict(row) for row in rows], "best": asdict(chosen)}))
    return 0


def _line(row: Row) -> str:
    return (
        f"guided to {row.guidance_end:g}, cache {row.step_cache:g}: {row.work:.0%} of the work, "
        f"{row.percent:.2f} % right, {row.seconds:.2f} s a picture"
    )


if __name__ == "__main__":
    sys.exit(main())

"""How many steps each sampler needs: `python -m newbie_ui.demo.samplers`.

The same held-out prompts and seeds are sampled with every sampler at several step counts and read by the reader. The
accuracy is the mean of all graded attributes; a sampler is *there* at the first count from which on it stays within
one point of its own accuracy at the largest. With `--shared-end` only Euler and the ancestral sampler run the largest
count and Heun, DPM++ and UniPC are held against Euler's: without fresh noise all end at the same picture. Prints a
table after each batch of prompts (so that a run may be stopped early) and at last one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import torch

from newbie_ui.demo.evaluate import MANNERS, captions_of, grade_pictures, held_out_scenes
from newbie_ui.demo.grading import Score
from newbie_ui.demo.reader import Reader
from newbie_ui.demo.weights_folder import WEIGHTS, load_reader
from newbie_ui.model.pipeline import NewbiePipeline
from newbie_ui.model.schedule import make_schedule
from newbie_ui.request import SAMPLERS, SCHEDULES

COUNTS = (4, 6, 8, 10, 12, 16, 20, 28, 50)
MARGIN = 1.0  # points
SHARED_END = ("heun", "dpmpp_2m", "unipc")  # these end where Euler ends


def accuracy(percent: Mapping[str, float]) -> float:
    """Mean of everything that should be right; binding counts what is wrong and stays out."""
    values = [value for name, value in percent.items() if name != "binding"]
    return sum(values) / len(values)


def steps_needed(curve: Mapping[int, float], best: float, margin: float = MARGIN) -> int | None:
    """The first step count from which on all are within the margin of `best`; None if the last one is not."""
    counts = sorted(curve)
    return next((n for k, n in enumerate(counts) if all(curve[later] >= best - margin for later in counts[k:])), None)


def best_of(curves: Mapping[str, Mapping[int, float]], sampler: str) -> float:
    """The accuracy at the largest count: the sampler's own, or Euler's where it was left out."""
    largest = max(n for curve in curves.values() for n in curve)
    return curves[sampler].get(largest, curves.get("euler", {}).get(largest, float("nan")))


def measure(
    pipe: NewbiePipeline,
    reader: Reader,
    number: int,
    batch: int,
    counts: Sequence[int],
    samplers: Sequence[str],
    schedule: str,
    shared_end: bool = False,
) -> Iterator[tuple[int, dict[str, dict[int, float]]]]:
    """After each batch of scenes of two characters: how many so far, and sampler → steps → accuracy in percent."""
    scenes = held_out_scenes(2, number)
    texts = captions_of(scenes, MANNERS["xml"])
    left_out = {(sampler, max(counts)) for sampler in SHARED_END} if shared_end else set()
    scores = {pair: Score() for pair in product(samplers, counts) if pair not in left_out}
    for start in range(0, number, batch):
        some = texts[start : start + batch]
        for (sampler, steps), score in scores.items():
            scheduler = make_schedule(sampler, schedule, steps, pipe.defaults["shift"]).scheduler()
            seeds = [torch.Generator().manual_seed(start + k) for k in range(len(some))]
            images = pipe(some, generator=seeds, scheduler=scheduler, output_type="pt").images.float().cpu()
            added = grade_pictures(reader, scenes[start : start + batch], 2 * images - 1)
            score.right.update(added.right)
            score.all.update(added.all)
        curves: dict[str, dict[int, float]] = {sampler: {} for sampler in samplers}
        for (sampler, steps), score in scores.items():
            curves[sampler][steps] = round(accuracy(score.as_dict()), 2)
        yield start + len(some), curves


def table(curves: Mapping[str, Mapping[int, float]]) -> str:
    """Markdown: a row a sampler, the step count in bold from which on it is there."""
    counts = sorted({n for curve in curves.values() for n in curve})
    head = [*map(str, counts), "there at", "model runs"]
    lines = ["| sampler | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for sampler, curve in curves.items():
        needed = steps_needed(curve, best_of(curves, sampler))
        cells = [("**{:.1f}**" if n == needed else "{:.1f}").format(curve[n]) if n in curve else "" for n in counts]
        runs = make_schedule(sampler, "simple", needed, 1.0).evaluations if needed else "–"
        lines.append(f"| `{sampler}` | {' | '.join(cells)} | {needed or '–'} | {runs} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m newbie_ui.demo.samplers", description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=WEIGHTS, help="folder of the model")
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)), help="step counts")
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    parser.add_argument("--schedule", default="simple", choices=SCHEDULES)
    parser.add_argument("--shared-end", action="store_true", help="the largest count for Euler and ancestral only")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    given = parser.parse_args(argv)
    started = time.monotonic()
    pipe = NewbiePipeline.from_pretrained(str(given.model), torch_dtype=torch.float32).to(given.device)
    pipe.set_progress_bar_config(disable=True)
    reader = load_reader(given.model / "reader").to(given.device)
    counts = [int(n) for n in given.counts.split(",")]
    samplers = given.samplers.split(",")
    rounds = measure(pipe, reader, given.prompts, given.batch, counts, samplers, given.schedule, given.shared_end)
    for done, curves in rounds:
        print(f"{done} prompts, {time.monotonic() - started:.0f} s\n{table(curves)}", flush=True)
    facts = {"prompts": done, "schedule": given.schedule, "seconds": round(time.monotonic() - started, 1)}
    line = json.dumps({**facts, "accuracy": curves})
    if given.out:
        given.out.write_text(line + "\n", encoding="utf-8")
    print(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

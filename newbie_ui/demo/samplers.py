"""How many steps each sampler needs: `python -m newbie_ui.demo.samplers`.

The same held-out prompts and seeds are sampled with every sampler at several step counts and read by the reader. The
accuracy is the mean of all graded attributes; a sampler is *there* at the first count from which on it stays within
one point of its own accuracy at the largest. With `--shared-end` only Euler and the ancestral sampler run the largest
count and Heun, DPM++ and UniPC are held against Euler's: without fresh noise all end at the same picture. Prints a
table after each batch of prompts (so that a run may be stopped early) and at last one JSON line. On a processor
`--jobs` processes with one thread each share the batches, which wastes less than threads that meet in every operation.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from itertools import product
from pathlib import Path

import torch

from newbie_ui.demo.evaluate import MANNERS, captions_of, grade_pictures, held_out_scenes
from newbie_ui.demo.grading import Score
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


def total(scores: Sequence[Score]) -> Score:
    """All pictures' answers together."""
    whole = Score()
    for score in scores:
        whole.right.update(score.right)
        whole.all.update(score.all)
    return whole


def error_of_difference(some: Sequence[Score], others: Sequence[Score]) -> float:
    """Standard error of the difference of two accuracies on the same prompts: the jackknife over the prompts."""
    n = len(some)
    if n < 2:
        return math.nan
    left_out = [
        accuracy(total([*some[:k], *some[k + 1 :]]).as_dict())
        - accuracy(total([*others[:k], *others[k + 1 :]]).as_dict())
        for k in range(n)
    ]
    middle = sum(left_out) / n
    return math.sqrt((n - 1) / n * sum((value - middle) ** 2 for value in left_out))


Scores = dict[tuple[str, int], list[Score]]  # (sampler, steps) → a score a prompt, always in the same order


def measure(given: argparse.Namespace, start: int) -> Scores:
    """One batch of scenes of two characters, from the prompt number `start` on, by every sampler at every count."""
    torch.set_num_threads(given.threads)
    pipe = NewbiePipeline.from_pretrained(str(given.model), torch_dtype=getattr(torch, given.dtype)).to(given.device)
    pipe.set_progress_bar_config(disable=True)
    reader = load_reader(given.model / "reader").to(given.device)
    scenes = held_out_scenes(2, given.prompts)
    texts = captions_of(scenes, MANNERS["xml"])[start : start + given.batch]
    scores: Scores = {}
    for sampler, steps in pairs(given):
        scheduler = make_schedule(sampler, given.schedule, steps, pipe.defaults["shift"]).scheduler()
        seeds = [torch.Generator().manual_seed(start + k) for k in range(len(texts))]
        images = pipe(texts, generator=seeds, scheduler=scheduler, output_type="pt").images.float().cpu()
        graded = zip(scenes[start:], 2 * images - 1)
        scores[sampler, steps] = [grade_pictures(reader, [scene], image[None]) for scene, image in graded]
    return scores


def pairs(given: argparse.Namespace) -> list[tuple[str, int]]:
    """(sampler, steps) of everything that is run."""
    counts = [int(n) for n in given.counts.split(",")]
    left_out = {(sampler, max(counts)) for sampler in SHARED_END} if given.shared_end else set()
    return [pair for pair in product(given.samplers.split(","), counts) if pair not in left_out]


def rounds(given: argparse.Namespace) -> Iterator[Scores]:
    """All that was measured so far, after each batch."""
    scores: Scores = {pair: [] for pair in pairs(given)}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.jobs, mp_context=spawn) as pool:
        starts = range(0, given.prompts, given.batch)
        for done in as_completed([pool.submit(partial(measure, given), start) for start in starts]):
            for pair, more in done.result().items():
                scores[pair] += more
            yield scores


def curves_of(scores: Scores) -> dict[str, dict[int, float]]:
    """Sampler → steps → accuracy in percent."""
    curves: dict[str, dict[int, float]] = {}
    for (sampler, steps), some in scores.items():
        curves.setdefault(sampler, {})[steps] = round(accuracy(total(some).as_dict()), 2)
    return curves


def errors_of(scores: Scores) -> dict[str, float]:
    """Sampler → standard error of the difference between where it is there and what it is held against."""
    curves, largest = curves_of(scores), max(steps for _, steps in scores)
    errors = {}
    for sampler, curve in curves.items():
        end = (sampler, largest) if (sampler, largest) in scores else ("euler", largest)
        needed = steps_needed(curve, best_of(curves, sampler))
        if needed and (sampler, needed) != end:
            errors[sampler] = round(error_of_difference(scores[sampler, needed], scores[end]), 2)
    return errors


def table(curves: Mapping[str, Mapping[int, float]], errors: Mapping[str, float]) -> str:
    """Markdown: a row a sampler, the step count in bold from which on it is there, its difference's standard error."""
    counts = sorted({n for curve in curves.values() for n in curve})
    head = [*map(str, counts), "there at", "model runs", "±"]
    lines = ["| sampler | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for sampler, curve in curves.items():
        needed = steps_needed(curve, best_of(curves, sampler))
        cells = [("**{:.1f}**" if n == needed else "{:.1f}").format(curve[n]) if n in curve else "" for n in counts]
        runs = make_schedule(sampler, "simple", needed, 1.0).evaluations if needed else "–"
        error = f"{errors[sampler]:.1f}" if sampler in errors else "–"
        lines.append(f"| `{sampler}` | {' | '.join(cells)} | {needed or '–'} | {runs} | {error} |")
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
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the batches")
    parser.add_argument("--threads", type=int, default=1, help="processor threads of each")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    given = parser.parse_args(argv)
    started = time.monotonic()
    for scores in rounds(given):
        curves, errors = curves_of(scores), errors_of(scores)
        done, seconds = len(next(iter(scores.values()))), round(time.monotonic() - started)
        print(f"{done} prompts, {seconds} s\n{table(curves, errors)}", flush=True)
    facts = {"prompts": done, "schedule": given.schedule, "dtype": given.dtype, "seconds": seconds}
    line = json.dumps({**facts, "accuracy": curves, "errors": errors})
    if given.out:
        given.out.write_text(line + "\n", encoding="utf-8")
    print(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

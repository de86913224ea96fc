"""How many steps each sampler needs: `python -m newbie_ui.demo.samplers`.

The same held-out prompts and seeds are sampled with every sampler at several step counts and read by the reader. The
accuracy is the mean of all graded attributes; a sampler is *there* at the first count from which on it stays within
one point of its own accuracy at the largest. Prints a table after each batch of prompts (so that a run may be stopped
early) and at last one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
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


def accuracy(percent: Mapping[str, float]) -> float:
    """Mean of everything that should be right; binding counts what is wrong and stays out."""
    values = [value for name, value in percent.items() if name != "binding"]
    return sum(values) / len(values)


def steps_needed(curve: Mapping[int, float], margin: float = MARGIN) -> int:
    """The first step count from which on all are within the margin of the last one's accuracy."""
    counts = sorted(curve)
    goal = curve[counts[-1]] - margin
    return next(n for k, n in enumerate(counts) if all(curve[later] >= goal for later in counts[k:]))


def measure(
    pipe: NewbiePipeline,
    reader: Reader,
    number: int,
    batch: int,
    counts: Sequence[int],
    samplers: Sequence[str],
    schedule: str,
) -> Iterator[tuple[int, dict[str, dict[int, float]]]]:
    """After each batch of scenes of two characters: how many so far, and sampler → steps → accuracy in percent."""
    scenes = held_out_scenes(2, number)
    texts = captions_of(scenes, MANNERS["xml"])
    scores = {(sampler, steps): Score() for sampler in samplers for steps in counts}
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
    counts = sorted(next(iter(curves.values())))
    lines = [
        "| sampler | " + " | ".join(map(str, counts)) + " | there at | model runs |",
        "|---" * (len(counts) + 3) + "|",
    ]
    for sampler, curve in curves.items():
        needed = steps_needed(curve)
        cells = [f"**{curve[n]:.1f}**" if n == needed else f"{curve[n]:.1f}" for n in counts]
        runs = make_schedule(sampler, "simple", needed, 1.0).evaluations
        lines.append(f"| `{sampler}` | " + " | ".join(cells) + f" | {needed} | {runs} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m newbie_ui.demo.samplers", description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=WEIGHTS, help="folder of the model")
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)), help="step counts")
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    parser.add_argument("--schedule", default="simple", choices=SCHEDULES)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    given = parser.parse_args(argv)
    started = time.monotonic()
    pipe = NewbiePipeline.from_pretrained(str(given.model), torch_dtype=torch.float32).to(given.device)
    pipe.set_progress_bar_config(disable=True)
    reader = load_reader(given.model / "reader").to(given.device)
    counts = [int(n) for n in given.counts.split(",")]
    rounds = measure(pipe, reader, given.prompts, given.batch, counts, given.samplers.split(","), given.schedule)
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

"""How fast a large gallery is on this machine.

    python -m newbie_ui.gallery.bench [--pictures 20000] [--folder DIR] [--size 1024] [--json]

Makes tiny pictures with full recipes in a folder of its own, lets the gallery build its index from them, and times
what the page asks for. Prints a table, or one JSON line. Nothing outside the folder is touched.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from newbie_ui.gallery.cards import facets_of
from newbie_ui.gallery.files import write_whole
from newbie_ui.gallery.layout import INDEX, new_id, place_of
from newbie_ui.gallery.pictures import save_png
from newbie_ui.gallery.query import Filters
from newbie_ui.gallery.record import record_of
from newbie_ui.gallery.store import Gallery
from newbie_ui.request import GenerateRequest, GenerateResult, Memory, ResolvedRequest, Timings

REPEATS = 15
NAMES = ("Aoi", "Momo", "Shiro", "Kuro", "Gin", "Ki", "Akane", "Sora", "Sumire", "Yuki", "Midori", "Mikan")
COLOURS = ("blue", "pink", "white", "black", "silver", "blonde", "red", "green", "purple", "aqua", "brown", "grey")
PLACES = ("beach", "classroom", "night_sky", "forest", "train_station", "library", "rooftop", "garden")
CLOTHES = ("school_uniform", "hoodie", "kimono", "sundress", "sweater", "armor", "overalls", "yukata")
FIRST_DAY = 1_700_000_000.0
QUESTIONS = {
    "first page": {},
    "a word that all have (1girl)": {"filters": Filters(text="1girl")},
    "a word that few have (kimono beach Aoi)": {"filters": Filters(text="kimono beach aoi")},
    "a phrase": {"filters": Filters(text='"long blue hair"')},
    "a tag": {"filters": Filters(text="tag:night_sky")},
    "a character": {"filters": Filters(character="Momo")},
    "a seed": {"filters": Filters(text="seed:12345")},
    "a preset": {"filters": Filters(preset="economy")},
    "a month": {"filters": Filters(text="date:2024-01")},
    "everything but (-beach -kimono)": {"filters": Filters(text="-beach -kimono")},
    "nothing found": {"filters": Filters(text="zeppelin")},
    "favourites by rating": {"filters": Filters(favourite=True), "order": "rating"},
    "the last page": {"offset": 10**9},
    "slowest first": {"order": "slowest"},
}


def invented(number: int, dice: random.Random) -> GenerateResult:
    """A result as a real one, over a picture of 8 x 8 pixels."""
    blocks = []
    for place, name in enumerate(dice.sample(NAMES, 2), 1):
        hair, eyes = f"{dice.choice(('long', 'short'))}_{dice.choice(COLOURS)}_hair", f"{dice.choice(COLOURS)}_eyes"
        lines = (
            f"<n>{name}</n>\n<gender>1girl</gender>",
            f"<appearance>{hair}, {eyes}, bangs, ahoge, hair_between_eyes</appearance>",
            f"<clothing>{dice.choice(CLOTHES)}, bow, white_shirt</clothing>",
            "<expression>smile, open_mouth</expression>\n<action>standing, waving</action>",
            f"<position>center_{'left' if place == 1 else 'right'}</position>",
        )
        blocks.append("\n".join((f"<character_{place}>", *lines, f"</character_{place}>")))
    general = f"<general_tags>\n<count>2girls</count>\n<style>anime_style</style>\n<background>{dice.choice(PLACES)}"
    prompt = "\n\n".join(
        [*blocks, f"{general}, outdoors</background>\n<quality>masterpiece</quality>\n</general_tags>"]
    )
    asked = GenerateRequest(prompt=prompt, negative_prompt="lowres, worst_quality, bad_anatomy", seed=number)
    preset = dice.choice(("quality", "balanced", "economy", "cpu"))
    used = ResolvedRequest(asked, "System. <Prompt Start>", 1024, 1024, 28, 4.5, 6.0, number, preset, "NewBie")
    seconds = dice.uniform(5, 60)
    created_at = FIRST_DAY + number * 600 + dice.random()
    timings = Timings(0.1, 0.2, seconds, 0.3, seconds + 0.6, 28)
    return GenerateResult(
        new_id(created_at), used, timings, Memory(10.5, 11.6, 3.0, 16.0), created_at, {"attention": "sdpa"}
    )


def fill(folder: Path, count: int) -> None:
    """Write pictures as the gallery would, but without waiting for the disk."""
    dice, image = random.Random(7), Image.new("RGB", (8, 8), "teal")
    for number in range(count):
        result = invented(number, dice)
        path = folder / place_of(result.id, result.created_at)
        write_whole(path, lambda file, result=result: save_png(image, record_of(result), file), durable=False)


def timed(work: Callable[[], object], repeats: int = 0) -> list[tuple[float, float]]:
    """Seconds by the clock and of the processor for each run; the second is what a busy machine does not change."""
    times = []
    for _ in range(repeats or REPEATS):
        clock, processor = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - clock, time.process_time() - processor))
    return times


def measure(folder: Path, count: int, size: int) -> dict[str, dict[str, float]]:
    """Milliseconds of everything that the page asks for: median and worst by the clock, median of the processor."""
    found: dict[str, list[tuple[float, float]]] = {}
    found["make the index from all files"] = timed(lambda: Gallery(folder, wait=True).close(), 1)
    found["open with the index there"] = timed(lambda: Gallery(folder).close(), 3)
    with Gallery(folder, wait=True) as gallery:
        ids = [card.id for card in gallery.page(limit=400).cards]
        gallery.set_favourite(ids[::2], True)
        gallery.set_rating(ids[::3], 4)
        gallery.collect("Some", ids[:100])
        for name, question in QUESTIONS.items():
            options = {**question, "offset": count - 60} if "offset" in question else question
            found[name] = timed(lambda options=options: gallery.page(limit=60, **options))
        with gallery._index.read() as connection:
            found["counts for the navigation"] = timed(lambda: facets_of(connection))
        found["everything about one"] = timed(lambda: gallery.get(ids[0]))
        found["mark one as favourite"] = timed(lambda: gallery.set_favourite(ids[:1], True))
        found["delete one and undo it"] = timed(lambda: gallery.undelete(gallery.delete(ids[:1])), 5)
        pixels = Image.effect_noise((size, size), 60).convert("RGB")
        results = iter([_with_pixels(number, pixels) for number in range(count, count + 5)])
        found[f"store a picture of {size} x {size}"] = timed(lambda: gallery.add(next(results)), 5)
    return {name: _summary(times) for name, times in found.items()}


def _summary(times: list[tuple[float, float]]) -> dict[str, float]:
    clock, processor = zip(*times)
    figures = {"median_ms": statistics.median(clock), "worst_ms": max(clock), "cpu_ms": statistics.median(processor)}
    return {name: round(seconds * 1000, 1) for name, seconds in figures.items()}


def _with_pixels(number: int, pixels: Image.Image) -> GenerateResult:
    return replace(invented(number, random.Random(number)), image=pixels)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m newbie_ui.gallery.bench", description="Time a large gallery.")
    parser.add_argument("--pictures", type=int, default=20_000, help="how many (20000)")
    parser.add_argument("--folder", type=Path, help="where to make them; kept afterwards (else a temporary folder)")
    parser.add_argument("--size", type=int, default=1024, help="side of the one that is stored as a real one (1024)")
    parser.add_argument("--json", action="store_true", help="one JSON line")
    options = parser.parse_args(argv)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="newbie-gallery-"))
    try:
        if not any(folder.glob("pictures/*/*.png")):
            fill(folder, options.pictures)
        if (folder / INDEX).parent.exists():
            shutil.rmtree((folder / INDEX).parent)
        found = measure(folder, options.pictures, options.size)
        index_mb = sum(path.stat().st_size for path in (folder / INDEX).parent.glob("index*")) / 1e6
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps({"pictures": options.pictures, "index_mb": round(index_mb, 1), "times": found}))
        return 0
    print(f"{options.pictures:,} pictures, index {index_mb:.0f} MB; milliseconds: median, worst, processor")
    for name, times in found.items():
        print(f"  {name:42} {times['median_ms']:9.1f} {times['worst_ms']:9.1f} {times['cpu_ms']:9.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

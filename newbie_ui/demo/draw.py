"""The artist: draws the picture that a prompt asks for. `python -m newbie_ui.demo.draw --help`

Promises: the picture depends on the text and the seed alone; only what the text says is drawn, and what it leaves
open comes from the seed. Does not know the model: this is what the demo model was taught with, and is measured by.
The drawing itself is in `newbie_ui/demo/artist/`, the words in `words.py`.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from newbie_ui.demo.artist.layout import paint
from newbie_ui.demo.artist.look import random_scene
from newbie_ui.demo.artist.svg import rasterise
from newbie_ui.demo.words import scene_from_prompt
from newbie_ui.prompt.xml import parse

if TYPE_CHECKING:
    import numpy as np


def draw(text: str, seed: int = 0, size: int = 256) -> np.ndarray:
    """The picture of a prompt text, uint8 (size, size, 3)."""
    return rasterise(draw_svg(text, seed), size)


def draw_svg(text: str, seed: int = 0) -> str:
    """The same as SVG text, any size."""
    return paint(scene_from_prompt(parse(text).prompt, seed))


def measure_speed(pictures: int = 60, size: int = 256) -> dict[int, float]:
    """Pictures a second on one core, by number of characters; scene to pixels."""
    rates = {}
    for count in (1, 2, 3, 4):
        rng = random.Random(count)
        scenes = [random_scene(rng, count) for _ in range(pictures)]
        rasterise(paint(scenes[0]), size)
        started = time.process_time()
        for scene in scenes:
            rasterise(paint(scene), size)
        rates[count] = pictures / (time.process_time() - started)
    return rates


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m newbie_ui.demo.draw", description=__doc__.split("\n")[0])
    parser.add_argument("prompt", nargs="?", type=Path, help="file with the prompt")
    parser.add_argument("picture", nargs="?", type=Path, help="where the picture goes: .png, .webp or .svg")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--speed", action="store_true", help="measure pictures a second on this core")
    given = parser.parse_args(argv)
    if given.speed:
        for count, rate in measure_speed(size=given.size).items():
            print(f"{count} character{'s' if count > 1 else ' '} {rate:6.0f} pictures/s")
        return 0
    if given.prompt is None or given.picture is None:
        parser.error("give a prompt file and a picture to write, or --speed")
    text = given.prompt.read_text(encoding="utf-8")
    if given.picture.suffix == ".svg":
        given.picture.write_text(draw_svg(text, given.seed), encoding="utf-8")
        return 0
    from PIL import Image

    Image.fromarray(draw(text, given.seed, given.size)).save(given.picture)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

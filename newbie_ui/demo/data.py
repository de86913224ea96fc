"""The training set: shards of drawn pictures with their captions as tokens, the boxes of heads, and every label.

`python -m newbie_ui.demo.data --folder DIR` draws it; the training starts this beside itself.

Promises: a shard depends on the recipe's seed and its own number alone; nothing of the held-out list is ever in it.
The pictures are written as raw uint8 so that stages can map them; a shard of 1000 takes 200 MB.
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from newbie_ui.demo.artist import look as looks
from newbie_ui.demo.artist.layout import arrange, paint
from newbie_ui.demo.artist.look import CharacterLook, Scene, random_scene
from newbie_ui.demo.artist.svg import CANVAS, rasterise
from newbie_ui.demo.captions import random_manner, write_caption
from newbie_ui.demo.config import RECIPE, Recipe, load_recipe
from newbie_ui.demo.tokenizer import build_tokenizer

# Hair colours that are never drawn together in one picture, and hair that never meets clothes of that colour.
_PAIRS = "blue+pink red+green black+white purple+orange blonde+aqua brown+grey red+blue pink+green"
_WEAR = """
blue+red pink+blue green+purple red+green black+yellow white+black blonde+pink orange+white purple+green aqua+red
brown+purple grey+yellow
"""
HELD_OUT_PAIRS = frozenset(frozenset(pair.split("+")) for pair in _PAIRS.split())
HELD_OUT_WEAR = frozenset(tuple(pair.split("+")) for pair in _WEAR.split())
ATTRIBUTES: dict[str, tuple] = {
    "hair": looks.HAIR,
    "style": looks.STYLES,
    "eyes": looks.EYES,
    "outfit": looks.OUTFITS,
    "colour": looks.COLOURS,
    "accessory": looks.ACCESSORIES,
    "expression": looks.EXPRESSIONS,
    "action": looks.ACTIONS,
    "gender": looks.GENDERS,
    "skin": looks.SKIN,
    "glasses": (False, True),
}
PICTURE_ATTRIBUTES: dict[str, tuple] = {"place": looks.PLACES, "time": looks.TIMES}
UNKNOWN = -1


def is_held_out(scene: Scene) -> bool:
    """True if the scene has a combination that training must not see."""
    people = scene.characters
    wear = any((c.hair, c.colour) in HELD_OUT_WEAR for c in people)
    return wear or any(frozenset((a.hair, b.hair)) in HELD_OUT_PAIRS for i, a in enumerate(people) for b in people[:i])


def training_scene(rng: random.Random, count: int | None = None, ink: bool = False) -> Scene:
    """A random scene outside the held-out list."""
    count = count or rng.choice((1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4))
    while is_held_out(scene := random_scene(rng, count)):
        pass
    return replace(scene, ink=ink)


def test_scene(rng: random.Random, count: int) -> Scene:
    """A random scene whose hair combination was never trained: pairs for two or more, hair and clothes for one."""
    while True:
        scene = random_scene(rng, count)
        if count == 1 and is_held_out(scene):
            return scene
        hairs = {frozenset((a.hair, b.hair)) for i, a in enumerate(scene.characters) for b in scene.characters[:i]}
        if hairs & HELD_OUT_PAIRS:
            return scene


def labels_of(look: CharacterLook) -> list[int]:
    """A number for each of `ATTRIBUTES`, `UNKNOWN` where it cannot be seen."""
    numbers = [values.index(getattr(look, name)) for name, values in ATTRIBUTES.items()]
    if look.expression == "closed_eyes":
        numbers[list(ATTRIBUTES).index("eyes")] = UNKNOWN
    return numbers


def picture_labels_of(scene: Scene) -> list[int]:
    place = scene.backdrop.place
    time = looks.TIMES.index(scene.backdrop.time) if place in looks.OUTDOORS else UNKNOWN
    return [looks.PLACES.index(place), time]


def draw_shard(folder: Path, recipe: Recipe, number: int, kind: str = "train") -> Path:
    """Draw one shard and write it: `pixels` as .npy to be mapped, the rest as one .npz. Complete or absent."""
    target = folder / f"{kind}_{number:04d}"
    if target.with_suffix(".npz").exists():
        return target
    rng = random.Random(f"{recipe.seed} {kind} {number}")
    tokenizer, draw = build_tokenizer(), recipe.draw
    count, ways, length = draw.pictures, draw.captions, recipe.tokens
    pixels = np.empty((count, recipe.size, recipe.size, 3), np.uint8)
    tokens = np.zeros((count, ways, length - 2), np.int16)  # without BOS and system prompt
    heads = np.zeros((count, looks.MOST_CHARACTERS, 4), np.float32)
    labels = np.full((count, looks.MOST_CHARACTERS, len(ATTRIBUTES)), UNKNOWN, np.int8)
    picture_labels = np.empty((count, len(PICTURE_ATTRIBUTES)), np.int8)
    for i in range(count):
        scene = training_scene(rng, ink=kind == "ink") if kind != "test" else test_scene(rng, 1 + i % 4)
        pixels[i] = rasterise(paint(scene), recipe.size)
        texts = [write_caption(scene, random_manner(rng), rng) for _ in range(ways)]
        for way, ids in enumerate(tokenizer.encode_batch(texts, add_special_tokens=False)):
            tokens[i, way, : len(ids.ids)] = ids.ids[: length - 2]
        for k, (look, place) in enumerate(zip(scene.characters, arrange(scene))):
            heads[i, k] = np.array(place.head(look)) * (recipe.size / CANVAS)
            labels[i, k] = labels_of(look)
        picture_labels[i] = picture_labels_of(scene)
    np.save(target.with_suffix(".npy"), pixels)
    partial = target.with_suffix(".tmp.npz")
    np.savez(partial, tokens=tokens, heads=heads, labels=labels, picture_labels=picture_labels)
    os.replace(partial, target.with_suffix(".npz"))
    return target


def _draw_politely(job: tuple[Path, Recipe, int, str]) -> str:
    return str(draw_shard(*job))


def draw_all(folder: Path, recipe: Recipe, workers: int) -> None:
    """Draw every shard that is missing: one for tests, the training set, and those of the LoRA's style."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(folder, recipe, 0, "test")]
    jobs += [(folder, recipe, k, "train") for k in range(recipe.draw.shards)]
    jobs += [(folder, recipe, k, "ink") for k in range(recipe.lora.shards)]
    with get_context("spawn").Pool(workers, initializer=os.nice, initargs=(10,)) as pool:
        for _ in pool.imap(_draw_politely, jobs):
            pass


def shard_paths(folder: Path, kind: str = "train") -> list[Path]:
    """Finished shards of a kind, in order."""
    return sorted(path.with_suffix("") for path in folder.glob(f"{kind}_*.npz") if ".tmp" not in path.name)


def load_shard(path: Path) -> dict[str, np.ndarray]:
    """A shard's arrays; the pixels are mapped from disk."""
    with np.load(path.with_suffix(".npz")) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return arrays | {"pixels": np.load(path.with_suffix(".npy"), mmap_mode="r")}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m newbie_ui.demo.data", description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE", help="change the recipe")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    given = parser.parse_args(argv)
    draw_all(given.folder, load_recipe(given.recipe, tuple(given.set)), given.workers)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

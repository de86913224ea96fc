"""Grade the demo model on prompts it was never trained on: `python -m newbie_ui.demo.evaluate`.

The reader's own accuracy on fresh drawings of the same scenes comes first, as the ceiling. Then pictures are made
with the shipped settings and read. Prints a table and, as the last line, everything as JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from newbie_ui.demo.artist.layout import paint
from newbie_ui.demo.artist.look import Scene
from newbie_ui.demo.artist.svg import rasterise
from newbie_ui.demo.autoencoder import measure_psnr, to_model
from newbie_ui.demo.captions import Manner, write_caption
from newbie_ui.demo.data import test_scene
from newbie_ui.demo.grading import Score, grade
from newbie_ui.demo.reader import Reader, read
from newbie_ui.demo.weights_folder import WEIGHTS, load_reader
from newbie_ui.model.pipeline import NewbiePipeline

COLUMNS = (
    *("count", "position", "hair", "style", "outfit", "colour", "eyes", "expression", "action", "accessory"),
    *("glasses", "skin", "gender", "place", "time", "binding"),
)
MANNERS = {
    "xml": Manner(),
    "spaces": Manner(underscores=False),
    "reordered": Manner(shuffled=True),
    "list": Manner(form="list"),
    "sentence": Manner(form="sentence"),
    "mixed list": Manner(form="mixed"),
}


def held_out_scenes(count: int, number: int) -> list[Scene]:
    """The fixed list: scenes of `count` characters whose hair combination was never trained."""
    rng = random.Random(f"held out {count}")
    scenes = []
    while len(scenes) < number:
        scene = test_scene(rng, count)
        if all(look.side and not look.depth for look in scene.characters):
            scenes.append(scene)
    return scenes


def captions_of(scenes: Sequence[Scene], manner: Manner) -> list[str]:
    return [write_caption(scene, manner, random.Random(f"{scene.seed} caption")) for scene in scenes]


def draw(scenes: Sequence[Scene], size: int = 256) -> torch.Tensor:
    """Drawings (N, size, size, 3) uint8."""
    return torch.stack([torch.from_numpy(rasterise(paint(scene), size)) for scene in scenes])


def grade_pictures(reader: Reader, scenes: Sequence[Scene], images: torch.Tensor) -> Score:
    """Read images (N, 3, H, W) in [-1, 1] and grade each against its scene."""
    score, device = Score(), next(reader.parameters()).device
    for start in range(0, len(scenes), 64):
        answers = read(reader, images[start : start + 64].to(device))
        for scene, (seen, picture) in zip(scenes[start:], answers):
            grade(score, scene, seen, picture)
    return score


def make_pictures(
    pipe: NewbiePipeline, texts: Sequence[str], batch: int, steps: int | None = None, **options: float
) -> torch.Tensor:
    """Pictures (N, 3, H, W) in [-1, 1] on the CPU, one seed each, with the model's own settings unless given."""
    parts = []
    for start in range(0, len(texts), batch):
        some = list(texts[start : start + batch])
        seeds = [torch.Generator().manual_seed(start + k) for k in range(len(some))]
        images = pipe(some, generator=seeds, num_inference_steps=steps, output_type="pt", **options).images
        parts.append((images * 2 - 1).float().cpu())
    return torch.cat(parts)


def evaluate(
    pipe: NewbiePipeline, reader: Reader, number: int, batch: int, manners: Sequence[str], **options: float
) -> dict:
    """All rows: {"reader": {count: …}, manner: {count: …}}, percentages by name."""
    result: dict = {"reader": {}}
    for count in (1, 2, 3, 4):
        scenes = held_out_scenes(count, number)
        result["reader"][count] = grade_pictures(reader, scenes, to_model(draw(scenes))).as_dict()
    for name in manners:
        counts = (1, 2, 3, 4) if name == "xml" else (2, 3) if name == "mixed list" else (1, 2, 3)
        result[name] = {}
        for count in counts:
            scenes = held_out_scenes(count, number)
            images = make_pictures(pipe, captions_of(scenes, MANNERS[name]), batch, **options)
            result[name][count] = grade_pictures(reader, scenes, images).as_dict()
    return result


def table(result: dict) -> str:
    """The result as lines of text: percentages right, except binding, which is percentages wrong."""
    lines = ["prompt       n " + " ".join(f"{name[:7]:>7}" for name in COLUMNS)]
    for name, rows in result.items():
        for count, row in rows.items():
            cells = " ".join(f"{row[column]:7.1f}" if column in row else "      -" for column in COLUMNS)
            lines.append(f"{name:<12} {count} {cells}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m newbie_ui.demo.evaluate", description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=WEIGHTS, help="folder of the model")
    parser.add_argument("--prompts", type=int, default=256, help="held-out prompts a row")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--manners", default=",".join(MANNERS), help=f"of {', '.join(MANNERS)}")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--shift", type=float)
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    given = parser.parse_args(argv)
    started = time.monotonic()
    torch.set_float32_matmul_precision("high")
    pipe = NewbiePipeline.from_pretrained(str(given.model), torch_dtype=torch.float32).to(given.device)
    pipe.set_progress_bar_config(disable=True)
    reader = load_reader(given.model / "reader").to(given.device)
    options = {"steps": given.steps, "guidance_scale": given.guidance, "shift": given.shift}
    result = evaluate(pipe, reader, given.prompts, given.batch, given.manners.split(","), **options)
    few = min(100, given.prompts)
    drawings = draw(held_out_scenes(2, few) + held_out_scenes(4, few)).to(given.device)
    used = pipe.defaults
    facts = {
        "prompts": given.prompts,
        "steps": given.steps or used["steps"],
        "guidance": given.guidance or used["guidance_scale"],
        "shift": given.shift or used["shift"],
        "psnr_db": round(measure_psnr(pipe.vae, drawings), 2),
        "weights_mb": round(sum(f.stat().st_size for f in given.model.rglob("*.safetensors")) / 1e6, 2),
        "device": torch.cuda.get_device_name() if pipe.device.type == "cuda" else pipe.device.type,
        "seconds": round(time.monotonic() - started, 1),
    }
    print(table(result))
    line = json.dumps(facts | {"percent": result})
    if given.out:
        given.out.write_text(line + "\n", encoding="utf-8")
    print(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

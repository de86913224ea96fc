"""A hundred pictures in a row leave nothing behind: `python -m newbie_ui.bench.soak`.

Sizes, prompts, LoRAs and presets change on the way. What counts is the memory that the allocator keeps after the last
picture against that after the tenth, both with the first preset (resident memory on a processor). JSON comes last.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from newbie_ui.bench.setup import Bench, run_command, usual_prompt
from newbie_ui.engine.local import LocalEngine
from newbie_ui.request import LoraUse

SETTLED = 10  # pictures after which every kind has been seen
STAY = 20  # pictures a preset, so that a hundred end with the first of two
RANK = 8
ALLOWED = 0.03


def measure_soak(bench: Bench, engine: LocalEngine) -> dict[str, Any]:
    """`bench.count` pictures."""
    width, height = bench.size
    sizes = [bench.size, (_half(height), width), (_half(width), _half(height))]
    write_lora(Path(bench.settings.lora_dir) / "soak.safetensors", engine.rig.pipe.transformer)
    kept, usual = [], usual_prompt(engine)
    for number in range(bench.count):
        preset = bench.presets[number // STAY % len(bench.presets)]
        loras = (LoraUse("soak", 0.5 + number % 3 / 10),) if number % 4 == 1 else ()
        size, prompt = sizes[number % len(sizes)], f"{usual} {number % 7}"
        bench.picture(engine, preset.name, prompt, size, loras, seed=number)
        memory = engine.status().memory
        kept.append(memory.reserved_gb if memory.reserved_gb is not None else memory.resident_gb)
        if (number + 1) % SETTLED == 0:
            bench.say(f"after {number + 1}: {kept[-1]:.3f} GB with {preset.name}")
    growth = kept[-1] / kept[SETTLED - 1] - 1
    return {
        "pictures": bench.count,
        "presets": [preset.name for preset in bench.presets],
        "sizes": sizes,
        "kept_gb": kept,
        "growth": growth,
        "within": growth <= ALLOWED,
    }


def _half(side: int) -> int:
    """A multiple of 64, as the model has them."""
    return max(64, side // 2 // 64 * 64)


def write_lora(file: Path, transformer: nn.Module) -> None:
    """A LoRA of random numbers for the joint layers' projections."""
    tensors = {}
    for number, layer in enumerate(transformer.layers):
        projection = layer.attention.qkv
        for name, shape in (("A", (RANK, projection.in_features)), ("B", (projection.out_features, RANK))):
            tensors[f"layers.{number}.attention.qkv.lora_{name}.weight"] = 0.01 * torch.randn(shape)
    save_file(tensors, file)


def main(argv: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    with TemporaryDirectory() as folder:
        return run_command("python -m newbie_ui.bench.soak", __doc__, measure_soak, [*given, "--lora-dir", folder])


if __name__ == "__main__":
    sys.exit(main())

"""How much of what its prompt asks for a picture shows: the demo model's measure, through the engine.

Held-out prompts of two characters, one seed each, read by the demo's reader network. Says something about the demo
model only, which is where a lossy mode is judged: on random weights there is nothing to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from newbie_ui.bench.setup import make
from newbie_ui.demo.evaluate import MANNERS, captions_of, grade_pictures, held_out_scenes
from newbie_ui.demo.weights_folder import load_reader
from newbie_ui.engine.local import LocalEngine
from newbie_ui.request import GenerateRequest

CHARACTERS = 2
WRONG = "binding"  # the one column that counts errors


def accuracy(engine: LocalEngine, preset: str, number: int, steps: int | None = None) -> float:
    """Percent of all attributes that are right, over this many pictures. Raises UserError when one fails."""
    scenes = held_out_scenes(CHARACTERS, number)
    captions = captions_of(scenes, MANNERS["xml"])
    pictures = [_picture(engine, preset, text, seed, steps) for seed, text in enumerate(captions)]
    score = grade_pictures(load_reader(), scenes, torch.stack(pictures)).as_dict()
    return float(np.mean([percent for name, percent in score.items() if name != WRONG]))


@contextmanager
def counted_work(transformer: nn.Module) -> Iterator[list[int]]:
    """Inside, the list gets how many pictures, guided ones twice, each pass brought through all blocks."""
    asked: list[int] = []
    done: list[int] = []
    hooks = (
        transformer.register_forward_pre_hook(lambda module, args: asked.append(len(args[0]))),
        transformer.layers[-1].feed_forward.register_forward_hook(lambda module, args, out: done.append(asked[-1])),
    )
    try:
        yield done
    finally:
        for hook in hooks:
            hook.remove()


def _picture(engine: LocalEngine, preset: str, prompt: str, seed: int, steps: int | None) -> torch.Tensor:
    """(3, H, W) from -1 to 1."""
    made = make(engine, GenerateRequest(prompt=prompt, seed=seed, preset=preset, steps=steps))
    pixels = torch.from_numpy(np.array(made[0].image, dtype=np.float32))
    return pixels.permute(2, 0, 1) / 127.5 - 1

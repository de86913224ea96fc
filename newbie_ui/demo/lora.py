"""Stage: a small LoRA in PEFT's format. It teaches ink drawing on paper, a style that the base has never seen.

It goes on from an earlier file where one is given, with a fresh optimizer.
"""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import replace
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from newbie_ui.demo.config import Recipe
from newbie_ui.demo.flow import FlowNetworks, flow_loss, make_example

log = logging.getLogger(__name__)

TARGETS = ["attention.qkv", "attention.out", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3"]


def train_lora(
    networks: FlowNetworks,
    recipe: Recipe,
    data: dict[str, Tensor],
    device: torch.device,
    path: Path,
    start: Path | None = None,
) -> None:
    """Train a LoRA on the transformer, from the file `start` on if given, and write it as one safetensors file."""
    part, rng = recipe.lora, torch.Generator(device).manual_seed(recipe.seed + 2)
    for module in networks.modules().values():
        module.to(device).requires_grad_(False)
    config = LoraConfig(
        r=part.rank, lora_alpha=part.rank, target_modules=r"layers\.\d+\.(" + "|".join(map(_escaped, TARGETS)) + ")"
    )
    model = get_peft_model(networks.transformer, config)
    if start is not None:
        set_peft_model_state_dict(model, {key: value.float() for key, value in load_file(start).items()})
        log.info("lora: goes on from %s", start)
    trained = replace(networks, transformer=model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=part.lr, weight_decay=0.0)
    flow = replace(recipe.flow, dropout=0.0)
    steps, started = max(1, part.samples // part.batch), time.monotonic()
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = part.lr * min(1.0, step / 20) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        chosen = torch.randint(len(data["tokens"]), (part.batch,), generator=rng, device=device)
        way = torch.randint(data["tokens"].shape[1], (part.batch,), generator=rng, device=device)
        batch = {
            "latents": data["latents"][chosen],
            "tokens": data["tokens"][chosen, way],
            "heads": data["heads"][chosen],
        }
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = flow_loss(trained, make_example(batch, flow, rng))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 50 == 0:
            log.info("lora step %d %.0f s loss %.4f", step, time.monotonic() - started, loss.item())
    state = {k: v.to("cpu", torch.float16).contiguous() for k, v in get_peft_model_state_dict(model).items()}
    notes = {"rank": part.rank, "alpha": part.rank, "trigger": "monochrome"}
    metadata = {
        "format": "pt",
        "lora_rank": str(part.rank),
        "lora_alpha": str(part.rank),
        "newbie_ui": json.dumps(notes),
    }
    save_file(state, str(path), metadata=metadata)
    log.info("lora: %d steps, %d tensors, %.2f MB", steps, len(state), path.stat().st_size / 1e6)
    model.unload()


def _escaped(name: str) -> str:
    return name.replace(".", r"\.")

"""The shipped folder: a NewBie model in the hub's layout, with its sidecar and the reader that measures it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from newbie_ui.demo.captions import SYSTEM_PROMPTS
from newbie_ui.demo.config import Recipe
from newbie_ui.demo.flow import FlowNetworks
from newbie_ui.demo.reader import Reader
from newbie_ui.demo.tokenizer import save_tokenizer, vocabulary_tags
from newbie_ui.model.pipeline import NewbiePipeline
from newbie_ui.model.preview import fit_preview

WEIGHTS = Path(__file__).with_name("weights")
LORAS = Path(__file__).with_name("loras")


def build_pipeline(recipe: Recipe, networks: FlowNetworks, vae: AutoencoderKL, scratch: Path) -> NewbiePipeline:
    """A pipeline of these networks, as they are now. `scratch` is where the tokenizer's files go."""
    limit = recipe.transformer.axes_lens[0] - 1
    save_tokenizer(scratch, limit)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(scratch)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=recipe.sample.shift)
    pipe = NewbiePipeline(networks.transformer, networks.gemma, tokenizer, networks.clip, tokenizer, vae, scheduler)
    pipe.sidecar = make_sidecar(recipe)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make_sidecar(recipe: Recipe) -> dict:
    side = recipe.size
    return {
        "name": "newbie_ui demo",
        "licence": "Apache-2.0",
        "demo": True,
        "defaults": {
            "width": side,
            "height": side,
            "steps": recipe.sample.steps,
            "guidance_scale": recipe.sample.guidance,
            "shift": recipe.sample.shift,
            "system_prompt": SYSTEM_PROMPTS[0],
        },
        "sizes": [[side, side]],
        "trained_tokens": recipe.tokens,
        "max_tokens": recipe.transformer.axes_lens[0] - 1,
        "vocabulary": vocabulary_tags(),
    }


def export(folder: Path, pipe: NewbiePipeline, reader: Reader, recipe: Recipe, latents: Tensor) -> None:
    """Write everything in half precision. `latents` (B, 16, h, w) of drawings fit the preview map."""
    preview = fit_preview(pipe.vae, latents.to(pipe.vae.device, pipe.vae.dtype))
    pipe.sidecar["preview"] = {"weight": [list(row) for row in preview.weight], "bias": list(preview.bias)}
    parts = (pipe.transformer, pipe.text_encoder, pipe.clip_model, pipe.vae)
    kept = [{key: value.clone() for key, value in part.state_dict().items()} for part in parts]
    for part in parts:
        part.to(torch.float16)
    pipe.save_pretrained(str(folder))
    for part, state in zip(parts, kept):
        part.to(torch.float32)
        part.load_state_dict(state)
    save_reader(folder / "reader", reader, recipe)


def start_from(folder: Path, modules: Mapping[str, nn.Module]) -> dict[str, float]:
    """Fill the networks of a training from an exported model; returns the statistics of its latents."""
    pipe = NewbiePipeline.from_pretrained(str(folder), torch_dtype=torch.float32)
    parts = {"transformer": pipe.transformer, "gemma": pipe.text_encoder, "clip": pipe.clip_model, "vae": pipe.vae}
    parts["reader"] = load_reader(folder / "reader")
    for name, part in parts.items():
        modules[name].load_state_dict(part.state_dict())
    return {"shift": pipe.vae.config.shift_factor, "scale": pipe.vae.config.scaling_factor}


def save_reader(folder: Path, reader: Reader, recipe: Recipe) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        k: v.to("cpu", torch.float16 if v.is_floating_point() else v.dtype) for k, v in reader.state_dict().items()
    }
    save_file({key: value.contiguous() for key, value in state.items()}, str(folder / "reader.safetensors"))
    (folder / "config.json").write_text(json.dumps({"channels": list(recipe.reader.channels)}) + "\n")


def load_reader(folder: Path = WEIGHTS / "reader") -> Reader:
    """The reader, in float32 on the CPU."""
    reader = Reader(tuple(json.loads((folder / "config.json").read_text())["channels"]))
    state = load_file(folder / "reader.safetensors")
    reader.load_state_dict({key: value.float() if value.is_floating_point() else value for key, value in state.items()})
    return reader.eval()

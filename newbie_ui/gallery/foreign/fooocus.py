"""Fooocus: its own JSON scheme, its A1111 scheme, and the JSON of a fork."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from newbie_ui.gallery.foreign import a1111
from newbie_ui.gallery.foreign.extra import others
from newbie_ui.gallery.info import PictureInfo, join_lora, stem
from newbie_ui.gallery.safe import Damaged, load_object, number, salvage, sequence, text_of, whole

_READ = (
    *("prompt", "negative_prompt", "seed", "steps", "sampler", "sampler_name", "scheduler", "guidance_scale", "cfg"),
    *("resolution", "width", "height", "base_model", "base_model_name", "loras", "metadata_scheme", "Prompt"),
    *("Negative", "Seed", "Steps", "Scheduler", "Resolution", "Model"),
)
_RESOLUTION = re.compile(r"\(?\s*(\d{2,5})\s*[,xX×]\s*(\d{2,5})\s*\)?")
_LORA_ROW = re.compile(r"(.{1,200}?)\s*:\s*(-?[\d.]{1,10})\s*")


def read(text: str) -> PictureInfo:
    """The JSON scheme; words of the user come before what styles made of them."""
    try:
        return _read(load_object(text))
    except Damaged as error:
        info = _read(salvage(text))
        return info.saying(f"The Fooocus data is damaged: {error} What could be found was read.", partial=True)


def _read(data: Mapping[str, Any]) -> PictureInfo:
    def first(*keys: str) -> Any:
        return next((data[key] for key in keys if data.get(key) is not None), None)

    size = _RESOLUTION.search(str(first("resolution", "Resolution") or ""))
    model = text_of(first("base_model", "base_model_name", "Model"))
    return PictureInfo(
        program="Fooocus",
        prompt=text_of(first("prompt", "Prompt")),
        negative=text_of(first("negative_prompt", "Negative")),
        seed=whole(first("seed", "Seed")),
        steps=whole(first("steps", "Steps")),
        sampler=text_of(first("sampler", "sampler_name")),
        scheduler=text_of(first("scheduler", "Scheduler")),
        cfg=number(first("guidance_scale", "cfg")),
        width=int(size.group(1)) if size else whole(first("width")),
        height=int(size.group(2)) if size else whole(first("height")),
        model=stem(model) if model else None,
        loras=_loras(data),
        extra=others(data, [key for key in data if key in _READ or key.startswith("lora_combined_")]),
    )


def _loras(data: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """`loras` [[name, weight, hash]] and `lora_combined_N` "name : weight"; each LoRA once."""
    pairs = []
    for row in sequence(data.get("loras")):
        if isinstance(row, list) and len(row) >= 2 and isinstance(row[0], str) and number(row[1]) is not None:
            pairs.append((row[0], number(row[1])))
    for key, value in data.items():
        if key.startswith("lora_combined_") and isinstance(value, str) and (match := _LORA_ROW.fullmatch(value)):
            pairs.append((match.group(1), number(match.group(2)) or 0.0))
    return join_lora([pair for pair in pairs if pair[0] != "None"])


def read_a1111(text: str) -> PictureInfo:
    """The A1111 scheme: raw prompts and LoRA weights stand in the settings."""
    info = a1111.read(text)
    raw, raw_negative = info.extra.get("Raw prompt"), info.extra.get("Raw negative prompt")
    rows = (_LORA_ROW.fullmatch(part.strip()) for part in info.extra.get("Lora weights", "").split(","))
    loras = [(row.group(1), number(row.group(2)) or 0.0) for row in rows if row]
    return replace(
        info,
        program="Fooocus",
        prompt=raw if raw is not None else info.prompt,
        negative=raw_negative if raw_negative is not None else info.negative,
        loras=join_lora(loras) or info.loras,
    )

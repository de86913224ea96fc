"""InvokeAI: `invokeai_metadata`, and the older `sd-metadata` and `Dream`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from newbie_ui.gallery.foreign.extra import others
from newbie_ui.gallery.info import PictureInfo, join_lora, stem
from newbie_ui.gallery.safe import Damaged, load_object, mapping, number, salvage, sequence, text_of, whole

_READ = (
    *("positive_prompt", "negative_prompt", "seed", "steps", "scheduler", "cfg_scale", "width", "height", "model"),
    "loras",
)
_NEGATIVES = re.compile(r"\[([^\[\]]*)\]")
_DREAM = re.compile(r'\s*"(.{0,20000}?)"\s+(?=-)', re.DOTALL)
_DREAM_OPTION = re.compile(r"-([sSWHCA])\s*([\w.+-]+)")


def read(text: str) -> PictureInfo:
    """The present format; all fields optional."""
    try:
        return _read(load_object(text))
    except Damaged as error:
        info = _read(salvage(text))
        return info.saying(f"The InvokeAI data is damaged: {error} What could be found was read.", partial=True)


def _read(data: Mapping[str, Any]) -> PictureInfo:
    cfg = data.get("cfg_scale")
    model = _model_name(data.get("model"))
    return PictureInfo(
        program="InvokeAI",
        prompt=_stripped(data.get("positive_prompt")),
        negative=_stripped(data.get("negative_prompt")),
        seed=whole(data.get("seed")),
        steps=whole(data.get("steps")),
        sampler=text_of(data.get("scheduler")),
        cfg=number(cfg[0] if isinstance(cfg, list) and cfg else cfg),
        width=whole(data.get("width")),
        height=whole(data.get("height")),
        model=stem(model) if model else None,
        loras=join_lora([pair for entry in sequence(data.get("loras")) if (pair := _lora(mapping(entry)))]),
        extra=others(data, _READ),
    )


def _stripped(value: Any) -> str | None:
    text = text_of(value)
    return text.strip() if text is not None else None


def _model_name(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    names = (mapping(value).get(key) for key in ("name", "model_name", "key"))
    return next((name for name in names if isinstance(name, str)), None)


def _lora(entry: Mapping[str, Any]) -> tuple[str, float] | None:
    name = _model_name(entry.get("model") or entry.get("lora"))
    weight = number(entry.get("weight"))
    return (name, 1.0 if weight is None else weight) if name else None


def read_sd_metadata(text: str) -> PictureInfo:
    """InvokeAI 2: JSON whose `image` holds the fields; negatives stand in square brackets in the prompt."""
    try:
        data = load_object(text)
    except Damaged as error:
        return PictureInfo(program="InvokeAI").saying(f"The InvokeAI data is damaged: {error}", partial=True)
    image = mapping(data.get("image"))
    prompt = image.get("prompt")
    if isinstance(prompt, list):
        prompt = ", ".join(str(mapping(part).get("prompt", "")) for part in prompt[:20])
    positive, negative = split_negatives(text_of(prompt) or "")
    model = text_of(data.get("model_weights"))
    return PictureInfo(
        program="InvokeAI",
        prompt=positive,
        negative=negative,
        seed=whole(image.get("seed")),
        steps=whole(image.get("steps")),
        sampler=text_of(image.get("sampler")),
        cfg=number(image.get("cfg_scale")),
        width=whole(image.get("width")),
        height=whole(image.get("height")),
        model=stem(model) if model else None,
    )


def read_dream(text: str) -> PictureInfo:
    """InvokeAI 1: `"prompt [negative]" -s 30 -S seed -W 512 -H 512 -C 7.5 -A k_lms`."""
    match = _DREAM.match(text)
    if match is None:
        return PictureInfo(program="InvokeAI", prompt=text.strip()).saying("The settings could not be read.")
    options = dict(_DREAM_OPTION.findall(text[match.end() : match.end() + 2000]))
    positive, negative = split_negatives(match.group(1))
    return PictureInfo(
        program="InvokeAI",
        prompt=positive,
        negative=negative,
        seed=whole(options.get("S")),
        steps=whole(options.get("s")),
        sampler=options.get("A"),
        cfg=number(options.get("C")),
        width=whole(options.get("W")),
        height=whole(options.get("H")),
    )


def split_negatives(prompt: str) -> tuple[str, str]:
    """`a [b] c` as ("a c", "b")."""
    negative = ", ".join(part.strip() for part in _NEGATIVES.findall(prompt))
    return re.sub(r"  +", " ", _NEGATIVES.sub("", prompt)).strip(), negative

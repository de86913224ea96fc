"""NovelAI, V4 and V4.5: base prompt, characters with their own negatives and places."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from newbie_ui.gallery.foreign.extra import others
from newbie_ui.gallery.info import CharacterInfo, PictureInfo
from newbie_ui.gallery.safe import Damaged, load_object, mapping, number, salvage, sequence, text_of, whole

MAX_CHARACTERS = 20
_READ = (
    *("prompt", "uc", "seed", "steps", "sampler", "noise_schedule", "scale", "width", "height", "v4_prompt"),
    *("v4_negative_prompt", "signed_hash"),
)

_WEIGHTS = re.compile(r"-?\d+(?:\.\d+)?::|\{[^{}]*\}|\[[^\[\]]*\]")


def read(texts: Mapping[str, str]) -> PictureInfo:
    """From the texts `Comment` (JSON), `Description` and `Source`."""
    comment, problem = _comment(texts.get("Comment", ""))
    description, model = texts.get("Description"), texts.get("Source")
    info = read_comment(comment, description, model)
    return info.saying(problem, partial=True) if problem else info


def _comment(text: str) -> tuple[Mapping[str, Any], str]:
    """The settings, and a sentence when they are broken. Rarely the JSON holds the JSON."""
    if not text:
        return {}, "The NovelAI settings are missing; prompt and model were read from the other texts."
    try:
        data = load_object(text)
        inner = data.get("Comment")
        return (load_object(inner) if isinstance(inner, str) else data), ""
    except Damaged as error:
        return salvage(text), f"The NovelAI settings are damaged: {error} What could be found was read."


def read_comment(data: Mapping[str, Any], description: str | None = None, model: str | None = None) -> PictureInfo:
    """From the settings themselves; missing texts come from the description."""
    positive = mapping(mapping(data.get("v4_prompt")).get("caption"))
    negative = mapping(mapping(data.get("v4_negative_prompt")).get("caption"))
    prompt = text_of(data.get("prompt")) or text_of(positive.get("base_caption")) or text_of(description)
    uc = text_of(data.get("uc"))
    placed = mapping(data.get("v4_prompt")).get("use_coords") is True
    characters = _characters(positive, negative, placed)
    notes = []
    if any(_WEIGHTS.search(text or "") for text in (prompt, *(c.text for c in characters))):
        notes.append("NovelAI's weights ({…}, […], 1.3::…::) are kept as text; this model does not read them.")
    if len(sequence(positive.get("char_captions"))) > MAX_CHARACTERS:
        notes.append(f"Only the first {MAX_CHARACTERS} characters were read.")
    if characters and not placed:
        notes.append("NovelAI placed the characters itself; the stated places were not used.")
    return PictureInfo(
        program="NovelAI",
        prompt=prompt,
        negative=uc if uc is not None else text_of(negative.get("base_caption")),
        seed=whole(data.get("seed")),
        steps=whole(data.get("steps")),
        sampler=text_of(data.get("sampler")),
        scheduler=text_of(data.get("noise_schedule")),
        cfg=number(data.get("scale")),
        width=whole(data.get("width")),
        height=whole(data.get("height")),
        model=text_of(model),
        characters=characters,
        extra=others(data, _READ),
        notes=tuple(notes),
    )


def _characters(positive: Mapping[str, Any], negative: Mapping[str, Any], placed: bool) -> tuple[CharacterInfo, ...]:
    negatives = [text_of(mapping(entry).get("char_caption")) for entry in sequence(negative.get("char_captions"))]
    found = []
    for index, entry in enumerate(sequence(positive.get("char_captions"))[:MAX_CHARACTERS]):
        against = negatives[index] if index < len(negatives) else None
        text = text_of(mapping(entry).get("char_caption")) or ""
        found.append(CharacterInfo(text, against or "", _center(mapping(entry)) if placed else None))
    return tuple(found)


def _center(entry: Mapping[str, Any]) -> tuple[float, float] | None:
    center = mapping(next(iter(sequence(entry.get("centers"))), None))
    x, y = number(center.get("x")), number(center.get("y"))
    return (x, y) if x is not None and y is not None and 0 <= x <= 1 and 0 <= y <= 1 else None

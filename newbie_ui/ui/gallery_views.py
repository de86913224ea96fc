"""What the gallery's widgets show of one picture, as plain data made from its record. Text stays text. No Gradio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from newbie_ui.gallery.record import Record
from newbie_ui.prompt.document import NAME_FIELDS, Block
from newbie_ui.prompt.xml import parse

Value = dict[str, Any]
TITLE_CHARS = 80
HEAD_FIELDS = ("gender", "position")  # beside the name; the rest is the block's text
FACTS = ("attention", "compile", "offload", "quantize", "embedding_cache", "device")


def title_of(prompt: str) -> str:
    """A picture's caption: the characters' names, else the start of what was written."""
    characters = parse(prompt).prompt.characters
    names = [character.name for character in characters if character.name]
    if names:
        return ", ".join(names)[:TITLE_CHARS]
    looks = [first_tags(character.get("appearance")) for character in characters]
    words = ", ".join(look for look in looks if look) or " ".join(prompt.split())
    return words[:TITLE_CHARS] or "–"


def first_tags(text: str, count: int = 1) -> str:
    """The first tag that is about hair, else the first ones: enough to tell characters apart."""
    tags = [tag.strip().replace("_", " ") for tag in text.split(",") if tag.strip()]
    hair = [tag for tag in tags if tag.endswith("hair")]
    return ", ".join((hair or tags)[:count])


def blocks_of(prompt: str) -> list[Value]:
    """The prompt's blocks as they are read: one a character, the general tags, what stands beside them."""
    document = parse(prompt).prompt
    found = [
        {
            "slot": number if number <= 6 else 6,
            "name": character.name or str(number),
            "note": ", ".join(filter(None, (character.get(field).strip() for field in HEAD_FIELDS))),
            "text": text_of(character, (*NAME_FIELDS, *HEAD_FIELDS)),
        }
        for number, character in enumerate(document.characters, 1)
    ]
    general = text_of(document.general, ())
    if general:
        found.append({"slot": None, "name": "", "note": "", "text": general})
    found += [
        {"slot": None, "name": extra.name, "note": "", "text": extra.text.strip()}
        for extra in document.extras
        if extra.text.strip()
    ]
    return found


def text_of(block: Block, without: Sequence[str]) -> str:
    """A block's values in their order, without the named fields."""
    return ", ".join(value.strip().strip(",") for name, value in block.fields if name not in without and value.strip())


def detail_of(record: Record) -> Value:
    """Everything the detail panel shows that comes from our own record."""
    request, resolved = record.request, record.resolved
    steps = resolved.steps if resolved else request.steps
    return {
        "prompt": record.prompt,
        "original_prompt": record.original_prompt,
        "negative_prompt": record.negative_prompt,
        "blocks": blocks_of(record.prompt),
        "seed": str(resolved.seed) if resolved else "" if request.seed is None else str(request.seed),
        "steps": steps,
        "guidance_scale": resolved.guidance_scale if resolved else request.guidance_scale,
        "sampler": request.sampler,
        "preset": resolved.preset if resolved else request.preset,
        "model": resolved.model if resolved else "",
        "loras": [f"{name} {weight:g}" for name, weight, _ in resolved.loras] if resolved else [],
        "timings": timings_of(record) if record.timings.total_s else None,
        "memory": {
            "allocated_gb": record.memory.allocated_gb,
            "reserved_gb": record.memory.reserved_gb,
            "resident_gb": record.memory.resident_gb,
            "device_gb": record.memory.device_gb,
        },
        "facts": facts_of(record),
        "recipe": request.to_dict() | {"seed": str(resolved.seed) if resolved else request.seed},
    }


def timings_of(record: Record) -> Value:
    timings = record.timings
    return {
        "queue_s": timings.queue_s,
        "encode_s": timings.encode_s,
        "denoise_s": timings.denoise_s,
        "decode_s": timings.decode_s,
        "total_s": timings.total_s,
    }


def facts_of(record: Record) -> list[str]:
    """The small line under the stages: preset, how it was computed, seconds a step."""
    facts = [record.facts.get("preset_label") or (record.resolved.preset if record.resolved else "")]
    facts += [record.facts[name] for name in FACTS if record.facts.get(name) not in (None, "", "off", "none")]
    if record.timings.s_per_step:
        facts.append(f"{record.timings.s_per_step:.3f} s/step")
    return [str(fact)[:60] for fact in facts if fact]


def seconds_of(record: Record) -> float | None:
    """Seconds without the queue, or None for pictures that were not made here."""
    seconds = record.timings.total_s - record.timings.queue_s
    return seconds if record.timings.total_s and seconds > 0 else None

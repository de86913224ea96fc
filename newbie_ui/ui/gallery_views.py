"""What the gallery shows of one picture: plain data made from what its file says. Text stays text. No Gradio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from newbie_ui.gallery.info import PictureInfo
from newbie_ui.gallery.parameters import parameters_text
from newbie_ui.gallery.record import Record
from newbie_ui.prompt.document import NAME_FIELDS, Block
from newbie_ui.prompt.xml import parse

Value = dict[str, Any]
MAX_NOTES = 8
HEAD_FIELDS = ("gender", "position")  # beside the name; the rest is the block's text
FACTS = {
    "attention": "{}",
    "compile": "compile {}",
    "offload": "offload {}",
    "quantize": "{}",
    "embedding_cache": "prompt cache {}",
}
NOTHING = ("off", "none", "miss", "native")


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


def detail_of(info: PictureInfo) -> Value:
    """Everything the detail panel shows of a picture, whatever program made it."""
    detail = {
        "program": info.program or "",
        "prompt": info.prompt or "",
        "original_prompt": info.original_prompt,
        "negative_prompt": info.negative or "",
        "blocks": blocks_of(info.prompt or ""),
        "seed": "" if info.seed is None else str(info.seed),
        "steps": info.steps,
        "guidance_scale": info.cfg,
        "sampler": ", ".join(filter(None, (info.sampler, info.scheduler))),
        "preset": "",
        "model": info.model or "",
        "loras": [f"{name} {weight:g}" for name, weight in info.loras],
        "timings": None,
        "memory": None,
        "facts": [],
        "parameters": "",
        "recipe": info.to_json(),
        "notes": [*info.problems, *info.notes][:MAX_NOTES],
    }
    return detail | _own(info.record) if info.record else detail


def _own(record: Record) -> Value:
    """What only pictures made here can tell."""
    memory = record.memory
    return {
        "sampler": f"{record.request.sampler}, {record.request.schedule}",
        "preset": record.resolved.preset if record.resolved else record.request.preset,
        "timings": timings_of(record) if record.timings.total_s else None,
        "memory": {
            "allocated_gb": memory.allocated_gb,
            "reserved_gb": memory.reserved_gb,
            "resident_gb": memory.resident_gb,
            "device_gb": memory.device_gb,
        },
        "facts": facts_of(record),
        "parameters": parameters_text(record),
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
    facts = [record.resolved.preset if record.resolved else ""]
    for name, words in FACTS.items():
        value = record.facts.get(name)
        if value and value not in NOTHING:
            facts.append(words.format(value))
    if record.timings.s_per_step:
        facts.append(f"{record.timings.s_per_step:.3f} s/step")
    return [str(fact)[:60] for fact in facts if fact]

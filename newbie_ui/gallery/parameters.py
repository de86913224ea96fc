"""Our pictures in the words of AUTOMATIC1111, so that other programs and sites read them.

Promises: a settings line that starts with `Steps`, quoted where needed; the negative prompt in one line; no prompt
line that a reader could take for something else; LoRAs behind the XML. The text is a courtesy to others: what we
read back ourselves is the record.
"""

from __future__ import annotations

import json
import re
from typing import Any

import newbie_ui
from newbie_ui.gallery.record import Record, record_of
from newbie_ui.request import GenerateResult

SAMPLERS = {
    "euler": "Euler",
    "euler_ancestral": "Euler a",
    "heun": "Heun",
    "dpmpp_2m": "DPM++ 2M",
    "unipc": "UniPC",
}
SCHEDULES = {
    "simple": "Simple",
    "linear_quadratic": "Linear Quadratic",
    "beta": "Beta",
    "karras": "Karras",
    "exponential": "Exponential",
}
_MARKS = ("negative prompt:", "steps:")


def to_parameters_text(result: GenerateResult) -> str:
    """The A1111 text of a result."""
    return parameters_text(record_of(result))


def parameters_text(record: Record) -> str:
    """The A1111 text of a record."""
    lines = [_prompt(record)]
    negative = " ".join(clean_text(record.negative_prompt).split())
    if negative:
        lines.append(f"Negative prompt: {negative}")
    lines.append(", ".join(f"{key}: {_quoted(value)}" for key, value in _settings(record)))
    return "\n".join(lines)


def clean_text(text: str) -> str:
    """Text that every chunk, file and database takes: no NULs, no halves of surrogate pairs, unix line ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    return text.encode("utf-8", "replace").decode("utf-8")


def _prompt(record: Record) -> str:
    lines: list[str] = []
    for line in clean_text(record.prompt).strip().split("\n"):
        if line.strip().lower().startswith(_MARKS):
            lines[-1:] = [f"{lines[-1]} {line.strip()}" if lines else f", {line.strip()}"]
        else:
            lines.append(line)
    tags = " ".join(f"<lora:{_plain(name)}:{weight:g}>" for name, weight, _ in _loras(record))
    return "\n".join(lines + [tags] * bool(tags))


def _loras(record: Record) -> tuple[tuple[str, float, str], ...]:
    if record.resolved is not None and record.resolved.loras:
        return record.resolved.loras
    return tuple((use.name, use.weight, "") for use in record.request.loras)


def _plain(name: str) -> str:
    """A LoRA name without the signs that would end its tag."""
    return re.sub(r"[:,<>\n]", "_", clean_text(name))


def _settings(record: Record) -> list[tuple[str, Any]]:
    """Key and value in the order that readers expect; values that are not known are left out."""
    request, resolved = record.request, record.resolved
    source = resolved or request
    size = (source.width, source.height)
    hashes = ", ".join(f"{_plain(name)}: {fingerprint}" for name, _, fingerprint in _loras(record) if fingerprint)
    guided = {"Guidance renorm": (request.guidance_renorm, 1.0), "Guidance rescale": (request.guidance_rescale, 0.0)}
    guided |= {"Guidance from": (request.guidance_start, 0.0), "Guidance until": (request.guidance_end, 1.0)}
    pairs = [
        ("Steps", source.steps),
        ("Sampler", SAMPLERS.get(request.sampler, request.sampler)),
        ("Schedule type", SCHEDULES.get(request.schedule, request.schedule)),
        ("CFG scale", source.guidance_scale),
        ("Seed", source.seed),
        ("Size", f"{size[0]}x{size[1]}" if all(size) else None),
        ("Model hash", resolved.model_hash if resolved else None),
        ("Model", resolved.model if resolved else None),
        ("Shift", source.shift),
        *((name, value) for name, (value, usual) in guided.items() if value != usual),
        ("Lora hashes", hashes),
        ("Preset", resolved.preset if resolved else None),
        ("Version", f"newbie_ui {newbie_ui.__version__}"),
    ]
    return [(key, value) for key, value in pairs if value not in (None, "")]


def _quoted(value: Any) -> str:
    """The value, as a JSON string where a plain one would be cut or misread."""
    text = clean_text(f"{value:g}" if isinstance(value, float) else str(value))
    return json.dumps(text, ensure_ascii=False) if re.search(r'[,:\n"]', text) else text

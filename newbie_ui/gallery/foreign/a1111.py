"""The `parameters` text of AUTOMATIC1111, Forge, SD.Next and everything that copies them.

Three parts: prompt lines; a line that starts with `Negative prompt:` and what follows it; one settings line, the
last, if it holds at least three `Key: value` pairs. An earlier line that merely looks like settings is prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from newbie_ui.gallery.foreign.regions import read_regions
from newbie_ui.gallery.info import PictureInfo, join_lora, stem
from newbie_ui.gallery.safe import number, value_at, whole

NEGATIVE = "Negative prompt:"
TEMPLATES = ("Template:", "Negative template:")
MIN_PAIRS = 3
MAX_PAIRS = 500
MAX_SETTINGS = 200_000  # characters of the settings line
MAX_BRACKETS = 20  # values in unquoted JSON brackets looked at

_KEY = re.compile(r"(\w[\w \-/]{1,80}):[ \t]*")
_PAIR_ENDS = re.compile(r"[ \t]*(?:,|$)")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)+"')
_LORA = re.compile(r"<(?:lora|lyco):([^:<>]{1,200})((?::[^:<>]{0,40}){0,8})>", re.IGNORECASE)
_SIZE = re.compile(r"\s*(\d{1,6})\s*[xX×]\s*(\d{1,6})\s*")
_SCHEDULES = ("SGM Uniform", "Polyexponential", "Exponential", "Karras")
_READ_KEYS = ("Steps", "Sampler", "Schedule type", "Scheduler", "CFG scale", "Seed", "Size", "Model", "Shift")


@dataclass(frozen=True)
class Parameters:
    """The three parts of a `parameters` text."""

    prompt: str
    negative: str | None  # None: no such line
    settings: Mapping[str, str] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)


def read(text: str) -> PictureInfo:
    """Everything the form can use, and the other settings as `extra`."""
    parts = split(text)
    settings = parts.settings
    sampler, schedule = _sampler(settings)
    width, height = size_of(settings.get("Size", ""))
    regions = read_regions(parts.prompt, settings)
    model = settings.get("Model")
    return PictureInfo(
        program=_program(settings),
        prompt=parts.prompt,
        negative=parts.negative,
        seed=whole(settings.get("Seed")),
        steps=whole(settings.get("Steps")),
        sampler=sampler,
        scheduler=schedule,
        cfg=number(settings.get("CFG scale")),
        width=width,
        height=height,
        model=stem(model) if model else None,
        loras=join_lora(loras_in(parts.prompt)),
        shift=number(settings.get("Shift")),
        characters=regions.characters,
        segments=regions.segments,
        hires=_hires(settings),
        extra={key: value for key, value in settings.items() if key not in _READ_KEYS} | dict(parts.templates),
        notes=regions.notes,
    )


# ---- the three parts ---------------------------------------------------------------------------------------------


def split(text: str) -> Parameters:
    """Cut the text into prompt, negative prompt and settings; keeps lines as they are, strips the ends."""
    lines = text.replace("\r\n", "\n").replace("\x00", "").strip().split("\n")
    settings = read_settings(lines[-1])
    if len(settings) < MIN_PAIRS:
        settings = {}
    else:
        last = lines.pop()
        if NEGATIVE[:-1] in settings and last.lstrip().startswith(NEGATIVE):
            settings = _negative_on_settings_line(last, lines, settings)
    templates = _take_templates(lines) if settings.get("App") == "SD.Next" else {}
    start = next((i for i, line in enumerate(lines) if line.strip().startswith(NEGATIVE)), None)
    if start is None:
        return Parameters("\n".join(lines).strip(), None, settings, templates)
    negative = "\n".join([lines[start].strip()[len(NEGATIVE) :], *lines[start + 1 :]])
    return Parameters("\n".join(lines[:start]).strip(), negative.strip(), settings, templates)


def _negative_on_settings_line(last: str, lines: list[str], settings: dict[str, str]) -> dict[str, str]:
    """`Negative prompt: a, b, Steps: 20, …` in one line, as SD.Next accepts it."""
    place = re.search(r"(?:^|,)\s*(?=Steps:\s*\d)", last)
    if place is None:
        settings.pop(NEGATIVE[:-1])
        return settings
    lines.append(last[: place.start()])
    return read_settings(last[place.end() :])


def _take_templates(lines: list[str]) -> dict[str, str]:
    """Remove SD.Next's template lines, which are neither prompt nor negative prompt."""
    found: dict[str, str] = {}
    for index in range(len(lines) - 1, -1, -1):
        for name in TEMPLATES:
            if lines[index].startswith(name):
                found[name[:-1]] = "\n".join([lines[index][len(name) :], *lines[index + 1 :]]).strip()
                del lines[index:]
                break
    return {key: value for key, value in found.items() if value}


def read_settings(line: str) -> dict[str, str]:
    """`Key: value, Key: "quoted, value"` pairs; the first of a key wins, empty values are dropped."""
    found: dict[str, str] = {}
    line = line[:MAX_SETTINGS]
    position = brackets = 0
    for _ in range(MAX_PAIRS):
        if position >= len(line):
            break
        comma = line.find(",", position)
        key = _KEY.search(line, position, len(line) if comma < 0 else comma)
        if key is None:
            position = _next_pair(line, position)
            continue
        brackets += line[key.end() : key.end() + 1] in ("[", "{")
        value, position = _read_value(line, key.end(), brackets <= MAX_BRACKETS)
        if value:
            found.setdefault(key.group(1).strip(), value)
    return found


def _read_value(line: str, start: int, brackets: bool) -> tuple[str, int]:
    """The value from here and where the next pair starts: JSON text, JSON brackets, or up to the comma."""
    quoted = _QUOTED.match(line, start)
    if quoted and _PAIR_ENDS.match(line, quoted.end()):
        try:
            text = json.loads(quoted.group(), strict=False)
        except ValueError:
            text = quoted.group()
        return text, _next_pair(line, quoted.end())
    if brackets and line[start : start + 1] in ("[", "{"):
        _, end = value_at(line, start)
        if end > start and _PAIR_ENDS.match(line, end):
            return line[start:end], _next_pair(line, end)
    after = _next_pair(line, start)
    return line[start:after].rstrip(",").strip(), after


def _next_pair(line: str, position: int) -> int:
    """Where the next pair starts: behind the next comma."""
    comma = line.find(",", position)
    return len(line) if comma < 0 else comma + 1


# ---- single settings ---------------------------------------------------------------------------------------------


def _program(settings: Mapping[str, str]) -> str:
    version = settings.get("Version", "")
    if settings.get("App") == "SD.Next":
        return "SD.Next"
    if version.startswith("Fooocus"):
        return "Fooocus"
    if version.startswith("newbie_ui"):
        return "newbie_ui"
    if version.startswith("ComfyUI"):
        return "ComfyUI"
    if version == "neo" or version.startswith("neo-") or re.match(r"f\d", version):
        return "Forge"
    return "A1111"


def _sampler(settings: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Sampler and schedule; old files have both in one name (`DPM++ 2M Karras`)."""
    sampler = settings.get("Sampler")
    schedule = settings.get("Schedule type") or settings.get("Scheduler")
    if sampler and not schedule:
        for name in _SCHEDULES:
            if sampler.endswith(" " + name):
                return sampler.removesuffix(" " + name), name
    return sampler, schedule


def size_of(text: str) -> tuple[int | None, int | None]:
    """`832x1216` as numbers."""
    match = _SIZE.fullmatch(text)
    return (int(match.group(1)), int(match.group(2))) if match else (None, None)


def loras_in(prompt: str) -> list[tuple[str, float]]:
    """`<lora:name:weight>` and its longer forms; the image model's weight where text and image have their own."""
    found = []
    for match in _LORA.finditer(prompt):
        plain, named = [], {}
        for part in match.group(2).split(":")[1:]:
            key, equals, value = part.partition("=")
            if equals:
                named[key.strip().lower()] = number(value)
            else:
                plain.append(number(part))
        weight = named.get("unet")
        if weight is None:
            weight = plain[1] if len(plain) > 1 else plain[0] if plain else named.get("te")
        found.append((match.group(1), 1.0 if weight is None else weight))
    return found


def _hires(settings: Mapping[str, str]) -> dict[str, Any]:
    """The second pass, if there was one."""
    values = {
        "scale": number(settings.get("Hires upscale") or settings.get("Hires scale")),
        "steps": whole(settings.get("Hires steps")),
        "upscaler": settings.get("Hires upscaler"),
        "cfg": number(settings.get("Hires CFG Scale")),
    }
    values = {key: value for key, value in values.items() if value is not None}
    if values:
        denoise = number(settings.get("Denoising strength") or settings.get("Hires strength"))
        values |= {"denoise": denoise} if denoise is not None else {}
    return values

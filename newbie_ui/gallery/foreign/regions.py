"""Prompts cut into regions: forge-couple, Regional Prompter, and plain BREAK.

Only what the settings prove becomes characters; BREAK alone gives segments, which the page may offer. In bare text
without settings nothing proves that lines are regions, so nothing is decided here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from newbie_ui.gallery.info import CharacterInfo
from newbie_ui.gallery.safe import Damaged, load_json, number, sequence

MAX_REGIONS = 20

_BREAK = re.compile(r"\bBREAK\b")
_REGION = re.compile(r"\b(?:BREAK|ADDCOL|ADDROW|AND)\b")
_SHARED = re.compile(r"\b(?:ADDCOMM|ADDBASE)\b")


@dataclass(frozen=True)
class Regions:
    """What was found: characters with certainty, segments to offer."""

    characters: tuple[CharacterInfo, ...] = ()
    segments: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_regions(prompt: str, settings: Mapping[str, str]) -> Regions:
    """Regions of a prompt according to its settings."""
    if settings.get("forge_couple") == "True":
        return _forge_couple(prompt, settings)
    if settings.get("RP Active") == "True":
        return _regional_prompter(prompt, settings)
    parts = _cut(_BREAK, prompt)
    return Regions(segments=tuple(parts)) if len(parts) > 1 else Regions()


def _cut(separator: re.Pattern[str], prompt: str) -> list[str]:
    """The non-empty parts between separators, stripped."""
    parts = (part.strip() for part in separator.split(prompt, maxsplit=MAX_REGIONS))
    return [part for part in parts if part]


# ---- forge-couple ------------------------------------------------------------------------------------------------


def _forge_couple(prompt: str, settings: Mapping[str, str]) -> Regions:
    separator = settings.get("forge_couple_separator", "\\n").replace("\\n", "\n") or "\n"
    text = _fill_common(prompt, settings.get("forge_couple_common_parser", ""))
    parts = [part.strip() for part in text.split(separator if separator == "\n" else separator.strip())]
    parts = [part for part in parts if part]
    parts = [*parts[: MAX_REGIONS - 1], separator.join(parts[MAX_REGIONS - 1 :])] if len(parts) > MAX_REGIONS else parts
    background = settings.get("forge_couple_background", "None").lower()
    people = parts[1:] if "first" in background else parts[:-1] if "last" in background else parts
    centers = _centers(len(people), settings)
    characters = tuple(CharacterInfo(part, center=center) for part, center in zip(people, centers))
    return Regions(characters, tuple(parts), ("The prompt was cut into regions as forge-couple does.",))


def _fill_common(prompt: str, signs: str) -> str:
    """Replace `{key:text}` by its text and `{key}` by the text defined for it."""
    pair = signs.split()
    if len(pair) != 2 or any(len(sign) != 1 for sign in pair):
        return prompt
    opening, closing = (re.escape(sign) for sign in pair)
    inner = f"[^{opening}{closing}:]+"
    known: dict[str, str] = {}

    def define(match: re.Match[str]) -> str:
        if match.group(1).strip().lower() in ("lora", "lyco", "hypernet"):
            return match.group()
        return known.setdefault(match.group(1).strip(), match.group(2).strip())

    text = re.sub(f"{opening}({inner}):([^{opening}{closing}]*){closing}", define, prompt)
    return re.sub(f"{opening}({inner}){closing}", lambda m: known.get(m.group(1).strip(), m.group()), text)


def _centers(count: int, settings: Mapping[str, str]) -> list[tuple[float, float] | None]:
    """Middle of each region: equal columns or rows in basic mode, the stated boxes in advanced mode."""
    mode = settings.get("forge_couple_mode", "Basic")
    if mode == "Advanced":
        try:
            rows = sequence(load_json(settings.get("forge_couple_mapping", "")))
        except Damaged:
            rows = []
        return [_middle(rows[i]) if i < len(rows) else None for i in range(count)]
    if mode != "Basic":
        return [None] * count
    along = [(index + 0.5) / count for index in range(count)]
    vertical = settings.get("forge_couple_direction") == "Vertical"
    return [(0.5, round(place, 3)) if vertical else (round(place, 3), 0.5) for place in along]


def _middle(row: object) -> tuple[float, float] | None:
    """Centre of a box given as [x1, x2, y1, y2, weight]."""
    edges = [number(edge) for edge in sequence(row)[:4]]
    if len(edges) < 4 or None in edges:
        return None
    return round((edges[0] + edges[1]) / 2, 3), round((edges[2] + edges[3]) / 2, 3)


# ---- Regional Prompter -------------------------------------------------------------------------------------------


def _regional_prompter(prompt: str, settings: Mapping[str, str]) -> Regions:
    if "ADDP" in prompt:
        note = "Regions by words (ADDP) cannot be cut into characters; the prompt is kept whole."
        return Regions(notes=(note,))
    *shared, rest = _SHARED.split(prompt, maxsplit=2)
    parts = _cut(_REGION, rest)
    stated = int(settings.get("RP Use Common") == "True") + int(settings.get("RP Use Base") == "True")
    skip = max(0, stated - len(shared))
    note = "The prompt was cut into regions as Regional Prompter does."
    characters = tuple(CharacterInfo(part) for part in parts[skip:])
    segments = tuple(part.strip() for part in shared if part.strip()) + tuple(parts)
    return Regions(characters, segments, (note,))

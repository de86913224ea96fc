"""A value as a list of tags, with the place of each, and the usual changes to such a list.

Promises: items are found without changing the text; changes keep the separators that the artist uses.
Does not know: elements; it works on text[start:end] of any text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from newbie_ui.prompt.tags import normalise

_ITEM = re.compile(r"[^,，、]+")
_WEIGHT = re.compile(r"^[(\[{]*(.*?)(?::-?\d*\.?\d+)?[)\]}]*$", re.DOTALL)
_NUMERIC = re.compile(r"-?\d+(?:\.\d+)?::(.+?)(?:::)?")  # NovelAI's weight
MAX_WEIGHTED = 200  # longer ones are no single tag and are compared as they are
_PROSE = re.compile(r"[.!?。！？](?:\s|$)|\b(?:a|an|the|is|are|with|her|his|their|and)\b", re.IGNORECASE)


class Item(NamedTuple):
    """One tag: text[start:end] as written, `key` for comparing (lower case, spaces, no weight)."""

    start: int
    end: int
    key: str


def items(text: str, start: int = 0, end: int | None = None) -> list[Item]:
    """The tags of text[start:end], without empty ones."""
    end = len(text) if end is None else end
    found = []
    for match in _ITEM.finditer(text, start, end):
        stripped = match[0].strip()
        if stripped:
            first = match.start() + match[0].index(stripped[0])
            found.append(Item(first, first + len(stripped), key(stripped)))
    return found


def key(tag: str) -> str:
    """What makes two tags equal: `(Blue_Hair:1.2)` and `blue hair` are one."""
    tag = tag.strip()
    if len(tag) > MAX_WEIGHTED:
        return normalise(tag)
    if tag[:1] in "([{" and not re.fullmatch(r"[\W_]*\w?[\W_]*\w?[\W_]*", tag):
        tag = _WEIGHT.sub(r"\1", tag) or tag
    numeric = _NUMERIC.fullmatch(tag)
    return normalise(numeric[1] if numeric else tag)


def keys(value: str) -> list[str]:
    return [item.key for item in items(value)]


def without(text: str, found: list[Item], index: int) -> tuple[int, int]:
    """The range to delete so that one item and one separator go."""
    if index > 0:
        return found[index - 1].end, found[index].end
    return found[0].start, found[1].start if len(found) > 1 else found[0].end


def joined(value: str, more: Iterable[str]) -> str:
    """The value with more tags at its end, none of them twice."""
    have = set(keys(value))
    new = [tag for tag in more if key(tag) not in have and not have.add(key(tag))]
    base = value.rstrip().rstrip(",，、")
    return ", ".join([*([base] if base.strip() else []), *new]) if new else value


def is_prose(text: str) -> bool:
    """True for sentences, False for a list of tags."""
    parts = [part for part in _ITEM.findall(text) if part.strip()]
    words = sum(len(part.split()) for part in parts)
    return bool(parts) and len(_PROSE.findall(text)) >= 1 and words / len(parts) > 3

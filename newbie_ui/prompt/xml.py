"""Prompt text ⇄ document: tolerant, lossless, with the place of every problem.

Promises: `parse` takes any text, raises for none, and keeps each character of it: the segments of the result put
together are the text again, byte for byte. Time is linear in the length; results are cached within bounds.
Does not know: tags inside values (see `lint.py`), how many tokens a text has (see `budget.py`).

No XML library is underneath, on purpose: XML forbids what artists type every day (`>_<`, `<o>_<o>`, `&`,
`<character 1>`, a missing close tag), and a library that recovers from such text loses bytes and positions.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

from newbie_ui.prompt.document import Character, Extra, Fields, General, Prompt
from newbie_ui.prompt.reader import Reader

CACHE_ENTRIES = 64
CACHE_MAX_CHARS = 8_000  # longer texts are parsed each time, so that the cache stays small

_NEWLINE = re.compile(r"\r\n|\r|\n")


class Segment(NamedTuple):
    """A piece of the text: open, close, value, text, space, frame (JSON around the XML), system or note."""

    kind: str
    text: str


@dataclass(frozen=True)
class Problem:
    """Something in the text that is probably not meant. Line and column count from 1, in characters."""

    line: int
    column: int
    message: str
    code: str
    start: int
    end: int


class ParsedPrompt:
    """A text and what was found in it. Treat it as read-only: it is shared through the cache.

    Attributes:
        prompt: the document.
        blocks: spans of the character and general blocks, in text order.
        elements: top-level elements (caption, danbooru_tags …), in text order.
        loose: spans of free text outside the blocks.
        system_end: where the system prompt in front ends, 0 without one.
        problems: `Problem`s in text order.
    """

    def __init__(self, source: str):
        found = Reader(source).read()
        self._source = source
        self._cuts = found.cuts
        self.blocks = found.blocks
        self.elements = found.elements
        self.loose = found.loose
        self.frames = found.frames
        self.system_end = found.system_end
        self.characters = tuple(block for block in found.blocks if block.kind == "character")
        self.generals = tuple(block for block in found.blocks if block.kind == "general")
        self.problems = tuple(
            Problem(*self.locate(issue.start), issue.message, issue.code, issue.start, issue.end)
            for issue in found.issues
        )
        self.prompt = self._document()

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The text in pieces, nothing left out."""
        ends = [*(start for start, _ in self._cuts[1:]), len(self._source)]
        pieces = [Segment(kind, self._source[start:end]) for (start, kind), end in zip(self._cuts, ends)]
        return tuple(piece for piece in pieces if piece.text)

    @property
    def text(self) -> str:
        """The text rebuilt from its segments: equal to what was parsed."""
        return "".join(segment.text for segment in self.segments)

    def value(self, span: tuple[int, int]) -> str:
        return self._source[span[0] : span[1]]

    def locate(self, offset: int) -> tuple[int, int]:
        """Line and column of a character, both from 1. `\\n`, `\\r\\n` and a lone `\\r` end a line."""
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in _NEWLINE.finditer(self._source))]

    def _document(self) -> Prompt:
        first = self.blocks[0].start if self.blocks else len(self._source)
        extras = [
            (e.start, Extra(e.name, self.value((e.value_start, e.value_end)), e.start < first)) for e in self.elements
        ]
        extras += [(start, Extra("", self.value((start, end)), start < first)) for start, end in self.loose]
        return Prompt(
            characters=tuple(Character(self._fields(b), "" if b.numbered else b.raw) for b in self.characters),
            general=General(tuple(pair for block in self.generals for pair in self._fields(block))),
            extras=tuple(extra for _, extra in sorted(extras, key=lambda item: item[0])),
            system=self._source[: self.system_end],
        )

    def _fields(self, block) -> Fields:
        return tuple((e.name, self._source[e.value_start : e.value_end]) for e in block.elements)


def parse(text: str) -> ParsedPrompt:
    """Read a prompt text of any form. Never raises for text."""
    return _cached(text) if len(text) <= CACHE_MAX_CHARS else ParsedPrompt(text)


@lru_cache(maxsize=CACHE_ENTRIES)
def _cached(text: str) -> ParsedPrompt:
    return ParsedPrompt(text)


def has_markup(value: str) -> bool:
    """True if the text holds elements of its own, so that putting it into one field would change the structure."""
    parsed = parse(value)
    return bool(parsed.blocks or parsed.elements or parsed.problems)


def build(prompt: Prompt) -> str:
    """The canonical text: one element a line, a blank line between blocks, blocks numbered from 1.

    Nothing of the document is left out; empty general tags without any field are not written.
    """
    parts = [*(_extra(extra) for extra in prompt.extras if extra.before)]
    parts += [build_block(one.tag or f"character_{i}", one.fields) for i, one in enumerate(prompt.characters, 1)]
    if prompt.general.fields:
        parts.append(build_block("general_tags", prompt.general.fields))
    parts += [_extra(extra) for extra in prompt.extras if not extra.before]
    body = "\n\n".join(part for part in parts if part)
    return prompt.system + ("\n" if prompt.system and body and not prompt.system[-1].isspace() else "") + body


def build_block(tag: str, fields: Fields, newline: str = "\n") -> str:
    """One block in canonical form, without a newline at its end."""
    return newline.join([f"<{tag}>", *(build_field(name, value) for name, value in fields), f"</{tag}>"])


def build_field(name: str, value: str) -> str:
    """One element; bare text where the name is ""."""
    return f"<{name}>{value}</{name}>" if name else value


def _extra(extra: Extra) -> str:
    return build_field(extra.name, extra.text) if extra.name else extra.text.strip()


def tiled(parsed: ParsedPrompt) -> bool:
    """True if the segments follow each other without gap or overlap. For tests and self-checks."""
    starts = [start for start, _ in parsed._cuts]
    return starts[:1] == [0] and all(a <= b for a, b in pairwise(starts))

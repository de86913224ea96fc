"""Where things stand in a prompt text: offsets of fields, blocks and problems. Data only."""

from __future__ import annotations

from typing import NamedTuple


class Element(NamedTuple):
    """A field: its value is text[value_start:value_end], all of it text[start:end]; `raw` is its name as written."""

    name: str
    raw: str
    start: int
    value_start: int
    value_end: int
    end: int
    closed: bool


class BlockSpan(NamedTuple):
    """A character or general block. Its content lies between open_end and close_start."""

    kind: str
    raw: str
    number: int | None
    numbered: bool  # the element name is character_N, not a name of its own
    start: int
    open_end: int
    close_start: int
    end: int
    closed: bool
    elements: tuple[Element, ...]


class Issue(NamedTuple):
    code: str
    message: str
    start: int
    end: int


class Found(NamedTuple):
    cuts: list[tuple[int, str]]  # (start, kind) of each segment, from 0
    blocks: tuple[BlockSpan, ...]
    elements: tuple[Element, ...]
    loose: tuple[tuple[int, int], ...]
    frames: tuple[tuple[int, int], ...]
    system_end: int
    issues: list[Issue]

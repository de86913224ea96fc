"""Tokens, notes and fixes of a prompt, as the dock shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from newbie_ui.prompt.xml import parse

Counter = Callable[[Sequence[str]], list[int]]


def budget(text: str, system: str, count: Counter, trained: int, maximum: int) -> dict[str, Any]:
    """Tokens of each block against both marks."""
    parsed = parse(text)
    pieces, cursor, number = [("system", 0, "", system)], 0, 0
    for block in parsed.blocks:
        if block.kind == "character":
            number += 1
        name = parsed.prompt.characters[number - 1].name if block.kind == "character" else ""
        if text[cursor : block.start].strip():
            pieces.append(("text", 0, "", text[cursor : block.start]))
        pieces.append((block.kind, number if block.kind == "character" else 0, name, text[block.start : block.end]))
        cursor = block.end
    if text[cursor:].strip():
        pieces.append(("text", 0, "", text[cursor:]))
    tokens = count([piece[3] for piece in pieces])
    blocks = [{"kind": k, "number": n, "name": name, "tokens": c} for (k, n, name, _), c in zip(pieces, tokens)]
    return {"blocks": blocks, "total": sum(tokens), "trained": trained, "maximum": maximum, "diet": None}


def lint(text: str) -> list[dict[str, Any]]:
    return [
        {
            "code": p.code,
            "message": p.message,
            "start": p.start,
            "end": p.end,
            "level": "warn",
            "fix": None,
            "block": "",
            "number": 0,
        }
        for p in parse(text).problems
    ]


def fix(text: str, code: str, message: str, start: Any) -> str | None:
    return None


def diet(text: str) -> str:
    return text


def read_anything(text: str) -> tuple[str, str | None, str]:
    return text, None, "Taken over."

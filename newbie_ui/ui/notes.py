"""Tokens, notes and fixes of a prompt, as the dock shows them: the prompt area's findings as plain data.

Promises: a fix is applied only to the text it was offered for, found again by its code and sentence; nothing here
raises for text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from newbie_ui.prompt.lint import lint
from newbie_ui.prompt.report import Finding
from newbie_ui.prompt.xml import parse

Counter = Callable[[Sequence[str]], list[int]]
LEVELS = {"error": "warn", "warning": "warn", "hint": "info"}


def findings(text: str, generated: str, vocabulary: Collection[str] = ()) -> list[dict[str, Any]]:
    """Notes on what is generated. With muted cards (`generated` differs) only fixes that fit the whole text show."""
    found = lint(generated, vocabulary)
    if generated == text:
        return [_note(finding, finding) for finding in found]
    whole = {(f.code, f.message): f for f in lint(text, vocabulary)}
    return [_note(finding, whole.get((finding.code, finding.message))) for finding in found]


def _note(finding: Finding, placed: Finding | None) -> dict[str, Any]:
    """One row of the dock. `placed` is the same finding in the text that the editor holds, None if there is none."""
    index = placed.index if placed else -1
    return {
        "code": finding.code,
        "level": LEVELS.get(finding.severity, "warn"),
        "message": finding.message,
        "start": placed.start if placed else 0,
        "end": placed.end if placed else 0,
        "block": f"character:{index}" if index >= 0 else "general" if finding.block == "general" else "extra",
        "number": index + 1,
        "fix": placed.fix.label if placed and placed.fix else None,
    }


def fix(text: str, code: str, message: str, vocabulary: Collection[str] = ()) -> str | None:
    """The text after the fix of this finding, or None if the finding is not there (any more)."""
    for finding in lint(text, vocabulary):
        if finding.fix is not None and (finding.code, finding.message) == (code, message):
            return finding.fix.text
    return None


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


def diet(text: str) -> str:
    return text


def read_anything(text: str) -> tuple[str, str | None, str]:
    return text, None, "Taken over."

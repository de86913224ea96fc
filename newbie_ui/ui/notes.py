"""Tokens, notes and fixes of a prompt, as the dock shows them: the prompt area's findings as plain data.

Promises: a fix is applied only to the text it was offered for, found again by its code and sentence; nothing here
raises for text.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from newbie_ui.prompt.budget import CountTokens, budget, saved
from newbie_ui.prompt.lint import lint
from newbie_ui.prompt.report import Finding
from newbie_ui.prompt.xml import parse

LEVELS = {"error": "warn", "warning": "warn", "hint": "info"}
ORDER = ("error", "warning", "hint")


def findings(text: str, generated: str, vocabulary: Collection[str] = ()) -> list[dict[str, Any]]:
    """Notes on what is generated. With muted cards (`generated` differs) only fixes that fit the whole text show."""
    found = sorted(lint(generated, vocabulary), key=lambda finding: ORDER.index(finding.severity))
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


def tokens(
    text: str, slots: Sequence[int], system: str, count: CountTokens, trained: int, possible: int
) -> dict[str, Any]:
    """Tokens of each block against both marks, and what the diet would save.

    Args:
        slots: card number (from 1) of each character of the text; with muted cards they are not 1, 2, 3 …
    """
    found = budget(text, count, system, trained, possible)
    characters = parse(text).prompt.characters
    blocks = [
        {
            "kind": block.kind,
            "number": slots[block.index] if 0 <= block.index < len(slots) else 0,
            "name": characters[block.index].name if block.index >= 0 else "",
            "tokens": block.tokens,
        }
        for block in found.blocks
    ]
    return {
        "blocks": blocks,
        "total": found.total,
        "trained": trained,
        "maximum": possible,
        "saves": saved(text, count) if text.strip() else 0,
        "trained_end": found.trained_end,
        "possible_end": found.possible_end,
    }

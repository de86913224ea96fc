"""The parts that a lint finding is made of. Used by `lint.py` and `lint_tags.py`."""

from __future__ import annotations

from dataclasses import dataclass

from newbie_ui.prompt.spans import Element
from newbie_ui.prompt.xml import ParsedPrompt

SHOWN_CHARS = 40


@dataclass(frozen=True)
class Fix:
    """One click: `label` for the button, `text` the whole prompt after it."""

    label: str
    text: str


@dataclass(frozen=True)
class Finding:
    """One note. `start`, `end` are offsets, line and column count from 1; `block` and `index` say whose it is."""

    code: str
    severity: str  # "error" | "warning" | "hint"
    message: str
    start: int
    end: int
    line: int
    column: int
    block: str  # "character" | "general" | "text"
    index: int  # of the character, from 0; -1 for the rest
    fix: Fix | None = None


class Report:
    """Makes findings for one parsed prompt."""

    def __init__(self, parsed: ParsedPrompt):
        self.parsed = parsed
        self.text = parsed.text

    def value(self, element: Element) -> str:
        return self.text[element.value_start : element.value_end]

    def finding(self, code: str, severity: str, message: str, start: int, end: int, fix: Fix | None = None) -> Finding:
        """A finding with its place; a fix that changes nothing is left out."""
        if fix is not None and fix.text == self.text:
            fix = None
        line, column = self.parsed.locate(start)
        block, index = self.owner(start)
        return Finding(code, severity, message, start, end, line, column, block, index, fix)

    def owner(self, offset: int) -> tuple[str, int]:
        """The block an offset lies in."""
        for index, block in enumerate(self.parsed.characters):
            if block.start <= offset < max(block.end, block.start + 1):
                return "character", index
        inside = any(block.start <= offset < block.end for block in self.parsed.generals)
        return ("general", -1) if inside else ("text", -1)

    @staticmethod
    def shortened(text: str) -> str:
        text = " ".join(text.split())
        return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"


def label_of(parsed: ParsedPrompt, index: int) -> str:
    """What a card is called in a message: its name, or `character 2`."""
    return parsed.prompt.characters[index].name or f"character {index + 1}"

"""Find what looks like markup in a prompt and say what kind it is. Linear in the length of the text.

Promises: `scan` never fails and never backtracks over more than the text between two `<`. What it returns is in
text order and does not overlap.
Does not know: nesting, and whether a tag is closed (see `xml.py`).

Markup is only what can be nothing else: a known element name in any spelling (its > may be forgotten before a line
end or the next <), or an unknown one that is closed later. Emoticons (`>_<`, `<o>_<o>`, `:<`, `<3`), `<lora:…>` and
comparison signs are text.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from newbie_ui.prompt.document import KNOWN_FIELDS, canonical

CHARACTER, GENERAL, FIELD, WRAPPER, START, NOTE, UNKNOWN = (
    "character",
    "general",
    "field",
    "wrapper",
    "start",
    "note",
    "unknown",
)
WRAPPERS = frozenset({"image", "img", "document", "prompt", "root", "characters"})

_MARKUP = re.compile(
    r"""<\?xml[^<>]*\?> | <!--[^<>]*-->                      # prolog, comment
      | <(?P<close>/?)
        (?P<name>[^\W\d][\w.\-]{0,63}(?:[ ][\w\-]{1,63}){0,2}?)  # <character 1>, <Prompt Start>
        (?:\s+[\w:\-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'))*          # attributes are read over
        (?:\s*(?P<empty>/?)>|(?P<cut>(?=[ \t]*(?:[\r\n<]|$))))  # > may be forgotten before a line end or <""",
    re.VERBOSE,
)
_SURE = frozenset({CHARACTER, GENERAL, FIELD})  # these count even where their > was forgotten
_CHARACTER = re.compile(r"character_?(\d*)")


class Tag(NamedTuple):
    """One piece of markup. `number` is a character block's own number, None where it has none."""

    kind: str
    name: str  # canonical spelling
    raw: str  # as written
    start: int
    end: int
    close: bool
    empty: bool  # <name/>
    number: int | None = None
    cut: bool = False  # its > is missing


def scan(text: str) -> list[Tag]:
    """All candidate tags of the text, in order."""
    tags = []
    for match in _MARKUP.finditer(text):
        raw, close, empty, cut = match.group("name", "close", "empty", "cut")
        start, end = match.span()
        if raw is None:
            tags.append(Tag(NOTE, "", "", start, end, False, True, None))
            continue
        kind, name, number = _classified(raw)
        if cut is not None and (kind not in _SURE or not (close or len(name) > 4)):
            continue
        if len(name) > 1 or name == "n":  # <o>_<o>, <b>: a single letter is never an element
            tags.append(Tag(kind, name, raw, start, end, bool(close), bool(empty), number, cut is not None))
    return tags


@lru_cache(maxsize=512)
def _classified(raw: str) -> tuple[str, str, int | None]:
    name = canonical(raw)
    return classify(name)[0], name, classify(name)[1]


def classify(name: str) -> tuple[str, int | None]:
    """Kind of a canonical element name, and the number of a character block."""
    if name in KNOWN_FIELDS:
        return FIELD, None
    numbered = _CHARACTER.fullmatch(name)
    if numbered:
        digits = numbered[1]
        return CHARACTER, int(digits) if digits and len(digits) < 10 else None
    if name in ("general_tags", "general_tag", "general", "generaltags"):
        return GENERAL, None
    if name == "prompt_start":
        return START, None
    return (WRAPPER if name in WRAPPERS else UNKNOWN), None

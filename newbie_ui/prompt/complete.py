"""What an artist may mean while typing: tags, and element names inside `<…`.

Promises: works anywhere in a text, not only at its end; never reaches over a comma, a line end or an element's
border; writes the tag the way the text around it does (underscores or spaces, `\\(` for parentheses). Well under
5 ms for a keystroke once the vocabulary's index is built.
Does not know: widgets; it takes a text and a caret and returns what to replace.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from newbie_ui.prompt.document import CHARACTER_FIELDS, GENERAL_FIELDS, TOP_FIELDS
from newbie_ui.prompt.scan import scan
from newbie_ui.prompt.tags import Tag, Vocabulary, builtin, normalise

MAX_QUERY_CHARS = 80
_SEPARATORS = re.compile(r"[,，、；\n\r{}\[\]]|;(?=\s)|(?<![\\:])\(")
_STOPS = ",，、；\n\r|{}[]<"
_WEIGHT = re.compile(r":[\d.]+\)")
_ELEMENT = re.compile(r"<(/?)([^\W\d][\w ]{0,40})?$")
_NAMES = tuple(dict.fromkeys(("character_1", "general_tags", *CHARACTER_FIELDS, *GENERAL_FIELDS, *TOP_FIELDS)))
_SPACED = re.compile(r"(?<=[,，>\n])[ \t]*[a-z]+ [a-z]+[a-z ]*(?=[,，<\n]|$)")
_UNDERSCORED = re.compile(r"[a-z]_[a-z]")


class Item(NamedTuple):
    """One row of the list: `insert` goes into the text, `label` is shown, with `by` where another name matched."""

    insert: str
    label: str
    by: str
    kind: str  # "name" | "word" | "alias" | "translation" | "element"
    tag: Tag | None


class Completion(NamedTuple):
    """Replace text[start:end] by the chosen item's `insert`. No items: show nothing."""

    start: int
    end: int
    query: str
    items: tuple[Item, ...]


def complete(
    text: str,
    caret: int,
    limit: int = 10,
    vocabulary: Vocabulary | None = None,
    underscores: bool | None = None,
) -> Completion:
    """Suggestions for the caret's place.

    Args:
        caret: offset in characters, 0 to len(text).
        vocabulary: by default the built-in safe list.
        underscores: how tags are written; None follows the text (underscores where it shows neither).
    """
    caret = max(0, min(caret, len(text)))
    element = _ELEMENT.search(text, max(0, caret - 60), caret)
    if element:
        return _elements(element, caret, limit)
    start = _start(text, caret)
    typed = text[start:caret]
    start += len(typed) - len(typed.lstrip())
    typed = typed.lstrip()
    end = _end(text, caret)
    if not typed or len(typed) > MAX_QUERY_CHARS * 4:
        return Completion(caret, caret, "", ())
    vocabulary = vocabulary or builtin()
    spaces = not (underscores if underscores is not None else prefers_underscores(text))
    present = _present(text, start, end)
    for offset in _attempts(typed):
        query = typed[offset : offset + MAX_QUERY_CHARS]
        found = vocabulary.search(query, limit + len(present))
        items = [_item(match, spaces) for match in found if normalise(match.tag.name) not in present]
        if items:
            return Completion(start + offset, end, query, tuple(items[:limit]))
    return Completion(caret, caret, typed, ())


def prefers_underscores(text: str) -> bool:
    """True unless the text writes more of its tags with spaces than with underscores."""
    return len(_UNDERSCORED.findall(text[:20_000])) >= len(_SPACED.findall(text[:20_000]))


def written(tag: Tag, spaces: bool) -> str:
    """The tag as a prompt holds it: parentheses escaped, spaces if wanted (emoticons keep their underscores)."""
    name = tag.name
    if spaces and re.search(r"[^\W_]{2}", name):
        name = name.replace("_", " ")
    return name.replace("(", "\\(").replace(")", "\\)") if re.search(r"\w.*\(.+\)", name) else name


def _item(match, spaces: bool) -> Item:
    by = "" if match.kind in ("name", "word") else match.by
    return Item(written(match.tag, spaces), match.tag.name, by, match.kind, match.tag)


def _elements(match: re.Match, caret: int, limit: int) -> Completion:
    """Element names after `<` or `</`; the text up to the caret is replaced."""
    slash, typed = match[1], match[2] or ""
    query = typed.lower().replace(" ", "_")
    names = [name for name in _NAMES if name.startswith(query)] if typed or slash else []
    items = tuple(Item(f"<{slash}{name}>", f"<{slash}{name}>", "", "element", None) for name in names[:limit])
    return Completion(match.start(), caret, query, items)


def _start(text: str, caret: int) -> int:
    """Where the tag at the caret begins: after a separator, an element's border or a weight's parenthesis."""
    first = max(0, caret - MAX_QUERY_CHARS * 5)
    window = text[first:caret]
    tags = scan(window)
    begin = tags[-1].end if tags else 0
    for match in _SEPARATORS.finditer(window, begin):
        begin = match.end()
    bar = window.rfind("|", begin)
    if bar >= 0 and window.rfind("{", 0, bar) > window.rfind("}", 0, bar):  # a wildcard's choice
        begin = bar + 1
    return first + begin


def _end(text: str, caret: int) -> int:
    """Where it ends: the rest of the word under the caret goes too, a word after a space stays."""
    end = caret
    while end < len(text) and text[end] not in _STOPS and not text[end].isspace():
        if (text[end] in ")(" and text[end - 1] != "\\") or _WEIGHT.match(text, end):
            break
        end += 1
    return end


def _attempts(typed: str) -> list[int]:
    """Offsets to try: the whole of it, then with words taken from the front, for sentences and lists without commas."""
    words = [0, *(match.end() for match in re.finditer(r"\s+", typed))]
    return [offset for offset in (words[0], *words[1:][-4:]) if offset < len(typed)]


def _present(text: str, start: int, end: int) -> set[str]:
    """Tags that stand in the same value already."""
    left = max(text.rfind(">", 0, start), text.rfind("\n", 0, start)) + 1
    right = min((at for at in (text.find("<", end), text.find("\n", end)) if at >= 0), default=len(text))
    others = text[left:start] + "," + text[end:right]
    return {normalise(part) for part in re.split(r"[,，、]", others[:4000])} - {""}

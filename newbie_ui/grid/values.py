"""From what a person typed for one side of a grid to its values. Standard library only.

Promises: the rules below and no others; every refusal is a `GridError` that says the value and the remedy; nothing
is expanded before it is known to be short. A value that is named twice counts once.

    numbers   4, 5, 6     3-7 or 3..7 (each step)     3..7 step 2 or 3-7 (+2)     3-7:3 or 3-7 [3] (three, evenly)
    seeds     as numbers, and `random` or `random 4`
    names     euler, heun     or all
    texts     red_dress | blue_dress     nothing between two bars is an empty text; `\\|` is a bar; `{a|b}` stays whole

Does not know: what the values are for (see `axes.py`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal

from newbie_ui.errors import UserError

MAX_VALUES = 12  # a side
MAX_CHARS = 20_000  # of what is typed for one side
HOW_NUMBERS = "Write them like 4, 5, 6 or 3-7:3 (three, evenly) or 3..7 step 2"

_NUMBER = r"[+-]?(?:\d{1,19}(?:\.\d{0,6})?|\.\d{1,6})"
_ONE = re.compile(_NUMBER)
_DOTS = re.compile(rf"({_NUMBER})\s*\.\.\s*({_NUMBER})(?:\s*step\s*({_NUMBER})|\s*:\s*(\d{{1,4}}))?", re.IGNORECASE)
_DASH = re.compile(
    rf"({_NUMBER})\s*-\s*({_NUMBER})(?:\s*step\s*({_NUMBER})|\s*\(\s*({_NUMBER})\s*\)"
    r"|\s*:\s*(\d{1,4})|\s*\[\s*(\d{1,4})\s*\])?",
    re.IGNORECASE,
)
_RANDOM = re.compile(r"random(?:\s+(\d{1,4}))?", re.IGNORECASE)


class GridError(UserError):
    """A grid that cannot be made. `side` tells which field to mark: "x", "y", or "" for the whole."""

    def __init__(self, message: str, side: str = ""):
        super().__init__(message)
        self.side = side

    def __reduce__(self):
        return type(self), (str(self), self.side)


def numbers(text: str, label: str, *, whole: bool, step: Decimal) -> list[Decimal | None]:
    """Numbers and ranges in their order; None stands for a random one. `step` is that of a range without its own."""
    found: list[Decimal | None] = []
    for item in _items(text, label):
        match = _RANDOM.fullmatch(item)
        if match:
            count = int(match[1] or 1)
            _refuse_many(len(found) + count, label)
            found += [None] * count
        elif _ONE.fullmatch(item):
            found.append(_decimal(item))
        else:
            found += _range(item, label, whole, step, room=MAX_VALUES - len(found))
        _refuse_many(len(_unique(found)), label)
    return _unique(found)


def _items(text: str, label: str) -> list[str]:
    """What stands between commas, in plain digits and signs whatever keyboard typed them."""
    _refuse_long(text, label)
    plain = unicodedata.normalize("NFKC", text).replace("、", ",").replace("–", "-").replace("−", "-")
    items = [item.strip() for item in re.split(r"[,;|\n]", plain) if item.strip()]
    if not items:
        raise GridError(f"{label} has no values yet. {HOW_NUMBERS}.")
    _refuse_many_items(items, label)
    return items


def _range(item: str, label: str, whole: bool, step: Decimal, room: int) -> list[Decimal]:
    match = _DOTS.fullmatch(item)
    if match:
        (first, last, by), count = match.group(1, 2, 3), match[4]
    else:
        match = _DASH.fullmatch(item)
        if not match:
            raise GridError(f"{label} {item[:60]!r} is not a number or a range. {HOW_NUMBERS}.")
        first, last, by, count = match[1], match[2], match[3] or match[4], match[5] or match[6]
    start, end = _decimal(first), _decimal(last)
    if count is not None:
        return _evenly(start, end, int(count), label, step if whole else Decimal("0.0001"))
    by_number = abs(_decimal(by)) if by else step
    if not by_number:
        raise GridError(f"{label} {item[:60]!r} goes by steps of 0 and never ends. Use a larger step.")
    length = int(abs(end - start) / by_number) + 1
    _refuse_many(length + MAX_VALUES - room, label, f"{first}..{last}:{max(2, room)}" if room > 1 else "")
    sign = 1 if end >= start else -1
    return [start + sign * by_number * i for i in range(length)]


def _evenly(start: Decimal, end: Decimal, count: int, label: str, unit: Decimal) -> list[Decimal]:
    _refuse_many(count, label)
    if count < 1:
        raise GridError(f"{label} asks for 0 values. Ask for 1 to {MAX_VALUES}.")
    points = [start if count == 1 else start + (end - start) * i / (count - 1) for i in range(count)]
    return [(point / unit).quantize(Decimal(1), rounding=ROUND_HALF_EVEN) * unit for point in points]


def _decimal(text: str) -> Decimal:
    return Decimal(text)


def texts(text: str, label: str) -> list[str]:
    """Texts between bars; bars inside braces belong to a wildcard and stay. Spaces around a text go."""
    _refuse_long(text, label)
    if not text.strip():
        raise GridError(f"{label} has no values yet. Write them with a bar between: red_dress | blue_dress.")
    found = _unique(piece.strip().replace("\\|", "|") for piece in _split(text.replace("｜", "|")))
    _refuse_many(len(found), label)
    return found


def _split(text: str) -> list[str]:
    """At every bar that is neither escaped nor inside a pair of braces."""
    closes = text.count("{") == text.count("}")
    pieces, depth, start = [], 0, 0
    for at, sign in enumerate(text):
        if sign in "{}" and closes:
            depth += 1 if sign == "{" else -1
        elif sign == "|" and depth <= 0 and text[at - 1 : at] != "\\":
            pieces.append(text[start:at])
            start = at + 1
    return [*pieces, text[start:]]


def words(text: str, label: str) -> list[str]:
    """As `texts` where there is a bar, else between commas, without empty ones."""
    _refuse_long(text, label)
    if len(_split(text.replace("｜", "|"))) > 1:
        return texts(text, label)
    found = _unique(piece.strip() for piece in re.split(r"[,，、\n]", text) if piece.strip())
    if not found:
        raise GridError(f"{label} has no values yet. Write them with a comma or a bar between.")
    _refuse_many(len(found), label)
    return found


def names(text: str, label: str, choices: Sequence[tuple[str, str]]) -> list[str]:
    """Names out of a list of (name, label), told by either, in any case; `all` is all of them."""
    if not choices:
        raise GridError(f"{label} has nothing to choose from yet. Wait until the engine has started.")
    if text.strip().lower() == "all":
        return [name for name, _ in choices[:MAX_VALUES]]
    if not text.strip():
        raise GridError(f"{label} has no values yet. Use some of: {_list(choices)}; or all.")
    known = {word.lower(): name for name, shown in choices for word in (shown, name)}
    found = []
    for word in words(text, label):
        name = known.get(word.lower())
        if name is None:
            raise GridError(f"{label} {word[:60]!r} is not known. Use some of: {_list(choices)}.")
        found.append(name)
    return _unique(found)


def _list(choices: Sequence[tuple[str, str]]) -> str:
    return ", ".join(name for name, _ in choices[:40])


def _unique(found: Iterable) -> list:
    """Each value once; every None stays, for it becomes a number of its own."""
    seen, kept = set(), []
    for value in found:
        if value is None or value not in seen:
            kept.append(value)
            seen.add(value)
    return kept


def _refuse_many(count: int, label: str, instead: str = "") -> None:
    if count > MAX_VALUES:
        advice = f"Use fewer, for example {instead}" if instead else "Use fewer"
        raise GridError(f"{label} has {count} values; {MAX_VALUES} fit on one side. {advice}.")


def _refuse_many_items(items: Sequence[str], label: str) -> None:
    if len(items) > 10 * MAX_VALUES:
        _refuse_many(len(items), label)


def _refuse_long(text: str, label: str) -> None:
    if len(text) > MAX_CHARS:
        raise GridError(f"{label} has {len(text)} characters; {MAX_CHARS} are the most. Shorten it.")

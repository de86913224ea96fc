"""Decoding of what strangers wrote, within limits.

Promises: no function here uses more memory or time than its limit allows, whatever the bytes say; damage raises
`Damaged` with a plain sentence, never anything else. Knows nothing of pictures or programs.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Mapping
from typing import Any

MAX_FILE_BYTES = 64 * 2**20
MAX_PIXELS = 2**25  # 8192 x 4096
MAX_TEXT_BYTES = 2**20  # of one text of a picture, packed or unpacked
MAX_TEXTS_BYTES = 4 * 2**20  # of all texts of a picture together
MAX_JSON_DEPTH = 60
MAX_SALVAGED = 2000  # pairs looked at

_TOKEN = re.compile(r'[\[\]{}"]|\\.', re.DOTALL)
_KEY = re.compile(r'"([\w .:-]{1,80})"\s*:\s*')
_ENTRY = re.compile(r'[\s{,]*"([^"\\]{1,80})"\s*:\s*')
_SCALAR = re.compile(r"[-+.\w]+")


class Damaged(ValueError):
    """Something that a program wrote cannot be read; the message is a plain sentence."""


def inflate(data: bytes, limit: int = MAX_TEXT_BYTES, wbits: int = zlib.MAX_WBITS, zdict: bytes = b"") -> bytes:
    """Unpack zlib data to at most `limit` bytes; `wbits` 31 reads gzip."""
    unpacker = zlib.decompressobj(wbits, zdict=zdict) if zdict else zlib.decompressobj(wbits)
    try:
        unpacked = unpacker.decompress(data, limit + 1)
    except zlib.error as error:
        raise Damaged("The packed text is damaged.") from error
    if len(unpacked) > limit:
        raise Damaged(f"The packed text unpacks to more than {limit:,} bytes.")
    if not unpacker.eof:
        raise Damaged("The packed text ends early.")
    return unpacked


def load_json(text: str) -> Any:
    """Parse JSON; NaN and infinities become None, as some programs write them. Raises Damaged."""
    if _depth(text) > MAX_JSON_DEPTH:
        raise Damaged(f"The JSON is nested more than {MAX_JSON_DEPTH} levels deep.")
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise Damaged("The JSON is broken.") from error


def load_object(text: str) -> dict[str, Any]:
    """Parse JSON that must be an object."""
    data = load_json(text)
    if not isinstance(data, dict):
        raise Damaged("The JSON is not an object.")
    return data


def salvage(text: str) -> dict[str, Any]:
    """What can still be read of broken JSON: texts and numbers by key wherever they stand, the first of each key."""
    found: dict[str, Any] = {}
    position = 0
    for _ in range(MAX_SALVAGED):
        match = _KEY.search(text, position)
        if match is None:
            break
        position = match.end()
        if text[position : position + 1] in ("[", "{"):
            continue  # what stands inside is looked at by itself
        value, end = value_at(text, position)
        if end > position:
            found.setdefault(match.group(1), value)
            position = end
    return found


def complete_entries(text: str, limit: int = 5000) -> dict[str, Any]:
    """Top-level entries of a broken JSON object, up to the first that is not whole."""
    found: dict[str, Any] = {}
    position = 0
    while len(found) < limit and (match := _ENTRY.match(text, position)):
        value, end = value_at(text, match.end())
        if end == match.end():
            break
        found[match.group(1)] = value
        position = end
    return found


def value_at(text: str, position: int) -> tuple[Any, int]:
    """The JSON value that starts here and where it ends; (None, position) when there is none or it is too deep."""
    end = _end_of_value(text, position)
    if end == position or _depth(text[position:end]) > MAX_JSON_DEPTH:
        return None, position
    try:
        return json.loads(text[position:end], parse_constant=lambda _: None), end
    except (ValueError, RecursionError):
        return None, position


def _end_of_value(text: str, start: int) -> int:
    """Index after the value at `start`, by counting quotes and brackets only; `start` when it does not end."""
    if text[start : start + 1] not in tuple('"[{'):
        match = _SCALAR.match(text, start)
        return match.end() if match else start
    level, quoted = 0, False
    for token in _TOKEN.finditer(text, start):
        sign = token.group()
        if sign == '"':
            quoted = not quoted
        elif not quoted and sign in "[{":
            level += 1
        elif not quoted and sign in "]}":
            level -= 1
        if level <= 0 and not quoted:
            return token.end()
    return start


def _depth(text: str) -> int:
    """Deepest nesting of brackets outside strings: 0 where it cannot be too deep, else counted up to past the limit."""
    if text.count("[") + text.count("{") <= MAX_JSON_DEPTH:
        return 0
    level = deepest = 0
    quoted = False
    for token in _TOKEN.finditer(text):
        sign = token.group()
        if sign == '"':
            quoted = not quoted
        elif not quoted and sign in "[{":
            level += 1
            deepest = max(deepest, level)
            if deepest > MAX_JSON_DEPTH:
                break
        elif not quoted and sign in "]}":
            level -= 1
    return deepest


# ---- values as programs write them -----------------------------------------------------------------------------


def whole(value: Any) -> int | None:
    """A whole number, also from text or a float without fraction; None when it is not one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < 2**70 else None
    if isinstance(value, str) and re.fullmatch(r"\s*[-+]?\d{1,20}\s*", value, re.ASCII):
        return int(value)
    as_float = number(value)
    return int(as_float) if as_float is not None and as_float == int(as_float) else None


def number(value: Any) -> float | None:
    """A finite number, also from text; None when it is not one."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and not re.fullmatch(r"\s*[-+]?[\d.]{1,40}(e[-+]?\d{1,3})?\s*", value, re.ASCII | re.I):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) and abs(result) < 1e30 else None


def text_of(value: Any, limit: int = 100_000) -> str | None:
    """Text with unix line ends and no NULs; None when it is not text."""
    if not isinstance(value, str):
        return None
    return value.replace("\r\n", "\n").replace("\x00", "")[:limit]


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []

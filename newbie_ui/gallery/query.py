"""Questions to the gallery: filters and search text turned into SQL with parameters, never with text.

What can be typed: words (all must occur, the last letters of a word may be missing), `"a phrase"`, `-without`,
`tag:blue_hair`, `character:aoi`, `seed:123`, `preset:quality`, `model:`, `lora:`, `program:comfyui`, `date:2026-11`
(also bare), `rating:3` (that or more), `size:1024x768`, `collection:"school trip"`, `is:favourite`. A bare number of
four or more digits is looked for as a seed too.
"""

from __future__ import annotations

import re
import sqlite3
import time
from dataclasses import dataclass, field

from newbie_ui.errors import PictureError
from newbie_ui.gallery.layout import day_of
from newbie_ui.gallery.words import normal, tag_word

MAX_TEXT = 300
MAX_TERMS = 20

_TERM = re.compile(r'(-?)(?:([a-z]{2,12}):)?("[^"]*"|[^\s",，、]+)', re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d{2}(-\d{2})?")
_STARS = re.compile(r"[>=]{0,2}([0-9])")
_SIZE = re.compile(r"(\d{2,5})[xX×](\d{2,5})")

ORDERS = {
    "newest": ("p.created_at", "DESC"),
    "oldest": ("p.created_at", "ASC"),
    "rating": ("coalesce(m.rating, 0)", "DESC"),
    "fastest": ("coalesce(p.seconds, 1e9)", "ASC"),
    "slowest": ("coalesce(p.seconds, -1)", "DESC"),
    "deleted": ("coalesce(p.trashed_at, -1)", "DESC"),
}


_IN_PROMPTS = "p.number IN (SELECT number FROM texts WHERE prompt LIKE ? ESCAPE '!')"
_IN_TEXTS = "p.number IN (SELECT number FROM texts WHERE ' ' || {} || ' ' LIKE ? ESCAPE '!')"


@dataclass(frozen=True)
class Filters:
    """What to show; the default is everything that is not in the trash."""

    text: str = ""
    favourite: bool = False
    today: bool = False
    rating: int = 0  # at least
    collection: str = ""
    character: str = ""
    preset: str = ""
    program: str = ""
    tag: str = ""
    seed: str = ""
    since: str = ""  # day, 2026-11-22, included
    until: str = ""
    trashed: bool = False


@dataclass
class Where:
    """A condition being put together."""

    fts: bool
    conditions: list[str] = field(default_factory=list)
    values: list[object] = field(default_factory=list)

    def add(self, condition: str, *values: object, negated: bool = False) -> None:
        self.conditions.append(f"NOT ({condition})" if negated else f"({condition})")
        self.values.extend(values)

    def words(self, text: str, negated: bool = False) -> None:
        condition, values = self._words(text)
        self.add(condition, *values, negated=negated)

    def _words(self, text: str) -> tuple[str, list[object]]:
        plain = normal(text)
        if not plain:  # only signs, like >_<: looked for as they are
            return _IN_PROMPTS, [f"%{_escaped(text)}%"]
        if self.fts:
            return "p.number IN (SELECT rowid FROM search WHERE search MATCH ?)", [f'words : "{plain}" *']
        return _IN_TEXTS.format("words"), [f"% {_escaped(plain)}%"]

    def words_or_seed(self, text: str, negated: bool) -> None:
        condition, values = self._words(text)
        self.add(f"{condition} OR p.seed = ?", *values, text, negated=negated)

    def tag(self, text: str, negated: bool = False) -> None:
        word = tag_word(text)
        if not word:
            return
        if self.fts:
            self.add("p.number IN (SELECT rowid FROM search WHERE search MATCH ?)", f'tags : "{word}"', negated=negated)
        else:
            self.add(_IN_TEXTS.format("tags"), f"% {_escaped(word)} %", negated=negated)


def where(filters: Filters, fts: bool) -> Where:
    """The condition for these filters, over `pictures p LEFT JOIN marks m`."""
    found = Where(fts)
    found.add("p.trashed_at IS NOT NULL" if filters.trashed else "p.trashed_at IS NULL")
    if filters.favourite:
        found.add("m.favourite = 1")
    if filters.today:
        found.add("p.day = ?", day_of(time.time()))
    if filters.rating:
        found.add("m.rating >= ?", int(filters.rating))
    if filters.since:
        found.add("p.day >= ?", filters.since[:10])
    if filters.until:
        found.add("p.day <= ?", filters.until[:10])
    for key in ("collection", "character", "preset", "program", "seed", "tag"):
        value = clean(getattr(filters, key))
        if value:
            _KEYS[key](found, value, False)
    for sign, key, value in terms(filters.text):
        _add_term(found, sign == "-", key, value)
    return found


def clean(text: object) -> str:
    """A question's text in sensible length, without signs that a database refuses."""
    return str(text)[:MAX_TEXT].encode("utf-8", "replace").decode("utf-8").replace("\x00", " ")


def terms(text: str) -> list[tuple[str, str, str]]:
    """(sign, key, value) of what was typed; commas between tags are only there for the eye."""
    found = []
    for match in _TERM.finditer(clean(text)):
        sign, key, value = match.groups()
        plain = value.strip('"')
        if plain:
            found.append((sign, (key or "").lower(), plain))
    return found[:MAX_TERMS]


def _add_term(found: Where, negated: bool, key: str, value: str) -> None:
    if key in _KEYS:
        _KEYS[key](found, value, negated)
    elif key:
        found.words(f"{key}:{value}", negated)
    elif _DATE.fullmatch(value):
        _date(found, value, negated)
    elif value.isascii() and value.isdigit() and len(value) >= 4:
        found.words_or_seed(value, negated)
    else:
        found.words(value, negated)


def _equal(column: str):
    def add(found: Where, value: str, negated: bool) -> None:
        found.add(f"{column} = ? COLLATE NOCASE", value, negated=negated)

    return add


def _contains(column: str):
    def add(found: Where, value: str, negated: bool) -> None:
        found.add(f"{column} LIKE ? ESCAPE '!'", f"%{_escaped(value)}%", negated=negated)

    return add


def _character(found: Where, value: str, negated: bool) -> None:
    name = " ".join(value.replace("_", " ").replace("\\", "").split())
    found.add("p.number IN (SELECT number FROM characters WHERE name = ?)", name, negated=negated)


def _collection(found: Where, value: str, negated: bool) -> None:
    found.add("p.id IN (SELECT id FROM collected WHERE collection = ?)", value, negated=negated)


def _date(found: Where, value: str, negated: bool) -> None:
    found.add("substr(p.day, 1, ?) = ?", len(value), value, negated=negated)


def _rating(found: Where, value: str, negated: bool) -> None:
    match = _STARS.fullmatch(value)
    if match:
        found.add("coalesce(m.rating, 0) >= ?", int(match.group(1)), negated=negated)
    else:
        found.words(f"rating:{value}", negated)


def _size(found: Where, value: str, negated: bool) -> None:
    match = _SIZE.fullmatch(value)
    if match:
        found.add("p.width = ? AND p.height = ?", int(match.group(1)), int(match.group(2)), negated=negated)
    else:
        found.words(f"size:{value}", negated)


def _is(found: Where, value: str, negated: bool) -> None:
    if value.lower() in ("favourite", "favorite"):
        found.add("coalesce(m.favourite, 0) = 1", negated=negated)
    else:
        found.words(f"is:{value}", negated)


_KEYS = {
    "tag": lambda found, value, negated: found.tag(value, negated),
    "character": _character,
    "seed": lambda found, value, negated: found.add("p.seed = ?", value, negated=negated),
    "preset": _equal("p.preset"),
    "program": _equal("p.program"),
    "model": _contains("p.model"),
    "lora": _contains("p.loras"),
    "date": _date,
    "rating": _rating,
    "size": _size,
    "collection": _collection,
    "is": _is,
}


def _escaped(text: str) -> str:
    return re.sub(r"[!%_]", r"!\g<0>", text)


# ---- pages -------------------------------------------------------------------------------------------------------

_MARKED = "LEFT JOIN marks m ON m.id = p.id"


def count(connection: sqlite3.Connection, found: Where) -> int:
    """How many pictures there are."""
    sql = f"SELECT count(*) FROM pictures p {_MARKED} WHERE {' AND '.join(found.conditions)}"
    return connection.execute(sql, found.values).fetchone()[0]


def select(
    connection: sqlite3.Connection, found: Where, order: str, limit: int, offset: int = 0, after: str = ""
) -> list[sqlite3.Row]:
    """One page in this order, from a number on or behind the picture that `after` names."""
    if order not in ORDERS:
        raise PictureError(f"Order {order[:40]!r} is unknown. Use one of: {', '.join(ORDERS)}.")
    key, direction = ORDERS[order]
    conditions, values = list(found.conditions), list(found.values)
    if after:
        sql = f"SELECT {key} AS key FROM pictures p {_MARKED} WHERE p.id = ?"
        last = connection.execute(sql, (after,)).fetchone()
        if last is not None:
            conditions.append(f"({key}, p.id) {'<' if direction == 'DESC' else '>'} (?, ?)")
            values += [last["key"], after]
    # First the numbers, which are small to sort; then all columns of the few that are shown.
    chosen = (
        f"SELECT p.number FROM pictures p {_MARKED} WHERE {' AND '.join(conditions)} "
        f"ORDER BY {key} {direction}, p.id {direction} LIMIT ? OFFSET ?"
    )
    return rows(
        connection, f"p.number IN ({chosen}) ORDER BY {key} {direction}, p.id {direction}", *values, limit, offset
    )


def rows(connection: sqlite3.Connection, condition: str, *values: object) -> list[sqlite3.Row]:
    """All columns of the pictures for which this holds."""
    sql = (
        "SELECT p.*, t.prompt, coalesce(m.favourite, 0) AS favourite, coalesce(m.rating, 0) AS rating "
        f"FROM pictures p JOIN texts t ON t.number = p.number {_MARKED} WHERE {condition}"
    )
    return connection.execute(sql, values).fetchall()

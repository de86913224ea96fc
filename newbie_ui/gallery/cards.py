"""What the gallery answers with: cards for lists, entries with everything, pages, counts. Data and its queries."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, fields
from pathlib import Path

from newbie_ui.gallery import query
from newbie_ui.gallery.info import PictureInfo
from newbie_ui.gallery.layout import MEDIA_TYPES
from newbie_ui.gallery.query import Filters

FACET_NAMES = 50


@dataclass(frozen=True)
class Card:
    """One picture as a list shows it."""

    id: str
    created_at: float
    day: str
    title: str
    prompt: str
    seed: str  # text: it may be larger than JavaScript counts
    width: int
    height: int
    steps: int | None
    cfg: float | None
    sampler: str
    preset: str
    model: str
    loras: str
    program: str
    seconds: float | None
    gigabytes: float | None
    bytes: int
    format: str
    favourite: bool
    rating: int
    trashed_at: float | None
    problem: str

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self.format]


@dataclass(frozen=True)
class Entry:
    """Everything about one picture."""

    card: Card
    path: Path
    info: PictureInfo
    characters: tuple[str, ...]
    collections: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """Part of a list. `total` counts all of it; `after` is the cursor for the next part, "" at the end."""

    cards: tuple[Card, ...]
    total: int
    after: str = ""


@dataclass(frozen=True)
class Facets:
    """How many there are of each, without the trash."""

    total: int = 0
    favourites: int = 0
    today: int = 0
    trashed: int = 0
    collections: tuple[tuple[str, int], ...] = ()
    characters: tuple[tuple[str, int], ...] = ()
    presets: tuple[tuple[str, int], ...] = ()
    programs: tuple[tuple[str, int], ...] = ()


def card_of(row: sqlite3.Row) -> Card:
    """A row of `query.select` as a card."""
    values = {f.name: row[f.name] for f in fields(Card)}
    return Card(**values | {"favourite": bool(row["favourite"])})


def names(connection: sqlite3.Connection, sql: str, *values: object) -> tuple[str, ...]:
    """First column of the answer."""
    return tuple(row[0] for row in connection.execute(sql, values))


def facets_of(connection: sqlite3.Connection) -> Facets:
    """Counts for the navigation."""

    def pairs(sql: str) -> tuple[tuple[str, int], ...]:
        return tuple((row[0], row[1]) for row in connection.execute(sql))

    def one(filters: Filters) -> int:
        return query.count(connection, query.where(filters, False))

    here = "JOIN pictures p ON p.{} AND p.trashed_at IS NULL"
    some = f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {FACET_NAMES}"
    return Facets(
        total=one(Filters()),
        favourites=one(Filters(favourite=True)),
        today=one(Filters(today=True)),
        trashed=one(Filters(trashed=True)),
        collections=pairs(
            "SELECT c.name, count(p.id) FROM collections c LEFT JOIN collected d ON d.collection = c.name "
            "LEFT JOIN pictures p ON p.id = d.id AND p.trashed_at IS NULL GROUP BY c.name ORDER BY c.created_at, 1"
        ),
        characters=pairs(f"SELECT c.name, count(*) FROM characters c {here.format('number = c.number')} {some}"),
        presets=pairs(f"SELECT preset, count(*) FROM pictures WHERE preset <> '' AND trashed_at IS NULL {some}"),
        programs=pairs(f"SELECT program, count(*) FROM pictures WHERE program <> '' AND trashed_at IS NULL {some}"),
    )

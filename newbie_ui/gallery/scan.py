"""Files on the disk against rows in the index: what is new, changed or gone.

Promises: a picture file under the gallery's folder becomes a row whatever it says about itself; one that is no
picture is told in the log and left alone. Reading happens outside the index's lock, in small portions.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from newbie_ui.errors import PictureError
from newbie_ui.gallery.index import Entry, Index, Row, Texts
from newbie_ui.gallery.info import PictureInfo
from newbie_ui.gallery.layout import EXTENSIONS, PICTURES, TRASH, day_of, is_day, is_id, sensible_time
from newbie_ui.gallery.metadata import read
from newbie_ui.gallery.parameters import clean_text
from newbie_ui.gallery.words import words_of

log = logging.getLogger(__name__)

PORTION = 100  # files read between two writes
MAX_PROMPT = 20_000

_EXTENSIONS = frozenset(EXTENSIONS.values())

Progress = Callable[[int, int], None]


class Found(NamedTuple):
    """A picture's file."""

    id: str
    place: str
    bytes: int
    modified_ns: int


def files(folder: Path) -> dict[str, Found]:
    """Every picture file by its place. Of two files with one name one is shown: pictures before trash, oldest day."""
    found: dict[str, Found] = {}
    names: set[str] = set()
    for top in (PICTURES, TRASH):
        for day in _days(folder / top):
            for entry in os.scandir(folder / top / day):
                stem, dot, extension = entry.name.rpartition(".")
                if dot + extension not in _EXTENSIONS or not is_id(stem):
                    continue
                info = entry.stat(follow_symlinks=False)
                if not stat.S_ISREG(info.st_mode):
                    continue
                place = f"{top}/{day}/{entry.name}"
                if stem in names:
                    log.warning("gallery: %s has the name of another picture and is not shown", place)
                    continue
                names.add(stem)
                found[place] = Found(stem, place, info.st_size, info.st_mtime_ns)
    return found


def _days(top: Path) -> list[str]:
    if not top.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(top) if entry.is_dir(follow_symlinks=False) and is_day(entry.name))


@dataclass(frozen=True)
class Difference:
    """What the index has to learn."""

    new: tuple[Found, ...]
    gone: tuple[str, ...]
    moved: tuple[Found, ...]  # same file under another place


def difference(folder: Path, index: Index) -> Difference:
    """Compare names, sizes and times; no file is opened."""
    there = files(folder)
    with index.read() as connection:
        rows = connection.execute("SELECT id, place, bytes, modified_ns FROM pictures").fetchall()
    known = {row["place"]: row for row in rows}
    by_id = {row["id"]: row for row in rows}
    new, moved = [], []
    for place, found in there.items():
        row = known.get(place) or by_id.get(found.id)
        same = row is not None and (row["bytes"], row["modified_ns"]) == (found.bytes, found.modified_ns)
        if not same:
            new.append(found)
        elif row["place"] != place:
            moved.append(found)
    gone = [place for place in known if place not in there]
    new.sort(key=lambda found: found.place, reverse=True)  # the newest are looked at first
    return Difference(tuple(new), tuple(gone), tuple(moved))


def learn(
    folder: Path, index: Index, change: Difference, progress: Progress | None = None, stop: Callable[[], bool] = bool
) -> int:
    """Bring the index up to date; returns how many files were read. Can be stopped between portions."""
    with index.write() as connection:
        for found in change.moved:
            connection.execute(
                "UPDATE pictures SET place = ?, trashed_at = ? WHERE id = ?",
                (found.place, trashed_at(found), found.id),
            )
        moved = {found.id for found in change.moved}
        index.drop_places(place for place in change.gone if Path(place).stem not in moved)
    done = 0
    remaining = iter(change.new)
    while (portion := list(islice(remaining, PORTION))) and not stop():
        index.put(_entries(folder, portion))
        done += len(portion)
        if progress is not None:
            progress(done, len(change.new))
    return done


def _entries(folder: Path, portion: list[Found]) -> list[Entry]:
    entries = []
    for found in portion:
        try:
            entries.append(row_of(found, read(folder / found.place)))
        except PictureError as error:
            log.warning("gallery: %s", error)
    return entries


def trashed_at(found: Found) -> float | None:
    """When a file in the trash came there, as far as its folder tells: the beginning of that day."""
    top, day, _ = found.place.split("/")
    return datetime.strptime(day, "%Y-%m-%d").timestamp() if top == TRASH else None


def row_of(found: Found, info: PictureInfo, sha256: str | None = None) -> Entry:
    """What the index holds of a picture."""
    record = info.record
    resolved = record.resolved if record else None
    created_at = sensible_time(record.created_at if record and record.created_at else found.modified_ns / 1e9)
    words = words_of(info)
    timings, memory = (record.timings, record.memory) if record else (None, None)
    peak = (memory.reserved_gb or memory.allocated_gb or memory.resident_gb) if memory else None
    seconds = max(0.0, timings.total_s - timings.queue_s) if timings and timings.total_s else None
    width, height = info.picture_size
    row = Row(
        id=found.id,
        place=found.place,
        trashed_at=trashed_at(found),
        created_at=created_at,
        day=day_of(created_at),
        bytes=found.bytes,
        modified_ns=found.modified_ns,
        sha256=sha256,
        format=info.format,
        width=width,
        height=height,
        program=_text(info.program, 40),
        title=_text(words.title, 80),
        seed="" if info.seed is None else str(info.seed),
        steps=info.steps if info.steps is not None and abs(info.steps) < 2**31 else None,
        cfg=info.cfg,
        sampler=_text(info.sampler, 80),
        preset=_text(resolved.preset if resolved else "", 80),
        model=_text(info.model, 200),
        loras=_text(", ".join(name for name, _ in info.loras), 1000),
        seconds=seconds,
        gigabytes=peak,
        problem=_text(" ".join(info.problems) if info.found else "", 400),
    )
    texts = Texts(_text(info.prompt, MAX_PROMPT), clean_text(words.words), clean_text(words.tags))
    return row, texts, tuple(_text(name, 80) for name in words.characters)


def _text(text: str | None, limit: int) -> str:
    """Text that the database takes: no half signs, no NULs."""
    return clean_text((text or "")[:limit])

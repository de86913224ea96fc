"""Favourites, ratings and collections: a journal of changes beside the pictures, applied to the index.

Promises: a change is on the disk before it counts; a rebuilt index has all of them again; a torn last line (power
cut) costs that line only; lines that are not understood are kept and skipped. The journal is only ever appended to,
also by several processes at once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from newbie_ui.gallery.files import sync_folder
from newbie_ui.gallery.layout import is_id
from newbie_ui.gallery.safe import Damaged, load_object

try:
    import fcntl
except ImportError:  # not on every system; one process at a time there
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

MAX_NAME = 80
MAX_RATING = 5
_TAIL = 64  # bytes before the place read up to, to recognise the journal by


class Journal:
    """The file of changes, one JSON object a line."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()

    def append(self, changes: Sequence[Mapping[str, Any]]) -> None:
        """Write changes durably, in this order."""
        lines = "".join(json.dumps({"at": round(time.time(), 6), **change}) + "\n" for change in changes).encode()
        with self._lock, self._locked() as file:
            new = file.seek(0, os.SEEK_END) == 0
            if not new:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a torn line before: end it, so that ours stands alone
                    lines = b"\n" + lines
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        if new:
            sync_folder(self.path.parent)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        with open(self.path, "a+b") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def read(self, start: int) -> tuple[list[dict[str, Any]], int]:
        """Whole lines from a byte on, and where the next one will begin."""
        if not self.path.exists():
            return [], 0
        with open(self.path, "rb") as file:
            file.seek(start)
            data = file.read()
        end = data.rfind(b"\n") + 1
        changes = []
        for line in data[:end].splitlines():
            try:
                changes.append(load_object(line.decode("utf-8", "replace")))
            except Damaged:
                if line.strip():
                    log.warning("marks: a line of %d bytes is not readable and was skipped", len(line))
        return changes, start + end

    def fingerprint(self, place: int) -> str:
        """What stands before this byte; changes when the file was replaced by another."""
        if not self.path.exists():
            return ""
        with open(self.path, "rb") as file:
            file.seek(max(0, place - _TAIL))
            return file.read(min(place, _TAIL)).hex()


def catch_up(connection: sqlite3.Connection, journal: Journal) -> int:
    """Apply what the journal has and the index has not, inside a transaction; returns how many changes."""
    known = dict(
        connection.execute("SELECT key, value FROM meta WHERE key IN ('journal_at', 'journal_tail')").fetchall()
    )
    place = int(known.get("journal_at", 0))
    size = journal.path.stat().st_size if journal.path.exists() else 0
    if place > size or (place and journal.fingerprint(place) != known.get("journal_tail")):
        log.warning("marks: the journal was replaced; applying all of it")
        for table in ("marks", "collections", "collected"):
            connection.execute(f"DELETE FROM {table}")
        place = 0
    elif place == size:
        return 0
    changes, end = journal.read(place)
    for change in changes:
        apply(connection, change)
    rows = [("journal_at", str(end)), ("journal_tail", journal.fingerprint(end))]
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)
    return len(changes)


def apply(connection: sqlite3.Connection, change: Mapping[str, Any]) -> None:
    """Make one change in the index. One that is not understood changes nothing."""
    action = _ACTIONS.get(str(change.get("do")))
    ids = [id for id in change.get("ids", []) if is_id(id)] if isinstance(change.get("ids", []), list) else []
    name = clean_name(change.get("name"))
    if action is None or (name is None and change.get("do") in _NAMED):
        log.warning("marks: a change %r is not understood and was skipped", str(change.get("do"))[:40])
        return
    at = change.get("at")
    action(connection, ids, name or "", change.get("value"), float(at) if is_time(at) else 0.0)


def is_time(value: Any) -> bool:
    """Whether it is a number of seconds since 1970 that makes sense."""
    return type(value) in (int, float) and 0 <= value < 1e12


def clean_name(name: Any) -> str | None:
    """A collection's name in one line of sensible length, or None."""
    if not isinstance(name, str):
        return None
    text = " ".join(name.encode("utf-8", "replace").decode("utf-8").split())
    return text if 0 < len(text) <= MAX_NAME and text.isprintable() else None


# ---- the changes -------------------------------------------------------------------------------------------------


def _favourite(db: sqlite3.Connection, ids: list[str], name: str, value: Any, at: float) -> None:
    query = (
        "INSERT INTO marks (id, favourite) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET favourite = excluded.favourite"
    )
    db.executemany(query, [(id, int(value is True)) for id in ids])


def _rating(db: sqlite3.Connection, ids: list[str], name: str, value: Any, at: float) -> None:
    if isinstance(value, int) and 0 <= value <= MAX_RATING:
        query = "INSERT INTO marks (id, rating) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET rating = excluded.rating"
        db.executemany(query, [(id, int(value)) for id in ids])


def _collection(db: sqlite3.Connection, ids: list[str], name: str, value: Any, at: float) -> None:
    made_at = value if is_time(value) else at  # one that was there before keeps its place
    db.execute("INSERT OR IGNORE INTO collections VALUES (?, ?)", (name, made_at))


def _collect(db: sqlite3.Connection, ids: list[str], name: str, value: Any, at: float) -> None:
    _collection(db, ids, name, value, at)
    db.executemany("INSERT OR IGNORE INTO collected VALUES (?, ?, ?)", [(name, id, at) for id in ids])


def _uncollect(db: sqlite3.Connection, ids: list[str], name: str, value: Any, at: float) -> None:
    db.executemany("DELETE FROM collected WHERE collection = ? AND id = ?", [(name, id) for id in ids])


def _rename(db: sqlite3.Connection, ids: list[str], name: str, value: Any, at: float) -> None:
    new = clean_name(value)
    if new is None or new == name:
        return
    db.execute("INSERT OR IGNORE INTO collections SELECT ?, created_at FROM collections WHERE name = ?", (new, name))
    db.execute("UPDATE OR IGNORE collected SET collection = ? WHERE collection = ?", (new, name))
    _drop(db, ids, name, value, at)


def _drop(db: sqlite3.Connection, ids: list[str], name: str, value: Any, at: float) -> None:
    db.execute("DELETE FROM collected WHERE collection = ?", (name,))
    db.execute("DELETE FROM collections WHERE name = ?", (name,))


def _forget(db: sqlite3.Connection, ids: list[str], name: str, value: Any, at: float) -> None:
    db.executemany("DELETE FROM marks WHERE id = ?", [(id,) for id in ids])
    db.executemany("DELETE FROM collected WHERE id = ?", [(id,) for id in ids])


_ACTIONS = {
    "favourite": _favourite,
    "rating": _rating,
    "collection": _collection,
    "collect": _collect,
    "uncollect": _uncollect,
    "rename": _rename,
    "drop": _drop,
    "forget": _forget,
}
_NAMED = ("collection", "collect", "uncollect", "rename", "drop")

"""The SQLite index: made from the files, searched instead of them, thrown away when in doubt.

Promises: whatever is wrong with the index file, opening it gives a working one (a broken one is put aside). Schema
changes are a list of named functions, each applied once in a transaction. Writes are atomic. Knows nothing of files
but their places.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

log = logging.getLogger(__name__)

BUSY_MS = 5000


@dataclass(frozen=True)
class Row:
    """One picture as the index holds it."""

    id: str
    place: str  # relative to the gallery's folder
    trashed_at: float | None
    created_at: float
    day: str
    bytes: int
    modified_ns: int
    sha256: str | None  # of the file; None until it is needed
    format: str
    width: int
    height: int
    program: str
    title: str
    seed: str
    steps: int | None
    cfg: float | None
    sampler: str
    preset: str
    model: str
    loras: str
    seconds: float | None
    gigabytes: float | None
    problem: str


@dataclass(frozen=True)
class Texts:
    """The long texts of a picture, in a table of their own so that lists stay quick."""

    prompt: str = ""
    words: str = ""
    tags: str = ""


COLUMNS = tuple(f.name for f in fields(Row))
TEXTS = tuple(f.name for f in fields(Texts))
Entry = tuple[Row, Texts, tuple[str, ...]]  # the last are names of characters


def _m0001_pictures(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE pictures (
            number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, place TEXT NOT NULL UNIQUE, trashed_at REAL,
            created_at REAL NOT NULL, day TEXT NOT NULL, bytes INTEGER NOT NULL, modified_ns INTEGER NOT NULL,
            sha256 TEXT, format TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, program TEXT NOT NULL,
            title TEXT NOT NULL, seed TEXT NOT NULL, steps INTEGER, cfg REAL,
            sampler TEXT NOT NULL, preset TEXT NOT NULL, model TEXT NOT NULL, loras TEXT NOT NULL, seconds REAL,
            gigabytes REAL, problem TEXT NOT NULL)"""
    )
    connection.execute(
        """CREATE TABLE texts (number INTEGER PRIMARY KEY REFERENCES pictures ON DELETE CASCADE,
            prompt TEXT NOT NULL, words TEXT NOT NULL, tags TEXT NOT NULL)"""
    )
    connection.execute("CREATE INDEX by_time ON pictures (created_at, id) WHERE trashed_at IS NULL")
    connection.execute("CREATE INDEX by_day ON pictures (day)")
    connection.execute("CREATE INDEX by_seed ON pictures (seed)")
    connection.execute("CREATE INDEX by_preset ON pictures (preset, trashed_at)")
    connection.execute("CREATE INDEX by_bytes ON pictures (bytes)")


def _m0002_characters(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE characters (number INTEGER NOT NULL REFERENCES pictures ON DELETE CASCADE,
            name TEXT NOT NULL COLLATE NOCASE, PRIMARY KEY (number, name)) WITHOUT ROWID"""
    )
    connection.execute("CREATE INDEX by_character ON characters (name, number)")


def _m0003_marks(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE marks (id TEXT PRIMARY KEY, favourite INTEGER NOT NULL DEFAULT 0,
            rating INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID"""
    )
    connection.execute("CREATE TABLE collections (name TEXT PRIMARY KEY, created_at REAL NOT NULL) WITHOUT ROWID")
    connection.execute(
        """CREATE TABLE collected (collection TEXT NOT NULL, id TEXT NOT NULL, added_at REAL NOT NULL,
            PRIMARY KEY (collection, id)) WITHOUT ROWID"""
    )
    connection.execute("CREATE INDEX collections_of ON collected (id, collection)")


def _m0004_search(connection: sqlite3.Connection) -> None:
    """Full-text search where SQLite has FTS5; without it the same columns are searched row by row."""
    if not has_fts5(connection):
        return
    connection.execute(
        """CREATE VIRTUAL TABLE search USING fts5 (words, tags, content='texts', content_rowid='number',
            prefix='2 3', tokenize="unicode61 remove_diacritics 0 tokenchars '_'")"""
    )
    out = "INSERT INTO search (search, rowid, words, tags) VALUES ('delete', old.number, old.words, old.tags);"
    into = "INSERT INTO search (rowid, words, tags) VALUES (new.number, new.words, new.tags);"
    connection.execute(f"CREATE TRIGGER search_insert AFTER INSERT ON texts BEGIN {into} END")
    connection.execute(f"CREATE TRIGGER search_delete AFTER DELETE ON texts BEGIN {out} END")


MIGRATIONS: tuple[tuple[str, Callable[[sqlite3.Connection], None]], ...] = (
    ("0001_pictures", _m0001_pictures),
    ("0002_characters", _m0002_characters),
    ("0003_marks", _m0003_marks),
    ("0004_search", _m0004_search),
)


def has_fts5(connection: sqlite3.Connection) -> bool:
    """True where this Python's SQLite was built with full-text search."""
    try:
        connection.execute("CREATE VIRTUAL TABLE temp.try_fts5 USING fts5 (x)")
    except sqlite3.OperationalError:
        return False
    connection.execute("DROP TABLE temp.try_fts5")
    return True


_UPSERT = (
    f"INSERT INTO pictures ({', '.join(COLUMNS)}) VALUES ({', '.join('?' for _ in COLUMNS)}) "
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in COLUMNS if name != 'id')}"
)


class Index:
    """One connection, used by one thread at a time: every use is inside `with index.write()` or `index.read()`."""

    def __init__(self, path: Path):
        self.path = path
        self.lock = threading.RLock()
        self._connection = self._open()

    @property
    def searches_words(self) -> bool:
        """True when full-text search is there."""
        with self.read() as connection:
            query = "SELECT count(*) FROM sqlite_master WHERE name = 'search'"
            return connection.execute(query).fetchone()[0] > 0

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        with self.lock:
            yield self._connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: everything inside happens or nothing."""
        with self.lock:
            nested = self._connection.in_transaction
            if not nested:
                self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                if not nested and self._connection.in_transaction:
                    self._connection.rollback()
                raise
            if not nested:
                self._connection.commit()

    def start_over(self) -> None:
        """Put this index aside and begin an empty one."""
        with self.lock:
            self._connection.close()
            self._put_aside()
            self._connection = self._open()

    def close(self) -> None:
        """Close; the next opening then need not look for damage."""
        with self.lock:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('closed_well', '1')")
            self._connection.close()

    def version(self) -> tuple[int, int]:
        """Differs when anything was written, by this program or another."""
        with self.read() as connection:
            return connection.total_changes, connection.execute("PRAGMA data_version").fetchone()[0]

    # ---- opening -------------------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connected()
        except sqlite3.DatabaseError as error:
            if "locked" in str(error):
                raise
            log.warning("index %s cannot be used (%s): making it anew", self.path.name, error)
        self._put_aside()
        return self._connected()

    def _connected(self) -> sqlite3.Connection:
        connection = self._connect()
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Settings, schema, and a look at its health. Raises DatabaseError for what cannot be used."""
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "cache_size=-16000"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied_at REAL NOT NULL)")
        connection.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        done = [row[0] for row in connection.execute("SELECT name FROM migrations ORDER BY name")]
        if done != [name for name, _ in MIGRATIONS][: len(done)]:
            raise sqlite3.DatabaseError(f"its schema is of another version ({done[-1]})")
        for name, apply in MIGRATIONS[len(done) :]:
            connection.execute("BEGIN IMMEDIATE")
            apply(connection)
            connection.execute("INSERT INTO migrations VALUES (?, ?)", (name, time.time()))
            connection.commit()
        closed_well = connection.execute("DELETE FROM meta WHERE key = 'closed_well'").rowcount
        if not closed_well and connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("quick_check found damage")

    def _put_aside(self) -> None:
        """Keep one broken index for whoever wants to look at it; its journal goes with it."""
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        if self.path.exists():
            self.path.replace(self.path.with_name("broken-" + self.path.name))

    # ---- rows ----------------------------------------------------------------------------------------------------

    def put(self, entries: Iterable[Entry]) -> None:
        """Insert or replace pictures with their texts and characters."""
        with self.write() as connection:
            for row, texts, characters in entries:
                connection.execute("DELETE FROM pictures WHERE place = ? AND id <> ?", (row.place, row.id))
                connection.execute(_UPSERT, [getattr(row, name) for name in COLUMNS])
                number = connection.execute("SELECT number FROM pictures WHERE id = ?", (row.id,)).fetchone()[0]
                connection.execute("DELETE FROM texts WHERE number = ?", (number,))
                connection.execute(
                    "INSERT INTO texts VALUES (?, ?, ?, ?)", (number, texts.prompt, texts.words, texts.tags)
                )
                connection.execute("DELETE FROM characters WHERE number = ?", (number,))
                rows = [(number, name) for name in characters]
                connection.executemany("INSERT OR IGNORE INTO characters VALUES (?, ?)", rows)

    def drop_places(self, places: Iterable[str]) -> None:
        """Forget pictures whose files are gone."""
        with self.write() as connection:
            connection.executemany("DELETE FROM pictures WHERE place = ?", [(place,) for place in places])

    def get(self, id: str) -> sqlite3.Row | None:
        with self.read() as connection:
            return connection.execute("SELECT * FROM pictures WHERE id = ?", (id,)).fetchone()

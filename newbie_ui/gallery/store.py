"""The gallery: picture files first, an index second that is made from them and can always be made again.

    gallery = Gallery(folder)
    engine = LocalEngine(..., sink=gallery.add)      the file is durable before the picture is announced
    gallery.page(Filters(text="blue_hair"))          search; see `query` for what can be typed

Promises: a picture that was added is never lost by a crash, a broken index or a mark; deleting moves to a trash and
can be undone; ids are checked, and no path is ever made from what a stranger says. All methods may be called from
any thread, and two processes may use one folder.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from newbie_ui.errors import PictureError, SettingsError
from newbie_ui.gallery import marks, query, scan
from newbie_ui.gallery.cards import Card, Entry, Facets, Page, card_of, facets_of, names
from newbie_ui.gallery.files import PART, delete_old, make_folder, move
from newbie_ui.gallery.foreign.characters import with_characters
from newbie_ui.gallery.index import Index
from newbie_ui.gallery.info import PictureInfo
from newbie_ui.gallery.layout import (
    INDEX,
    MARKS,
    PICTURES,
    TRASH,
    day_of,
    is_day,
    is_id,
    new_id,
    place_of,
    trash_place_of,
)
from newbie_ui.gallery.metadata import info_of, read, write_png
from newbie_ui.gallery.query import Filters
from newbie_ui.gallery.record import record_of
from newbie_ui.gallery.thumbs import Thumbs
from newbie_ui.gallery.upkeep import Upkeep
from newbie_ui.request import GenerateResult

log = logging.getLogger(__name__)

__all__ = ["Card", "Entry", "Facets", "Filters", "Gallery", "Page"]

FOREGROUND = 500  # files that are read before the gallery opens; more are read in the background
MAX_PAGE = 500
MAX_IDS = 10_000
TRASH_DAYS = 30
EVERYTHING = Filters()
T = TypeVar("T")


class Gallery:
    """A folder of pictures. See the module's docstring; `layout` tells what lies where.

    Args:
        folder: made if it is not there.
        wait: read new files before returning, however many; otherwise many are read in the background.
        upkeep: purge old trash and bound the caches now and then, in a thread of its own.
    """

    def __init__(self, folder: str | Path, *, wait: bool = False, upkeep: bool = True):
        self.folder = Path(folder).resolve()
        make_folder(self.folder / PICTURES)
        self.thumbs = Thumbs(self.folder)
        self.journal = marks.Journal(self.folder / MARKS)
        self._index = _open_index(self.folder / INDEX)
        self._files = threading.Lock()  # one mover of files at a time
        self._mending = False
        self._facets: tuple[tuple[object, ...], Facets] | None = None
        self._upkeep: Upkeep | None = None
        left = self._catch_up_at_the_start(FOREGROUND if not wait else None)
        if upkeep or left is not None:
            self._upkeep = Upkeep(lambda stop: self._learn(left, stop), self.clean)

    # ---- adding ------------------------------------------------------------------------------------------------

    def add(self, result: GenerateResult) -> GenerateResult:
        """Store a picture: on return it is durable. The result comes back with its path and without pixels.

        Trouble with the index is logged and mended later; trouble with the file is raised as OSError.
        """
        image = result.image
        if image is None:
            raise PictureError(f"Picture {result.id[:80]!r} carries no pixels; it cannot be stored again.")
        result = self._write(result)
        path = Path(result.path or "")
        stat = path.stat()
        found = scan.Found(result.id, path.relative_to(self.folder).as_posix(), stat.st_size, stat.st_mtime_ns)
        info = with_characters(info_of(record_of(result)))
        self.remember(found, replace(info, format="PNG", picture_size=image.size))
        self.thumbs.make(result.id, image)
        return replace(result, image=None)

    def remember(self, found: scan.Found, info: PictureInfo, digest: str | None = None) -> None:
        """Put a file that is already in its place into the index; trouble is logged and mended at the next start."""
        try:
            self._ask(lambda _: self._index.put([scan.row_of(found, info, digest)]))
        except sqlite3.Error:
            log.exception("picture %s is stored, but the index could not take it; it will at the next start", found.id)

    def _write(self, result: GenerateResult) -> GenerateResult:
        """Write the file under the result's id, or under a fresh one when that is taken or cannot be one."""
        id = result.id if is_id(result.id) else new_id(result.created_at)
        while True:
            path = self.folder / place_of(id, result.created_at)
            if not self._is_taken(id):
                with contextlib.suppress(FileExistsError):
                    named = replace(result, id=id, path=str(path))
                    write_png(named, path)
                    return named
            id = new_id(result.created_at)

    def _is_taken(self, id: str) -> bool:
        """True if there is a picture of this id, on any day. An index that cannot be asked is no reason to lose one."""
        try:
            return self._row(id) is not None
        except sqlite3.Error as error:
            log.warning("the index cannot be asked for %s: %s", id, error)
            return False

    # ---- looking -----------------------------------------------------------------------------------------------

    def page(
        self, filters: Filters = EVERYTHING, order: str = "newest", limit: int = 60, offset: int = 0, after: str = ""
    ) -> Page:
        """Part of what matches, from a number on or behind the picture whose id is `after`."""
        limit = min(max(1, limit), MAX_PAGE)

        def ask(connection: sqlite3.Connection) -> Page:
            found = query.where(filters, self._index.searches_words)
            rows = query.select(connection, found, order, limit + 1, max(0, offset), after if is_id(after) else "")
            cards = tuple(map(card_of, rows[:limit]))
            return Page(cards, query.count(connection, found), cards[-1].id if len(rows) > limit else "")

        return self._ask(ask)

    def card(self, id: str) -> Card | None:
        """One picture as lists show it, also from the trash; None when there is none of this id."""
        found = self._ask(lambda c: query.rows(c, "p.id = ?", id)) if is_id(id) else []
        return card_of(found[0]) if found else None

    def path(self, id: str) -> Path:
        """The picture's file. Raises PictureError when there is no such picture."""
        row = self._row(id)
        path = self.folder / row["place"] if row is not None else None
        if path is None or not path.is_file():
            raise _unknown(id)
        return path

    def get(self, id: str) -> Entry:
        """Everything about one picture, read from its file. Raises PictureError when there is no such picture."""
        path, card = self.path(id), self.card(id)
        if card is None:
            raise _unknown(id)

        def ask(connection: sqlite3.Connection) -> tuple[tuple[str, ...], tuple[str, ...]]:
            characters = "SELECT c.name FROM characters c JOIN pictures p USING (number) WHERE p.id = ? ORDER BY 1"
            collections = "SELECT collection FROM collected WHERE id = ? ORDER BY 1"
            return names(connection, characters, id), names(connection, collections, id)

        characters, collections = self._ask(ask)
        return Entry(card, path, read(path), characters, collections)

    def thumbnail(self, id: str) -> Path:
        """A small WebP of the picture, made now if need be."""
        return self.thumbs.get(id, self.path(id))

    def of_size(self, size: int) -> list[tuple[str, str | None, Path]]:
        """Id, digest (None if not known yet) and file of the pictures with so many bytes, trash included."""
        query_size = "SELECT id, sha256, place FROM pictures WHERE bytes = ?"
        rows = self._ask(lambda c: c.execute(query_size, (size,)).fetchall())
        return [(row["id"], row["sha256"], self.folder / row["place"]) for row in rows]

    def remember_digest(self, id: str, digest: str) -> None:
        with self._index.write() as connection:
            connection.execute("UPDATE pictures SET sha256 = ? WHERE id = ?", (digest, id))

    def facets(self) -> Facets:
        """Counts for the navigation; counted anew only when something changed."""
        now = (*self._ask(lambda _: self._index.version()), day_of(time.time()))
        if self._facets is None or self._facets[0] != now:
            self._facets = (now, self._ask(facets_of))
        return self._facets[1]

    # ---- marks -------------------------------------------------------------------------------------------------

    def set_favourite(self, ids: Sequence[str], value: bool) -> None:
        self._mark({"do": "favourite", "ids": self._known(ids), "value": bool(value)})

    def set_rating(self, ids: Sequence[str], rating: int) -> None:
        """Stars from 0 to 5."""
        if isinstance(rating, bool) or rating not in range(marks.MAX_RATING + 1):
            raise PictureError(f"Rating {rating!r} is not known. Use 0 to {marks.MAX_RATING}.")
        self._mark({"do": "rating", "ids": self._known(ids), "value": int(rating)})

    def collect(self, name: str, ids: Sequence[str] = (), made_at: float | None = None) -> None:
        """Put pictures into a collection, which is made if it is not there: last in the list, unless it was made
        before (`made_at`, seconds since 1970)."""
        if made_at is not None and not marks.is_time(made_at):
            raise PictureError(f"made_at {str(made_at)[:40]!r} is no time. Give it in seconds since 1970.")
        known = self._known(ids)
        what = {"do": "collect", "ids": known} if known else {"do": "collection"}
        self._mark({**what, "name": _collection_name(name), "value": made_at})

    def uncollect(self, name: str, ids: Sequence[str]) -> None:
        self._mark({"do": "uncollect", "name": _collection_name(name), "ids": self._known(ids)})

    def rename_collection(self, name: str, new: str) -> None:
        """Rename; into the name of another collection the two become one."""
        self._mark({"do": "rename", "name": _collection_name(name), "value": _collection_name(new)})

    def drop_collection(self, name: str) -> tuple[list[str], float | None]:
        """Forget a collection; its pictures stay.

        Returns their ids, and when the collection was made (None: there was none), for `collect` to bring it back.
        """
        name = _collection_name(name)
        known = "SELECT d.id FROM collected d JOIN pictures p ON p.id = d.id WHERE d.collection = ? ORDER BY d.added_at"
        made = "SELECT created_at FROM collections WHERE name = ?"
        ids, times = self._ask(lambda c: (names(c, known, name), c.execute(made, (name,)).fetchone()))
        self._mark({"do": "drop", "name": name})
        return list(ids), times[0] if times else None

    def collections(self) -> tuple[str, ...]:
        return self._ask(lambda c: names(c, "SELECT name FROM collections ORDER BY created_at, name"))

    def _mark(self, *changes: Mapping[str, Any]) -> None:
        """Journal first, index second."""
        self.journal.append(changes)

        def apply(connection: sqlite3.Connection) -> None:
            with self._index.write():
                marks.catch_up(connection, self.journal)

        self._ask(apply)

    def _known(self, ids: Sequence[str]) -> list[str]:
        """These ids, each once; raises PictureError for one that is not in the gallery."""
        wanted = list(dict.fromkeys(ids))
        if len(wanted) > MAX_IDS:
            raise PictureError(f"{len(wanted)} pictures at once are too many. Choose up to {MAX_IDS}.")
        for id in wanted:
            if self._row(id) is None:
                raise _unknown(id)
        return wanted

    # ---- deleting ----------------------------------------------------------------------------------------------

    def delete(self, ids: Sequence[str]) -> list[str]:
        """Move pictures to the trash; returns those that were moved. Their marks stay with them."""
        now = time.time()
        return self._move(ids, lambda row: trash_place_of(row["place"], now), now)

    def undelete(self, ids: Sequence[str]) -> list[str]:
        """Bring pictures back from the trash; returns those that came."""
        return self._move(ids, lambda row: place_of(row["id"], row["created_at"], row["format"]), None)

    def _move(self, ids: Sequence[str], place: Callable[[sqlite3.Row], str], trashed_at: float | None) -> list[str]:
        done = []
        with self._files:
            for id in self._known(ids):
                row = self._row(id)
                if row is None or (row["trashed_at"] is None) == (trashed_at is None):
                    continue
                target = place(row)
                with contextlib.suppress(FileNotFoundError):
                    move(self.folder / row["place"], self.folder / target)
                    done.append((target, trashed_at, id))
            with self._index.write() as connection:
                connection.executemany("UPDATE pictures SET place = ?, trashed_at = ? WHERE id = ?", done)
        return [id for _, _, id in done]

    def purge(self, max_age_days: float = TRASH_DAYS) -> int:
        """Delete for good what has been in the trash for longer; 0 empties it. Returns how many."""
        oldest = time.time() - max_age_days * 86400
        rows = self._ask(
            lambda c: c.execute("SELECT id, place FROM pictures WHERE trashed_at <= ?", (oldest,)).fetchall()
        )
        with self._files:
            for row in rows:
                (self.folder / row["place"]).unlink(missing_ok=True)
                self.thumbs.forget(row["id"])
        if rows:
            self._mark({"do": "forget", "ids": [row["id"] for row in rows]})
            self._index.drop_places(row["place"] for row in rows)
            self._drop_empty_days()
        return len(rows)

    def _drop_empty_days(self) -> None:
        for day in (self.folder / TRASH).iterdir():
            if is_day(day.name):
                with contextlib.suppress(OSError):
                    day.rmdir()  # only when it is empty

    # ---- upkeep ------------------------------------------------------------------------------------------------

    def catch_up(self, progress: scan.Progress | None = None) -> None:
        """Make the index agree with the files and the journal."""
        self._catch_up_with(None, progress)

    def _catch_up_at_the_start(self, most: int | None) -> scan.Difference | None:
        """What an index on a full disk cannot take waits for the next start: the gallery opens, to make room in it."""
        try:
            return self._catch_up_with(most)
        except sqlite3.OperationalError as error:
            log.warning("the index cannot take what is new (%s); it will at the next start", error)
            return None

    def _catch_up_with(self, most: int | None, progress: scan.Progress | None = None) -> scan.Difference | None:
        """Learn marks and files; when more than `most` files are new, they are left and returned."""

        def learn_marks(connection: sqlite3.Connection) -> None:
            with self._index.write():
                marks.catch_up(connection, self.journal)

        self._ask(learn_marks)
        change = scan.difference(self.folder, self._index)
        if most is None or len(change.new) <= most:
            scan.learn(self.folder, self._index, change, progress)
            return None
        log.info("gallery: %d pictures are read into the index in the background", len(change.new))
        return change

    def _learn(self, change: scan.Difference | None, stop: Callable[[], bool]) -> None:
        if change is not None:
            scan.learn(self.folder, self._index, change, stop=stop)

    @property
    def catching_up(self) -> bool:
        """True while pictures found at the start are still being read."""
        return self._upkeep is not None and self._upkeep.learning

    def rebuild(self, progress: scan.Progress | None = None) -> int:
        """Throw the index away and make it again from the files; returns how many pictures it has."""
        self._index.start_over()
        self.catch_up(progress)
        return self.facets().total

    def clean(self, temp_age_s: float = 3600.0) -> int:
        """Delete what crashes left behind, purge the trash, bound the caches; returns how many files went."""
        left = delete_old(self.folder, temp_age_s, pattern=f".*{PART}")
        return left + self.purge() + self.thumbs.clean()

    def free_bytes(self) -> int:
        """Room on the disk."""
        return shutil.disk_usage(self.folder).free

    def close(self) -> None:
        if self._upkeep is not None:
            self._upkeep.stop()
        self._index.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Card]:
        """All pictures, oldest first, page by page."""
        after = ""
        while True:
            page = self.page(order="oldest", limit=MAX_PAGE, after=after)
            yield from page.cards
            if not page.after:
                return
            after = page.after

    def _row(self, id: str) -> sqlite3.Row | None:
        return self._ask(lambda _: self._index.get(id)) if is_id(id) else None

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Ask the index; when it turns out broken it is made anew and asked again."""
        try:
            with self._index.read() as connection:
                return question(connection)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            if self._mending:
                raise
            log.warning("the index broke (%s): making it anew from the pictures", error)
        self._mending = True
        try:
            self.rebuild()
        finally:
            self._mending = False
        with self._index.read() as connection:
            return question(connection)


def _open_index(path: Path) -> Index:
    """Raises SettingsError where the disk has no room for one, or another program keeps it locked."""
    try:
        return Index(path)
    except sqlite3.Error as error:
        folder = str(path.parent)
        raise SettingsError(f"No index of the pictures can be kept in {folder!r} ({error}). Make room.") from error


def _unknown(id: object) -> PictureError:
    return PictureError(f"Picture {str(id)[:80]!r} is not in the gallery (any more). Reload the list.")


def _collection_name(name: str) -> str:
    clean = marks.clean_name(name)
    if clean is None:
        raise PictureError(f"A collection cannot be called {str(name)[:40]!r}. Use 1 to {marks.MAX_NAME} letters.")
    return clean

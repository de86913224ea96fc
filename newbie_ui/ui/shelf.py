"""The gallery as the page uses it: plain data for lists and panels, one picture's file, marks.

A thin layer over `newbie_ui.gallery.store`, which checks every id. Promises: everything returned is JSON; what was
read from a picture's file once is remembered (files do not change under their id), within bounds.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from newbie_ui.errors import PictureError
from newbie_ui.gallery.export import MAX_ZIP, copy_of, write_zip
from newbie_ui.gallery.importing import import_file
from newbie_ui.gallery.query import ORDERS
from newbie_ui.gallery.record import Record
from newbie_ui.gallery.store import TRASH_DAYS, Card, Entry, Filters, Gallery
from newbie_ui.ui.bench_views import Made
from newbie_ui.ui.gallery_views import detail_of

Value = dict[str, Any]
REMEMBERED = 256
__all__ = ["MAX_ZIP", "Query", "Shelf"]


@dataclass(frozen=True)
class Query:
    """What is searched for; empty means everything. `text` may hold what `newbie_ui.gallery.query` describes."""

    text: str = ""
    order: str = "newest"
    favourite: bool = False
    today: bool = False
    collection: str = ""
    character: str = ""
    preset: str = ""
    trash: bool = False

    def filters(self) -> Filters:
        return Filters(
            text=self.text,
            favourite=self.favourite,
            today=self.today,
            collection=self.collection,
            character=self.character,
            preset=self.preset,
            trashed=self.trash,
        )


class Shelf:
    """See the module's docstring. All methods may be called from any thread."""

    def __init__(self, store: Gallery):
        self.store = store
        self._records: OrderedDict[str, Record | None] = OrderedDict()
        self._lock = threading.Lock()

    # ---- looking -----------------------------------------------------------------------------------------------

    def list(self, query: Query, offset: int, limit: int) -> tuple[int, list[Value]]:
        """How many match in all, and a part of them. In the trash those deleted last come first."""
        order = "deleted" if query.trash else query.order if query.order in ORDERS else "newest"
        page = self.store.page(query.filters(), order, limit, offset)
        return page.total, [item_of(card) for card in page.cards]

    def facets(self) -> Value:
        """How many pictures there are of each kind."""
        counts = self.store.facets()
        return {
            "all": counts.total,
            "favourites": counts.favourites,
            "today": counts.today,
            "trash": counts.trashed,
            "trash_days": TRASH_DAYS,
            "collections": rows_of(counts.collections),
            "characters": rows_of(counts.characters),
            "presets": rows_of(counts.presets),
        }

    def detail(self, id: str) -> Value:
        """Everything about one picture. Raises PictureError when it is not there."""
        entry = self.store.get(id)
        return {**item_of(entry.card), **detail_of(entry.info), **_place_of(entry)}

    def record(self, id: str) -> Record | None:
        """What a picture of ours says about itself; None for foreign ones and those that are gone."""
        with self._lock:
            if id in self._records:
                self._records.move_to_end(id)
                return self._records[id]
        try:
            found = self.store.get(id).info.record
        except PictureError:
            return None
        with self._lock:
            self._records[id] = found
            while len(self._records) > REMEMBERED:
                self._records.popitem(last=False)
        return found

    def made(self, count: int) -> list[Made]:
        """What the newest pictures that were made here have cost, oldest first."""
        page = self.store.page(Filters(program="newbie_ui"), limit=count)
        found = [(card, self.record(card.id)) for card in reversed(page.cards)]
        return [made_of(card, record) for card, record in found if record is not None and record.timings.total_s]

    # ---- files -------------------------------------------------------------------------------------------------

    def file(self, id: str) -> Path:
        return self.store.path(id)

    def thumb(self, id: str) -> Path:
        return self.store.thumbnail(id)

    def media_type(self, id: str) -> str:
        card = self.store.card(id)
        return card.media_type if card else "image/png"

    def plain(self, id: str) -> bytes:
        """The picture as PNG with nothing in it but its pixels."""
        return copy_of(self.store, id)

    def zip(self, ids: Sequence[str], file: BinaryIO, plain: bool) -> int:
        """Write several pictures, with or without their recipes; returns how many."""
        return write_zip(self.store, ids, file, metadata=not plain)

    # ---- changing ----------------------------------------------------------------------------------------------

    def edit(
        self,
        ids: Sequence[str],
        *,
        favourite: bool | None = None,
        rating: int | None = None,
        put_in: str | None = None,
        take_out: str | None = None,
    ) -> None:
        """Change the marks of some pictures."""
        if favourite is not None:
            self.store.set_favourite(ids, favourite)
        if rating is not None:
            self.store.set_rating(ids, rating)
        if put_in is not None:
            self.store.collect(put_in, ids)
        if take_out is not None:
            self.store.uncollect(take_out, ids)

    def add(self, source: Path) -> Value:
        """Copy a picture file into the gallery; one that is there already is told by its id."""
        done = import_file(self.store, source)
        return {"id": done.id, "duplicate": done.duplicate}

    def delete(self, ids: Sequence[str]) -> None:
        self.store.delete(ids)

    def undelete(self, ids: Sequence[str]) -> None:
        self.store.undelete(ids)

    def make_collection(self, name: str, ids: Sequence[str], made_at: float | None) -> None:
        self.store.collect(name, ids, made_at)

    def rename_collection(self, name: str, new: str) -> None:
        self.store.rename_collection(name, new)

    def drop_collection(self, name: str) -> Value:
        """Forget a collection; returns what `make_collection` needs to bring it back. Its pictures stay."""
        ids, made_at = self.store.drop_collection(name)
        return {"ids": ids, "made_at": made_at}


def item_of(card: Card) -> Value:
    """One picture as a list shows it."""
    return {
        "id": card.id,
        "title": card.title or card.program or card.id,
        "created_at": card.created_at,
        "width": card.width,
        "height": card.height,
        "seconds": card.seconds,
        "seed": card.seed,
        "preset": card.preset,
        "favourite": card.favourite,
        "rating": card.rating,
        "trashed_at": card.trashed_at,
    }


def _place_of(entry: Entry) -> Value:
    return {"file": entry.path.name, "collections": list(entry.collections), "restorable": entry.info.found}


def rows_of(pairs: Sequence[tuple[str, int]]) -> list[Value]:
    return [{"name": name, "count": count} for name, count in pairs]


def made_of(card: Card, record: Record) -> Made:
    """The cost of one picture."""
    return Made(
        id=card.id,
        created_at=card.created_at,
        model=card.model,
        preset=card.preset,
        width=card.width,
        height=card.height,
        steps=card.steps or 0,
        timings=record.timings,
        memory=record.memory,
        compile=record.facts.get("compile", ""),
    )

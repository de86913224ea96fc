"""Where everything lies in a gallery's folder, and what an id is.

    pictures/2026-11-22/<id>.png    pictures by the local day they were made
    trash/2026-11-23/<id>.png       deleted ones by the day they were deleted
    marks.jsonl                     favourites, ratings, collections: one line a change, never rewritten
    cache/index.sqlite3             made from the files above; may be deleted at any time
    cache/thumbs/ab/<id>.webp       the same

An id is letters, digits, `-` and `_`, begins with its time and sorts by it. Paths are made from checked ids only.
"""

from __future__ import annotations

import re
import secrets
import time
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

PICTURES, TRASH, CACHE = "pictures", "trash", "cache"
MARKS = "marks.jsonl"
INDEX = f"{CACHE}/index.sqlite3"
THUMBS = f"{CACHE}/thumbs"
EXTENSIONS = {"PNG": ".png", "WEBP": ".webp", "JPEG": ".jpg"}
MEDIA_TYPES = {"PNG": "image/png", "WEBP": "image/webp", "JPEG": "image/jpeg"}

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_LATEST = 4102444800.0  # the year 2100


def is_id(text: object) -> bool:
    """True for what may be an id; whether there is such a picture is another question."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def is_day(text: str) -> bool:
    """True for the name of a day's folder."""
    if _DAY.fullmatch(text) is None:
        return False
    try:
        datetime.strptime(text, "%Y-%m-%d")
    except ValueError:
        return False
    return True


def new_id(created_at: float) -> str:
    """A fresh id that sorts by this time (UTC). Two of one microsecond are alike once in 10¹² pairs."""
    whole, microseconds = divmod(round(sensible_time(created_at) * 1e6), 1_000_000)
    moment = datetime.fromtimestamp(whole, tz=timezone.utc)
    return f"{moment:%Y%m%d-%H%M%S}-{microseconds:06d}-{secrets.token_hex(5)}"


def sensible_time(created_at: float) -> float:
    """The time itself, or now where a file claims one that cannot be."""
    return created_at if 0 < created_at < _LATEST else time.time()


def day_of(created_at: float) -> str:
    """The local day of a time, 2026-11-22."""
    return datetime.fromtimestamp(sensible_time(created_at)).strftime("%Y-%m-%d")


def place_of(id: str, created_at: float, format: str = "PNG") -> str:
    """Where a picture belongs, relative to the gallery's folder."""
    return f"{PICTURES}/{day_of(created_at)}/{id}{EXTENSIONS[format]}"


def trash_place_of(place: str, now: float) -> str:
    """Where a deleted picture goes."""
    return f"{TRASH}/{day_of(now)}/{PurePosixPath(place).name}"


def thumb_path(folder: Path, id: str) -> Path:
    return folder / THUMBS / id[-2:].lower() / f"{id}.webp"

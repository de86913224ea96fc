"""Pictures from elsewhere into the gallery: copies, checked by content, each only once.

Promises: the source is only read; links are not followed; what is no whole picture, or too large, is refused by name
with a sentence and the rest goes on; a picture whose bytes are in the gallery already is skipped, also when it lies
in the trash. Our own pictures keep their id and time, others get the time of their file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from newbie_ui.errors import NewbieError, PictureError
from newbie_ui.gallery import scan
from newbie_ui.gallery.containers import read_container
from newbie_ui.gallery.files import write_whole
from newbie_ui.gallery.info import PictureInfo
from newbie_ui.gallery.layout import is_id, new_id, place_of, sensible_time
from newbie_ui.gallery.metadata import read
from newbie_ui.gallery.pictures import open_picture
from newbie_ui.gallery.store import Gallery

MAX_FILES = 100_000
MAX_DEPTH = 8
MAX_REFUSED = 200  # told by name; more are only counted
SUFFIXES = (".png", ".webp", ".jpg", ".jpeg")  # looked at in folders; what a file is, its bytes say


@dataclass(frozen=True)
class Imported:
    """What became of one file."""

    id: str
    duplicate: bool = False  # it was here already, under this id


@dataclass
class Report:
    """What became of a folder."""

    added: list[str] = field(default_factory=list)
    duplicates: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)  # (name, sentence)
    refused_count: int = 0
    stopped: bool = False

    @property
    def sentence(self) -> str:
        parts = [f"{len(self.added)} pictures added", f"{self.duplicates} were here already"]
        if self.refused_count:
            parts.append(f"{self.refused_count} could not be read")
        return ", ".join(parts) + (" (stopped)." if self.stopped else ".")


def import_file(gallery: Gallery, source: str | Path) -> Imported:
    """Copy one picture into the gallery. Raises PictureError for what is no whole picture."""
    source = Path(source)
    container = read_container(source)
    image = open_picture(source, container)  # all of it can be decoded
    info = read(source)
    digest = _digest(source)
    same = _same(gallery, source.stat().st_size, digest)
    if same is not None:
        return Imported(same, duplicate=True)
    try:
        found = _copy(gallery, source, info)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise PictureError(f"{source.name[:80]!r} cannot be copied ({reason}). Make room and try again.") from error
    gallery.remember(found, info, digest)
    gallery.thumbs.make(found.id, image)
    return Imported(found.id)


def import_folder(
    gallery: Gallery,
    folder: str | Path,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] = bool,
) -> Report:
    """Copy all pictures of a folder and the folders in it. The folder is named by whoever runs the program."""
    folder = Path(folder)
    if not folder.is_dir():
        raise PictureError(f"{str(folder)!r} is not a folder. Give the path of a folder with pictures.")
    if gallery.folder == folder.resolve() or gallery.folder in folder.resolve().parents:
        raise PictureError("This folder belongs to the gallery already. Choose another one.")
    files = sorted(_pictures(folder, MAX_DEPTH))[:MAX_FILES]
    report = Report()
    for number, file in enumerate(files, 1):
        if stop():
            report.stopped = True
            break
        _import_into(report, gallery, file)
        if progress is not None:
            progress(number, len(files))
    return report


def _import_into(report: Report, gallery: Gallery, file: Path) -> None:
    try:
        done = import_file(gallery, file)
    except NewbieError as error:
        report.refused_count += 1
        if len(report.refused) < MAX_REFUSED:
            report.refused.append((file.name, str(error)))
        return
    if done.duplicate:
        report.duplicates += 1
    else:
        report.added.append(done.id)


def _pictures(folder: Path, depth: int) -> Iterator[Path]:
    with contextlib.suppress(PermissionError):
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False) and depth > 0 and not entry.name.startswith("."):
                yield from _pictures(Path(entry.path), depth - 1)
            elif entry.is_file(follow_symlinks=False) and entry.name.lower().endswith(SUFFIXES):
                yield Path(entry.path)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _same(gallery: Gallery, size: int, digest: str) -> str | None:
    """Id of the picture with these bytes; files of another size need no look."""
    for id, known, path in gallery.of_size(size):
        if known is None:
            with contextlib.suppress(FileNotFoundError):
                known = _digest(path)
                gallery.remember_digest(id, known)
        if known == digest:
            return id
    return None


def _copy(gallery: Gallery, source: Path, info: PictureInfo) -> scan.Found:
    """Copy the bytes under an id that is free."""
    stat = source.stat()
    record = info.record
    created_at = sensible_time(record.created_at if record and record.created_at else stat.st_mtime)
    id = record.id if record and is_id(record.id) and gallery.card(record.id) is None else new_id(created_at)
    while True:
        place = place_of(id, created_at, info.format)
        target = gallery.folder / place
        try:
            with open(source, "rb") as file:
                write_whole(target, lambda out, file=file: shutil.copyfileobj(file, out, 2**20))
            break
        except FileExistsError:
            id = new_id(created_at)
    os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    written = target.stat()
    return scan.Found(id, place, written.st_size, written.st_mtime_ns)

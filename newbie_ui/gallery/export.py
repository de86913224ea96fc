"""Pictures out of the gallery: copies with or without metadata, and many in one ZIP."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from typing import BinaryIO

from newbie_ui.errors import PictureError
from newbie_ui.gallery.layout import EXTENSIONS
from newbie_ui.gallery.pictures import open_picture, save_copy
from newbie_ui.gallery.store import Gallery

MAX_ZIP = 1000
MAX_ZIP_BYTES = 4 * 2**30
LIST_NAME = "pictures.jsonl"


def copy_of(gallery: Gallery, id: str, format: str = "PNG", metadata: bool = False) -> bytes:
    """One picture as PNG, WebP or JPEG; without metadata nothing but the pixels is in it.

    Raises PictureError where another program's recipe would be lost: it stays only in a copy of the same format.
    """
    if format not in EXTENSIONS:
        raise PictureError(f"Pictures cannot be written as {format[:20]!r}. Use one of: {', '.join(EXTENSIONS)}.")
    entry = gallery.get(id)
    if metadata and format == entry.card.format:
        return entry.path.read_bytes()
    if metadata and entry.info.found and entry.info.record is None:
        raise PictureError(
            f"A picture of {entry.info.program} keeps its recipe only as {entry.card.format}. "
            "Use that, or a copy without metadata."
        )
    file = io.BytesIO()
    save_copy(open_picture(entry.path), file, format, entry.info.record if metadata else None)
    return file.getvalue()


def write_zip(gallery: Gallery, ids: Sequence[str], file: BinaryIO, metadata: bool = True) -> int:
    """Put pictures into a ZIP, stored as they are; with metadata also a list of all their recipes, one JSON a line.

    Returns how many. Raises PictureError for too many and for one that is not there.
    """
    wanted = list(dict.fromkeys(ids))
    if not 1 <= len(wanted) <= MAX_ZIP:
        raise PictureError(f"{len(wanted)} pictures were chosen for one ZIP. Choose 1 to {MAX_ZIP}.")
    paths = {id: gallery.path(id) for id in wanted}
    total = sum(path.stat().st_size for path in paths.values())
    if total > MAX_ZIP_BYTES:
        raise PictureError(
            f"These pictures have {total / 2**30:.1f} GiB together; 4 GiB fit into one ZIP. Choose fewer."
        )
    lines = []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for id, path in paths.items():
            if not metadata:
                archive.writestr(f"{id}.png", copy_of(gallery, id))
                continue
            archive.write(path, path.name)
            entry = gallery.get(id)
            told = {"favourite": entry.card.favourite, "rating": entry.card.rating, "collections": entry.collections}
            lines.append(json.dumps({"file": path.name, **entry.info.to_json(), **told}))
        if lines:
            archive.writestr(LIST_NAME, "\n".join(lines) + "\n")
    return len(paths)

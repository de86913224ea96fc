"""Small pictures for the grid, made once and kept in the cache folder, which is bounded and may be emptied."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from PIL import Image

from newbie_ui.gallery.files import delete_old, write_whole
from newbie_ui.gallery.layout import THUMBS, thumb_path
from newbie_ui.gallery.pictures import open_picture, thumbnail

log = logging.getLogger(__name__)

MAX_BYTES = 2 * 2**30
NEVER = 10 * 365 * 86400.0


class Thumbs:
    """The cache of small pictures of one gallery."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES):
        self.folder, self.max_bytes = folder, max_bytes
        self._making = threading.Semaphore(2)  # decoding takes memory: few at a time

    def get(self, id: str, picture: Path) -> Path:
        """The small picture, made now if it is not there. Raises PictureError for a damaged picture."""
        path = thumb_path(self.folder, id)
        if path.is_file():
            return path
        with self._making:
            if not path.is_file():
                self._write(path, open_picture(picture))
        return path

    def make(self, id: str, image: Image.Image) -> None:
        """Make it from pixels at hand. A failure is no harm: it will be made when it is asked for."""
        try:
            self._write(thumb_path(self.folder, id), image)
        except OSError as error:
            log.warning("no small picture of %s: %s", id, error)

    def _write(self, path: Path, image: Image.Image) -> None:
        write_whole(path, lambda file: thumbnail(image, file), durable=False, overwrite=True)

    def forget(self, id: str) -> None:
        thumb_path(self.folder, id).unlink(missing_ok=True)

    def clean(self) -> int:
        """Delete the oldest until the cache fits its size; returns how many."""
        folder = self.folder / THUMBS
        return delete_old(folder, NEVER, self.max_bytes) if folder.is_dir() else 0

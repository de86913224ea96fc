"""Temporary files of uploads and calls, deleted by age and, when there are too many, oldest first.

The page framework forgets files of broken uploads and of earlier runs; this looks at the folder itself. It deletes
nothing outside that folder, follows no links, and never the gallery's files, which do not live there.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sweep:
    """What one round did."""

    deleted: int
    freed_bytes: int
    kept_bytes: int


def sweep(folder: Path, max_age_s: float, quota_bytes: int, now: float | None = None) -> Sweep:
    """Delete files older than `max_age_s`, then the oldest ones until `quota_bytes` is kept; then empty folders."""
    now = time.time() if now is None else now
    files = sorted(_files(folder))  # oldest first
    kept = sum(size for _, size, _ in files)
    deleted = freed = 0
    for modified, size, path in files:
        if now - modified <= max_age_s and kept <= quota_bytes:
            break
        if _delete(path):
            deleted, freed = deleted + 1, freed + size
            kept -= size
    _delete_empty_folders(folder, now - max_age_s)
    return Sweep(deleted, freed, kept)


def _files(folder: Path) -> list[tuple[float, int, Path]]:
    found = []
    for path in folder.rglob("*"):
        try:
            stat = path.lstat()
        except OSError:
            continue  # gone meanwhile
        if not path.is_dir() or path.is_symlink():
            found.append((stat.st_mtime, stat.st_size, path))
    return found


def _delete(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        log.warning("cannot delete temporary file %s: %s", path.name, error.strerror)
        return False
    return True


def _delete_empty_folders(folder: Path, older_than: float) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        try:
            if path.is_dir() and not path.is_symlink() and path.stat().st_mtime < older_than:
                path.rmdir()
        except OSError:
            continue  # not empty, or gone


class Janitor:
    """Sweeps a folder every `every_s` seconds in a daemon thread until `stop`."""

    def __init__(self, folder: Path, max_age_s: float, quota_bytes: int, every_s: float = 120.0):
        self.folder, self.max_age_s, self.quota_bytes, self.every_s = folder, max_age_s, quota_bytes, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="janitor", daemon=True)

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def __enter__(self) -> Janitor:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        while True:
            result = sweep(self.folder, self.max_age_s, self.quota_bytes)
            if result.deleted:
                log.info("deleted %d temporary files, %.1f MB", result.deleted, result.freed_bytes / 1e6)
            if self._stop.wait(self.every_s):
                return

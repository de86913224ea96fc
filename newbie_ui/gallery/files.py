"""Files that are there whole or not at all.

Promises: `write_whole` returns only when the file has its final name and would survive a power cut (data, name and
new folders are synced, in this order); a crash before leaves a `.part` file and nothing else; an existing file is
never overwritten unless asked.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

PART = ".part"


def write_whole(
    path: Path, write: Callable[[BinaryIO], None], *, durable: bool = True, overwrite: bool = False
) -> None:
    """Write a file through `write(file)`. Raises FileExistsError when the name is taken; OSError as the disk says."""
    make_folder(path.parent, durable)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        with open(part, "xb") as file:
            write(file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        _take_name(part, path, overwrite)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
    if durable:
        sync_folder(path.parent)


def _take_name(part: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(part, path)
        return
    try:
        os.link(part, path)  # fails if the name is taken, unlike rename
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(path) from None
        os.replace(part, path)


def move(source: Path, target: Path) -> None:
    """Rename durably; raises FileExistsError when the name is taken."""
    make_folder(target.parent)
    if target.exists():
        raise FileExistsError(target)
    os.replace(source, target)
    sync_folder(target.parent)
    sync_folder(source.parent)


def make_folder(folder: Path, durable: bool = True) -> None:
    """Create a folder and its parents, synced into their parents."""
    if folder.is_dir():
        return
    make_folder(folder.parent, durable)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        if durable:
            sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def delete_old(folder: Path, max_age_s: float, max_bytes: int | None = None, pattern: str = "*") -> int:
    """Delete files older than `max_age_s`, then the oldest while more than `max_bytes` are there. Follows no links.

    Returns how many were deleted. Files that vanish meanwhile are no error.
    """
    found = []
    for path in folder.rglob(pattern):
        with contextlib.suppress(FileNotFoundError):
            info = path.lstat()
            if path.is_file() and not path.is_symlink():
                found.append((info.st_mtime, info.st_size, path))
    kept = sum(size for _, size, _ in found)
    deleted, oldest_kept = 0, time.time() - max_age_s
    for modified, size, path in sorted(found, key=lambda entry: entry[0]):
        if modified >= oldest_kept and (max_bytes is None or kept <= max_bytes):
            break
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            deleted += 1
        kept -= size
    return deleted

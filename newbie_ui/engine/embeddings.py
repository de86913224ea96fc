"""Prompt embeddings kept between requests: an unchanged prompt costs no encoding.

A least-recently-used cache, bounded by count and bytes. Keys hold everything that the embedding depends on, so a hit
is the same numbers. Entries stay on the processor; moving one to a card takes well under a millisecond.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Encoding:
    """An encoded text: the model area's Conditioning, its token count and what the artist should know of it."""

    conditioning: Any
    tokens: int
    warning: str = ""
    bytes: int = 0


class EmbeddingCache:
    """Used by the engine's worker thread only; the counters may be read by anyone."""

    def __init__(self, max_entries: int = 64, max_bytes: int = 512 * 2**20):
        self.max_entries, self.max_bytes = max_entries, max_bytes
        self.hits = self.misses = 0
        self._entries: OrderedDict[Hashable, Encoding] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> Encoding | None:
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return entry

    def put(self, key: Hashable, entry: Encoding) -> None:
        if entry.bytes > self.max_bytes:
            return
        self._drop(key)
        self._entries[key] = entry
        self._bytes += entry.bytes
        while len(self._entries) > self.max_entries or self._bytes > self.max_bytes:
            self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        self._entries.clear()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def _drop(self, key: Hashable) -> None:
        old = self._entries.pop(key, None)
        if old is not None:
            self._bytes -= old.bytes

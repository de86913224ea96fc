"""Tags that are known: a safe list that ships, artists' own lists, and the vocabulary of the model in use.

Promises: a vocabulary is read once, its index is built on the first search, and a search takes well under 5 ms.
The built-in list is safe for work (`data/unsafe.txt` says what is left out) and in order of popularity; counts
exist only where an artist's own file brings them.
Does not know: where in a text a tag stands (see `complete.py`).
"""

from __future__ import annotations

import csv
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from heapq import nsmallest
from pathlib import Path
from typing import NamedTuple

from newbie_ui.errors import PromptError

DATA = Path(__file__).parent / "data"
CATEGORIES = {"0": "general", "1": "artist", "3": "copyright", "4": "character", "5": "meta"}

MAX_FILE_BYTES = 20_000_000
MAX_ROWS = 250_000
MAX_FILES = 50
MAX_NAME_CHARS = 120
LAST_RANK = 10**9

_SPACES = re.compile(r"[\s_]+")
_WORDS = re.compile(r"[_\-/():!.,'~ ]+")
_CJK = re.compile(r"[\u3005-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True)
class Tag:
    """One tag. `rank` 1 is the most used one; `count` is None unless a file told it."""

    name: str  # with underscores, parentheses not escaped
    category: str = "general"
    rank: int | None = None
    count: int | None = None
    aliases: tuple[str, ...] = ()
    zh: tuple[str, ...] = ()
    ja: tuple[str, ...] = ()
    source: str = "built-in"
    model: bool = False  # the model in use knows it


class Match(NamedTuple):
    """A tag found, and by what: its name, a word of it, an alias, or a Chinese or Japanese name."""

    tag: Tag
    by: str
    kind: str  # "name" | "word" | "alias" | "translation"


KINDS = ("name", "translation", "alias", "word", "translation")  # the last: by its middle or end
_AT_START = 3  # kinds below match from the beginning
_SECOND = (2, 3)  # kinds that come after all others


def normalise(text: str) -> str:
    """What is compared: lower case, spaces for underscores, no backslashes."""
    return _SPACES.sub(" ", text.replace("\\", "")).strip().lower()


class Vocabulary:
    """Tags in order of preference. Names are unique; of two sources the later one counts."""

    def __init__(self, tags: Iterable[Tag], problems: tuple[str, ...] = ()):
        self._tags = {normalise(tag.name): tag for tag in tags}
        self.problems = problems  # what could not be read, as sentences
        self._short: dict[tuple[str, int], tuple[Match, ...]] = {}

    def __len__(self) -> int:
        return len(self._tags)

    def __iter__(self):
        return iter(self._tags.values())

    def __contains__(self, name: str) -> bool:
        return normalise(name) in self._tags

    def get(self, name: str) -> Tag | None:
        """The tag of this name, in any spelling (spaces, underscores, escaped parentheses)."""
        return self._tags.get(normalise(name))

    def named(self, name: str) -> Tag | None:
        """The tag of this name, alias, or Chinese or Japanese name; the most used one where several have it."""
        key = normalise(name)
        return self._tags.get(key) or self._other_names.get(key)

    @cached_property
    def _other_names(self) -> dict[str, Tag]:
        found: dict[str, Tag] = {}
        for tag in self:
            for other in (*tag.aliases, *tag.zh, *tag.ja):
                found.setdefault(normalise(other), tag)
        return found

    def search(self, query: str, limit: int = 20) -> tuple[Match, ...]:
        """The best tags whose name, word, alias or Chinese or Japanese name begins with the query."""
        query = normalise(query)
        if not query or limit < 1:
            return ()
        if len(query) > 2:
            return self._search(query, limit)
        key = (query, limit)
        if key not in self._short:  # one or two letters match thousands: remember the answer
            if len(self._short) > 2000:
                self._short.clear()
            self._short[key] = self._search(query, limit)
        return self._short[key]

    def _search(self, query: str, limit: int) -> tuple[Match, ...]:
        keys, scores, entries, tags = self._index
        first = bisect_left(keys, query)
        same = bisect_right(keys, query, first)
        last = bisect_right(keys, query + "\U0010ffff", same)
        whole = sorted((at for at in range(first, same) if entries[at][0] < _AT_START), key=scores.__getitem__)
        begun = nsmallest(limit * 4, range(first, last), key=scores.__getitem__)
        found: dict[int, Match] = {}
        for at in (*whole, *begun):
            kind, place, shown = entries[at]
            found.setdefault(place, Match(tags[place], shown, KINDS[kind]))
        return tuple(found.values())[:limit]

    @cached_property
    def _index(self) -> tuple[list[str], list[tuple], list[tuple[int, int, str]], list[Tag]]:
        """Sorted keys; for each its score (less is better), and the kind of match, the tag and the words to show."""
        tags = list(self._tags.values())
        rows = []
        for place, tag in enumerate(tags):
            name = normalise(tag.name)
            rows.append((name, 0, place, tag.name))
            rows += [(name[i + 1 :], 3, place, tag.name) for i in _word_starts(name)]
            for other in (*tag.aliases, *tag.zh, *tag.ja):
                begin, *parts = _keys(other)
                rows.append((begin, 1 if _CJK.search(other) else 2, place, other))
                rows += [(part, 4, place, other) for part in parts]
        rows.sort()
        scores = [(not tags[p].model, kind in _SECOND, *_order(tags[p]), kind) for _, kind, p, _ in rows]
        return [row[0] for row in rows], scores, [row[1:] for row in rows], tags

    def combined(self, *others: Vocabulary) -> Vocabulary:
        """This list and others in one; where a name is in both, counts and categories of the later one are taken.

        A tag that has a count but no rank gets the rank of the ranked tag whose count comes next.
        """
        tags = dict(self._tags)
        for other in others:
            for key, tag in other._tags.items():
                tags[key] = _merged(tags[key], tag) if key in tags else tag
        counted = sorted((-tag.count, tag.rank) for tag in tags.values() if tag.count and tag.rank)
        if counted:
            for key, tag in tags.items():
                if tag.count and not tag.rank:
                    at = min(bisect_left(counted, (-tag.count,)), len(counted) - 1)
                    tags[key] = replace(tag, rank=counted[at][1])
        return Vocabulary(tags.values(), tuple(p for v in (self, *others) for p in v.problems))

    def with_model(self, names: Iterable[str]) -> Vocabulary:
        """The same with the tags that a model knows marked; those missing are added. No names: nothing is marked."""
        known = {normalise(name): name for name in names if 0 < len(name) <= MAX_NAME_CHARS}
        if not known:
            return self
        tags = [replace(tag, model=key in known) for key, tag in self._tags.items()]
        new = [
            Tag(name.replace(" ", "_"), source="model", model=True) for k, name in known.items() if k not in self._tags
        ]
        return Vocabulary([*tags, *new], self.problems)

    def rows(self) -> list[list]:
        """Plain lists for a script in the page: name, category, rank, count, aliases, zh, ja, model."""
        return [[t.name, t.category, t.rank, t.count, t.aliases, t.zh, t.ja, t.model] for t in self]


def _order(tag: Tag) -> tuple[int, int]:
    return (tag.rank or LAST_RANK, -(tag.count or 0))


def _word_starts(name: str) -> list[int]:
    return [i for i, letter in enumerate(name) if letter in " -(/" and i + 1 < len(name)]


def _keys(name: str) -> list[str]:
    """A name and, for Chinese and Japanese, each of its ends, so that any part of it is found."""
    key = normalise(name)
    return [key[i:] for i in range(len(key))] if _CJK.search(key) else [key]


def _merged(old: Tag, new: Tag) -> Tag:
    return replace(
        old,
        category=new.category or old.category,
        rank=old.rank if old.rank is not None else new.rank,
        count=new.count if new.count is not None else old.count,
        aliases=tuple(dict.fromkeys((*old.aliases, *new.aliases))),
        zh=old.zh or new.zh,
        ja=old.ja or new.ja,
        source=old.source if old.source == new.source else f"{old.source}, {new.source}",
        model=old.model or new.model,
    )


# ---- files


@lru_cache(maxsize=1)
def builtin() -> Vocabulary:
    """The list that ships: about 8,000 safe tags."""
    return load_csv(DATA / "tags.csv", source="built-in", ranked=True)


def meaning(name: str) -> str:
    """The key of a known tag by any of its names (`青い髪`, `yellow hair`); of another one its own."""
    known = builtin().named(name)
    return normalise(known.name if known else name)


def load_csv(path: str | Path, source: str = "own", safe: bool = False, ranked: bool = False) -> Vocabulary:
    """Read a list in tagcomplete's form: `name,category,count,"alias,alias"`, one tag a line, UTF-8.

    Only the name is needed; a fifth and sixth column are Chinese and Japanese names, several parted by `;`.

    Args:
        source: what a person is told about where a tag comes from.
        safe: leave out what `is_safe` refuses.
        ranked: the third column is a rank, not a count.

    Raises:
        PromptError: the file cannot be read, is too large or is not text. Single bad lines are `problems`.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise PromptError(f"{path.name} is larger than {MAX_FILE_BYTES // 10**6} MB. Use a shorter tag list.")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise PromptError(f"{path.name} is not UTF-8 text. Save the tag list as UTF-8.") from error
    except OSError as error:
        raise PromptError(f"{path.name} cannot be read: {error.strerror}. Check the path of the tag list.") from error
    tags, bad = [], []
    for number, line in enumerate(lines[:MAX_ROWS], 1):
        tag = _tag(line, source, ranked) if line.strip() else None
        if tag is None:
            bad += [number] if line.strip() and not (number == 1 and line.lower().startswith(("name", "tag"))) else []
        elif not safe or is_safe(tag.name):
            tags.append(tag)
    return Vocabulary(tags, tuple(_complaints(path.name, bad, len(lines))))


def own_lists(folder: str | Path, safe: bool = True) -> Vocabulary:
    """All lists (`*.csv`) of a folder in one, by file name; empty if there is no such folder.

    A list that cannot be read is told in `problems`, the others are read. Unsafe tags are left out by default.
    """
    found = Vocabulary(())
    for path in sorted(Path(folder).glob("*.csv"))[:MAX_FILES]:
        try:
            found = found.combined(load_csv(path, source=path.stem, safe=safe))
        except PromptError as error:
            found = found.combined(Vocabulary((), (str(error),)))
    return found


def _complaints(name: str, bad: list[int], lines: int) -> Iterable[str]:
    if bad:
        some = ", ".join(map(str, bad[:5])) + (" …" if len(bad) > 5 else "")
        yield f"{name}: {len(bad)} lines are not tags and were left out (line {some})."
    if lines > MAX_ROWS:
        yield f"{name}: only the first {MAX_ROWS:,} of {lines:,} lines are used."


def _tag(line: str, source: str, ranked: bool) -> Tag | None:
    try:
        cells = next(csv.reader([line], strict=True)) if '"' in line else line.split(",")
    except (csv.Error, StopIteration):
        return None
    cells += [""] * (6 - len(cells))
    name = cells[0].strip()
    digits = cells[2].strip()
    if not 0 < len(name) <= MAX_NAME_CHARS or _CONTROL.search(name) or not (digits.isascii() and len(digits) < 16):
        return None
    if (digits and not digits.isdigit()) or (cells[1] and not cells[1].strip().isalnum()):
        return None
    number = int(digits) if digits else None
    return Tag(
        name.replace(" ", "_"),
        CATEGORIES.get(cells[1].strip(), cells[1].strip().lower() if cells[1].strip().isalpha() else ""),
        rank=number if ranked else None,
        count=None if ranked else number,
        aliases=_names(cells[3], ","),
        zh=_names(cells[4], ";"),
        ja=_names(cells[5], ";"),
        source=source,
    )


def _names(cell: str, separator: str) -> tuple[str, ...]:
    if not cell:
        return ()
    names = (part.strip() for part in cell.split(separator)[:50])
    return tuple(name for name in names if 0 < len(name) <= MAX_NAME_CHARS and not _CONTROL.search(name))


# ---- safety


@lru_cache(maxsize=1)
def _unsafe() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Words, whole names, exceptions."""
    words, names, allowed = set(), set(), set()
    for line in (DATA / "unsafe.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("!"):
            allowed.add(line[1:])
        elif line.startswith("="):
            names.add(line[1:])
        elif not line.startswith("#") and line:
            (names if "_" in line else words).add(line)
    return frozenset(words), frozenset(names), frozenset(allowed)


def is_safe(name: str) -> bool:
    """Whether a tag may stand in a safe list. Strict: rather one harmless tag too few."""
    words, names, allowed = _unsafe()
    key = normalise(name).replace(" ", "_")
    if key in allowed:
        return True
    parts = key.split("_")
    runs = ("_".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, min(i + 5, len(parts)) + 1))
    return (
        key not in names
        and names.isdisjoint(r for r in runs if "_" in r)
        and words.isdisjoint({*parts, *_WORDS.split(key)})
    )

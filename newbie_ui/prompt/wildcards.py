"""Wildcards: `{red|blue}` and `__colours__`, resolved by a seed.

Promises: the same text, seed and files give the same result on every machine; the text before and after are both
returned; depth, length and number of choices are bounded; only files inside the given folder are read, never one
named by a path with `..`. Nothing else is interpreted: braces without a bar (JSON, NovelAI weights) stay.
Does not know: weights, ranges or variables of other programs' wildcards; they stay as they are.

A file `name.txt` (UTF-8) holds one choice a line; empty lines and lines that begin with # do not count. Choices may
hold wildcards of their own. Choices are independent: each draws by the seed and its own number in the text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_DEPTH = 8
MAX_CHOICES = 500
MAX_CHARS = 40_000
MAX_FILE_BYTES = 1_000_000
MAX_LINES = 20_000
MAX_LINE_CHARS = 2_000  # longer lines of a file are left out

_NAME = re.compile(r"__([A-Za-z0-9](?:[A-Za-z0-9_\-/]{0,98}?[A-Za-z0-9])??)__")
_INNERMOST = re.compile(r"\{([^{}]*)\}")
_JSON_KEY = re.compile(r'\s*"[^"]*"\s*:')


@dataclass(frozen=True)
class Choice:
    """One wildcard as it stood, and what was put in its place."""

    wildcard: str
    picked: str


@dataclass(frozen=True)
class Resolved:
    """`before` as typed, `after` as it goes to the model, and how. `problems` are sentences."""

    before: str
    after: str
    choices: tuple[Choice, ...] = ()
    problems: tuple[str, ...] = ()


def has_wildcards(text: str) -> bool:
    """True if there is anything to resolve."""
    return bool(_NAME.search(text) or any(_is_choice(match[1]) for match in _INNERMOST.finditer(text)))


def resolve(text: str, seed: int, folder: str | Path | None = None) -> Resolved:
    """Resolve all wildcards of a text.

    Args:
        seed: the picture's seed; another one draws anew.
        folder: where `__name__` files lie; None: such wildcards stay, with a problem.
    """
    return _Draw(seed, Path(folder) if folder is not None else None).run(text)


class _Draw:
    """One resolution: counts its choices and remembers the files it read."""

    def __init__(self, seed: int, folder: Path | None):
        self.seed, self.folder = seed, folder
        self.choices: list[Choice] = []
        self.problems: list[str] = []
        self.files: dict[str, tuple[str, ...]] = {}
        self.stopped = False

    def run(self, text: str) -> Resolved:
        after = text
        for _ in range(MAX_DEPTH):
            new = _INNERMOST.sub(self._braces, _NAME.sub(self._file, after))
            if len(new) > MAX_CHARS:
                self._problem(f"The wildcards would make more than {MAX_CHARS:,} characters. The rest of them stay.")
                break
            if new == after:
                break
            after = new
        else:
            if has_wildcards(after):
                self._problem(f"Wildcards within wildcards are followed {MAX_DEPTH} times. The rest of them stay.")
        return Resolved(text, after, tuple(self.choices), tuple(self.problems))

    def _braces(self, match: re.Match) -> str:
        if not _is_choice(match[1]):
            return match[0]
        return self._pick(match[0], [part.strip() for part in match[1].split("|")])

    def _file(self, match: re.Match) -> str:
        name = match[1]
        if name not in self.files:
            self.files[name] = self._read(name)
        return self._pick(match[0], self.files[name]) if self.files[name] else match[0]

    def _pick(self, wildcard: str, options: Sequence[str]) -> str:
        if len(self.choices) >= MAX_CHOICES:
            self._problem(f"More than {MAX_CHOICES} wildcards. The rest of them stay.")
            return wildcard
        digest = hashlib.sha256(f"{self.seed}/{len(self.choices)}".encode()).digest()
        picked = options[int.from_bytes(digest[:8], "big") % len(options)]
        self.choices.append(Choice(wildcard, picked))
        return picked

    def _read(self, name: str) -> tuple[str, ...]:
        if self.folder is None:
            self._problem(f"__{name}__ needs a folder of wildcard files. Set one in the settings.")
            return ()
        root = self.folder.resolve()
        path = (root / f"{name}.txt").resolve()
        if ".." in name or not path.is_relative_to(root):
            self._problem(f"__{name}__ lies outside the wildcard folder and is not read.")
            return ()
        try:
            with path.open("rb") as file:
                lines = file.read(MAX_FILE_BYTES).decode("utf-8-sig", "replace").splitlines()
        except OSError:
            self._problem(f"There is no wildcard file {name}.txt. Add it, or take __{name}__ out.")
            return ()
        stripped = (line.strip() for line in lines[:MAX_LINES])
        options = tuple(line for line in stripped if line and len(line) <= MAX_LINE_CHARS and line[0] != "#")
        if not options:
            self._problem(f"The wildcard file {name}.txt is empty.")
        return options

    def _problem(self, sentence: str) -> None:
        if sentence not in self.problems:
            self.problems.append(sentence)


def names(folder: str | Path) -> tuple[str, ...]:
    """The names of the wildcard files in a folder, as they are written between the underscores."""
    root = Path(folder)
    found = (path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.txt"))
    return tuple(sorted(name for name in found if _NAME.fullmatch(f"__{name}__")))


def _is_choice(inside: str) -> bool:
    """A bar parts it, and it is no JSON."""
    return "|" in inside and not _JSON_KEY.match(inside)

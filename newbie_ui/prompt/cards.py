"""A character card as a file that can be shared, and a folder of them.

Promises: a card is JSON with a version, a name and the fields of one character in their order; keys it does not know
are kept when it is written again. Files are read within limits and written whole or not at all; a name never becomes
a path of its own.
Does not know: slots of the form, pictures (a thumbnail may lie in the unknown keys).
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from newbie_ui.errors import PromptError
from newbie_ui.prompt.document import Character, Fields, is_placeholder

VERSION = 1
MAX_FILE_BYTES = 512_000
MAX_FIELDS = 64
MAX_NAME_CHARS = 100
MAX_VALUE_CHARS = 8_000
MAX_CARDS = 2_000
SUFFIX = ".card.json"

_FIELD_NAME = re.compile(r"[^\W\d][\w .\-]{0,63}")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


@dataclass(frozen=True)
class Card:
    """One character with the name it is kept under. `extra` holds keys of other programs or later versions."""

    name: str
    fields: Fields
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def character(self) -> Character:
        return Character(self.fields)


def from_character(character: Character, name: str = "") -> Card:
    """A card of a character, by default under the character's own name."""
    return _checked(Card(name.strip() or character.name or "character", character.fields))


def to_dict(card: Card) -> dict[str, Any]:
    """JSON-ready."""
    return {**card.extra, "newbie_ui_card": VERSION, "name": card.name, "fields": [list(pair) for pair in card.fields]}


def from_dict(data: Any) -> Card:
    """Read what `to_dict` made; raises PromptError with the fault."""
    if not isinstance(data, Mapping) or not isinstance(data.get("newbie_ui_card"), int):
        raise PromptError("This is not a character card: the key newbie_ui_card is missing.")
    if data["newbie_ui_card"] > VERSION:
        raise PromptError(
            f"This card is of version {data['newbie_ui_card']}; {VERSION} is known here. Update newbie_ui."
        )
    pairs = data.get("fields")
    if not isinstance(pairs, (list, tuple)) or not all(_is_pair(pair) for pair in pairs):
        raise PromptError("This card is damaged: its fields must be [name, value] pairs of text.")
    if not isinstance(data.get("name"), str):
        raise PromptError("This card is damaged: it has no name.")
    extra = {k: v for k, v in data.items() if k not in ("newbie_ui_card", "name", "fields")}
    return _checked(Card(data["name"].strip(), tuple((name, value) for name, value in pairs), extra))


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, (list, tuple)) and len(pair) == 2 and all(isinstance(part, str) for part in pair)


def _checked(card: Card) -> Card:
    if not 0 < len(card.name) <= MAX_NAME_CHARS:
        raise PromptError(f"A card's name has 1 to {MAX_NAME_CHARS} characters; this one has {len(card.name)}.")
    if len(card.fields) > MAX_FIELDS:
        raise PromptError(f"A card has {MAX_FIELDS} fields at most; this one has {len(card.fields)}.")
    for name, value in card.fields:
        if name and not _FIELD_NAME.fullmatch(name):
            raise PromptError(f"The field name {name[:40]!r} cannot be used. Use letters, digits, spaces and _.")
        if len(value) > MAX_VALUE_CHARS:
            raise PromptError(f"The field {name} has {len(value)} characters; {MAX_VALUE_CHARS} is the most.")
    return card


def loads(text: str) -> Card:
    """A card from the text of its file."""
    if len(text) > MAX_FILE_BYTES:
        raise PromptError(f"A card has {MAX_FILE_BYTES:,} bytes at most.")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PromptError("This card is not JSON. Choose a file that was saved as a card.") from error
    return from_dict(data)


def dumps(card: Card) -> str:
    """The text of its file."""
    return json.dumps(to_dict(_checked(card)), ensure_ascii=False, indent=1) + "\n"


def file_name(name: str) -> str:
    """A safe file name for a card: no separators, no hidden or reserved names, at most 80 bytes and the suffix."""
    text = unicodedata.normalize("NFC", name).replace("\\(", "(").replace("\\)", ")")
    text = "".join("_" if unicodedata.category(c)[0] == "C" or c in '/\\:*?"<>|\u2028\u2029' else c for c in text)
    text = re.sub(r"_+", "_", text).strip("._ ") or "character"
    if text.lower().split(".")[0] in _RESERVED:
        text = f"_{text}"
    return text.encode("utf-8", "ignore")[:80].decode("utf-8", "ignore").rstrip(". ") + SUFFIX


def save(card: Card, folder: str | Path, replace: bool = False) -> Path:
    """Write a card into a folder; a taken file name gets a number unless `replace`. Returns the path."""
    text = dumps(card)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / file_name(card.name)
        number = 2
        while path.exists() and not replace:
            path = folder / file_name(f"{card.name[:60]} {number}")
            number += 1
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".card-", suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
                file.write(text)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise PromptError(f"The card {card.name} cannot be saved in {folder}: {error.strerror}.") from error
    return path


def load(path: str | Path) -> Card:
    """Read one card file."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PromptError(f"The card {path.name} cannot be read: {error.strerror}.") from error
    try:
        return loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise PromptError(f"The card {path.name} is not UTF-8 text.") from error


def library(folder: str | Path) -> tuple[list[tuple[Path, Card]], list[str]]:
    """All cards of a folder by name, and a sentence for each file that is none."""
    found, problems = [], []
    for path in sorted(Path(folder).glob(f"*{SUFFIX}"))[:MAX_CARDS]:
        try:
            found.append((path, load(path)))
        except PromptError as error:
            problems.append(f"{path.name}: {error}")
    found.sort(key=lambda pair: pair[1].name.lower())
    return found, problems


def delete(path: str | Path, folder: str | Path) -> None:
    """Remove a card of this folder; a path elsewhere is refused."""
    path, folder = Path(path), Path(folder)
    if path.resolve().parent != folder.resolve() or not path.name.endswith(SUFFIX):
        raise PromptError(f"{path.name} is not a card of this library.")
    path.unlink(missing_ok=True)


def fields_for_slot(card: Card, number: int) -> Fields:
    """The card's fields for slot `number`: a placeholder name takes the slot's number, a real name stays."""
    names = {"n", "name"}
    return tuple(
        (name, f"$character_{number}$") if name in names and is_placeholder(value) else (name, value)
        for name, value in card.fields
    )

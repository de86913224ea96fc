"""A character card as text that can be shared.

Promises: a card is JSON with a version, a name and the fields of one character in their order; keys it does not know
are kept when it is written again. It is read within limits.
Does not know: files (the page's library lives in the browser), pictures (a thumbnail may lie in the unknown keys).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from newbie_ui.errors import PromptError
from newbie_ui.prompt.document import NAME_FIELDS, Character, Fields, is_placeholder

VERSION = 1
MAX_FILE_BYTES = 512_000
MAX_FIELDS = 64
MAX_NAME_CHARS = 100
MAX_VALUE_CHARS = 8_000

_FIELD_NAME = re.compile(r"[^\W\d][\w .\-]{0,63}")


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


def fields_for_slot(fields: Fields, number: int) -> Fields:
    """A card's fields for slot `number`: a placeholder name takes the slot's number, a real name stays."""
    return tuple(
        (name, f"$character_{number}$") if name in NAME_FIELDS and is_placeholder(value) else (name, value)
        for name, value in fields
    )

"""The prompt as an artist composes it: characters, general tags, and what stands around them.

Promises: frozen, hashable, picklable data; every value is kept exactly as written, in its order, known or not.
Does not know: text positions (see `xml.py`), whether a value makes sense (see `lint.py`).

A field is a pair (element name, value). The name "" means bare text that stands in the block without an element.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

Fields = tuple[tuple[str, str], ...]

OFFICIAL_CHARACTER_FIELDS = ("n", "gender", "appearance", "clothing", "expression", "action", "position")
OFFICIAL_GENERAL_FIELDS = ("count", "style", "background", "atmosphere", "quality", "objects", "other")

# In the order in which a form shows them and `build` expects them; those not official were seen in the wild.
CHARACTER_FIELDS = (
    "n",
    "name",
    "gender",
    "body_type",
    "appearance",
    "clothing",
    "expression",
    "action",
    "interaction",
    "position",
)
GENERAL_FIELDS = (
    "count",
    "artists",
    "artist",
    "style",
    "background",
    "environment",
    "perspective",
    "lighting",
    "atmosphere",
    "quality",
    "resolution",
    "objects",
    "other",
    "extra_tags",
    "caption",
)
TOP_FIELDS = ("caption", "style", "danbooru_tags", "e621_tags")
NAME_FIELDS = ("n", "name")
PROSE_FIELDS = ("caption",)
KNOWN_FIELDS = frozenset(CHARACTER_FIELDS + GENERAL_FIELDS + TOP_FIELDS)

_PLACEHOLDER = re.compile(r"\s*\$?character[_ -]?(\d*)\$?\s*", re.IGNORECASE)


def is_placeholder(name: str) -> bool:
    """True for a name that only numbers the character: empty, `$character_1$`, `character 1`, `original_character`."""
    return not name.strip() or bool(_PLACEHOLDER.fullmatch(name)) or name.strip().lower() == "original_character"


def canonical(name: str) -> str:
    """Element name as the official prompt spells it: lower case, underscores for spaces and hyphens."""
    return name.lower().replace(" ", "_").replace("-", "_")


@dataclass(frozen=True)
class Block:
    """What characters and general tags have in common: fields in the artist's order."""

    fields: Fields = ()

    def get(self, name: str, default: str = "") -> str:
        """Value of the first field of this name."""
        return next((value for key, value in self.fields if key == name), default)

    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.fields)

    def with_field(self, name: str, value: str):
        """The same block with this field set; a new field goes where the usual order has it."""
        if name in self.names():
            first = self.names().index(name)
            return replace(self, fields=(*self.fields[:first], (name, value), *self.fields[first + 1 :]))
        place = insertion_index(self.names(), name)
        return replace(self, fields=(*self.fields[:place], (name, value), *self.fields[place:]))

    def without_field(self, name: str):
        return replace(self, fields=tuple(pair for pair in self.fields if pair[0] != name))


@dataclass(frozen=True)
class Character(Block):
    """One character. `tag` is set only where the block is named in its own way (`<aoi>` instead of `<character_1>`)."""

    tag: str = ""

    @property
    def name(self) -> str:
        """The name given by the artist, or "" for a numbered placeholder."""
        given = self.get("n") or self.get("name") or self.tag
        return "" if is_placeholder(given) else given.strip()


@dataclass(frozen=True)
class General(Block):
    """The tags of the whole picture."""


@dataclass(frozen=True)
class Extra:
    """A top-level piece beside the blocks: an element such as `caption`, or free text (name "")."""

    name: str
    text: str
    before: bool = False  # it stands before the first block


@dataclass(frozen=True)
class Prompt:
    """Everything an artist composed. `system` is a system prompt that stands in the text itself."""

    characters: tuple[Character, ...] = ()
    general: General = General()
    extras: tuple[Extra, ...] = ()
    system: str = ""

    def caption(self) -> str:
        """The first caption, wherever it stands."""
        return self.general.get("caption") or next((e.text for e in self.extras if e.name == "caption"), "")


def character(fields: Mapping[str, str] | Iterable[tuple[str, str]] = (), tag: str = "") -> Character:
    """A Character from a mapping or pairs."""
    return Character(_pairs(fields), tag)


def general(fields: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> General:
    """A General from a mapping or pairs."""
    return General(_pairs(fields))


def new_character(number: int, gender: str = "") -> Character:
    """An empty card with the official fields and the placeholder name."""
    values = {"n": f"$character_{number}$", "gender": gender}
    return Character(tuple((name, values.get(name, "")) for name in OFFICIAL_CHARACTER_FIELDS))


def insertion_index(present: tuple[str, ...], name: str) -> int:
    """Where a new field goes among those present: after the last one that usually precedes it."""
    order = CHARACTER_FIELDS if name in CHARACTER_FIELDS else GENERAL_FIELDS
    if name not in order:
        return len(present)
    earlier = set(order[: order.index(name)])
    return max((i + 1 for i, other in enumerate(present) if other in earlier), default=0)


def _pairs(fields: Mapping[str, str] | Iterable[tuple[str, str]]) -> Fields:
    items = fields.items() if isinstance(fields, Mapping) else fields
    return tuple((str(name), str(value)) for name, value in items)

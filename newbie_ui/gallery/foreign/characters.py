"""Characters out of a prompt in NewBie's XML, whichever program carried it."""

from __future__ import annotations

import re
from dataclasses import replace

from newbie_ui.gallery.info import CharacterInfo, PictureInfo
from newbie_ui.prompt.document import NAME_FIELDS, is_placeholder
from newbie_ui.prompt.xml import parse

_ENTITY = re.compile(r"&(amp|lt|gt|quot|apos|#\d{1,7}|#x[0-9a-fA-F]{1,6});")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


def with_characters(info: PictureInfo) -> PictureInfo:
    """Fill `characters` from the prompt's XML where the format itself named none."""
    if info.characters or not info.prompt or "<" not in info.prompt:
        return info
    return replace(info, characters=characters_in(info.prompt))


def characters_in(prompt: str) -> tuple[CharacterInfo, ...]:
    """One entry a character block, in the text's order, with entities decoded."""
    found = []
    for character in parse(prompt).prompt.characters:
        fields = tuple((name, decode_entities(value).strip()) for name, value in character.fields if name)
        told = [value for name, value in fields if value and not (name in NAME_FIELDS and is_placeholder(value))]
        found.append(CharacterInfo(", ".join(told), fields=fields))
    return tuple(found)


def decode_entities(text: str) -> str:
    """The five entities of XML and numbered ones; anything else stays as it is."""

    def one(match: re.Match[str]) -> str:
        name = match.group(1)
        if name in _NAMED:
            return _NAMED[name]
        code = int(name[2:], 16) if name.startswith("#x") else int(name[1:])
        return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else match.group()

    return _ENTITY.sub(one, text)

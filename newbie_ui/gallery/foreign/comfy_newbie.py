"""The XML that NewBie's builder nodes for ComfyUI make of their fields; the text itself is nowhere in the file.

Each builder takes the inputs of its node as texts and gives the text that the node would put out. Values are not
escaped: the encoder should read what the artist typed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

Inputs = Mapping[str, str]

CHARACTER = ("name", "gender", "appearance", "clothing", "expression", "action", "interaction", "position")
FULL_CHARACTER = (
    "name",
    "gender",
    "appearance",
    "clothing",
    "body_type",
    "expression",
    "action",
    "interaction",
    "position",
)
GENERAL = (
    "count",
    "body_type",
    "artists",
    "style",
    "background",
    "environment",
    "perspective",
    "atmosphere",
    "lighting",
    "quality",
    "objects",
    "other",
    "extra_tags",
)
SLOTS = 11
_SECTION = re.compile(r"\[(\w+)\]")
_NUMBER = re.compile(r"(</?)character_\d+>")


def _element(name: str, value: str) -> str:
    return f"<{name}>{value.strip()}</{name}>"


def _block(name: str, elements: Iterable[str]) -> str:
    return "\n".join((f"<{name}>", *elements, f"</{name}>"))


def _fields(inputs: Inputs, names: Iterable[str], prefix: str = "") -> list[str]:
    """The filled fields; a name becomes `<n>` as in the official form and stands even when empty."""
    lines = []
    for name in names:
        value = inputs.get(prefix + name, "")
        if name == "name":
            lines.append(_element("n", value))
        elif value.strip():
            lines.append(_element(name, value))
    return lines


def _character(inputs: Inputs) -> str:
    return _block(f"character_{inputs.get('character_number') or 1}", _fields(inputs, CHARACTER))


def _quick_character(inputs: Inputs) -> str:
    pieces = _SECTION.split(inputs.get("character_text", ""))
    values = {name.lower(): text for name, text in zip(pieces[1::2], pieces[2::2])}
    return _block(f"character_{inputs.get('character_number') or 1}", _fields(values, CHARACTER))


def _named_character(inputs: Inputs) -> str:
    """`Character Node`: the block is named after the character."""
    name = re.sub(r"\W+", "_", inputs.get("name", "")).strip("_") or "character"
    lines = [_element(field, inputs[field]) for field in FULL_CHARACTER if inputs.get(field, "").strip()]
    return _block(name, lines)


def _general(inputs: Inputs) -> str:
    return _block("general_tags", _fields(inputs, GENERAL))


def _assembled(parts: Iterable[str], caption: str, style: str) -> str:
    lines = [_element("caption", caption), *(part.strip() for part in parts if part.strip())]
    head = _element("style", style) + "\n\n" if style.strip() else ""
    return head + _block("image", lines)


def _assembler(inputs: Inputs) -> str:
    parts = [inputs.get(f"character_{number}", "") for number in range(1, 5)]
    return _assembled(
        [*parts, inputs.get("general_tags", "")], inputs.get("caption", ""), inputs.get("style_prefix", "")
    )


def _text_to_xml(inputs: Inputs) -> str:
    character = _block("character_1", _fields(inputs, CHARACTER, prefix="char1_"))
    return _assembled([character, _general(inputs)], inputs.get("caption", ""), inputs.get("style_prefix", ""))


def _combiner(inputs: Inputs) -> str:
    """Up to six characters, numbered anew."""
    parts = [inputs.get(f"char_{number}", "") for number in range(1, 7)]
    filled = [part for part in parts if part.strip()]
    return "\n".join(_NUMBER.sub(rf"\g<1>character_{number}>", part) for number, part in enumerate(filled, 1))


def _slots(inputs: Inputs) -> str:
    """`XML Assembler`: fragments in slots, general tags last, inside a document."""
    names = [f"{kind}_{number}" for kind in ("slot", "char_fragment") for number in range(1, SLOTS + 1)]
    parts = [inputs.get(name, "").strip() for name in (*names, "general_tags")]
    return _block("document", [part for part in parts if part])


BUILDERS: Mapping[str, Callable[[Inputs], str]] = {
    "NewBieCharacterBuilder": _character,
    "NewBieQuickCharacter": _quick_character,
    "NewBieGeneralTagsBuilder": _general,
    "NewBieXMLPromptAssembler": _assembler,
    "NewBieTextToXMLPrompt": _text_to_xml,
    "NewBieCharacterCombiner": _combiner,
    "Character Node": _named_character,
    "General Tag Builder": _general,
    "XML Assembler (slots)": _slots,
    "XML Assembler (up to 10 chars)": _slots,
}

"""What the editor asks the server: apply these edits to this text, and say what it now holds.

Promises: the text is the truth and is changed only where an edit says so (`newbie_ui.prompt.edit`); nothing is kept
between calls; whatever a browser sends is checked, and what cannot be used is left out of the edit, never an error
that loses the text. Muted characters stay in the text and are left out of what is generated.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from newbie_ui.errors import UserError
from newbie_ui.prompt import dice, edit, positions
from newbie_ui.prompt.budget import diet
from newbie_ui.prompt.cards import fields_for_slot
from newbie_ui.prompt.document import NAME_FIELDS, OFFICIAL_CHARACTER_FIELDS, OFFICIAL_GENERAL_FIELDS, new_character
from newbie_ui.prompt.reader import Element
from newbie_ui.prompt.taglist import key
from newbie_ui.prompt.xml import ParsedPrompt, parse
from newbie_ui.request import MAX_PROMPT_CHARS
from newbie_ui.ui import notes

MAX_OPS = 200
MAX_FIELD_NAME = 60
# Rows that a card shows even when the text lacks them: emptied, they leave the text.
STANDING = frozenset(OFFICIAL_CHARACTER_FIELDS + OFFICIAL_GENERAL_FIELDS)

Op = Mapping[str, Any]

EXAMPLE = """<character_1>
<n>$character_1$</n>
<gender>1girl</gender>
<appearance>chibi, blue_hair, long_hair, red_eyes</appearance>
<clothing>school_uniform, serafuku, blue_sailor_collar, blue_skirt</clothing>
<expression>smile</expression>
<action>standing</action>
<position>center_left</position>
</character_1>

<character_2>
<n>$character_2$</n>
<gender>1girl</gender>
<appearance>chibi, pink_hair, twintails, green_eyes</appearance>
<clothing>school_uniform, serafuku, red_sailor_collar, red_skirt</clothing>
<expression>open_mouth, smile</expression>
<action>waving</action>
<position>center_right</position>
</character_2>

<general_tags>
<count>2girls, multiple_girls</count>
<style>anime_style, digital_art</style>
<background>cherry_blossoms, outdoors, day</background>
<atmosphere>cheerful</atmosphere>
<quality>high_resolution, detailed</quality>
</general_tags>"""


@dataclass
class Draft:
    """A prompt while it is edited. `say` is a sentence for the person, `undo` offers to take the edit back."""

    text: str = ""
    negative: str | None = None
    muted: list[int] = field(default_factory=list)
    say: str = ""
    undo: bool = False
    vocabulary: Collection[str] = ()  # tags that the model in use knows

    @property
    def parsed(self) -> ParsedPrompt:
        return parse(self.text)


def draft(value: Any, vocabulary: Collection[str] = ()) -> Draft:
    """The editor's value as it comes from a browser, with its waiting edits made."""
    value = value if isinstance(value, Mapping) else {}
    text, negative = value.get("text"), value.get("negative")
    made = Draft(
        text=text[: 2 * MAX_PROMPT_CHARS] if isinstance(text, str) else "",
        negative=negative if isinstance(negative, str) else "",
        vocabulary=vocabulary,
    )
    muted = value.get("muted")
    made.muted = sorted({i for i in muted if isinstance(i, int) and 0 <= i < 64}) if isinstance(muted, list) else []
    pending = value.get("pending")
    for op in pending[:MAX_OPS] if isinstance(pending, list) else ():
        if isinstance(op, Mapping):
            change(made, op)
    return made


def change(made: Draft, op: Op) -> None:
    """Make one edit; one that does not fit the text (any more) changes nothing but `say`."""
    act = ACTS.get(str(op.get("op")))
    if act is None:
        return
    before = made.text
    try:
        act(made, op)
    except UserError as error:
        made.text, made.say = before, str(error)
        return
    if len(made.text) > 2 * MAX_PROMPT_CHARS:
        made.text, made.say = before, f"That would make the prompt longer than {MAX_PROMPT_CHARS} characters."


def effective(made: Draft) -> str:
    """The text that is generated: without the muted characters."""
    text = made.text
    for index in sorted(made.muted, reverse=True):
        if index < len(parse(text).characters):
            text = edit.remove_character(text, index)
    return text


# ---- edits ------------------------------------------------------------------------------------------------------


def _field(made: Draft, op: Op) -> None:
    block, name, value = str(op.get("block")), op.get("name"), op.get("value")
    if not isinstance(name, str) or len(name) > MAX_FIELD_NAME or not isinstance(value, str):
        return
    index = op.get("field") if isinstance(op.get("field"), int) else -1
    if block == "general":
        made.text = _set_general(made.parsed, index, name, value)
    elif block == "extra":
        made.text = edit.set_extra(made.text, name, value)
    elif block.startswith("character:") and block[10:].isdigit():
        made.text = _set_character(made.parsed, int(block[10:]), index, name, value)


def _set_character(parsed: ParsedPrompt, which: int, index: int, name: str, value: str) -> str:
    if which >= len(parsed.characters):
        return parsed.text
    fields = [(e.name, parsed.value((e.value_start, e.value_end))) for e in parsed.characters[which].elements]
    place = _place(fields, index, name)
    if place >= 0 and (value or name not in STANDING):
        return edit.replace_character(parsed, which, [*fields[:place], (name, value), *fields[place + 1 :]])
    if place < 0 and not value and name not in STANDING:
        return edit.replace_character(parsed, which, edit_insert(fields, name))
    return edit.update_character(parsed, which, {name: value})


def _set_general(parsed: ParsedPrompt, index: int, name: str, value: str) -> str:
    fields = list(parsed.prompt.general.fields)
    place = _place(fields, index, name)
    if len(parsed.generals) > 1 or (place >= 0 and not value and name in STANDING):
        return edit.update_general(parsed, {name: value})
    if place >= 0:
        return edit.set_general(parsed, [*fields[:place], (name, value), *fields[place + 1 :]])
    if not value and name not in STANDING:
        return edit.set_general(parsed, edit_insert(fields, name))
    return edit.update_general(parsed, {name: value})


def edit_insert(fields: Sequence[tuple[str, str]], name: str) -> list[tuple[str, str]]:
    """The fields with an empty one of this name where the usual order has it."""
    place = edit.insertion_index(tuple(key for key, _ in fields), name)
    return [*fields[:place], (name, ""), *fields[place:]]


def _place(fields: Sequence[tuple[str, str]], index: int, name: str) -> int:
    """Where the field meant stands now; -1 if there is none."""
    if 0 <= index < len(fields) and fields[index][0] == name:
        return index
    return next((i for i, (key, _) in enumerate(fields) if key == name), -1)


def _add(made: Draft, op: Op) -> None:
    count = len(made.parsed.characters)
    if count >= edit.MAX_CHARACTERS:
        made.say = f"{edit.MAX_CHARACTERS} characters are the most that the cards hold."
        return
    given = fields_for_slot(tuple(_pairs(op.get("fields"))), count + 1)
    if given:
        given = (("n", f"$character_{count + 1}$"),) * ("n" not in dict(given)) + given
    made.text = edit.add_character(made.text, given or new_character(count + 1, "1girl").fields)


def _pairs(value: Any) -> list[tuple[str, str]]:
    if not isinstance(value, list):
        return []
    good = [p for p in value if isinstance(p, list) and len(p) == 2 and all(isinstance(x, str) for x in p)]
    return [(name[:MAX_FIELD_NAME], text[:4000]) for name, text in good[:40]]


def _replace(made: Draft, op: Op) -> None:
    index, fields = _index(made, op), tuple(_pairs(op.get("fields")))
    if index is not None and fields:
        made.text = edit.replace_character(made.text, index, fields_for_slot(fields, index + 1))


def _remove(made: Draft, op: Op) -> None:
    index = _index(made, op)
    if index is not None:
        made.text = edit.remove_character(made.text, index)
        made.muted = [i - (i > index) for i in made.muted if i != index]
        made.say, made.undo = f"Character {index + 1} removed.", True


def _duplicate(made: Draft, op: Op) -> None:
    index = _index(made, op)
    if index is not None and len(made.parsed.characters) < edit.MAX_CHARACTERS:
        made.text = edit.duplicate_character(made.text, index)
        made.muted = [i + (i > index) for i in made.muted]


def _move(made: Draft, op: Op) -> None:
    index, to = _index(made, op), op.get("to")
    if index is None or not isinstance(to, int):
        return
    to = max(0, min(to, len(made.parsed.characters) - 1))
    made.text = edit.move_character(made.text, index, to)
    order = list(range(len(made.parsed.characters)))
    order.insert(to, order.pop(index))
    made.muted = sorted(order.index(i) for i in made.muted if i in order)


def _place_at(made: Draft, op: Op) -> None:
    index, column, depth = _index(made, op), op.get("column"), op.get("depth")
    if index is None or column not in range(len(positions.COLUMNS)) or depth not in range(len(positions.DEPTHS)):
        return
    value = made.parsed.prompt.characters[index].get("position")
    made.text = edit.update_character(
        made.text, index, {"position": positions.write(value, positions.Cell(column, depth))}
    )


def _index(made: Draft, op: Op) -> int | None:
    index = op.get("index")
    good = isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(made.parsed.characters)
    return index if good else None


def _text(made: Draft, op: Op) -> None:
    text = op.get("text")
    if isinstance(text, str):
        made.text = text
        made.muted = [i for i in made.muted if i < len(made.parsed.characters)]


def _example(made: Draft, op: Op) -> None:
    made.text, made.muted = example(made.vocabulary), []


def example(vocabulary: Collection[str] = ()) -> str:
    """Two characters to begin with, in tags that the model in use knows."""
    if not vocabulary:
        return EXAMPLE
    known = {key(tag) for tag in vocabulary}
    text = EXAMPLE
    for found in reversed(_tag_fields(parse(EXAMPLE))):
        tags = [tag.strip() for tag in EXAMPLE[found.value_start : found.value_end].split(",")]
        kept = ", ".join(tag for tag in tags if key(tag) in known)
        if kept:
            text = text[: found.value_start] + kept + text[found.value_end :]
        else:
            gone = edit.removal(text, found.start, found.end)
            text = text[: gone.start] + text[gone.end :]
    return text


def _tag_fields(parsed: ParsedPrompt) -> list[Element]:
    """All fields but names, in text order."""
    return [one for block in parsed.blocks for one in block.elements if one.name not in NAME_FIELDS]


def _dice(made: Draft, op: Op) -> None:
    """Other tags for some fields of a block: what belongs there, and what the model in use knows."""
    names, block = op.get("names"), str(op.get("block"))
    for name in names[:20] if isinstance(names, list) else ():
        if name in dice.FIELDS:
            now = _value_of(made.parsed, block, name)
            value = dice.roll(name, secrets.randbits(32), made.vocabulary, now)
            _field(made, {"block": block, "name": name, "value": value, "field": op.get("field")})


def _value_of(parsed: ParsedPrompt, block: str, name: str) -> str:
    if block == "general":
        return parsed.prompt.general.get(name)
    which = int(block[10:]) if block.startswith("character:") and block[10:].isdigit() else -1
    characters = parsed.prompt.characters
    return characters[which].get(name) if 0 <= which < len(characters) else ""


def _fix(made: Draft, op: Op) -> None:
    fixed = notes.fix(made.text, str(op.get("code")), str(op.get("message")), made.vocabulary)
    if fixed is not None:
        made.text = fixed


def _diet(made: Draft, op: Op) -> None:
    made.text = diet(made.text)


ACTS: dict[str, Callable[[Draft, Op], None]] = {
    "field": _field,
    "add": _add,
    "replace": _replace,
    "remove": _remove,
    "duplicate": _duplicate,
    "move": _move,
    "place": _place_at,
    "text": _text,
    "dice": _dice,
    "example": _example,
    "fix": _fix,
    "diet": _diet,
}


# ---- what the editor draws --------------------------------------------------------------------------------------


def slots(made: Draft) -> list[int]:
    """Card numbers of the characters that are generated."""
    return [i + 1 for i in range(len(made.parsed.characters)) if i not in made.muted]


def view(made: Draft) -> dict[str, Any]:
    """The text as cards: characters, general fields, and whatever else stands in it, in text order."""
    parsed = made.parsed
    spans = [(e.start, e.name, (e.value_start, e.value_end)) for e in parsed.elements]
    spans += [(start, "", (start, end)) for start, end in parsed.loose]
    extras: dict[str, str] = {}
    for _, name, span in sorted(spans):
        extras[name] = (
            f"{extras[name]}\n{parsed.value(span)}"
            if name in extras and not name
            else extras.get(name, parsed.value(span))
        )
    return {
        "characters": [
            {"name": c.name, "fields": _rows(c.fields), "cell": positions.read(c.get("position"))}
            for c in parsed.prompt.characters
        ],
        "general": _rows(parsed.prompt.general.fields),
        "extras": _rows(tuple(extras.items())),
        "max_characters": edit.MAX_CHARACTERS,
    }


def _rows(fields: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"index": i, "name": name, "value": value} for i, (name, value) in enumerate(fields)]


def utf16(text: str, offset: int) -> int:
    """An offset in characters as the browser counts it (UTF-16 units)."""
    return offset + sum(1 for c in text[:offset] if ord(c) > 0xFFFF)


def characters(text: str, offset: int) -> int:
    """A browser's offset (UTF-16 units) in characters, kept within the text."""
    if offset <= 0:
        return 0
    if text.isascii():
        return min(offset, len(text))
    return len(text.encode("utf-16-le", "surrogatepass")[: 2 * offset].decode("utf-16-le", "ignore"))

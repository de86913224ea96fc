"""Change one thing of a prompt text and leave every other character of it as it is.

Promises: each function takes a text (or its ParsedPrompt) and returns the new text. What the form does not know,
comments, order, spelling, line ends and free text survive. Adding, removing, copying or moving a character
renumbers the blocks from 1, with the placeholders (`$character_2$`) that follow them; a name is never replaced.
Does not know: whether a value holds markup of its own (`xml.has_markup` tells).

Characters are counted from 0, in text order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from newbie_ui.errors import PromptError
from newbie_ui.prompt.document import NAME_FIELDS, Fields, insertion_index, is_placeholder
from newbie_ui.prompt.spans import BlockSpan, Element
from newbie_ui.prompt.xml import ParsedPrompt, build_block, build_field, parse

MAX_CHARACTERS = 6  # what the form shows; texts may hold more

_REFERENCE = re.compile(r"(\$character[_ -])(\d{1,9})(\$)", re.IGNORECASE)
_BARE_PLACEHOLDER = re.compile(r"(\s*character[_ -]?)(\d{1,9})(\s*)", re.IGNORECASE)
_FRAME_KEY = re.compile(r'("character[_ -]?)(\d{1,9})(")', re.IGNORECASE)


class Edit(NamedTuple):
    """Put `text` in the place of the characters from start to end."""

    start: int
    end: int
    text: str


def apply(text: str, edits: Iterable[Edit]) -> str:
    """The text with all edits made. Positions are those of the given text; only deletions may overlap."""
    pieces, cursor = [], 0
    for edit in sorted(edits, key=lambda e: (e.start, e.end)):
        if edit.start < cursor and edit.text:
            raise ValueError(f"edits overlap at {edit.start}")
        pieces += [text[cursor : edit.start], edit.text]
        cursor = max(cursor, edit.end)
    return "".join([*pieces, text[cursor:]])


# ---- fields of a block


def update_character(prompt: str | ParsedPrompt, index: int, values: Mapping[str, str]) -> str:
    """Set these fields of one character, as a form does.

    Fields not named stay. An emptied field is taken out, an emptied name becomes the placeholder again; a new
    field goes where the usual order has it.
    """
    parsed = _parsed(prompt)
    block = _character(parsed, index)
    return _replace_fields(parsed, block, _updated(parsed, block, values, block.number or index + 1))


def replace_character(prompt: str | ParsedPrompt, index: int, fields: Iterable[tuple[str, str]]) -> str:
    """Make one character have exactly these fields; those that stay the same are not touched."""
    parsed = _parsed(prompt)
    return _replace_fields(parsed, _character(parsed, index), tuple(fields))


def update_general(prompt: str | ParsedPrompt, values: Mapping[str, str]) -> str:
    """Set these general tags, as a form does; the block is made if there is none."""
    parsed = _parsed(prompt)
    if parsed.generals:
        block = _general_with(parsed, values)
        return _replace_fields(parsed, block, _updated(parsed, block, values, 0))
    fields = tuple((name, value) for name, value in values.items() if value)
    return _append(parsed, build_block("general_tags", fields, newline_of(parsed.text))) if fields else parsed.text


def set_general(prompt: str | ParsedPrompt, fields: Iterable[tuple[str, str]]) -> str:
    """Make the first general block have exactly these fields."""
    parsed = _parsed(prompt)
    if not parsed.generals:
        return _append(parsed, build_block("general_tags", tuple(fields), newline_of(parsed.text)))
    return _replace_fields(parsed, parsed.generals[0], tuple(fields))


def _general_with(parsed: ParsedPrompt, values: Mapping[str, str]) -> BlockSpan:
    """The general block that holds one of these fields already, else the first."""
    wanted = set(values)
    return next((b for b in parsed.generals if wanted & {e.name for e in b.elements}), parsed.generals[0])


def _updated(parsed: ParsedPrompt, block: BlockSpan, values: Mapping[str, str], number: int) -> Fields:
    fields = [(e.name, parsed.value((e.value_start, e.value_end))) for e in block.elements]
    for name, value in values.items():
        names = [key for key, _ in fields]
        if block.kind == "character" and name == "n" and "n" not in names and "name" in names:
            name = "name"
        place = names.index(name) if name in names else -1
        if block.kind == "character" and name in NAME_FIELDS and not value.strip():
            if place >= 0 and not is_placeholder(fields[place][1]):
                fields[place] = (name, f"$character_{number}$")
        elif place >= 0 and value:
            fields[place] = (name, value)
        elif place >= 0:
            del fields[place]
        elif value:
            fields.insert(insertion_index(tuple(names), name), (name, value))
    return tuple(fields)


def _replace_fields(parsed: ParsedPrompt, block: BlockSpan, fields: Fields) -> str:
    text, old = parsed.text, block.elements
    matcher = SequenceMatcher(None, [e.name for e in old], [name for name, _ in fields], autojunk=False)
    edits: list[Edit] = []
    for operation, a0, a1, b0, b1 in matcher.get_opcodes():
        if operation == "equal":
            edits += [_value_edit(text, e, value) for e, (_, value) in zip(old[a0:a1], fields[b0:b1])]
            continue
        new = [build_field(name, value) for name, value in fields[b0:b1]]
        if operation == "insert":
            edits.append(_insertion(text, block, old[a0 - 1] if a0 else None, new))
        else:
            edits += _replacement(text, old[a0:a1], new)
    return apply(text, [edit for edit in edits if edit is not None])


def _value_edit(text: str, element: Element, value: str) -> Edit | None:
    if text[element.value_start : element.value_end] == value:
        return None
    if element.name and element.closed and element.value_end == element.end:  # <name/>
        return Edit(element.start, element.end, build_field(element.raw, value))
    return Edit(element.value_start, element.value_end, value)


def _replacement(text: str, old: Sequence[Element], new: list[str]) -> list[Edit]:
    """New fields in the place of old ones, one for one; what is left over of the old goes."""
    edits = [Edit(e.start, e.end, piece) for e, piece in zip(old, new)]
    if len(new) > len(old):
        between = _line_lead(text, old[-1].start)
        rest = "".join(("" if between is None else newline_of(text) + between) + piece for piece in new[len(old) :])
        edits[-1] = edits[-1]._replace(text=edits[-1].text + rest)
    return edits + [removal(text, e.start, e.end) for e in old[len(new) :]]


def _insertion(text: str, block: BlockSpan, after: Element | None, new: list[str]) -> Edit:
    newline = newline_of(text)
    if after is not None:
        lead = _line_lead(text, after.start)
        between = "" if lead is None else newline + lead
        return Edit(after.end, after.end, "".join(between + piece for piece in new))
    if not block.closed or block.close_start == block.open_end == block.end:
        return _into_bare_block(text, block, new)
    first = block.elements[0].start if block.elements else None
    lead = _line_lead(text, first if first is not None else block.start)
    if first is not None and lead is None:  # all on one line
        return Edit(block.open_end, block.open_end, "".join(new))
    lines = "".join(newline + (lead or "") + piece for piece in new)
    empty_line = first is None and not _has_newline(text[block.open_end : block.close_start])
    return Edit(block.open_end, block.open_end, lines + (newline if empty_line else ""))


def _into_bare_block(text: str, block: BlockSpan, new: list[str]) -> Edit:
    """Fields for a block without a close tag, or written as `<character_1/>`."""
    if not block.closed:
        return Edit(block.open_end, block.open_end, "".join(newline_of(text) + piece for piece in new))
    lines = newline_of(text).join([f"<{block.raw}>", *new, f"</{block.raw}>"])
    return Edit(block.start, block.end, lines)


# ---- whole characters


def add_character(prompt: str | ParsedPrompt, fields: Iterable[tuple[str, str]], at: int | None = None) -> str:
    """Put a new character before the one at this place, or after the last one."""
    parsed = _parsed(prompt)
    block = build_block("character_0", tuple(fields), newline_of(parsed.text))
    return renumber(_with_block(parsed, block, at))


def duplicate_character(prompt: str | ParsedPrompt, index: int) -> str:
    """Put a copy of a character after it."""
    parsed = _parsed(prompt)
    block = _character(parsed, index)
    return renumber(_with_block(parsed, parsed.text[block.start : block.end], index + 1))


def remove_character(prompt: str | ParsedPrompt, index: int) -> str:
    """Take one character out."""
    parsed = _parsed(prompt)
    block = _character(parsed, index)
    edits = [_block_removal(parsed.text, block)]
    for start, end in parsed.frames if block.number is not None else ():
        entry = rf'"character[_ -]?{block.number}"\s*:\s*\{{[^{{}}]*\}}\s*,?\s*'
        edits += [
            Edit(start + m.start(), start + m.end(), "")
            for m in re.finditer(entry, parsed.text[start:end], re.IGNORECASE)
        ]
    return renumber(apply(parsed.text, edits))


def move_character(prompt: str | ParsedPrompt, index: int, to: int) -> str:
    """Move one character to another place; what stands between the blocks stays where it is."""
    parsed = _parsed(prompt)
    _character(parsed, index)
    spans = parsed.characters
    order = list(range(len(spans)))
    order.insert(max(0, min(to, len(spans) - 1)), order.pop(index))
    text = parsed.text
    edits = [Edit(s.start, s.end, text[spans[i].start : spans[i].end]) for s, i in zip(spans, order) if spans[i] != s]
    return renumber(apply(text, edits))


def renumber(prompt: str | ParsedPrompt) -> str:
    """Number the character blocks 1, 2, 3 … in text order, in their own spelling, and their placeholders with them.

    Names stay. References from elsewhere (`$character_2$` in a caption) follow the first block of that number.
    """
    parsed = _parsed(prompt)
    text, edits = parsed.text, []
    new: dict[int, int] = {}
    for place, block in enumerate(parsed.characters, 1):
        if block.number is not None:
            new.setdefault(block.number, place)
    taken: list[tuple[int, int]] = []
    for place, block in enumerate(parsed.characters, 1):
        if block.numbered:
            edits += _tag_edits(text, block, place)
        own = {**new, block.number: place} if block.number is not None else new
        edits += _references(text, block.open_end, block.close_start, own)
        edits += _bare_placeholders(text, block, own, place)
        taken.append((block.start, block.end))
    cursor = 0
    for start, end in [*taken, (len(text), len(text))]:
        edits += _references(text, cursor, start, new)
        cursor = end
    for start, end in parsed.frames:
        edits += _references(text, start, end, new, _FRAME_KEY)
    return apply(text, edits)


def _tag_edits(text: str, block: BlockSpan, place: int) -> list[Edit]:
    bare = re.sub(r"\d+$", "", block.raw)
    raw = f"{bare if bare[-1] in '_- ' or bare != block.raw else bare + '_'}{place}"
    edits = [Edit(block.start + 1, block.start + 1 + len(block.raw), raw)] if raw != block.raw else []
    if block.end > block.close_start and text[block.close_start : block.end] != f"</{raw}>":
        written = text[block.close_start + 2 : block.end - 1]
        if written.strip().lower().replace(" ", "_") != raw.lower().replace(" ", "_"):
            edits.append(Edit(block.close_start, block.end, f"</{raw}>"))
    return edits


def _references(text: str, start: int, end: int, new: Mapping[int, int], pattern=_REFERENCE) -> list[Edit]:
    return [
        Edit(start + m.start(2), start + m.end(2), str(new[int(m[2])]))
        for m in pattern.finditer(text[start:end])
        if int(m[2]) in new and new[int(m[2])] != int(m[2])
    ]


def _bare_placeholders(text: str, block: BlockSpan, new: Mapping[int, int], place: int) -> list[Edit]:
    """`<n>character_2</n>` without dollars."""
    edits = []
    for element in block.elements:
        match = _BARE_PLACEHOLDER.fullmatch(text[element.value_start : element.value_end])
        if element.name in NAME_FIELDS and match and block.numbered and int(match[2]) == block.number != place:
            edits.append(Edit(element.value_start + match.start(2), element.value_start + match.end(2), str(place)))
    return edits


# ---- beside the blocks


def set_extra(prompt: str | ParsedPrompt, name: str, value: str) -> str:
    """Set a top-level element such as `caption`, or the free text (name ""); an empty value takes it out.

    An element of this name inside the general tags is changed there. Several pieces of free text become one.
    """
    parsed = _parsed(prompt)
    text = parsed.text
    if not name:
        spans = [Edit(start, end, "") for start, end in parsed.loose]
        if spans and value:
            return apply(text, [spans[0]._replace(text=value), *(removal(text, s.start, s.end) for s in spans[1:])])
        if spans:
            return apply(text, [removal(text, s.start, s.end) for s in spans])
        return _append(parsed, value) if value else text
    element = next((e for e in parsed.elements if e.name == name), None)
    if element is not None:
        edit = _value_edit(text, element, value) if value else removal(text, element.start, element.end)
        return apply(text, [edit] if edit else [])
    if any(e.name == name for block in parsed.generals for e in block.elements):
        return update_general(parsed, {name: value})
    return _append(parsed, build_field(name, value)) if value else text


def set_system(prompt: str | ParsedPrompt, system: str) -> str:
    """Put this system prompt in front instead of the one that is there; "" takes it out."""
    parsed = _parsed(prompt)
    rest = parsed.text[parsed.system_end :]
    if not system:
        return rest.lstrip() if parsed.system_end else rest
    return system + (rest if not rest or rest[0].isspace() else newline_of(rest) + rest)


# ---- lines


def removal(text: str, start: int, end: int) -> Edit:
    """Take out text[start:end], with its line if nothing else stands on it."""
    lead = _line_lead(text, start)
    if lead is None:
        return Edit(start, end, "")
    after = re.compile(r"[ \t]*(\r\n|\r|\n|$)").match(text, end)
    if not after:
        return Edit(start, end, "")
    first = start - len(lead)
    if not after[1] and first > 0:  # last line: take the line end before it instead
        first -= 2 if text[:first].endswith("\r\n") else 1
    return Edit(first, after.end(), "")


def _block_removal(text: str, block: BlockSpan) -> Edit:
    rest = text[block.end :]
    after = block.end + len(rest) - len(rest.lstrip())
    if after < len(text):
        return Edit(block.start, after, "")
    return Edit(len(text[: block.start].rstrip()), block.end, "")


def _with_block(parsed: ParsedPrompt, block: str, at: int | None) -> str:
    text, gap = parsed.text, newline_of(parsed.text) * 2
    spans = parsed.characters
    if spans and (at is None or at >= len(spans)):
        return apply(text, [Edit(spans[-1].end, spans[-1].end, gap + block)])
    before = spans[at or 0] if spans else next(iter(parsed.generals), None)
    if before is not None:
        return apply(text, [Edit(before.start, before.start, block + gap)])
    return _append(parsed, block)


def _append(parsed: ParsedPrompt, piece: str) -> str:
    """Put a piece at the end, after a blank line, before the trailing white space."""
    text = parsed.text
    body = text.rstrip()
    if not body:
        return piece + text
    return body + newline_of(text) * 2 + piece + text[len(body) :]


def _line_lead(text: str, position: int) -> str | None:
    """White space before the position on its line; None if something else stands there."""
    start = max(text.rfind("\n", 0, position), text.rfind("\r", 0, position)) + 1
    lead = text[start:position]
    return lead if not lead.strip() else None


def newline_of(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\r" if "\r" in text and "\n" not in text else "\n"


def _has_newline(text: str) -> bool:
    return "\n" in text or "\r" in text


def _parsed(prompt: str | ParsedPrompt) -> ParsedPrompt:
    return parse(prompt) if isinstance(prompt, str) else prompt


def _character(parsed: ParsedPrompt, index: int) -> BlockSpan:
    if not 0 <= index < len(parsed.characters):
        raise PromptError(f"There is no character {index + 1}: the prompt has {len(parsed.characters)}.")
    return parsed.characters[index]

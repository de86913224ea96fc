"""The lint rules that look at single tags: place, contradiction, wrong field, twice, parentheses, separators.

Part of `lint.py`. Names and prose (caption) are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from newbie_ui.prompt import edit
from newbie_ui.prompt.document import NAME_FIELDS, PROSE_FIELDS
from newbie_ui.prompt.edit import Edit, apply
from newbie_ui.prompt.knowledge import WORDS, contradictions, homes
from newbie_ui.prompt.positions import Cell, read, spread, tag, write
from newbie_ui.prompt.report import Finding, Fix, Report, label_of
from newbie_ui.prompt.spans import BlockSpan, Element
from newbie_ui.prompt.taglist import Item, is_prose, items, joined, without
from newbie_ui.prompt.tags import normalise
from newbie_ui.prompt.xml import parse

_WORD = re.compile(r"[^\W\d_]{2}")
_EMPTY_ITEM = re.compile(r"[,，][ \t]*(?=[,，])|^[ \t]*[,，]|[,，][ \t]*$")
_ANYWHERE = ("other", "extra_tags", "danbooru_tags", "e621_tags")


def tag_findings(report: Report, model_vocabulary: Collection[str]) -> Iterator[Finding]:
    for block in report.parsed.blocks:
        fields = [(e, items(report.text, e.value_start, e.value_end)) for e in block.elements if _is_tags(report, e)]
        for name in (e for e in block.elements if e.name in NAME_FIELDS):
            yield from _parentheses(report, name)
        yield from _twice(report, fields)
        yield from _contradictory(report, fields)
        for element, found in fields:
            yield from _wrong_field(report, block, element, found)
            yield from _parentheses(report, element)
            yield from _separators(report, element)
    for element in report.parsed.elements:
        if _is_tags(report, element):
            yield from _parentheses(report, element)
    yield from _same_place(report)
    if model_vocabulary:
        yield from _unknown_to_model(report, {normalise(name) for name in model_vocabulary})


def _is_tags(report: Report, element: Element) -> bool:
    return bool(element.name) and element.name not in NAME_FIELDS + PROSE_FIELDS and not is_prose(report.value(element))


def _remove(report: Report, found: list[Item], index: int) -> str:
    return apply(report.text, [Edit(*without(report.text, found, index), "")])


def _twice(report: Report, fields: list[tuple[Element, list[Item]]]) -> Iterator[Finding]:
    seen: set[str] = set()
    for _, found in fields:
        for i, item in enumerate(found):
            if item.key in seen:
                name = report.text[item.start : item.end]
                message = f"{report.shortened(name)} is there twice. Once is enough."
                fix = Fix(f"Remove the second {report.shortened(name)}", _remove(report, found, i))
                yield report.finding("duplicate_tag", "hint", message, item.start, item.end, fix)
            seen.add(item.key)


def _contradictory(report: Report, fields: list[tuple[Element, list[Item]]]) -> Iterator[Finding]:
    flat = [(found, i, item) for _, found in fields for i, item in enumerate(found)]
    for earlier, later in contradictions([item.key for _, _, item in flat]):
        first, (found, i, item) = flat[earlier][2], flat[later]
        words = [report.text[one.start : one.end] for one in (first, item)]
        message = f"{words[0]} and {words[1]} contradict each other. Keep one."
        fix = Fix(f"Remove {words[1]}", _remove(report, found, i))
        yield report.finding("contradiction", "warning", message, item.start, item.end, fix)


# ---- fields


def _wrong_field(report: Report, block: BlockSpan, element: Element, found: list[Item]) -> Iterator[Finding]:
    if element.name in _ANYWHERE:
        return
    for i, item in enumerate(found):
        home = homes(item.key)
        if not home or element.name in home or not _looked_at(element.name):
            continue
        name = report.text[item.start : item.end]
        message = f"{name} is {WORDS.get(home[0], home[0])}, not {WORDS.get(element.name, element.name)}."
        yield report.finding(
            "wrong_field", "warning", message, item.start, item.end, _move(report, block, home, found, i)
        )


def _looked_at(name: str) -> bool:
    """Only fields whose meaning is narrow; an unknown element may hold anything."""
    return name in {"gender", "appearance", "clothing", "expression", "action", "position"} | {
        "count",
        "style",
        "background",
        "quality",
    }


def _move(report: Report, block: BlockSpan, home: tuple[str, ...], found: list[Item], index: int) -> Fix | None:
    """Take the tag out and put it where it belongs: in the same card, the general tags, or the only card."""
    own_fields = {"appearance", "clothing", "expression", "action", "position", "gender", "interaction", "body_type"}
    to_character = home[0] in own_fields or (block.kind == "character" and "gender" in home and home[0] != "count")
    name = report.text[found[index].start : found[index].end]
    cards = report.parsed.characters
    card = cards.index(block) if block.kind == "character" else 0 if len(cards) == 1 else None
    if to_character and card is None:
        return None
    text = _remove(report, found, index)
    parsed = parse(text)
    if to_character:
        value = parsed.prompt.characters[card].get(home[0])
        new = tag(read(name) or Cell(3)) if home[0] == "position" and not value.strip() else joined(value, [name])
        return Fix(f"Move to {home[0]}", edit.update_character(parsed, card, {home[0]: new}))
    value = parsed.prompt.general.get(home[0])
    return Fix(f"Move to {home[0]}", edit.update_general(parsed, {home[0]: joined(value, [name])}))


def _same_place(report: Report) -> Iterator[Finding]:
    """Two characters whose position tags name one cell."""
    cards = report.parsed.characters
    spans = [next((e for e in block.elements if e.name == "position"), None) for block in cards]
    cells = [read(report.value(span)) if span else None for span in spans]
    for i, cell in enumerate(cells):
        first = cells.index(cell) if cell else i
        if first < i:
            free = _free_cell(cells, cell, len(cards))
            names = f"{label_of(report.parsed, first)} and {label_of(report.parsed, i)}"
            place = report.value(spans[i]).strip()
            message = f"{names[0].upper()}{names[1:]} stand at one place ({place}). Move one of them."
            fix = None
            if free is not None:
                new = write(report.value(spans[i]), free)
                edits = [Edit(spans[i].value_start, spans[i].value_end, new)]
                fix = Fix(f"Move {label_of(report.parsed, i)} to {tag(free)}", apply(report.text, edits))
            yield report.finding("same_place", "warning", message, spans[i].value_start, spans[i].value_end, fix)


def _free_cell(cells: list[Cell | None], cell: Cell, count: int) -> Cell | None:
    """The nearest free column of the same depth, one of the usual places first."""
    taken = {c for c in cells if c}
    usual = {c.column for c in spread(count)}
    columns = sorted(range(7), key=lambda column: (column not in usual, abs(column - cell.column), -column))
    return next((Cell(c, cell.depth) for c in columns if Cell(c, cell.depth) not in taken), None)


# ---- characters of the text


def _parentheses(report: Report, element: Element) -> Iterator[Finding]:
    """Escaped and weight parentheses are counted apart; emoticons are left alone."""
    for pattern, opening, closing, start, end in _ranges(report, element):
        depth, first_open = 0, -1
        for match in pattern.finditer(report.text, start, end):
            depth += 1 if match[0].endswith("(") else -1
            if depth == 1 and match[0].endswith("("):
                first_open = match.start()
            if depth < 0:
                fix = Fix(f"Remove {closing}", apply(report.text, [Edit(match.start(), match.end(), "")]))
                message = f"{closing} closes nothing. Remove it, or add {opening}."
                yield report.finding("parentheses", "warning", message, match.start(), match.end(), fix)
                return
        if depth > 0:
            at = end if opening == "\\(" else _weight_end(report.text, element, first_open)
            fix = Fix(f"Add {closing}", apply(report.text, [Edit(at, at, closing * depth)]))
            message = f"{opening} is not closed. Add {closing}."
            yield report.finding("parentheses", "warning", message, first_open, first_open + len(opening), fix)
            return


def _weight_end(text: str, element: Element, opened: int) -> int:
    """Where a weight that was opened here should close: behind its number, else behind the tag it stands in."""
    found = [item for item in items(text, element.value_start, element.value_end) if item.end > opened]
    return next((item.end for item in found if _WEIGHT.search(text, item.start, item.end)), found[0].end)


def _ranges(report: Report, element: Element) -> Iterator[tuple[re.Pattern, str, str, int, int]]:
    """Escaped ones must close within their tag; weights may hold several tags."""
    text = report.text
    words = [
        item
        for item in items(text, element.value_start, element.value_end)
        if _WORD.search(text[item.start : item.end])
    ]
    for item in words:
        yield _ESCAPED, "\\(", "\\)", item.start, item.end
    if words and not _has_emoticon(text, element):
        yield _PLAIN, "(", ")", words[0].start, words[-1].end


_ESCAPED = re.compile(r"\\[()]")
_PLAIN = re.compile(r"(?<!\\)[()]")
_WEIGHT = re.compile(r":\d*\.?\d+$")
_EMOTICON = re.compile(r"[:;=xX>8\-o^'\"][()]|[()][\-:;=o^<_]")


def _has_emoticon(text: str, element: Element) -> bool:
    return bool(_EMOTICON.search(text, element.value_start, element.value_end))


def _separators(report: Report, element: Element) -> Iterator[Finding]:
    """Commas with nothing between them, or at the ends."""
    value = report.value(element)
    match = _EMPTY_ITEM.search(value)
    if match and items(value):
        start = element.value_start + match.start()
        new = _tidy(value)
        fix = Fix("Remove the empty tags", apply(report.text, [Edit(element.value_start, element.value_end, new)]))
        message = f"A comma in <{element.raw}> has no tag beside it."
        yield report.finding("empty_tag", "hint", message, start, start + 1, fix)


def _tidy(value: str) -> str:
    value = re.sub(r"([,，])(?:[ \t]*[,，])+", r"\1", value)
    return re.sub(r"^([ \t]*)[,，][ \t]*|[,，]([ \t]*)$", r"\1\2", value)


def _unknown_to_model(report: Report, known: set[str]) -> Iterator[Finding]:
    """Tags that the model in use was never shown, one note a block."""
    for block in report.parsed.blocks:
        strange = [
            item
            for element in block.elements
            if _is_tags(report, element)
            for item in items(report.text, element.value_start, element.value_end)
            if item.key not in known
        ]
        if strange:
            names = ", ".join(report.text[i.start : i.end] for i in strange[:5]) + (" …" if len(strange) > 5 else "")
            message = f"The model in use does not know {names}."
            yield report.finding("unknown_to_model", "hint", message, strange[0].start, strange[-1].end)

"""What is probably not meant in a prompt, with its place and, where one is sure, a fix.

Promises: never raises for text, never changes it; each finding has a code that `docs/prompt.md` explains. A fix
holds the whole new text, so applying it is one assignment and undoing it another; after a fix its finding is gone.
Does not know: whether the picture will be good. Every finding is advice: no prompt is refused here.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from itertools import islice

from newbie_ui.prompt import edit
from newbie_ui.prompt.document import (
    CHARACTER_FIELDS,
    GENERAL_FIELDS,
    KNOWN_FIELDS,
    NAME_FIELDS,
    PROSE_FIELDS,
    TOP_FIELDS,
)
from newbie_ui.prompt.edit import Edit, apply
from newbie_ui.prompt.knowledge import character_field, general_field
from newbie_ui.prompt.lint_tags import tag_findings
from newbie_ui.prompt.report import Finding, Fix, Report, label_of
from newbie_ui.prompt.spans import BlockSpan, Element
from newbie_ui.prompt.taglist import is_prose, items, joined
from newbie_ui.prompt.tags import meaning
from newbie_ui.prompt.xml import ParsedPrompt, Problem, parse

MAX_FINDINGS = 100
SEVERITIES = ("error", "warning", "hint")

_ERRORS = ("unclosed", "wrong_close", "duplicate_number", "cut_tag")
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|#39|#x27);")
_LORA = re.compile(r"<lora:[^<>\n]{1,200}>", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\s*\$?character[_ -](\d{1,9})\$?\s*", re.IGNORECASE)
_REFERENCE = re.compile(r"\$character[_ -](\d{1,9})\$", re.IGNORECASE)
_COUNT = re.compile(r"(\d{1,3})(\+?) ?(girl|boy|other)s?")
_MULTIPLE = ("solo", "multiple girls", "multiple boys", "multiple others")


def lint(prompt: str | ParsedPrompt, model_vocabulary: Collection[str] = ()) -> tuple[Finding, ...]:
    """All findings, in text order.

    Args:
        prompt: the text, or its ParsedPrompt.
        model_vocabulary: tags that the model in use knows; empty means any.
    """
    parsed = parse(prompt) if isinstance(prompt, str) else prompt
    report = Report(parsed)
    found: list[Finding] = []
    for rule in (_problems, _elements, _outside, _numbering, _references, _count, _loose, _literal, _braces):
        found += islice(rule(report), MAX_FINDINGS)
    found += islice(tag_findings(report, model_vocabulary), MAX_FINDINGS)
    found.sort(key=lambda finding: (finding.start, SEVERITIES.index(finding.severity)))
    return tuple(found[:MAX_FINDINGS])


# ---- structure


def _problems(report: Report) -> Iterator[Finding]:
    """What the parser found, with a repair."""
    for problem in report.parsed.problems:
        severity = "error" if problem.code in _ERRORS else "warning"
        yield report.finding(
            problem.code, severity, problem.message, problem.start, problem.end, _repair(report, problem)
        )


def _repair(report: Report, problem: Problem) -> Fix | None:
    text, parsed = report.text, report.parsed
    if problem.code == "duplicate_number":
        return Fix("Renumber the characters", edit.renumber(parsed))
    if problem.code in ("stray_close", "late_start"):
        return Fix(
            f"Remove {text[problem.start : problem.end]}", apply(text, [edit.removal(text, problem.start, problem.end)])
        )
    if problem.code == "second_general":
        return Fix("Put them together", _merged_generals(report))
    if problem.code == "cut_tag":
        return Fix("Add >", apply(text, [Edit(problem.end, problem.end, ">")]))
    for block in parsed.blocks:
        if problem.code == "unclosed" and block.start == problem.start:
            close = f"</{block.raw}>"
            return Fix(f"Add {close}", apply(text, [Edit(block.end, block.end, edit.newline_of(text) + close)]))
        if problem.code == "wrong_close" and block.close_start == problem.start:
            return Fix(f"Write </{block.raw}>", apply(text, [Edit(problem.start, problem.end, f"</{block.raw}>")]))
    for element in (*parsed.elements, *(e for block in parsed.blocks for e in block.elements)):
        if problem.code == "unclosed" and element.start == problem.start and not element.closed:
            return Fix(f"Add </{element.raw}>", apply(text, [Edit(element.end, element.end, f"</{element.raw}>")]))
        if problem.code == "wrong_close" and element.value_end == problem.start:
            return Fix(f"Write </{element.raw}>", apply(text, [Edit(problem.start, problem.end, f"</{element.raw}>")]))
    return None


def _merged_generals(report: Report) -> str:
    first, *others = report.parsed.generals
    fields = [(e.name, report.value(e)) for block in (first, *others) for e in block.elements]
    merged: dict[str, str] = {}
    for name, value in fields:
        merged[name] = _added(name, merged.get(name, ""), value)
    removals = [edit.removal(report.text, block.start, block.end) for block in others]
    return edit.set_general(apply(report.text, removals), merged.items())


def _elements(report: Report) -> Iterator[Finding]:
    """Unknown elements, elements in the wrong block, and the same element twice in a block."""
    for block in report.parsed.blocks:
        known, other = _fields_of(block.kind)
        seen: dict[str, Element] = {}
        for element in block.elements:
            if not element.name:
                yield _loose_in_block(report, block, element)
            elif element.name in seen:
                yield _twice(report, block, seen[element.name], element)
            elif element.name not in known:
                yield _unknown(report, element, block, known, other)
            seen.setdefault(element.name, element)


def _fields_of(kind: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    pair = (CHARACTER_FIELDS, GENERAL_FIELDS)
    return pair if kind == "character" else pair[::-1]


def _unknown(report: Report, element: Element, block: BlockSpan, known: tuple, other: tuple) -> Finding:
    where = "general tags" if block.kind == "general" else "a character"
    place = element.start, element.value_start
    if element.name in other:
        there = "the general tags" if block.kind == "character" else "a character"
        message = f"<{element.raw}> belongs to {there}, not to {where}."
        fix = _into_block(report, element, own=block.kind == "general")
        return report.finding("misplaced_element", "warning", message, *place, fix)
    close = get_close_matches(element.name, known, 1, 0.8)
    if not close:
        name = _field_for(block, report.value(element))
        message = f"<{element.raw}> is not an element that NewBie was shown. It stays in the prompt as it is."
        fix = Fix(f"Move to {name}", _renamed(report, block, element, name))
        return report.finding("unknown_element", "hint", message, *place, fix)
    message = f"<{element.raw}> is not known. <{close[0]}> is probably meant."
    fix = Fix(f"Write <{close[0]}>", _renamed(report, block, element, close[0]))
    return report.finding("unknown_element", "warning", message, *place, fix)


def _field_for(block: BlockSpan, value: str) -> str:
    """The field of this block where a value belongs, by its first tag; appearance or other if that is not known."""
    field_of = character_field if block.kind == "character" else general_field
    return next((field_of(item.key) for item in items(value)), field_of(""))


def _renamed(report: Report, block: BlockSpan, element: Element, name: str) -> str:
    """The text with the element's value in the field `name` of its block: in its place, or added to the one there."""
    value = report.value(element).strip(" ,，\r\n\t")
    same = next((e for e in block.elements if e.name == name), None)
    gone = edit.removal(report.text, element.start, element.end)
    if same is None:
        return apply(report.text, [Edit(element.start, element.end, edit.build_field(name, value)) if value else gone])
    more = _added(name, report.value(same), value)
    edits = [Edit(same.value_start, same.value_end, more), gone]
    if same.value_end == same.end and same.closed:  # <name/>
        edits[0] = Edit(same.start, same.end, edit.build_field(same.raw, more))
    return apply(report.text, edits)


def _twice(report: Report, block: BlockSpan, first: Element, second: Element) -> Finding:
    message = f"<{second.raw}> is there twice in one block. Put both into one."
    fix = Fix("Put them together", _renamed(report, block, second, first.name))
    return report.finding("duplicate_element", "warning", message, second.start, second.value_start, fix)


def _loose_in_block(report: Report, block: BlockSpan, element: Element) -> Finding:
    fields = _by_field(block, report.value(element))
    names = ", ".join(f"<{name}>" for name in fields)
    words = report.shortened(report.value(element).strip(" ,，"))
    message = f"“{words}” stands in the block without an element. Put it into {names}."
    fix = Fix(f"Move to {', '.join(fields)}", _with_fields(report, block, element, fields))
    return report.finding("loose_text", "warning", message, element.start, element.end, fix)


def _by_field(block: BlockSpan, value: str) -> dict[str, str]:
    """A value's tags by the fields of this block where they belong; a sentence goes into one field as it is."""
    if is_prose(value) or not items(value):
        return {_field_for(block, ""): value.strip(" ,，\r\n\t")}
    found: dict[str, str] = {}
    for item in items(value):
        tag = value[item.start : item.end]
        name = _field_for(block, tag)
        found[name] = f"{found[name]}, {tag}" if name in found else tag
    return found


def _with_fields(report: Report, block: BlockSpan, element: Element, fields: dict[str, str]) -> str:
    """The text with these values added to the block's fields, and without the element."""
    if len(fields) == 1:
        return _renamed(report, block, element, next(iter(fields)))
    rest = parse(apply(report.text, [edit.removal(report.text, element.start, element.end)]))
    own = block.kind == "character"
    blocks = rest.prompt.characters if own else (rest.prompt.general,)
    place = report.parsed.characters.index(block) if own else 0
    added = {name: _added(name, blocks[place].get(name), value) for name, value in fields.items()}
    return edit.update_character(rest, place, added) if own else edit.update_general(rest, added)


def _outside(report: Report) -> Iterator[Finding]:
    """Fields of a character or of the general tags that stand beside the blocks."""
    for element in report.parsed.elements:
        if element.name not in KNOWN_FIELDS or element.name in TOP_FIELDS:
            continue
        own = element.name in CHARACTER_FIELDS
        where = "a character block" if own else "<general_tags>"
        message = f"<{element.raw}> stands outside the blocks. It belongs into {where}."
        yield report.finding(
            "element_outside", "warning", message, element.start, element.value_start, _into_block(report, element, own)
        )


def _into_block(report: Report, element: Element, own: bool) -> Fix | None:
    """General fields go to the general tags; a character's to the only card, or with their like into a new one."""
    cards = report.parsed.characters
    beside = [e for e in report.parsed.elements if (e.name in CHARACTER_FIELDS) == own and e.name in KNOWN_FIELDS]
    moved = beside if own and not cards and element in beside else [element]
    fields = [(e.name, report.value(e)) for e in moved]
    rest = apply(report.text, [edit.removal(report.text, e.start, e.end) for e in moved])
    if not own:
        value = _added(element.name, parse(rest).prompt.general.get(element.name), report.value(element))
        return Fix("Move to general tags", edit.update_general(rest, {element.name: value}))
    if not cards:
        return Fix("Make it a character", edit.add_character(rest, fields))
    left = parse(rest).prompt.characters  # a block named in its own way is a character only by the fields it holds
    if len(cards) == len(left) == 1:
        value = _added(element.name, left[0].get(element.name), report.value(element))
        return Fix("Move to the character", edit.update_character(rest, 0, {element.name: value}))
    return None


def _added(name: str, old: str, value: str) -> str:
    """A value with another one's tags added, or its sentences; the other one as it is where there was none."""
    if not old.strip():
        return value
    if name in PROSE_FIELDS or is_prose(old) or is_prose(value):
        return f"{old.rstrip()} {value.strip()}"
    return joined(old, [value[item.start : item.end] for item in items(value)])


def _numbering(report: Report) -> Iterator[Finding]:
    """Block numbers that are not 1, 2, 3 …, and placeholder names that say another number than their block."""
    characters = [block for block in report.parsed.characters if block.numbered]
    numbers = [block.number for block in characters]
    duplicate = len(set(numbers)) < len(numbers)
    wrong = next((i for i, number in enumerate(numbers, 1) if number != i), None)
    if wrong and not duplicate:
        block = characters[wrong - 1]
        message = f"<{block.raw}> is character {wrong} in the text. Number the characters from 1 without gaps."
        fix = Fix("Renumber the characters", edit.renumber(report.parsed))
        yield report.finding("numbering", "warning", message, block.start, block.open_end, fix)
    for block in characters:
        for element in block.elements:
            match = _PLACEHOLDER.fullmatch(report.value(element)) if element.name in NAME_FIELDS else None
            if match and block.number is not None and int(match[1]) != block.number:
                name = f"$character_{block.number}$"
                message = f"The name {match[0].strip()} stands in <{block.raw}>. Write {name}."
                new = apply(report.text, [Edit(element.value_start, element.value_end, name)])
                yield report.finding(
                    "name_number", "warning", message, element.value_start, element.value_end, Fix(f"Write {name}", new)
                )


def _references(report: Report) -> Iterator[Finding]:
    """`$character_3$` where there is no character 3."""
    numbers = {block.number for block in report.parsed.characters}
    names = {
        (e.value_start, e.value_end) for b in report.parsed.characters for e in b.elements if e.name in NAME_FIELDS
    }
    for match in _REFERENCE.finditer(report.text):
        inside_name = any(start <= match.start() < end for start, end in names)
        if numbers and int(match[1]) not in numbers and not inside_name:
            message = f"{match[0]} speaks of character {match[1]}, who is not there."
            yield report.finding("reference", "warning", message, match.start(), match.end())


# ---- count


def _count(report: Report) -> Iterator[Finding]:
    """The count tags against the cards."""
    cards = report.parsed.prompt.characters
    if not cards:
        return
    have = _genders(cards)
    element = next((e for b in report.parsed.generals for e in b.elements if e.name == "count"), None)
    value = report.value(element) if element else ""
    stated = _stated(value)
    wanted = _count_tags(have, len(cards))
    if not stated:
        message = f"The general tags state no count; the cards hold {len(cards)}."
        start, end = (element.start, element.end) if element else _end_of_blocks(report)
        if wanted:
            new = joined(", ".join(wanted), _rest(value))
            fix = Fix(f"Set {_told(wanted)}", edit.update_general(report.parsed, {"count": new}))
            yield report.finding("count_missing", "hint", message, start, end, fix)
        return
    keys = {meaning(item.key) for item in items(value)}
    alone = "solo" in keys and len(cards) > 1
    total_wrong = sum(stated.values()) != len(cards) and not _at_least(value, len(cards))
    kinds_wrong = sum(have.values()) == len(cards) and stated != have and not _at_least(value, len(cards))
    if total_wrong or kinds_wrong or alone:
        told = [value[i.start : i.end] for i in items(value) if _COUNT.fullmatch(meaning(i.key))]
        said = " and ".join(told) if told and (total_wrong or kinds_wrong) else "solo"
        message = f"Count says {said}, the cards hold {' and '.join(wanted[: len(have) or 1]) or len(cards)}."
        new = ", ".join([*wanted, *_rest(value)])
        fix = Fix(f"Set {_told(wanted)}", edit.update_general(report.parsed, {"count": new})) if wanted else None
        yield report.finding("count_mismatch", "warning", message, element.value_start, element.value_end, fix)


def _genders(cards) -> Counter:
    """How many girls, boys and others the cards state."""
    found: Counter[str] = Counter()
    for card in cards:
        match = re.search(r"girl|boy|other|woman|man|female|male", card.get("gender").lower())
        word = match[0] if match else ""
        kind = {"woman": "girl", "female": "girl", "man": "boy", "male": "boy"}.get(word, word)
        found.update([kind] if kind else [])
    return found


def _stated(value: str) -> Counter:
    found: Counter[str] = Counter()
    for item in items(value):
        match = _COUNT.fullmatch(meaning(item.key))
        if match:
            found[match[3]] += int(match[1])
    if not found and "solo" in {meaning(item.key) for item in items(value)}:
        found["girl"] = 1
    return found


def _at_least(value: str, cards: int) -> bool:
    """`6+girls` covers any number from 6 on."""
    return any(m and m[2] and cards >= int(m[1]) for m in (_COUNT.fullmatch(meaning(i.key)) for i in items(value)))


def _count_tags(have: Counter, cards: int) -> list[str]:
    if sum(have.values()) != cards:
        return []
    tags = []
    for kind in ("girl", "boy", "other"):
        number = have[kind]
        if number:
            tags.append(f"{number}{kind}{'s' * (number > 1)}" if number < 6 else f"6+{kind}s")
    return tags + [f"multiple_{kind}s" for kind in ("girl", "boy", "other") if have[kind] > 1]


def _told(tags: list[str]) -> str:
    """The count tags that say how many, for a button."""
    return ", ".join(tag for tag in tags if _COUNT.fullmatch(tag))


def _rest(value: str) -> list[str]:
    found = [(item, meaning(item.key)) for item in items(value)]
    return [value[i.start : i.end] for i, key in found if not _COUNT.fullmatch(key) and key not in _MULTIPLE]


def _end_of_blocks(report: Report) -> tuple[int, int]:
    block = (report.parsed.generals or report.parsed.characters[-1:])[0]
    return block.start, block.open_end


# ---- text that is not markup


def _loose(report: Report) -> Iterator[Finding]:
    """Free text beside the blocks."""
    if not report.parsed.blocks:
        return
    for start, end in report.parsed.loose:
        value = report.text[start:end]
        if _LORA.sub("", value).strip(" ,"):
            name = "caption" if is_prose(value) else "other"
            message = f"“{report.shortened(value)}” stands outside the blocks. NewBie reads it, but as no one's tags."
            yield report.finding("text_outside", "hint", message, start, end, _moved(report, start, end, name))


def _moved(report: Report, start: int, end: int, name: str) -> Fix:
    value = report.text[start:end].strip(" ,，\r\n\t")
    if name == "caption" and not report.parsed.prompt.caption():
        return Fix("Make it the caption", apply(report.text, [Edit(start, end, edit.build_field("caption", value))]))
    text = apply(report.text, [edit.removal(report.text, start, end)])
    if name == "caption":
        return Fix(
            "Add to the caption", edit.set_extra(text, "caption", f"{parse(text).prompt.caption().rstrip()} {value}")
        )
    old = parse(text).prompt.general.get("other")
    tags = [value[item.start : item.end] for item in items(value)]
    return Fix("Move to general tags", edit.update_general(text, {"other": joined(old, tags)}))


def _literal(report: Report) -> Iterator[Finding]:
    """Escapes that the model would read letter by letter, and LoRA marks of other programs."""
    found = list(_ENTITY.finditer(report.text))
    if found:
        new = _ENTITY.sub(lambda match: html.unescape(match[0]), report.text)
        message = f"{found[0][0]} reaches the model letter by letter. Write {html.unescape(found[0][0])} itself."
        yield report.finding(
            "escaped", "warning", message, found[0].start(), found[0].end(), Fix("Undo the escapes", new)
        )
    for match in _LORA.finditer(report.text):
        message = f"{report.shortened(match[0])} is read as text here. Choose the LoRA in the LoRA list."
        fix = Fix("Remove it", apply(report.text, [Edit(*_with_comma(report.text, match.start(), match.end()), "")]))
        yield report.finding("lora_mark", "warning", message, match.start(), match.end(), fix)


def _with_comma(text: str, start: int, end: int) -> tuple[int, int]:
    after = re.compile(r"[ \t]*,[ \t]*").match(text, end)
    before = re.search(r"[ \t]*,[ \t]*$", text[:start])
    return (start, after.end()) if after else (before.start() if before else start, end)


def _braces(report: Report) -> Iterator[Finding]:
    """Braces round the XML that say nothing."""
    frames = [(start, end) for start, end in report.parsed.frames if re.search(r"[{}\[\]]", report.text[start:end])]
    if frames and all(re.fullmatch(r"[\s{}\[\],;]*", report.text[start:end]) for start, end in frames):
        new = (
            apply(report.text, [Edit(s, e, re.sub(r"[{}\[\],;]", "", report.text[s:e])) for s, e in frames]).strip()
            + "\n"
        )
        start = next(i for i in range(*frames[0]) if report.text[i] in "{}[]")
        message = "The braces round the prompt say nothing to the model. Leave them out."
        yield report.finding("braces", "hint", message, start, start + 1, Fix("Remove the braces", new))


__all__ = ["SEVERITIES", "Finding", "Fix", "label_of", "lint"]

"""Sort tags into cards: the rules by which pasted text becomes a Prompt.

Promises: every tag given is in the result as often as it was there, in a card or in the general tags, written as it
was; nothing is guessed that the text does not say (no positions, no names). Where a tag cannot be given to one of
several characters it goes to the general tags (`other`), and a note says so. A weight round several tags is given to
each of them: `(a, b:1.2)` is `(a:1.2), (b:1.2)`.
Does not know the formats (see `paste.py` and `paste_json.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from newbie_ui.prompt.document import CHARACTER_FIELDS, GENERAL_FIELDS, Character, Extra, General, Prompt
from newbie_ui.prompt.knowledge import character_field, general_field, is_personal
from newbie_ui.prompt.taglist import is_prose
from newbie_ui.prompt.taglist import key as spelling
from newbie_ui.prompt.tags import builtin, meaning

_SPACE = re.compile(r"\s*")
_COMMA = re.compile(r"[,，、\n]\s*")
_WILDCARD = r"\{[^{}]*\|[^{}]*\}"
_NUMERIC = r"(?<!\d)-?\d{1,4}(?:\.\d{1,4})?::(?:(?!::)[^\n])*::"  # NovelAI's 1.3::a, b::
_WHOLE_OR_COMMA = re.compile(rf"({_WILDCARD}|{_NUMERIC})|{_COMMA.pattern}")
_WEIGHTED = re.compile(r"(-?\d+(?:\.\d+)?::|\()(.*?)((?:(?<!:):-?\d*\.?\d+)?\)|::)", re.DOTALL)
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_PARENTHESIS = re.compile(r"(?<!\\)[()\[\]{}]")
MAX_DEPTH = 8  # of weights within weights
_MARKER = re.compile(r"1 ?(girl|boy|other)|(girl|boy|other|woman|man)")
_COUNT = re.compile(r"(\d+)\+? ?(girl|boy|other)s?")
_GENDER = {"woman": "girl", "man": "boy"}


@dataclass
class Sorted:
    """The tags of one card or of the general block, by field, in the order they came."""

    fields: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, tag: str) -> None:
        self.fields.setdefault(name, []).append(tag)

    def pairs(self, order: Sequence[str]) -> tuple[tuple[str, str], ...]:
        names = sorted(self.fields, key=lambda name: order.index(name) if name in order else len(order))
        return tuple((name, ", ".join(self.fields[name])) for name in names)


def key(tag: str) -> str:
    """What a tag means, whatever its weight and language."""
    return meaning(spelling(tag))


def tags_of(text: str, depth: int = 0) -> list[str]:
    """The tags of a list with commas or line ends. A weight round several goes to each; wildcards stay whole."""
    return [tag for piece in _pieces(text) for tag in _each_weighted(piece, depth)]


def _pieces(text: str) -> Iterator[str]:
    """The text cut at commas and line ends outside of parentheses that begin a piece, and of wildcards."""
    ends = _group_ends(text)
    start = _SPACE.match(text).end()
    while start < len(text):
        commas = _WHOLE_OR_COMMA.finditer(text, ends.get(start, start))
        comma = next((match for match in commas if match[1] is None), None)
        piece = text[start : comma.start() if comma else len(text)].strip()
        if piece:
            yield piece
        start = comma.end() if comma else len(text)


def _group_ends(text: str) -> dict[int, int]:
    """Where each parenthesis that is closed begins, and the place behind its end."""
    found: dict[int, int] = {}
    waiting: list[tuple[int, str]] = []
    for match in _PARENTHESIS.finditer(text):
        sign = match[0]
        if sign in _PAIRS:
            waiting.append((match.start(), _PAIRS[sign]))
        elif waiting and waiting[-1][1] == sign:
            found[waiting.pop()[0]] = match.end()
    return found


def _each_weighted(piece: str, depth: int) -> list[str]:
    """A piece as its tags: a group with commas gives its signs and weight to each of them."""
    closed = _group_ends(piece).get(0) == len(piece) or re.fullmatch(_NUMERIC, piece)
    if not closed or not _COMMA.search(piece) or re.fullmatch(_WILDCARD, piece) or depth >= MAX_DEPTH:
        return [piece]
    match = _WEIGHTED.fullmatch(piece)
    opening, inner, closing = match.groups() if match else (piece[0], piece[1:-1], piece[-1])
    return [f"{opening}{tag}{closing}" for tag in tags_of(inner, depth + 1)]


def has_choices(text: str) -> bool:
    """True if bars stand in braces, so that they part a wildcard's choices."""
    return bool(re.search(_WILDCARD, text))


def gender_of(tag: str) -> str:
    """`1girl`, `1boy`, `1other`, or "" if the tag says no one's gender."""
    match = _MARKER.fullmatch(key(tag))
    word = (match[1] or match[2]) if match else ""
    return f"1{_GENDER.get(word, word)}" if word else ""


def count_of(tag: str) -> int:
    """How many people a count tag names, 0 for another tag."""
    match = _COUNT.fullmatch(key(tag))
    return int(match[1][:4]) if match else 0


def describes_person(text: str) -> bool:
    """True if a part of a prompt is about one character: a gender, or tags of body, clothing, expression, action."""
    tags = tags_of(text)
    return any(gender_of(tag) for tag in tags) or any(is_personal(key(tag)) for tag in tags)


def card(tags: Iterable[str], number: int, name: str = "", gender: str = "") -> Character:
    """A card from one character's tags."""
    sorted_tags = Sorted()
    for tag in tags:
        said = gender_of(tag)
        if said:
            if sorted_tags.fields.get("gender", [said]) == [said]:
                sorted_tags.fields["gender"] = [said]
            else:
                sorted_tags.add("appearance", tag)
        elif "#" in tag[1:]:  # source#hug, target#hug, mutual#hug
            sorted_tags.add("interaction", tag)
        elif is_prose(tag):
            sorted_tags.add("appearance", tag)
        else:
            sorted_tags.add(character_field(key(tag)), tag)
    if gender:
        sorted_tags.fields.setdefault("gender", [gender])
    sorted_tags.fields["n"] = [name or f"$character_{number}$"]
    return Character(sorted_tags.pairs(CHARACTER_FIELDS))


def general(tags: Iterable[str]) -> General:
    """The general block from tags of the whole picture."""
    sorted_tags = Sorted()
    for tag in tags:
        sorted_tags.add(general_field(key(tag)), tag)
    return General(sorted_tags.pairs(GENERAL_FIELDS))


def from_parts(base: str, parts: Sequence[str]) -> tuple[Prompt, list[str]]:
    """A prompt from the common text and one text a character.

    Tags of the picture that stand in a character's text go to the general tags; those that several texts repeat once.
    """
    common, cards, repeated = tags_of(base), [], []
    have = {spelling(tag) for tag in common}
    own = [tags_of(part) for part in parts]
    gender = _only_gender([tag for tag in (*common, *(t for tags in own for t in tags)) if count_of(tag) > 1])
    for number, tags in enumerate(own, 1):
        picture = [tag for tag in tags if _of_picture(tag)]
        cards.append(card([tag for tag in tags if tag not in picture], number, gender=gender))
        repeated += [tag for tag in picture if spelling(tag) in have]
        common += [tag for tag in picture if spelling(tag) not in have]
        have |= {spelling(tag) for tag in picture}
    again = ", ".join(dict.fromkeys(repeated))
    notes = [f"Several parts say {again}; it is about the whole picture and stands there once."] if again else []
    return Prompt(tuple(cards), general(common)), notes


def _of_picture(tag: str) -> bool:
    """True for a tag that says something of the whole picture, wherever it stands: a count, a quality, a place."""
    said = count_of(tag) and not gender_of(tag)
    return bool(said) or (general_field(key(tag)) != "other" and not is_personal(key(tag)) and not gender_of(tag))


def _only_gender(counts: Iterable[str]) -> str:
    """The gender of everybody, if the counts name one only."""
    kinds = {_COUNT.fullmatch(key(tag))[2] for tag in counts}
    return f"1{kinds.pop()}" if len(kinds) == 1 else ""


def from_list(tags: Sequence[str]) -> tuple[Prompt, list[str]]:
    """A prompt from one flat list of tags.

    Nobody in it: all is general. One person: the personal tags are theirs. Several: where each gender is followed by
    tags of its own, each begins a card; else nobody knows whose a tag is, and it goes to the general tags.
    """
    parts, base = _by_gender(tags)
    if len(parts) > 1:
        counts = [tag for tag in tags if count_of(tag) and tag not in base]
        return from_parts(", ".join([*counts, *base]), [", ".join(part) for part in parts])
    names = [tag for tag in tags if _category(tag) == "character"]
    people = max(_people(tags), len(names))
    if people == 0 and not any(is_personal(key(tag)) for tag in tags):
        return Prompt(general=general(tags)), []
    if people <= 1:
        return one_person(tags, names)
    return several(tags, names, people)


def _by_gender(tags: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """Runs that begin with a gender and go on with personal tags; the tags before the first one."""
    starts = [place for place, tag in enumerate(tags) if gender_of(tag)]
    bounds = [*starts, len(tags)]
    runs = [list(tags[a:b]) for a, b in pairwise(bounds)]
    if len(runs) < 2 or not all(any(is_personal(key(tag)) for tag in run[1:]) for run in runs):
        return [], list(tags)
    base = list(tags[: starts[0]])
    last = max(place for place, tag in enumerate(runs[-1]) if place == 0 or is_personal(key(tag)))
    base += runs[-1][last + 1 :]  # behind the last character's tags the picture's may stand
    del runs[-1][last + 1 :]
    return runs, base


def _people(tags: Iterable[str]) -> int:
    found: dict[str, int] = {}
    for tag in tags:
        match = _COUNT.fullmatch(key(tag))
        if match:
            found[match[2]] = max(found.get(match[2], 0), int(match[1][:4]))
    return sum(found.values())


def one_person(tags: Sequence[str], names: list[str]) -> tuple[Prompt, list[str]]:
    """One card: the personal tags are theirs, the rest is general."""
    own = [tag for tag in tags if is_personal(key(tag))]
    gender = next((gender_of(tag) for tag in tags if gender_of(tag)), "")
    one = card(own, 1, name=character_name(names[0]) if names else "", gender=gender)
    rest = [tag for tag in tags if tag not in own and tag not in names]
    return Prompt((one,), general(rest)), []


def several(tags: Sequence[str], names: list[str], people: int = 0) -> tuple[Prompt, list[str]]:
    """Several cards with what is known of each: gender and name; whose the other tags are is not known."""
    people = max(people, len(names), _people(tags))
    genders = [g for tag in tags if (g := _each(tag)) for _ in range(min(count_of(tag), 6))]
    cards = []
    for number in range(1, max(len(names), min(people, 6)) + 1):
        gender = genders[number - 1] if number <= len(genders) else ""
        name = character_name(names[number - 1]) if number <= len(names) else ""
        cards.append(card((), number, name=name, gender=gender))
    rest = [tag for tag in tags if tag not in names[: len(cards)]]
    personal = sum(1 for tag in rest if is_personal(key(tag)))
    block = Sorted()
    for tag in rest:
        block.add("other" if is_personal(key(tag)) else general_field(key(tag)), tag)
    notes = [
        f"{personal} tags describe one of {people} characters, but the list does not say whose. They are under other: "
        "move them to the cards."
    ]
    return Prompt(tuple(cards), General(block.pairs(GENERAL_FIELDS))), notes if personal else []


def _each(tag: str) -> str:
    match = _COUNT.fullmatch(key(tag))
    return f"1{match[2]}" if match else ""


def _category(tag: str) -> str:
    known = builtin().get(tag)
    return known.category if known else ""


def character_name(tag: str) -> str:
    """A Danbooru name as `<n>` holds it: underscores, parentheses escaped."""
    return escaped(re.sub(r"\s+", "_", tag.strip()))


def escaped(tag: str) -> str:
    """A tag's own parentheses as a prompt has them: `bow \\(weapon\\)`. Emoticons stay."""
    return re.sub(r"\\?([()])", r"\\\1", tag) if re.search(r"\w.*\(.+\)", tag) else tag


def plain(text: str) -> Prompt:
    """Text kept as it is."""
    return Prompt(extras=(Extra("", text, before=True),) if text.strip() else ())

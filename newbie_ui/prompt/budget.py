"""How many tokens a prompt has, where they are, and how to need fewer.

Promises: counts add up to the whole (each block is counted as the growth of the text up to its end); the place where
a mark is passed is exact; the diet changes nothing that the model reads as meaning; a cut leaves out whole elements
and says which. Nothing is ever cut unasked.
Does not know the tokenizer: it gets `count_tokens` (tokens of each text, without special tokens).

512 tokens were trained; 1,023 are possible. A begin token is added to every text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from newbie_ui.prompt.document import NAME_FIELDS, PROSE_FIELDS
from newbie_ui.prompt.edit import Edit, apply, newline_of, removal
from newbie_ui.prompt.spans import Element
from newbie_ui.prompt.taglist import is_prose, items
from newbie_ui.prompt.xml import ParsedPrompt, parse

TRAINED, POSSIBLE = 512, 1023
SPECIAL_TOKENS = 1

CountTokens = Callable[[Sequence[str]], list[int]]

_START = "<Prompt Start>"
_KEEP_UNDERSCORES = (*NAME_FIELDS, *PROSE_FIELDS, "artist", "artists")
_WORD = re.compile(r"[^\W\d_]{2}")


@dataclass(frozen=True)
class BlockTokens:
    """One part of the prompt: text[start:end] (0, 0 for a system prompt from the settings)."""

    kind: str  # "system" | "character" | "general" | "caption" | "text"
    index: int  # of the character, from 0; -1 for the rest
    label: str  # the character's name or "character 2"; the kind of the rest
    start: int
    end: int
    tokens: int


@dataclass(frozen=True)
class Budget:
    """A prompt's tokens. `trained_end` and `possible_end` are where the text passes a mark, None if it does not."""

    total: int  # system prompt and begin token included
    blocks: tuple[BlockTokens, ...]
    trained: int
    possible: int
    trained_end: int | None
    possible_end: int | None

    @property
    def state(self) -> str:
        """fits, beyond trained (works, with a warning) or beyond possible (is refused)."""
        if self.total > self.possible:
            return "beyond possible"
        return "beyond trained" if self.total > self.trained else "fits"

    def lost(self, mark: int | None = None) -> tuple[BlockTokens, ...]:
        """Blocks that lie wholly or partly beyond a mark (the trained one by default)."""
        end = self.possible_end if mark == self.possible else self.trained_end
        return tuple(block for block in self.blocks if end is not None and block.end > end and block.kind != "system")


def joined(text: str, system_prompt: str | None) -> str:
    """What the text encoder reads: an empty text has no system prompt, a text with `<Prompt Start>` its own."""
    if not text.strip() or not system_prompt or _START in text:
        return text
    return system_prompt + ("" if system_prompt[-1].isspace() else " ") + text


def budget(
    text: str,
    count_tokens: CountTokens,
    system_prompt: str | None = None,
    trained: int = TRAINED,
    possible: int = POSSIBLE,
    special_tokens: int = SPECIAL_TOKENS,
) -> Budget:
    """Tokens of each block and of the whole."""
    whole = joined(text, system_prompt)
    lead = len(whole) - len(text)
    parts = list(_parts(parse(text)))
    ends = [lead, *(lead + part[4] for part in parts)]
    counts = count_tokens([whole[:end] for end in ends])
    blocks = [BlockTokens("system", -1, "system", 0, 0, counts[0])] if lead else []
    for (kind, index, label, start, end), before, after in zip(parts, counts, counts[1:]):
        blocks.append(BlockTokens(kind, index, label, start, end, max(0, after - before)))
    total = counts[-1] + (special_tokens if whole else 0)

    def passed(mark: int) -> int | None:
        if total <= mark:
            return None
        return max(0, _longest(whole, mark - special_tokens, count_tokens, ends, counts) - lead)

    return Budget(total, tuple(blocks), trained, possible, passed(trained), passed(possible))


def _parts(parsed: ParsedPrompt) -> Iterator[tuple[str, int, str, int, int]]:
    """The text in parts without gaps: white space belongs to the part before it."""
    starts: list[tuple[int, str, int, str]] = []
    if parsed.system_end:
        starts.append((0, "system", -1, "system"))
    for index, block in enumerate(parsed.characters):
        name = parsed.prompt.characters[index].name
        starts.append((block.start, "character", index, name or f"character {index + 1}"))
    starts += [(block.start, "general", -1, "general") for block in parsed.generals]
    for element in parsed.elements:
        kind = "caption" if element.name == "caption" else "text"
        starts.append((element.start, kind, -1, element.name))
    starts += [(start, "text", -1, "text") for start, _ in (*parsed.loose, *parsed.frames)]
    starts.sort()
    if starts and not parsed.text[: starts[0][0]].strip():
        starts[0] = (0, *starts[0][1:])
    elif parsed.text:
        starts.insert(0, (0, "text", -1, "text"))
    for place, (start, kind, index, label) in enumerate(starts):
        end = starts[place + 1][0] if place + 1 < len(starts) else len(parsed.text)
        yield kind, index, label, start, end


def _longest(whole: str, mark: int, count: CountTokens, ends: list[int], counts: list[int]) -> int:
    """Length of the longest beginning of the text that has at most `mark` tokens."""
    place = bisect_right(counts, mark)
    low = ends[place - 1] if place else 0
    high = ends[place] if place < len(ends) else len(whole)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count([whole[:middle]])[0] <= mark else (low, middle)
    return low


# ---- diet


def diet(text: str) -> str:
    """The same prompt in fewer tokens: no indentation, no empty fields, spaces for underscores inside tags.

    Names, captions, emoticons, wildcards and tags with escaped parentheses keep their underscores. Doing it again
    changes nothing.
    """
    return _spaced(_unindented(_without_empty(text)))


def saved(text: str, count_tokens: CountTokens) -> int:
    """Tokens that the diet saves."""
    before, after = count_tokens([text, diet(text)])
    return max(0, before - after)


def _fields(parsed: ParsedPrompt) -> Iterator[Element]:
    yield from parsed.elements
    for block in parsed.blocks:
        yield from block.elements


def _without_empty(text: str) -> str:
    parsed = parse(text)
    gone = [e for e in _fields(parsed) if e.name and e.closed and not text[e.value_start : e.value_end].strip()]
    return apply(text, [removal(text, e.start, e.end) for e in gone])


def _unindented(text: str) -> str:
    parsed, pieces = parse(text), []
    newline = newline_of(text)
    for segment in parsed.segments:
        if segment.kind == "space" and ("\n" in segment.text or "\r" in segment.text):
            lines = len(re.findall(r"\r\n|\r|\n", segment.text))
            pieces.append(newline * min(lines, 2))
        else:
            pieces.append(segment.text)
    text = "".join(pieces).strip()
    values = [e for e in _fields(parse(text)) if e.name and e.name not in PROSE_FIELDS]
    return apply(text, [_one_line(text, e) for e in values])


def _one_line(text: str, element: Element) -> Edit:
    value = text[element.value_start : element.value_end]
    value = value if is_prose(value) else re.sub(r"\s+", " ", value)
    return Edit(element.value_start, element.value_end, value.strip())


def _spaced(text: str) -> str:
    parsed = parse(text)
    spans = [(e.value_start, e.value_end) for e in _fields(parsed) if e.name not in _KEEP_UNDERSCORES]
    spans += parsed.loose
    edits = []
    for start, end in spans:
        if not is_prose(text[start:end]):
            edits += [Edit(i.start, i.end, spaced(text[i.start : i.end])) for i in items(text, start, end)]
    return apply(text, edits)


def spaced(tag: str) -> str:
    """One tag with spaces for underscores, where that keeps its meaning."""
    untouchable = "__" in tag or "\\" in tag or "$" in tag or "<" in tag or not _WORD.search(tag)
    return tag if untouchable else tag.replace("_", " ")


# ---- cut

# General tags are given up in this order, the others before them; the count stays.
_GIVEN_UP = "other extra_tags objects resolution atmosphere lighting perspective environment background artists artist "
_GIVEN_UP_ORDER = (_GIVEN_UP + "quality style").split()


def cut(text: str, fits: Callable[[str], bool]) -> tuple[str, tuple[str, ...]]:
    """Leave out whole elements until the text fits; returns the shorter text and the names of what was left out.

    Captions and free text go first, from the end; then general tags field by field, the count last of all; then
    characters from the last to the second. A text without blocks loses its last tags. Check the result: a first
    character that is too long alone stays.
    """
    if fits(text):
        return text, ()
    parsed = parse(text)
    if not parsed.blocks:
        return _cut_tags(text, fits)
    edits: list[Edit] = []
    names: list[str] = []
    short = text
    for name, start, end in _expendable(parsed):
        edits.append(removal(text, start, end))
        names.append(name)
        short = apply(text, edits)
        if fits(short):
            break
    return short, tuple(names)


def _expendable(parsed: ParsedPrompt) -> Iterator[tuple[str, int, int]]:
    loose = [("free text", start, end) for start, end in parsed.loose]
    beside = [(e.name, e.start, e.end) for e in parsed.elements] + loose
    yield from sorted(beside, key=lambda piece: -piece[1])
    general = [e for block in parsed.generals for e in block.elements if e.name != "count"]
    order = {name: place for place, name in enumerate(_GIVEN_UP_ORDER)}
    yield from ((e.name or "free text", e.start, e.end) for e in sorted(general, key=lambda e: order.get(e.name, -1)))
    for place in range(len(parsed.characters) - 1, 0, -1):
        block = parsed.characters[place]
        yield parsed.prompt.characters[place].name or block.raw, block.start, block.end


def _cut_tags(text: str, fits: Callable[[str], bool]) -> tuple[str, tuple[str, ...]]:
    start = parse(text).system_end
    found = items(text, start)
    keep, many = 0, len(found)  # the first `keep` tags are known to fit
    while keep < many:
        middle = (keep + many + 1) // 2
        keep, many = (middle, many) if fits(text[: found[middle - 1].end]) else (keep, middle - 1)
    if keep == len(found):
        return text, ()
    end = found[keep - 1].end if keep else start
    gone = len(found) - keep
    return text[:end], (f"the last {gone} tags" if gone > 1 else "the last tag",)

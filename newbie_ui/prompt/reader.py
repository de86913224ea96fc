"""The reading itself: tags in, blocks with the span of every field out. Used by `xml.py` only.

Promises: one pass over the tags, no recursion, no exception for any text; every offset between 0 and the text's
length belongs to exactly one cut.
Does not know: lines and columns, the document classes.

Rules, in short. A field ends at its own close tag, or where another known tag begins (then its close tag is
missing). A block ends at its close tag, where the next block begins, or at the end of the text. An unknown
element counts only if it is closed: inside a block it is a field, at the top a field, a wrapper (blocks inside)
or a character named in its own way (character fields inside). All else is text.
"""

from __future__ import annotations

import re
from collections import Counter
from difflib import get_close_matches

from newbie_ui.prompt.document import CHARACTER_FIELDS, GENERAL_FIELDS, PROSE_FIELDS
from newbie_ui.prompt.scan import CHARACTER, FIELD, GENERAL, NOTE, START, UNKNOWN, WRAPPER, Tag, scan
from newbie_ui.prompt.spans import BlockSpan, Element, Found, Issue

MAX_ISSUES = 100
_ONLY_CHARACTER = frozenset(CHARACTER_FIELDS) - frozenset(GENERAL_FIELDS)
_KNOWN = frozenset({CHARACTER, GENERAL, FIELD, WRAPPER})
_PUNCTUATION = re.compile(r'(?:[\s{}\[\],;:"]|\\[nrt])*')
_NEWLINE = re.compile(r"[\r\n]")
_JSON_HEAD = re.compile(r'\s*\{\s*"[^{}<>]*?"\s*:')


class Reader:
    """Reads one text once."""

    def __init__(self, text: str):
        self.text = text
        self.tags = scan(text)
        self.cuts: list[tuple[int, str]] = [(0, "text")]
        self.blocks: list[BlockSpan] = []
        self.elements: list[Element] = []
        self.loose: list[tuple[int, int]] = []
        self.frames: list[tuple[int, int]] = []
        self.issues: list[Issue] = []
        self.wrappers: list[Tag] = []  # those open now
        self.wrapped: Counter[str] = Counter()  # how many of each name are open
        self.block: Tag | None = None  # the open tag of the block that is being read
        self.inside: list[Element] = []  # its fields so far
        self.cursor = 0  # everything before it is cut

    def read(self) -> Found:
        self.next_close, self.next_known = self._look_ahead()
        system_end = self._system()
        index = 0
        while index < len(self.tags):
            if self.tags[index].start < self.cursor:  # inside the system prompt
                index += 1
            else:
                index = self._step(index)
        self._end()
        self._numbers()
        self.issues.sort(key=lambda issue: issue.start)
        return Found(
            self.cuts,
            tuple(self.blocks),
            tuple(self.elements),
            tuple(self.loose),
            tuple(self.frames),
            system_end,
            self.issues,
        )

    # ---- preparation

    def _look_ahead(self) -> tuple[list[int], list[int]]:
        """For each tag: index of the next close tag of its name, and of the next known tag; -1 without."""
        closes: dict[str, int] = {}
        next_close, next_known, known = [-1] * len(self.tags), [-1] * len(self.tags), -1
        for i in range(len(self.tags) - 1, -1, -1):
            tag = self.tags[i]
            next_close[i] = closes.get(tag.name, -1)
            next_known[i] = known
            if tag.close:
                closes[tag.name] = i
            if tag.kind in _KNOWN:
                known = i
        return next_close, next_known

    def _system(self) -> int:
        """A system prompt ends with the last `<Prompt Start>` before the first block or field."""
        end = 0
        for tag in self.tags:
            if tag.kind == START and not tag.close:
                end = tag.end
            elif tag.kind in _KNOWN:
                break
        if end:
            self._cut(0, end, "system")
        return end

    # ---- cutting

    def _cut(self, start: int, end: int, kind: str) -> None:
        """Say of what kind text[start:end] is; text between the last cut and it is free text."""
        self._gap(start)
        self.cuts.append((start, kind))
        self.cursor = end

    def _gap(self, end: int) -> None:
        start, self.cursor = self.cursor, end
        if start >= end:
            return
        piece = self.text[start:end]
        stripped = piece.strip()
        if not stripped or stripped == "\ufeff":
            self.cuts.append((start, "space"))
            return
        first = start + piece.index(stripped[0])
        last = first + len(stripped)
        if self.block is not None:
            self.cuts.append((start, "text"))
            self.inside.append(Element("", "", first, first, last, last, True))
        elif self._is_frame(piece, end):
            self.cuts.append((start, "frame"))
            self.frames.append((start, end))
        else:
            self.cuts.append((start, "text"))
            self.loose.append((first, last))

    def _is_frame(self, piece: str, end: int) -> bool:
        """Braces and JSON around the XML, as the mixed form of the ComfyUI template has them."""
        if _PUNCTUATION.fullmatch(piece):
            return bool(self.tags)
        if not self.blocks and _JSON_HEAD.match(piece):
            return end < len(self.text)
        return bool(self.frames) and end == len(self.text) and piece.rstrip().endswith("}")

    def _issue(self, code: str, message: str, start: int, end: int) -> None:
        if len(self.issues) < MAX_ISSUES:
            self.issues.append(Issue(code, message, start, end))

    # ---- one tag after another

    def _step(self, index: int) -> int:
        """Deal with one tag; return the index of the next one to deal with."""
        tag = self.tags[index]
        if tag.kind == NOTE:
            self._cut(tag.start, tag.end, "note")
            return index + 1
        if tag.kind == START:
            if not tag.close:
                self._issue(
                    "late_start",
                    "<Prompt Start> stands after the prompt has begun. Move the system prompt to the very front.",
                    tag.start,
                    tag.end,
                )
            return index + 1
        if tag.cut:
            self._cut_short(tag)
        if tag.close:
            self._close(tag)
            return index + 1
        kind = self._kind(index)
        if kind == "text":
            return index + 1
        if kind == FIELD:
            return self._field(index)
        self._open(tag, kind)
        return index + 1

    def _cut_short(self, tag: Tag) -> None:
        written = self.text[tag.start : tag.end]
        self._issue("cut_tag", f"{written} lacks its >. Write {written}>.", tag.start, tag.end)

    def _kind(self, index: int) -> str:
        """What an open tag is here; unknown ones are judged by what they hold."""
        tag = self.tags[index]
        if tag.kind != UNKNOWN:
            return tag.kind
        close = self.next_close[index]
        if tag.empty:
            return FIELD
        if close < 0:
            self._issue(
                "unclosed_unknown",
                f"<{tag.raw}> is never closed, so it is read as plain text. Add </{tag.raw}> or remove it.",
                tag.start,
                tag.end,
            )
            return "text"
        known = self.next_known[index]
        if known < 0 or known > close or self.tags[known].close:
            return FIELD
        if self.block is None and self.tags[known].kind == FIELD and self.tags[known].name in _ONLY_CHARACTER:
            return CHARACTER
        return WRAPPER

    def _open(self, tag: Tag, kind: str) -> None:
        if kind == WRAPPER:
            self._cut(tag.start, tag.end, "open")
            if not tag.empty:
                self.wrappers.append(tag)
                self.wrapped[tag.name] += 1
            return
        if self.block is not None:
            self._missing_close(self.block, f"before <{tag.raw}>")
            self._finish_block(self._trimmed(tag.start), None)
        self._cut(tag.start, tag.end, "open")
        self.block, self.block_kind, self.inside = tag, kind, []
        if tag.empty:
            self._finish_block(tag.end, None, closed=True)

    def _field(self, index: int) -> int:
        """Read a field from its open tag on; its value is text, whatever stands in it."""
        tag = self.tags[index]
        self._cut(tag.start, tag.end, "open")
        if tag.empty:
            self._add(Element(tag.name, tag.raw, tag.start, tag.end, tag.end, tag.end, True))
            return index + 1
        after = index + 1
        opened: set[str] = set()
        while after < len(self.tags):
            other = self.tags[after]
            if other.name == tag.name and (other.close or self._is_close_without_slash(tag, after)):
                return self._field_closed(tag, other, after)
            if other.kind == UNKNOWN and not other.close:
                opened.add(other.name)
            elif self._ends_value(other, opened) and not self._is_mention(index, after):
                break
            after += 1
        return self._field_unclosed(tag, after)

    @staticmethod
    def _ends_value(tag: Tag, opened: set[str]) -> bool:
        return tag.kind in _KNOWN or (tag.close and tag.kind == UNKNOWN and tag.name not in opened)

    def _is_close_without_slash(self, tag: Tag, index: int) -> bool:
        """`<n>Aoi<n>` on one line: the second one is meant to close, unless it has a close tag of its own."""
        other, known = self.tags[index], self.next_known[index]
        own = known >= 0 and self.tags[known].close and self.tags[known].name == other.name
        return other.kind == FIELD and not own and not _NEWLINE.search(self.text, tag.end, other.start)

    def _is_mention(self, field: int, index: int) -> bool:
        """A caption that speaks of `<character_1>`: an open tag that is not closed before the caption is."""
        close = self.next_close[field]
        closed_before = 0 <= self.next_close[index] < close
        prose = self.tags[field].name in PROSE_FIELDS and close > index
        return prose and not self.tags[index].close and not closed_before

    def _field_closed(self, tag: Tag, close: Tag, index: int) -> int:
        if close.cut:
            self._cut_short(close)
        if not close.close:
            message = f"<{tag.raw}> is closed by <{close.raw}>. Write </{tag.raw}>."
            self._issue("wrong_close", message, close.start, close.end)
        self._value(tag.end, close.start)
        self._cut(close.start, close.end, "close")
        self._add(Element(tag.name, tag.raw, tag.start, tag.end, close.start, close.end, True))
        return index + 1

    def _field_unclosed(self, tag: Tag, after: int) -> int:
        """The value ends where the next known tag begins; a wrong close tag that follows at once is taken for it."""
        other = self.tags[after] if after < len(self.tags) else None
        limit = other.start if other else len(self.text)
        end = self._trimmed(limit, tag.end)
        wrong = other is not None and other.close and other.kind in (FIELD, UNKNOWN)
        self._value(tag.end, other.start if wrong else end)
        if wrong:
            self._issue(
                "wrong_close",
                f"<{tag.raw}> is closed by </{other.raw}>. Write </{tag.raw}>.",
                other.start,
                other.end,
            )
            self._cut(other.start, other.end, "close")
            self._add(Element(tag.name, tag.raw, tag.start, tag.end, other.start, other.end, False))
            return after + 1
        self._missing_close(tag, f"before <{'/' if other.close else ''}{other.raw}>" if other else "at the end")
        self._add(Element(tag.name, tag.raw, tag.start, tag.end, end, end, False))
        return after

    def _value(self, start: int, end: int) -> None:
        self.cuts.append((start, "value"))
        self.cursor = end

    def _add(self, element: Element) -> None:
        (self.inside if self.block is not None else self.elements).append(element)

    def _close(self, tag: Tag) -> None:
        block = self.block
        if block is not None and (
            tag.name == block.name
            or tag.kind == self.block_kind
            or (tag.kind == UNKNOWN and get_close_matches(tag.name, [block.name], 1, 0.8))
        ):
            if tag.name != block.name:
                self._issue(
                    "wrong_close",
                    f"<{block.raw}> is closed by </{tag.raw}>. Write </{block.raw}>.",
                    tag.start,
                    tag.end,
                )
            self._cut(tag.start, tag.end, "close")
            self._finish_block(tag.start, tag.end, closed=True)
            return
        if self.wrapped[tag.name]:
            self._close_wrapper(tag)
            return
        if tag.kind == UNKNOWN and block is None and not self.blocks and not self.elements:
            return  # plain text with a stray bracket in it
        self._issue("stray_close", f"</{tag.raw}> closes nothing. Remove it, or add <{tag.raw}>.", tag.start, tag.end)
        self._cut(tag.start, tag.end, "close")

    def _close_wrapper(self, tag: Tag) -> None:
        if self.block is not None:
            self._missing_close(self.block, f"before </{tag.raw}>")
            self._finish_block(self._trimmed(tag.start), None)
        while (wrapper := self.wrappers.pop()).name != tag.name:
            self.wrapped[wrapper.name] -= 1
            self._missing_close(wrapper, f"before </{tag.raw}>")
        self.wrapped[tag.name] -= 1
        self._cut(tag.start, tag.end, "close")

    def _finish_block(self, close_start: int, end: int | None, closed: bool = False) -> None:
        tag = self.block
        if end is None:  # closed by what follows: text up to there still belongs to it
            self._gap(close_start)
            end = close_start
        numbered = tag.kind in (CHARACTER, GENERAL)
        self.blocks.append(
            BlockSpan(
                self.block_kind,
                tag.raw,
                tag.number,
                numbered,
                tag.start,
                tag.end,
                max(close_start, tag.end),
                end,
                closed,
                tuple(self.inside),
            )
        )
        self.block = None

    def _missing_close(self, tag: Tag, words: str) -> None:
        message = f"<{tag.raw}> is not closed. Add </{tag.raw}> {words}."
        self._issue("unclosed", message, tag.start, tag.end)

    def _trimmed(self, end: int, start: int | None = None) -> int:
        """`end` moved back over white space, but not before `start` (the cursor)."""
        floor = self.cursor if start is None else start
        return max(floor, floor + len(self.text[floor:end].rstrip()))

    def _end(self) -> None:
        if self.block is not None:
            self._missing_close(self.block, "at the end")
            self._finish_block(self._trimmed(len(self.text)), None)
        for wrapper in self.wrappers:
            self._missing_close(wrapper, "at the end")
        self._gap(len(self.text))

    def _numbers(self) -> None:
        """Two characters with one number, or two general blocks."""
        seen: set[int] = set()
        highest = max((b.number or 0 for b in self.blocks), default=0)
        for block in self.blocks:
            if block.kind == CHARACTER and block.number is not None:
                if block.number in seen:
                    highest += 1
                    self._issue(
                        "duplicate_number",
                        f"<{block.raw}> is there twice. Give this character a number of its own, such as {highest}.",
                        block.start,
                        block.open_end,
                    )
                seen.add(block.number)
        generals = [block for block in self.blocks if block.kind == GENERAL]
        for block in generals[1:]:
            self._issue(
                "second_general",
                f"<{block.raw}> is there twice. Put its fields into the first one.",
                block.start,
                block.open_end,
            )

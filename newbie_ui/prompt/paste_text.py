"""Pasting text that is not JSON: XML, A1111, regions, forge-couple, Danbooru, lists of tags, plain words.

Part of `paste.py`, with the same promises.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from dataclasses import replace

from newbie_ui.prompt import split
from newbie_ui.prompt.document import GENERAL_FIELDS, General
from newbie_ui.prompt.edit import set_system
from newbie_ui.prompt.pasted import Pasted, built
from newbie_ui.prompt.taglist import is_prose
from newbie_ui.prompt.tags import builtin
from newbie_ui.prompt.xml import parse

_NEGATIVE = re.compile(r"^[ \t]*Negative prompt:[ \t]*", re.MULTILINE)
_PAIR = re.compile(r'(\w[\w \-/]{1,80}):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_LORA = re.compile(r"<(?:lora|lyco|hypernet):([^<>:]{1,200})((?::[^<>:]{0,40})*)>", re.IGNORECASE)
_REGION = re.compile(r"\b(BREAK|ADDCOMM|ADDBASE|ADDCOL|ADDROW|ADDP|AND)\b")
_HEADING = re.compile(r"^(Artist|Copyright|Character|General|Meta)s?(?:data)?$", re.IGNORECASE)
_SIDEBAR_LINE = re.compile(r"^[?↳\s]*(.+?)(?:[\s\u00a0]+\d[\d.,]*[kKM]?)?$")
MAX_SIDEBAR_LINE = 300
_COUNT = re.compile(r"\d[\d.,]*[kKM]?")
_ESCAPED_MARKUP = re.compile(r"&lt;\s*(?:character|general)", re.IGNORECASE)


def read_text(text: str, as_kind: str = "") -> Pasted:
    """What a text is. `as_kind` takes up an offer of an earlier reading."""
    if _ESCAPED_MARKUP.search(text) and not parse(text).blocks:
        unescaped = read_text(html.unescape(text), as_kind)
        return replace(unescaped, notes=(*unescaped.notes, "The text was escaped for HTML; that is undone."))
    body, negative, settings = split_a1111(text)
    if negative is not None or settings:
        inner = _body(body.strip("\r\n"), as_kind, dict(settings))
        kind = inner.kind if inner.kind in ("xml", "regions", "forge_couple") else "a1111"
        return replace(inner, kind=kind, negative=negative, settings=settings)
    return _body(text, as_kind, {})


def _body(text: str, as_kind: str, settings: Mapping[str, str]) -> Pasted:
    parsed = parse(text)
    if parsed.blocks or parsed.elements:
        return Pasted("xml", text, parsed.prompt)
    sidebar = _sidebar(text)
    if sidebar:
        return sidebar
    if parsed.system_end:
        return _behind_system(text, parsed.system_end, as_kind, settings)
    marks = " ".join(match[0] for match in _LORA.finditer(text))
    text, loras = take_loras(text)
    notes = (f"Taken out of the text, for the LoRA list: {marks}.",) if loras else ()
    made = _regions(text, as_kind, settings) or _bars(text) or _lines(text, as_kind) or _tags(text)
    return replace(made, loras=loras, notes=(*made.notes, *notes))


def _behind_system(text: str, end: int, as_kind: str, settings: Mapping[str, str]) -> Pasted:
    """A text with a system prompt in front, which stays there."""
    found = _body(text[end:], as_kind, settings)
    if found.kind in ("plain", "lines"):
        return replace(found, text=text, prompt=split.plain(text))
    whole = set_system(found.text, text[:end])
    return replace(found, text=whole, prompt=parse(whole).prompt)


# ---- A1111


def split_a1111(text: str) -> tuple[str, str | None, tuple[tuple[str, str], ...]]:
    """Prompt, negative (None if not stated) and the pairs of the settings line."""
    lines = text.rstrip().split("\n")
    settings = settings_of(lines[-1]) if len(lines) > 1 else ()
    rest = "\n".join(lines[:-1]) if settings else text
    match = _NEGATIVE.search(rest)
    if match is None:
        return rest, None, settings
    return rest[: match.start()], rest[match.end() :].strip(), settings


def settings_of(line: str) -> tuple[tuple[str, str], ...]:
    """The `Key: value` pairs of a line, if it is a settings line (three pairs or more)."""
    pairs = [(match[1].strip(), _unquoted(match[2].strip())) for match in _PAIR.finditer(line)]
    return tuple(pairs) if len(pairs) >= 3 and "<" not in line.split(":")[0] else ()


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        try:
            return str(json.loads(value))
        except ValueError:
            return value
    return value


def take_loras(text: str) -> tuple[str, tuple[tuple[str, float], ...]]:
    """The text without its LoRA marks, and what they say. The image model's weight counts where two are given."""
    found: list[tuple[str, float]] = []

    def take(match: re.Match) -> str:
        weights = {"unet": "1", **dict(w.split("=", 1) for w in match[2].split(":") if "=" in w)}
        numbers = [w for w in match[2].split(":") if re.fullmatch(r"-?\d*\.?\d+", w)]
        number = numbers[1] if len(numbers) > 1 else numbers[0] if numbers else weights["unet"]
        found.append((match[1], float(number) if re.fullmatch(r"-?\d*\.?\d+", number) else 1.0))
        return ""

    rest = _LORA.sub(take, text)
    return (re.sub(r"(?:,[ \t]*){2,}", ", ", rest).strip(" ,") if found else text), tuple(found)


# ---- regions


def _regions(text: str, as_kind: str, settings: Mapping[str, str]) -> Pasted | None:
    """BREAK and the regional prompter's words; forge-couple where its settings, or the artist, say so."""
    couple = as_kind == "forge_couple" or any(name.startswith("forge_couple") for name in settings)
    if couple:
        return _forge_couple(text, settings)
    words = [match[1] for match in _REGION.finditer(text)]
    if not words or (set(words) == {"AND"}):
        return None
    parts = [part.strip().strip(",").strip() for part in _REGION.split(text)[::2]]
    base = 1 if words[0] in ("ADDCOMM", "ADDBASE") or settings.get("RP Use Common") == "True" else 0
    if not base and not split.describes_person(parts[0]):
        base = 1
    base += words[base : base + 1] == ["ADDBASE"] and base == 1
    common = [*parts[:base], *(part for part in parts[base:] if not split.describes_person(part))]
    people = [part for part in parts[base:] if split.describes_person(part)]
    prompt, notes = split.from_parts(", ".join(part for part in common if part), people)
    notes.append(f"{', '.join(dict.fromkeys(words))} parted the text: {len(people)} parts became cards.")
    return built("regions", prompt, notes, segments=tuple(parts))


def _forge_couple(text: str, settings: Mapping[str, str]) -> Pasted:
    separator = settings.get("forge_couple_separator", "\n").replace("\\n", "\n") or "\n"
    segments = [part.strip() for part in text.split(separator) if part.strip()]
    place = settings.get("forge_couple_background", "")
    parts = list(segments)
    if place == "Last Line" and len(parts) > 1:
        base = parts.pop()
    elif place == "First Line" or (not place and len(parts) > 1 and not split.describes_person(parts[0])):
        base = parts.pop(0)
    else:
        base = ""
    prompt, notes = split.from_parts(base, parts)
    notes.append(f"Read as forge-couple: {len(parts)} parts became cards, from left to right.")
    return built("forge_couple", prompt, notes, segments=tuple(segments))


def _bars(text: str) -> Pasted | None:
    """NovelAI's `base | girl, … | boy, …`."""
    parts = [part.strip() for part in text.split("|")]
    if split.has_choices(text) or len(parts) < 2 or not all(split.gender_of(p.split(",")[0]) for p in parts[1:]):
        return None
    prompt, notes = split.from_parts(parts[0], parts[1:])
    return built("novelai", prompt, notes, segments=tuple(parts))


def _lines(text: str, as_kind: str) -> Pasted | None:
    """Several lines about people may be forge-couple's: offered, not done."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    people = [line for line in lines if split.describes_person(line) and "," in line]
    if len(people) < 2 or any(is_prose(line) for line in lines) or as_kind == "tags":
        return None
    note = "Each line may be a character (forge-couple). It stays one text until you choose that."
    return Pasted(
        "lines", text, split.plain(text), segments=tuple(lines), offers=("forge_couple", "tags"), notes=(note,)
    )


# ---- tags


def _sidebar(text: str) -> Pasted | None:
    """Danbooru's sidebar: headings, and lines of `? name count`; the mark and the count may have their own lines."""
    categories: dict[str, list[str]] = {}
    heading, question, counted = "", False, True
    for line in (line.strip() for line in text.replace("\u00a0", " ").split("\n")):
        match = _HEADING.match(line)
        if match:
            heading, counted = match[1].lower(), True
            categories.setdefault(heading, [])
        elif (not heading and line) or len(line) > MAX_SIDEBAR_LINE:
            return None
        elif line in ("?", "↳", ""):
            question = question or line == "?"
        elif not counted and _COUNT.fullmatch(line):
            counted = True
        else:
            question = question or line.startswith("?")
            name = _SIDEBAR_LINE.match(line)[1]
            counted = name != line.lstrip("?↳ ")
            categories[heading].append(name)
    if not categories or not (question or len(categories) > 1):
        return None
    return from_categories(categories)


def from_categories(categories: Mapping[str, list[str]]) -> Pasted:
    """A prompt from tags by Danbooru category. Artists and meta tags are general; names become cards."""
    names = categories.get("character", [])
    tags = [split.escaped(tag) for name in ("general", "copyright") for tag in categories.get(name, [])]
    read = split.from_list if not names else split.one_person if len(names) == 1 else split.several
    prompt, notes = read(tags, names) if names else read(tags)
    block = split.Sorted({name: [value] for name, value in prompt.general.fields})
    for field_name, category in (("artists", "artist"), ("quality", "meta")):
        for tag in categories.get(category, []):
            block.add(field_name, split.escaped(tag))
    prompt = replace(prompt, general=General(block.pairs(GENERAL_FIELDS)))
    return built("danbooru", prompt, notes, categories={name: tuple(tags) for name, tags in categories.items()})


def _tags(text: str) -> Pasted:
    """A list with commas, or Danbooru's edit box (names with underscores, parted by spaces)."""
    if is_prose(text):
        return Pasted("plain", text, split.plain(text))
    tags = split.tags_of(text)
    words = text.split()
    if len(tags) < 2 and len(words) > 2 and _known_share(words) > 0.5:
        tags = words
    if len(tags) < 2 or (_known_share(tags) < 0.2 and max(len(tag) for tag in tags) > 60):
        return Pasted("plain", text, split.plain(text))
    prompt, notes = split.from_list(tags)
    return built("tags", prompt, notes)


def _known_share(words: list[str]) -> float:
    known = sum(1 for word in words if builtin().named(split.spelling(word)) or "_" in word or split.count_of(word))
    return known / len(words)

"""Pasting JSON: NovelAI's comment and request, the ComfyUI template's mixed form, Danbooru's API, our own files.

Part of `paste.py`, with the same promises. JSON that is none of these stays plain text, with a note.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from newbie_ui.errors import UserError
from newbie_ui.prompt import cards, split
from newbie_ui.prompt.document import Character, Prompt, is_placeholder
from newbie_ui.prompt.edit import set_extra, set_system, update_character
from newbie_ui.prompt.paste_text import from_categories, read_text
from newbie_ui.prompt.pasted import Pasted, built
from newbie_ui.prompt.positions import from_point, tag
from newbie_ui.prompt.xml import build, parse

MAX_DEPTH = 4  # JSON inside JSON
_START = "<Prompt Start>"
_POSITIVE = ("prompt", "positive_prompt", "positivePrompt", "Prompt", "text", "raw_prompt")
_NEGATIVE = ("negative_prompt", "negativeprompt", "negativePrompt", "uc", "Negative", "negative")
_PERSON = re.compile(r'"character[_ -]?(\d{1,3})"\s*:\s*(\{[^{}]*\})', re.IGNORECASE)
_CAPTION = re.compile(r'"caption"\s*:\s*"((?:\\.|[^"\\])*)"')
_BARE_NUMBER = re.compile(r"(?<=[:,\[\s])(?:NaN|-?Infinity)(?=\s*[,}\]])")


def from_text(text: str) -> Pasted | None:
    """The prompt in a JSON text, None if the text is no JSON."""
    system, mark, rest = text.rpartition(_START)
    body = (rest if mark else text).strip().lstrip(",").strip()
    if not body.startswith("{"):
        return None
    parsed = parse(text)
    if parsed.blocks and parsed.frames and '"' in text[: parsed.blocks[0].start]:
        return _mixed(text)
    data = loads(body)
    if isinstance(data, Mapping):
        return from_data(data, text, system + mark)
    return None


def loads(text: str) -> Any:
    """JSON with line ends inside strings and with NaN, as programs write them; None if it is none."""
    for candidate in (text, _BARE_NUMBER.sub("null", text)):
        try:
            return json.loads(candidate, strict=False, parse_int=_number, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            continue
    return None


def _number(digits: str) -> int | str:
    return int(digits) if len(digits) < 40 else digits


def from_data(data: Mapping, text: str = "", system: str = "", depth: int = 0) -> Pasted:
    """The prompt in JSON data; plain text with a note if there is none."""
    text = text or json.dumps(dict(data), ensure_ascii=False, default=str)
    if depth > MAX_DEPTH:
        return _unknown(text)
    inner = data.get("Comment") or data.get("comment")
    if isinstance(inner, str) and isinstance(loads(inner), Mapping):
        return from_data(loads(inner), depth=depth + 1)
    if isinstance(data.get("parameters"), Mapping) and isinstance(data.get("input"), str):
        return _novelai({"prompt": data["input"], **data["parameters"]})
    if isinstance(data.get("v4_prompt"), Mapping) or "characterPrompts" in data:
        return _novelai(data)
    if any(str(name).startswith("tag_string_") for name in data):
        return _danbooru(data)
    image = data.get("image")
    if isinstance(image, Mapping) and isinstance(image.get("tags"), str):
        return _comfy(data, image, system)
    if "newbie_ui_card" in data:
        return _card(data, text)
    return _prompt_field(data, text, depth)


def _prompt_field(data: Mapping, text: str, depth: int) -> Pasted:
    """Other programs' settings: a field that holds the prompt."""
    for name in ("sui_image_params", "image", "request", "resolved"):
        if isinstance(data.get(name), Mapping):
            return from_data(data[name], text, depth=depth + 1)
    positive = _first(data, _POSITIVE)
    if positive is None:
        return _unknown(text)
    negative = _first(data, _NEGATIVE)
    found = read_text(positive)
    others = tuple((str(k), _words(v)) for k, v in data.items() if v is not None and v not in (positive, negative))
    negative = negative if negative is not None else found.negative
    return replace(found, negative=negative, settings=(*found.settings, *others))


def _first(data: Mapping, names: tuple[str, ...]) -> str | None:
    return next((data[name] for name in names if isinstance(data.get(name), str)), None)


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _unknown(text: str) -> Pasted:
    note = "This JSON holds no prompt that is known here. It is kept as plain text."
    return Pasted("json", text, split.plain(text), notes=(note,))


# ---- NovelAI


def _novelai(data: Mapping) -> Pasted:
    """V4: a base text and characters, each with the centre of its place, which counts if coordinates are on."""
    positive, negative = _v4(data.get("v4_prompt")), _v4(data.get("v4_negative_prompt"))
    base = positive.get("base") or _first(data, ("prompt",)) or ""
    people = positive.get("people") or _character_prompts(data)
    placed = bool(positive.get("use_coords", True))
    prompt, notes = split.from_parts(base, [text for text, _ in people])
    cards = []
    for one, (_, point) in zip(prompt.characters, people):
        at = tag(from_point(*point)) if point and placed else ""
        cards.append(one.with_field("position", at) if at and not one.get("position") else one)
    prompt = replace(prompt, characters=tuple(cards))
    apart = [text for text, _ in negative.get("people", ()) if text.strip()]
    stay_away = ", ".join(
        part for part in (_first(data, ("uc", "negative_prompt")) or negative.get("base", ""), *apart) if part
    )
    if apart:
        notes.append("What single characters stay away from was added to the one negative.")
    if re.search(r"[{\[]\w|\d::", base + "".join(text for text, _ in people)):
        notes.append("NovelAI's weights ({ }, [ ], 1.3:: ::) are kept; NewBie reads them as letters.")
    known = {"prompt", "uc", "negative_prompt", "v4_prompt", "v4_negative_prompt", "characterPrompts"}
    settings = tuple((str(k), _words(v)) for k, v in data.items() if k not in known and v is not None)
    return Pasted(
        "novelai",
        build(prompt),
        prompt,
        negative=stay_away,
        settings=settings,
        segments=(base, *(text for text, _ in people)),
        notes=tuple(notes),
    )


def _v4(block: Any) -> dict[str, Any]:
    caption = block.get("caption") if isinstance(block, Mapping) else None
    if not isinstance(caption, Mapping):
        return {}
    people = []
    for one in caption.get("char_captions") if isinstance(caption.get("char_captions"), list) else ():
        if isinstance(one, Mapping) and isinstance(one.get("char_caption"), str):
            centers = one.get("centers")
            people.append((one["char_caption"], _point(centers[0]) if isinstance(centers, list) and centers else None))
    base = caption.get("base_caption")
    return {
        "base": base if isinstance(base, str) else "",
        "people": people,
        "use_coords": block.get("use_coords", True),
    }


def _character_prompts(data: Mapping) -> list[tuple[str, tuple[float, float] | None]]:
    given = data.get("characterPrompts")
    return [
        (one["prompt"], _point(one.get("center")))
        for one in (given if isinstance(given, list) else ())
        if isinstance(one, Mapping) and isinstance(one.get("prompt"), str)
    ]


def _point(center: Any) -> tuple[float, float] | None:
    x, y = (center.get("x"), center.get("y", 0.5)) if isinstance(center, Mapping) else (None, None)
    good = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (x, y))
    return (float(x), float(y)) if good else None


# ---- ComfyUI's mixed form


def _comfy(data: Mapping, image: Mapping, system: str) -> Pasted:
    """`{"character_1": {"bbox": …, "name": …}, "image": {"tags": "<XML>", "caption": "…"}}`."""
    people, rest = {}, {f"image.{k}": v for k, v in image.items() if k not in ("tags", "caption")}
    for name, one in data.items():
        number = re.fullmatch(r"character[_ -]?(\d{1,3})", str(name), re.IGNORECASE)
        if number and isinstance(one, Mapping):
            people[int(number[1])] = one
        elif name != "image":
            rest[str(name)] = one
    inner = read_text(image["tags"])
    found = _placed(inner.text, system, people, image.get("caption"))
    settings = (*inner.settings, *((name, _words(value)) for name, value in rest.items()))
    notes = (*inner.notes, *found.notes)
    return replace(found, negative=inner.negative, loras=inner.loras, settings=settings, notes=notes)


def _mixed(text: str) -> Pasted:
    """The same where it is not valid JSON: the XML stands between two frames."""
    parsed = parse(text)
    frames = "".join(text[start:end] for start, end in parsed.frames)
    spans = [(span.start, span.end) for span in (*parsed.blocks, *parsed.elements)] + list(parsed.loose)
    body = text[min(start for start, _ in spans) : max(end for _, end in spans)]
    if "\\n" in body and "\n" not in body:
        body = body.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
    people = {}
    for match in _PERSON.finditer(frames):
        one = loads(match[2])
        if isinstance(one, Mapping):
            people[int(match[1])] = one
    caption = _CAPTION.search(frames)
    return _placed(body, text[: parsed.system_end], people, loads(f'"{caption[1]}"') if caption else None)


def _placed(xml: str, system: str, people: Mapping[int, Mapping], caption: Any) -> Pasted:
    """The XML with what the JSON says of its characters, the caption as an element, the system prompt in front."""
    notes: list[str] = []
    for number, one in sorted(people.items()):
        parsed = parse(xml)
        index = next((i for i, block in enumerate(parsed.characters) if (block.number or i + 1) == number), None)
        if index is None:
            notes.append(f"Character {number} has no block in the text: {_words(dict(one))} was left out.")
            continue
        fields, said = _from_json(one, parsed.prompt.characters[index], number)
        xml = update_character(parsed, index, fields) if fields else xml
        notes += said
    if isinstance(caption, str) and caption.strip() and caption.strip() not in xml:
        xml = set_extra(xml, "caption", caption)
    text = set_system(xml, system) if system.strip() else xml
    return Pasted("comfyui", text, parse(text).prompt, notes=tuple(notes))


def _from_json(one: Mapping, card: Character, number: int) -> tuple[dict[str, str], list[str]]:
    """Fields to set from a character's JSON, and what was done with the rest of it."""
    fields, notes = {}, []
    name, box = one.get("name"), one.get("bbox")
    if isinstance(name, str) and not is_placeholder(name) and not card.name:
        fields["n"] = name
    if box is not None:
        cell = _box_tag(box)
        if cell and not card.get("position"):
            fields["position"] = cell
            notes.append(f"Character {number} stands at {cell}, from its box {box}.")
        else:
            notes.append(f"The box {box} of character {number} was left out: NewBie's position tags say the place.")
    rest = {k: v for k, v in one.items() if k not in ("name", "bbox")}
    if rest:
        notes.append(f"Of character {number}, {_words(rest)} was left out.")
    return fields, notes


def _box_tag(box: Any) -> str:
    """The position of a box 0 … 1000 (left, top, right, bottom); "" for the whole picture or nonsense."""
    good = (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in box)
    )
    if not good or (box[2] - box[0]) > 900:
        return ""
    return tag(from_point((box[0] + box[2]) / 2000))


# ---- Danbooru's API, our card


def _danbooru(data: Mapping) -> Pasted:
    categories = {
        name: str(data.get(f"tag_string_{name}") or "").split()
        for name in ("artist", "copyright", "character", "general", "meta")
    }
    found = from_categories({name: tags for name, tags in categories.items() if tags})
    others = tuple((str(k), _words(v)) for k, v in data.items() if not str(k).startswith("tag_string"))
    return replace(found, settings=others)


def _card(data: Mapping, text: str) -> Pasted:
    try:
        card = cards.from_dict(data)
    except UserError as error:
        return Pasted("json", text, split.plain(text), notes=(str(error),))
    return built("card", Prompt((card.character,)), [f"A card: {card.name}."])

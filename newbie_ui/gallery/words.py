"""What of a picture can be found by searching: its words, its tags, its characters.

Promises: the same text is made the same way for the index and for a question: lower case, underscores as spaces,
Latin letters without accents, each Chinese, Japanese or Korean sign a word of its own. A tag becomes one word, its
parts joined by underscores, so that `blue_hair` is found and `dark_blue_hair` is not.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from newbie_ui.gallery.foreign.characters import decode_entities
from newbie_ui.gallery.info import PictureInfo
from newbie_ui.prompt.document import PROSE_FIELDS, Prompt
from newbie_ui.prompt.xml import parse

MAX_TAGS = 400
MAX_TAG = 120  # longer ones are sentences
MAX_NAMES = 20
TITLE_CHARS = 80

_SIGN = re.compile(r"([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af])")
_NOT_WORD = re.compile(r"[\W_]+")
_WEIGHT = re.compile(r":\s*-?\d*\.?\d+\s*(?=[)\]}]*$)")
_LORA = re.compile(r"<(?:lora|lyco|hypernet):[^<>]*>", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """What the index holds of one picture's text."""

    title: str
    words: str
    tags: str
    characters: tuple[str, ...]


def normal(text: str) -> str:
    """Text as the index holds it: words with one space between them."""
    if text.isascii():
        return _NOT_WORD.sub(" ", text.lower()).strip()
    folded = unicodedata.normalize("NFKC", text).casefold()
    plain = "".join(_without_accent(sign) if sign > "\x7f" else sign for sign in folded)
    return _NOT_WORD.sub(" ", _SIGN.sub(r" \1 ", plain)).strip()


def _without_accent(sign: str) -> str:
    base = unicodedata.normalize("NFKD", sign)
    return base[0] if base[0] < "\x7f" and all(unicodedata.combining(mark) for mark in base[1:]) else sign


@lru_cache(maxsize=8192)
def tag_word(tag: str) -> str:
    """A tag as one word: `(Blue Hair:1.2)` and `blue_hair` are both `blue_hair`."""
    if len(tag) > MAX_TAG:
        return ""
    return _NOT_WORD.sub("_", unicodedata.normalize("NFKC", _WEIGHT.sub("", tag.strip())).casefold()).strip("_")


def words_of(info: PictureInfo) -> Found:
    """What can be found of a picture."""
    document = parse(_LORA.sub("", info.prompt or "")).prompt
    values = _values(document)
    prose = [value for name, value in values if name in PROSE_FIELDS]
    lists = [value for name, value in values if name not in PROSE_FIELDS]
    if not document.characters:
        lists += [character.text for character in info.characters]
    names = tuple(dict.fromkeys(character.name for character in document.characters if character.name))[:MAX_NAMES]
    besides = [info.model or "", *(name for name, _ in info.loras)]
    tags = dict.fromkeys(word for text in lists for tag in re.split(r"[,\n]", text) if (word := tag_word(tag)))
    return Found(
        title=_title(document, info.prompt or ""),
        words=normal(" \n ".join((*lists, *prose, *besides))),
        tags=" ".join(list(tags)[:MAX_TAGS]),
        characters=tuple(display_name(name) for name in names),
    )


def _values(document: Prompt) -> list[tuple[str, str]]:
    blocks = (*document.characters, document.general)
    values = [(name, value) for block in blocks for name, value in block.fields if not value.startswith("$")]
    values += [(extra.name, extra.text) for extra in document.extras]
    return [(name, decode_entities(value)) for name, value in values]


def display_name(name: str) -> str:
    """A character's name as people read it: `aris_\\(blue archive\\)` as `aris (blue archive)`."""
    return " ".join(name.replace("\\", "").replace("_", " ").split())[:TITLE_CHARS]


def _title(document: Prompt, prompt: str) -> str:
    """Each character by name, else by the colour of the hair; else how the text begins."""
    told = (display_name(character.name) or _look(character.get("appearance")) for character in document.characters)
    return (", ".join(text for text in told if text) or " ".join(prompt.split()))[:TITLE_CHARS]


def _look(appearance: str) -> str:
    tags = [tag.strip().replace("_", " ") for tag in appearance.split(",") if tag.strip()]
    return next((tag for tag in tags if tag.endswith("hair")), tags[0] if tags else "")[:30]

"""Text on a picture: a font that has its letters, lines that fit a width.

Promises: any text at all becomes printable lines, never more than asked for, each within the width; nothing is
downloaded. Where the machine has no font for a script its letters are drawn as empty boxes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont
MAX_LABEL = 400  # letters of one label that are looked at
ELLIPSIS = "…"
# What Pillow's own font has letters for.
BUILT_IN = frozenset(map(chr, range(32, 127))) | set("…·“”’°")
# Looked for by name in the system's font folders, the widest first: Chinese, Japanese and Korean, then Latin and more.
SYSTEM_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKjp-Regular.otf",
    "NotoSansCJKsc-Regular.otf",
    "SourceHanSans-Regular.ttc",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "ヒラギノ角ゴシック W3.ttc",
    "msyh.ttc",
    "YuGothM.ttc",
    "meiryo.ttc",
    "Arial Unicode.ttf",
    "DejaVuSans.ttf",
    "Arial.ttf",
)
_PIECES = re.compile(r"[^\s,_|/-]*[,_|/-]+|[^\s,_|/-]+|\s+")


def printable(text: str) -> str:
    """One line of letters: no controls, no marks that turn the direction of writing, no halves of letters."""
    letters = (" " if sign.isspace() else sign for sign in text[: 4 * MAX_LABEL])
    kept = "".join(sign for sign in letters if not unicodedata.category(sign).startswith("C"))
    line = " ".join(kept.split())
    return line if len(line) <= MAX_LABEL else line[:MAX_LABEL].rstrip() + ELLIPSIS


def font_for(texts: Iterable[str], size: int) -> Font:
    """A font of this size with the letters of all these texts, as far as there is one."""
    name = None if set("".join(texts)) <= BUILT_IN else _system_font()
    return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)


@lru_cache(maxsize=1)
def _system_font() -> str | None:
    for name in SYSTEM_FONTS:
        try:
            return str(ImageFont.truetype(name, 12).path)
        except OSError:
            continue
    return None


def line_height(font: Font) -> int:
    ascent, descent = font.getmetrics()
    return round((ascent + descent) * 1.12)


def wrap(text: str, font: Font, width: float, lines: int) -> list[str]:
    """The text in at most this many lines of at most this width, broken between words, else inside one."""
    found: list[str] = []
    rest = printable(text)
    while rest and len(found) < lines:
        cut = _fitting(rest, font, width)
        if cut < len(rest) and len(found) == lines - 1:
            found.append(_shortened(rest, font, width))
            return found
        found.append(rest[:cut].strip())
        rest = rest[cut:].strip()
    return found


def _fitting(text: str, font: Font, width: float) -> int:
    """How many letters go into one line, at least one."""
    cut = 0
    for piece in _PIECES.findall(text):
        end = cut + len(piece)
        if font.getlength(text[:end].rstrip()) > width:
            break
        cut = end
    if cut and text[:cut].strip():
        return cut
    return max(1, _most(text, font, width))


def _most(text: str, font: Font, width: float) -> int:
    """The longest beginning that fits, by halving."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle]) <= width else (low, middle - 1)
    return low


def _shortened(text: str, font: Font, width: float) -> str:
    room = width - font.getlength(ELLIPSIS)
    return text[: _most(text, font, room)].rstrip() + ELLIPSIS

"""Texts hidden in the lowest bit of the pixels, as NovelAI, Forge and others write them.

Column by column, each column from the top: 15 bytes of signature, the length in bits (32, big-endian), the data.
Promises: only as many pixels are looked at as the text needs; the text has the limits of any other.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from PIL import Image

from newbie_ui.gallery.safe import MAX_TEXT_BYTES, Damaged, inflate, load_object

SIGNATURES = {b"stealth_pngcomp": True, b"stealth_pnginfo": False, b"stealth_rgbcomp": True, b"stealth_rgbinfo": False}
_HEAD_BITS = (15 + 4) * 8
_LOWEST = bytes(b"01"[value & 1] for value in range(256))
_GZIP = zlib.MAX_WBITS | 16


def read_stealth(image: Image.Image) -> str | None:
    """The hidden text of a picture, or None. Raises Damaged when it begins like one and cannot be read."""
    if image.mode == "RGBA":
        found = _read(image.getchannel("A"), 1)
        if found is not None:
            return found
    return _read(image.convert("RGB"), 3) if image.mode in ("RGB", "RGBA") else None


def _read(image: Image.Image, per_pixel: int) -> str | None:
    head = _bits(image, _HEAD_BITS, per_pixel)
    packed = SIGNATURES.get(head[:15])
    if packed is None or len(head) < 19:
        return None
    bits = int.from_bytes(head[15:19], "big")
    room = image.width * image.height * per_pixel - _HEAD_BITS
    if bits > min(room, MAX_TEXT_BYTES * 8):
        raise Damaged("The hidden text says it is larger than the picture can hold.")
    data = _bits(image, _HEAD_BITS + bits, per_pixel)[19:]
    try:
        return (inflate(data, wbits=_GZIP) if packed else data).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Damaged("The hidden text is damaged.") from error


def _bits(image: Image.Image, count: int, per_pixel: int) -> bytes:
    """The first `count` lowest bits, packed into bytes, high bit first."""
    columns = min(image.width, -(-count // (image.height * per_pixel)))
    strip = image.crop((0, 0, columns, image.height)).transpose(Image.Transpose.TRANSPOSE)
    digits = strip.tobytes().translate(_LOWEST)[: count // 8 * 8]
    return int(digits or b"0", 2).to_bytes(len(digits) // 8, "big")


def as_texts(hidden: str) -> Mapping[str, str]:
    """The hidden text as the chunks it stands for: NovelAI's JSON, or the A1111 text itself."""
    if not hidden.lstrip().startswith("{"):
        return {"parameters": hidden}
    try:
        data = load_object(hidden)
    except Damaged:
        return {"parameters": hidden}
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    return texts if {"Comment", "Description", "prompt", "workflow"} & set(texts) else {"parameters": hidden}

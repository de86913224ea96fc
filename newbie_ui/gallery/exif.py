"""The few Exif texts that image generators use, read from and written to a TIFF block.

Promises: bounded, never raises on reading; text in either byte order. Reads and writes nothing else: no place, no
camera, no orientation.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Mapping

TAGS = {
    0x010D: "DocumentName",
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0131: "Software",
    0x9286: "UserComment",
    0x927C: "MakerNote",
}
_EXIF_IFD = 0x8769
_ASCII, _LONG, _UNDEFINED = 2, 4, 7
_MAX_ENTRIES = 200


def read_exif(data: bytes) -> tuple[dict[str, str], tuple[str, ...]]:
    """Texts by the names in `TAGS`, and sentences about what could not be read."""
    if data.startswith(b"Exif\0\0"):
        data = data[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        return {}, ("The Exif data is damaged; it was left out.",)
    found: dict[str, str] = {}
    problems: list[str] = []
    pending, seen = [struct.unpack_from(order + "I", data, 4)[0]], set()
    while pending and len(seen) < 4:
        offset = pending.pop()
        if offset in seen:
            continue
        seen.add(offset)
        for tag, kind, value in _entries(data, offset, order, problems):
            if tag == _EXIF_IFD and kind == _LONG and len(value) >= 4:
                pending.append(struct.unpack(order + "I", value[:4])[0])
            elif tag in TAGS and kind in (1, _ASCII, _UNDEFINED):
                found.setdefault(TAGS[tag], _decode(value, order, tag))
    return {name: text for name, text in found.items() if text}, tuple(dict.fromkeys(problems))


def _entries(data: bytes, offset: int, order: str, problems: list[str]) -> Iterator[tuple[int, int, bytes]]:
    count = struct.unpack_from(order + "H", data, offset)[0] if offset + 2 <= len(data) else 1
    for place in range(offset + 2, offset + 2 + 12 * min(count, _MAX_ENTRIES), 12):
        if place + 12 > len(data):
            problems.append("The Exif data ends early; what stood after that is lost.")
            return
        tag, kind, length = struct.unpack_from(order + "HHI", data, place)
        size = length * {1: 1, 2: 1, 3: 2, 4: 4, 7: 1}.get(kind, 0)
        start = place + 8 if size <= 4 else struct.unpack_from(order + "I", data, place + 8)[0]
        if start + size <= len(data):
            yield tag, kind, data[start : start + size]
        elif tag in TAGS:
            problems.append(f"The Exif text {TAGS[tag]!r} is cut off; it was left out.")


def _decode(value: bytes, order: str, tag: int) -> str:
    if tag == 0x9286:
        code, rest = value[:8], value[8:]
        if code == b"UNICODE\0":
            return _decode_utf16(rest, order)
        if code in (b"ASCII\0\0\0", b"JIS\0\0\0\0\0", b"\0" * 8):
            value = rest
    try:
        return value.decode("utf-8").rstrip("\0")
    except UnicodeDecodeError:
        return value.decode("latin-1").rstrip("\0")


def _decode_utf16(data: bytes, order: str) -> str:
    """UTF-16 of unknown byte order: the mark, else where the zero bytes of ASCII stand, else the block's order.

    Without any zero byte it is UTF-8 if it can be: some programs write that under the name of UTF-16.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace").rstrip("\0")
    if 0 not in data:
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode("utf-8")
    high, low = data[0::2].count(0), data[1::2].count(0)
    if high == low:
        codec = "utf-16-le" if order == "<" else "utf-16-be"
    else:
        codec = "utf-16-be" if high > low else "utf-16-le"
    return data[: len(data) // 2 * 2].decode(codec, "replace").rstrip("\0")


def write_exif(texts: Mapping[str, str]) -> bytes:
    """A TIFF block (big-endian) with these texts; `UserComment` as UTF-16, the others as UTF-8."""
    codes = {name: tag for tag, name in TAGS.items()}
    main = {codes[n]: t.encode("utf-8", "replace") + b"\0" for n, t in texts.items() if n != "UserComment"}
    comment = texts.get("UserComment", "").encode("utf-16-be", "replace")
    sub = {0x9286: b"UNICODE\0" + comment} if comment else {}
    after_main = 8 + _ifd_size(main, extra=bool(sub))
    block = b"MM\0*" + struct.pack(">I", 8)
    block += _ifd(main, 8, pointer=after_main if sub else None)
    return block + (_ifd(sub, after_main) if sub else b"")


def _ifd_size(values: Mapping[int, bytes], extra: bool = False) -> int:
    return 2 + 12 * (len(values) + extra) + 4 + sum(len(v) + len(v) % 2 for v in values.values() if len(v) > 4)


def _ifd(values: Mapping[int, bytes], offset: int, pointer: int | None = None) -> bytes:
    rows, heap = [], b""
    heap_at = offset + 2 + 12 * (len(values) + (pointer is not None)) + 4
    for tag in sorted(values):
        value = values[tag]
        kind = _UNDEFINED if tag == 0x9286 else _ASCII
        if len(value) > 4:
            place = struct.pack(">I", heap_at + len(heap))
            heap += value + b"\0" * (len(value) % 2)
        else:
            place = value.ljust(4, b"\0")
        rows.append(struct.pack(">HHI", tag, kind, len(value)) + place)
    if pointer is not None:
        rows.append(struct.pack(">HHII", _EXIF_IFD, _LONG, 1, pointer))
    rows.sort()
    return struct.pack(">H", len(rows)) + b"".join(rows) + b"\0\0\0\0" + heap

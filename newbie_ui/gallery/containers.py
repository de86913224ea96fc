"""The picture file as a container: format, size and texts, without decoding a pixel.

Promises: a file is what its bytes say, never what its name says; PNG, WebP and JPEG are accepted, all else is
refused with a sentence; files, pixels and texts beyond the limits of `safe` are never read. Text chunks behind the
pixels are found. Damage to texts is reported in `problems`, not raised.
Knows nothing of what the texts mean.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from newbie_ui.errors import PictureError
from newbie_ui.gallery.exif import read_exif
from newbie_ui.gallery.safe import MAX_FILE_BYTES, MAX_PIXELS, MAX_TEXT_BYTES, MAX_TEXTS_BYTES, Damaged, inflate

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 100_000
_TEXT_KINDS = (b"tEXt", b"zTXt", b"iTXt")


@dataclass(frozen=True)
class Container:
    """What a picture file says about itself."""

    format: str  # "PNG" | "WEBP" | "JPEG"
    width: int
    height: int
    texts: Mapping[str, str]  # PNG keyword → text, the first of each keyword
    exif: Mapping[str, str] = field(default_factory=dict)  # name of the tag → text, see `exif`
    problems: tuple[str, ...] = ()
    damaged: bool = False


def read_container(path: str | Path) -> Container:
    """Look into a picture file. Raises PictureError when it is not a picture we take."""
    name = Path(path).name[:80]
    try:
        with _open(path, name) as file:
            return _read(file, name)
    except OSError as error:
        raise PictureError(f"{name!r} cannot be read ({error.strerror}). Choose another file.") from error


def _open(path: str | Path, name: str) -> BinaryIO:
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    file = os.fdopen(handle, "rb")
    info = os.fstat(handle)
    problem = ""
    if not stat.S_ISREG(info.st_mode):
        problem = f"{name!r} is not a file. Choose a PNG, WebP or JPEG picture."
    elif info.st_size > MAX_FILE_BYTES:
        problem = (
            f"{name!r} has {info.st_size / 2**20:.0f} MiB; pictures up to {MAX_FILE_BYTES // 2**20} MiB are read. "
            "Save it smaller."
        )
    if problem:
        file.close()
        raise PictureError(problem)
    return file


def _read(file: BinaryIO, name: str) -> Container:
    head = file.read(16)
    file.seek(0)
    try:
        if head.startswith(PNG_SIGNATURE):
            container = _read_png(file)
        elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            container = _read_webp(file)
        elif head.startswith(b"\xff\xd8\xff"):
            container = _read_jpeg(file)
        else:
            raise PictureError(f"{name!r} is not a PNG, WebP or JPEG picture. Choose one of these.")
    except (Damaged, struct.error) as error:
        raise PictureError(f"{name!r} is damaged and cannot be read as a picture. Choose another copy.") from error
    if container.width < 1 or container.height < 1:
        raise PictureError(f"{name!r} has no pixels. Choose another picture.")
    if container.width * container.height > MAX_PIXELS:
        raise PictureError(
            f"{name!r} is {container.width} x {container.height} pixels; up to {MAX_PIXELS / 1e6:.0f} million are "
            "read. Save it smaller."
        )
    return container


# ---- PNG -------------------------------------------------------------------------------------------------------


def _read_png(file: BinaryIO) -> Container:
    file.seek(len(PNG_SIGNATURE))
    texts = _Texts()
    size: tuple[int, int] | None = None
    exif: Mapping[str, str] = {}
    for kind, length in _png_chunks(file, texts):
        if size is None and (kind != b"IHDR" or length != 13):
            raise Damaged("The first part is not a PNG header.")
        if kind == b"IHDR":
            size = struct.unpack(">II", file.read(13)[:8])
        elif kind in _TEXT_KINDS:
            texts.add_chunk(kind, length, file)
        elif kind == b"eXIf":
            exif = texts.read_exif(file, length)
    if size is None:
        raise Damaged("There is no PNG header.")
    return Container("PNG", *size, texts.found, exif, tuple(texts.problems), texts.damaged)


def _png_chunks(file: BinaryIO, texts: _Texts) -> Iterator[tuple[bytes, int]]:
    """Kind and length of each chunk with the file standing at its data, up to IEND or the end of the file."""
    for _ in range(MAX_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            texts.damage("The file ends early; what stood after that is lost.")
            return
        length, kind = struct.unpack(">I4s", header)
        after = file.tell() + length + 4
        if kind == b"IEND":
            return
        yield kind, length
        file.seek(after)
    texts.damage(f"The file has more than {MAX_CHUNKS:,} parts; the rest was not read.")


class _Texts:
    """Collects the texts of a picture and what is wrong with them."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.problems: list[str] = []
        self.damaged = False
        self._room = MAX_TEXTS_BYTES

    def damage(self, sentence: str) -> None:
        self.damaged = True
        if len(self.problems) < 10:
            self.problems.append(sentence)

    def add_chunk(self, kind: bytes, length: int, file: BinaryIO) -> None:
        if length > min(MAX_TEXT_BYTES, self._room):
            keyword = file.read(80).split(b"\0")[0].decode("latin-1")[:79]
            limit = min(MAX_TEXT_BYTES, self._room)
            self.damage(f"The text {keyword!r} has {length:,} bytes; it was left out (up to {limit:,} are read).")
            return
        data, check = file.read(length), file.read(4)
        if len(data) < length:
            return  # the chunk walk reports the early end
        keyword = data[:80].split(b"\0")[0].decode("latin-1")
        if len(check) < 4 or struct.unpack(">I", check)[0] != zlib.crc32(data, zlib.crc32(kind)):
            self.damage(f"The text {keyword[:79]!r} is damaged (its checksum is wrong); it was left out.")
            return
        try:
            self._add(keyword, _decode_text(kind, data, min(MAX_TEXT_BYTES, self._room)))
        except Damaged as error:
            self.damage(f"The text {keyword[:79]!r} was left out: {str(error)[:1].lower()}{str(error)[1:]}")

    def read_exif(self, file: BinaryIO, length: int) -> Mapping[str, str]:
        """The Exif block that begins here; what is wrong with it is noted."""
        if length > MAX_TEXT_BYTES:
            self.damage(f"The Exif data has {length:,} bytes; it was left out (up to {MAX_TEXT_BYTES:,} are read).")
            return {}
        found, problems = read_exif(file.read(length))
        for problem in problems:
            self.damage(problem)
        return found

    def _add(self, keyword: str, text: str) -> None:
        self._room -= len(text)
        self.found.setdefault(keyword, text.rstrip("\0"))


def _decode_text(kind: bytes, data: bytes, limit: int) -> str:
    """The text of a tEXt, zTXt or iTXt chunk; Latin-1 texts that are really UTF-8 are read as such."""
    _, separator, rest = data.partition(b"\0")
    if not separator:
        raise Damaged("It has no text.")
    if kind == b"tEXt":
        return decode_bytes(rest)
    if kind == b"zTXt":
        return decode_bytes(inflate(rest[1:], limit))
    packed, _, after_method = rest[:1], rest[1:2], rest[2:]
    parts = after_method.split(b"\0", 2)  # language, translated keyword, text
    if len(parts) < 3:
        raise Damaged("Its header is incomplete.")
    return decode_bytes(inflate(parts[2], limit) if packed == b"\1" else parts[2])


def decode_bytes(data: bytes) -> str:
    """UTF-8 if it is that, else Latin-1: what many programs write where Latin-1 is due."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


# ---- WebP ------------------------------------------------------------------------------------------------------


def _read_webp(file: BinaryIO) -> Container:
    file.seek(12)
    size: tuple[int, int] | None = None
    exif: Mapping[str, str] = {}
    texts = _Texts()
    for _ in range(MAX_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            break
        kind, length = struct.unpack("<4sI", header)
        after = file.tell() + length + length % 2
        if kind in (b"VP8X", b"VP8 ", b"VP8L") and size is None:
            size = _webp_size(kind, file.read(10))
        elif kind == b"EXIF":
            exif = texts.read_exif(file, length)
        file.seek(after)
    if size is None:
        raise Damaged("There is no picture in this WebP file.")
    return Container("WEBP", *size, {}, exif, tuple(texts.problems), texts.damaged)


def _webp_size(kind: bytes, head: bytes) -> tuple[int, int]:
    if kind == b"VP8X":
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", head[6:10])
    return width & 0x3FFF, height & 0x3FFF


# ---- JPEG ------------------------------------------------------------------------------------------------------


def _read_jpeg(file: BinaryIO) -> Container:
    file.seek(2)
    exif: Mapping[str, str] = {}
    texts = _Texts()
    for _ in range(1000):
        marker = file.read(2)
        while marker[1:] == b"\xff":  # fill bytes
            marker = marker[1:] + file.read(1)
        if len(marker) < 2 or marker[0] != 0xFF or marker[1] in (0xD9, 0xDA):
            break
        length = struct.unpack(">H", file.read(2))[0]
        after = file.tell() + length - 2
        if marker[1] in range(0xC0, 0xD0) and marker[1] not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", file.read(5)[1:])
            return Container("JPEG", width, height, {}, exif, tuple(texts.problems), texts.damaged)
        if marker[1] == 0xE1 and not exif and file.read(6) == b"Exif\0\0":
            exif = texts.read_exif(file, length - 8)
        file.seek(after)
    raise Damaged("There is no picture in this JPEG file.")

"""Opening, shrinking and writing pictures with Pillow, for files that strangers made.

Promises: only PNG, WebP and JPEG are decoded, by what the bytes say, after size and pixel limits were checked;
whatever Pillow raises on damage becomes a PictureError.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, PngImagePlugin

from newbie_ui.errors import PictureError
from newbie_ui.gallery.containers import Container, read_container
from newbie_ui.gallery.exif import write_exif
from newbie_ui.gallery.parameters import parameters_text
from newbie_ui.gallery.record import KEYWORD, Record, write_record

THUMBNAIL_SIZE = 400  # longer side, in pixels
PNG_LEVEL = 2  # 1.7 times as fast as 4 for 5 % more bytes (1024 x 1024, drawn picture)
FORMATS = ("PNG", "WEBP", "JPEG")


def open_picture(path: str | Path, container: Container | None = None) -> Image.Image:
    """Decode a picture. Raises PictureError for anything that is not a whole picture within the limits."""
    container = container or read_container(path)
    try:
        with Image.open(path, formats=[container.format]) as image:
            if image.width * image.height != container.width * container.height:
                raise ValueError("the header tells another size")
            image.load()
            return image
    except (OSError, ValueError, SyntaxError, KeyError, IndexError, TypeError, struct.error, zlib.error) as error:
        raise _damaged(path) from error
    except (EOFError, OverflowError, MemoryError, Image.DecompressionBombError) as error:
        raise _damaged(path) from error


def _damaged(path: str | Path) -> PictureError:
    return PictureError(f"{Path(path).name[:80]!r} is damaged and cannot be shown. Choose another copy.")


def thumbnail(image: Image.Image, file: BinaryIO) -> None:
    """Write a small WebP of the picture."""
    small = flat(image)
    small.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    small.save(file, "WEBP", quality=82, method=2)


def flat(image: Image.Image) -> Image.Image:
    """An RGB copy without text, transparency that hides nothing, or colour profile."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] < 254:
            ground = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(ground, image)
    copy = Image.new("RGB", image.size)
    copy.paste(image.convert("RGB"))
    return copy


def save_png(image: Image.Image, record: Record, file: BinaryIO) -> None:
    """Write the picture with the A1111 text and our record before the pixels."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", parameters_text(record))
    texts.add_text(KEYWORD, write_record(record))
    image.save(file, "PNG", pnginfo=texts, compress_level=PNG_LEVEL)


def save_copy(image: Image.Image, file: BinaryIO, format: str, record: Record | None = None, quality: int = 92) -> None:
    """Write a copy as PNG, WebP or JPEG: with the record, or with nothing but the pixels."""
    if format not in FORMATS:
        raise PictureError(f"Pictures cannot be written as {format[:20]!r}. Use one of: {', '.join(FORMATS)}.")
    copy = flat(image)
    if format == "PNG":
        save_png(copy, record, file) if record else copy.save(file, "PNG", compress_level=PNG_LEVEL)
        return
    options: dict[str, Any] = {"quality": quality} | ({"subsampling": 0} if format == "JPEG" else {"method": 4})
    exif = exif_of(record) if record else b""
    if format == "JPEG" and len(exif) > 65_000:  # one segment is all there is
        exif = b"Exif\0\0" + write_exif({"UserComment": parameters_text(record)[:30_000]})
    elif format == "JPEG" and exif:
        exif = b"Exif\0\0" + exif
    copy.save(file, format, **options, **({"exif": exif} if exif else {}))


def exif_of(record: Record) -> bytes:
    """The A1111 text where others look for it, and our record as a description."""
    return write_exif({"UserComment": parameters_text(record), "ImageDescription": f"{KEYWORD}:{write_record(record)}"})

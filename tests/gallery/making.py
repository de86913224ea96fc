"""Builders for the gallery's tests: results, PNGs with any chunks, tiny pictures."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from newbie_ui.request import GenerateRequest, GenerateResult, LoraUse, Memory, ResolvedRequest, Timings

DATA = Path(__file__).parent / "data"
TWO = (
    "<character_1>\n<n>Aoi</n>\n<gender>1girl</gender>\n<appearance>blue_hair, >_<</appearance>\n</character_1>\n\n"
    "<character_2>\n<n>$character_2$</n>\n<gender>1girl</gender>\n<appearance>pink_hair</appearance>\n</character_2>"
    "\n\n<general_tags>\n<count>2girls</count>\n</general_tags>"
)


def request(**changes: Any) -> GenerateRequest:
    """A request in which every field differs from its default."""
    everything = GenerateRequest(
        prompt=TWO,
        negative_prompt="lowres,\nbad hands",
        system_prompt="Draw. <Prompt Start>",
        width=256,
        height=320,
        steps=7,
        guidance_scale=4.5,
        guidance_renorm=0.5,
        guidance_rescale=0.25,
        guidance_start=0.1,
        guidance_end=0.9,
        sampler="heun",
        schedule="karras",
        shift=6.0,
        seed=9007199254740993,
        images=3,
        preset="balanced",
        loras=(LoraUse("ink, wash", 0.65),),
        fit="cut",
    )
    return replace(everything, **changes)


def result(
    id: str = "20261122-140233-000001",
    size: tuple[int, int] = (48, 32),
    colour: str | tuple[int, int, int] = "teal",
    created_at: float = 1795356153.25,
    asked: GenerateRequest | None = None,
    **resolved: Any,
) -> GenerateResult:
    """A finished picture of one colour."""
    asked = asked or request()
    used = {
        "request": asked,
        "system_prompt": asked.system_prompt or "Default. <Prompt Start>",
        "width": asked.width or 256,
        "height": asked.height or 256,
        "steps": asked.steps or 20,
        "guidance_scale": asked.guidance_scale or 4.5,
        "shift": asked.shift or 6.0,
        "seed": asked.seed if asked.seed is not None else 1234,
        "preset": "balanced",
        "model": "NewBie demo",
        "model_hash": "0a1b2c3d4e",
        "loras": (("ink, wash", 0.65, "abcdef0123"),),
    }
    return GenerateResult(
        id=id,
        resolved=ResolvedRequest(**used | resolved),
        timings=Timings(0.5, 0.1, 3.5, 0.25, 4.35, 7),
        memory=Memory(None, None, 1.5, 24.0),
        created_at=created_at,
        facts={"attention": "sdpa", "compile": "off", "note": "<b>bold</b> “ünïcode”"},
        image=Image.new("RGB", size, colour),
    )


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def text_chunk(keyword: str, text: str | bytes) -> bytes:
    """A tEXt chunk; text goes in as UTF-8 bytes, as many programs do it."""
    return chunk(b"tEXt", keyword.encode() + b"\0" + (text.encode() if isinstance(text, str) else text))


def itxt_chunk(keyword: str, text: str, packed: bool = False) -> bytes:
    data = zlib.compress(text.encode()) if packed else text.encode()
    return chunk(b"iTXt", keyword.encode() + b"\0" + bytes([packed, 0]) + b"ja\0\0" + data)


def png_bytes(before: bytes = b"", after: bytes = b"", size: tuple[int, int] = (2, 2), end: bool = True) -> bytes:
    """A real PNG with these chunks before and after its pixels."""
    width, height = size
    rows = b"".join(b"\0" + b"\x40\x80\xc0" * width for _ in range(height))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + before
        + chunk(b"IDAT", zlib.compress(rows))
        + after
        + (chunk(b"IEND", b"") if end else b"")
    )


def png(path: Path, before: bytes = b"", after: bytes = b"", **options: Any) -> Path:
    path.write_bytes(png_bytes(before, after, **options))
    return path


def png_with(path: Path, **texts: Any) -> Path:
    """A PNG with text chunks; anything that is not text is written as JSON."""
    chunks = [itxt_chunk(key, value if isinstance(value, str) else json.dumps(value)) for key, value in texts.items()]
    return png(path, b"".join(chunks))

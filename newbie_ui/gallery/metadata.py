"""What is written into our pictures and what is read from anybody's.

Writing: the A1111 text under `parameters` and our own versioned JSON under `newbie_ui`, before the pixels.
Reading: PNG, WebP and JPEG by ourselves, A1111, Forge, SD.Next, ComfyUI, NovelAI, SwarmUI, InvokeAI and Fooocus.
A picture without any of it is no error. `docs/metadata.md` tells what is read of each.

    python -m newbie_ui.gallery.metadata --json FILE…     one JSON line a file
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from newbie_ui.errors import PictureError
from newbie_ui.gallery.containers import Container, read_container
from newbie_ui.gallery.files import write_whole
from newbie_ui.gallery.foreign.characters import with_characters
from newbie_ui.gallery.foreign.detect import read_texts, texts_from_exif, texts_from_paste
from newbie_ui.gallery.foreign.stealth import as_texts, read_stealth
from newbie_ui.gallery.info import PictureInfo
from newbie_ui.gallery.parameters import parameters_text, to_parameters_text
from newbie_ui.gallery.pictures import open_picture, save_png
from newbie_ui.gallery.record import KEYWORD, Record, read_record, record_of
from newbie_ui.gallery.safe import Damaged
from newbie_ui.request import GenerateResult

__all__ = ["PictureInfo", "describe", "parameters_text", "read", "read_text", "to_parameters_text", "write_png"]

NOTHING = "This picture says nothing about how it was made. The form is unchanged."
UNREADABLE = "This file is no picture that can be read. The form is unchanged."


def write_png(result: GenerateResult, path: str | Path) -> Path:
    """Store a result as PNG; on return it is whole and durable under this name, which must be free."""
    if result.image is None:
        raise PictureError(f"Picture {result.id[:80]!r} carries no pixels; it cannot be stored again.")
    image, record = result.image, record_of(result)
    write_whole(Path(path), lambda file: save_png(image, record, file))
    return Path(path)


def read(path: str | Path) -> PictureInfo:
    """How a picture was made. Raises PictureError only when the file is not a picture that can be taken."""
    container = read_container(path)
    info = _read_own(container) or _read_foreign(container)
    if info is None:
        info = _read_hidden(path, container) or PictureInfo(problems=(NOTHING,))
    info = with_characters(info)
    return replace(
        info,
        problems=info.problems + container.problems,
        partial=info.partial or container.damaged,
        format=container.format,
        picture_size=(container.width, container.height),
    )


def read_text(text: str) -> PictureInfo | None:
    """How a picture is made by a ComfyUI graph or workflow that was copied as text; None for any other text."""
    info = read_texts(texts_from_paste(text))
    return with_characters(info) if info else None


def _read_own(container: Container) -> PictureInfo | None:
    text = container.texts.get(KEYWORD)
    if text is None:
        key, _, rest = container.exif.get("ImageDescription", "").partition(":")
        text = rest if key == KEYWORD else None
    if text is None:
        return None
    try:
        record, problems = read_record(text)
    except Damaged as error:
        foreign = _read_foreign(container)
        sentence = f"Our own data in this picture is damaged ({error}); the other text was read."
        return (foreign or PictureInfo(program=KEYWORD)).saying(sentence, partial=True)
    return info_of(record).saying(*problems, partial=bool(problems))


def info_of(record: Record) -> PictureInfo:
    """A record of ours in the common form."""
    request, resolved = record.request, record.resolved
    source = resolved or request
    loras = tuple((name, weight) for name, weight, _ in resolved.loras) if resolved else ()
    return PictureInfo(
        program=KEYWORD,
        prompt=record.prompt,
        negative=record.negative_prompt,
        seed=source.seed,
        steps=source.steps,
        sampler=request.sampler,
        scheduler=request.schedule,
        cfg=source.guidance_scale,
        width=source.width,
        height=source.height,
        model=resolved.model if resolved else None,
        loras=loras or tuple((use.name, use.weight) for use in request.loras),
        system_prompt=source.system_prompt,
        shift=source.shift,
        original_prompt=record.original_prompt,
        record=record,
    )


def _read_foreign(container: Container) -> PictureInfo | None:
    texts = {key: value for key, value in container.texts.items() if key != KEYWORD}
    return read_texts(texts) or (read_texts(texts_from_exif(container.exif)) if container.exif else None)


def _read_hidden(path: str | Path, container: Container) -> PictureInfo | None:
    """Texts in the lowest bits of the pixels, where a file has no other. JPEG keeps no such bits."""
    try:
        image = open_picture(path, container)
        hidden = read_stealth(image) if container.format != "JPEG" else None
    except Damaged as error:
        return PictureInfo().saying(str(error), partial=True)
    except PictureError:
        return PictureInfo().saying(UNREADABLE, partial=True)
    return read_texts(as_texts(hidden)) if hidden else None


def describe(path: str | Path) -> dict[str, object]:
    """One line of the command: the file's name with its fields, or with the reason why it cannot be read."""
    try:
        return {"file": str(path), **read(path).to_json()}
    except PictureError as error:
        return {"file": str(path), "error": str(error)}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit code 2 when a file is no picture that can be read."""
    parser = argparse.ArgumentParser(
        prog="python -m newbie_ui.gallery.metadata", description="Tell how pictures were made, whatever program did."
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="PNG, WebP or JPEG")
    parser.add_argument("--json", action="store_true", help="one JSON line a file; seeds are texts")
    options = parser.parse_args(argv)
    failed = False
    for file in options.files:
        line = describe(file)
        failed |= "error" in line
        print(json.dumps(line) if options.json else _for_people(line))
    return 2 if failed else 0


def _for_people(line: dict[str, object]) -> str:
    shown = {key: value for key, value in line.items() if value not in (None, [], {}, "", False)}
    return "\n".join(f"{key}: {value}" for key, value in shown.items()) + "\n"


if __name__ == "__main__":
    sys.exit(main())

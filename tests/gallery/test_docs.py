"""The pages say what the code does."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from newbie_ui.gallery import layout, query, record
from newbie_ui.gallery.info import PictureInfo
from newbie_ui.gallery.recipe import MAX_LINK_BYTES, MAX_LINK_CHARS
from newbie_ui.gallery.safe import MAX_FILE_BYTES, MAX_JSON_DEPTH, MAX_PIXELS
from newbie_ui.gallery.store import FOREGROUND, TRASH_DAYS
from newbie_ui.request import Memory, ResolvedRequest, Timings

DOCS = Path(__file__).parents[2] / "docs"
METADATA, GALLERY = (
    " ".join((DOCS / page).read_text(encoding="utf-8").split()) for page in ("metadata.md", "gallery.md")
)


def test_every_key_of_our_json_is_written_down():
    assert f"### Our JSON, version {record.VERSION}" in METADATA
    names = [f.name for kind in (ResolvedRequest, Timings, Memory) for f in fields(kind) if f.name != "request"]
    assert [name for name in names if name not in METADATA] == []


def test_every_field_of_the_json_line_is_written_down():
    assert [key for key in PictureInfo().to_json() if f"`{key}`" not in METADATA] == []


def test_limits_are_those_of_the_code():
    assert f"{MAX_FILE_BYTES // 2**20} MiB a file, {MAX_PIXELS / 1e6:.1f} million pixels" in METADATA
    assert f"JSON {MAX_JSON_DEPTH} levels deep" in METADATA
    assert f"{MAX_LINK_CHARS:,} characters" in GALLERY
    assert f"at most {MAX_LINK_BYTES // 1024} KiB" in GALLERY
    assert f"up to {FOREGROUND} files" in GALLERY
    assert f"after {TRASH_DAYS} days" in GALLERY


def test_everything_that_can_be_typed_into_the_search_is_written_down():
    assert [key for key in query._KEYS if f"{key}:" not in GALLERY] == []
    assert all(key + ":" in (query.__doc__ or "") for key in query._KEYS)


def test_the_folder_looks_as_drawn():
    for name in (layout.PICTURES, layout.TRASH, layout.MARKS, layout.INDEX, layout.THUMBS):
        assert name in GALLERY

"""Importing and exporting pictures."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import zipfile

import pytest
from PIL import Image

from newbie_ui.errors import PictureError
from newbie_ui.gallery import export
from newbie_ui.gallery.containers import read_container
from newbie_ui.gallery.export import copy_of, write_zip
from newbie_ui.gallery.importing import import_file, import_folder
from newbie_ui.gallery.metadata import read, write_png
from newbie_ui.gallery.query import Filters
from newbie_ui.gallery.store import Gallery
from tests.gallery.making import DATA, png_bytes, result


@pytest.fixture
def gallery(tmp_path):
    with Gallery(tmp_path / "gallery") as opened:
        yield opened


def test_a_folder_of_everybodys_pictures_is_copied_and_each_is_found(gallery):
    report = import_folder(gallery, DATA)
    assert len(report.added) == 16
    assert report.sentence == "16 pictures added, 0 were here already."
    assert gallery.page().total == 16
    found = gallery.page(Filters(text="tag:red_scarf")).cards
    assert [(card.program, card.seed) for card in found] == [("NovelAI", "88001234")]
    assert [card.program for card in gallery.page(Filters(text="初音ミク")).cards] == ["Forge"]
    assert [card.program for card in gallery.page(Filters(character="kagamine rin")).cards] == ["ComfyUI"]
    assert len(list(DATA.glob("*.png"))) == 16


def test_the_same_bytes_come_in_once_also_under_other_names_and_from_the_trash(gallery, tmp_path):
    first = import_folder(gallery, DATA)
    gallery.delete(first.added[:3])
    again = import_folder(gallery, DATA)
    assert (again.added, again.duplicates) == ([], 16)
    gallery.rebuild()
    shutil.copy(DATA / "01_a1111_basic.png", tmp_path / "other name.png")
    done = import_file(gallery, tmp_path / "other name.png")
    assert done.duplicate
    assert done.id in first.added
    own = gallery.add(result())
    assert import_file(gallery, own.path).id == own.id


def test_our_own_pictures_keep_id_and_time_and_others_get_their_files_time(gallery, tmp_path):
    write_png(result(id="mine-1", created_at=1_700_000_000.5), tmp_path / "a.png")
    assert import_file(gallery, tmp_path / "a.png").id == "mine-1"
    assert gallery.card("mine-1").created_at == 1_700_000_000.5
    shutil.copy(DATA / "01_a1111_basic.png", tmp_path / "b.png")
    os.utime(tmp_path / "b.png", (1_600_000_000, 1_600_000_000))
    id = import_file(gallery, tmp_path / "b.png").id
    assert id.startswith("20200913-122640-")
    gallery.rebuild()
    assert gallery.card(id).created_at == 1_600_000_000


def test_an_id_that_is_taken_is_not_overwritten(gallery, tmp_path):
    gallery.add(result(id="mine"))
    write_png(result(id="mine", colour="red"), tmp_path / "a.png")
    other = import_file(gallery, tmp_path / "a.png")
    assert not other.duplicate
    assert other.id != "mine"
    assert gallery.page().total == 2


def test_what_cannot_be_read_is_refused_by_name_and_the_rest_goes_on(gallery, tmp_path):
    folder = tmp_path / "in"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    shutil.copy(DATA / "02_forge_hires_unicode.png", folder / "deep" / "er" / "good.png")
    shutil.copy(DATA / "03_forge_newbie_xml_two_characters.png", folder / ".hidden" / "no.png")
    (folder / "page.png").write_text("<svg onload='alert(1)'/>")
    (folder / "cut.png").write_bytes(png_bytes(size=(50, 50))[:-30])
    (folder / "notes.txt").write_text("hello")
    (folder / "link.png").symlink_to(DATA / "01_a1111_basic.png")
    report = import_folder(gallery, folder)
    assert len(report.added) == 1
    assert sorted(name for name, _ in report.refused) == ["cut.png", "page.png"]
    assert "2 could not be read" in report.sentence


def test_webp_and_jpeg_come_in_as_they_are(gallery, tmp_path):
    for name, format in (("a.webp", "WEBP"), ("b.jpeg", "JPEG")):
        Image.new("RGB", (20, 10), "red").save(tmp_path / name, format)
        id = import_file(gallery, tmp_path / name).id
        assert gallery.path(id).read_bytes() == (tmp_path / name).read_bytes()
        assert gallery.card(id).media_type == f"image/{format.lower()}"
        assert (gallery.card(id).width, gallery.card(id).height) == (20, 10)
        assert gallery.thumbnail(id).is_file()
        gallery.delete([id])
        gallery.undelete([id])
    gallery.rebuild()
    assert gallery.page().total == 2


def test_importing_can_be_watched_and_stopped(gallery):
    seen = []
    report = import_folder(gallery, DATA, lambda done, total: seen.append((done, total)), stop=lambda: len(seen) >= 3)
    assert seen == [(1, 16), (2, 16), (3, 16)]
    assert report.stopped
    assert "(stopped)" in report.sentence


def test_a_full_disk_is_told_in_a_sentence(gallery, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PictureError, match=r"cannot be copied \(No space left on device\)"):
        import_file(gallery, DATA / "01_a1111_basic.png")


def test_the_gallery_does_not_eat_itself(gallery, tmp_path):
    for folder in (gallery.folder, gallery.folder / "pictures"):
        with pytest.raises(PictureError, match="already"):
            import_folder(gallery, folder)
    with pytest.raises(PictureError, match="not a folder"):
        import_folder(gallery, tmp_path / "nowhere")


@pytest.mark.parametrize("format", ["PNG", "WEBP", "JPEG"])
def test_a_copy_has_the_recipe_or_nothing(gallery, tmp_path, format):
    made = gallery.add(result())
    (tmp_path / "with").write_bytes(copy_of(gallery, made.id, format, metadata=True))
    (tmp_path / "without").write_bytes(copy_of(gallery, made.id, format))
    assert read(tmp_path / "with").record.resolved == made.resolved
    plain = read_container(tmp_path / "without")
    assert (plain.format, plain.texts, plain.exif) == (format, {}, {})
    with pytest.raises(PictureError, match="'SVG'"):
        copy_of(gallery, made.id, "SVG")


def test_a_copy_without_metadata_holds_nothing_but_pixels(gallery, tmp_path):
    for path in DATA.glob("*.png"):
        import_file(gallery, path)
    gallery.add(result())
    kept = {"PNG": (b"IHDR", b"IDAT", b"IEND"), "WEBP": (b"VP8 ",)}
    for card in gallery:
        for format, kinds in kept.items():
            assert set(_chunks(copy_of(gallery, card.id, format), format)) == set(kinds)
        assert copy_of(gallery, card.id, "JPEG")[2:4] == b"\xff\xe0"  # JFIF, then no other application's segment
        assert b"\xff\xe1" not in copy_of(gallery, card.id, "JPEG")[:30]


def _chunks(data, format):
    """Kinds of all chunks of a PNG or WebP file."""
    order, place, after = (">I4s", 8, 4) if format == "PNG" else ("<4sI", 12, 0)
    while place < len(data):
        fields = struct.unpack(order, data[place : place + 8])
        length, kind = fields if format == "PNG" else fields[::-1]
        yield kind
        place += 8 + length + after + (length % 2 if format == "WEBP" else 0)


def test_another_programs_recipe_is_not_lost_silently(gallery):
    foreign = import_file(gallery, DATA / "01_a1111_basic.png").id
    assert copy_of(gallery, foreign, "PNG", metadata=True) == (DATA / "01_a1111_basic.png").read_bytes()
    with pytest.raises(PictureError, match="keeps its recipe only as PNG"):
        copy_of(gallery, foreign, "WEBP", metadata=True)
    assert copy_of(gallery, foreign, "WEBP")


def test_a_zip_holds_files_recipes_and_marks(gallery, tmp_path):
    one, two = (gallery.add(result(id=name, colour=name)).id for name in ("red", "blue"))
    gallery.set_rating([two], 4)
    gallery.collect("Trip", [two])
    file = io.BytesIO()
    assert write_zip(gallery, [one, two, one], file) == 2
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["red.png", "blue.png", "pictures.jsonl"]
        assert archive.read("red.png") == gallery.path(one).read_bytes()
        lines = [json.loads(line) for line in archive.read("pictures.jsonl").splitlines()]
    assert [(line["file"], line["rating"], line["collections"]) for line in lines] == [
        ("red.png", 0, []),
        ("blue.png", 4, ["Trip"]),
    ]
    assert lines[0]["seed"] == "9007199254740993"


def test_a_zip_without_metadata_tells_nothing(gallery, tmp_path):
    made = gallery.add(result())
    file = io.BytesIO()
    write_zip(gallery, [made.id], file, metadata=False)
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == [f"{made.id}.png"]
        archive.extractall(tmp_path / "out")
    assert read_container(tmp_path / "out" / f"{made.id}.png").texts == {}


def test_a_zip_has_limits(gallery, monkeypatch):
    made = gallery.add(result())
    with pytest.raises(PictureError, match="Choose 1 to"):
        write_zip(gallery, [], io.BytesIO())
    with pytest.raises(PictureError, match="not in the gallery"):
        write_zip(gallery, ["nosuch"], io.BytesIO())
    monkeypatch.setattr(export, "MAX_ZIP_BYTES", 10)
    with pytest.raises(PictureError, match="Choose fewer"):
        write_zip(gallery, [made.id], io.BytesIO())

"""Files are what their bytes say, and nothing beyond the limits is read."""

from __future__ import annotations

import os
import struct
import zlib

import pytest
from PIL import Image

from newbie_ui.errors import PictureError
from newbie_ui.gallery import containers, safe
from newbie_ui.gallery.containers import read_container
from newbie_ui.gallery.exif import read_exif, write_exif
from newbie_ui.gallery.pictures import open_picture
from tests.gallery.making import chunk, itxt_chunk, png, png_bytes, text_chunk


def test_texts_are_found_before_and_behind_the_pixels_in_all_three_kinds(tmp_path):
    ztxt = chunk(b"zTXt", b"packed\0\0" + zlib.compress("café".encode("latin-1")))
    path = png(tmp_path / "a.png", text_chunk("one", "水") + ztxt, after=itxt_chunk("three", "☕", packed=True))
    found = read_container(path)
    assert found.texts == {"one": "水", "packed": "café", "three": "☕"}
    assert (found.format, found.width, found.height, found.problems) == ("PNG", 2, 2, ())


def test_latin_1_is_read_where_it_is_not_utf_8(tmp_path):
    assert read_container(png(tmp_path / "a.png", text_chunk("k", b"caf\xe9\0\0"))).texts == {"k": "café"}


def test_the_first_text_of_a_keyword_wins(tmp_path):
    path = png(tmp_path / "a.png", text_chunk("k", "first") + text_chunk("k", "second"))
    assert read_container(path).texts == {"k": "first"}


def test_a_text_with_a_wrong_checksum_is_left_out_and_told(tmp_path):
    broken = bytearray(text_chunk("k", "hello"))
    broken[-1] ^= 1
    found = read_container(png(tmp_path / "a.png", bytes(broken) + text_chunk("l", "good")))
    assert found.texts == {"l": "good"}
    assert found.damaged
    assert "checksum" in found.problems[0]


def test_a_file_that_ends_early_gives_the_texts_before_the_end(tmp_path):
    data = png_bytes(text_chunk("k", "here"), after=text_chunk("l", "lost" * 100))
    (tmp_path / "a.png").write_bytes(data[:-200])
    found = read_container(tmp_path / "a.png")
    assert found.texts == {"k": "here"}
    assert found.damaged
    assert "ends early" in found.problems[0]


@pytest.mark.parametrize("kind", ["zTXt", "iTXt"])
def test_a_packed_text_that_unpacks_without_end_is_left_out(tmp_path, kind):
    bomb = zlib.compress(b"0" * 5_000_000)
    head = b"bomb\0\0" if kind == "zTXt" else b"bomb\0\1\0\0\0"
    found = read_container(png(tmp_path / "a.png", chunk(kind.encode(), head + bomb)))
    assert found.texts == {}
    assert "unpacks to more than 1,048,576 bytes" in found.problems[0]


def test_a_text_beyond_the_limit_is_left_out_and_all_texts_together_have_one_too(tmp_path):
    big = text_chunk("big", b"x" * (safe.MAX_TEXT_BYTES + 1))
    many = b"".join(text_chunk(f"k{i}", b"x" * 1_000_000) for i in range(6))
    found = read_container(png(tmp_path / "a.png", big + many))
    assert "'big' has 1,048,581 bytes" in found.problems[0]
    assert len(found.texts) == 4
    assert found.damaged


def test_an_empty_or_odd_text_chunk_is_no_accident(tmp_path):
    odd = chunk(b"tEXt", b"no separator") + chunk(b"iTXt", b"k\0\0\0short") + chunk(b"zTXt", b"k\0\0junk")
    found = read_container(png(tmp_path / "a.png", odd))
    assert found.texts == {}
    assert len(found.problems) == 3


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<html>",
        b"GIF89a" + b"\0" * 20,
        b"BM" + b"\0" * 60,
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b""),
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"short"),
        b"RIFF\x04\0\0\0WEBP",
        b"\xff\xd8\xff\xe0\0\x04ab",
        b"\xff\xd8\xff\xc0\0\x03",
    ],
)
def test_what_is_no_picture_is_refused_whatever_it_is_called(tmp_path, data):
    for name in ("a.png", "a.svg"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(PictureError, match=name):
            read_container(tmp_path / name)


def test_a_jpeg_called_png_is_read_as_the_jpeg_it_is(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png", "JPEG")
    assert read_container(tmp_path / "a.png").format == "JPEG"
    assert open_picture(tmp_path / "a.png").size == (20, 10)


def test_too_many_pixels_are_refused_before_any_is_decoded(tmp_path):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IEND", b""))
    with pytest.raises(PictureError, match="60000 x 60000 pixels"):
        open_picture(tmp_path / "a.png")


def test_a_file_beyond_the_limit_is_refused_unread(tmp_path):
    with open(tmp_path / "a.png", "wb") as file:
        file.write(png_bytes())
        file.truncate(safe.MAX_FILE_BYTES + 1)
    with pytest.raises(PictureError, match="has 64 MiB"):
        read_container(tmp_path / "a.png")


def test_folders_and_pipes_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("pipe.png", "."):
        with pytest.raises(PictureError):
            read_container(tmp_path / name)


def test_broken_pixels_are_told_and_never_crash(tmp_path):
    data = png_bytes(size=(40, 40))
    for cut in range(8, data.index(b"IDAT") + 20, 5):
        (tmp_path / "a.png").write_bytes(data[:cut] + b"\0" * 10)
        with pytest.raises(PictureError, match=r"a\.png"):
            open_picture(tmp_path / "a.png")


@pytest.mark.parametrize("options", [{"format": "WEBP"}, {"format": "WEBP", "lossless": True}, {"format": "JPEG"}])
def test_sizes_and_exif_texts_of_copies_are_read(tmp_path, options):
    texts = {"UserComment": "prompt ☕ 魔法", "ImageDescription": "d", "Software": "NovelAI Diffusion"}
    block = write_exif(texts)
    exif = b"Exif\0\0" + block if options["format"] == "JPEG" else block
    Image.new("RGB", (70, 33)).save(tmp_path / "a", exif=exif, **options)
    found = read_container(tmp_path / "a")
    assert (found.width, found.height, found.exif) == (70, 33, texts)


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_user_comment_is_read_in_either_byte_order(codec, order):
    value = b"UNICODE\0" + "prompt 魔法".encode(codec)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    entry = struct.pack(order + "HHII", 0x9286, 7, len(value), 8 + 2 + 12 + 4)
    block = head + struct.pack(order + "H", 1) + entry + b"\0\0\0\0" + value
    assert read_exif(block) == ({"UserComment": "prompt 魔法"}, ())


def test_exif_that_points_anywhere_is_harmless():
    good = write_exif({"UserComment": "x" * 50, "Software": "y"})
    for place in range(len(good)):
        for value in (0, 8, 255):
            read_exif(good[:place] + bytes([value]) + good[place + 1 :])
            read_exif(good[:place])


def test_damaged_exif_is_told_and_the_rest_of_it_is_read():
    good = write_exif({"UserComment": "x" * 50, "Software": "some program"})
    assert read_exif(good) == ({"UserComment": "x" * 50, "Software": "some program"}, ())
    texts, problems = read_exif(good[:-20])
    assert texts == {"Software": "some program"}
    assert "'UserComment' is cut off" in problems[0]
    assert "damaged" in read_exif(b"nonsense")[1][0]
    assert "ends early" in read_exif(good[:4] + b"\xff\xff\xff\xff" + good[8:])[1][0]


def test_utf_8_under_the_name_of_utf_16_is_read():
    block = write_exif({"UserComment": "ab"})
    odd = block.replace("ab".encode("utf-16-be"), b"girl")
    assert read_exif(odd)[0] == {"UserComment": "girl"}


def test_damaged_exif_of_a_picture_is_a_problem_of_the_picture(tmp_path):
    for kind in ("JPEG", "WEBP"):
        path = tmp_path / f"a.{kind.lower()}"
        Image.new("RGB", (16, 16)).save(path, kind, exif=b"Exif\0\0" + write_exif({"UserComment": "a girl"}))
        path.write_bytes(path.read_bytes().replace(b"MM\0*", b"XX\0*"))
        found = read_container(path)
        assert found.damaged
        assert "Exif data is damaged" in found.problems[0]


def test_the_number_of_parts_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "MAX_CHUNKS", 50)
    found = read_container(png(tmp_path / "a.png", chunk(b"tEXt", b"k\0v") * 60))
    assert "more than 50 parts" in found.problems[0]

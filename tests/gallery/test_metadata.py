"""Our own pictures: written durably, read back whole, readable by others."""

from __future__ import annotations

import json
import os
from dataclasses import fields, replace

import pytest
from PIL import Image

from newbie_ui.errors import PictureError
from newbie_ui.gallery.containers import read_container
from newbie_ui.gallery.files import delete_old, write_whole
from newbie_ui.gallery.foreign import a1111
from newbie_ui.gallery.metadata import read, to_parameters_text, write_png
from newbie_ui.gallery.pictures import open_picture, save_copy
from newbie_ui.gallery.record import read_record, record_of, write_record
from newbie_ui.request import GenerateRequest, LoraUse
from tests.gallery.making import TWO, png_with, request, result


def without_pixels(one):
    return replace(one, image=None)


def test_a_picture_tells_everything_about_itself(tmp_path):
    made = result()
    info = read(write_png(made, tmp_path / "a.png"))
    record = info.record
    assert record.request == made.resolved.request
    assert record.resolved == made.resolved
    assert (record.timings, record.memory) == (made.timings, made.memory)
    assert (record.id, record.created_at, record.facts) == (made.id, made.created_at, made.facts)
    assert record.versions["newbie_ui"]
    assert (info.program, info.partial, info.problems) == ("newbie_ui", False, ())
    assert [c.text for c in info.characters] == ["Aoi, 1girl, blue_hair, >_<", "1girl, pink_hair"]


def test_the_pixels_are_untouched(tmp_path):
    image = Image.effect_noise((40, 30), 80).convert("RGB")
    write_png(replace(result(), image=image), tmp_path / "a.png")
    assert open_picture(tmp_path / "a.png").tobytes() == image.tobytes()


def test_the_form_comes_back_whole_with_the_numbers_that_were_used(tmp_path):
    asked = request(width=None, steps=None, seed=None, images=4)
    values, sentences = read(write_png(result(asked=asked, seed=2**63 - 1), tmp_path / "a.png")).form()
    assert sentences == ()
    assert GenerateRequest(**values) == replace(asked, width=256, steps=20, seed=2**63 - 1, images=1)
    assert GenerateRequest(**values).checked()


def test_wildcards_are_kept_before_and_after(tmp_path):
    asked = request(prompt="a {red|blue} hat", negative_prompt="{x|y}")
    info = read(write_png(result(asked=asked, prompt="a red hat", negative_prompt="x"), tmp_path / "a.png"))
    assert (info.prompt, info.negative, info.original_prompt) == ("a red hat", "x", "a {red|blue} hat")
    assert info.record.form()["prompt"] == "a red hat"
    assert info.record.form(wildcards=True)["prompt"] == "a {red|blue} hat"
    assert "a red hat" in read_container(tmp_path / "a.png").texts["parameters"]


ODD_TEXTS = [
    "",
    "plain",
    "café “ünïcode” 魔法 🎨",
    "lone \ud800 half",
    "nul \0 inside",
    "cr\r\nlf",
    "<script>alert(1)</script> ${x} {{y}}",
    "Negative prompt: not yet\nSteps: 5, Sampler: x, Seed: 3",
    "x" * 20_000,
]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_any_text_at_all_survives(tmp_path, text):
    made = result(asked=request(prompt=text, negative_prompt=text))
    record = read(write_png(made, tmp_path / "a.png")).record
    assert record.request == made.resolved.request
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert "parameters" in image.text


def test_others_read_our_text_as_we_mean_it():
    found = a1111.read(to_parameters_text(result()))
    assert found.prompt == TWO + "\n<lora:ink_ wash:0.65>"
    assert found.negative == "lowres, bad hands"
    assert (found.seed, found.steps, found.cfg, found.shift) == (9007199254740993, 7, 4.5, 6.0)
    assert (found.sampler, found.scheduler, found.width, found.height) == ("Heun", "Karras", 256, 320)
    assert (found.model, found.program) == ("NewBie demo", "newbie_ui")
    assert found.extra["Lora hashes"] == "ink_ wash: abcdef0123"
    values, sentences = found.form()
    assert (values["sampler"], values["schedule"], sentences) == ("heun", "karras", ())


def test_no_prompt_line_of_our_text_can_be_taken_for_something_else():
    text = to_parameters_text(result(asked=request(prompt=ODD_TEXTS[7], loras=()), loras=()))
    found = a1111.read(text)
    assert found.prompt == ", Negative prompt: not yet Steps: 5, Sampler: x, Seed: 3"
    assert (found.negative, found.seed) == ("lowres, bad hands", 9007199254740993)
    assert text.splitlines()[-1].startswith("Steps: 7, Sampler: ")


def test_values_with_commas_are_quoted_and_an_empty_negative_has_no_line():
    text = to_parameters_text(result(asked=request(negative_prompt=""), model='mix, "v2": final'))
    assert "Negative prompt" not in text
    assert a1111.read(text).model == 'mix, "v2": final'


def test_writing_never_overwrites_and_leaves_nothing_half_done(tmp_path):
    write_png(result(), tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(FileExistsError):
        write_png(result(colour="red"), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"]
    with pytest.raises(PictureError):
        write_png(without_pixels(result()), tmp_path / "b.png")

    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(tmp_path / "c.png", fail)
    assert os.listdir(tmp_path) == ["a.png"]


def test_data_is_synced_before_it_has_its_name_and_the_folder_after(tmp_path, monkeypatch):
    order = []
    real_sync, real_link = os.fsync, os.link
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("sync"), real_sync(handle))[1])
    monkeypatch.setattr(os, "link", lambda *names: (order.append("name"), real_link(*names))[1])
    write_whole(tmp_path / "day" / "a.png", lambda file: file.write(b"x"))
    assert order == ["sync", "sync", "name", "sync"]  # the new folder; the data; its name; the folder


def test_old_and_too_many_temporary_files_are_deleted(tmp_path):
    for number in range(4):
        file = tmp_path / f"{number}"
        file.write_bytes(b"x" * 100)
        os.utime(file, (1e9 + number, 2e9 if number else 1e9))
    (tmp_path / "link").symlink_to(tmp_path / "3")
    assert delete_old(tmp_path, max_age_s=3600) == 1
    assert delete_old(tmp_path, max_age_s=3600, max_bytes=250) == 1
    assert len(list(tmp_path.iterdir())) == 3


# ---- reading what claims to be ours -------------------------------------------------------------------------------


def changed(**changes):
    data = json.loads(write_record(record_of(result())))
    data.update(changes)
    return data


def test_a_later_version_is_read_as_far_as_known(tmp_path):
    data = changed(version=2, news={"x": 1})
    data["request"]["new_field"] = 5
    info = read(png_with(tmp_path / "a.png", newbie_ui=data))
    assert info.record.request == request()
    assert "later version" in info.problems[0]


def test_bad_fields_are_left_out_one_by_one(tmp_path):
    data = changed()
    data["request"] |= {"width": 100_000, "steps": "many", "sampler": "magic", "prompt": 5, "loras": [{"name": 3}, "x"]}
    data["request"] |= {"guidance_start": 0.9, "guidance_end": 0.1, "height": 321}
    info = read(png_with(tmp_path / "a.png", newbie_ui=data))
    asked = info.record.request
    assert (asked.width, asked.steps, asked.sampler, asked.prompt, asked.loras) == (None, None, "euler", "", ())
    assert asked.negative_prompt == request().negative_prompt
    assert len(info.problems) >= 5
    assert info.partial


@pytest.mark.parametrize("key", [f.name for f in fields(type(result())) if f.name not in ("image", "path", "id")])
@pytest.mark.parametrize("value", [None, 5, "x", [], {}, [[1, 2]], {"width": "x"}, float("nan"), "x" * 100_000])
def test_any_value_in_any_place_is_no_accident(tmp_path, key, value):
    for data in (changed(**{key: value}), changed(request={key: value}), changed(resolved={key: value}, facts=value)):
        assert json.dumps(read(png_with(tmp_path / "a.png", newbie_ui=data)).to_json())


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"program": "other", "request": {}}', "[" * 5000])
def test_broken_data_of_ours_falls_back_to_the_other_text(tmp_path, text):
    parameters = to_parameters_text(result(asked=request(loras=()), loras=()))
    info = read(png_with(tmp_path / "a.png", newbie_ui=text, parameters=parameters))
    assert info.partial
    assert (info.prompt, info.seed) == (TWO, 9007199254740993)
    assert "damaged" in info.problems[0]


def test_a_record_without_what_was_used_still_gives_what_was_asked(tmp_path):
    info = read(png_with(tmp_path / "a.png", newbie_ui=changed(resolved={})))
    assert info.record.resolved is None
    assert info.form()[0]["prompt"] == TWO
    assert info.form()[0]["loras"] == (LoraUse("ink, wash", 0.65),)


def test_a_record_round_trips_through_text():
    record = record_of(result())
    assert read_record(write_record(record)) == (record, ())


# ---- copies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "WEBP", "JPEG"])
def test_copies_with_metadata_give_the_form_back(tmp_path, format):
    with open(tmp_path / "copy", "wb") as file:
        save_copy(result().image, file, format, record_of(result()))
    info = read(tmp_path / "copy")
    assert (info.format, info.record) == (format, record_of(result()))


@pytest.mark.parametrize("format", ["PNG", "WEBP", "JPEG"])
def test_copies_without_metadata_hold_nothing_but_pixels(tmp_path, format):
    write_png(result(), tmp_path / "a.png")
    with open(tmp_path / "copy", "wb") as file:
        save_copy(open_picture(tmp_path / "a.png"), file, format)
    found = read_container(tmp_path / "copy")
    assert (found.texts, found.exif) == ({}, {})
    assert b"newbie" not in (tmp_path / "copy").read_bytes()


def test_a_jpeg_copy_of_a_very_long_prompt_keeps_the_text_that_others_read(tmp_path):
    record = record_of(result(asked=request(prompt="魔" * 20_000, negative_prompt="法" * 20_000)))
    with open(tmp_path / "copy.jpg", "wb") as file:
        save_copy(result().image, file, "JPEG", record)
    assert read(tmp_path / "copy.jpg").prompt.startswith("魔魔")


def test_other_kinds_of_copies_are_refused(tmp_path):
    with open(tmp_path / "copy", "wb") as file, pytest.raises(PictureError, match="'SVG'"):
        save_copy(result().image, file, "SVG")


def test_transparency_that_hides_nothing_is_dropped_and_real_one_is_laid_on_white(tmp_path):
    for alpha, expected in ((254, (10, 20, 30)), (0, (255, 255, 255))):
        with open(tmp_path / "copy", "wb") as file:
            save_copy(Image.new("RGBA", (4, 4), (10, 20, 30, alpha)), file, "PNG")
        image = open_picture(tmp_path / "copy")
        assert (image.mode, image.getpixel((0, 0))) == ("RGB", expected)

"""What the gallery shows of one picture: plain data, the prompt as its blocks, text as text."""

import json

import pytest

from newbie_ui.gallery.info import PictureInfo
from newbie_ui.gallery.metadata import info_of
from newbie_ui.gallery.record import Record
from newbie_ui.request import GenerateRequest, Memory, ResolvedRequest, Timings
from newbie_ui.ui.compose import EXAMPLE
from newbie_ui.ui.gallery_views import blocks_of, detail_of
from newbie_ui.ui.views import stats

HOSTILE = "<character_1><n><img src=x onerror=alert(1)></n><appearance>${alert(2)}, {{x}}</appearance></character_1>"


def record(prompt: str = EXAMPLE, **facts: str) -> Record:
    request = GenerateRequest(prompt, negative_prompt="low_quality")
    resolved = ResolvedRequest(
        request, "system", 256, 256, 20, 4.5, 6.0, 2**63 - 1, "cpu", "Demo", loras=(("ink", 0.8, "abc"),)
    )
    timings = Timings(queue_s=1.0, encode_s=0.5, denoise_s=4.0, decode_s=0.5, total_s=6.0, steps=20)
    return Record("a1", 1.0, request, resolved, timings, Memory(resident_gb=1.5), facts)


def test_blocks_are_characters_then_general_tags():
    first, second, general = blocks_of(EXAMPLE)
    assert (first["slot"], first["note"]) == (1, "1girl, center_left")
    assert "blue_hair" in first["text"]
    assert "1girl" not in first["text"]
    assert second["slot"] == 2
    assert general["slot"] is None
    assert general["text"].startswith("2girls")


def test_the_detail_is_plain_data_with_a_seed_that_a_browser_keeps():
    detail = json.loads(json.dumps(detail_of(info_of(record(attention="cudnn", compile="warm", offload="off")))))
    assert detail["seed"] == "9223372036854775807"
    assert detail["recipe"]["seed"] == "9223372036854775807"
    assert "Steps: 20" in detail["parameters"]
    assert detail["facts"] == ["cpu", "cudnn", "compile warm", "0.200 s/step"]
    assert detail["loras"] == ["ink 0.8"]
    assert detail["timings"]["denoise_s"] == 4.0


def test_hostile_text_is_handed_on_as_text_and_never_as_markup():
    detail = detail_of(info_of(record(HOSTILE)))
    assert detail["blocks"][0]["name"] == "<img src=x onerror=alert(1)>"
    assert "${alert(2)}" in detail["blocks"][0]["text"]


def test_a_picture_of_another_program_shows_what_it_tells():
    info = PictureInfo(
        program="NovelAI", prompt="1girl, smile", seed=5, steps=28, cfg=5.0, notes=("Read from the pixels.",)
    )
    detail = json.loads(json.dumps(detail_of(info)))
    assert (detail["program"], detail["seed"], detail["steps"]) == ("NovelAI", "5", 28)
    assert detail["timings"] is None
    assert detail["notes"] == ["Read from the pixels."]


def test_a_picture_that_tells_nothing_has_an_empty_panel():
    detail = detail_of(PictureInfo())
    assert detail["blocks"] == []
    assert detail["seed"] == ""


@pytest.mark.parametrize(
    ("fact", "warned"), [("block, cold", True), ("block, as written", False), ("block, warm", False)]
)
def test_a_picture_that_waited_for_the_compiler_says_so(fact, warned):
    rows = {row["key"]: row for row in stats(record(compile=fact))["facts"]}
    assert rows["compile"]["warn"] is warned


def test_the_stats_card_names_what_the_picture_was_made_with():
    rows = [(row["key"], row["value"]) for row in stats(record(attention="cudnn", offload="off"))["facts"]]
    assert rows == [("preset", "cpu"), ("loras", "ink 0.8"), ("attention", "cudnn"), ("waited", "1.0 s")]

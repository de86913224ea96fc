"""Recipes from pictures, texts and links: only what a source states, checked, with a sentence about the rest."""

import json

import pytest
from PIL import Image, PngImagePlugin

from newbie_ui.errors import PictureError, PromptError
from newbie_ui.gallery.metadata import write_png
from newbie_ui.prompt.xml import parse
from newbie_ui.request import (
    GenerateRequest,
    GenerateResult,
    LoraUse,
    Memory,
    ResolvedRequest,
    Timings,
)
from newbie_ui.ui import restore
from newbie_ui.ui.compose import EXAMPLE

REQUEST = GenerateRequest(prompt=EXAMPLE, negative_prompt="bad", steps=7, loras=(LoraUse("ink", 0.5),), images=3)


def our_picture(folder):
    resolved = ResolvedRequest(REQUEST, "system", 64, 64, 7, 4.5, 6.0, 2**62, "cpu", "Test")
    result = GenerateResult("20260101-000000-000000-aaaa", resolved, Timings(total_s=1), Memory(), 1.0)
    return write_png(GenerateResult(**{**result.__dict__, "image": Image.new("RGB", (64, 64))}), folder / "ours.png")


def test_our_picture_gives_back_what_made_it(tmp_path):
    found = restore.from_picture(our_picture(tmp_path))
    assert found.values["prompt"] == EXAMPLE
    assert found.values["seed"] == 2**62
    assert found.values["images"] == 1
    assert found.values["loras"] == (LoraUse("ink", 0.5),)
    assert "this program" in found.say


def test_a_picture_of_another_program_becomes_cards(tmp_path):
    text = "1girl, blue hair, smile BREAK 1boy, black hair\nNegative prompt: blurry\n"
    text += "Steps: 9, Sampler: Euler, CFG scale: 3, Seed: 5, Size: 500x256"
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", text)
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png", pnginfo=info)
    found = restore.from_picture(tmp_path / "a.png")
    assert len(parse(found.values["prompt"]).characters) == 2
    assert found.values["seed"] == 5
    assert found.values["width"] == 496
    assert "496" in found.say


def test_characters_with_a_centre_get_a_place_on_the_pad(tmp_path):
    caption = {"char_caption": "girl, blue hair", "centers": [{"x": 0.1, "y": 0.5}]}
    other = {"char_caption": "boy, suit", "centers": [{"x": 0.9, "y": 0.5}]}
    comment = {
        "prompt": "park",
        "seed": 3,
        "v4_prompt": {
            "use_coords": True,
            "caption": {"base_caption": "park", "char_captions": [caption, other]},
        },
    }
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "NovelAI")
    info.add_text("Comment", json.dumps(comment))
    Image.new("RGB", (64, 64)).save(tmp_path / "n.png", pnginfo=info)
    found = restore.from_picture(tmp_path / "n.png")
    people = parse(found.values["prompt"]).prompt.characters
    assert [p.get("position") for p in people] == ["far_left", "far_right"]
    assert "blue" in people[0].get("appearance")


def test_a_picture_that_says_nothing_changes_nothing(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    found = restore.from_picture(tmp_path / "plain.png")
    assert not found.values
    assert "unchanged" in found.say


def test_a_file_that_is_no_picture_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "fake.png").write_text("<svg onload=alert(1)>")
    with pytest.raises(PictureError):
        restore.from_picture(tmp_path / "fake.png")


def test_pasted_settings_are_taken_over():
    found = restore.from_text("1girl, cat\nNegative prompt: dog\nSteps: 12, CFG scale: 3.5, Seed: 77, Size: 384x256")
    assert {k: found.values[k] for k in ("steps", "guidance_scale", "seed", "width", "height", "negative_prompt")} == {
        "steps": 12,
        "guidance_scale": 3.5,
        "seed": 77,
        "width": 384,
        "height": 256,
        "negative_prompt": "dog",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello world", "Taken over as plain text, not as tags. The cards are empty now."),
        ("park, night, rain", "Taken over as tags."),
        ("1girl, blue hair, smile", "Taken over. Characters found: 1."),
        (EXAMPLE, "Taken over. Characters found: 2."),
    ],
)
def test_a_pasted_text_says_what_it_was_taken_for(text, said):
    assert restore.from_text(text).say == said


def test_pasted_settings_alone_leave_the_prompt_as_it_is():
    found = restore.from_text("Negative prompt: dog\nSteps: 12, CFG scale: 3.5, Seed: 77")
    assert found.values["seed"] == 77
    assert "prompt" not in found.values
    assert found.say == "Settings taken over. The prompt is unchanged."


def test_xml_is_pasted_byte_for_byte():
    assert restore.from_text(EXAMPLE + "\n>_< & ").values["prompt"] == EXAMPLE + "\n>_< & "


def test_a_link_carries_the_whole_recipe():
    request = GenerateRequest(
        prompt=EXAMPLE + "青い😀",
        negative_prompt="x",
        seed=2**63 - 1,
        steps=9,
        width=256,
        height=384,
        shift=3.5,
        loras=(LoraUse("a", -1.5),),
    )
    query = restore.link(request.to_dict() | {"loras": request.loras})
    assert query.isascii()
    assert len(query) < 1200
    values = dict(restore.from_link(query).values)
    assert values.pop("loras") == request.loras
    assert all(getattr(request, name) == value for name, value in values.items())
    assert set(values) >= {"prompt", "seed", "steps", "width", "height", "shift", "negative_prompt"}


@pytest.mark.parametrize("query", ["", "%%%", "1AAAA", "x" * 40_000])
def test_an_unreadable_link_is_refused_in_a_sentence(query):
    with pytest.raises(PromptError, match="link"):
        restore.from_link(query)


def test_a_text_file_must_be_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PromptError, match="UTF-8"):
        restore.from_text_file(tmp_path / "a.txt")


def test_settings_of_a_pasted_text_fill_the_form_in_our_words():
    text = "1girl, blue hair\nNegative prompt: bad\nSteps: 20, Sampler: Euler a, CFG scale: 7, Size: 832x1216, Seed: 5"
    values = restore.from_text(text).values
    assert (values["steps"], values["guidance_scale"], values["seed"]) == (20, 7.0, 5)
    assert (values["width"], values["height"], values["negative_prompt"]) == (832, 1216, "bad")
    assert values["sampler"] == "euler_ancestral"
    novelai = {
        "prompt": "park",
        "uc": "bad",
        "scale": 5.5,
        "seed": 9,
        "width": 832,
        "height": 1216,
        "sampler": "k_euler",
    }
    novelai["v4_prompt"] = {"caption": {"base_caption": "park", "char_captions": [{"char_caption": "girl, red hair"}]}}
    values = restore.from_text(json.dumps(novelai)).values
    assert (values["guidance_scale"], values["width"], values["sampler"], values["seed"]) == (5.5, 832, "euler", 9)


def test_a_copied_comfyui_graph_is_read():
    graph = {
        "1": {"class_type": "CLIPTextEncode", "inputs": {"text": "1girl, blue hair, smile"}},
        "2": {"class_type": "KSampler", "inputs": {"seed": 7, "steps": 9, "cfg": 4, "positive": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
    }
    found = restore.from_text(json.dumps(graph))
    assert len(parse(found.values["prompt"]).characters) == 1
    assert (found.values["seed"], found.values["steps"]) == (7, 9)
    assert "ComfyUI" in found.say


def test_what_single_characters_stay_away_from_is_kept(tmp_path):
    comment = {
        "prompt": "park",
        "uc": "bad",
        "v4_prompt": {"caption": {"base_caption": "park", "char_captions": [{"char_caption": "girl, red hair"}]}},
        "v4_negative_prompt": {"caption": {"char_captions": [{"char_caption": "hat, "}]}},
    }
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "NovelAI")
    info.add_text("Comment", json.dumps(comment))
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png", pnginfo=info)
    assert restore.from_picture(tmp_path / "a.png").values["negative_prompt"] == "bad, hat"

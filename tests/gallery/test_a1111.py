"""The `parameters` text in its many spellings."""

from __future__ import annotations

import time

import pytest

from newbie_ui.gallery.foreign import a1111
from newbie_ui.gallery.foreign.a1111 import loras_in, read, split
from newbie_ui.gallery.foreign.detect import read_texts

SETTINGS = "Steps: 20, Sampler: Euler a, CFG scale: 5, Seed: 7, Size: 64x96"


def test_only_the_last_line_is_settings_and_only_with_three_pairs():
    found = split(f"a cat\nSteps: 1, Sampler: x, Seed: 2\nmore\n{SETTINGS}")
    assert found.prompt == "a cat\nSteps: 1, Sampler: x, Seed: 2\nmore"
    assert split("a sign: yes, mood: calm").prompt == "a sign: yes, mood: calm"


def test_negative_prompt_inside_a_line_is_prompt_and_at_its_start_is_not():
    found = split(f"the words Negative prompt: here\nNegative prompt: bad,\nworse\n{SETTINGS}")
    assert found.prompt == "the words Negative prompt: here"
    assert found.negative == "bad,\nworse"


def test_an_absent_negative_is_unknown_and_a_stated_empty_one_is_empty():
    assert read(f"a\n{SETTINGS}").negative is None
    assert read(f"a\nNegative prompt:\n{SETTINGS}").negative == ""


def test_windows_line_ends_and_indentation_of_xml_are_handled():
    found = read(f"<a>\r\n  <n>x</n>\r\n</a>\r\nNegative prompt: b\r\n{SETTINGS}\0")
    assert found.prompt == "<a>\n  <n>x</n>\n</a>"
    assert (found.negative, found.seed) == ("b", 7)


def test_seed_zero_is_a_seed():
    assert read("a\nSteps: 1, Sampler: Euler, Seed: 0").seed == 0


def test_keys_differ_by_their_capitals():
    found = read("a\nSteps: 1, Hires CFG Scale: 9, Distilled CFG Scale: 3.5, Seed: 1, CFG scale: 4")
    assert found.cfg == 4
    assert found.extra["Distilled CFG Scale"] == "3.5"


def test_unquoted_json_of_hosting_sites_is_cut_out_whole_and_the_first_key_wins():
    text = (
        f'a\n{SETTINGS}, Civitai resources: [{{"modelName":"x, Seed: 9","weight":1}}], Civitai metadata: {{}}, Seed: 9'
    )
    found = read(text)
    assert found.seed == 7
    assert found.extra["Civitai resources"] == '[{"modelName":"x, Seed: 9","weight":1}]'


def test_a_broken_quoted_value_is_kept_raw():
    assert read(f'a\n{SETTINGS}, Note: "half, Extra: 1').extra["Note"] == '"half'


@pytest.mark.parametrize(
    ("sampler", "found"),
    [
        ("DPM++ 2M Karras", ("DPM++ 2M", "Karras")),
        ("DPM++ 2M SDE Exponential", ("DPM++ 2M SDE", "Exponential")),
        ("Euler a", ("Euler a", None)),
        ("Restart SGM Uniform", ("Restart", "SGM Uniform")),
    ],
)
def test_a_schedule_in_the_samplers_name_is_split_off(sampler, found):
    info = read(f"a\nSteps: 1, Sampler: {sampler}, Seed: 1")
    assert (info.sampler, info.scheduler) == found


@pytest.mark.parametrize(
    ("tag", "weight"),
    [
        ("<lora:x>", 1.0),
        ("<lora:x:0.5>", 0.5),
        ("<lora:x:-0.5:0.25>", 0.25),
        ("<lora:x:1:0.3:8>", 0.3),
        ("<lora:x:te=0.1:unet=0.9>", 0.9),
        ("<lora:x:te=0.1>", 0.1),
        ("<lyco:x:2>", 2.0),
    ],
)
def test_lora_tags_give_the_image_models_weight(tag, weight):
    assert loras_in(f"a {tag} b") == [("x", weight)]


def test_lora_names_lose_folders_and_known_extensions_only():
    found = read(f"a <lora:dir\\sub/x_v1.0.safetensors:1> <lora:y_1.0:1>\n{SETTINGS}")
    assert found.loras == (("x_v1.0", 1.0), ("y_1.0", 1.0))


@pytest.mark.parametrize(
    ("settings", "program"),
    [
        ("Version: v1.10.1", "A1111"),
        ("Version: 1.10.0", "A1111"),
        ("Version: f2.0.1v1.10.1-previous-1-gabc", "Forge"),
        ("Version: neo", "Forge"),
        ("App: SD.Next, Version: 56a8aea", "SD.Next"),
        ("Version: ComfyUI", "ComfyUI"),
        ("Version: newbie_ui 0.1.0", "newbie_ui"),
        ("Model: x", "A1111"),
    ],
)
def test_the_version_tells_the_program(settings, program):
    assert read(f"a\n{SETTINGS}, {settings}").program == program


def test_sdnext_templates_are_neither_prompt_nor_negative():
    text = f"a\nNegative prompt: b\nTemplate: x {{prompt}}\nNegative template: y\n{SETTINGS}, App: SD.Next"
    found = read(text)
    assert (found.prompt, found.negative) == ("a", "b")
    assert found.extra["Template"] == "x {prompt}"
    assert found.extra["Negative template"] == "y"


def test_settings_on_the_negatives_line_are_read():
    found = read("a\nNegative prompt: b, c, Steps: 5, Sampler: Euler, CFG scale: 3, Seed: 8")
    assert (found.prompt, found.negative, found.steps, found.seed) == ("a", "b, c", 5, 8)


def test_break_gives_segments_and_decides_nothing():
    found = read(f"base BREAK\n1girl, red BREAK 1boy BREAKFAST\n{SETTINGS}")
    assert found.segments == ("base", "1girl, red", "1boy BREAKFAST")
    assert found.characters == ()


def test_regional_prompter_regions_become_characters():
    text = f"quality ADDCOMM two people ADDBASE girl ADDCOL boy\n{SETTINGS}, RP Active: True"
    assert [c.text for c in read(text).characters] == ["girl", "boy"]
    text = f"quality BREAK girl BREAK boy\n{SETTINGS}, RP Active: True, RP Use Common: True"
    assert [c.text for c in read(text).characters] == ["girl", "boy"]
    text = f"girl ADDP hair\n{SETTINGS}, RP Active: True"
    assert read(text).characters == ()
    assert "ADDP" in read(text).notes[0]


def couple(prompt: str, **settings: str):
    pairs = ", ".join(f"forge_couple_{key}: {value}" for key, value in settings.items())
    return read(f"{prompt}\n{SETTINGS}, forge_couple: True, {pairs}")


def test_forge_couple_lines_stand_side_by_side():
    found = couple("all\nleft\nright", mode="Basic", background="First Line", direction="Horizontal")
    assert [(c.text, c.center) for c in found.characters] == [("left", (0.25, 0.5)), ("right", (0.75, 0.5))]


def test_forge_couple_takes_words_as_separators_the_last_line_as_ground_and_boxes_as_places():
    mapping = '"[[0.0, 0.4, 0.0, 1.0, 1.0], [0.5, 1.0, 0.5, 1.0, 1.0]]"'
    found = couple("a SEP b SEP ground", separator=" SEP ", background="Last Line", mode="Advanced", mapping=mapping)
    assert [(c.text, c.center) for c in found.characters] == [("a", (0.2, 0.5)), ("b", (0.75, 0.75))]


def test_forge_couple_fills_in_common_words():
    found = couple("{hat:red hat}, girl\nboy, {hat}, <lora:x:1>", common_parser="{ }", mode="Mask")
    assert [c.text for c in found.characters] == ["red hat, girl", "boy, red hat, <lora:x:1>"]
    assert {c.center for c in found.characters} == {None}


def test_a_comfyui_graph_beside_the_text_says_what_the_text_lacks():
    graph = (
        '{"1":{"class_type":"CheckpointLoaderSimple","inputs":{"ckpt_name":"m.safetensors"}},'
        '"2":{"class_type":"KSampler","inputs":{"seed":99,"steps":3,"cfg":2,"sampler_name":"euler","scheduler":"simple",'
        '"model":["1",0],"positive":["3",0],"negative":["3",0],"latent_image":["4",0]}},'
        '"3":{"class_type":"CLIPTextEncode","inputs":{"text":"other"}},'
        '"4":{"class_type":"EmptyLatentImage","inputs":{"width":8,"height":16}},'
        '"5":{"class_type":"SaveImage","inputs":{"images":["2",0]}}}'
    )
    found = read_texts({"parameters": "a\nSteps: 20, Sampler: Euler a, Seed: 7", "prompt": graph})
    assert (found.program, found.prompt, found.seed, found.steps) == ("ComfyUI", "a", 7, 20)
    assert (found.model, found.cfg, found.width, found.height) == ("m", 2.0, 8, 16)


def test_json_of_an_unknown_form_is_told_and_not_taken_for_a_prompt():
    found = read_texts({"parameters": '{"some": "thing"}'})
    assert found.prompt is None
    assert found.problems


@pytest.mark.parametrize(
    "text",
    [
        "a" * 300000,
        "x: [" * 60000,
        "ab: [," * 50000 + "]" * 50000,
        'ab: "x, ' * 40000,
        "<lora:" * 50000,
        "<lora:a:" + ":" * 300000,
        "BREAK " * 50000,
        'ab: "\\' * 50000,
        " " * 300000,
        "\n" * 300000 + "x",
    ],
)
def test_hostile_text_is_read_in_little_time(text):
    started = time.process_time()
    a1111.read(text)
    assert time.process_time() - started < 10

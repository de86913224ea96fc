"""Whatever is pasted becomes cards by stated rules, and nothing of it is lost."""

import json
import random
import re
import time
from collections import Counter
from pathlib import Path

import pytest

from newbie_ui.prompt.lint import lint
from newbie_ui.prompt.paste import Pasted, to_prompt
from newbie_ui.prompt.split import tags_of
from newbie_ui.prompt.tags import builtin
from newbie_ui.prompt.xml import build, parse
from tests.prompt.samples import COMFY, NASTY, OFFICIAL, SYSTEM

DATA = Path(__file__).parent / "data"
EXPECTED = json.loads((DATA / "expected_text.json").read_text())


def words(text):
    return set(re.findall(r"[^\W_]+", text.lower()))


def everything(pasted):
    said = [pasted.text, pasted.negative or "", *pasted.notes, json.dumps(pasted.settings), repr(pasted.loras)]
    return words(" ".join(said))


def fields(pasted):
    return [dict(one.fields) for one in pasted.prompt.characters]


@pytest.mark.parametrize("name", [name for name in EXPECTED if name.startswith("text_")])
def test_the_reference_texts_are_read_as_expected(name):
    text, wanted = (DATA / name).read_text(), EXPECTED[name]
    found = to_prompt(text)
    if "segments" in wanted:
        assert list(found.segments) == wanted["segments"]
    if "categories" in wanted:
        assert {k: [t.replace("_", " ") for t in v] for k, v in found.categories.items()} == wanted["categories"]
    if "characters" in wanted:
        assert list(found.segments[1:]) == wanted["characters"]
    assert (found.negative or "") == wanted.get("negative", "")
    stated = dict(found.settings)
    for key, theirs in (("seed", "Seed"), ("steps", "Steps"), ("sampler", "Sampler"), ("cfg", "CFG scale")):
        if key in wanted and theirs in stated:
            assert stated[theirs] == f"{wanted[key]:g}" if isinstance(wanted[key], (int, float)) else wanted[key]
    if wanted["kind"] == "novelai":
        assert stated["seed"] == str(wanted["seed"])


def test_break_makes_a_card_of_each_part_about_a_person():
    found = to_prompt((DATA / "text_a1111_break.txt").read_text())
    first, second = fields(found)
    assert (first["appearance"], first["clothing"], first["expression"]) == (
        "red hair",
        "green sundress, sun hat",
        "laughing",
    )
    assert (second["gender"], second["action"]) == ("1girl", "holding parasol")
    assert found.prompt.general.get("background") == "beach"
    assert found.prompt.general.get("count") == "2girls"
    assert parse(found.text).prompt == found.prompt


def test_lines_are_offered_as_forge_couple_and_split_only_when_asked_or_stated():
    text = (DATA / "text_forge_couple.txt").read_text()
    found = to_prompt(text)
    assert (found.kind, found.text) == ("lines", text)
    assert found.offers == ("forge_couple", "tags")
    split = to_prompt(text, "forge_couple")
    assert [c["appearance"] for c in fields(split)] == ["brown hair", "blonde hair"]
    stated = text + "\nSteps: 20, Seed: 1, CFG scale: 5, forge_couple: True, forge_couple_background: First Line"
    assert to_prompt(stated).kind == "forge_couple"
    assert len(to_prompt(stated).prompt.characters) == 2


def test_a_novelai_comment_gives_characters_at_their_places():
    found = to_prompt((DATA / "text_novelai_v4_comment.json.txt").read_text())
    assert [c["position"] for c in fields(found)] == ["center_left", "center_right"]
    assert [c["gender"] for c in fields(found)] == ["1girl", "1girl"]
    data = json.loads((DATA / "text_novelai_v4_comment.json.txt").read_text())
    data["v4_prompt"]["use_coords"] = False
    assert "position" not in fields(to_prompt(data))[0], "NovelAI placed them itself"
    assert to_prompt({"Software": "NovelAI", "Comment": json.dumps(data)}).kind == "novelai"


def test_novelais_request_and_bars_are_read_too():
    request = {
        "input": "2girls, park",
        "model": "nai-diffusion-4-5",
        "parameters": {
            "seed": 2**60,
            "characterPrompts": [{"prompt": "girl, red hair", "center": {"x": 0.9, "y": 0.9}}],
        },
    }
    found = to_prompt(request)
    assert fields(found)[0]["position"] == "far_right, foreground"
    assert dict(found.settings)["seed"] == str(2**60)
    bars = to_prompt("2girls, park | girl, red hair | boy, black hair, source#hug")
    assert [c["gender"] for c in fields(bars)] == ["1girl", "1boy"]
    assert fields(bars)[1]["interaction"] == "source#hug"


def test_a_danbooru_sidebar_gives_a_card_with_the_name():
    found = to_prompt((DATA / "text_danbooru_sidebar.txt").read_text())
    (card,) = fields(found)
    assert card["n"] == "hatsune_miku"
    assert card["appearance"] == "aqua eyes, long hair, twintails"
    assert found.prompt.general.get("artists") == "example artist"
    assert found.prompt.general.get("quality") == "absurdres, highres"
    apart = "Character\n?\nsaber (fate)\n139k\n?\nhatsune miku\n1.2M\nGeneral\n?\n39\n12\n?\n2girls\n5M"
    found = to_prompt(apart)
    assert found.categories["character"] == ("saber (fate)", "hatsune miku")
    assert found.categories["general"] == ("39", "2girls")
    assert [c["n"] for c in fields(found)] == ["saber_\\(fate\\)", "hatsune_miku"]


def test_danbooru_lines_and_its_api_are_read():
    line = to_prompt("1girl aqua_eyes hatsune_miku long_hair smile vocaloid")
    assert fields(line)[0]["n"] == "hatsune_miku"
    api = {"tag_string_general": "1girl blue_hair", "tag_string_character": "saber_(fate)", "rating": "g"}
    assert fields(to_prompt(api))[0]["n"] == "saber_\\(fate\\)"


def test_a_tag_list_about_one_person_makes_one_card():
    found = to_prompt("1girl, solo, blue hair, red dress, smile, standing, beach, sunset, masterpiece, odd_thing")
    (card,) = fields(found)
    assert card["gender"] == "1girl"
    assert (card["appearance"], card["clothing"], card["action"]) == ("blue hair", "red dress", "standing")
    assert found.prompt.general.get("other") == "odd_thing"


def test_a_list_that_does_not_say_whose_tags_they_are_is_not_guessed_at():
    found = to_prompt("2girls, blue hair, red hair, school uniform")
    assert len(found.prompt.characters) == 2
    assert found.prompt.general.get("other") == "blue hair, red hair, school uniform"
    assert "does not say whose" in found.notes[0]


def test_genders_with_tags_of_their_own_begin_cards():
    found = to_prompt("masterpiece, 1girl, red hair, smile, 1boy, black hair, suit, city")
    assert [c["appearance"] for c in fields(found)] == ["red hair", "black hair"]
    assert found.prompt.general.get("count") == "1girl, 1boy"
    assert found.prompt.general.get("background") == "city"


def test_a_scene_without_people_has_no_card():
    found = to_prompt("no humans, landscape, mountain, sunset, masterpiece")
    assert found.prompt.characters == ()
    assert found.prompt.general.get("background") == "mountain, sunset"


@pytest.mark.parametrize("name", [n for n in NASTY if parse(NASTY[n]).blocks and n not in ("comfy", "lora")])
def test_xml_in_any_spelling_is_taken_byte_for_byte(name):
    found = to_prompt(NASTY[name])
    assert found.kind == "xml"
    assert found.text == NASTY[name]


def test_sentences_stay_plain_text():
    for text in ("Two girls walk in the rain, and one of them laughs.", "hello", "两个女孩在樱花树下。"):
        assert to_prompt(text).kind == "plain"
        assert to_prompt(text).text == text


def test_the_comfyui_form_becomes_xml_with_positions_and_caption():
    text = COMFY.replace("<position>center_left</position>\n", "")
    found = to_prompt(text)
    assert found.kind == "comfyui"
    assert fields(found)[0]["position"] == "left_side"
    assert found.prompt.caption() == "Two girls stand side by side."
    assert found.text.startswith(SYSTEM + "\n<character_1>")
    assert "{" not in found.text
    assert "from its box" in found.notes[0]


def test_the_comfyui_form_is_read_as_valid_json_too():
    data = {
        "character_1": {"bbox": [0, 0, 1000, 1000], "name": "momo"},
        "image": {"tags": OFFICIAL, "caption": "Rain."},
    }
    for source in (data, json.dumps(data), SYSTEM + json.dumps(data)):
        found = to_prompt(source)
        assert found.kind == "comfyui"
        assert fields(found)[0]["n"] == "momo"
        assert found.prompt.caption() == "Rain."
        assert "position tags say the place" in " ".join(found.notes)


def test_a1111_text_round_xml_keeps_the_xml():
    text = OFFICIAL + "\nNegative prompt: low_quality\nSteps: 28, Sampler: Euler, CFG scale: 5, Seed: 7, Size: 64x64"
    found = to_prompt(text)
    assert found.kind == "xml"
    assert found.text.strip() == OFFICIAL.strip()
    assert found.negative == "low_quality"
    assert ("Seed", "7") in found.settings
    cleared = to_prompt("1girl, smile\nNegative prompt: \nSteps: 1, Seed: 2, CFG scale: 3")
    assert cleared.negative == ""
    assert to_prompt("1girl, smile, rain").negative is None


def test_quoted_settings_and_earlier_lines_that_look_like_settings():
    text = '1girl, a: b, c: d, e: f\nmore, tags\nSteps: 1, Model: "a, b: c", Seed: 2, Hashes: "{\\"x\\": 1}"'
    found = to_prompt(text)
    assert dict(found.settings) == {"Steps": "1", "Model": "a, b: c", "Seed": "2", "Hashes": '{"x": 1}'}


def test_lora_marks_are_taken_out_with_their_weight():
    found = to_prompt("masterpiece <lora:ink:0.8>, <lora:b:0.5:0.7>, <lora:c>, <lora:d:unet=0.3>, 1girl, smile")
    assert found.loras == (("ink", 0.8), ("b", 0.7), ("c", 1.0), ("d", 0.3))
    assert "<" not in found.prompt.general.get("quality")


def test_settings_of_other_programs_give_prompt_and_negative():
    swarm = {"sui_image_params": {"prompt": "1girl, smile", "negativeprompt": "bad", "seed": 5}}
    invoke = {"positive_prompt": "1girl, smile", "negative_prompt": None, "seed": 5}
    for data in (swarm, invoke):
        assert fields(to_prompt(json.dumps(data)))[0]["expression"] == "smile"
        assert dict(to_prompt(data).settings)["seed"] == "5"
    assert to_prompt(swarm).negative == "bad"
    ours = {"prompt": OFFICIAL, "negative_prompt": "", "steps": 3}
    assert to_prompt(ours).text == OFFICIAL
    assert to_prompt(ours).negative == ""


def test_markup_that_was_escaped_for_html_is_put_right():
    found = to_prompt(OFFICIAL.replace("<", "&lt;").replace(">", "&gt;"))
    assert found.text == OFFICIAL
    assert "escaped for HTML" in found.notes[0]


def test_a_card_file_is_a_character():
    card = {"newbie_ui_card": 1, "name": "momo", "fields": [["n", "momo"], ["gender", "1girl"]]}
    assert to_prompt(json.dumps(card)).kind == "card"
    assert to_prompt({**card, "fields": 5}).notes[0].startswith("This card is damaged")


LISTS = [(DATA / name).read_text() for name in EXPECTED if name.startswith("text_") and not name.endswith(".json.txt")]


@pytest.mark.parametrize("text", [*LISTS, COMFY, *NASTY.values()])
def test_no_word_is_lost(text):
    found = to_prompt(text)
    skipped = {"negative", "prompt", "bbox", "name", "image", "tags", "caption"} | {"312", "170k", "139k", "general"}
    lost = words(text) - everything(found) - skipped - set(re.findall(r"\d+(?:\.\d)?[kM]?", text.lower()))
    assert not {word for word in lost if not re.fullmatch(r"\d+[km]?|artist|copyright|character|meta|break", word)}


def tags_in(pasted):
    prompt = pasted.prompt
    given = [pair for block in (*prompt.characters, prompt.general) for pair in block.fields]
    return Counter(tag for name, value in given if name not in ("n", "gender") for tag in tags_of(value))


def test_every_tag_is_there_as_often_as_it_was_pasted_with_its_weight():
    rng = random.Random(4)
    known = [
        tag for tag in builtin() if tag.category == "general" and not re.search(r"\d|[,|()]|girls?$|boys?$", tag.name)
    ]
    for people in ([], ["1girl", "solo"], ["2girls"], ["1boy", "1girl"]):
        for _ in range(60):
            some = [rng.choice([tag.name, tag.name.replace("_", " "), *tag.zh]) for tag in rng.sample(known, 12)]
            some += [f"({tag}:1.2)" for tag in some[:2]] + [f"[{tag}]" for tag in some[2:4]] + some[4:6]
            some.append("{red hair, hat|blue hair}")
            rng.shuffle(some)
            tags = [*people, *some]
            found = to_prompt(", ".join(tags))
            assert found.kind == "tags"
            assert tags_in(found) == Counter(tags), tags


def test_a_weight_round_several_tags_is_given_to_each_and_wildcards_stay_whole():
    found = to_prompt("1girl, (blue hair, smile:1.2), ((hat, bow)), 1.3::tail, grin::, {red dress, sad|blue dress}")
    assert fields(found)[0]["appearance"] == "(blue hair:1.2), 1.3::tail::"
    assert fields(found)[0]["expression"] == "(smile:1.2), 1.3::grin::"
    assert fields(found)[0]["clothing"] == "((hat)), ((bow)), {red dress, sad|blue dress}"
    assert tags_of("(a, b") == ["(a", "b"]
    assert tags_of("a {b, c|d} e, :(, >:(, (o_o)") == ["a {b, c|d} e", ":(", ">:(", "(o_o)"]


def test_chinese_and_japanese_tags_find_their_fields():
    found = to_prompt("女の子1人、青い髪、ツインテール、微笑み、制服、夜空")
    assert fields(found)[0]["appearance"] == "青い髪, ツインテール"
    assert fields(found)[0]["gender"] == "1girl"
    assert found.prompt.general.get("background") == "夜空"
    assert lint(found.text) == ()


def test_tags_of_the_picture_in_a_characters_part_go_to_the_general_tags():
    text = "masterpiece, 2girls BREAK masterpiece, 1girl, red hair, classroom BREAK masterpiece, 1girl, blue hair"
    found = to_prompt(text)
    assert [set(one) for one in fields(found)] == [{"n", "gender", "appearance"}] * 2
    assert found.prompt.general.get("quality") == "masterpiece"
    assert found.prompt.general.get("background") == "classroom"
    assert "Several parts say masterpiece" in found.notes[0]
    assert lint(found.text) == ()


def test_what_follows_the_last_character_is_the_pictures():
    found = to_prompt("1boy, black hair, halo, 1girl, blonde hair, dress, castle, sunset")
    assert found.prompt.general.get("other") == "castle"
    assert fields(found)[1]["clothing"] == "dress"


def test_a_system_prompt_in_front_stays_there():
    found = to_prompt(SYSTEM + "\n1girl, blue hair, smile")
    assert found.prompt.system == SYSTEM
    assert fields(found)[0]["appearance"] == "blue hair"
    sentence = SYSTEM + "\nA girl stands in the rain. She smiles."
    assert to_prompt(sentence).text == sentence


def test_random_mixtures_never_make_it_fail():
    rng = random.Random(9)
    pieces = [
        "1girl",
        "2girls",
        ", ",
        "\n",
        "BREAK",
        "AND",
        "|",
        "{",
        "}",
        "Negative prompt:",
        "Steps: 1, Seed: 2, A: 3",
    ]
    pieces += [
        "blue hair",
        "<character_1>",
        "</character_1>",
        "?",
        "General",
        "39",
        "hatsune_miku",
        "\\(",
        "<lora:a:1>",
    ]
    pieces += [
        '{"prompt": "x"}',
        '{"v4_prompt": {"caption": []}}',
        "&lt;character_1&gt;",
        "girl",
        "ADDCOL",
        "::",
        "青髪",
    ]
    for _ in range(600):
        text = "".join(rng.choices(pieces, k=rng.randrange(1, 25)))
        for kind in ("", "forge_couple", "tags"):
            found = to_prompt(text, kind)
            assert isinstance(found, Pasted)
            assert parse(found.text).text == found.text


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"v4_prompt": {}},
        {
            "v4_prompt": {
                "caption": {"char_captions": [1, {"char_caption": 5}, {"char_caption": "girl", "centers": "x"}]}
            }
        },
        {"characterPrompts": "x", "prompt": "y"},
        {"image": {"tags": "1girl, smile"}, "character_1": {"bbox": ["a"]}},
        {"image": {"tags": OFFICIAL}, "character_9": {"bbox": [0, 0, 1, 1]}},
        {"parameters": {"seed": None}, "input": "x"},
        {"prompt": 5},
        {"Comment": '{"Comment": "{}"}'},
        {"tag_string_general": None},
        {1: 2},
    ],
)
def test_damaged_json_never_makes_it_fail(data):
    assert isinstance(to_prompt(data), Pasted)


def test_json_that_holds_no_prompt_is_kept_as_text():
    text = '{"3": {"class_type": "KSampler", "is_changed": NaN}}'
    found = to_prompt(text)
    assert (found.kind, found.text) == ("json", text)
    assert found.notes
    assert to_prompt("[" * 50_000).kind == "plain"
    assert to_prompt('{"a":' * 50_000).kind in ("plain", "json")


@pytest.mark.parametrize(
    "text",
    [
        " " * 20_000 + "a, b",
        "a" + " " * 20_000 + "BREAK b",
        "a\n" + " " * 20_000 + "Steps",
        "General\n? a" + " 5" * 10_000,
        "(a, " * 5_000,
        "((a, b:1.2), " * 1_500,
        "(" * 2_000 + "a, b" + ")" * 2_000,
        "{a|b, " * 3_000,
        "1.2::a, " * 2_500,
        "1girl, smile, " * 1_400,
        "a word " * 3_000,
        "1" * 20_000,
        "[" * 20_000,
        "()" * 10_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_no_text_takes_long(text):
    start = time.process_time()
    to_prompt(text)
    lint(f"<character_1><appearance>{text}</appearance></character_1>")
    assert time.process_time() - start < 2.5


def test_empty_and_huge_texts():
    assert to_prompt("  \n").kind == "empty"
    huge = "1girl, " * 200_000
    assert to_prompt(huge).text == huge
    assert build(to_prompt("").prompt) == ""

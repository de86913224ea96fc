"""Each finding has its place, its words and, where one is sure, a fix that removes it."""

import random

import pytest

from newbie_ui.prompt.lint import SEVERITIES, lint
from newbie_ui.prompt.xml import parse
from tests.prompt.samples import NASTY, OFFICIAL, PIECES

CARD = "<character_1>\n<n>$character_1$</n>\n<gender>1girl</gender>\n{}\n</character_1>\n"
GENERAL = "<general_tags>\n<count>1girl, solo</count>\n{}\n</general_tags>"


def card(fields, general=""):
    return (CARD.format(fields) + "\n" + GENERAL.format(general)).replace("\n\n<", "\n<").replace("\n\n", "\n")


# code, text, words of the message, what the fix makes of it (None: no fix)
CASES = [
    (
        "cut_tag",
        card("<action>standing</action\n<clothing>dress</clothing>"),
        "</action lacks its >",
        card("<action>standing</action>\n<clothing>dress</clothing>"),
    ),
    ("wrong_close", card("<action>standing<action>"), "is closed by <action>", card("<action>standing</action>")),
    (
        "element_outside",
        "<n>$character_1$</n>\n<gender>1girl</gender>\n",
        "belongs into a character block",
        "<character_1>\n<n>$character_1$</n>\n<gender>1girl</gender>\n</character_1>",
    ),
    (
        "element_outside",
        card("").replace("<character_1>", "<objects>cup</objects>\n<character_1>"),
        "belongs into <general_tags>",
        card("").replace("solo</count>", "solo</count>\n<objects>cup</objects>"),
    ),
    (
        "unclosed",
        card("<appearance>red_eyes\n<clothing>dress</clothing>"),
        "<appearance> is not closed",
        card("<appearance>red_eyes</appearance>\n<clothing>dress</clothing>"),
    ),
    (
        "wrong_close",
        card("<appearance>red_eyes</apearance>"),
        "closed by </apearance>",
        card("<appearance>red_eyes</appearance>"),
    ),
    (
        "stray_close",
        card("<action>standing</action>\n</foo>"),
        "</foo> closes nothing",
        card("<action>standing</action>"),
    ),
    ("unclosed_unknown", card("", "<rain>"), "<rain> is never closed", None),
    (
        "duplicate_number",
        OFFICIAL.replace("character_2", "character_1"),
        "is there twice",
        OFFICIAL,
    ),
    (
        "second_general",
        card("", "<style>ink</style>") + "\n<general_tags>\n<style>ink, anime_style</style>\n</general_tags>\n",
        "is there twice",
        card("", "<style>ink, anime_style</style>") + "\n",
    ),
    ("late_start", card("") + "<Prompt Start>", "after the prompt has begun", card("")),
    (
        "unknown_element",
        card("<apperance>red_eyes</apperance>"),
        "<appearance> is probably meant",
        card("<appearance>red_eyes</appearance>"),
    ),
    (
        "unknown_element",
        card("<mood>smile</mood>"),
        "not an element that NewBie was shown",
        card("<expression>smile</expression>"),
    ),
    (
        "unknown_element",
        card("<expression>smile</expression>\n<expresion>blush</expresion>"),
        "<expression> is probably meant",
        card("<expression>smile, blush</expression>"),
    ),
    (
        "misplaced_element",
        card("<background>sky</background>", "<background>clouds</background>"),
        "belongs to the general tags",
        card("", "<background>clouds, sky</background>"),
    ),
    (
        "misplaced_element",
        card("<action>waving</action>", "<clothing>dress</clothing>"),
        "belongs to a character",
        card("<clothing>dress</clothing>\n<action>waving</action>"),
    ),
    ("misplaced_element", OFFICIAL.replace("<style>", "<action>waving</action>\n<style>"), "belongs to a char", None),
    (
        "duplicate_element",
        card("<action>standing</action>\n<action>waving, standing</action>"),
        "twice in one block",
        card("<action>standing, waving</action>"),
    ),
    (
        "loose_text",
        card("<appearance>red_eyes</appearance>\nblue_hair, red_eyes"),
        "without an element",
        card("<appearance>red_eyes, blue_hair</appearance>"),
    ),
    (
        "loose_text",
        card("<appearance>red_eyes</appearance>\nwaving, (blue_hair:1.2), hat"),
        "Put it into <action>, <appearance>, <clothing>",
        card("<appearance>red_eyes, (blue_hair:1.2)</appearance>\n<clothing>hat</clothing>\n<action>waving</action>"),
    ),
    (
        "misplaced_element",
        card("<caption>A dog, black.</caption>", "<caption>A cat, black.</caption>"),
        "belongs to the general tags",
        card("", "<caption>A cat, black. A dog, black.</caption>"),
    ),
    ("loose_text", card("blue_hair"), "Put it into <appearance>", card("<appearance>blue_hair</appearance>")),
    ("numbering", OFFICIAL.replace("character_2", "character_4"), "without gaps", OFFICIAL),
    ("name_number", OFFICIAL.replace("<n>$character_2$", "<n>$character_1$"), "Write $character_2$", OFFICIAL),
    ("reference", card("<interaction>hugs $character_3$</interaction>"), "character 3, who is not there", None),
    (
        "count_missing",
        card("").replace("<count>1girl, solo</count>\n", ""),
        "state no count; the cards hold 1",
        card("").replace(", solo", ""),
    ),
    (
        "count_mismatch",
        OFFICIAL.replace("2girls, multiple_girls", "1girl, solo, blue_theme"),
        "Count says 1girl, the cards hold 2girls",
        OFFICIAL.replace("multiple_girls", "multiple_girls, blue_theme"),
    ),
    (
        "count_mismatch",
        card("").replace("solo", "1other"),
        "Count says 1girl and 1other, the cards hold 1girl",
        card("").replace(", solo", ""),
    ),
    (
        "count_mismatch",
        OFFICIAL.replace("2girls, multiple_girls", "2girls, solo"),
        "Count says solo",
        OFFICIAL,
    ),
    (
        "count_mismatch",
        OFFICIAL.replace("1girl</gender>", "1boy</gender>", 1),
        "the cards hold 1girl and 1boy",
        OFFICIAL.replace("1girl</gender>", "1boy</gender>", 1).replace("2girls, multiple_girls", "1girl, 1boy"),
    ),
    (
        "same_place",
        OFFICIAL.replace("center_right", "center left"),
        "stand at one place",
        OFFICIAL.replace("center_right", "center right"),
    ),
    (
        "contradiction",
        card("<appearance>short_hair, long_hair</appearance>"),
        "short_hair and long_hair contradict",
        card("<appearance>short_hair</appearance>"),
    ),
    (
        "contradiction",
        card("<appearance>blue_hair, red_hair, red_eyes</appearance>"),
        "blue_hair and red_hair contradict",
        card("<appearance>blue_hair, red_eyes</appearance>"),
    ),
    (
        "contradiction",
        card("", "<background>outdoors, indoors</background>"),
        "outdoors and indoors contradict",
        card("", "<background>outdoors</background>"),
    ),
    (
        "wrong_field",
        card("<expression>open_mouth, waving</expression>\n<action>standing</action>"),
        "waving is an action, not an expression",
        card("<expression>open_mouth</expression>\n<action>standing, waving</action>"),
    ),
    (
        "wrong_field",
        card("<appearance>blue_hair, white shirt</appearance>"),
        "white shirt is clothing",
        card("<appearance>blue_hair</appearance>\n<clothing>white shirt</clothing>"),
    ),
    (
        "wrong_field",
        card("<action>standing, white_background</action>"),
        "white_background is background",
        card("<action>standing</action>", "<background>white_background</background>"),
    ),
    (
        "wrong_field",
        card("", "<style>anime_style, blue_hair</style>"),
        "blue_hair is appearance",
        card("<appearance>blue_hair</appearance>", "<style>anime_style</style>"),
    ),
    (
        "duplicate_tag",
        card("<appearance>red_eyes, blue_hair, Red eyes</appearance>"),
        "Red eyes is there twice",
        card("<appearance>red_eyes, blue_hair</appearance>"),
    ),
    (
        "parentheses",
        card("<clothing>bow_\\(weapon, dress</clothing>"),
        "\\( is not closed",
        card("<clothing>bow_\\(weapon\\), dress</clothing>"),
    ),
    (
        "parentheses",
        card("<clothing>(dress:1.2, apron</clothing>"),
        "( is not closed",
        card("<clothing>(dress:1.2), apron</clothing>"),
    ),
    (
        "parentheses",
        card("<clothing>dress), apron</clothing>"),
        ") closes nothing",
        card("<clothing>dress, apron</clothing>"),
    ),
    (
        "empty_tag",
        card("<clothing>dress,, apron,</clothing>"),
        "has no tag beside it",
        card("<clothing>dress, apron</clothing>"),
    ),
    (
        "text_outside",
        card("") + "\nrain, night",
        "stands outside the blocks",
        card("", "<other>rain, night</other>") + "\n",
    ),
    (
        "text_outside",
        "A girl stands in the rain with her cat.\n" + card(""),
        "stands outside the blocks",
        "<caption>A girl stands in the rain with her cat.</caption>\n" + card(""),
    ),
    (
        "escaped",
        card("<expression>&gt;_&lt; &amp; smile</expression>"),
        "&gt; reaches the model letter by letter",
        card("<expression>>_< & smile</expression>"),
    ),
    ("lora_mark", card("", "<style>ink, <lora:ink:1></style>"), "Choose the LoRA", card("", "<style>ink</style>")),
    (
        "parentheses",
        card("").replace("$character_1$", "aris_\\(x"),
        "not closed",
        card("").replace("$character_1$", "aris_\\(x\\)"),
    ),
    ("lora_mark", card("", "<style><lora:ink:0.8>, ink</style>"), "Choose the LoRA", card("", "<style>ink</style>")),
    ("braces", "{\n" + card("") + "\n}", "say nothing to the model", card("") + "\n"),
]


@pytest.mark.parametrize(("code", "text", "words", "fixed"), CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_each_rule_finds_its_fault_and_its_fix_removes_it(code, text, words, fixed):
    found = [finding for finding in lint(text) if finding.code == code]
    assert found, [finding.message for finding in lint(text)]
    finding = next(one for one in found if words in one.message)
    assert finding.severity in SEVERITIES
    assert (finding.line, finding.column) == parse(text).locate(finding.start)
    assert 0 <= finding.start <= finding.end <= len(text)
    if fixed is None:
        assert finding.fix is None
    else:
        assert finding.fix.text.split("\n") == fixed.split("\n") or finding.fix.text.split() == fixed.split()
        left = [one.message for one in lint(finding.fix.text) if one.code == code]
        assert finding.message not in left
        assert len(left) < len(found)


def test_the_official_example_has_no_finding():
    assert lint(OFFICIAL) == ()


@pytest.mark.parametrize(
    "fields",
    [
        "<expression>smile, >_<, :), ;), >:(, (o)_(o), ^_^</expression>",
        "<appearance>blue_eyes, red_hair, multicolored_hair</appearance>",
        "<appearance>blue_hair, light_blue_hair</appearance>",
        "<appearance>blue_eyes, red_eyes, heterochromia</appearance>",
        "<n>aris_\\(blue archive\\)</n>\n<appearance>long_hair, very_long_hair</appearance>",
        "<appearance>(blue_hair:1.2), (red_eyes, bangs:1.1)</appearance>",
        "<appearance>蓝发，双马尾</appearance>",
        "<appearance>(long_hair:1.1), 1.2::red_eyes::</appearance>",
        "<clothing>white_shirt, bow, hair_ornament, glasses</clothing>",
        "<action>looking_at_viewer, holding_flower, smile_at_someone, laughing</action>",
        "<clothing>sleeveless, detached_sleeves, long_sleeves</clothing>\n<expression>grin, angry</expression>",
    ],
)
def test_what_artists_really_write_is_not_complained_about(fields):
    text = card(fields).replace("<n>$character_1$</n>\n<gender>", "<gender>") if "<n>" in fields else card(fields)
    assert [finding.message for finding in lint(text)] == []


@pytest.mark.parametrize("count", ["1girl", "one_girl", "女の子1人", "1个女孩，独自"])
def test_counts_are_understood_in_other_words_and_languages(count):
    assert lint(card("").replace("1girl, solo", count)) == ()
    assert [finding.code for finding in lint(OFFICIAL.replace("2girls, multiple_girls", count))] == ["count_mismatch"]


def test_plain_text_and_captions_are_left_alone():
    assert lint(NASTY["free"]) == ()
    assert lint(NASTY["sentence"]) == ()
    assert lint(card("", "<caption>A girl, smiling and waving, in the rain (again.</caption>")) == ()


def test_findings_say_whose_they_are():
    text = OFFICIAL.replace("<action>standing, holding, waving", "<action>standing, sitting, waving")
    (finding,) = lint(text)
    assert (finding.block, finding.index) == ("character", 1)
    assert text[finding.start : finding.end] == "sitting"


def test_what_the_model_in_use_does_not_know_is_told_once_a_field():
    known = ["1girl", "solo", "blue_hair", "smile"]
    text = card("<appearance>blue hair, green_hair, weird_thing</appearance>")
    messages = [f.message for f in lint(text, known) if f.code == "unknown_to_model"]
    assert messages == ["The model in use does not know green_hair, weird_thing."]
    assert not [f for f in lint(text) if f.code == "unknown_to_model"]


@pytest.mark.parametrize("name", NASTY)
def test_no_text_makes_it_fail_and_fixing_everything_ends(name):
    text = NASTY[name]
    for _ in range(40):
        fixes = [finding.fix for finding in lint(text) if finding.fix]
        if not fixes:
            break
        text = fixes[0].text
    else:
        pytest.fail(f"fixing never ends: {text!r}")


def test_damaged_prompts_never_make_it_fail():
    rng = random.Random(7)
    for _ in range(150):
        cut = sorted(rng.randrange(len(OFFICIAL)) for _ in range(2))
        text = OFFICIAL[: cut[0]] + OFFICIAL[cut[1] :] if rng.random() < 0.5 else OFFICIAL[cut[0] : cut[1]]
        for finding in lint(text):
            assert finding.message.endswith(".")


def test_random_mixtures_of_markup_and_noise_never_make_it_fail():
    rng = random.Random(3)
    for _ in range(500):
        text = "".join(rng.choices(PIECES, k=rng.randrange(1, 40)))
        for finding in lint(text):
            assert 0 <= finding.start <= finding.end <= len(text), text


def test_findings_are_bounded():
    assert len(lint(card("<appearance>" + ", ".join(["red_eyes"] * 1000) + "</appearance>"))) <= 100

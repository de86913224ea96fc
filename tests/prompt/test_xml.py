"""The parser keeps everything, finds everything, and never raises."""

import random
import time
import tracemalloc
from itertools import pairwise

import pytest

from newbie_ui.prompt.document import Character, Extra, General, Prompt, character, general
from newbie_ui.prompt.scan import scan
from newbie_ui.prompt.xml import CACHE_ENTRIES, ParsedPrompt, _cached, build, has_markup, parse, tiled
from tests.prompt.samples import COMFY, NASTY, OFFICIAL, PIECES, SYSTEM


def check_whole(text):
    parsed = ParsedPrompt(text)
    assert parsed.text == text
    assert tiled(parsed)
    for block in parsed.blocks:
        assert 0 <= block.start <= block.open_end <= block.close_start <= block.end <= len(text)
        for element in block.elements:
            assert block.start <= element.start <= element.value_start <= element.value_end <= element.end <= block.end
    spans = sorted([(b.start, b.end) for b in parsed.blocks] + [(e.start, e.end) for e in parsed.elements])
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    lines = text.replace("\r\n", "\n\n").replace("\r", "\n").split("\n")
    for problem in parsed.problems:
        assert 1 <= problem.line <= len(lines)
        assert problem.column >= 1
        assert problem.message.endswith(".")
    return parsed


@pytest.mark.parametrize("name", NASTY)
def test_every_nasty_text_is_rebuilt_byte_for_byte(name):
    check_whole(NASTY[name])


def test_random_mixtures_of_markup_and_noise_are_rebuilt_byte_for_byte():
    rng = random.Random(1)
    for _ in range(1500):
        check_whole("".join(rng.choices(PIECES, k=rng.randrange(1, 40))))


def test_random_unicode_is_rebuilt_byte_for_byte():
    rng = random.Random(2)
    for _ in range(300):
        check_whole("".join(chr(rng.choice((rng.randrange(1, 128), rng.randrange(1, 0x110000)))) for _ in range(60)))


def test_a_prompt_with_any_one_character_removed_is_rebuilt():
    for i in range(0, len(OFFICIAL), 3):
        check_whole(OFFICIAL[:i] + OFFICIAL[i + 1 :])


def test_the_official_example_is_read_without_problems():
    prompt = parse(OFFICIAL).prompt
    assert parse(OFFICIAL).problems == ()
    assert [c.get("position") for c in prompt.characters] == ["center_left", "center_right"]
    assert prompt.characters[0].names() == ("n", "gender", "appearance", "clothing", "expression", "action", "position")
    assert prompt.general.get("other") == "alternate_costume"
    assert prompt.extras == ()
    assert build(prompt) == OFFICIAL.rstrip("\n")


def test_values_are_kept_unescaped_and_exact():
    parsed = parse(NASTY["emoticons"])
    assert parsed.prompt.characters[0].get("expression") == ">_<, <o>_<o>, :<, ;), <3, </3, ^_^, <|>_<|>"
    assert parsed.problems == ()
    assert parse(NASTY["ampersand"]).prompt.general.get("style") == "black & white, &amp;, a<b>c"


def test_unknown_elements_and_their_order_are_kept():
    text = "<character_1><mood>calm</mood><n>a</n><外貌>蓝发</外貌></character_1>"
    assert parse(text).prompt.characters[0].fields == (("mood", "calm"), ("n", "a"), ("外貌", "蓝发"))
    assert parse(text).problems == ()


def test_a_field_that_is_not_closed_ends_where_the_next_begins():
    parsed = parse(NASTY["missing_close_field"])
    assert parsed.prompt.characters[0].fields == (
        ("n", "$character_1$"),
        ("appearance", "red_eyes"),
        ("clothing", "dress"),
    )
    (problem,) = parsed.problems
    assert (problem.line, problem.column, problem.code) == (3, 1, "unclosed")
    assert problem.message == "<appearance> is not closed. Add </appearance> before <clothing>."


def test_a_block_that_is_not_closed_ends_where_the_next_begins():
    parsed = parse(NASTY["missing_close_block"])
    assert [c.get("gender") for c in parsed.prompt.characters] == ["1girl", "1boy"]
    assert [(p.line, p.column) for p in parsed.problems] == [(1, 1)]
    assert len(parse(NASTY["missing_close_all"]).problems) == 2


def test_a_wrong_close_tag_is_taken_for_the_right_one_and_reported():
    parsed = parse(NASTY["wrong_close"])
    assert parsed.prompt.characters[0].fields == (("appearance", "red_eyes"), ("clothing", "dress"))
    assert [p.code for p in parsed.problems] == ["wrong_close"] * 3


@pytest.mark.parametrize(
    "name", ["spelling", "wrapper", "inset", "named", "attributes", "braces", "no_number", "comment"]
)
def test_other_spellings_are_read_without_problems(name):
    parsed = parse(NASTY[name])
    assert parsed.prompt.characters
    assert parsed.problems == ()


def test_a_block_with_a_name_of_its_own_is_a_character():
    (aoi,) = parse(NASTY["named"]).prompt.characters
    assert (aoi.tag, aoi.name, aoi.get("gender")) == ("aoi", "aoi", "1girl")


def test_a_forgotten_bracket_or_slash_is_read_as_meant_and_reported():
    for text in (
        "<character_1\n<n>a</n>\n</character_1>",
        "<character_1>\n<n>a</n\n</character_1>",
        "<character_1>\n<n>a<n>\n</character_1>",
        "<character_1>\n<n>a</n>\n</charcter_1>",
    ):
        parsed = check_whole(text)
        assert parsed.prompt.characters == (character({"n": "a"}),)
        assert len(parsed.problems) == 1
    twice = parse("<character_1>\n<style>a\n<style>b</style>\n</character_1>")
    assert twice.prompt.characters[0].fields == (("style", "a"), ("style", "b"))


def test_a_caption_may_speak_of_elements():
    text = "<caption>Left is <character_1>, right <character_2>.</caption>\n<character_1><n>a</n></character_1>"
    parsed = check_whole(text)
    assert parsed.prompt.caption() == "Left is <character_1>, right <character_2>."
    assert len(parsed.prompt.characters) == 1
    assert parsed.problems == ()
    unclosed = parse("<caption>Two girls.\n<character_1><n>a</n></character_1>")
    assert unclosed.prompt.caption() == "Two girls."


def test_free_text_and_top_level_elements_are_extras_in_order():
    prompt = parse(NASTY["around"]).prompt
    assert prompt.extras == (
        Extra("", "style of mikozin", before=True),
        Extra("", "best quality,"),
        Extra("danbooru_tags", "rain, night"),
        Extra("", "end"),
    )


def test_a_plain_tag_list_is_a_prompt_without_problems():
    for name in ("free", "sentence", "empty", "space"):
        assert parse(NASTY[name]).problems == ()
        assert parse(NASTY[name]).prompt.characters == ()


def test_a_system_prompt_in_front_is_told_apart():
    parsed = parse(NASTY["system"])
    assert parsed.prompt.system == SYSTEM
    assert parsed.problems == ()
    assert len(parsed.prompt.characters) == 2
    assert parse(NASTY["late_start"]).problems[0].code == "late_start"


def test_the_json_around_the_xml_is_a_frame_not_free_text():
    parsed = parse(COMFY)
    assert parsed.loose == ()
    assert len(parsed.frames) == 2
    assert len(parsed.prompt.characters) == 2
    assert parsed.problems == ()


def test_duplicate_numbers_are_reported_with_their_place():
    (problem,) = parse("<character_1><n>a</n></character_1>\n  <character_1><n>b</n></character_1>").problems
    assert (problem.line, problem.column, problem.code) == (2, 3, "duplicate_number")
    assert "2" in problem.message


def test_an_unknown_element_that_is_never_closed_is_text_and_reported():
    parsed = parse("<character_1><n>a</n></character_1>\n<rain> falls")
    assert parsed.prompt.extras == (Extra("", "<rain> falls"),)
    assert parsed.problems[0].code == "unclosed_unknown"
    assert parsed.problems[0].line == 2


def test_lines_end_with_lf_crlf_or_cr():
    for newline in ("\n", "\r\n", "\r"):
        text = newline.join(["<character_1>", "<n>a</n>", " <action>b", "</character_1>"])
        assert [(p.line, p.column) for p in parse(text).problems] == [(3, 2)]


def test_columns_count_characters_not_bytes():
    assert parse("😀青<n>a").problems[0].column == 3


def test_a_built_document_reads_back_equal():
    prompt = Prompt(
        characters=(
            character({"n": "aris_\\(blue archive\\)", "appearance": ">_<, a & b"}),
            Character((("", "1girl, red_hair"),)),
            character({"gender": "1boy", "interaction": "hug"}, tag="momo"),
        ),
        general=general({"count": "2girls", "mood": "calm"}),
        extras=(Extra("style", "ink", before=True), Extra("caption", "Two girls.\nIn rain."), Extra("", "the end")),
        system=SYSTEM,
    )
    assert parse(build(prompt)).prompt == prompt
    assert parse(build(Prompt())).prompt == Prompt()


def test_random_documents_read_back_equal():
    rng = random.Random(3)
    values = ["", "a, b", " >_< ", "x & y", "line\nline", "<3", "\\(", "青髪", "</3", "{a|b}"]
    names = ["n", "gender", "appearance", "clothing", "mood", "position"]
    for _ in range(200):
        prompt = Prompt(
            tuple(
                Character(tuple((rng.choice(names), rng.choice(values)) for _ in range(rng.randrange(1, 6))))
                for _ in range(rng.randrange(5))
            ),
            General(
                tuple((rng.choice(["count", "style", "rain"]), rng.choice(values)) for _ in range(rng.randrange(4)))
            ),
        )
        assert parse(build(prompt)).prompt == prompt


def test_a_value_that_would_change_the_structure_is_recognised():
    assert has_markup("a</appearance>")
    assert has_markup("<character_1><n>a</n></character_1>")
    assert not has_markup(">_<, <o>_<o>, a & b, <3")


def test_reading_the_official_example_takes_less_than_a_millisecond():
    best = min(_seconds(lambda: ParsedPrompt(OFFICIAL)) for _ in range(30))
    assert best < 1e-3


def test_reading_it_again_takes_less_than_20_microseconds():
    parse(OFFICIAL)
    best = min(_seconds(lambda: [parse(OFFICIAL) for _ in range(100)]) for _ in range(10)) / 100
    assert best < 20e-6


def test_distinct_prompts_leave_nothing_behind():
    for i in range(1000):
        parse(f"<n>{i}</n>")
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for i in range(3_000):
        parse(f"<character_1><n>name {i}</n></character_1>")
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 300_000
    assert _cached.cache_info().currsize <= CACHE_ENTRIES


HOSTILE = [
    "<" * 20_000,
    "<a" * 10_000,
    "<a>" * 7_000,
    "<a>" * 3_500 + "</a>" * 3_500,
    "</n\n" * 5_000,
    "<caption>" * 1_000 + "<n>" * 3_000 + "</caption>",
    "<ab><n>" * 3_000 + "</ab>" * 3_000,
    "<n>" * 7_000,
    "<character_1>" * 1_500,
    "<a b" + " c" * 10_000,
    "<a " + " " * 20_000,
    "<!--" * 5_000,
    "<image>" * 3_000 + "</image>" * 3_000,
    '<n a="' * 3_500,
    "{" * 20_000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_take_linear_time(text):
    start = time.process_time()
    assert ParsedPrompt(text).text == text
    assert time.process_time() - start < 2.0


def test_tags_come_in_order_without_overlap():
    tags = scan(COMFY)
    assert all(a.end <= b.start for a, b in pairwise(tags))


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start

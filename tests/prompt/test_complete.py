"""Completion at the caret, marked | in these texts."""

import random
import time

import pytest

from newbie_ui.prompt.complete import complete
from newbie_ui.prompt.tags import Tag, Vocabulary, builtin
from tests.prompt.samples import NASTY, OFFICIAL


def at(marked, **options):
    caret = marked.index("|")
    text = marked[:caret] + marked[caret + 1 :]
    found = complete(text, caret, **options)
    return text[found.start : found.end], [item.insert for item in found.items]


def accepted(marked, choice=0):
    caret = marked.index("|")
    text = marked[:caret] + marked[caret + 1 :]
    found = complete(text, caret)
    return text[: found.start] + found.items[choice].insert + text[found.end :]


def test_the_tag_at_the_caret_is_replaced_and_its_neighbours_stay():
    assert accepted("white_shirt, red_sk|, bow") == "white_shirt, red_skirt, bow"
    assert accepted("1girl, pleated_s|hirt, bow") == "1girl, pleated_skirt, bow"


def test_a_word_after_a_space_is_not_eaten():
    assert accepted("red_sk| white_shirt") == "red_skirt white_shirt"


def test_it_stops_at_the_borders_of_an_element():
    assert accepted("<clothing>red_sk|</clothing>") == "<clothing>red_skirt</clothing>"
    assert accepted("<clothing>bow,red_sk|</clothing>") == "<clothing>bow,red_skirt</clothing>"
    assert at("<character_1>\n|") == ("", [])


def test_spaces_are_written_where_the_text_writes_spaces():
    assert accepted("long hair, blue eyes, red sk|") == "long hair, blue eyes, red skirt"
    assert accepted("long_hair, blue_eyes, red sk|") == "long_hair, blue_eyes, red_skirt"
    assert at("red_sk|", underscores=False)[1][0] == "red skirt"


def test_parentheses_are_escaped_and_emoticons_are_not():
    assert accepted("gap_\\(tou|") == "gap_\\(touhou\\)"
    assert accepted("gap (tou|") != "gap (gap_\\(touhou\\)"
    assert accepted("<expression>>_|</expression>") == "<expression>>_<</expression>"
    assert at("long hair, blue eyes, >_|")[1][0] == ">_<"


def test_weights_and_wildcards_are_borders():
    assert accepted("(red_sk|:1.2), bow") == "(red_skirt:1.2), bow"
    text = "{blue_skirt|red_sk}"
    found = complete(text, len(text) - 1)
    assert text[: found.start] + found.items[0].insert + text[found.end :] == "{blue_skirt|red_skirt}"


def test_lists_without_commas_and_sentences_are_completed_by_their_last_words():
    assert accepted("1girl solo blue_ha|") == "1girl solo blue_hair"
    assert accepted("A girl with blue ha|")[-9:] in ("blue_hair", "blue hair")


def test_chinese_and_japanese_names_give_the_tag():
    assert accepted("<appearance>青髪|</appearance>") == "<appearance>blue_hair</appearance>"
    assert accepted("red_eyes，双马|") == "red_eyes，twintails"
    assert accepted("red_eyes、ツインテ|") == "red_eyes、twintails"


def test_the_end_of_a_chinese_or_japanese_name_is_no_better_than_its_beginning():
    assert at("青|")[1][:2] == ["blue_eyes", "blue_hair"], "not tattoo, 刺青"
    assert at("ツイン|")[1][0] == "twintails"
    assert at("髪|")[1][0] == "long_hair"


def test_names_are_completed_as_a_prompt_writes_them():
    assert accepted("<n>aris_\\(|</n>") == "<n>aris_\\(blue_archive\\)</n>"


def test_what_stands_in_the_value_already_is_not_offered_again():
    assert "long_hair" not in at("<appearance>long_hair, long_|</appearance>")[1]
    assert "long_hair" in at("<appearance>long_|</appearance>\n<other>long_hair</other>")[1]


def test_element_names_are_completed():
    assert accepted("<character_1>\n<appea|") == "<character_1>\n<appearance>"
    assert accepted("<n>a</n>\n</char|") == "<n>a</n>\n</character_1>"
    assert at("a <3|") == ("", [])


def test_nothing_typed_nothing_offered():
    for marked in ("|", "1girl, |", "<appearance>|</appearance>", "   |"):
        assert at(marked)[1] == []


def test_another_vocabulary_can_be_used():
    mine = Vocabulary([Tag("my_oc")])
    assert at("my|", vocabulary=mine)[1] == ["my_oc"]
    assert at("blue|", vocabulary=mine)[1] == []


@pytest.mark.parametrize("name", NASTY)
def test_no_text_and_no_caret_makes_it_fail(name):
    text = NASTY[name]
    rng = random.Random(6)
    for caret in [0, len(text), len(text) + 5, -3, *(rng.randrange(len(text) + 1) for _ in range(25))]:
        found = complete(text, caret)
        assert 0 <= found.start <= found.end <= len(text)


def test_a_keystroke_in_a_long_prompt_takes_less_than_five_milliseconds():
    builtin().search("warm up")
    text = OFFICIAL * 8
    places = [text.index("serafuku") + 3, len(text) // 2, len(text) - 300]
    best = min(_seconds(lambda: [complete(text, place) for place in places]) for _ in range(5)) / len(places)
    assert best < 0.005


def _seconds(call):
    start = time.process_time()
    call()
    return time.process_time() - start

"""The form changes one thing of the text and nothing else."""

import random

import pytest

from newbie_ui.errors import PromptError
from newbie_ui.prompt.document import is_placeholder, new_character
from newbie_ui.prompt.edit import (
    Edit,
    add_character,
    apply,
    duplicate_character,
    move_character,
    remove_character,
    renumber,
    replace_character,
    set_extra,
    set_general,
    set_system,
    update_character,
    update_general,
)
from newbie_ui.prompt.xml import parse
from tests.prompt.samples import COMFY, NASTY, OFFICIAL, SYSTEM

ODD = (
    "style of mikozin, <!-- mine -->\r\n"
    "<Character 1>\r\n  <N>aris_\\(blue archive\\)</N>\r\n"
    "  <mood>calm & >_<</mood>\r\n  <Action/>\r\n</Character 1>\r\n"
    "between\r\n"
    "<character_7>\r\n<n>$character_7$</n>\r\n<interaction>hugs $character_7$</interaction>\r\n</character_7>\r\n"
    "<general tags><count>2girls</count></general tags> end $character_7$"
)


def names(text):
    return [c.get("n") for c in parse(text).prompt.characters]


@pytest.mark.parametrize("name", NASTY)
def test_writing_back_the_same_values_changes_nothing(name):
    text = NASTY[name]
    parsed = parse(text)
    for i, one in enumerate(parsed.prompt.characters):
        assert replace_character(text, i, one.fields) == text
        assert update_character(text, i, {key: one.get(key) for key in one.names() if one.get(key)}) == text
    if len(parsed.generals) == 1:
        assert set_general(text, parsed.prompt.general.fields) == text


def test_changing_one_value_leaves_all_else_byte_for_byte():
    text = update_character(ODD, 0, {"mood": "angry"})
    assert text == ODD.replace("calm & >_<", "angry")
    assert update_character(ODD, 0, {"action": "waving"}) == ODD.replace("<Action/>", "<Action>waving</Action>")


def test_a_new_field_goes_where_the_usual_order_has_it_with_the_same_indentation():
    text = update_character(ODD, 0, {"appearance": "blue_hair"})
    assert text == ODD.replace("</N>\r\n", "</N>\r\n  <appearance>blue_hair</appearance>\r\n")
    text = update_character("<character_1><position>left</position></character_1>", 0, {"gender": "1girl"})
    assert text == "<character_1><gender>1girl</gender><position>left</position></character_1>"


def test_an_emptied_field_goes_with_its_line_and_comes_back_to_its_place():
    text = update_character(OFFICIAL, 0, {"clothing": ""})
    assert text == "\n".join(line for i, line in enumerate(OFFICIAL.split("\n")) if i != 4)
    value = parse(OFFICIAL).prompt.characters[0].get("clothing")
    assert update_character(text, 0, {"clothing": value}) == OFFICIAL


def test_an_emptied_name_becomes_the_placeholder_and_a_placeholder_stays():
    assert names(update_character(ODD, 0, {"n": ""}))[0] == "$character_1$"
    assert update_character(OFFICIAL, 1, {"n": ""}) == OFFICIAL
    assert names(update_character(OFFICIAL, 1, {"n": "hatsune_miku"}))[1] == "hatsune_miku"
    assert "<name>momo</name>" in update_character(NASTY["named"], 0, {"n": "momo"})


def test_fields_can_be_put_into_an_empty_or_unclosed_block():
    assert update_character("<character_1></character_1>", 0, {"n": "a"}) == "<character_1>\n<n>a</n>\n</character_1>"
    assert update_character("<character_1/>", 0, {"n": "a"}) == "<character_1>\n<n>a</n>\n</character_1>"
    unclosed = update_character("<character_1>", 0, {"n": "a"})
    assert parse(unclosed).prompt.characters[0].fields == (("n", "a"),)


def test_the_whole_list_of_fields_can_be_replaced():
    fields = (("gender", "1boy"), ("appearance", "short_hair"), ("mood", "x"), ("position", "center"))
    text = replace_character(OFFICIAL, 0, fields)
    assert parse(text).prompt.characters[0].fields == fields
    assert text[text.index("</character_1>") :] == OFFICIAL[OFFICIAL.index("</character_1>") :]


def test_random_field_lists_are_written_exactly():
    rng = random.Random(4)
    keys = ["n", "gender", "appearance", "clothing", "mood", "position", "action"]
    values = ["a", "b, c", "", ">_<", "x & y"]
    for text in (OFFICIAL, ODD, NASTY["self_closing"], NASTY["missing_close_block"], COMFY):
        for _ in range(60):
            fields = tuple((key, rng.choice(values)) for key in rng.sample(keys, rng.randrange(1, 7)))
            assert parse(replace_character(text, 0, fields)).prompt.characters[0].fields == fields


def test_removing_the_first_of_two_renumbers_the_other_and_keeps_its_name():
    text = remove_character(OFFICIAL, 0)
    assert text.startswith("<character_1>\n<n>$character_1$</n>")
    assert text.endswith(OFFICIAL[OFFICIAL.index("<general_tags>") :])
    assert names(remove_character(ODD, 1)) == ["aris_\\(blue archive\\)"]
    assert parse(text).problems == ()


def test_references_follow_the_character_that_they_mean():
    text = renumber(ODD)
    assert "<character_2>\r\n<n>$character_2$</n>\r\n<interaction>hugs $character_2$</interaction>" in text
    assert text.endswith("end $character_2$")
    assert text.startswith("style of mikozin, <!-- mine -->\r\n<Character 1>")
    assert renumber(text) == text


def test_duplicate_numbers_are_repaired_without_touching_names():
    text = renumber(NASTY["duplicate_ids"])
    assert text == "<character_1><n>a</n></character_1><character_2><n>b</n></character_2>"
    twice = "<character_1><n>$character_1$</n></character_1><character_1><n>$character_1$</n></character_1>"
    assert names(renumber(twice)) == ["$character_1$", "$character_2$"]
    assert names(renumber(twice.replace("$", ""))) == ["character_1", "character_2"]


def test_a_missing_number_is_added_and_a_wrong_close_tag_repaired():
    assert renumber("<character><n>a</n></character>") == "<character_1><n>a</n></character_1>"
    assert renumber("<character 3><n>a</n></character_9>") == "<character 1><n>a</n></character 1>"


def test_moving_exchanges_the_blocks_and_keeps_what_stands_between():
    text = move_character(ODD, 1, 0)
    assert names(text) == ["$character_1$", "aris_\\(blue archive\\)"]
    assert text.startswith("style of mikozin, <!-- mine -->\r\n<character_1>")
    assert "\r\nbetween\r\n<Character 2>\r\n  <N>aris_\\(blue archive\\)</N>" in text
    assert move_character(move_character(OFFICIAL, 0, 1), 0, 1) == OFFICIAL


def test_adding_puts_a_numbered_block_after_the_last_or_before_another():
    text = add_character(OFFICIAL, new_character(3, "1boy").fields)
    assert names(text) == ["$character_1$", "$character_2$", "$character_3$"]
    assert text.replace(text[text.index("\n\n<character_3>") : text.index("\n\n<general_tags>")], "") == OFFICIAL
    assert names(add_character(OFFICIAL, (("n", "first"),), at=0))[0] == "first"
    assert add_character("", (("n", "a"),)) == "<character_1>\n<n>a</n>\n</character_1>"
    assert add_character("<general_tags></general_tags>", ()).startswith("<character_1>\n</character_1>\n\n<general")
    assert add_character("rain\n", (("n", "a"),)) == "rain\n\n<character_1>\n<n>a</n>\n</character_1>\n"


def test_a_copy_stands_after_its_original_with_its_own_number():
    text = duplicate_character(OFFICIAL, 0)
    assert names(text) == ["$character_1$", "$character_2$", "$character_3$"]
    assert parse(text).prompt.characters[0].fields[1:] == parse(text).prompt.characters[1].fields[1:]
    assert names(duplicate_character(ODD, 0))[:2] == ["aris_\\(blue archive\\)"] * 2


def test_the_json_frame_follows_its_characters():
    both = COMFY.replace('"image"', '"character_2": { "bbox": [500,0,1000,1000], "name": "$character_2$" }, "image"')
    text = remove_character(both, 0)
    assert '{ "character_1": { "bbox": [500,0,1000,1000], "name": "$character_1$" }, "image"' in text
    assert "character_2" not in text


def test_general_tags_and_captions_are_set_made_and_taken_out():
    text = update_general(OFFICIAL, {"count": "2girls", "objects": "", "caption": "Rain."})
    assert text == OFFICIAL.replace("2girls, multiple_girls", "2girls").replace(
        "<objects>briefcase</objects>\n<other>alternate_costume</other>\n",
        "<other>alternate_costume</other>\n<caption>Rain.</caption>\n",
    )
    assert update_general("rain", {"count": "1girl", "style": ""}) == (
        "rain\n\n<general_tags>\n<count>1girl</count>\n</general_tags>"
    )
    assert update_general("rain", {"count": ""}) == "rain"
    captioned = set_extra(OFFICIAL, "caption", "Rain.")
    assert captioned == OFFICIAL[:-1] + "\n\n<caption>Rain.</caption>\n"
    assert set_extra(captioned, "caption", "Snow.") == captioned.replace("Rain.", "Snow.")
    assert parse(set_extra(captioned, "caption", "")).prompt == parse(OFFICIAL).prompt
    assert parse(set_extra(text, "caption", "Snow.")).prompt.general.get("caption") == "Snow."


def test_free_text_and_system_prompt_are_set_and_taken_out():
    assert set_extra("rain", "", "snow") == "snow"
    assert set_extra(OFFICIAL, "", "snow") == OFFICIAL[:-1] + "\n\nsnow\n"
    assert parse(set_extra(ODD, "", "")).prompt.extras == ()
    assert parse(set_extra(ODD, "", "snow")).prompt.extras[0].text == "snow"
    assert set_system(NASTY["system"], "") == OFFICIAL
    assert set_system(OFFICIAL, SYSTEM) == NASTY["system"]
    assert set_system(NASTY["system_comma"], SYSTEM).startswith(SYSTEM + "\n,")


def test_an_unknown_character_is_a_sentence():
    with pytest.raises(PromptError, match="There is no character 3: the prompt has 2"):
        remove_character(OFFICIAL, 2)


def test_random_walks_through_the_form_agree_with_a_plain_list():
    rng = random.Random(5)
    for text in (OFFICIAL, ODD, NASTY["spelling"], NASTY["duplicate_ids"], NASTY["missing_close_block"], "rain"):
        cards = [c.fields for c in parse(text).prompt.characters]
        rest = parse(text).prompt.extras
        for step in range(40):
            text, cards = _random_step(rng, step, text, cards)
            parsed = parse(text)
            assert [_unnamed(c.fields) for c in parsed.prompt.characters] == [_unnamed(f) for f in cards]
            numbers = [b.number for b in parsed.characters if b.numbered]
            assert len(set(numbers)) == len(numbers) or step == 0
            assert [e.name for e in parsed.prompt.extras] == [e.name for e in rest]


def _random_step(rng, step, text, cards):
    i = rng.randrange(len(cards)) if cards else 0
    choice = rng.choice(["add", "remove", "move", "copy", "set"]) if cards else "add"
    if choice == "add" or len(cards) < 2:
        fields = (("n", f"name {step}"), ("gender", "1girl"), ("mood", "x"))
        return add_character(text, fields, at=i), [*cards[:i], fields, *cards[i:]]
    if choice == "remove":
        return remove_character(text, i), cards[:i] + cards[i + 1 :]
    if choice == "move":
        to = rng.randrange(len(cards))
        rest = cards[:i] + cards[i + 1 :]
        return move_character(text, i, to), [*rest[:to], cards[i], *rest[to:]]
    if choice == "copy":
        return duplicate_character(text, i), [*cards[: i + 1], cards[i], *cards[i + 1 :]]
    fields = (*((k, v) for k, v in cards[i] if k != "mood"), ("mood", f"value {step}"))
    return replace_character(text, i, fields), [*cards[:i], fields, *cards[i + 1 :]]


def _unnamed(fields):
    """Placeholders and references to them are renumbered; all else must be equal."""
    return [(k, "" if is_placeholder(v) or "$" in v else v) for k, v in fields]


def test_edits_are_made_together_and_overlaps_refused():
    assert apply("abcdef", [Edit(4, 5, ""), Edit(0, 1, "X"), Edit(2, 2, "--")]) == "Xb--cdf"
    with pytest.raises(ValueError, match="overlap"):
        apply("abcdef", [Edit(0, 3, "x"), Edit(2, 4, "y")])

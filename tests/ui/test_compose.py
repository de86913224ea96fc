"""The editor's edits: only what an edit names changes, and whatever a browser sends is survived."""

import pytest

from newbie_ui.prompt.xml import parse
from newbie_ui.request import MAX_PROMPT_CHARS
from newbie_ui.ui import compose

ODD = """Free text first.
<character_1>
  <n>$character_1$</n>
  <appearance>blue_hair, >_<, a & b</appearance>
  <interaction>holding_hands</interaction>
  <aura>glowing</aura>
</character_1>
<inset_panel>a cat</inset_panel>
<character_2>
  <n>aris_\\(blue archive\\)</n>
  <appearance>black_hair</appearance>
</character_2>
<general_tags>
  <count>2girls</count>
</general_tags>
<caption>Two friends. 青い空 😀</caption>"""


def edited(text, *ops, **more):
    return compose.draft({"text": text, "pending": list(ops), **more})


def field(block, name, value, index=-1):
    return {"op": "field", "block": block, "field": index, "name": name, "value": value}


def test_a_field_is_changed_and_every_other_byte_stays():
    made = edited(ODD, field("character:0", "appearance", "red_hair, :<"))
    assert made.text == ODD.replace("blue_hair, >_<, a & b", "red_hair, :<")


def test_a_field_the_text_lacks_goes_where_the_usual_order_has_it():
    made = edited(ODD, field("character:1", "position", "far_right"))
    assert "<appearance>black_hair</appearance>\n  <position>far_right</position>\n</character_2>" in made.text


def test_an_emptied_standing_field_leaves_the_text_and_comes_back_when_typed():
    made = edited(ODD, field("character:1", "appearance", ""), field("character:1", "appearance", "b"))
    assert parse(made.text).prompt.characters[1].fields == (("n", "aris_\\(blue archive\\)"), ("appearance", "b"))


def test_an_own_field_can_be_added_empty_so_that_the_card_shows_its_row():
    made = edited(compose.EXAMPLE, field("character:0", "interaction", ""))
    assert "<interaction></interaction>" in made.text
    rows = compose.view(made)["characters"][0]["fields"]
    assert [row["name"] for row in rows].count("interaction") == 1


def test_an_unknown_field_is_shown_edited_and_kept():
    rows = compose.view(edited(ODD))["characters"][0]["fields"]
    aura = next(row for row in rows if row["name"] == "aura")
    made = edited(ODD, field("character:0", "aura", "dark", aura["index"]))
    assert made.text == ODD.replace("glowing", "dark")


def test_the_second_of_two_fields_with_one_name_is_meant_by_its_index():
    text = "<character_1>\n<action>run</action>\n<action>jump</action>\n</character_1>"
    assert edited(text, field("character:0", "action", "sit", 1)).text == text.replace("jump", "sit")


def test_removing_the_middle_character_renumbers_and_keeps_names_and_mutes():
    three = edited(ODD, {"op": "add"}).text
    made = edited(three, {"op": "remove", "index": 1}, muted=[0, 2])
    assert [c.get("n") for c in parse(made.text).prompt.characters] == ["$character_1$", "$character_2$"]
    assert made.muted == [0, 1]
    assert "<inset_panel>a cat</inset_panel>" in made.text
    assert made.undo


def test_moving_a_character_takes_its_mute_along():
    made = edited(ODD, {"op": "move", "index": 0, "to": 1}, muted=[0])
    assert made.muted == [1]
    assert parse(made.text).prompt.characters[0].name == "aris_\\(blue archive\\)"


def test_a_seventh_character_is_refused_with_a_sentence():
    made = edited("", *({"op": "add"} for _ in range(7)))
    assert len(parse(made.text).characters) == 6
    assert "6 characters" in made.say


def test_a_dot_on_the_pad_becomes_the_position_tag_and_is_read_back():
    made = edited(ODD, {"op": "place", "index": 0, "column": 0, "depth": 2})
    assert parse(made.text).prompt.characters[0].get("position") == "far_left, foreground"
    assert compose.view(made)["characters"][0]["cell"] == (0, 2)


def test_muted_characters_are_left_out_of_what_is_generated_only():
    made = edited(ODD, muted=[0])
    assert len(parse(made.text).characters) == 2
    generated = parse(compose.effective(made))
    assert [c.name for c in generated.prompt.characters] == ["aris_\\(blue archive\\)"]
    assert "a cat" in generated.text


def test_dice_draw_tags_for_the_named_fields_only():
    made = edited(ODD, {"op": "dice", "block": "character:1", "names": ["clothing", "evil", "n"]})
    before, after = parse(ODD).prompt.characters[1], parse(made.text).prompt.characters[1]
    assert after.get("clothing")
    assert after.get("appearance") == before.get("appearance")
    assert after.get("n") == before.get("n")


def test_dice_stay_within_what_the_model_knows():
    value = {"text": ODD, "pending": [{"op": "dice", "block": "general", "names": ["background"]}]}
    made = compose.draft(value, vocabulary=("outdoors", "snow"))
    assert set(parse(made.text).prompt.general.get("background").split(", ")) <= {"outdoors", "snow", ""}


def test_the_example_uses_what_the_model_knows():
    assert compose.example() == compose.EXAMPLE
    text = compose.example(("blue_hair", "pink_hair", "1girl", "center_left", "center_right", "2girls", "outdoors"))
    assert "<appearance>blue_hair</appearance>" in text
    assert "school_uniform" not in text
    assert "<style>" not in text
    assert not parse(text).problems
    assert len(parse(text).characters) == 2


def test_what_stands_beside_the_blocks_is_shown_in_its_order_and_can_be_edited():
    rows = compose.view(edited(ODD))["extras"]
    assert [row["name"] for row in rows] == ["", "inset_panel", "caption"]
    assert edited(ODD, field("extra", "caption", "One.")).text == ODD.replace("Two friends. 青い空 😀", "One.")


def test_offsets_are_counted_as_the_browser_counts_them():
    text = "a😀b"
    assert compose.utf16(text, 2) == 3
    assert [compose.characters(text, i) for i in (-5, 0, 1, 3, 4, 99)] == [0, 0, 1, 2, 3, 3]


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "text",
        {"text": 5, "negative": [], "muted": "x", "pending": {}},
        {"text": "a", "pending": [None, 3, {"op": "field"}, {"op": "move", "index": 9, "to": 0}, {"op": "boom"}]},
        {"text": "a", "pending": [{"op": "field", "block": "character:77", "name": "n", "value": "x"}]},
        {"text": ODD, "pending": [{"op": "place", "index": 0, "column": 99, "depth": 0}]},
        {"text": ODD, "muted": [True, -1, 10**30, 5]},
    ],
)
def test_nothing_a_browser_sends_raises(value):
    made = compose.draft(value)
    compose.view(made)
    compose.effective(made)


def test_an_edit_that_makes_the_text_too_long_is_not_made():
    made = edited(ODD, {"op": "text", "text": "x" * (2 * MAX_PROMPT_CHARS + 1)})
    assert made.text == ODD
    assert str(MAX_PROMPT_CHARS) in made.say

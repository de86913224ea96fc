"""A throw of the dice for one field."""

import pytest

from newbie_ui.prompt.dice import FIELDS, TAGS, roll
from newbie_ui.prompt.document import CHARACTER_FIELDS
from newbie_ui.prompt.lint import lint
from newbie_ui.prompt.taglist import items, key
from newbie_ui.prompt.tags import builtin, is_safe


@pytest.mark.parametrize("field", FIELDS)
def test_a_throw_depends_on_field_and_seed_only(field):
    assert roll(field, 5) == roll(field, 5)
    assert len({roll(field, seed) for seed in range(60)}) > 1


def test_every_tag_of_the_dice_is_in_the_list_that_ships():
    assert [tag for tag in TAGS if tag not in builtin()] == []


def test_throws_are_varied():
    assert len({roll("appearance", seed) for seed in range(100)}) > 90
    assert len({roll("clothing", seed) for seed in range(100)}) > 50


@pytest.mark.parametrize("field", FIELDS)
def test_what_is_drawn_is_safe_belongs_to_the_field_and_does_not_contradict_itself(field):
    block = "character_1" if field in CHARACTER_FIELDS else "general_tags"
    for seed in range(150):
        value = roll(field, seed)
        text = f"<{block}>\n<{field}>{value}</{field}>\n</{block}>"
        wrong = [f.message for f in lint(text) if f.code not in ("count_missing",)]
        assert wrong == [], value
        assert all(is_safe(item.key) for item in items(value))


def test_only_what_the_model_knows_is_drawn():
    known = ["blue hair", "long_hair", "red_eyes", "white_dress", "smile"]
    for seed in range(30):
        assert {key(tag) for tag in roll("appearance", seed, known).split(", ")} <= {key(name) for name in known}
        assert roll("clothing", seed, known) == "white_dress"
        assert roll("action", seed, known, now="standing") == "standing", "nothing to draw leaves what is there"


def test_a_throw_gives_something_else_than_before():
    for seed in range(40):
        now = roll("expression", seed)
        assert roll("expression", seed, now=now) != now


def test_a_field_without_dice_stays():
    assert roll("n", 1, now="momo") == "momo"
    assert roll("mood", 1) == ""

"""Character cards as text."""

import json

import pytest

from newbie_ui.errors import PromptError
from newbie_ui.prompt import cards
from newbie_ui.prompt.cards import Card, dumps, fields_for_slot, from_character, loads
from newbie_ui.prompt.xml import parse
from tests.prompt.samples import OFFICIAL


def a_card(name="Aoi"):
    return from_character(parse(OFFICIAL).prompt.characters[0], name)


def test_a_card_is_written_and_read_whole():
    assert loads(dumps(a_card())) == a_card()
    assert loads(dumps(a_card())).character.get("position") == "center_left"


def test_keys_of_other_programs_are_kept(tmp_path):
    text = dumps(a_card()).replace('"name": "Aoi"', '"name": "Aoi", "thumbnail": "…", "seed": 5')
    card = loads(text)
    assert card.extra == {"thumbnail": "…", "seed": 5}
    assert json.loads(dumps(card)) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "newbie_ui_card is missing"),
        ('{"newbie_ui_card": 9, "name": "a", "fields": []}', "version 9"),
        ('{"newbie_ui_card": 1, "name": "a", "fields": {"n": "a"}}', "damaged"),
        ('{"newbie_ui_card": 1, "name": "a", "fields": [["n", 5]]}', "damaged"),
        ('{"newbie_ui_card": 1, "fields": []}', "no name"),
        ('{"newbie_ui_card": 1, "name": "  ", "fields": []}', "1 to 100 characters"),
        ('{"newbie_ui_card": 1, "name": "a", "fields": [["<script>", "a"]]}', "cannot be used"),
        (json.dumps({"newbie_ui_card": 1, "name": "a", "fields": [["n", "x" * 9_000]]}), "8000 is the most"),
        (json.dumps({"newbie_ui_card": 1, "name": "a", "fields": [["n", "x"]] * 65}), "64 fields at most"),
        ("x" * 600_000, "bytes at most"),
    ],
)
def test_a_card_that_cannot_be_used_is_refused_in_a_sentence(text, words):
    with pytest.raises(PromptError, match=words):
        loads(text)


def test_a_placeholder_takes_the_number_of_the_slot_and_a_name_stays():
    assert fields_for_slot(a_card().fields, 3)[0] == ("n", "$character_3$")
    named = Card("momo", (("n", "momo"), ("gender", "1girl")))
    assert fields_for_slot(named.fields, 3) == named.fields
    assert cards.VERSION == 1

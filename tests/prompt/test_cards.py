"""Character cards as files."""

import json

import pytest

from newbie_ui.errors import PromptError
from newbie_ui.prompt import cards
from newbie_ui.prompt.cards import (
    SUFFIX,
    Card,
    delete,
    dumps,
    fields_for_slot,
    file_name,
    from_character,
    library,
    load,
    loads,
    save,
)
from newbie_ui.prompt.xml import parse
from tests.prompt.samples import OFFICIAL


def a_card(name="Aoi"):
    return from_character(parse(OFFICIAL).prompt.characters[0], name)


def test_a_card_is_saved_and_loaded_whole(tmp_path):
    path = save(a_card(), tmp_path)
    assert path == tmp_path / f"Aoi{SUFFIX}"
    assert load(path) == a_card()
    assert load(path).character.get("position") == "center_left"
    assert [p.name for p in tmp_path.iterdir()] == [path.name], "no temporary file is left"


def test_keys_of_other_programs_are_kept(tmp_path):
    text = dumps(a_card()).replace('"name": "Aoi"', '"name": "Aoi", "thumbnail": "…", "seed": 5')
    card = loads(text)
    assert card.extra == {"thumbnail": "…", "seed": 5}
    assert json.loads(dumps(card)) == json.loads(text)


def test_a_second_card_of_one_name_gets_a_number_unless_replaced(tmp_path):
    first, second = save(a_card(), tmp_path), save(a_card(), tmp_path)
    assert second.name == f"Aoi 2{SUFFIX}"
    assert save(a_card(), tmp_path, replace=True) == first
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Aoi", "Aoi"),
        ("初音ミク", "初音ミク"),
        ("../../etc/passwd", "etc_passwd"),
        ("a/b\\c:d*e?", "a_b_c_d_e"),
        ("", "character"),
        ("...", "character"),
        ("CON", "_CON"),
        ("a\x00b\nc", "a_b_c"),
        ("x" * 500, "x" * 80),
        (".hidden", "hidden"),
        ("aris_\\(blue archive\\)", "aris_(blue archive)"),
    ],
)
def test_a_name_becomes_a_safe_file_name(name, expected):
    assert file_name(name) == expected + SUFFIX
    assert "/" not in file_name(name)


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


def test_the_library_lists_cards_by_name_and_says_what_is_none(tmp_path):
    save(a_card("momo"), tmp_path)
    save(a_card("Aoi"), tmp_path)
    (tmp_path / f"bad{SUFFIX}").write_bytes(b"\xff\xfe")
    found, problems = library(tmp_path)
    assert [card.name for _, card in found] == ["Aoi", "momo"]
    assert problems == [f"bad{SUFFIX}: The card bad{SUFFIX} is not UTF-8 text."]
    assert library(tmp_path / "nowhere") == ([], [])


def test_only_cards_of_the_library_can_be_deleted(tmp_path):
    path = save(a_card(), tmp_path / "library")
    other = tmp_path / f"other{SUFFIX}"
    other.write_text("{}")
    with pytest.raises(PromptError):
        delete(other, tmp_path / "library")
    delete(path, tmp_path / "library")
    assert not path.exists()
    assert other.exists()


def test_what_cannot_be_read_or_written_is_a_sentence(tmp_path):
    with pytest.raises(PromptError, match="cannot be read"):
        load(tmp_path / "gone.card.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(PromptError, match="cannot be saved"):
        save(a_card(), tmp_path / "file")


def test_a_placeholder_takes_the_number_of_the_slot_and_a_name_stays():
    assert fields_for_slot(a_card(), 3)[0] == ("n", "$character_3$")
    named = Card("momo", (("n", "momo"), ("gender", "1girl")))
    assert fields_for_slot(named, 3) == named.fields
    assert cards.VERSION == 1

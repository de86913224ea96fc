"""The measure: grading tells wrong from swapped, and the shipped reader reads drawings."""

import json
import random

import pytest

from newbie_ui.demo import evaluate, words
from newbie_ui.demo.artist.look import CharacterLook, Scene
from newbie_ui.demo.data import PICTURE_ATTRIBUTES, is_held_out, training_scene
from newbie_ui.demo.grading import Score, asked_values, grade
from newbie_ui.demo.reader import Seen, read
from newbie_ui.demo.weights_folder import WEIGHTS, load_reader

PAIR = Scene(
    (
        CharacterLook(hair="blue", style="bob_cut", outfit="maid", colour="red", eyes="red", side="left"),
        CharacterLook(hair="pink", style="twintails", outfit="suit", colour="green", eyes="aqua", side="right"),
    )
)
PLACE = {name: values[1] for name, values in PICTURE_ATTRIBUTES.items()}


def seen(look, x):
    values = {"eyes": "blue", **asked_values(look)}
    return Seen(x, 100, values)


def graded(*people):
    score = Score()
    grade(score, PAIR, list(people), PLACE)
    return score


def test_what_was_asked_is_all_right():
    score = graded(seen(PAIR.characters[0], 60), seen(PAIR.characters[1], 190))
    assert {name: score.percent(name) for name in score.all if name != "binding"} == dict.fromkeys(
        (name for name in score.all if name != "binding"), 100
    )
    assert score.percent("binding") == 0


def test_two_swapped_characters_are_bound_wrong_and_stand_wrong():
    score = graded(seen(PAIR.characters[1], 60), seen(PAIR.characters[0], 190))
    assert score.percent("position") == 0
    assert score.percent("hair") == 0
    assert score.percent("binding") > 90
    assert score.percent("count") == 100


def test_a_wrong_colour_of_nobody_is_no_binding_error():
    other = CharacterLook(**{**PAIR.characters[0].__dict__, "hair": "green"})
    score = graded(seen(other, 60), seen(PAIR.characters[1], 190))
    assert score.percent("hair") == 50
    assert score.percent("binding") == 0


def test_a_missing_character_counts_as_wrong():
    score = graded(seen(PAIR.characters[0], 60))
    assert score.percent("count") == 0
    assert score.percent("hair") == 50


def test_an_eye_colour_behind_closed_lids_is_not_graded():
    score = Score()
    solo = CharacterLook(expression="closed_eyes", side="center")
    grade(score, Scene((solo,)), [seen(solo, 128)], PLACE)
    assert "eyes" not in score.all


def test_training_never_sees_what_the_test_asks():
    rng = random.Random(1)
    assert not any(is_held_out(training_scene(rng)) for _ in range(300))
    for count in (1, 2, 3, 4):
        scenes = evaluate.held_out_scenes(count, 20)
        assert all(is_held_out(scene) for scene in scenes)
        assert scenes == evaluate.held_out_scenes(count, 20)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_shipped_reader_reads_drawings(count):
    reader = load_reader()
    scenes = evaluate.held_out_scenes(count, 24)
    score = evaluate.grade_pictures(reader, scenes, evaluate.to_model(evaluate.draw(scenes)))
    assert score.percent("count") == 100
    for name in ("hair", "colour", "eyes", "expression", "position", "place"):
        assert score.percent(name) >= 95, name


def test_the_reader_sees_nobody_in_an_empty_picture():
    images = evaluate.to_model(evaluate.draw([Scene()]))
    assert read(load_reader(), images)[0][0] == []


def test_the_committed_result_has_every_row():
    result = json.loads((WEIGHTS / "evaluation.json").read_text(encoding="utf-8"))
    assert set(result["percent"]["xml"]) == {"1", "2", "3", "4"}
    assert set(result["percent"]) >= {"reader", "xml", "spaces", "reordered", "list", "mixed list"}
    assert result["prompts"] >= 200
    text = evaluate.table(result["percent"])
    assert len(text.splitlines()) == 1 + sum(len(rows) for rows in result["percent"].values())


def test_the_page_of_the_docs_has_the_committed_table():
    result = json.loads((WEIGHTS / "evaluation.json").read_text(encoding="utf-8"))
    page = (WEIGHTS.parents[2] / "docs" / "demo-model.md").read_text(encoding="utf-8")
    assert evaluate.table(result["percent"]) in page


def test_the_page_of_the_docs_names_every_value():
    page = (WEIGHTS.parents[2] / "docs" / "demo-model.md").read_text(encoding="utf-8")
    for table in (words.STYLES, words.EXPRESSIONS, words.ACTIONS, words.ACCESSORIES, words.POSES):
        missing = [value for value in table if value not in page and value != "arms_at_sides"]
        assert missing == []

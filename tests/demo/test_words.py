"""What a caption says is read back as what was drawn; what it does not say is left open."""

import random

import pytest

from newbie_ui.demo.artist import look as looks
from newbie_ui.demo.artist.look import CharacterLook, Scene, random_scene
from newbie_ui.demo.captions import FILLER, Manner, random_manner, write_caption
from newbie_ui.demo.words import scene_from_prompt, tags_of
from newbie_ui.prompt.xml import parse

TOLD = ("gender", "hair", "style", "skin", "outfit", "colour", "accessory", "glasses", "expression", "side", "depth")
MANNERS = {
    "official": Manner(),
    "spaces": Manner(underscores=False),
    "reordered": Manner(shuffled=True),
    "indented, with extras": Manner(extras=0.5, indent="  "),
    "with filler": Manner(filler=5),
}


@pytest.mark.parametrize("manner", MANNERS.values(), ids=MANNERS)
def test_a_caption_round_trips_through_the_prompt_parser(manner):
    rng = random.Random(4)
    for _ in range(60):
        scene = random_scene(rng)
        parsed = parse(write_caption(scene, manner, rng))
        assert not parsed.problems
        again = scene_from_prompt(parsed.prompt)
        key = (lambda c: c.side) if all(c.side for c in scene.characters) else (lambda c: 0)
        for asked, read in zip(sorted(scene.characters, key=key), sorted(again.characters, key=key), strict=True):
            assert {n: getattr(read, n) for n in TOLD} == {n: getattr(asked, n) for n in TOLD}
            assert asked.action in (read.action, "arms_at_sides")
            assert asked.expression == "closed_eyes" or read.eyes == asked.eyes
        assert again.backdrop.place == scene.backdrop.place
        assert scene.backdrop.place not in looks.OUTDOORS or again.backdrop.time == scene.backdrop.time


def test_the_eye_colour_of_closed_eyes_is_not_mentioned():
    text = write_caption(Scene((CharacterLook(expression="closed_eyes", eyes="aqua"),)))
    assert "aqua_eyes" not in text


@pytest.mark.parametrize("form", ["xml", "list", "mixed", "sentence"])
def test_every_form_names_the_hair_of_everyone(form):
    scene = random_scene(random.Random(7), 3)
    text = write_caption(scene, Manner(form=form), random.Random(1)).replace(" ", "_")
    assert all(f"{look.hair}_hair" in text for look in scene.characters)


def test_captions_are_the_same_for_the_same_state_of_chance():
    scene = random_scene(random.Random(3), 2)
    texts = {write_caption(scene, random_manner(random.Random(9)), random.Random(9)) for _ in range(3)}
    assert len(texts) == 1


def test_filler_is_never_a_word_that_the_artist_knows():
    meaningless = scene_from_prompt(parse(", ".join(FILLER)).prompt, 5)
    assert meaningless.characters[0] == scene_from_prompt(parse("").prompt, 5).characters[0]


def test_the_official_example_is_understood():
    text = (
        "<character_1><n>$character_1$</n><gender>1girl</gender><appearance>chibi, red_eyes, blue_hair, long_hair, "
        "hair_between_eyes, head_tilt, tareme, closed_mouth</appearance><clothing>school_uniform, serafuku, "
        "white_sailor_collar, white_shirt, short_sleeves, red_neckerchief, bow, blue_skirt</clothing><expression>"
        "happy, smile</expression><action>standing, holding, holding_briefcase</action><position>center_left</position>"
        "</character_1><general_tags><background>white_background, simple_background</background></general_tags>"
    )
    scene = scene_from_prompt(parse(text).prompt)
    look = scene.characters[0]
    assert (look.hair, look.style, look.eyes, look.side) == ("blue", "long_hair", "red", "center_left")
    assert (look.outfit, look.action, look.expression) == ("serafuku", "holding_briefcase", "smile")
    assert scene.backdrop.place == "white"


def test_a_plain_tag_list_is_one_character():
    scene = scene_from_prompt(parse("1boy, solo, red hair, spiked hair, glasses, beach, night").prompt)
    (look,) = scene.characters
    assert (look.gender, look.hair, look.style, look.glasses) == ("boy", "red", "spiked_hair", True)
    assert (scene.backdrop.place, scene.backdrop.time) == ("beach", "night")


def test_more_characters_than_fit_are_left_out():
    text = "".join(f"<character_{k}><gender>1girl</gender></character_{k}>" for k in range(1, 8))
    assert len(scene_from_prompt(parse(text).prompt).characters) == looks.MOST_CHARACTERS


def test_tags_are_read_in_any_spelling():
    assert tags_of(r"Blue Hair,  long__hair ,aris_\(blue archive\)、^_^") == [
        "blue_hair",
        "long_hair",
        "aris_(blue_archive)",
        "^_^",
    ]

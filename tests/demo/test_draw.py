"""The artist draws what the prompt says, the same each time, and nothing outside the frame."""

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from newbie_ui.demo.artist import look as looks
from newbie_ui.demo.artist.layout import arrange, order, paint
from newbie_ui.demo.artist.look import Backdrop, CharacterLook, Scene, random_scene
from newbie_ui.demo.artist.svg import CANVAS, rasterise
from newbie_ui.demo.draw import draw, draw_svg, main, measure_speed

PROMPT = """<character_1>
<n>$character_1$</n>
<gender>1girl</gender>
<appearance>chibi, red_eyes, blue_hair, long_hair</appearance>
<clothing>school_uniform, serafuku, white_sailor_collar, blue_skirt</clothing>
<expression>happy, smile</expression>
<action>standing, holding, holding_briefcase</action>
<position>center_left</position>
</character_1>
<general_tags>
<background>white_background, simple_background</background>
</general_tags>"""
VALUES = [
    *(("hair", value) for value in looks.HAIR),
    *(("style", value) for value in looks.STYLES),
    *(("bangs", value) for value in looks.BANGS),
    *(("eyes", value) for value in looks.EYES),
    *(("skin", value) for value in looks.SKIN),
    *(("outfit", value) for value in looks.OUTFITS),
    *(("colour", value) for value in looks.COLOURS),
    *(("accessory", value) for value in looks.ACCESSORIES),
    *(("expression", value) for value in looks.EXPRESSIONS),
    *(("action", value) for value in looks.ACTIONS),
    *(("pose", value) for value in looks.POSES),
    *(("gaze", value) for value in looks.GAZES),
]


def pixels(**fields):
    return rasterise(paint(Scene((CharacterLook(**fields),), Backdrop(), seed=1)), 64)


def test_text_and_seed_decide_every_pixel():
    assert np.array_equal(draw(PROMPT, 3, 64), draw(PROMPT, 3, 64))
    assert not np.array_equal(draw(PROMPT, 3, 64), draw(PROMPT, 4, 64))


def test_words_that_mean_nothing_change_nothing():
    more = PROMPT.replace("chibi,", "chibi, tareme, masterpiece, 存在しない,")
    assert draw_svg(more) == draw_svg(PROMPT)


def test_underscores_and_spaces_draw_the_same():
    assert draw_svg(PROMPT.replace("blue_hair", "blue hair")) == draw_svg(PROMPT)


def test_the_vocabulary_is_as_large_as_promised():
    sizes = (looks.HAIR, 12), (looks.STYLES, 10), (looks.EYES, 8), (looks.OUTFITS, 8), (looks.EXPRESSIONS, 8)
    sizes += ((looks.ACTIONS, 9), (looks.PLACES, 9), (looks.TIMES, 3), (looks.POSES, 3))
    for values, least in sizes:
        assert len(set(values)) >= least


def test_every_value_of_an_attribute_looks_different():
    for name in dict.fromkeys(name for name, _ in VALUES):
        shown = [pixels(**{name: value}).astype(int) for key, value in VALUES if key == name]
        for i, one in enumerate(shown):
            for other in shown[:i]:
                assert np.abs(one - other).max() > 40, name


@pytest.mark.parametrize("place", looks.PLACES)
def test_every_place_and_hour_can_be_drawn(place):
    shown = {paint(Scene((), Backdrop(place, time), seed=2)) for time in looks.TIMES}
    assert len(shown) == (3 if place in looks.OUTDOORS else 1)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_heads_are_inside_the_frame_and_apart(count):
    rng = random.Random(count)
    for _ in range(200):
        scene = random_scene(rng, count)
        boxes = [place.head(look) for look, place in zip(scene.characters, arrange(scene))]
        for x0, y0, x1, y1 in boxes:
            assert 0 <= x0 < x1 <= CANVAS
            assert 0 <= y0 < y1 <= CANVAS
        middles = sorted((x0 + x1) / 2 for x0, _, x1, _ in boxes)
        assert all(b - a > 40 for a, b in pairwise(middles))


@pytest.mark.parametrize("word", [word for word in looks.SIDES if looks.SIDES[word]])
def test_every_word_for_a_side_puts_the_character_there(word):
    pair = (CharacterLook(side=word), CharacterLook(side="center"))
    assert order(pair) == ([0, 1] if looks.SIDES[word] < 0 else [1, 0])


def test_characters_without_a_side_stand_in_their_order():
    assert order((CharacterLook(), CharacterLook(), CharacterLook(side="left"))) == [1, 2, 0]


def test_foreground_is_larger_than_background():
    near, far = arrange(Scene((CharacterLook(depth="foreground"), CharacterLook(depth="background")), seed=5))
    assert near.size > far.size


def test_ink_has_no_colour():
    scene = replace(random_scene(random.Random(1), 2), ink=True)
    image = rasterise(paint(scene), 64).astype(int)
    assert (image.max(axis=-1) - image.min(axis=-1)).max() < 16


def test_the_command_writes_pictures_and_svg(tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text(PROMPT, encoding="utf-8")
    assert main([str(prompt), str(tmp_path / "a.png"), "--size", "64"]) == 0
    assert main([str(prompt), str(tmp_path / "a.svg")]) == 0
    assert (tmp_path / "a.png").stat().st_size > 1000
    assert (tmp_path / "a.svg").read_text().startswith("<svg")


def test_speed_is_measured_for_every_count():
    assert set(measure_speed(pictures=1, size=32)) == {1, 2, 3, 4}

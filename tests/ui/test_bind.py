"""Widgets and request: every parameter has a widget, every value is checked."""

import pytest

from newbie_ui.errors import RequestError
from newbie_ui.request import PARAMETERS, GenerateRequest, LoraUse
from newbie_ui.ui import bind
from newbie_ui.ui.create import KNOBS


def asked(size=None, seed="", images=1, preset="auto", lora=None, texts=None, **knobs):
    return bind.request(texts or {"prompt": "1girl", "negative_prompt": ""}, size, seed, images, preset, lora, knobs)


def test_every_parameter_can_be_set_on_the_page():
    widgets_of_ours = {"prompt", "negative_prompt", "width", "height", "seed", "images", "preset", "loras"}
    assert widgets_of_ours | set(KNOBS) == set(PARAMETERS)


@pytest.mark.parametrize("name", KNOBS)
def test_a_widget_has_the_range_and_default_of_its_parameter(name):
    p, made = PARAMETERS[name], bind.component(name)
    if p.kind in ("int", "float"):
        assert (made.minimum, made.maximum, made.step) == (p.minimum, p.maximum, p.step)
    if p.kind == "choice":
        assert tuple(value for _, value in made.choices) == p.choices
    if p.default is not None:
        assert made.value == p.default


@pytest.mark.parametrize("value", [999, None])
def test_a_number_that_a_slider_could_not_hold_is_not_gradios_business(value):
    assert bind.component("steps").preprocess(value) == value


def test_untouched_widgets_ask_for_what_the_model_recommends():
    knobs = {name: PARAMETERS[name].default for name in KNOBS}
    assert asked(**knobs) == GenerateRequest(prompt="1girl")


def test_the_models_own_defaults_are_shown():
    values = bind.defaults({"steps": 12, "shift": 2.0, "system_prompt": "draw"})
    assert (values["steps"], values["shift"], values["system_prompt"], values["sampler"]) == (12, 2.0, "draw", "euler")


def test_a_seed_of_64_bits_survives_as_text():
    assert asked(seed=" 9223372036854775807 ").seed == 9223372036854775807
    assert asked(seed="").seed is None


@pytest.mark.parametrize(
    ("given", "field", "remedy"),
    [
        ({"size": {"width": 1000, "height": 512}}, "width", "992 or 1008"),
        ({"size": {"width": "wide", "height": 512}}, "width", "whole number"),
        ({"size": {"width": 1e9, "height": 512}}, "width", "64 to 2048"),
        ({"seed": "-1"}, "seed", "0 to"),
        ({"seed": "12x"}, "seed", "whole number"),
        ({"images": 1000}, "images", "1 to 64"),
        ({"steps": 0}, "steps", "1 to 100"),
        ({"steps": float("nan")}, "steps", "whole number"),
        ({"sampler": "magic"}, "sampler", "euler"),
        ({"lora": {"uses": [{"name": "a", "weight": 99}]}}, "loras", "-4 to 4"),
        ({"lora": {"uses": [{"name": ["a"], "weight": 1}]}}, "loras", "Choose one"),
        ({"lora": {"uses": "abc"}}, "loras", "Use 8 at most"),
        ({"system_prompt": "x" * 5000}, "system_prompt", "4000"),
        ({"texts": {"prompt": "x" * 30000, "negative_prompt": ""}}, "prompt", "20000"),
        ({"steps": "9" * 5000}, "steps", "Use 1 to 100"),
    ],
)
def test_a_bad_value_is_refused_with_its_field_and_the_remedy(given, field, remedy):
    with pytest.raises(RequestError) as error:
        asked(**given)
    assert error.value.field == field
    assert remedy in str(error.value)
    assert len(str(error.value)) < 300


def test_loras_keep_their_order_and_weights():
    lora = {"uses": [{"name": "ink", "weight": 0.5}, {"name": "glow"}]}
    assert asked(lora=lora).loras == (LoraUse("ink", 0.5), LoraUse("glow", 1.0))

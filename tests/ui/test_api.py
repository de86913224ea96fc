"""The named endpoints, called as a program would, over a real server with a pretended engine."""

import asyncio
import json
from types import SimpleNamespace

import gradio as gr
import pytest

from newbie_ui.engine.fake import FakeEngine, Fault
from newbie_ui.errors import EngineError
from newbie_ui.ui.api import Api
from newbie_ui.ui.board import Board
from newbie_ui.ui.compose import EXAMPLE


@pytest.fixture
def engine():
    engine = FakeEngine(step_s=0.002)
    engine.open()
    yield engine
    engine.close()


@pytest.fixture
def api(engine):
    return Api(SimpleNamespace(engine=engine, actions=SimpleNamespace(board=Board(engine)), gallery=None))


def values_of(stream, count=None):
    async def collect():
        found = []
        async for value in stream:
            found.append(value)
            if count and len(found) == count:
                break
        await stream.aclose()
        return found

    return asyncio.run(collect())


def test_generate_tells_how_it_stands_and_ends_with_the_pictures(api):
    values = values_of(api.generate(EXAMPLE, steps=30, seed="9223372036854775807", images=2))
    last = values[-1]
    assert last["state"] == "done"
    assert last["fraction"] == 1.0
    assert [p["seed"] for p in last["pictures"]] == ["9223372036854775807", "0"]
    assert last["pictures"][0]["url"] == f"pictures/{last['pictures'][0]['id']}.png"
    assert last["pictures"][0]["timings"]["total_s"] > 0
    assert json.loads(json.dumps(values)) == values
    fractions = [value["fraction"] for value in values]
    assert fractions == sorted(fractions)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"prompt": " "}, "The prompt is empty"),
        ({"width": 1000}, "Use 992 or 1008"),
        ({"steps": 0}, "Steps 0 is out of range"),
        ({"seed": "many"}, "Seed 'many' is not a whole number"),
        ({"images": 1000}, "Pictures 1000 is out of range"),
        ({"sampler": "magic"}, "Use one of: euler"),
        ({"prompt": "x" * 30_000}, "shorten it to 20000"),
    ],
)
def test_a_wrong_value_is_refused_with_the_remedy(api, arguments, sentence):
    with pytest.raises(gr.Error) as refusal:
        values_of(api.generate(**{"prompt": EXAMPLE, **arguments}))
    assert sentence in str(refusal.value)


def test_a_failed_job_says_why(api, engine):
    engine.faults.append(Fault(EngineError("The device is too small. Use another preset.")))
    with pytest.raises(gr.Error, match="too small"):
        values_of(api.generate(EXAMPLE))


def test_a_caller_who_leaves_stops_the_job(api, engine):
    engine.step_s = 0.2
    (value,) = values_of(api.generate(EXAMPLE), count=1)
    events = list(engine.events(value["job"]))
    assert type(events[-1]).__name__ == "Cancelled"


def test_parse_and_lint_take_any_text_and_refuse_only_what_is_too_long(api):
    parsed = api.parse(EXAMPLE)
    assert [dict(c["fields"])["gender"] for c in parsed["characters"]] == ["1girl", "1girl"]
    assert parsed["text"] == EXAMPLE
    assert api.lint("<character_1><n>") != []
    with pytest.raises(gr.Error, match="20000"):
        api.parse("x" * 30_000)


def test_presets_say_what_fits_and_why_not(api):
    rows = {row["name"]: row for row in api.presets()}
    assert rows["cpu"]["fits"]
    assert "24 GB" in rows["quality"]["reason"]

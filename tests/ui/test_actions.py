"""What the Create tab does, over a pretended engine: queue, follow, refuse, find again."""

import asyncio
import time

import pytest

from newbie_ui.engine.fake import FakeEngine, Fault
from newbie_ui.errors import EngineError
from newbie_ui.request import GenerateRequest
from newbie_ui.ui.actions import Actions
from newbie_ui.ui.compose import EXAMPLE

NASTY = '<img src=x onerror="alert(1)">${1+1}{{value}}<script>alert(2)</script>'


@pytest.fixture
def engine():
    engine = FakeEngine(step_s=0.003)
    engine.open()
    while engine.status().model is None:
        time.sleep(0.005)
    yield engine
    engine.close()


@pytest.fixture
def actions(engine):
    return Actions(engine, None)


def follow(actions):
    async def collect():
        return [value async for value in actions.follow()]

    return asyncio.run(collect())


def test_following_shows_previews_and_ends_with_the_picture_and_its_cost(actions):
    assert actions.submit(GenerateRequest(prompt=EXAMPLE, steps=40, seed=5), "here") is None
    values = follow(actions)
    running = [v for v in values if v["state"] == "running" and v["preview"]]
    assert running
    assert running[-1]["preview"].startswith("data:image/jpeg;base64,")
    assert all(v["size"] == [256, 256] for v in values)
    last = values[-1]
    assert last["finished"]
    assert not last["following"]
    assert last["seed"] == "5"
    assert last["stats"]["denoise"] > 0
    assert {row["key"] for row in last["stats"]["facts"]} >= {"preset", "compile", "waited"}


def test_a_page_that_comes_later_finds_the_running_job_and_its_end(engine, actions):
    actions.submit(GenerateRequest(prompt=EXAMPLE, steps=60), "first tab")
    other = Actions(engine, None)
    values = follow(other)
    assert values[-1]["state"] == "done"
    assert values[-1]["picture"] == follow_up(actions).id


def follow_up(actions):
    view = actions.board.current()
    for _ in range(200):
        if view.ended:
            break
        time.sleep(0.01)
        view = actions.board.current()
    return view.results[-1]


def test_a_page_that_opens_when_nothing_runs_is_not_held(actions):
    assert follow(actions) == []


def test_a_failure_arrives_as_a_sentence_and_the_engine_serves_on():
    engine = FakeEngine(step_s=0.002, faults=[Fault(EngineError("The card is busy elsewhere. Try again."))])
    engine.open()
    actions = Actions(engine, None)
    actions.submit(GenerateRequest(prompt="a", steps=3), "")
    assert follow(actions)[-1]["error"]["message"] == "The card is busy elsewhere. Try again."
    actions.submit(GenerateRequest(prompt="a", steps=3), "")
    assert follow(actions)[-1]["state"] == "done"
    engine.close()


def test_an_empty_prompt_is_refused_at_its_field(actions):
    refusal = actions.submit(GenerateRequest(prompt="  "), "")
    assert refusal["field"] == "prompt"


def test_a_full_queue_is_said_and_nothing_is_lost():
    engine = FakeEngine(step_s=0.05, max_waiting=1)
    engine.open()
    actions = Actions(engine, None)
    refusals = [actions.submit(GenerateRequest(prompt="a", steps=100), "") for _ in range(6)]
    assert any(refusal and refusal["field"] is None for refusal in refusals)
    engine.close(timeout_s=0.1)


def test_stop_takes_effect_and_the_queue_list_says_what_waits(engine, actions):
    for seed in (1, 2):
        actions.submit(GenerateRequest(prompt=EXAMPLE, steps=100, seed=seed, images=2), "")
    rows = actions.pulse()["jobs"]
    assert [row["characters"] for row in rows] == [2, 2]
    assert "seed 2" in rows[1]["detail"]
    for row in rows:
        actions.control({"job": row["id"], "action": "cancel"})
    assert follow(actions)[-1]["state"] in ("cancelled", "done")
    assert not actions.pulse()["jobs"]


@pytest.mark.parametrize("message", [None, 7, {}, {"job": 3}, {"job": "gone", "action": "cancel"}, {"job": "x" * 999}])
def test_an_odd_control_message_does_nothing(actions, message):
    actions.control(message)


def test_compose_answers_with_text_cards_tokens_and_notes(actions):
    answer = actions.compose({"text": EXAMPLE.replace("2girls", "1girl"), "negative": "", "muted": [], "pending": []})
    assert answer["budget"]["total"] == sum(block["tokens"] for block in answer["budget"]["blocks"]) + 1
    note = next(note for note in answer["notes"] if note["fix"] and "2girls" in note["fix"])
    fixed = actions.compose({"text": answer["text"], "pending": [{"op": "fix", **note}]})
    assert "<count>2girls" in fixed["text"]
    assert note["code"] not in {n["code"] for n in fixed["notes"]}


def test_a_muted_character_costs_no_tokens(actions):
    whole = actions.compose({"text": EXAMPLE})["budget"]["total"]
    muted = actions.compose({"text": EXAMPLE, "muted": [0]})["budget"]
    assert muted["total"] < whole - 40
    assert [b["number"] for b in muted["blocks"] if b["kind"] == "character"] == [2]


def test_the_diet_saves_what_it_says(actions):
    text = "<character_1>\n  <appearance>cat</appearance>\n  <action></action>\n  <clothing></clothing>\n</character_1>"
    before = actions.compose({"text": text})["budget"]
    after = actions.compose({"text": text, "pending": [{"op": "diet"}]})["budget"]
    assert before["saves"] == before["total"] - after["total"]
    assert after["saves"] == 0


def test_the_xml_view_is_told_where_the_marks_are(actions):
    text = EXAMPLE + "\n<caption>" + "word " * 600 + "</caption>"
    found = actions.compose({"text": text})["budget"]
    assert 0 < found["trained_end"] < len(text)
    assert found["possible_end"] is None


def test_completion_works_in_the_middle_of_a_text_with_wide_characters(actions):
    text = "青😀, blue_h</appearance>"
    answer = actions.complete({"text": text, "caret": text.index("</") + 1})
    best = answer["items"][0]
    assert best["insert"] == "blue_hair"
    assert best["model"]
    assert 0 < best["rank"] < 100  # shown where the list has no counts
    assert text.encode("utf-16-le")[2 * answer["start"] : 2 * answer["end"]].decode("utf-16-le") == "blue_h"


@pytest.mark.parametrize("message", [None, {}, {"text": 5, "caret": 0}, {"text": "a", "caret": "b"}])
def test_an_odd_question_for_completion_gets_no_tags(actions, message):
    assert actions.complete(message)["items"] == []


def test_prompt_text_stays_text_wherever_it_is_shown(actions):
    actions.submit(GenerateRequest(prompt=NASTY, steps=2), "")
    assert actions.pulse()["jobs"] == [] or actions.pulse()["jobs"][0]["title"].startswith("<img")
    answer = actions.compose({"text": NASTY})
    assert answer["text"] == NASTY
    follow(actions)


def test_presets_are_listed_for_the_chosen_size_with_the_reason_for_those_that_cannot_fit(actions):
    rows = actions.presets({"width": 256, "height": 256}, 20)["choices"]
    assert rows[0]["name"] == "cpu"
    assert rows[0]["fits"]
    assert all(row["reason"] for row in rows if not row["fits"])
    assert any(not row["fits"] for row in rows)
    assert actions.presets({"width": "x"}, None)["choices"] == rows


def test_tags_of_the_artists_own_lists_are_offered(engine, tmp_path):
    (tmp_path / "mine.csv").write_text("zyx_my_character,4,12,\n", encoding="utf-8")
    actions = Actions(engine, None, tag_dir=str(tmp_path))
    found = actions.complete({"text": "zyx", "caret": 3})
    assert [item["insert"] for item in found["items"]] == ["zyx_my_character"]
    assert Actions(engine, None).complete({"text": "zyx", "caret": 3})["items"] == []

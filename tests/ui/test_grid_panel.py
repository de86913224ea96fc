"""The X/Y grid of the Create tab: its handlers over a pretended engine, and the fold in a real browser."""

import re
import time

import gradio as gr
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from served import opened, served

from newbie_ui.engine.fake import FakeEngine, Fault
from newbie_ui.errors import OutOfMemory, RequestError
from newbie_ui.gallery.store import Filters, Gallery
from newbie_ui.request import GenerateRequest
from newbie_ui.ui import grid, words
from newbie_ui.ui.actions import Actions
from newbie_ui.ui.compose import EXAMPLE
from newbie_ui.ui.page import PageContext

ATTACK = '<img src=x onerror="window.pwned=1">'


class Asker:
    """What the handlers get of a browser's request."""

    client = None
    session_hash = "s"


@pytest.fixture
def gallery(tmp_path):
    with Gallery(tmp_path) as gallery:
        yield gallery


@pytest.fixture
def engine(gallery):
    with FakeEngine(gallery.add, step_s=0.002, loras=("ink",)) as engine:
        yield engine


@pytest.fixture
def panel(engine, gallery):
    with gr.Blocks():
        panel = grid.build(PageContext(Actions(engine, gallery), gallery))
        panel.connect([], asked)
    return panel


def asked(values):
    text = values[0]["text"]
    if text == "too much":
        raise RequestError("seed", "Seed 'x' is not a whole number. Use 0 to 9.")
    return GenerateRequest(prompt=text, width=64, height=64, steps=3, seed=1)


def typed(x=("", ""), y=("", "")):
    return {name: {"id": id, "text": text} for name, (id, text) in (("x", x), ("y", y))}


EDITOR = {"text": EXAMPLE, "muted": [], "pending": []}


def test_the_axes_are_those_of_this_prompt_and_this_machine(panel):
    answer = panel.check(typed(), EDITOR)
    rows = {row["id"]: row for row in answer["axes"]}
    assert {"steps", "preset", "lora:ink", "character:2:clothing", "general:style"} <= set(rows)
    assert (rows["character:2:clothing"]["number"], rows["character:2:clothing"]["field"]) == (2, "clothing")
    assert (answer["total"], answer["error"]) == (None, None)


def test_a_muted_card_offers_no_axis_and_the_others_keep_their_numbers(panel):
    answer = panel.check(typed(("character:2:clothing", "a | b")), {**EDITOR, "muted": [0]})
    ids = [row["id"] for row in answer["axes"]]
    assert "character:1:clothing" not in ids
    assert "character:2:clothing" in ids


def test_the_total_is_known_only_after_such_a_picture_was_made(panel, engine):
    answer = panel.check(typed(("seed", "1-4"), ("steps", "2, 3, 4")), EDITOR)
    assert answer["total"] == {"columns": 4, "rows": 3, "pictures": 12, "seconds": None, "measured": False}
    for _ in engine.events(engine.submit(asked([EDITOR]))):
        pass
    answer = panel.check(typed(("seed", "1-4"), ("steps", "3")), EDITOR)
    assert answer["total"]["measured"]
    assert 0 < answer["total"]["seconds"] < 5
    assert not panel.check(typed(("seed", "1-4"), ("steps", "2, 3")), EDITOR)["total"]["measured"]


def test_what_is_wrong_is_said_at_its_side(panel):
    assert panel.check(typed(("steps", "x")), EDITOR)["error"]["side"] == "x"
    assert panel.check(typed(("steps", "3"), ("shift", "x")), EDITOR)["error"]["side"] == "y"
    error = panel.check(typed(("steps", "3")), {**EDITOR, "text": "too much"})["error"]
    assert error == {"message": "Seed 'x' is not a whole number. Use 0 to 9.", "side": "", "field": "seed"}


@pytest.mark.parametrize("odd", [None, 5, [], "x", {"x": None}, {"x": {"id": 5, "text": []}}, {"x": [], "y": "steps"}])
def test_anything_at_all_may_come_from_a_browser(panel, odd):
    assert panel.check(odd, EDITOR)["total"] is None
    assert panel.run(Asker, odd, EDITOR)["error"]["message"] == "Choose what the columns vary."
    assert panel.stop(odd) is None
    assert panel.check(odd, odd)["total"] is None


def test_a_run_can_be_followed_by_everyone_and_ends_with_its_sheet(panel, gallery):
    assert panel.standing() is None
    answer = panel.run(Asker, typed(("seed", "1, 2"), ("character:1:clothing", f"kimono | {ATTACK}")), EDITOR)
    assert answer["started"]
    assert answer["error"] is None
    assert panel.runner.wait(30)
    row = panel.standing()
    assert (row["state"], row["done"], row["total"], row["progress"]) == ("done", 4, 4, 1.0)
    assert row["rows"] == ["kimono", ATTACK]
    assert [cell["state"] for cell in row["cells"]] == ["done"] * 4
    assert all(gallery.card(cell["picture"]) for cell in row["cells"])
    assert gallery.get(row["sheet"]).collections == ("Grids",)


def test_the_sheet_is_shown_in_the_box_of_its_pictures_and_restores_what_the_grid_began_with(panel, engine, gallery):
    panel.run(Asker, typed(("seed", "1-5")), EDITOR)
    assert panel.runner.wait(30)
    row, actions = panel.standing(), Actions(engine, gallery)
    sheet = row["sheet"]
    shown = actions.shown(sheet)
    assert shown["size"] == actions.shown(row["cells"][0]["picture"])["size"]
    assert shown["people"] is None  # nobody stands anywhere on a sheet: cards keep the portraits that they have
    assert shown["stats"] is None
    assert actions.recipe_of(sheet).values["prompt"] == EXAMPLE


def test_a_second_grid_is_refused_with_a_sentence_until_the_first_was_stopped(panel):
    long = {**EDITOR, "text": "a cat"}
    id = panel.run(Asker, typed(("seed", "1-12")), long)["run"]["id"]
    again = panel.run(Asker, typed(("seed", "1-12")), long)
    assert "A grid is being made" in again["error"]["message"]
    assert panel.stop({"id": "another"})["state"] == "running"
    panel.stop({"id": id})
    assert panel.runner.wait(30)
    assert panel.standing()["state"] == "stopped"


def test_every_kind_and_state_has_its_words():
    english = words.words()["en"]
    for kind in ("numbers", "names", "sizes", "replace", "texts"):
        assert f"grid_how_{kind}" in english
    for state in ("waiting", "queued", "making", "done", "failed", "left_out"):
        assert f"grid_cell_{state}" in english
    for group in ("picture", "prompt", "sampling", "device"):
        assert f"grid_group_{group}" in english


# ---- in a browser ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    def make(settings, sink):
        fault = Fault(OutOfMemory("The card needs 9 GB. Use a smaller size."), prompt="breaks")
        return FakeEngine(sink, step_s=0.03, faults=[fault])

    with served(tmp_path_factory.mktemp("grid"), make) as parts:
        yield parts


def unfold(page):
    page.locator("#nb-grid .foldh").click()
    expect(page.locator("#nb-grid-x option[value=steps]")).to_have_count(1)


def choose(page, side, axis, text):
    page.select_option(f"#nb-grid-{side}", axis)
    page.locator(".gside", has=page.locator(f"#nb-grid-{side}")).locator("textarea").fill(text)


def test_a_grid_is_typed_counted_made_and_found_by_a_page_opened_later(browser, site):
    with opened(browser, site[0]) as page:
        unfold(page)
        choose(page, "x", "seed", "1, 2, thr")
        expect(page.locator(".gside .bad")).to_contain_text("Seed 'thr' is not a number or a range.")
        choose(page, "x", "seed", "1, 2, 3")
        choose(page, "y", "character:1:clothing", f"kimono | breaks | {ATTACK}")
        expect(page.locator("#nb-grid .gsum")).to_contain_text("3 × 3 · 9 pictures")
        axe = Axe().run(page)
        serious = [v for v in axe.response["violations"] if v["impact"] in ("serious", "critical")]
        assert [v["id"] for v in serious if "nb-grid" in str(v["nodes"]) or "gside" in str(v["nodes"])] == []
        page.get_by_role("button", name="Make the grid").click()
        expect(page.get_by_role("button", name="Stop the grid")).to_be_visible()
        expect(page.locator(".gcell.done").first).to_be_visible()
        later = page.context.new_page()
        later.goto(site[0])
        unfold(later)
        expect(later.locator("#nb-grid-x")).to_have_value("seed")
        expect(later.locator("#nb-grid .gline")).to_contain_text("8 of 9 made, 1 failed")
        expect(page.locator("#nb-grid .gline")).to_contain_text("8 of 9 made, 1 failed")
        assert page.locator(".gcell.failed").get_attribute("title").endswith("The card needs 9 GB. Use a smaller size.")
        page.locator("#nb-grid").get_by_role("button", name="Open the sheet").click()
        source = page.locator("dialog.nb-viewer img").get_attribute("src")
        page.wait_for_function("document.querySelector('dialog.nb-viewer img').naturalWidth > 700")
        assert page.evaluate("window.pwned") is None
    (card,) = site[1].page(Filters(collection="Grids")).cards
    assert card.id in source


def test_a_grid_can_be_stopped_from_the_page_on_a_phone(browser, site):
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True, locale="en-US"
    )
    page = context.new_page()
    page.goto(site[0])
    page.locator(".nb-w-dock .mp").click()
    unfold(page)
    choose(page, "x", "guidance_scale", "1-12")
    expect(page.locator("#nb-grid .gsum")).to_contain_text("12 pictures")
    page.get_by_role("button", name="Make the grid").click()
    page.get_by_role("button", name="Stop the grid").click()
    expect(page.locator("#nb-grid .gline")).to_contain_text(re.compile("Stopped after [0-9]+ of 12"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()
    end = time.monotonic() + 20
    while site[2].status().jobs and time.monotonic() < end:
        time.sleep(0.05)
    assert site[2].status().jobs == ()

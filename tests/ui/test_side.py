"""The right column and the dock in a real browser: sizes, numbers and seeds as they are typed, refusals, the phone."""

import pytest
from playwright.sync_api import expect
from served import opened, served

from newbie_ui.engine.fake import FakeEngine

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with served(tmp_path_factory.mktemp("side"), lambda settings, sink: FakeEngine(sink, step_s=0.001)) as parts:
        yield parts


def seed(page, text):
    page.locator("#nb-p-seed").fill(text)


def refused(page):
    page.locator("#nb-generate").click()
    expect(page.locator(".lint .err")).to_be_visible()


def nothing_is_refused(page):
    expect(page.locator("#nb-err")).to_have_count(0)
    expect(page.locator(".lint .err")).to_have_count(0)
    expect(page.locator("[aria-invalid=true]")).to_have_count(0)


def test_a_size_is_typed_from_one_field_into_the_next(page):
    page.get_by_role("button", name="Other", exact=True).click()
    page.locator("#nb-p-width").fill("320")
    page.locator("#nb-p-width").press("Tab")
    expect(page.locator("#nb-p-height")).to_be_focused()
    with page.expect_response(lambda answer: "run" in answer.url):  # leaving asks for the presets' times
        page.keyboard.type("384")
        page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Swap width and height")).to_be_focused()
    assert page.evaluate("nb.state.size") == {"width": 320, "height": 384}
    page.keyboard.press("Enter")
    expect(page.locator("#nb-p-width")).to_have_value("384")
    expect(page.get_by_role("button", name="Swap width and height")).to_be_focused()


def test_a_size_that_changes_while_presets_are_asked_for_is_asked_for_too(page):
    page.get_by_role("button", name="Other", exact=True).click()
    asked = []

    def slowly(route):
        size = (route.request.post_data_json or {}).get("data", [None])[0]
        if isinstance(size, dict) and str(size.get("width")) == "384":
            asked.append(str(size["height"]))
            page.wait_for_timeout(300)
        route.continue_()

    page.route("**/run/**", slowly)
    for side, value in (("width", "384"), ("height", "320"), ("height", "448")):
        page.locator(f"#nb-p-{side}").fill(value)
        page.locator(f"#nb-p-{side}").press("Tab")
    for _ in range(100):
        page.wait_for_timeout(100)
        if asked and asked[-1] == "448":
            break
    page.unroute_all(behavior="wait")
    assert asked[-1] == "448"


def test_an_emptied_size_goes_back(page):
    page.get_by_role("button", name="Other", exact=True).click()
    width = page.locator("#nb-p-width")
    before = width.input_value()
    width.fill("")
    width.press("Tab")
    expect(width).to_have_value(before)
    assert page.evaluate("nb.state.size.width") == int(before)


def test_on_a_phone_a_refusal_stands_at_generate_and_leads_to_its_field(browser, site):
    with opened(browser, site[0], **PHONE) as page:
        page.locator(".mp").click()
        seed(page, "-5")
        page.mouse.click(195, 40)
        expect(page.locator("#nb-right")).to_be_hidden()
        refused(page)
        sentence = page.locator(".lint .err button")
        expect(sentence).to_contain_text("-5")
        expect(sentence).to_be_in_viewport(ratio=1)
        sentence.click()
        expect(page.locator("#nb-p-seed")).to_be_focused()
        expect(page.locator("#nb-p-seed")).to_be_in_viewport()
        expect(page.locator("#nb-err")).to_contain_text("-5")
        assert not site[2].status().jobs


def test_the_sentence_under_the_seed_is_as_wide_as_the_column_and_covers_nothing(page):
    seed(page, "abc")
    refused(page)
    note, row, fold = (page.locator(name).bounding_box() for name in ("#nb-err", ".pm.seed", "#nb-fold-system"))
    assert note["width"] == row["width"]
    assert row["y"] + row["height"] <= note["y"] <= fold["y"] - note["height"]


def test_a_refusal_goes_when_its_field_is_changed_and_not_before(page):
    seed(page, "abc")
    refused(page)
    page.locator("#nb-p-guidance_scale input[type=number]").fill("3")
    expect(page.locator("#nb-err")).to_be_visible()
    page.locator("#nb-p-seed").press("d")
    nothing_is_refused(page)
    refused(page)
    page.get_by_role("button", name="Random seed").click()
    nothing_is_refused(page)
    page.get_by_role("button", name="Other", exact=True).click()
    page.locator("#nb-p-width").fill("1000")
    refused(page)
    page.locator(".asp button").first.click()
    nothing_is_refused(page)


def test_on_a_phone_tabs_and_the_editors_bar_stay_when_the_page_is_scrolled(browser, site):
    with opened(browser, site[0], **PHONE) as page:
        page.evaluate("scrollTo(0, 700)")
        page.wait_for_function("() => scrollY > 600")
        tabs, bar = (page.locator(name).bounding_box() for name in ("#nb-tabs > .tab-wrapper", ".bar-edit"))
        assert (tabs["y"], bar["y"]) == (0, tabs["height"])
        assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_steps_stay_in_their_range_and_go_back_when_emptied(page):
    steps = page.locator("#nb-p-steps input[type=number]")
    for typed, kept in (("999", "100"), ("0", "1"), ("7.6", "8"), ("", "8")):
        with page.expect_response(lambda answer: "run" in answer.url) as answer:
            steps.fill(typed)
            steps.press("Tab")
        assert answer.value.ok
        expect(steps).to_have_value(kept)


def test_other_numbers_stay_in_their_range_too(page):
    page.get_by_role("button", name="Sampling").click()
    for name, typed, kept in (("guidance_scale", "999", "20"), ("shift", "", "6"), ("guidance_end", "-3", "0")):
        number = page.locator(f"#nb-p-{name} input[type=number]")
        before = number.input_value()
        number.fill(typed)
        number.press("Tab")
        expect(number).to_have_value(kept if typed else before)


def test_generate_from_within_a_number_takes_it_into_its_range_first(page, site):
    before = page.evaluate("nb.state.shown")
    steps = page.locator("#nb-p-steps input[type=number]")
    steps.fill("0")
    steps.press("Control+Enter")
    expect(steps).to_have_value("1")
    page.wait_for_function("before => nb.state.shown && nb.state.shown !== before", arg=before)


def test_seeds_are_never_cut(page):
    page.locator("#nb-p-seed").press_sequentially("18446744073709551615")
    expect(page.locator("#nb-p-seed")).to_have_value("18446744073709551615")
    refused(page)
    expect(page.locator("#nb-err")).to_contain_text("18446744073709551615 is out of range")


def test_on_a_phone_the_editors_bar_is_one_line_high_in_the_widest_language(browser, site):
    with opened(browser, site[0], locale="ja-JP", **PHONE) as page:
        for button in page.locator(".bar-edit button").all():
            box = button.bounding_box()
            assert box["height"] <= 40
            assert box["x"] + box["width"] <= 390


def test_a_focused_field_leaves_room_for_lock_and_dice(page):
    row = page.locator(".ch.k1 [data-name=appearance]")
    row.locator("textarea").focus()
    text, actions = row.locator("textarea").bounding_box(), row.locator(".act").bounding_box()
    assert text["x"] + text["width"] <= actions["x"]


def test_where_there_is_no_keyboard_nothing_is_said_about_keys(browser, site):
    with opened(browser, site[0], **PHONE) as page:
        area = page.locator(".ch.k2 [data-name=clothing] textarea")
        area.fill("blue_sk")
        area.press("i")
        expect(page.locator("#nb-complete [role=option]").first).to_be_visible()
        expect(page.locator("#nb-complete .hint")).to_be_hidden()
        expect(page.locator(".keymap")).to_be_hidden()


def test_text_past_the_limit_and_key_hints_are_not_faded(page):
    page.get_by_role("button", name="XML").click()
    page.locator(".xml-text").fill("<general_tags>\n" + "blue_sky, " * 400 + "\n</general_tags>")
    for name in (".xml-under .past", ".genb .kbd"):
        expect(page.locator(name).first).to_have_css("opacity", "1")


def test_an_empty_prompt_leads_into_the_text_and_is_forgotten_when_one_is_typed(page):
    page.get_by_role("button", name="XML").click()
    page.locator(".xml-text").fill("")
    refused(page)
    page.locator(".lint .err button").click()
    expect(page.locator(".xml-text")).to_be_focused()
    page.keyboard.type("1girl")
    nothing_is_refused(page)

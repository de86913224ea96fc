"""The Create tab in a real browser over a pretended engine: editing, running, finding again, nothing from text runs."""

import json
import re
import time

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect
from served import opened, served

from newbie_ui.engine.fake import FakeEngine
from newbie_ui.ui import restore

ATTACK = '<img src=x onerror="window.pwned=1"> ${window.pwned=2} {{window.pwned=3}}'
ATTACK += "</textarea><script>window.pwned=4</script>"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    def engine(settings, sink):
        return FakeEngine(sink, step_s=0.03)

    with served(tmp_path_factory.mktemp("create"), engine) as parts:
        yield parts


def card(page, number):
    return page.locator(f".ch.k{number}")


def field(page, number, name):
    return card(page, number).locator(f"[data-name={name}] textarea")


def xml(page):
    page.get_by_role("button", name="XML").click()
    text = page.locator(".xml-text").input_value()
    page.get_by_role("button", name="Cards", exact=True).click()
    return text


def button(page, name):
    """One of the editor's own."""
    return page.locator(".bar-edit").get_by_role("button", name=name, exact=True)


def settled(page):
    """The last edit has been answered."""
    page.wait_for_function("() => nb.state.doc && nb.state.doc.pending.length === 0")


def generate(page, steps=None):
    if steps:
        page.locator("#nb-p-steps input[type=number]").fill(str(steps))
        page.locator("#nb-p-steps input[type=number]").press("Tab")
    page.locator("#nb-generate").click()


def test_a_field_goes_into_the_text_and_nothing_else_changes(page):
    before = xml(page)
    field(page, 2, "action").fill("jumping, >_<")
    settled(page)
    after = xml(page)
    assert "<action>jumping, >_<</action>" in after
    line = next(line for line in after.splitlines() if ">_<" in line)
    assert [one for one in after.splitlines() if one != line] == before.splitlines()


def test_text_edited_as_xml_comes_back_as_cards_with_what_the_form_does_not_know(page):
    page.get_by_role("button", name="XML").click()
    text = "odd words\n<character_1>\n<n>Aoi</n>\n<aura>dark</aura>\n</character_1>\n<panel>x</panel>"
    page.locator(".xml-text").fill(text)
    settled(page)
    page.get_by_role("button", name="Cards", exact=True).click()
    expect(card(page, 1).locator("input.nm")).to_have_value("Aoi")
    expect(field(page, 1, "aura")).to_have_value("dark")
    expect(page.locator("[data-block=extra]")).to_contain_text("Free text")
    field(page, 1, "aura").fill("bright")
    settled(page)
    assert xml(page) == text.replace("dark", "bright")


def test_cards_are_added_copied_moved_muted_removed_and_undone(page):
    start = xml(page)
    page.locator("#nb-editor").get_by_role("button", name="Character", exact=True).click()
    expect(card(page, 3)).to_be_visible()
    card(page, 1).get_by_role("button", name="Duplicate").click()
    expect(card(page, 4)).to_be_visible()
    card(page, 4).get_by_role("button", name=re.compile("^Character 4")).press("ArrowUp")
    settled(page)
    card(page, 2).get_by_role("button", name="Mute", exact=True).click()
    expect(card(page, 2)).to_contain_text("left out of the prompt")
    expect(page.locator(".leg")).not_to_contain_text("Char 2")
    card(page, 2).get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Remove").click()
    expect(card(page, 4)).to_have_count(0)
    muted = card(page, 2).locator(".mutenote")
    for shown in (True, False):  # the card that was removed, then the eye
        button(page, "Undo").click()
        expect(muted).to_be_visible(visible=shown)
    for _ in range(3):
        button(page, "Undo").click()
    expect(button(page, "Undo")).to_be_disabled()
    expect(card(page, 3)).to_have_count(0)
    assert xml(page) == start
    for _ in range(4):
        button(page, "Redo").click()
    expect(muted).to_be_visible()
    button(page, "Redo").click()
    expect(button(page, "Redo")).to_be_disabled()
    expect(muted).to_have_count(0)


def test_a_key_takes_back_a_character_whose_empty_field_has_the_caret(page):
    page.locator("body").press("a")
    expect(field(page, 3, "appearance")).to_be_focused()
    page.keyboard.type("hat")
    page.keyboard.press("Control+z")  # the field's own
    expect(field(page, 3, "appearance")).to_have_value("")
    settled(page)
    page.keyboard.press("Control+z")
    expect(card(page, 3)).to_have_count(0)
    expect(button(page, "Undo")).to_be_disabled()
    page.keyboard.press("Control+Shift+z")
    expect(card(page, 3)).to_be_visible()


def test_a_restored_form_is_taken_back_and_made_again_as_a_whole(page):
    field(page, 1, "clothing").fill("red_dress")
    seed, steps = page.locator("#nb-p-seed"), page.locator("#nb-p-steps input[type=number]")
    seed.fill("77")
    generate(page, 3)
    page.wait_for_function("() => nb.state.seed_used === '77' && nb.state.shown && !nb.state.following")
    seed.fill("900")
    steps.fill("11")
    steps.press("Tab")
    page.wait_for_function("() => nb.state.knobs[0] === 11")
    page.get_by_role("button", name="Restore to the form").click()

    def stands(*values):
        expect(seed).to_have_value(values[0])
        expect(steps).to_have_value(values[1])
        expect(field(page, 1, "clothing")).to_have_value("red_dress")
        page.wait_for_function("steps => nb.state.knobs[0] === steps", arg=int(values[1]))

    stands("77", "3")
    page.locator(".nb-toast").get_by_role("button", name="Undo").click()
    stands("900", "11")
    button(page, "Redo").click()
    stands("77", "3")


def test_undo_is_not_offered_where_nothing_was_filled(page, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    field(page, 1, "action").fill("kept")
    settled(page)
    page.locator("#nb-file input[type=file]").set_input_files(tmp_path / "plain.png")
    expect(page.locator(".nb-toast")).to_contain_text("The form is unchanged.")
    expect(page.locator(".nb-toast button")).to_have_count(0)
    expect(field(page, 1, "action")).to_have_value("kept")


def test_plain_words_that_are_pasted_say_so_and_can_be_taken_back(page):
    start = xml(page)
    page.locator("body").press("v")
    page.get_by_role("dialog").locator("textarea").fill("hello world")
    page.get_by_role("button", name="Take over").click()
    expect(page.locator(".nb-toast")).to_contain_text("as plain text")
    expect(page.locator("[data-block=extra] textarea")).to_have_value("hello world")
    page.locator(".nb-toast").get_by_role("button", name="Undo").click()
    expect(card(page, 2)).to_be_visible()
    assert xml(page) == start


def test_two_tabs_keep_their_own_forms_and_a_new_one_begins_with_the_last(page, site):
    def tab():
        other = page.context.new_page()
        other.goto(site[0])
        expect(field(other, 1, "action")).to_be_visible()
        return other

    other = tab()
    for one, value in ((page, "first"), (other, "second")):
        field(one, 1, "action").fill(value)
        one.locator("#nb-p-seed").fill(str(len(value)))
        settled(one)
    for one, value in ((page, "first"), (other, "second"), (tab(), "second")):
        one.reload()
        expect(field(one, 1, "action")).to_have_value(value)
        expect(one.locator("#nb-p-seed")).to_have_value(str(len(value)))
    generate(page)
    page.wait_for_function("() => nb.state.seed_used === '5'")


def test_the_form_before_a_link_can_be_had_back_after_a_reload(page, site):
    query = restore.link({"prompt": "<character_1><n>Linked</n></character_1>", "seed": 5, "steps": 4})
    field(page, 1, "action").fill("my_own")
    page.locator("#nb-p-seed").fill("900")
    settled(page)
    page.goto(f"{site[0]}/?r={query}")
    name, steps = card(page, 1).locator("input.nm"), page.locator("#nb-p-steps input[type=number]")
    expect(name).to_have_value("Linked")
    expect(steps).to_have_value("4")
    page.wait_for_function("() => nb.state.doc.pending.length === 0 && nb.state.knobs[0] === 4")
    page.reload()
    expect(name).to_have_value("Linked")
    expect(steps).to_have_value("4")
    button(page, "Undo").click()
    expect(field(page, 1, "action")).to_have_value("my_own")
    expect(page.locator("#nb-p-seed")).to_have_value("900")
    expect(steps).to_have_value("20")


def test_a_dot_is_moved_by_keys_and_the_tag_follows_and_the_other_way_round(page):
    dot = page.locator(".pad .dot.k1")
    dot.press("ArrowLeft")
    dot.press("ArrowDown")
    settled(page)
    assert "<position>left_side, foreground</position>" in xml(page)
    card(page, 2).locator(".hd [data-field=position]").select_option("far_right")
    expect(page.locator(".pad .dot.k2")).to_have_attribute("aria-label", re.compile("far right"))


def test_an_answer_to_an_older_edit_moves_no_dot_back(page):
    settled(page)
    before = page.evaluate("() => nb.state.doc.text")
    dot, held, slow = page.locator(".pad .dot.k1"), [], True

    def composing(request):
        """A question about an edit: what the page asks on its own while it opens is let through."""
        body = request.post_data or ""
        return "/component_server" in request.url and '"compose"' in body and '"pending":[]' not in body

    def answer(route):
        held.append(route) if slow and composing(route.request) else route.continue_()

    page.route(re.compile("/component_server"), answer)
    with page.expect_request(composing):
        card(page, 2).locator("textarea").first.press_sequentially("x")
    dot.press("ArrowLeft")
    held.pop(0).continue_()
    page.wait_for_function("(before) => nb.state.doc.text !== before", arg=before)
    slow = False
    dot.press("ArrowDown")
    for route in held:
        route.continue_()
    settled(page)
    assert "<position>left_side, foreground</position>" in xml(page)


def test_a_dot_is_dragged(page):
    pad, dot = page.locator(".pad").bounding_box(), page.locator(".pad .dot.k2").bounding_box()
    page.mouse.move(dot["x"] + 12, dot["y"] + 12)
    page.mouse.down()
    page.mouse.move(pad["x"] + pad["width"] * 0.95, pad["y"] + 12, steps=4)
    page.mouse.up()
    settled(page)
    assert "<position>far_right, background</position>" in xml(page)


def test_a_picture_appears_without_moving_anything_and_says_what_it_cost(page):
    boxes = {name: page.locator(name).bounding_box() for name in (".pic", ".slot", "#nb-right", "#nb-dock")}
    generate(page, 90)
    expect(page.locator(".pv")).to_contain_text("Preview, step")
    assert page.locator(".pic img").get_attribute("src").startswith("data:image/jpeg")
    assert {name: page.locator(name).bounding_box() for name in boxes} == boxes
    expect(page.locator("#nb-generate")).to_contain_text("Add to queue")
    expect(page.locator(".slot")).to_contain_text("s/step")
    expect(page.locator(".slot .facts")).to_contain_text("Waited")
    assert re.fullmatch(r"pictures/[\w.-]+\.png", page.locator(".pic img").get_attribute("src"))
    page.wait_for_function("() => document.querySelector('.pic img').naturalWidth === 256")
    assert {name: page.locator(name).bounding_box() for name in boxes} == boxes
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_generate_is_heard_at_once_whatever_else_the_page_is_asking(browser, site):
    for _ in range(5):
        with opened(browser, site[0]) as page:
            generate(page, 100)  # leaving the field asks for the presets' times at the same moment
            expect(page.locator(".slot .runbtns")).to_be_visible(timeout=3000)  # the job takes 3 s
            page.locator("body").press("Escape")
            expect(page.locator("#nb-generate")).to_contain_text("Generate")


def test_jobs_queue_up_are_reordered_removed_and_stopped(page, site):
    page.locator(".num select").select_option("8")
    generate(page, 100)
    expect(page.locator(".pv")).to_be_visible()
    for number in (1, 2):
        field(page, 1, "action").fill(f"jumping_{number}")
        settled(page)
        page.wait_for_timeout(450)
        page.keyboard.press("Control+Enter")
    rows = page.locator("#nb-right .qr")
    expect(rows).to_have_count(2)
    first = site[2].status().jobs[1].id
    rows.nth(1).get_by_role("button", name=re.compile("^Job 2")).press("ArrowUp")
    end = time.monotonic() + 5
    while site[2].status().jobs[2].id != first and time.monotonic() < end:
        page.wait_for_timeout(50)
    assert site[2].status().jobs[2].id == first
    rows.nth(1).get_by_role("button", name="Remove from the queue").click()
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="Clear").click()
    expect(rows).to_have_count(0)
    page.locator("body").press("Escape")
    page.locator("body").press("Escape")
    expect(page.locator("#nb-generate")).to_contain_text("Generate")
    assert not site[2].status().jobs


def test_another_tab_and_a_reload_find_the_running_job_and_the_form(page, browser, site):
    field(page, 1, "action").fill("reading_a_book")
    settled(page)
    page.locator(".num select").select_option("8")
    generate(page, 100)
    expect(page.locator(".pv")).to_be_visible()
    with opened(browser, site[0]) as other:
        expect(other.locator(".pv")).to_be_visible()
        page.reload()
        expect(page.locator(".pv")).to_be_visible()
        expect(field(page, 1, "action")).to_have_value("reading_a_book")
        expect(page.locator("#nb-p-steps input[type=number]")).to_have_value("100")
        other.get_by_role("button", name="Stop now").click()
        expect(page.locator("#nb-generate")).to_contain_text("Generate")
        expect(other.locator(".slot")).not_to_contain_text("Stop now")


def test_a_refused_field_says_why_beside_it_and_nothing_is_lost(page):
    field(page, 1, "action").fill("kept")
    page.get_by_role("button", name="Other", exact=True).click()
    page.get_by_role("spinbutton", name="Width").fill("1000")
    page.get_by_role("spinbutton", name="Width").press("Tab")
    generate(page)
    expect(page.locator(".nb-err:visible")).to_contain_text("992 or 1008")
    expect(page.locator("#nb-p-width")).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".lint .err")).to_contain_text("1000")
    expect(field(page, 1, "action")).to_have_value("kept")
    page.locator(".asp button").first.click()
    generate(page, 3)
    expect(page.locator(".slot .facts")).to_be_visible()
    expect(page.locator(".nb-err:visible")).to_have_count(0)


def test_notes_are_fixed_with_one_click(page):
    page.locator("[data-block=general] [data-name=count] textarea").fill("1girl")
    page.get_by_role("button", name="Set 2girls").click()
    settled(page)
    assert "<count>2girls" in xml(page)


def test_a_tag_is_completed_in_the_middle_of_a_field(page):
    area = field(page, 2, "clothing")
    area.fill("hat, blue_sk, boots")
    area.evaluate("area => area.setSelectionRange(12, 12)")
    area.press("i")
    expect(page.locator("#nb-complete [role=option]").first).to_contain_text("blue_ski")
    area.press("Tab")
    expect(area).to_have_value("hat, blue_skirt, boots")


def test_nothing_that_is_typed_ever_runs(page):
    for name in ("appearance", "clothing", "action"):
        field(page, 1, name).fill(ATTACK)
    card(page, 1).locator("input.nm").fill(ATTACK)
    page.locator("[data-name=negative] textarea").fill(ATTACK)
    settled(page)
    assert ATTACK in xml(page)
    generate(page, 4)
    expect(page.locator(".slot .facts")).to_be_visible()
    page.get_by_role("button", name="Save to the library").or_(card(page, 1).get_by_role("button", name="More")).click()
    page.get_by_role("menuitem", name="Save to the library").click()
    page.get_by_role("button", name="Card library").click()
    page.keyboard.press("Escape")
    page.reload()
    page.locator("#nb-generate").wait_for()
    page.wait_for_timeout(500)
    assert page.evaluate("window.pwned") is None
    assert page.locator("img[src=x]").count() == 0


def test_a_saved_card_goes_into_any_slot_and_out_of_the_library(page):
    def library(*path):
        page.get_by_role("button", name="Card library").click()
        for label in path:
            page.get_by_role("menuitem", name=label).first.click()

    field(page, 1, "clothing").fill("blue_dress")
    settled(page)
    library("Save Character 1")
    library("Character 1", "In place of Character 2")
    expect(field(page, 2, "clothing")).to_have_value("blue_dress")
    settled(page)
    assert "$character_2$" in xml(page)
    assert xml(page).count("$character_1$") == 1
    library("Character 1", "Add as a new character")
    expect(field(page, 3, "clothing")).to_have_value("blue_dress")
    settled(page)
    assert "$character_3$" in xml(page)
    library("Character 1", "Remove from the library")
    page.get_by_role("button", name="Card library").click()
    expect(page.get_by_role("menuitem", name="No cards saved yet")).to_be_visible()
    page.keyboard.press("Escape")


def test_a_share_link_fills_the_form_and_starts_nothing(page, browser, site):
    field(page, 1, "action").fill("shared_action")
    page.locator("#nb-p-seed").fill("424242")
    settled(page)
    generate(page, 3)
    page.wait_for_function("() => nb.state.seed_used === '424242'")
    page.get_by_role("button", name="Link to this recipe").click()
    expect(page.locator(".nb-toast")).to_contain_text("Link copied")
    shown = page.evaluate("nb.state.shown")
    page.evaluate("nb.copy = (text) => { window.copied = text; }")
    page.get_by_role("button", name="Link to this recipe").click()
    page.wait_for_function("() => window.copied")
    link = page.evaluate("window.copied")
    with opened(browser, link) as other:
        expect(field(other, 1, "action")).to_have_value("shared_action")
        expect(other.locator("#nb-p-seed")).to_have_value("424242")
        expect(other.locator("#nb-p-steps input[type=number]")).to_have_value("3")
        other.wait_for_function("(id) => nb.state.shown === id", arg=shown)
        assert not site[2].status().jobs


def test_language_and_theme_are_chosen_in_the_header_and_kept(page):
    dark = page.evaluate("document.body.classList.contains('dark')")
    page.get_by_role("button", name="Light or dark").click()
    page.reload()
    page.locator("#nb-generate").wait_for()
    assert page.evaluate("document.body.classList.contains('dark')") is not dark
    page.get_by_role("button", name="Language").click()
    page.get_by_role("menuitemradio", name="日本語").click()
    page.wait_for_function("() => document.documentElement?.lang.startsWith('ja')")
    expect(page.locator("#nb-tabs > .tab-wrapper")).to_contain_text(json.loads(words("ja"))["create"])


def test_the_page_goes_with_the_systems_scheme_until_one_is_chosen(page):
    button = page.get_by_role("button", name="Light or dark")
    page.emulate_media(color_scheme="light")
    expect(page.locator("body.dark")).to_have_count(0)
    moon = button.locator("path").get_attribute("d")
    page.emulate_media(color_scheme="dark")
    expect(page.locator("body.dark")).to_be_attached()
    expect(button.locator("path")).not_to_have_attribute("d", moon)
    button.click()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(200)
        expect(page.locator("body.dark")).to_have_count(0)
        expect(button.locator("path")).to_have_attribute("d", moon)


@pytest.mark.parametrize("locale", ["en-US", "ja-JP", "zh-CN"])
def test_all_tabs_are_in_sight_in_every_language(browser, site, locale):
    for width in (1280, 800, 390):
        with opened(browser, site[0], locale=locale, viewport={"width": width, "height": 800}) as page:
            expect(page.locator("#nb-tabs > .tab-wrapper [role=tab]:visible")).to_have_count(4)


def words(language):
    from newbie_ui.ui.words import FOLDER

    return (FOLDER / f"{language}.json").read_text("utf-8")


def test_the_keyboard_map_opens_and_lists_what_keys_do(page):
    page.locator("body").press("?")
    expect(page.get_by_role("dialog", name="Keyboard map")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("body").press("x")
    expect(page.locator(".xml-text")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(browser, site, scheme):
    with opened(browser, site[0], color_scheme=scheme) as page:
        generate(page, 3)
        expect(page.locator(".slot .facts")).to_be_visible()
        found = Axe().run(page).response["violations"]
        serious = [
            (v["id"], [n["target"] for n in v["nodes"]][:4]) for v in found if v["impact"] in ("serious", "critical")
        ]
        assert serious == []


def test_the_phone_layout_has_no_overflow_and_its_settings_in_a_sheet(browser, site):
    options = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with opened(browser, site[0], **options) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        picture, cards = page.locator(".pic").bounding_box(), page.locator(".bar-edit").bounding_box()
        assert picture["y"] + picture["height"] < cards["y"]
        assert page.locator("#nb-generate").bounding_box()["y"] > 700
        page.locator(".mp").click()
        expect(page.locator("#nb-right .pr").first).to_be_in_viewport()
        page.locator("#nb-p-steps input[type=number]").fill("4")
        page.mouse.click(195, 40)
        before = page.evaluate("nb.state.shown")
        generate(page)
        page.wait_for_function("before => nb.state.shown && nb.state.shown !== before", arg=before)
        expect(page.locator(".slot .big")).to_contain_text("s")

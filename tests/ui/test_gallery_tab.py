"""The gallery, benchmark and settings tabs in a real browser: found, marked, compared, deleted, restored; nothing runs.

One server with a pretended engine and a real gallery in this process, one browser for all tests.
"""

import shutil
import threading
import time

import pytest
import uvicorn
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from newbie_ui.engine.fake import FakeEngine
from newbie_ui.gallery.store import Gallery
from newbie_ui.request import GenerateRequest, Picture
from newbie_ui.server.app import build
from newbie_ui.server.options import ServerOptions
from newbie_ui.server.run import take_port
from newbie_ui.settings import from_flags
from newbie_ui.ui.compose import EXAMPLE

ATTACK = "<img src=x onerror=window.pwned=1>"
PROMPTS = (
    EXAMPLE.replace("$character_1$", "Aoi").replace("$character_2$", "Momo"),
    EXAMPLE.replace("$character_1$", "Shiro").replace("$character_2$", "Kuro").replace("cherry_blossoms", "night_sky"),
    EXAMPLE.replace("$character_1$", ATTACK).replace("cherry_blossoms", "${window.pwned=2} {{window.pwned=3}} `"),
)
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """(address, gallery) of a page whose gallery holds one picture a prompt."""
    folder = tmp_path_factory.mktemp("site")
    gallery = Gallery(folder / "pictures")
    engine = FakeEngine(gallery.add, step_s=0.001)
    engine.open()
    for prompt in PROMPTS:
        job = engine.submit(GenerateRequest(prompt, negative_prompt=ATTACK + "</script>", steps=3, seed=7))
        assert any(isinstance(event, Picture) for event in engine.events(job))
    taken = take_port("127.0.0.1", 0)
    options = ServerOptions(port=taken.getsockname()[1], temp_dir=folder / "temp")
    settings = from_flags({"output_dir": str(folder / "pictures")}, {})
    built = build(engine, gallery, settings, options)
    server = uvicorn.Server(uvicorn.Config(built.app, log_level="error", timeout_graceful_shutdown=1, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield options.url, gallery
    built.page.end_streams()
    server.should_exit = True
    thread.join(10)
    engine.close()
    gallery.close()


@pytest.fixture(scope="module")
def browser():
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def page(browser, site):
    """A fresh page; whatever it complains about fails the test."""
    page = browser.new_page(viewport={"width": 1440, "height": 900}, locale="en-GB")
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.complaints = complaints
    page.goto(site[0])
    yield page
    assert page.evaluate("window.pwned") is None
    assert complaints == []
    page.close()


def opened(page, tab):
    page.get_by_role("tab", name=tab).first.click()
    return page


def tiles(page):
    return page.locator(".nb-g-tile")


def test_pictures_stand_in_a_grid_with_their_counts(page):
    opened(page, "Gallery")
    expect(tiles(page)).to_have_count(3)
    expect(tiles(page).nth(2)).to_contain_text("Aoi, Momo")
    expect(page.get_by_role("button", name="All pictures 3")).to_be_visible()
    expect(page.get_by_role("tab", name="Gallery").first).to_have_attribute("data-n", "3")


def test_markup_in_names_and_prompts_is_shown_as_text(page):
    opened(page, "Gallery")
    expect(tiles(page).first).to_contain_text(ATTACK)
    tiles(page).first.click()
    panel = page.get_by_role("complementary", name="Chosen picture")
    expect(panel).to_contain_text(ATTACK + "</script>")
    expect(panel).to_contain_text("${window.pwned=2} {{window.pwned=3}} `")
    expect(page.get_by_role("button", name=f"{ATTACK} 1")).to_be_visible()
    page.get_by_role("button", name=f"{ATTACK} 1").click()
    expect(tiles(page)).to_have_count(1)


def test_search_narrows_and_says_when_nothing_is_found(page):
    opened(page, "Gallery")
    search = page.get_by_role("searchbox")
    search.fill("night_sky")
    expect(tiles(page)).to_have_count(1)
    expect(tiles(page).first).to_contain_text("Shiro, Kuro")
    search.fill("no such thing")
    expect(page.get_by_text("Nothing found")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(tiles(page)).to_have_count(3)


def test_the_slash_key_goes_to_the_search(page):
    opened(page, "Gallery")
    expect(tiles(page)).to_have_count(3)
    tiles(page).first.click()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()


def test_a_favourite_is_marked_and_found_again_after_a_reload(page):
    opened(page, "Gallery")
    tiles(page).nth(1).click()
    page.get_by_role("button", name="Make a favourite").click()
    expect(page.get_by_role("button", name="Favourites 1")).to_be_visible()
    page.reload()
    opened(page, "Gallery")
    page.get_by_role("button", name="Favourites 1").click()
    expect(tiles(page)).to_have_count(1)
    tiles(page).first.press("f")
    expect(page.get_by_role("button", name="Favourites 0")).to_be_visible()


def test_deleting_is_undone_with_one_button(page):
    opened(page, "Gallery")
    tiles(page).first.click()
    page.get_by_role("complementary").get_by_role("button", name="Delete").click()
    expect(tiles(page)).to_have_count(2)
    page.get_by_role("button", name="Undo", exact=True).last.click()
    expect(tiles(page)).to_have_count(3)


def test_the_trash_shows_what_was_deleted_last_first_and_puts_it_back(page, site):
    opened(page, "Gallery")
    expect(tiles(page)).to_have_count(3)
    names = [tiles(page).nth(k).locator("b").inner_text() for k in (0, 2)]
    for name in names:
        tiles(page).filter(has_text=name).click()
        page.get_by_role("complementary").get_by_role("button", name="Delete").click()
        expect(tiles(page).filter(has_text=name)).to_have_count(0)
    page.get_by_role("button", name="Trash 2").click()
    expect(page.get_by_text("Deleted pictures are kept for 30 days")).to_be_visible()
    expect(page.get_by_label("Order")).to_be_disabled()
    expect(tiles(page)).to_have_text([f"{name}30 days" for name in reversed(names)])
    tiles(page).first.click()
    panel = page.get_by_role("complementary")
    expect(panel).to_contain_text("Kept for30 days")
    expect(panel.get_by_role("button", name="Delete")).to_have_count(0)
    tiles(page).first.press("Delete")
    panel.get_by_role("button", name="Put back").click()
    expect(tiles(page)).to_have_count(1)
    tiles(page).first.click(modifiers=["Control"])
    page.get_by_role("toolbar", name="Selected pictures").get_by_role("button", name="Put back").click()
    expect(page.get_by_text("The trash is empty")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(tiles(page)).to_have_count(3)
    expect(page.get_by_text("Deleted pictures are kept")).to_be_hidden()


def test_a_collection_is_renamed_and_removed_and_its_pictures_stay(page, site):
    card = site[1].page().cards[0]
    site[1].collect("Sea", [card.id])
    site[1].collect("Hills")
    opened(page, "Gallery")
    page.get_by_role("button", name="Hills 0").click()
    expect(page.get_by_text("This collection is empty")).to_be_visible()
    page.get_by_role("button", name="Sea 1").click()
    expect(tiles(page)).to_have_count(1)
    answered(page, "Hills", page.get_by_role("button", name="Rename"))
    expect(page.locator(".nb-toast")).to_contain_text("There is a collection Hills already")
    answered(page, "  The  coast ", page.get_by_role("button", name="Rename"))
    expect(page.get_by_role("button", name="The coast 1", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(tiles(page)).to_have_count(1)
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(tiles(page)).to_have_count(3)
    expect(page.get_by_role("button", name="The coast 1", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Undo", exact=True).last.click()
    expect(page.get_by_role("button", name="The coast 1", exact=True)).to_be_visible()
    expect(tiles(page)).to_have_count(1)
    assert site[1].get(card.id).collections == ("The coast",)
    for name in site[1].collections():
        site[1].drop_collection(name)


def answered(page, text, button):
    """Press a button that asks for a name."""
    page.evaluate("text => { window.prompt = () => text; }", text)
    button.click()


def test_back_closes_the_detail_that_covers_a_phone(page, site):
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, "Gallery")
    panel = page.get_by_role("complementary", name="Chosen picture")
    tiles(page).nth(0).click()
    expect(panel).to_be_visible()
    page.go_back()
    expect(panel).to_be_hidden()
    expect(tiles(page)).to_have_count(3)
    assert page.url.rstrip("/") == site[0].rstrip("/")
    before = page.evaluate("history.length")
    for _ in range(2):
        tiles(page).nth(0).click()
        expect(panel).to_be_visible()
        panel.get_by_role("button", name="Close").click()
        expect(panel).to_be_hidden()
        page.wait_for_function("() => !(history.state && history.state.nb_detail)")
    assert page.evaluate("history.length") == before
    tiles(page).nth(2).click()
    panel.get_by_role("button", name="Restore", exact=True).click()
    expect(page.get_by_role("tab", name="Create").first).to_have_attribute("aria-selected", "true")
    page.wait_for_function("() => !(history.state && history.state.nb_detail)")


@pytest.mark.parametrize("chosen", [1, 2])
def test_the_tray_of_a_phone_ends_its_first_line_with_its_close_button(page, chosen):
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, "Gallery")
    page.get_by_role("button", name="Select", exact=True).click()
    for k in range(chosen):
        tiles(page).nth(k).click()
    tray = page.get_by_role("toolbar", name="Selected pictures")
    expect(tray.get_by_role("button")).to_have_count(5 if chosen == 1 else 6)
    boxes = [button.bounding_box() for button in tray.get_by_role("button").all()]
    close = tray.get_by_role("button", name="End selection").bounding_box()
    middles = [round(box["y"] + box["height"] / 2) for box in boxes if box != close]
    assert max(middles) - min(middles) <= 2
    assert close["y"] + close["height"] <= min(box["y"] for box in boxes if box != close)
    assert close["x"] + close["width"] > tray.bounding_box()["x"] + tray.bounding_box()["width"] - 24


@pytest.mark.parametrize("width", [1440, 390])
def test_the_order_is_seen_to_be_a_list(page, width):
    page.set_viewport_size({"width": width, "height": 844})
    opened(page, "Gallery")
    order, arrow = page.get_by_label("Order"), page.locator(".nb-g-order svg")
    expect(arrow).to_be_visible()
    box, inner = order.bounding_box(), arrow.bounding_box()
    assert box["x"] + 60 < inner["x"]
    assert inner["x"] + inner["width"] < box["x"] + box["width"]


def test_two_selected_pictures_are_compared(page):
    opened(page, "Gallery")
    tiles(page).nth(0).click(modifiers=["Control"])
    tiles(page).nth(1).click(modifiers=["Control"])
    tray = page.get_by_role("toolbar", name="Selected pictures")
    expect(tray).to_contain_text("Shiro, Kuro")
    tray.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("dialog", name="Compare")).to_be_visible()
    page.keyboard.press("Escape")
    tray.get_by_role("button", name="End selection").click()
    expect(tray).to_be_hidden()


def test_restore_fills_the_form_and_shows_it(page):
    opened(page, "Gallery")
    tiles(page).nth(2).click()
    page.get_by_role("button", name="Restore", exact=True).click()
    expect(page.get_by_role("tab", name="Create").first).to_have_attribute("aria-selected", "true")
    expect(page.locator("#nb-editor input, #nb-editor textarea").filter(visible=True).first).to_be_visible()
    page.wait_for_function("[...document.querySelectorAll('#nb-editor input')].some((node) => node.value === 'Aoi')")


def test_a_download_without_metadata_holds_no_prompt(page, site):
    opened(page, "Gallery")
    tiles(page).nth(2).click()
    page.get_by_role("button", name="PNG").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Without metadata").click()
    assert b"Aoi" not in download.value.path().read_bytes()
    assert download.value.suggested_filename.endswith(".png")


def test_pictures_are_imported_and_what_is_none_is_told(page, site, tmp_path):
    good, bad = tmp_path / "from elsewhere.png", tmp_path / f"{ATTACK[:4]}.png"
    Image.new("RGB", (32, 32), "teal").save(good)
    bad.write_bytes(b"no picture")
    opened(page, "Gallery")
    page.get_by_role("button", name="More").last.click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("menuitem", name="Import pictures").click()
    with page.expect_response("**/gallery/import?*") as refused:
        chooser.value.set_files([bad])
    assert refused.value.status == 400
    expect(page.locator(".nb-toast")).to_have_text(
        f"0 of 1 imported. '{bad.name}' is not a PNG, WebP or JPEG picture. Choose one of these."
    )
    page.get_by_role("button", name="More").last.click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("menuitem", name="Import pictures").click()
    chooser.value.set_files([good])
    expect(tiles(page)).to_have_count(4)
    expect(page.locator(".nb-toast")).to_contain_text("1 of 1 imported.")
    page.goto("about:blank")
    page.complaints.clear()  # the refused file's 400
    site[1].delete([card.id for card in site[1] if not card.program])


def test_arrow_keys_walk_through_the_grid(page):
    opened(page, "Gallery")
    tiles(page).first.click()
    tiles(page).first.press("ArrowRight")
    expect(tiles(page).nth(1)).to_be_focused()
    expect(page.get_by_role("complementary")).to_contain_text("Shiro")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_no_tab_is_wider_than_the_window(page, width, scheme):
    page.emulate_media(color_scheme=scheme)
    for tab in ("Gallery", "Benchmark", "Settings"):
        opened(page, tab)
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_a_phone_the_benchmarks_bars_keep_their_figures_on_the_page(page):
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, "Benchmark")
    chart = page.locator("#nb-benchmark .nb-b-ladder svg").first
    expect(chart.get_by_text("peak GB").first).to_be_visible()
    texts = chart.locator("text").evaluate_all("nodes => nodes.map(node => node.getBoundingClientRect())")
    assert all(0 <= box["left"] < box["right"] <= 390 and box["height"] >= 12 for box in texts)


def test_the_benchmark_measures_through_the_queue_and_keeps_its_figures(page, site):
    before = site[1].facets().total
    opened(page, "Benchmark")
    expect(page.get_by_text("Presets, seconds a picture")).to_be_visible()
    page.get_by_role("button", name="Measure presets").click()
    expect(page.locator("#nb-benchmark td").first).to_contain_text("today", timeout=15_000)
    assert site[1].facets().total == before + 3
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    lines = download.value.path().read_text("utf-8").splitlines()
    assert lines[0].startswith("id,made,preset,model")
    assert len(lines) > 3
    newest = [card.id for card in site[1].page(limit=3).cards]
    site[1].delete(newest)


def test_the_settings_tell_model_device_and_licence(page):
    opened(page, "Settings")
    tab = page.locator("#nb-settings")
    expect(tab).to_contain_text("Pretended device")
    expect(tab).to_contain_text("Newbie-NC-1.0")
    expect(tab).to_contain_text("may not be used commercially")

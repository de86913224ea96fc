"""Create and Gallery in one browser: what is stopped, fails, is deleted or put back in one is seen in the other."""

import re

import pytest
from playwright.sync_api import expect
from served import opened, served

from newbie_ui.engine.fake import FakeEngine, Fault
from newbie_ui.errors import EngineError
from newbie_ui.request import GenerateRequest, Picture
from newbie_ui.ui.compose import EXAMPLE

PICTURE = re.compile(r"pictures/[\w.-]+\.png")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with served(tmp_path_factory.mktemp("both"), lambda settings, sink: FakeEngine(sink, step_s=0.03)) as parts:
        yield parts


@pytest.fixture
def page(browser, site):
    """A page with two pictures in its strip, whose cost is shown."""
    address, gallery, engine = site
    empty(gallery)
    for _ in range(2):
        job = engine.submit(GenerateRequest(EXAMPLE, steps=2))
        assert any(isinstance(event, Picture) for event in engine.events(job))
    with opened(browser, address) as page:
        expect(page.locator(".slot")).to_contain_text("s/step")
        yield page
        for job in engine.status().jobs:
            engine.cancel(job.id)


def empty(gallery):
    gallery.delete([card.id for card in gallery])
    gallery.purge(0)


def steps(page, number):
    field = page.locator("#nb-p-steps input[type=number]")
    field.fill(str(number))
    field.press("Tab")


def strip(page):
    return page.locator(".strip button")


def tab(page, name):
    page.get_by_role("tab", name=name).first.click()


def tiles(page):
    return page.locator(".nb-g-tile")


def shown(page):
    return page.locator(".pic img").get_attribute("src")


def long_job(page):
    steps(page, 100)
    page.locator(".num select").select_option("8")
    page.locator("#nb-generate").click()
    expect(page.locator(".pv")).to_be_visible()


def test_escape_closes_the_detail_and_the_job_goes_on(page, site):
    long_job(page)
    job = site[2].status().jobs[0].id
    tab(page, "Gallery")
    tiles(page).first.click()
    panel = page.get_by_role("complementary", name="Chosen picture")
    expect(panel).to_have_class(re.compile("open"))
    page.keyboard.press("Escape")
    expect(panel).not_to_have_class(re.compile("open"))
    tiles(page).first.click(modifiers=["Control"])
    tray = page.get_by_role("toolbar", name="Selected pictures")
    expect(tray).to_be_visible()
    page.keyboard.press("Escape")
    expect(tray).to_be_hidden()
    page.keyboard.press("Escape")
    tab(page, "Create")
    expect(page.locator(".pv")).to_be_visible()
    assert [info.id for info in site[2].status().jobs] == [job]
    page.keyboard.press("Escape")
    expect(page.locator("#nb-generate")).to_contain_text("Generate")


def test_a_stopped_job_leaves_the_last_picture_with_its_cost(page):
    before, cost = shown(page), page.locator(".slot").inner_text()
    long_job(page)
    page.locator("body").press("Escape")
    expect(page.locator(".nb-toast")).to_have_text("Stopped.")
    expect(page.locator(".slot .runbtns")).to_have_count(0)
    assert (shown(page), page.locator(".slot").inner_text()) == (before, cost)
    expect(page.locator(".strip .on")).to_have_count(1)


def test_a_series_that_is_stopped_says_how_far_it_came(page):
    before = strip(page).count()
    steps(page, 15)
    page.locator(".num select").select_option("8")
    page.locator("#nb-generate").click()
    expect(strip(page)).not_to_have_count(before)
    page.locator("body").press("Escape")
    expect(page.locator(".nb-toast")).to_have_text(re.compile(r"^Stopped after [1-7] of 8\.$"))
    expect(page.locator(".slot .big")).to_contain_text(" s")


def test_a_preset_is_called_by_its_name_before_the_device_is_known(browser, page, site, monkeypatch):
    monkeypatch.setattr(site[2], "presets", lambda request=None: ())
    with opened(browser, site[0]) as other:
        expect(other.locator(".slot .facts div").filter(has_text="Preset")).to_contain_text("Processor")
        expect(other.locator(".prs")).to_have_count(0)


def test_a_failed_job_says_why_and_leaves_the_last_picture(page, site):
    before = shown(page)
    site[2].faults.append(Fault(EngineError("The device is too warm. Wait a little.")))
    page.locator("#nb-generate").click()
    expect(page.locator(".slot .fail")).to_be_visible()
    assert shown(page) == before


def test_a_first_job_that_is_stopped_says_so(browser, site):
    empty(site[1])
    with opened(browser, site[0]) as page:
        long_job(page)
        page.locator("body").press("Escape")
        expect(page.locator(".slot")).to_contain_text("Stopped.")


def test_what_the_gallery_deletes_leaves_create_and_comes_back(page):
    newest = shown(page)
    tab(page, "Gallery")
    tiles(page).first.click()
    page.get_by_role("complementary").get_by_role("button", name="Delete").click()
    expect(tiles(page)).to_have_count(1)
    tab(page, "Create")
    expect(strip(page)).to_have_count(1)
    expect(page.locator(".pic img")).not_to_have_attribute("src", newest)
    expect(page.locator(".pic img")).to_have_attribute("src", PICTURE)
    page.get_by_role("button", name="Undo", exact=True).last.click()
    expect(strip(page)).to_have_count(2)
    strip(page).first.click()
    expect(page.locator(".pic img")).to_have_attribute("src", newest)


def test_when_all_pictures_are_deleted_create_is_empty_until_one_is_put_back(page):
    tab(page, "Gallery")
    for number in (1, 2):
        tiles(page).nth(0).click(modifiers=["Control"])
        page.get_by_role("toolbar", name="Selected pictures").get_by_role("button", name="Delete").click()
        expect(tiles(page)).to_have_count(2 - number)
    expect(page.get_by_role("tab", name="Gallery").first).to_have_attribute("data-n", "")
    tab(page, "Create")
    expect(strip(page)).to_have_count(0)
    expect(page.locator(".pic img")).to_be_hidden()
    expect(page.get_by_role("button", name="Favourite", exact=True)).to_be_disabled()
    tab(page, "Gallery")
    page.get_by_role("button", name="Trash 2").click()
    tiles(page).nth(1).click()
    page.get_by_role("complementary").get_by_role("button", name="Put back").click()
    expect(page.get_by_role("button", name="Trash 1")).to_be_visible()
    tab(page, "Create")
    expect(strip(page)).to_have_count(1)
    expect(page.locator(".pic img")).to_have_attribute("src", PICTURE)


def test_what_create_deletes_is_no_longer_chosen_in_the_gallery(page):
    tab(page, "Gallery")
    tiles(page).first.click()
    panel = page.get_by_role("complementary", name="Chosen picture")
    expect(panel).to_have_class(re.compile("open"))
    tab(page, "Create")
    page.locator(".tools").get_by_role("button", name="Delete").click()
    expect(strip(page)).to_have_count(1)
    tab(page, "Gallery")
    expect(tiles(page)).to_have_count(1)
    expect(panel).not_to_have_class(re.compile("open"))

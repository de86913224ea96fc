"""A new user's way through the page with the shipped demo model: compose, generate, read the cost, find, restore.

With NEWBIE_UI_SHOTS=FOLDER the walk leaves its screenshots there (`make screenshots`).
"""

import base64
import colorsys
import io
import os
import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect
from served import browsing, opened, served

from newbie_ui.engine.build import make_engine

A_PICTURE_MS = 90_000  # on a busy machine; 20 steps take a few seconds on two free cores
BLUE, PINK = "chibi, blue_hair, long_hair, red_eyes", "chibi, pink_hair, twintails, green_eyes"


def shoot(page, name):
    folder = os.environ.get("NEWBIE_UI_SHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(400)
        Image.open(io.BytesIO(page.screenshot())).save(f"{folder}/{name}.webp", quality=88, method=6)


def field(page, number, name):
    return page.locator(f".ch.k{number} [data-name={name}] textarea")


def settled(page):
    page.wait_for_function("() => nb.state.doc && nb.state.doc.pending.length === 0")


def hair_shares(picture):
    """(blue, pink) shares of the strongly coloured pixels among all, where heads are: the upper two thirds."""
    heads = picture.convert("RGB").resize((48, 48)).crop((0, 8, 48, 34))
    pixels = [heads.getpixel((x, y)) for x in range(heads.width) for y in range(heads.height)]
    hues = [colorsys.rgb_to_hsv(*(v / 255 for v in pixel)) for pixel in pixels]
    blue = sum(0.58 < h < 0.68 and s > 0.6 for h, s, v in hues)
    pink = sum((h > 0.9 or h < 0.02) and 0.25 < s < 0.65 and v > 0.8 for h, s, v in hues)
    return blue / len(pixels), pink / len(pixels)


@pytest.mark.timeout(420)
def test_a_new_user_composes_generates_finds_and_restores(tmp_path):
    with served(tmp_path, make_engine) as (address, gallery, _), browsing() as browser:
        with opened(browser, address) as page:
            shoot(page, "first-visit")
            compose(page)
            generate(page)
            read_the_cost(page)
        (card,) = gallery.page().cards
        picture = gallery.path(card.id)
        check_the_picture(picture)
        with opened(browser, address) as page:
            find_it_in_the_gallery(page)
            restore_it(page)
        with opened(browser, address) as page:
            drop_the_file(page, picture)


def compose(page):
    field(page, 1, "appearance").fill(BLUE)
    field(page, 2, "appearance").fill(PINK)
    field(page, 2, "clothing").fill("red_dress")
    page.locator(".ch.k1 .hd [data-field=position]").select_option("center_left")
    page.locator(".ch.k2 .hd [data-field=position]").select_option("center_right")
    page.locator("#nb-p-seed").fill("7")
    page.locator("#nb-p-seed").press("Tab")
    settled(page)


def generate(page):
    page.locator("#nb-generate").click()
    expect(page.locator(".pv")).to_contain_text("Preview, step", timeout=A_PICTURE_MS)
    shoot(page, "running")
    expect(page.locator(".slot .facts")).to_be_visible(timeout=A_PICTURE_MS)
    page.wait_for_function("() => document.querySelector('.pic img').naturalWidth === 256")


def read_the_cost(page):
    stats = page.locator(".slot")
    expect(stats.locator(".big")).to_have_text(re.compile(r"\d+\.\d\d\s*s"))
    for part in ("Encode", "Denoise", "Decode", "In memory", "s/step", "Preset"):
        expect(stats).to_contain_text(part)
    shoot(page, "create-light")
    page.emulate_media(color_scheme="dark")  # the page goes along until somebody chooses
    expect(page.locator("body.dark")).to_be_attached()
    shoot(page, "create-dark")
    page.get_by_role("button", name="Light or dark").click()
    expect(page.locator("body.dark")).to_have_count(0)
    page.get_by_role("button", name="XML").click()
    shoot(page, "create-xml")
    page.get_by_role("button", name="Cards", exact=True).click()
    page.set_viewport_size({"width": 390, "height": 844})
    shoot(page, "create-phone")
    page.set_viewport_size({"width": 1440, "height": 900})


def check_the_picture(path):
    picture = Image.open(io.BytesIO(Path(path).read_bytes()))
    assert picture.size == (256, 256)
    left, right = hair_shares(picture.crop((0, 0, 128, 256))), hair_shares(picture.crop((128, 0, 256, 256)))
    assert left[0] > max(0.15, 3 * right[0]), f"blue hair is not on the left: {left}, {right}"
    assert right[1] > max(0.15, 3 * left[1]), f"pink hair is not on the right: {left}, {right}"


def find_it_in_the_gallery(page):
    page.get_by_role("tab", name="Gallery").first.click()
    tile = page.locator(".nb-g-tile")
    expect(tile).to_have_count(1)
    page.get_by_role("searchbox").fill("twintails")
    expect(tile).to_have_count(1)
    tile.click()
    panel = page.get_by_role("complementary", name="Chosen picture")
    expect(panel).to_contain_text("blue_hair")
    expect(panel).to_contain_text("s/step")
    shoot(page, "gallery-light")


def restore_it(page):
    page.get_by_role("tab", name="Create").first.click()
    field(page, 1, "appearance").fill("something else")
    settled(page)
    page.get_by_role("tab", name="Gallery").first.click()
    page.locator(".nb-g-tile").click()
    page.get_by_role("complementary", name="Chosen picture").get_by_role("button", name="Restore").click()
    the_form_is_back(page)


def drop_the_file(page, path):
    field(page, 1, "appearance").fill("something else")
    settled(page)
    dropped = page.evaluate_handle(
        """data => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
            transfer.items.add(new File([bytes], "any name.png", { type: "image/png" }));
            return transfer;
        }""",
        base64.b64encode(Path(path).read_bytes()).decode(),
    )
    page.locator(".pic").dispatch_event("dragenter", {"dataTransfer": dropped})
    page.locator(".pic").dispatch_event("drop", {"dataTransfer": dropped})
    the_form_is_back(page)


def the_form_is_back(page):
    expect(field(page, 1, "appearance")).to_have_value(BLUE, timeout=20_000)
    expect(field(page, 2, "appearance")).to_have_value(PINK)
    expect(field(page, 2, "clothing")).to_have_value("red_dress")
    expect(page.locator("#nb-p-seed")).to_have_value("7")

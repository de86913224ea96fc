"""The labelled sheet: what is drawn where, within which limits, and that any text at all can be a label."""

import weakref
from collections import Counter

import pytest
from PIL import Image, ImageChops

from newbie_ui.grid import lettering
from newbie_ui.grid.axes import Known
from newbie_ui.grid.lettering import font_for, printable, wrap
from newbie_ui.grid.plan import read_plan
from newbie_ui.grid.sheet import ALARM, PAPER, Tile, draw_sheet
from newbie_ui.request import GenerateRequest

BASE = GenerateRequest(prompt="a cat", seed=1)
COLOURS = ["#ff0000", "#00ff00", "#0000ff", "#ff00ff", "#00ffff", "#ffff00"]


def plan(x, y=None):
    return read_plan(BASE, x, y, Known())


def tiles(made, size=(64, 64)):
    """One plain colour a cell, in reading order."""

    def tile(number):
        return Tile(size, lambda: Image.new("RGB", size, COLOURS[number % len(COLOURS)]))

    across = len(made.columns)
    return {(cell.column, cell.row): tile(cell.row * across + cell.column) for cell in made.cells}


def areas(sheet):
    """{colour: pixels}"""
    return Counter({"#{:02x}{:02x}{:02x}".format(*colour): count for count, colour in sheet.getcolors(1 << 24)})


def box(sheet, colour):
    """The rectangle that holds all pixels of a colour."""
    solid = Image.new("RGB", sheet.size, colour)
    bands = ImageChops.difference(sheet, solid).split()
    farthest = ImageChops.lighter(ImageChops.lighter(bands[0], bands[1]), bands[2])
    return farthest.point(lambda value: 255 * (value == 0)).getbbox()


def test_every_picture_is_whole_and_at_its_place():
    made = plan(("steps", "10, 20, 30"), ("guidance_scale", "3, 4"))
    sheet = draw_sheet(made, tiles(made), "the caption")
    for colour in COLOURS:
        assert areas(sheet)[colour] == 64 * 64
    boxes = [box(sheet, colour) for colour in COLOURS]
    assert boxes[0][1] == boxes[1][1] == boxes[2][1] < boxes[3][1]
    assert boxes[0][0] == boxes[3][0] < boxes[1][0] == boxes[4][0]


def test_labels_are_drawn_above_the_columns_beside_the_rows_and_below():
    made = plan(("steps", "10, 20, 30"), ("guidance_scale", "3, 4"))
    sheet = draw_sheet(made, tiles(made), "the caption")
    pictures = [box(sheet, colour) for colour in COLOURS]
    left, top = pictures[0][:2]
    for column in pictures[:3]:
        assert has_ink(sheet.crop((column[0], 0, column[2], top)))
    for row in (pictures[0], pictures[3]):
        assert has_ink(sheet.crop((0, row[1], left, row[3])))
    assert has_ink(sheet.crop((0, pictures[5][3], sheet.width, sheet.height)))


def has_ink(part):
    return min(part.convert("L").getextrema()) < 120


def test_a_cell_that_failed_is_a_marked_box_with_its_reason():
    made = plan(("steps", "10, 20"))
    given = tiles(made, (128, 128)) | {(1, 0): Tile((1, 1), note="Out of memory. Use a smaller size.", failed=True)}
    sheet = draw_sheet(made, given)
    assert areas(sheet)[COLOURS[0]] == 128 * 128
    assert areas(sheet)[ALARM.lower()] > 4 * 127  # frame and letters
    assert draw_sheet(made, {}).size == draw_sheet(made, tiles(made, (256, 256))).size


def test_one_axis_goes_on_in_further_rows_that_have_labels_of_their_own():
    made = plan(("seed", "1-8"))
    sheet = draw_sheet(made, tiles(made))
    assert sum(areas(sheet)[colour] for colour in COLOURS) == 8 * 64 * 64
    assert sheet.width < 5 * 64 + 100
    first, fifth = box(sheet, COLOURS[2]), box(sheet, COLOURS[4])  # colours 3 and 5 appear once
    assert has_ink(sheet.crop((fifth[0], first[3], fifth[2], fifth[1])))


def test_columns_are_as_wide_as_their_pictures():
    made = plan(("size", "64x64, 128x64"), ("steps", "1"))
    sizes = {(0, 0): (64, 64), (1, 0): (128, 64)}
    given = {p: Tile(s, lambda s=s: Image.new("RGB", s, COLOURS[s[0] // 128])) for p, s in sizes.items()}
    sheet = draw_sheet(made, given)
    assert areas(sheet)[COLOURS[1]] == 128 * 64


@pytest.mark.parametrize("limits", [{"max_side": 600}, {"max_pixels": 200_000}])
def test_a_large_sheet_is_shrunk_to_the_limit_and_its_letters_stay_readable(limits):
    made = plan(("steps", "1-6"), ("guidance_scale", "1-6"))
    sheet = draw_sheet(made, tiles(made, (256, 256)), "a caption", **limits)
    assert max(sheet.size) <= limits.get("max_side", 10_000)
    assert sheet.width * sheet.height <= limits.get("max_pixels", 10**9)
    assert sheet.width * sheet.height > 0.6 * limits.get("max_pixels", 600 * 500)
    top = box(sheet, COLOURS[0])[1]
    assert has_ink(sheet.crop((0, 0, sheet.width, top)))


def test_pictures_are_opened_one_at_a_time():
    made = plan(("steps", "1, 2, 3"))
    opened = []

    def open_one():
        assert not [picture for picture in opened if picture() is not None]
        image = Image.new("RGB", (32, 32), "red")
        opened.append(weakref.ref(image))
        return image

    draw_sheet(made, {(c.column, c.row): Tile((32, 32), open_one) for c in made.cells})
    assert len(opened) == 3


@pytest.mark.parametrize(
    "text",
    [
        "<b>bold</b> & <script>alert(1)</script>",
        "セーラー服、赤いリボン",
        "学生服, 水手服",
        "\u202eright to left\u202c",
        "a\x00b\x1b[31m\ud800c",
        "👩‍🎤",
        "x" * 5000,
        "word " * 1000,
        "{a|b}",
    ],
)
def test_any_text_can_be_a_label(text):
    made = plan(("prompt", text + " | other"), ("negative_prompt", text))
    sheet = draw_sheet(made, tiles(made, (128, 128)), text)
    assert sheet.width < 3 * 128 + 200
    assert sheet.height < 128 + 400
    assert areas(sheet)[COLOURS[0]] == 128 * 128


def test_lines_stay_within_width_and_number_and_keep_every_word_that_fits():
    font = font_for(["a"], 16)
    text = "school_uniform, serafuku, white_shirt, blue_sailor_collar, blue_skirt, red_bow"
    lines = wrap(text, font, 150, 9)
    assert all(font.getlength(line) <= 150 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    short = wrap(text, font, 150, 2)
    assert len(short) == 2
    assert short[1].endswith("…")
    assert wrap("", font, 150, 2) == []
    assert wrap("abc", font, 1, 9) == ["a", "b", "c"]


def test_labels_lose_what_cannot_be_printed():
    assert printable("a\n\tb\u202e\x07 c\ud800") == "a b c"
    assert len(printable("x" * 9999)) == lettering.MAX_LABEL + 1


def test_the_built_in_font_serves_where_the_system_has_none(monkeypatch):
    monkeypatch.setattr(lettering, "SYSTEM_FONTS", ())
    lettering._system_font.cache_clear()
    made = plan(("prompt", "猫 | cat"))
    assert draw_sheet(made, tiles(made)).size
    lettering._system_font.cache_clear()


def test_the_ground_is_paper():
    made = plan(("steps", "10"))
    assert draw_sheet(made, tiles(made)).getpixel((0, 0)) == tuple(bytes.fromhex(PAPER[1:]))

"""One labelled picture of a whole grid.

Promises: every column and row has its label in readable size, long ones wrapped; cells that were not made are drawn as
boxes that say why; pictures are opened one at a time; the sheet stays within `MAX_SIDE` and `MAX_PIXELS`, its pictures
shrunk for that and its letters not. Text is only ever drawn. Does not know: where pictures come from.

A grid with one axis and more than `BAND` values goes on in further rows, each with its labels above it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from newbie_ui.grid.lettering import Font, font_for, line_height, printable, wrap
from newbie_ui.grid.plan import Plan

MAX_SIDE = 8192
MAX_PIXELS = 32_000_000
BAND = 6
LABEL_LINES = 4
SMALLEST_CELL = 40
PAPER, INK, SOFT, BOX, LINE, ALARM = "#F3F3F0", "#1C1E1D", "#666962", "#E9E9E5", "#C9C9C2", "#B3261E"
Place = tuple[int, int]  # column, row


@dataclass(frozen=True)
class Tile:
    """One cell: the size of its picture and how to open it (None where it is gone), or why there is none."""

    size: tuple[int, int]
    open: Callable[[], Image.Image | None] | None = None
    note: str = "not made"
    failed: bool = False


@dataclass(frozen=True)
class Band:
    """Columns that stand side by side, and the rows under them."""

    columns: Sequence[int]
    rows: Sequence[int]


@dataclass(frozen=True)
class Layout:
    """Everything's size in pixels, for one scale of the pictures."""

    widths: tuple[int, ...]  # of the places in a band
    heights: tuple[int, ...]  # of the rows
    font: Font
    small: Font
    gap: int
    left: int  # width of the row labels
    head: int  # height of a band's column labels
    top: int  # height of the axis names
    foot: int
    bands: tuple[Band, ...]

    @property
    def size(self) -> tuple[int, int]:
        margin = 2 * self.gap
        wide = 2 * margin + self.left + sum(self.widths) + self.gap * (len(self.widths) - 1)
        bands = sum(self.head + sum(self.heights[row] + self.gap for row in band.rows) for band in self.bands)
        return wide, 2 * margin + self.top + bands + self.foot


def draw_sheet(
    plan: Plan,
    tiles: Mapping[Place, Tile],
    caption: str = "",
    *,
    max_side: int = MAX_SIDE,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """The sheet of a plan. A place that `tiles` lacks is drawn as not made."""
    layout = _fitted(plan, tiles, caption, max_side, max_pixels)
    sheet = Image.new("RGB", layout.size, PAPER)
    draw = ImageDraw.Draw(sheet)
    margin = 2 * layout.gap
    left, y, across = margin + layout.left, margin, layout.size[0] - 4 * layout.gap - layout.left
    _lines(draw, (left, y), wrap(plan.x.label, layout.small, across, 1), layout.small, SOFT, width=across)
    if plan.y:
        name = wrap(plan.y.label, layout.small, layout.left - layout.gap, LABEL_LINES)
        above = layout.top + layout.head - layout.gap - len(name) * line_height(layout.small)
        _lines(draw, (margin, y + above), name, layout.small, SOFT)
    y += layout.top
    for band in layout.bands:
        y = _draw_band(sheet, draw, plan, tiles, layout, band, (left, y))
    width = layout.size[0] - 2 * margin
    _lines(draw, (margin, y), wrap(caption, layout.small, width, 3), layout.small, SOFT)
    return sheet


def _draw_band(sheet, draw, plan: Plan, tiles, layout: Layout, band: Band, corner: tuple[int, int]) -> int:
    """Labels and pictures of a band; returns where it ends."""
    left, y = corner
    x = left
    for place, column in enumerate(band.columns):
        label = wrap(plan.columns[column], layout.font, layout.widths[place], LABEL_LINES)
        below = layout.head - layout.gap - len(label) * line_height(layout.font)
        _lines(draw, (x, y + below), label, layout.font, INK, width=layout.widths[place])
        x += layout.widths[place] + layout.gap
    y += layout.head
    for row in band.rows:
        height, x = layout.heights[row], left
        if plan.y:
            label = wrap(plan.rows[row], layout.font, layout.left - layout.gap, LABEL_LINES * 2)
            above = max(0, height - len(label) * line_height(layout.font)) // 2
            _lines(draw, (left - layout.left, y + above), label, layout.font, INK)
        for place, column in enumerate(band.columns):
            tile = tiles.get((column, row)) or Tile((1, 1))
            _draw_tile(sheet, draw, tile, (x, y), (layout.widths[place], height), layout.small)
            x += layout.widths[place] + layout.gap
        y += height + layout.gap
    return y


def _draw_tile(sheet, draw, tile: Tile, corner: tuple[int, int], room: tuple[int, int], font: Font) -> None:
    x, y = corner
    image = tile.open() if tile.open is not None else None
    if image is not None:
        image = image.convert("RGB")
        scale = min(room[0] / image.width, room[1] / image.height, 1.0)
        if scale < 1.0:
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        sheet.paste(image, (x + (room[0] - image.width) // 2, y + (room[1] - image.height) // 2))
        return
    colour = ALARM if tile.failed else SOFT
    draw.rectangle((x, y, x + room[0] - 1, y + room[1] - 1), fill=BOX, outline=colour if tile.failed else LINE)
    lines = wrap(tile.note, font, room[0] - 12, max(1, (room[1] - 8) // line_height(font)))
    middle = y + (room[1] - len(lines) * line_height(font)) // 2
    _lines(draw, (x, middle), lines, font, colour, width=room[0])


def _lines(draw, corner: tuple[float, float], lines: Sequence[str], font: Font, colour: str, width: int = 0) -> None:
    """Lines under each other; centred where a width is given."""
    x, y = corner
    for line in lines:
        indent = (width - font.getlength(line)) / 2 if width else 0
        draw.text((x + indent, y), line, font=font, fill=colour)
        y += line_height(font)


# ---- sizes -----------------------------------------------------------------------------------------------------------


def _fitted(plan: Plan, tiles: Mapping[Place, Tile], caption: str, max_side: int, max_pixels: int) -> Layout:
    """The largest layout within the limits, or the smallest that can still be read."""
    scale = 1.0
    while True:
        layout = _layout(plan, tiles, caption, scale)
        width, height = layout.size
        too_much = max(width / max_side, height / max_side, math.sqrt(width * height / max_pixels))
        if too_much <= 1 or max(layout.widths) <= SMALLEST_CELL:
            return layout
        scale *= min(0.97, 1 / too_much)


def _layout(plan: Plan, tiles: Mapping[Place, Tile], caption: str, scale: float) -> Layout:
    bands = _bands(plan)
    widths, heights = _cells(plan, tiles, bands, scale)
    texts = [printable(text) for text in (*plan.columns, *plan.rows, plan.title, caption)]
    texts += [printable(tile.note) for tile in tiles.values() if tile.open is None]
    letter = min(56, max(13, min(widths) // 14))
    font, small = font_for(texts, letter), font_for(texts, max(12, round(letter * 0.8)))
    gap = max(4, letter // 3)
    left = _row_label_width(plan, font, small, min(widths)) + gap if plan.y else 0
    lines = max(
        len(wrap(plan.columns[column], font, widths[place], LABEL_LINES))
        for band in bands
        for place, column in enumerate(band.columns)
    )
    if plan.y:  # its name stands beside the column labels
        lines = max(lines, len(wrap(plan.y.label, small, left - gap, LABEL_LINES)))
    head = max(1, lines) * line_height(font) + gap
    wide = left + sum(widths) + gap * (len(widths) - 1)
    foot = len(wrap(caption, small, wide, 3)) * line_height(small)
    return Layout(widths, heights, font, small, gap, left, head, line_height(small), foot, bands)


def _bands(plan: Plan) -> tuple[Band, ...]:
    count, rows = len(plan.columns), range(len(plan.rows))
    if plan.y or count <= BAND:
        return (Band(range(count), rows),)
    long = math.ceil(count / math.ceil(count / BAND))
    return tuple(Band(range(first, min(first + long, count)), rows) for first in range(0, count, long))


def _cells(plan: Plan, tiles: Mapping[Place, Tile], bands: Sequence[Band], scale: float):
    """Widths of the places in a band and heights of the rows, each as large as its largest picture."""
    sizes = {place: tile.size for place, tile in tiles.items() if tile.open is not None}
    usual = next(iter(sizes.values()), (256, 256))

    def largest(side: int, places) -> int:
        natural = max((sizes[place][side] for place in places if place in sizes), default=usual[side])
        return max(SMALLEST_CELL, round(natural * scale))

    columns, rows = range(len(plan.columns)), range(len(plan.rows))
    if len(bands) > 1:
        widths = (largest(0, sizes),) * len(bands[0].columns)
    else:
        widths = tuple(largest(0, [(column, row) for row in rows]) for column in columns)
    return widths, tuple(largest(1, [(column, row) for column in columns]) for row in rows)


def _row_label_width(plan: Plan, font: Font, small: Font, cell: int) -> int:
    """As wide as the labels need, up to two thirds of a picture."""
    limit = max(90, cell * 2 // 3)
    needed = max(font.getlength(printable(label)) for label in plan.rows)
    words = (small.getlength(word) for word in printable(plan.y.label).split())
    return math.ceil(min(limit, max(needed, *words)) + 1)

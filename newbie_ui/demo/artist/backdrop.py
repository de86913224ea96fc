"""Ten places, and the hour: outdoors the sky, the light and the ground follow the time of day."""

from __future__ import annotations

import random
from collections.abc import Callable

from newbie_ui.demo.artist.look import OUTDOORS, Backdrop
from newbie_ui.demo.artist.palette import WALL, shade
from newbie_ui.demo.artist.svg import CANVAS, Pen, box, ellipse

SKY = {"day": ("#6db8f5", "#d6efff"), "sunset": ("#6a4a9c", "#f58a6c", "#ffd98a"), "night": ("#171c48", "#4a4a92")}
DIM = {"day": 0.0, "sunset": -0.18, "night": -0.5}


def draw_backdrop(pen: Pen, backdrop: Backdrop, rng: random.Random) -> None:
    everything = box(0, 0, CANVAS, CANVAS)
    if backdrop.place == "white":
        pen.fill(everything, "#ffffff")
    elif backdrop.place == "simple":
        pen.fill(everything, WALL[backdrop.wall])
    elif backdrop.place in OUTDOORS:
        pen.fill(everything, pen.gradient(0, CANVAS, SKY[backdrop.time]))
        _sky(pen, backdrop.time, rng, horizon=150 if backdrop.place == "beach" else 190)
        GROUNDS[backdrop.place](pen, lambda colour: shade(colour, DIM[backdrop.time]), rng)
    else:
        ROOMS[backdrop.place](pen, rng)


def _sky(pen: Pen, time: str, rng: random.Random, horizon: float) -> None:
    """Clouds by day, a low sun at sunset, moon and stars at night."""
    if time == "day":
        for _ in range(3):
            x, y, size = rng.uniform(10, 246), rng.uniform(14, 76), rng.uniform(0.7, 1.3)
            for dx, dy, r in ((-18, 2, 13), (0, -5, 18), (18, 2, 14)):
                pen.fill(ellipse(x + dx * size, y + dy * size, r * size, r * size * 0.8), "#ffffff", 0.92)
    elif time == "sunset":
        pen.fill(ellipse(rng.uniform(60, 196), horizon - 12, 40, 40), "#fff0b8")
    else:
        for _ in range(26):
            r = rng.uniform(0.9, 2.2)
            pen.fill(ellipse(rng.uniform(0, 256), rng.uniform(0, 150), r, r), "#fff6c8")
        pen.fill(ellipse(rng.uniform(30, 226), rng.uniform(26, 50), 19, 19), "#fff0b0")


Tint = Callable[[str], str]


def _open_sky(pen: Pen, tint: Tint, rng: random.Random) -> None:
    """A roof terrace: mostly sky."""
    pen.fill(box(0, 222, 256, 256), tint("#c9d6e6"))
    pen.fill(box(0, 222, 256, 226), tint("#9fb2c8"))


def _beach(pen: Pen, tint: Tint, rng: random.Random) -> None:
    pen.fill(box(0, 150, 256, 206), tint("#3fa4e0"))
    pen.line("M20 166H70M130 176H190M60 186H110", tint("#a8dcf7"), 2.4)
    pen.fill("M0 200Q64 190 128 200Q192 210 256 198L256 256L0 256Z", tint("#f7e3b0"))


def _field(pen: Pen, tint: Tint, rng: random.Random) -> None:
    pen.fill("M0 196Q70 170 140 190Q200 204 256 184L256 256L0 256Z", tint("#86cf6c"))
    for _ in range(14):
        x, y = rng.uniform(6, 250), rng.uniform(206, 252)
        pen.fill(ellipse(x, y, 3, 2.4), tint(rng.choice(("#ffffff", "#ffe066", "#ff9ec0"))))


def _cherry_blossoms(pen: Pen, tint: Tint, rng: random.Random) -> None:
    pen.fill(box(0, 212, 256, 256), tint("#b7dd9c"))
    pen.line("M22 216Q30 120 8 20M234 216Q226 120 250 20", tint("#7a5140"), 12)
    blossom = tint("#ffb7cf")
    for x, y, r in ((10, 8, 48), (66, -6, 42), (200, -8, 46), (250, 18, 48), (128, -18, 40)):
        pen.fill(ellipse(x, y, r, r * 0.8), blossom, 0.95)
    for _ in range(20):
        pen.fill(ellipse(rng.uniform(0, 256), rng.uniform(30, 250), 3.4, 2.4), tint("#ff9dbd"), 0.9)


def _snow(pen: Pen, tint: Tint, rng: random.Random) -> None:
    for x in (34, 222):
        pen.fill(f"M{x} 110L{x + 34} 200L{x - 34} 200Z", tint("#4d8a72"))
        pen.fill(f"M{x} 110L{x + 14} 147Q{x} 140 {x - 14} 147Z", tint("#f4f8ff"))
    pen.fill("M0 194Q64 184 128 194Q192 204 256 190L256 256L0 256Z", tint("#f4f8ff"))
    for _ in range(30):
        pen.fill(ellipse(rng.uniform(0, 256), rng.uniform(0, 230), 2.6, 2.6), "#ffffff", 0.95)


def _city(pen: Pen, tint: Tint, rng: random.Random) -> None:
    x = -8.0
    while x < CANVAS:
        wide, top = rng.uniform(30, 46), rng.uniform(70, 138)
        pen.fill(box(x, top, x + wide - 3, 214), tint(rng.choice(("#8d9bb8", "#a3abc2", "#7c8aa8"))))
        windows = "".join(box(wx, wy, wx + 7, wy + 9) for wx in (x + 6, x + 19) for wy in range(int(top) + 8, 200, 20))
        pen.fill(windows, "#ffe9a0")
        x += wide
    pen.fill(box(0, 212, 256, 256), tint("#8a8d99"))
    pen.fill(box(0, 212, 256, 217), tint("#c3c6d0"))


GROUNDS: dict[str, Callable[[Pen, Tint, random.Random], None]] = {
    "sky": _open_sky,
    "beach": _beach,
    "field": _field,
    "cherry_blossoms": _cherry_blossoms,
    "snow": _snow,
    "city": _city,
}


def _classroom(pen: Pen, rng: random.Random) -> None:
    pen.fill(box(0, 0, 256, 256), "#f6ecd6")
    pen.shape(box(30, 20, 226, 112), "#3f7a5c", 5)
    pen.line("M44 40Q60 34 76 42M48 56H92", "#dff0e4", 2.2, 0.8)
    pen.fill(box(0, 196, 256, 256), "#d3a871")
    pen.line("M0 196L256 196", "#a87f4f", 3)


def _library(pen: Pen, rng: random.Random) -> None:
    pen.fill(box(0, 0, 256, 256), "#6b4630")
    colours = ("#c4524a", "#4a6fc4", "#e0b04a", "#5a9a68", "#8a62b8", "#e8dcc0")
    for shelf in (62, 132, 202):
        x = 4.0
        while x < 248:
            wide, high = rng.uniform(13, 20), rng.uniform(40, 54)
            pen.fill(box(x, shelf - high, min(x + wide - 2, 252), shelf), rng.choice(colours))
            x += wide
        pen.fill(box(0, shelf, 256, shelf + 7), "#4a2f20")
    pen.fill(box(0, 209, 256, 256), "#a87850")


ROOMS: dict[str, Callable[[Pen, random.Random], None]] = {"classroom": _classroom, "library": _library}

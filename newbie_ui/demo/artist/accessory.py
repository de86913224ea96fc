"""Things on the head: ears, hats, ornaments, and glasses. Coordinates are the head's own (see hair.py)."""

from __future__ import annotations

import math
from collections.abc import Callable

from newbie_ui.demo.artist.hair import ribbon_colour
from newbie_ui.demo.artist.look import CharacterLook
from newbie_ui.demo.artist.palette import HAIR, shade
from newbie_ui.demo.artist.svg import Pen, ellipse


def _hair_bow(pen: Pen, look: CharacterLook) -> None:
    colour = ribbon_colour(look)
    with pen.moved("translate(30 13) rotate(18)"):
        pen.both_sides(lambda side: pen.shape("M0 0C9-18 29-18 28 0C29 16 9 16 0 0Z", colour))
        pen.shape(ellipse(0, 0, 6.4, 6.4), colour)


def _hair_flower(pen: Pen, look: CharacterLook) -> None:
    petal = "#ffffff" if look.hair not in ("white", "grey") else "#ff8fb6"
    for k in range(5):
        angle = k * math.tau / 5
        pen.shape(ellipse(37 + 9.5 * math.sin(angle), 25 - 9.5 * math.cos(angle), 8, 8), petal, 1.5, edge=-0.4)
    pen.fill(ellipse(37, 25, 6, 6), "#f4cd52")


def _hairband(pen: Pen, look: CharacterLook) -> None:
    colour = ribbon_colour(look)
    pen.line("M-53 46C-45 6 45 6 53 46", shade(colour, -0.45), 11.5)
    pen.line("M-53 46C-45 6 45 6 53 46", colour, 8)


def _headphones(pen: Pen, look: CharacterLook) -> None:
    pen.line("M-55 70C-63-10 63-10 55 70", "#3b3b48", 7.5)
    pen.both_sides(lambda side: pen.shape(ellipse(54, 76, 10.5, 16), ribbon_colour(look)))
    pen.both_sides(lambda side: pen.fill(ellipse(55, 71, 3.4, 6), "#ffffff", 0.5))


def _cat_ears(pen: Pen, look: CharacterLook) -> None:
    colour = HAIR[look.hair]
    fur = pen.gradient(-18, 34, (colour, shade(colour, -0.22)))
    pen.both_sides(lambda side: pen.shape("M14 14Q32-20 49-18Q57 6 51 36Z", colour, paint=fur))
    pen.both_sides(lambda side: pen.fill("M26 11Q36-9 45-9Q49 8 46 25Z", "#ffa9bf"))


def _rabbit_ears(pen: Pen, look: CharacterLook) -> None:
    colour = HAIR[look.hair]
    fur = pen.gradient(-34, 20, (colour, shade(colour, -0.15)))
    pen.both_sides(lambda side: pen.shape("M10 14C0-22 14-44 28-38C42-30 36-6 28 18Z", colour, paint=fur))
    pen.both_sides(lambda side: pen.fill("M16 8C11-16 18-32 26-30C33-24 29-6 24 10Z", "#ffa9bf"))


def _witch_hat(pen: Pen, look: CharacterLook) -> None:
    pen.shape("M-37 24C-22 2-14-26 22-36C12-18 31 4 37 24Z", "#47398a")
    pen.shape("M-70 38Q0-4 70 38Q0 14-70 38Z", "#47398a")
    pen.line("M-35 20Q0 4 35 20", "#f4cd52", 6)


def _straw_hat(pen: Pen, look: CharacterLook) -> None:
    pen.shape("M-38 24C-38-22 38-22 38 24Z", "#f2d68c")
    pen.shape("M-70 38Q0-8 70 38Q0 16-70 38Z", "#f2d68c")
    pen.line("M-37 18Q0 3 37 18", ribbon_colour(look), 7)


def _beret(pen: Pen, look: CharacterLook) -> None:
    pen.shape("M-50 30C-66 4-30-18 8-16C48-14 66 8 50 28Q0 10-50 30Z", "#a8324a")
    pen.line("M-48 29Q0 11 48 27", "#7a2034", 4)
    pen.line("M4-16L8-24", "#7a2034", 4)


def _crown(pen: Pen, look: CharacterLook) -> None:
    pen.shape("M-26 20L-31-14L-14 0L0-20L14 0L31-14L26 20Q0 11-26 20Z", "#f7c530")
    for x, y, colour in ((-15, 9, "#3f6cd8"), (0, 5, "#d8434a"), (15, 9, "#3f6cd8")):
        pen.fill(ellipse(x, y, 4, 4), colour)


ACCESSORIES: dict[str, Callable[[Pen, CharacterLook], None]] = {
    "hair_bow": _hair_bow,
    "hair_flower": _hair_flower,
    "hairband": _hairband,
    "headphones": _headphones,
    "cat_ears": _cat_ears,
    "rabbit_ears": _rabbit_ears,
    "witch_hat": _witch_hat,
    "straw_hat": _straw_hat,
    "beret": _beret,
    "crown": _crown,
}


def draw_accessory(pen: Pen, look: CharacterLook) -> None:
    if look.accessory != "none":
        ACCESSORIES[look.accessory](pen, look)


def draw_glasses(pen: Pen, look: CharacterLook) -> None:
    lean = {"viewer": 0, "left": -4, "right": 4}[look.gaze]
    with pen.moved(f"translate({lean} 0)"):
        pen.both_sides(lambda side: pen.line(ellipse(22, 80, 17, 16), "#2b2833", 3.2))
        pen.line("M-6 79Q0 75 6 79", "#2b2833", 3.2)

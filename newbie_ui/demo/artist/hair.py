"""Hair: what lies behind the head, what falls in front of it, and the ten styles between.

All coordinates are the head's own: x 0 is the middle of the face, y 6 the crown, y 114 the chin.
"""

from __future__ import annotations

from newbie_ui.demo.artist.look import CharacterLook
from newbie_ui.demo.artist.palette import CLOTH, HAIR, shade
from newbie_ui.demo.artist.svg import Pen, ellipse

HATS = ("witch_hat", "straw_hat", "beret")
FRINGE = {
    "bangs": "Q44 60 40 52Q40 66 30 72Q30 58 22 50Q20 64 8 70Q12 58 4 48Q-2 62-14 69Q-12 58-16 49"
    "Q-22 64-34 73Q-34 60-38 52Q-42 62-46 70",
    "blunt_bangs": "L43 54L41 62Q0 68-41 62L-43 54L-46 70",
    "swept_bangs": "Q44 58 34 44Q10 66-40 72Q-34 66-32 60Q-40 64-46 70",
    "parted_bangs": "Q40 70 36 72Q34 50 2 34Q-34 50-36 72Q-40 70-46 70",
}
CROWN = "M-53 88C-62 36-40 6 0 6C40 6 62 36 53 88Q48 84 46 70"
SPIKES = (
    "M-54 90L-66 76L-54 70L-70 50L-54 47L-64 20L-45 25L-42-2L-22 13L-8-12L8 9L28-8L33 15L54 5L51 31L68 34L57 53"
    "L70 66L55 72L54 90Q48 84 46 70"
)
SHINE = "M-47 43Q0 14 47 43L43 49Q37 42 32 45Q27 36 18 40Q8 31-4 38Q-16 33-24 42Q-34 39-43 49Z"
STRANDS = "M2 8Q-12 26-16 48M4 8Q20 26 22 48M6 8Q38 20 40 50M-2 8Q-36 20-38 50"


def ribbon_colour(look: CharacterLook) -> str:
    """Bows, hair ties and sashes: red, unless the clothes are reddish already."""
    return CLOTH["blue"] if look.colour in ("red", "pink") else CLOTH["red"]


def _tones(look: CharacterLook) -> tuple[str, str, str]:
    colour = HAIR[look.hair]
    return shade(colour, 0.3), colour, shade(colour, -0.22)


def _long_back(bottom: int) -> str:
    y = bottom
    return (
        f"M-50 50C-66 90-50 {y - 40}-60 {y - 8}Q-50 {y - 4}-44 {y - 14}Q-40 {y + 4}-24 {y}Q-18 {y - 8}-12 {y - 10}"
        f"Q0 {y + 6} 14 {y - 8}Q20 {y + 2} 28 {y}Q40 {y} 44 {y - 14}Q52 {y - 4} 60 {y - 8}C50 {y - 40} 66 90 50 50Z"
    )


BACK = {
    "long_hair": _long_back(160),
    "very_long_hair": _long_back(204),
    "bob_cut": "M-50 40C-66 80-68 106-62 120Q-46 130-28 117L28 117Q46 130 62 120C68 106 66 80 50 40Z",
}
SHORT_BACK = (
    "M-50 40C-60 68-56 90-50 101Q-45 99-40 96Q-34 107-24 105L24 105Q34 107 40 96Q45 99 50 101C56 90 60 68 50 40Z"
)


def draw_back(pen: Pen, look: CharacterLook) -> None:
    """The mass behind the head and everything that hangs behind the body."""
    light, colour, dark = _tones(look)
    back = pen.gradient(10, 200, (colour, dark, shade(dark, -0.15)))
    tail = pen.gradient(0, 170, (light, colour, dark))
    strand = shade(colour, -0.5)
    if look.style == "ponytail":
        pen.shape(
            "M-4 12C4-28 62-34 78 14C90 52 82 88 92 122Q82 120 78 110Q74 122 64 122"
            "C68 96 64 70 58 48C52 28 34 22 12 28Z",
            colour,
            paint=tail,
        )
        pen.line("M30 0C62 2 70 44 76 96", strand, 1.4, 0.6)
    if look.style == "twintails":
        pen.both_sides(lambda side: _twintail(pen, colour, tail, strand))
    pen.shape(BACK.get(look.style, SHORT_BACK), dark, paint=back)
    if look.style == "ponytail":
        pen.shape(ellipse(16, 10, 13, 8), ribbon_colour(look))


def _twintail(pen: Pen, colour: str, tail: str, strand: str) -> None:
    pen.shape(
        "M44 32C74 16 94 70 82 110C78 132 86 148 79 168Q72 162 71 154Q67 164 59 165"
        "C65 148 54 132 56 108C58 82 58 64 44 52Z",
        colour,
        paint=tail,
    )
    pen.line("M60 46C76 68 70 108 70 138", strand, 1.4, 0.6)


def draw_front(pen: Pen, look: CharacterLook) -> None:
    """Fringe, side locks and the styles that come forward over the shoulders."""
    light, colour, dark = _tones(look)
    strand, ribbon = shade(colour, -0.5), ribbon_colour(look)
    gradient = pen.gradient(5, 120, (light, colour, dark))
    if look.style == "double_bun":
        lowered = "translate(16 46)" if look.accessory in (*HATS, "cat_ears") else "translate(0 0)"
        pen.both_sides(lambda side: _bun(pen, colour, gradient, strand, lowered))
    if look.gender == "girl" and look.style not in ("double_bun", "short_hair", "spiked_hair"):
        lock = "M43 54C47 80 41 94 47 114Q56 102 56 84C57 66 54 56 50 46Z"
        pen.both_sides(lambda side: pen.shape(lock, colour, paint=gradient))
    spiked = look.style == "spiked_hair"
    pen.shape((SPIKES if spiked else CROWN) + FRINGE[look.bangs] + "Q-48 84-53 88Z", colour, paint=gradient)
    pen.fill(SHINE, shade(colour, 0.62), 0.65)
    pen.line(STRANDS, strand, 1.3, 0.45)
    if look.ahoge and look.accessory not in (*HATS, "crown"):
        pen.shape("M-2 10C-6-8 10-14 18-6C8-8 4 0 6 9Z", colour, 1.8)
    if look.style == "twintails":
        pen.both_sides(lambda side: pen.shape(ellipse(49, 43, 8, 8), ribbon))
    elif look.style == "side_ponytail":
        _side_ponytail(pen, colour, pen.gradient(40, 170, (light, colour, dark)), strand, ribbon)
    elif look.style == "twin_braids":
        pen.both_sides(lambda side: _braid(pen, colour, ribbon))


def _bun(pen: Pen, colour: str, gradient: str, strand: str, transform: str) -> None:
    """A bun on the head, or beside it where a hat or ears take the place."""
    with pen.moved(transform):
        pen.shape(ellipse(39, 12, 20, 18), colour, paint=gradient)
        pen.line("M29 6Q45 0 51 17M34 14Q42 9 45 18", strand, 1.4, 0.6)


def _side_ponytail(pen: Pen, colour: str, gradient: str, strand: str, ribbon: str) -> None:
    pen.shape(
        "M-45 72C-78 66-88 104-76 132C-72 148-78 158-70 170Q-62 162-61 154Q-54 164-46 162"
        "C-54 142-48 120-50 104C-51 96-48 92-42 88Z",
        colour,
        paint=gradient,
    )
    pen.line("M-58 86C-70 104-62 132-62 150", strand, 1.4, 0.6)
    pen.shape(ellipse(-49, 80, 8.5, 8.5), ribbon)


def _braid(pen: Pen, colour: str, ribbon: str) -> None:
    for i in range(5):
        pen.shape(ellipse(47 + (i % 2) * 4, 104 + i * 11.5, 10 - i * 0.4, 8.4), colour, 1.8)
    pen.shape(ellipse(49, 162, 6, 5), ribbon, 1.5)

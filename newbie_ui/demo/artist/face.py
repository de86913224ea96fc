"""Faces: large gradient eyes with two highlights, brows that show through the fringe, and nine expressions.

A gaze moves pupils and features a little to one side. Coordinates are the head's own (see hair.py).
"""

from __future__ import annotations

from newbie_ui.demo.artist.look import CharacterLook
from newbie_ui.demo.artist.palette import EYES, HAIR, SKIN, shade
from newbie_ui.demo.artist.svg import Pen, ellipse

FACE = "M-45 60C-47 88-32 106 0 114C32 106 47 88 45 60C44 24-44 24-45 60Z"
MOUTH_LINE, MOUTH_RED = "#8f323d", "#b83f4c"
BROWS = {
    "angry": "M7 65L32 51",
    "frown": "M9 52Q19 53 33 62",
    "crying": "M9 52Q19 53 33 62",
    "surprised": "M11 50Q21 42 32 50",
    "expressionless": "M10 57L32 57",
}
MOUTHS = {
    "smile": "M-9 97Q0 107 9 97",
    "frown": "M-9 105Q0 95 9 105",
    "angry": "M-10 104L-5 99L0 104L5 99L10 104",
    "crying": "M-9 105Q-5 97 0 102Q5 97 9 105",
    "expressionless": "M-8 101L8 101",
}
GRIN = "M-10 95.5Q0 98.5 10 95.5Q9 109 0 109Q-9 109-10 95.5Z"


def draw_head(pen: Pen, look: CharacterLook) -> None:
    """Neck, ears and the bare face, before the features."""
    skin = SKIN[look.skin]
    pen.fill("M-6 106L6 106L7 122Q0 126-7 122Z", shade(skin, -0.14))
    pen.both_sides(lambda side: pen.shape(ellipse(45, 80, 6, 9), skin, 1.8))
    pen.shape(FACE, skin, paint=pen.gradient(50, 116, (shade(skin, -0.1), skin, skin), (0, 0.25, 1)))


def draw_features(pen: Pen, look: CharacterLook) -> None:
    """Blush, eyes, nose and mouth; they lean towards where the character looks."""
    lean = {"viewer": 0, "left": -4, "right": 4}[look.gaze]
    with pen.moved(f"translate({lean} 0)"):
        pen.both_sides(lambda side: pen.fill(ellipse(31, 95, 9, 5), "#ff7a8a", 0.42))
        pen.both_sides(lambda side: _eye(pen, look, side, lean))
        pen.fill("M-1.5 90L1.5 90L0 92.5Z", shade(SKIN[look.skin], -0.35))
        _mouth(pen, look)


def _lash_colour(look: CharacterLook) -> str:
    return "#4a4050" if look.hair in ("white", "blonde", "grey") else shade(HAIR[look.hair], -0.72)


def _eye(pen: Pen, look: CharacterLook, side: int, lean: int) -> None:
    """The right eye; the left one is its mirror image, so `side` keeps highlights and gaze unmirrored."""
    lash, mood = _lash_colour(look), look.expression
    if mood == "closed_eyes" or (mood == "one_eye_closed" and side > 0):
        pen.line("M9 84Q21 69 34 84", lash, 3.4)
        return
    boy = look.gender == "boy"
    high = 16.5 if mood == "surprised" else 10.5 if mood == "expressionless" else 13 if boy else 15
    colour, x, y = EYES[look.eyes], 21.5 + 0.6 * lean * side, 78
    pen.fill(ellipse(21.5, y, 12.6, high), "#ffffff")
    wide = 7.4 if mood == "surprised" else 10.2
    iris = pen.gradient(y - high, y + high, (shade(colour, -0.5), colour, shade(colour, 0.45)), (0, 0.45, 1))
    pen.fill(ellipse(x, y + 0.6, wide, high - 0.8), iris)
    pen.fill(ellipse(x, y, 3.6, high * 0.36), shade(colour, -0.75))
    pen.fill(ellipse(x - 4 * side, y - high * 0.42, 4.2, high * 0.3), "#ffffff")
    pen.fill(ellipse(x + 4 * side, y + high * 0.5, 2.4, 2.6), "#ffffff", 0.9)
    wing = "" if boy else f"L37.5 {y - high * 0.8:.1f}"
    pen.line(f"M8.5 {y - high * 0.5:.1f}Q20 {y - high * 1.24:.1f} 33.5 {y - high * 0.45:.1f}{wing}", lash, 3.8)
    pen.line(f"M15 {y + high:.1f}Q22 {y + high + 1.4:.1f} 28 {y + high - 1:.1f}", lash, 1.4, 0.7)
    if mood == "crying":
        _tear(pen, y + high)


def _tear(pen: Pen, top: float) -> None:
    pen.shape(f"M22 {top - 3}Q38 {top + 12} 30 {top + 17}Q20 {top + 19} 20 {top + 9}Z", "#62b4f4", 1.4, edge=-0.25)
    pen.fill(ellipse(25, top + 10, 2, 3.4), "#ffffff", 0.9)


def _mouth(pen: Pen, look: CharacterLook) -> None:
    if look.expression in ("open_mouth", "closed_eyes", "one_eye_closed"):
        pen.fill(GRIN, MOUTH_RED)
        pen.fill(ellipse(0, 106, 5.6, 2.8), "#ff8f94")
        pen.line(GRIN, MOUTH_LINE, 1.9)
    elif look.expression == "surprised":
        pen.shape(ellipse(0, 102, 5, 6.6), MOUTH_RED, 1.9)
    else:
        pen.line(MOUTHS[look.expression], MOUTH_LINE, 2.8)


def draw_brows(pen: Pen, look: CharacterLook) -> None:
    """Brows, and the red mark of anger: both drawn over the fringe, as manga does."""
    strong = look.expression in ("angry", "frown", "crying")
    colour = "#83838f" if look.hair == "white" else shade(HAIR[look.hair], -0.55)
    brow = BROWS.get(look.expression, "M11 58Q21 52 32 58")
    pen.both_sides(lambda side: pen.line(brow, colour, 3.6 if strong else 2.5, 0.9))
    if look.expression == "angry":
        pen.line("M33 38Q39 36 38 29M52 38Q46 36 47 29M33 44Q39 46 38 53M52 44Q46 46 47 53", "#ffffff", 6)
        pen.line("M33 38Q39 36 38 29M52 38Q46 36 47 29M33 44Q39 46 38 53M52 44Q46 46 47 53", "#e3222f", 3.6)

"""Bodies: legs in three poses, nine outfits, and arms that act.

Coordinates are the character's own: y 119 the shoulders, y 160 the waist, y 234 the ground.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from newbie_ui.demo.artist.hair import ribbon_colour
from newbie_ui.demo.artist.look import CharacterLook
from newbie_ui.demo.artist.palette import CLOTH, SKIN, shade
from newbie_ui.demo.artist.svg import Pen, ellipse

TORSO = "M-17 119Q-23 120-22 130L-18 162L18 162L22 130Q23 120 17 119Z"
SKIRT = "M-17 158L17 158Q26 174 35 188Q17 195 0 194Q-17 195-35 188Z"
PANTS = "M-18 158L18 158L21 195L3 195L0 177L-3 195L-21 195Z"
ROBE = "M-17 119Q-22 120-21 130L-16 156C-26 170-36 184-41 201Q0 213 41 201C36 184 26 170 16 156L21 130Q22 120 17 119Z"
COLLAR = "M-8 119Q0 128 8 119Z"
STAR = "M0 131L3.4 139L12 139.6L5.6 145L7.6 153L0 148.6L-7.6 153L-5.6 145L-12 139.6L-3.4 139Z"
DARK_CLOTH, WHITE, GOLD = "#46465a", "#fbfbff", "#f4cd52"


# ---- legs
def _stockings(look: CharacterLook) -> tuple[str, str]:
    """Colours of socks (skin: none) and shoes."""
    if look.outfit in ("serafuku", "dress"):
        return "#ffffff", "#6b4a3a"
    if look.outfit in ("suit", "maid", "cape"):
        return "#393946", "#2f2c38"
    return SKIN[look.skin], shade(CLOTH[look.colour], -0.35)


def draw_legs(pen: Pen, look: CharacterLook) -> None:
    sock, shoe = _stockings(look)
    skin = DARK_CLOTH if look.gender == "boy" and look.outfit in ("suit", "hoodie") else SKIN[look.skin]
    if look.outfit == "overalls":
        skin = sock = CLOTH[look.colour]
    if look.pose == "sitting":
        pen.both_sides(lambda side: _leg_forward(pen, skin, sock, shoe))
    elif look.pose == "jumping":
        pen.both_sides(lambda side: _leg_bent(pen, skin, sock, shoe))
    else:
        pen.both_sides(lambda side: _leg_straight(pen, skin, sock, shoe))


def _leg_straight(pen: Pen, skin: str, sock: str, shoe: str) -> None:
    pen.limb("M11 176L12 222", skin, 9)
    if sock != skin:
        pen.limb("M11.7 206L12 222", sock, 9)
    pen.shape("M5 221L18 221Q25 233 14 233L7 233Q2 232 5 221Z", shoe)


def _leg_bent(pen: Pen, skin: str, sock: str, shoe: str) -> None:
    pen.limb("M11 176L22 200L14 214", skin, 9)
    if sock != skin:
        pen.limb("M20 203L14 214", sock, 9)
    pen.shape("M6 212L18 217Q18 229 8 226L2 222Q0 216 6 212Z", shoe)


def _leg_forward(pen: Pen, skin: str, sock: str, shoe: str) -> None:
    """Sitting: the legs come towards the viewer. The upper body has been lowered by then."""
    pen.limb("M12 196Q22 204 24 216", skin, 10)
    if sock != skin:
        pen.limb("M23 211L24 216", sock, 10)
    pen.shape(ellipse(26, 223, 9.5, 10.5), shoe)
    pen.fill(ellipse(26, 226, 5.5, 5), shade(shoe, 0.35), 0.6)


# ---- outfits
def _lower(pen: Pen, look: CharacterLook, colour: str) -> None:
    """Trousers for boys, a skirt for girls."""
    paint = pen.gradient(158, 194, (colour, shade(colour, -0.18)))
    pen.shape(PANTS if look.gender == "boy" else SKIRT, colour, paint=paint)


def _upper(pen: Pen, colour: str, path: str = TORSO, bottom: int = 166) -> None:
    pen.shape(path, colour, paint=pen.gradient(119, bottom, (colour, shade(colour, -0.18))))


def _serafuku(pen: Pen, look: CharacterLook, cloth: str) -> None:
    ribbon = ribbon_colour(look)
    _lower(pen, look, cloth)
    if look.gender == "girl":
        pen.line("M-10 162L-21 190M-3.5 162L-7 191M3.5 162L7 191M10 162L21 190", shade(cloth, -0.4), 1.4, 0.7)
    pen.shape(TORSO, WHITE, edge=-0.35)
    pen.shape("M-19 119L19 119L21 133Q8 135 0 144Q-8 135-21 133Z", cloth)
    pen.both_sides(lambda side: pen.shape("M0 141L12 134L12 151Z", ribbon, 1.6))
    pen.shape(ellipse(0, 142, 3.6, 3.6), ribbon, 1.4)


def _dress(pen: Pen, look: CharacterLook, cloth: str) -> None:
    pen.shape(ROBE, cloth, paint=pen.gradient(119, 204, (shade(cloth, 0.12), cloth, shade(cloth, -0.18))))
    pen.line("M-37 195Q0 207 37 195", "#ffffff" if look.colour != "white" else "#f59ab8", 4)
    pen.line("M-16 157Q0 162 16 157", shade(cloth, -0.35), 4)
    pen.shape(COLLAR, SKIN[look.skin], 1.2)


def _maid(pen: Pen, look: CharacterLook, cloth: str) -> None:
    pen.shape(ROBE, cloth, paint=pen.gradient(119, 204, (shade(cloth, 0.12), cloth, shade(cloth, -0.18))))
    pen.shape("M-10 124L10 124L11 156Q22 172 24 191Q0 201-24 191Q-22 172-11 156Z", "#ffffff", edge=-0.35)
    pen.line("M-24 191Q0 201 24 191", "#d5d7e4", 3)
    pen.both_sides(lambda side: pen.shape("M0 122L9 117L9 127Z", ribbon_colour(look), 1.4))


def _hoodie(pen: Pen, look: CharacterLook, cloth: str) -> None:
    _lower(pen, look, DARK_CLOTH if look.gender == "boy" else "#5a5a70")
    _upper(pen, cloth, "M-18 119Q-26 120-25 132L-24 174Q0 180 24 174L25 132Q26 120 18 119Z", 178)
    pen.shape("M-21 121Q0 141 21 121Q10 114 0 114Q-10 114-21 121Z", shade(cloth, -0.18))
    pen.line("M-13 172L-9 157L9 157L13 172", shade(cloth, -0.4), 1.8)
    pen.line("M-5 131L-6 145M5 131L6 145", "#ffffff" if look.colour != "white" else "#8a8a9c", 2)


def _t_shirt(pen: Pen, look: CharacterLook, cloth: str) -> None:
    _lower(pen, look, "#4a5a86")
    _upper(pen, cloth)
    pen.shape(COLLAR, SKIN[look.skin], 1.2)
    pen.fill(STAR, "#ffffff" if look.colour not in ("white", "yellow") else "#ef8f2e")


def _kimono(pen: Pen, look: CharacterLook, cloth: str) -> None:
    sash = ribbon_colour(look)
    pen.shape(
        "M-18 119L-27 213Q0 219 27 213L18 119Z",
        cloth,
        paint=pen.gradient(119, 214, (shade(cloth, 0.1), cloth, shade(cloth, -0.18))),
    )
    pen.line("M-12 118L4 147M12 118L-4 147", "#ffffff" if look.colour != "white" else "#9a9ab0", 3.6)
    pen.line("M4 166L8 212", shade(cloth, -0.35), 1.6)
    dots = "#ffffff" if look.colour != "white" else "#f59ab8"
    for x, y, r in ((-15, 190, 4.4), (15, 202, 5), (-7, 205, 3.4), (13, 180, 3)):
        pen.fill(ellipse(x, y, r, r), dots, 0.8)
    pen.shape("M-22 146L22 146L23 164L-23 164Z", sash)
    pen.line("M-22 155L22 155", "#ffffff", 2.6)


def _suit(pen: Pen, look: CharacterLook, cloth: str) -> None:
    _lower(pen, look, DARK_CLOTH)
    _upper(pen, cloth)
    pen.shape("M-10 118L10 118L0 146Z", "#ffffff", 1.4, edge=-0.3)
    pen.shape("M-3.4 121L3.4 121L4.4 139L0 145L-4.4 139Z", ribbon_colour(look), 1.2)
    pen.line("M-10 119L0 147L10 119", shade(cloth, -0.45), 2)
    pen.fill(ellipse(0, 155, 2.2, 2.2), GOLD)


def _overalls(pen: Pen, look: CharacterLook, cloth: str) -> None:
    pen.shape(TORSO, WHITE, edge=-0.35)
    pen.line("M-19 130L19 130M-19 138L19 138M-18 146L18 146", "#b9bccb", 2.2)
    pen.shape(PANTS, cloth)
    pen.shape("M-12 136L12 136L16 162L-16 162Z", cloth)
    pen.line("M-13 120L-10 138M13 120L10 138", shade(cloth, -0.12), 4.6)
    pen.fill(ellipse(-10, 138, 2.4, 2.4) + ellipse(10, 138, 2.4, 2.4), GOLD)
    pen.line("M-6 148L6 148L5 156L-5 156Z", shade(cloth, -0.45), 1.6)


def _cape(pen: Pen, look: CharacterLook, cloth: str) -> None:
    """The front of it; the folds behind the arms are `draw_behind`."""
    _lower(pen, look, DARK_CLOTH)
    pen.shape(TORSO, "#6d6d80")
    pen.line("M-18 158L18 158", GOLD, 3.4)
    pen.shape(
        "M-20 117Q0 109 20 117Q31 124 32 146Q16 139 0 149Q-16 139-32 146Q-31 124-20 117Z",
        cloth,
        paint=pen.gradient(112, 150, (shade(cloth, 0.12), cloth)),
    )
    pen.shape(ellipse(0, 123, 4.6, 4.6), GOLD, 1.4)


OUTFITS: dict[str, Callable[[Pen, CharacterLook, str], None]] = {
    "serafuku": _serafuku,
    "dress": _dress,
    "hoodie": _hoodie,
    "t-shirt": _t_shirt,
    "kimono": _kimono,
    "suit": _suit,
    "maid": _maid,
    "overalls": _overalls,
    "cape": _cape,
}


def draw_behind(pen: Pen, look: CharacterLook) -> None:
    """The one garment that also hangs behind the body."""
    if look.outfit == "cape":
        cloth = CLOTH[look.colour]
        pen.shape(
            "M-20 119C-34 150-44 186-48 210Q-24 219 0 211Q24 219 48 210C44 186 34 150 20 119Z",
            shade(cloth, -0.12),
            paint=pen.gradient(119, 212, (cloth, shade(cloth, -0.3))),
        )


def draw_outfit(pen: Pen, look: CharacterLook) -> None:
    OUTFITS[look.outfit](pen, look, CLOTH[look.colour])


# ---- arms: an elbow path from the shoulder, and where the hand ends
ARMS = {
    "down": ("L31 146L33 162", (33, 166)),
    "wave": ("Q54 140 64 114", (65, 108)),
    "up": ("Q54 132 67 96", (69, 90)),
    "hip": ("L45 145L25 159", (22, 160)),
    "front": ("L30 148L8 153", (6, 153)),
    "high": ("L47 140L62 120", (64, 116)),
    "crossed": ("L33 146L-6 142", (-9, 142)),
}
ACTION_ARMS = {  # left and right of the picture
    "arms_at_sides": ("down", "down"),
    "waving": ("down", "wave"),
    "arms_up": ("up", "up"),
    "hand_on_own_hip": ("hip", "hip"),
    "holding_flower": ("front", "front"),
    "holding_book": ("front", "front"),
    "holding_balloon": ("down", "high"),
    "holding_briefcase": ("down", "down"),
    "v": ("down", "high"),
    "crossed_arms": ("crossed", "crossed"),
}
SHORT_SLEEVES = ("t-shirt", "dress", "serafuku", "overalls")


def draw_arms(pen: Pen, look: CharacterLook) -> None:
    """Both arms and what the hands hold; props lie between or over the hands as they must."""
    prop_colour = ribbon_colour(look)
    if look.action == "holding_balloon":
        _balloon(pen, prop_colour)
    elif look.action == "holding_briefcase":
        _briefcase(pen)
    left, right = ACTION_ARMS[look.action]
    pen.both_sides(lambda side: _arm(pen, look, left if side < 0 else right, side))
    if look.action == "holding_book":
        _book(pen, look)
    elif look.action == "holding_flower":
        _flower(pen, look)
    elif look.action == "waving":
        pen.line("M76 96Q84 105 81 117M84 90Q94 104 90 120", "#6b6b7c", 2.4)


def _arm(pen: Pen, look: CharacterLook, kind: str, side: int) -> None:
    path, (hx, hy) = ARMS[kind]
    skin = SKIN[look.skin]
    white = look.outfit in ("serafuku", "overalls")
    sleeve = WHITE if white else "#6d6d80" if look.outfit == "cape" else CLOTH[look.colour]
    if look.outfit in SHORT_SLEEVES:
        pen.limb("M20 127" + path, skin, 8.5)
        pen.limb(
            {
                "down": "M20 127L26 138",
                "hip": "M20 127L31 135",
                "high": "M20 127L32 132",
                "crossed": "M20 127L27 137",
                "front": "M20 127L25 138",
            }.get(kind, "M20 127Q32 132 36 130"),
            sleeve,
            11,
        )
    else:
        pen.limb("M20 127" + path, sleeve, 13 if look.outfit == "kimono" else 9)
    if look.action == "v" and kind == "high":
        pen.limb(f"M{hx - 2} {hy}L{hx - 9} {hy - 20}", skin, 4.4)
        pen.limb(f"M{hx + 2} {hy}L{hx + 10} {hy - 19}", skin, 4.4)
    pen.shape(ellipse(hx, hy, 6.6, 6.6), skin, 1.9)


def _balloon(pen: Pen, colour: str) -> None:
    pen.line("M64 116Q74 98 75 80", "#777788", 1.8)
    pen.shape("M76 22C104 22 104 66 76 82C48 66 48 22 76 22Z", colour, edge=-0.3)
    pen.fill(ellipse(66, 42, 5, 9), "#ffffff", 0.75)


def _briefcase(pen: Pen) -> None:
    pen.line("M27 172Q36 160 45 172", "#4a2f22", 3)
    pen.shape("M14 172L56 172L56 200L14 200Z", "#8a5a3a")
    pen.line("M14 182L56 182", "#4a2f22", 2)
    pen.fill(ellipse(35, 182, 3.2, 3.2), GOLD)


def _book(pen: Pen, look: CharacterLook) -> None:
    cover = "#4a6fc4" if look.colour != "blue" else "#c4524a"
    pen.shape("M0 138Q-13 131-27 136L-27 163Q-13 158 0 165Q13 158 27 163L27 136Q13 131 0 138Z", cover)
    pen.fill("M0 140Q-12 134-23 138L-23 158Q-11 154 0 161Q11 154 23 158L23 138Q12 134 0 140Z", "#ffffff", 0.9)
    pen.line("M0 139L0 163", cover, 2)
    pen.both_sides(lambda side: pen.shape(ellipse(24, 160, 5.6, 5.6), SKIN[look.skin], 1.9))


def _flower(pen: Pen, look: CharacterLook) -> None:
    petal = "#ff8fb6" if look.colour not in ("pink", "red") else "#fffbe8"
    pen.line("M0 172Q3 162 0 150", "#3f9a4c", 3.4)
    for k in range(5):
        x, y = 8 * math.sin(k * math.tau / 5), 146 - 8 * math.cos(k * math.tau / 5)
        pen.shape(ellipse(x, y, 6, 6), petal, 1.4)
    pen.fill(ellipse(0, 146, 4.5, 4.5), GOLD)
    pen.both_sides(lambda side: pen.shape(ellipse(5, 162, 6, 6), SKIN[look.skin], 1.9))

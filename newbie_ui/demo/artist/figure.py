"""One character, assembled from its parts in the order in which they cover each other."""

from __future__ import annotations

from newbie_ui.demo.artist.accessory import draw_accessory, draw_glasses
from newbie_ui.demo.artist.body import draw_arms, draw_behind, draw_legs, draw_outfit
from newbie_ui.demo.artist.face import draw_brows, draw_features, draw_head
from newbie_ui.demo.artist.hair import draw_back, draw_front
from newbie_ui.demo.artist.look import CharacterLook
from newbie_ui.demo.artist.svg import Pen

HEAD_SIZE = 1.22  # chibi: the head is drawn this much larger than the body's units, around the chin
CHIN = 114
GROUND = 234  # y of the soles
HALF_HEAD = 66  # half the width of a head with hair
HEIGHT_ABOVE = {"witch_hat": 70, "rabbit_ears": 72, "cat_ears": 48, "crown": 50, "beret": 46, "straw_hat": 40}
_HEAD = f"translate(0 {CHIN}) scale({HEAD_SIZE}) translate(0 -{CHIN})"
_LOWERED = {"sitting": 24, "jumping": -12}


def headroom(look: CharacterLook) -> float:
    """How far above y = 0 a character reaches, in its own units."""
    above = HEIGHT_ABOVE.get(look.accessory, 34 if look.style in ("double_bun", "spiked_hair", "ponytail") else 24)
    return above - min(0, _LOWERED.get(look.pose, 0))


def head_box(look: CharacterLook) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1) around the face and hair, in the character's own units."""
    drop = _LOWERED.get(look.pose, 0)
    return -HALF_HEAD, -20 + drop, HALF_HEAD, 122 + drop


def draw_figure_back(pen: Pen, look: CharacterLook) -> None:
    """What may pass behind a neighbour: hair and cape."""
    with pen.moved(f"translate(0 {_LOWERED.get(look.pose, 0)})"):
        with pen.moved(_HEAD):
            draw_back(pen, look)
        draw_behind(pen, look)


def draw_figure(pen: Pen, look: CharacterLook) -> None:
    """Everything else, from the legs to what is on the head."""
    lowered = f"translate(0 {_LOWERED.get(look.pose, 0)})"
    if look.pose == "standing":
        draw_legs(pen, look)
    elif look.pose == "jumping":
        with pen.moved(lowered):
            draw_legs(pen, look)
    with pen.moved(lowered):
        draw_outfit(pen, look)
        if look.pose == "sitting":
            with pen.moved("translate(0 -24)"):
                draw_legs(pen, look)
        draw_arms(pen, look)
        with pen.moved(_HEAD):
            draw_head(pen, look)
            draw_features(pen, look)
            draw_front(pen, look)
            draw_brows(pen, look)
            if look.glasses:
                draw_glasses(pen, look)
            draw_accessory(pen, look)

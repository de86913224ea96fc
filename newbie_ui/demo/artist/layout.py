"""Where each character stands: slots from left to right, with real variety in size, height and distance."""

from __future__ import annotations

import random
from dataclasses import dataclass

from newbie_ui.demo.artist.backdrop import draw_backdrop
from newbie_ui.demo.artist.figure import GROUND, HALF_HEAD, draw_figure, draw_figure_back, head_box, headroom
from newbie_ui.demo.artist.look import SIDES, CharacterLook, Scene
from newbie_ui.demo.artist.palette import grey
from newbie_ui.demo.artist.svg import CANVAS, Pen, ellipse

SLOTS = {1: (128,), 2: (69, 187), 3: (46, 128, 210), 4: (35, 97, 159, 221)}
SIZE = {1: 0.84, 2: 0.75, 3: 0.59, 4: 0.475}
SHIFT = {1: 9, 2: 11, 3: 6, 4: 3.5}
SOLO = {-3: 64, -2: 74, -1: 88, 0: 128, 1: 168, 2: 182, 3: 192}
LIFT = {1: 6, 2: 16, 3: 26, 4: 34}
DEPTH_SIZE = {"foreground": 1.1, "background": 0.84}
DEPTH_LIFT = {"foreground": -2, "background": 26}


@dataclass(frozen=True)
class Place:
    """Where a character stands: x of its middle, y of its soles, and its size."""

    x: float
    y: float
    size: float

    def head(self, look: CharacterLook) -> tuple[float, float, float, float]:
        """Box of the head on the canvas (x0, y0, x1, y1)."""
        x0, y0, x1, y1 = head_box(look)
        return (
            self.x + x0 * self.size,
            self.y + (y0 - GROUND) * self.size,
            self.x + x1 * self.size,
            self.y + (y1 - GROUND) * self.size,
        )


def order(characters: tuple[CharacterLook, ...]) -> list[int]:
    """The slot of each character, counted from the left: by side; those without one take the free slots in turn."""
    count = len(characters)
    asked = sorted((SIDES[c.side], i) for i, c in enumerate(characters) if c.side in SIDES)
    free = [i for i, c in enumerate(characters) if c.side not in SIDES]
    slots = dict(zip((i for _, i in asked), _spread([s for s, _ in asked], count)))
    left_over = iter(s for s in range(count) if s not in slots.values())
    return [slots[i] if i in slots else next(left_over) for i in range(len(asked) + len(free))]


def _spread(sides: list[int], count: int) -> list[int]:
    """Slots for sides in ascending order: near where each would like to be, no two in one slot."""
    wishes = [round((side + 3) / 6 * (count - 1)) for side in sides]
    for i in range(1, len(wishes)):
        wishes[i] = max(wishes[i], wishes[i - 1] + 1)
    top = count - 1
    for i in reversed(range(len(wishes))):
        wishes[i] = min(wishes[i], top)
        top = wishes[i] - 1
    return wishes


def arrange(scene: Scene) -> list[Place]:
    """A place for each character, inside the frame; `scene.seed` decides the jitter."""
    rng = random.Random(scene.seed ^ 0x5EED)
    count, places = len(scene.characters), []
    for look, slot in zip(scene.characters, order(scene.characters)):
        size = SIZE[count] * rng.uniform(0.9, 1.06) * DEPTH_SIZE.get(look.depth, 1)
        y = 250 - rng.uniform(0, LIFT[count]) - DEPTH_LIFT.get(look.depth, 0)
        size = min(size, (y - 3) / (GROUND + headroom(look)))
        x = SOLO[SIDES.get(look.side, 0)] if count == 1 else SLOTS[count][slot]
        x += rng.uniform(-SHIFT[count], SHIFT[count])
        edge = min(HALF_HEAD * size + 1, CANVAS / 2)
        places.append(Place(min(max(x, edge), CANVAS - edge), y, size))
    return places


def paint(scene: Scene) -> str:
    """The scene as SVG text."""
    pen = Pen(grey) if scene.ink else Pen()
    places = arrange(scene)
    draw_backdrop(pen, scene.backdrop, random.Random(scene.seed))
    nearest_last = sorted(zip(scene.characters, places), key=lambda pair: (pair[0].depth == "foreground", pair[1].y))
    for _, place in nearest_last:
        pen.fill(ellipse(place.x, min(place.y, 250), 44 * place.size, 7 * place.size), "#20203a", 0.22)
    for draw in (draw_figure_back, draw_figure):
        for look, place in nearest_last:
            with pen.moved(f"translate({place.x:.2f} {place.y:.2f}) scale({place.size:.4f}) translate(0 -{GROUND})"):
                draw(pen, look)
    return pen.document()

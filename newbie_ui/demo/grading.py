"""How a picture is graded against the scene that was asked for: per attribute, per place, and as binding.

Characters are compared place by place, from left to right. *Binding* looks at what is wrong at a place: an attribute
counts as bound to the wrong character when it is what another character of the same prompt was asked to have.
"""

from __future__ import annotations

from collections import Counter
from itertools import permutations

from newbie_ui.demo.artist import look as looks
from newbie_ui.demo.artist.layout import SLOTS, order
from newbie_ui.demo.artist.look import SIDES, CharacterLook, Scene
from newbie_ui.demo.data import ATTRIBUTES
from newbie_ui.demo.reader import Seen

SOLO_ZONES = (110, 146)  # pixels: left of the first is left, right of the second is right


class Score:
    """Right answers and all answers, by name."""

    def __init__(self) -> None:
        self.right: Counter[str] = Counter()
        self.all: Counter[str] = Counter()

    def add(self, name: str, right: bool) -> None:
        self.all[name] += 1
        self.right[name] += bool(right)

    def percent(self, name: str) -> float:
        return 100 * self.right[name] / self.all[name] if self.all[name] else float("nan")

    def as_dict(self) -> dict[str, float]:
        return {name: round(self.percent(name), 2) for name in self.all}


def asked_values(look: CharacterLook) -> dict[str, object]:
    """The attributes that can be seen of a character."""
    values = {name: getattr(look, name) for name in ATTRIBUTES}
    if look.expression == "closed_eyes":
        del values["eyes"]
    return values


def _at_places(scene: Scene, seen: list[Seen]) -> tuple[list[CharacterLook], list[Seen | None]]:
    """Asked characters from left to right, and who was seen at each place."""
    count = len(scene.characters)
    asked = [look for _, look in sorted(zip(order(scene.characters), scene.characters), key=lambda pair: pair[0])]
    if len(seen) == count:
        return asked, list(seen)
    free, found = list(seen), []
    for x in SLOTS[count]:
        nearest = min(free, key=lambda person: abs(person.x - x), default=None)
        found.append(nearest)
        if nearest is not None:
            free.remove(nearest)
    return asked, found


def _agreement(look: CharacterLook, person: Seen | None) -> int:
    return 0 if person is None else sum(person.values[name] == value for name, value in asked_values(look).items())


def _positions(asked: list[CharacterLook], found: list[Seen | None]) -> list[bool]:
    """Whether each character stands where it was asked: who is who is decided by the attributes that agree."""
    if len(asked) == 1:
        if found[0] is None:
            return [False]
        side = SIDES.get(asked[0].side, 0)
        zone = 1 if found[0].x > SOLO_ZONES[1] else -1 if found[0].x < SOLO_ZONES[0] else 0
        return [zone == (side > 0) - (side < 0)]
    best = max(
        permutations(range(len(asked))),
        key=lambda seats: (
            sum(_agreement(look, found[s]) for look, s in zip(asked, seats)),
            seats == tuple(sorted(seats)),
        ),
    )
    return [seat == place and found[seat] is not None for place, seat in enumerate(best)]


def grade(score: Score, scene: Scene, seen: list[Seen], picture: dict[str, object]) -> None:
    """Add one picture's answers to the score. `binding` counts errors: its percentage should be low."""
    score.add("count", len(seen) == len(scene.characters))
    asked, found = _at_places(scene, seen)
    for right in _positions(asked, found):
        score.add("position", right)
    for look, person in zip(asked, found):
        others = [other for other in asked if other is not look]
        for name, value in asked_values(look).items():
            read = None if person is None else person.values[name]
            score.add(name, read == value)
            rivals = {getattr(other, name) for other in others} - {value}
            if rivals and name not in ("gender", "skin", "glasses"):
                score.add("binding", read != value and read in rivals)
    score.add("place", picture["place"] == scene.backdrop.place)
    if scene.backdrop.place in looks.OUTDOORS:
        score.add("time", picture["time"] == scene.backdrop.time)

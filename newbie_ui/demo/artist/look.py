"""What a picture is made of, as plain data: characters, the place they are in, and every value each part can take.

A `Scene` is complete: nothing is left to chance but the layout (`Scene.seed`). The words that people use for these
values are in `newbie_ui.demo.words`; how they look is in the other files of this folder.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from newbie_ui.demo.artist import palette

GENDERS = ("girl", "boy")
HAIR = tuple(palette.HAIR)
STYLES = (
    "short_hair",
    "bob_cut",
    "long_hair",
    "very_long_hair",
    "twintails",
    "ponytail",
    "side_ponytail",
    "double_bun",
    "spiked_hair",
    "twin_braids",
)
BANGS = ("bangs", "blunt_bangs", "swept_bangs", "parted_bangs")
EYES = tuple(palette.EYES)
SKIN = tuple(palette.SKIN)
OUTFITS = ("serafuku", "dress", "hoodie", "t-shirt", "kimono", "suit", "maid", "overalls", "cape")
COLOURS = tuple(palette.CLOTH)
ACCESSORIES = (
    "none",
    "hair_bow",
    "hair_flower",
    "hairband",
    "headphones",
    "cat_ears",
    "rabbit_ears",
    "witch_hat",
    "straw_hat",
    "beret",
    "crown",
)
EXPRESSIONS = (
    "smile",
    "open_mouth",
    "closed_eyes",
    "frown",
    "angry",
    "surprised",
    "one_eye_closed",
    "crying",
    "expressionless",
)
ACTIONS = (
    "arms_at_sides",
    "waving",
    "arms_up",
    "hand_on_own_hip",
    "holding_flower",
    "holding_book",
    "holding_balloon",
    "holding_briefcase",
    "v",
    "crossed_arms",
)
POSES = ("standing", "sitting", "jumping")
GAZES = ("viewer", "left", "right")
PLACES = ("white", "simple", "sky", "beach", "field", "cherry_blossoms", "snow", "city", "classroom", "library")
OUTDOORS = ("sky", "beach", "field", "cherry_blossoms", "snow", "city")
TIMES = ("day", "sunset", "night")
WALLS = tuple(palette.WALL)
# From left to right; a word's number is its place in that order. Several words may share a slot.
SIDES = {
    "far_left": -3,
    "left": -2,
    "left_side": -2,
    "center_left": -1,
    "center": 0,
    "center_right": 1,
    "right": 2,
    "right_side": 2,
    "far_right": 3,
}
DEPTHS = ("foreground", "background")
MOST_CHARACTERS = 4


@dataclass(frozen=True)
class CharacterLook:
    """One character. `side` is a word of `SIDES` or empty: then the free slots fill from the left."""

    gender: str = "girl"
    hair: str = "brown"
    style: str = "long_hair"
    bangs: str = "bangs"
    ahoge: bool = False
    eyes: str = "blue"
    skin: str = "pale"
    outfit: str = "serafuku"
    colour: str = "blue"
    accessory: str = "none"
    glasses: bool = False
    expression: str = "smile"
    action: str = "arms_at_sides"
    pose: str = "standing"
    gaze: str = "viewer"
    side: str = ""
    depth: str = ""


@dataclass(frozen=True)
class Backdrop:
    """Where it happens. `time` matters outdoors, `wall` only for the simple background."""

    place: str = "simple"
    time: str = "day"
    wall: str = "blue"


@dataclass(frozen=True)
class Scene:
    """One picture: up to four characters in a place. Equal scenes give equal pictures, `seed` included."""

    characters: tuple[CharacterLook, ...] = ()
    backdrop: Backdrop = field(default_factory=Backdrop)
    seed: int = 0
    ink: bool = False  # monochrome: the style that only the demo LoRA knows


def random_character(rng: random.Random, **fixed: str | bool) -> CharacterLook:
    """A character with every field drawn; rarer looks (boys, dark skin, lowered poses) are drawn less often."""
    pick = rng.choice
    look = CharacterLook(
        gender="boy" if rng.random() < 0.3 else "girl",
        hair=pick(HAIR),
        style=pick(STYLES),
        bangs=pick(BANGS),
        ahoge=rng.random() < 0.4,
        eyes=pick(EYES),
        skin=pick(("pale",) * 5 + ("tan", "dark")),
        outfit=pick(OUTFITS),
        colour=pick(COLOURS),
        accessory=pick(("none",) * 4 + ACCESSORIES[1:]),
        glasses=rng.random() < 0.18,
        expression=pick(EXPRESSIONS),
        action=pick(ACTIONS),
        pose=pick(("standing",) * 5 + ("sitting", "jumping")),
        gaze=pick(("viewer",) * 2 + ("left", "right")),
    )
    return replace(look, **fixed)


def random_backdrop(rng: random.Random) -> Backdrop:
    return Backdrop(rng.choice(PLACES), rng.choice(TIMES), rng.choice(WALLS))


_SIDES_OF = {
    1: (
        ("left", "left_side", "far_left", "center_left"),
        ("center",),
        ("right", "right_side", "far_right", "center_right"),
    ),
    2: (("left", "left_side", "far_left", "center_left"), ("right", "right_side", "far_right", "center_right")),
    3: (
        ("left", "left_side", "far_left", "center_left"),
        ("center",),
        ("right", "right_side", "far_right", "center_right"),
    ),
    4: (("far_left", "left", "left_side"), ("center_left",), ("center_right",), ("far_right", "right", "right_side")),
}


def random_sides(rng: random.Random, count: int) -> list[str]:
    """A word for each character's place, no two characters in one slot, in random order."""
    slots = list(_SIDES_OF[count])
    rng.shuffle(slots)
    return [rng.choice(words) for words in slots[:count]]


def random_scene(rng: random.Random, count: int | None = None) -> Scene:
    """A complete scene of `count` (by default one to four) characters."""
    count = count or rng.choice((1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4))
    sides = random_sides(rng, count) if rng.random() < 0.92 else [""] * count
    depths = [""] * count
    if count > 1 and rng.random() < 0.12:
        depths[rng.randrange(count)] = rng.choice(DEPTHS)
    people = tuple(random_character(rng, side=s, depth=d) for s, d in zip(sides, depths))
    return Scene(people, random_backdrop(rng), rng.randrange(1 << 31))

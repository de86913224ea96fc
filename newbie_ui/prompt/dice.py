"""A throw of the dice for one field: tags that go together, drawn by a seed.

Promises: the same field, seed and vocabulary give the same tags everywhere; what is drawn belongs to the field, does
not contradict itself, is in the safe list, and is known to the model in use where that is told.
Does not know the other fields: a locked one is simply not thrown for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from newbie_ui.prompt.taglist import key

_COLORS = ["aqua", "black", "blue", "brown", "green", "pink", "purple", "red", "white", "yellow"]
_CLOTHES = ["black", "blue", "brown", "green", "pink", "purple", "red", "white", "yellow"]


def _each(pattern: str, words: Collection[str]) -> tuple[str, ...]:
    return tuple(pattern.format(word) for word in words)


# A slot is a list of options, each a tag or several joined by a comma; "" draws nothing there.
_HAIR = (
    *_each("{}_hair", [color for color in _COLORS if color != "yellow"]),
    "blonde_hair",
    "silver_hair",
    "grey_hair",
    "orange_hair",
)
_SLOTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "gender": (("1girl", "1girl", "1boy"),),
    "body_type": (("tall", "toned", "muscular"),),
    "appearance": (
        ("short_hair", "medium_hair", "long_hair", "very_long_hair"),
        _HAIR,
        ("", "bob_cut", "ponytail", "twintails", "braid", "twin_braids", "side_ponytail", "hair_bun", "wavy_hair"),
        ("", "bangs", "blunt_bangs", "swept_bangs", "parted_bangs"),
        _each("{}_eyes", [color for color in _COLORS if color not in ("black", "white")]),
        ("", "", "", "ahoge", "cat_ears", "fox_ears", "freckles", "mole_under_eye", "dark_skin", "hair_flower"),
    ),
    "clothing": (
        (
            "serafuku, white_sailor_collar, pleated_skirt",
            "school_uniform, blazer, plaid_skirt",
            *_each("{}_dress", _CLOTHES),
            *_each("{}_kimono, obi", _CLOTHES),
            *_each("{}_hoodie, shorts", _CLOTHES),
            *_each("{}_shirt, jeans", _CLOTHES),
            *_each("{}_sweater, long_skirt", _CLOTHES),
            "maid, apron, maid_headdress",
            "suit, necktie, white_shirt",
            "labcoat, collared_shirt",
            "armor, cape",
            "overalls, t-shirt",
        ),
        ("", "", "scarf", "gloves", "glasses", "hat", "beret", "straw_hat", "witch_hat", "headphones", "choker"),
        ("", "boots", "sneakers", "loafers", "sandals", "thighhighs", "socks"),
    ),
    "expression": (
        ("smile", "light_smile", "grin", "laughing", "pout", "surprised", "angry", "sad", "serious", "expressionless"),
        ("", "", "blush", "one_eye_closed", "open_mouth", "closed_mouth"),
    ),
    "action": (
        ("standing", "sitting", "walking", "running", "jumping", "kneeling"),
        ("", "waving", "arms_up", "hand_on_hip", "crossed_arms", "salute", "pointing", "heart_hands"),
        ("", "", "holding_flower", "holding_book", "holding_umbrella", "holding_balloon", "holding_cup", "holding_cat"),
    ),
    "background": (
        (
            *_each("simple_background, {}_background", ("white", "blue", "pink", "grey")),
            "outdoors, blue_sky, grass",
            "outdoors, night_sky, full_moon",
            "outdoors, sunset, beach",
            "outdoors, cherry_blossoms",
            "outdoors, forest",
            "outdoors, cityscape, night",
            "outdoors, snow",
            "outdoors, flower_field",
            "indoors, classroom",
            "indoors, library, bookshelf",
            "indoors, bedroom, window",
            "indoors, cafe",
        ),
    ),
    "atmosphere": (("cheerful", "peaceful", "mysterious", "melancholic"),),
    "lighting": (("sunlight", "backlighting", "soft_lighting", "rim_lighting", "dramatic_lighting"),),
    "perspective": (("from_above", "from_below", "from_side", "cowboy_shot", "full_body", "upper_body", "close-up"),),
    "style": (("anime_style", "anime_style, digital_art", "watercolor_(medium)", "sketch", "pixel_art"),),
    "objects": (("book", "flower", "balloon", "umbrella", "cup", "teddy_bear", "guitar", "lantern", "bouquet"),),
}
FIELDS = tuple(_SLOTS)
TAGS = frozenset(
    tag for slots in _SLOTS.values() for slot in slots for option in slot for tag in option.split(", ") if tag
)


def roll(field: str, seed: int, known: Collection[str] = (), now: str = "") -> str:
    """Tags for a field, or what it holds now if there is nothing to draw.

    Args:
        field: element name; see `FIELDS`.
        seed: another one draws anew.
        known: tags that the model in use knows; empty means any.
        now: the present value; a draw equal to it is drawn once more.
    """
    keys = {key(name) for name in known}
    for turn in range(4):
        drawn = _draw(field, f"{seed}/{turn}", keys)
        if drawn and key(drawn) != key(now):
            return drawn
    return now


def _draw(field: str, seed: str, keys: set[str]) -> str:
    tags: list[str] = []
    for number, slot in enumerate(_SLOTS.get(field, ())):
        options = [_known(option, keys) for option in slot] if keys else list(slot)
        options = [option for option, wanted in zip(options, slot) if option or not wanted]
        if options:
            digest = hashlib.sha256(f"{field}/{seed}/{number}".encode()).digest()
            picked = options[int.from_bytes(digest[:8], "big") % len(options)]
            tags += [tag for tag in picked.split(", ") if tag and tag not in tags]
    return ", ".join(_without_clash(tags))


def _known(option: str, keys: set[str]) -> str:
    """The part of an option that the model knows; "" if it does not know its first tag."""
    tags = option.split(", ")
    return ", ".join(tag for tag in tags if key(tag) in keys) if key(tags[0]) in keys else ""


_CLASHES = (
    ({"short_hair", "bob_cut"}, {"ponytail", "twintails", "braid", "twin_braids", "side_ponytail", "very_long_hair"}),
    ({"long_hair", "very_long_hair"}, {"bob_cut"}),
    ({"laughing", "grin"}, {"closed_mouth"}),
    ({"surprised"}, {"closed_mouth", "one_eye_closed"}),
    ({"sad", "serious", "angry", "expressionless"}, {"one_eye_closed"}),
    ({"arms_up", "crossed_arms", "heart_hands", "salute"}, {"holding_flower", "holding_book", "holding_umbrella"}),
    ({"arms_up", "crossed_arms", "heart_hands", "salute"}, {"holding_balloon", "holding_cup", "holding_cat"}),
    ({"armor", "witch_hat"}, {"sneakers", "headphones"}),
)


def _without_clash(tags: list[str]) -> list[str]:
    """The tags without later ones that do not go with an earlier one."""
    kept: list[str] = []
    for tag in tags:
        if not any(tag in after and before & set(kept) for before, after in _CLASHES):
            kept.append(tag)
    return kept

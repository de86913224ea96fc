"""The demo's vocabulary: how looks are written as Danbooru tags, and how tags are read back into looks.

`describe_*` gives a look's tags in the official fields; `scene_from_prompt` reads any parsed prompt and fills what it
does not say from a seed. Words outside the vocabulary are ignored, as the demo model ignores them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from newbie_ui.demo.artist import look as looks
from newbie_ui.demo.artist.hair import ribbon_colour
from newbie_ui.demo.artist.look import Backdrop, CharacterLook, Scene
from newbie_ui.demo.artist.palette import CLOTH
from newbie_ui.prompt.document import Block, Prompt

# Each value: the tag that always names it, then what people add to it or write in its place.
STYLES = {
    "short_hair": ("short_hair",),
    "bob_cut": ("bob_cut",),
    "long_hair": ("long_hair",),
    "very_long_hair": ("very_long_hair",),
    "twintails": ("twintails",),
    "ponytail": ("ponytail", "high_ponytail"),
    "side_ponytail": ("side_ponytail",),
    "double_bun": ("double_bun", "hair_bun"),
    "spiked_hair": ("spiked_hair", "spiky_hair"),
    "twin_braids": ("twin_braids", "braids"),
}
EXPRESSIONS = {
    "closed_eyes": ("closed_eyes", "^_^"),
    "one_eye_closed": ("one_eye_closed", "wink"),
    "crying": ("crying", "tears"),
    "angry": ("angry", "anger_vein"),
    "surprised": ("surprised", "wide-eyed"),
    "expressionless": ("expressionless", "blank_stare"),
    "frown": ("frown", "sad"),
    "open_mouth": ("open_mouth", ":d"),
    "smile": ("smile", "happy", "light_smile"),
}
EXPRESSION_EXTRAS = {
    "closed_eyes": ("happy", "smile", "open_mouth"),
    "one_eye_closed": ("smile", "open_mouth", ";d"),
    "crying": ("tears", "sad", "streaming_tears"),
    "angry": ("v-shaped_eyebrows", "anger_vein"),
    "surprised": ("wide-eyed", "open_mouth", ":o"),
    "expressionless": ("closed_mouth",),
    "frown": ("sad", "closed_mouth"),
    "open_mouth": ("happy", "smile"),
    "smile": ("happy", "closed_mouth"),
}
ACTIONS = {
    "waving": ("waving",),
    "arms_up": ("arms_up",),
    "hand_on_own_hip": ("hand_on_own_hip", "hand_on_hip", "hands_on_own_hips"),
    "holding_flower": ("holding_flower",),
    "holding_book": ("holding_book",),
    "holding_balloon": ("holding_balloon",),
    "holding_briefcase": ("holding_briefcase",),
    "v": ("v", "peace_sign"),
    "crossed_arms": ("crossed_arms",),
    "arms_at_sides": ("arms_at_sides",),
}
ACCESSORIES = {
    "hair_bow": ("hair_bow",),
    "hair_flower": ("hair_flower",),
    "hairband": ("hairband",),
    "headphones": ("headphones",),
    "cat_ears": ("cat_ears",),
    "rabbit_ears": ("rabbit_ears",),
    "witch_hat": ("witch_hat",),
    "straw_hat": ("straw_hat", "sun_hat"),
    "beret": ("beret",),
    "crown": ("crown",),
}
SKIN = {"tan": ("tan", "tanned"), "dark": ("dark_skin",), "pale": ("pale_skin",)}
BANGS = {
    "blunt_bangs": ("blunt_bangs",),
    "swept_bangs": ("swept_bangs",),
    "parted_bangs": ("parted_bangs",),
    "bangs": ("bangs",),
}
POSES = {"sitting": ("sitting",), "jumping": ("jumping",), "standing": ("standing",)}
GAZES = {"left": ("looking_left",), "right": ("looking_right",), "viewer": ("looking_at_viewer",)}
HAIR_ALIASES = {"silver_hair": "grey", "gray_hair": "grey", "light_blue_hair": "aqua", "blond_hair": "blonde"}
EYE_ALIASES = {"golden_eyes": "yellow", "light_blue_eyes": "aqua"}

# For each outfit: nouns that carry its colour (`blue_dress`), the words that name it, and what people add.
GARMENTS = {
    "serafuku": (
        ("sailor_collar", "skirt", "shorts"),
        ("serafuku",),
        ("school_uniform", "white_shirt", "short_sleeves"),
    ),
    "maid": (("dress",), ("maid", "white_apron"), ("long_sleeves", "frills")),
    "hoodie": (("hoodie",), ("hoodie",), ("long_sleeves", "hood", "drawstring")),
    "kimono": (("kimono",), ("kimono", "yukata"), ("japanese_clothes", "sash", "wide_sleeves")),
    "suit": (("jacket",), ("formal", "suit"), ("necktie", "long_sleeves")),
    "overalls": (("overalls",), ("overalls",), ("striped_shirt", "short_sleeves")),
    "cape": (("cape",), ("cape", "cloak"), ("brooch", "long_sleeves")),
    "dress": (("dress",), ("dress",), ("short_sleeves", "white_socks")),
    "t-shirt": (("shirt",), ("t-shirt",), ("star_print", "short_sleeves")),
}
PLACES = {
    "white": ("white_background",),
    "beach": ("beach", "ocean"),
    "field": ("field", "grass"),
    "cherry_blossoms": ("cherry_blossoms",),
    "snow": ("snow", "snowing", "winter"),
    "city": ("city", "cityscape"),
    "classroom": ("classroom", "chalkboard"),
    "library": ("library", "bookshelf"),
    "simple": ("simple_background", *(f"{wall}_background" for wall in looks.WALLS)),
    "sky": ("sky", "blue_sky", "cloud", "rooftop"),
}
PLACE_EXTRAS = {
    "white": ("simple_background",),
    "beach": ("ocean", "outdoors"),
    "field": ("grass", "outdoors"),
    "cherry_blossoms": ("petals", "outdoors"),
    "snow": ("winter", "snowing", "outdoors"),
    "city": ("cityscape", "building", "outdoors"),
    "classroom": ("indoors", "chalkboard"),
    "library": ("indoors", "bookshelf"),
    "simple": (),
    "sky": ("outdoors",),
}
TIMES = {"night": ("night", "night_sky", "starry_sky"), "sunset": ("sunset", "evening"), "day": ("day", "blue_sky")}


@dataclass(frozen=True)
class Tags:
    """A character's tags by official field. The first of each group is needed, `extra` is what people may add."""

    needed: dict[str, tuple[str, ...]]
    extra: dict[str, tuple[str, ...]]


def describe_character(look: CharacterLook) -> Tags:
    """Every visible attribute as tags, and nothing that cannot be seen (no eye colour behind closed lids)."""
    ears = look.accessory in ("cat_ears", "rabbit_ears")
    nouns, names, additions = GARMENTS[look.outfit]
    lower = "shorts" if look.gender == "boy" else "skirt"
    worn = [f"{look.colour}_{nouns[0]}"]
    if look.outfit == "serafuku":
        worn = ["serafuku", f"{look.colour}_sailor_collar", f"{look.colour}_{lower}"]
    elif names[0] != nouns[0]:
        worn = [*names[:1], *worn] + (["white_apron"] if look.outfit == "maid" else [])
    if look.accessory != "none" and not ears:
        worn.append(look.accessory)
    appearance = [f"{look.hair}_hair", look.style]
    if look.expression != "closed_eyes":
        appearance.append(f"{look.eyes}_eyes")
    if look.skin != "pale":
        appearance.append(SKIN[look.skin][0])
    if ears:
        appearance.append(look.accessory)
    if look.glasses:
        worn.append("glasses")
    minor = [look.bangs, *(["ahoge"] if look.ahoge else []), *(["pale_skin"] if look.skin == "pale" else [])]
    if look.style in ("twintails", "ponytail", "side_ponytail", "twin_braids"):
        minor.append("long_hair")
    done = [] if look.action == "arms_at_sides" else [look.action]
    needed = {
        "gender": (f"1{look.gender}",),
        "appearance": tuple(appearance),
        "clothing": tuple(worn),
        "expression": (look.expression,),
        "action": tuple(done + ([] if look.pose == "standing" else [look.pose])),
        "position": tuple(word for word in (look.side, look.depth) if word),
    }
    held = ("holding",) if look.action.startswith("holding") else ()
    extra = {
        "appearance": ("chibi", *minor, *(("animal_ears",) if ears else ())),
        "clothing": (*additions, f"{_ribbon(look)}_neckerchief") if look.outfit == "serafuku" else additions,
        "expression": EXPRESSION_EXTRAS[look.expression],
        "action": (*held, GAZES[look.gaze][0], *(("standing",) if look.pose == "standing" else ())),
    }
    return Tags(needed, extra)


def _ribbon(look: CharacterLook) -> str:
    return "blue" if ribbon_colour(look) == CLOTH["blue"] else "red"


def describe_backdrop(backdrop: Backdrop) -> tuple[str, ...]:
    """The tags that place and time need."""
    if backdrop.place == "simple":
        return (f"{backdrop.wall}_background", "simple_background")
    if backdrop.place not in looks.OUTDOORS:
        return PLACES[backdrop.place][:1]
    if backdrop.place == "sky":
        return {"day": ("blue_sky",), "sunset": ("sky", "sunset"), "night": ("night_sky",)}[backdrop.time]
    return (PLACES[backdrop.place][0], backdrop.time)


def describe_count(characters: Iterable[CharacterLook]) -> tuple[str, ...]:
    """`2girls, 1boy`, with `solo` or `multiple_girls` where they apply."""
    genders = [c.gender for c in characters]
    tags = []
    for gender in looks.GENDERS:
        if number := genders.count(gender):
            tags.append(f"{number}{gender}{'s' if number > 1 else ''}")
    if len(genders) == 1:
        tags.append("solo")
    tags += [f"multiple_{g}s" for g in looks.GENDERS if genders.count(g) > 1]
    return tuple(tags)


# ---- reading
def tags_of(text: str) -> list[str]:
    """Tags of a value in canonical spelling: lower case, underscores, no escapes."""
    parts = (re.sub(r"[\s_]+", "_", part.replace("\\", "").strip().lower()) for part in re.split(r"[,\n，、]", text))
    return [part.strip("_") if part != "^_^" else part for part in parts if part.strip("_")]


def _first(tags: list[str], words: dict[str, tuple[str, ...]]) -> str | None:
    """The value named by the tags; earlier rows of the table are stronger."""
    return next((value for value, names in words.items() if any(name in tags for name in names)), None)


def _style(tags: list[str]) -> str | None:
    """A style beats a plain length: `long_hair, twintails` is twintails."""
    found = [value for value, names in STYLES.items() if any(name in tags for name in names)]
    lengths = ("short_hair", "long_hair", "very_long_hair")
    return next((v for v in found if v not in lengths), found[-1] if found else None)


def _coloured(tags: list[str], noun: str, colours: Iterable[str]) -> str | None:
    return next((colour for tag in tags for colour in colours if tag == f"{colour}_{noun}"), None)


def _garment(tags: list[str]) -> tuple[str | None, str | None]:
    """(outfit, colour), either None where the tags do not say."""
    for outfit, (nouns, names, _) in GARMENTS.items():
        colour = next((c for noun in nouns if (c := _coloured(tags, noun, looks.COLOURS))), None)
        named = any(name in tags for name in names)
        if outfit in ("maid", "serafuku"):
            found = named or (outfit == "serafuku" and _coloured(tags, "sailor_collar", looks.COLOURS) is not None)
        else:
            found = named or colour is not None
        if found:
            return outfit, colour
    return None, None


def read_character(tags: list[str]) -> dict[str, str | bool]:
    """The fields of a `CharacterLook` that these tags determine."""
    outfit, colour = _garment(tags)
    genders = {"1girl": "girl", "girl": "girl", "female": "girl", "1boy": "boy", "boy": "boy", "male": "boy"}
    found: dict[str, str | bool | None] = {
        "gender": next((genders[tag] for tag in tags if tag in genders), None),
        "hair": _coloured(tags, "hair", looks.HAIR) or next((HAIR_ALIASES[t] for t in tags if t in HAIR_ALIASES), None),
        "style": _style(tags),
        "bangs": _first(tags, BANGS),
        "eyes": _coloured(tags, "eyes", looks.EYES) or next((EYE_ALIASES[t] for t in tags if t in EYE_ALIASES), None),
        "skin": _first(tags, SKIN),
        "outfit": outfit,
        "colour": colour,
        "accessory": _first(tags, ACCESSORIES),
        "expression": _first(tags, EXPRESSIONS),
        "action": _first(tags, ACTIONS),
        "pose": _first(tags, POSES),
        "gaze": _first(tags, GAZES),
        "side": next((tag for tag in tags if tag in looks.SIDES), None),
        "depth": next((tag for tag in tags if tag in looks.DEPTHS), None),
        "glasses": True if "glasses" in tags else None,
        "ahoge": True if "ahoge" in tags else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def read_backdrop(tags: list[str]) -> dict[str, str]:
    """The fields of a `Backdrop` that these tags determine."""
    time, place = _first(tags, TIMES), _first(tags, PLACES)
    if place is None and time is not None:
        place = "sky"
    found = {"place": place, "time": time, "wall": _coloured(tags, "background", looks.WALLS)}
    return {name: value for name, value in found.items() if value is not None}


def _block_tags(block: Block) -> list[str]:
    return [tag for name, value in block.fields if name not in ("n", "name", "caption") for tag in tags_of(value)]


def scene_from_prompt(prompt: Prompt, seed: int = 0) -> Scene:
    """The scene that a prompt asks for. What it leaves open is drawn from `seed`; absent extras are absent.

    Prompts without character blocks (plain tag lists) show one character, unless their count says otherwise.
    """
    rng = random.Random(seed)
    loose = [tag for extra in prompt.extras for tag in tags_of(extra.text)]
    general = _block_tags(prompt.general) + loose
    blocks = [_block_tags(block) for block in prompt.characters][: looks.MOST_CHARACTERS]
    if not blocks:
        blocks = [loose] * min(looks.MOST_CHARACTERS, max(1, _asked_count(general)))
    people = []
    for tags in blocks:
        told = read_character(tags)
        plain = {"accessory": "none", "glasses": False, "ahoge": False, "skin": "pale", "pose": "standing"}
        people.append(_filled(rng, plain | told))
    backdrop = replace(looks.random_backdrop(rng), **read_backdrop(general))
    return Scene(tuple(people), backdrop, seed, ink="monochrome" in general)


def _filled(rng: random.Random, told: dict[str, str | bool]) -> CharacterLook:
    return replace(replace(looks.random_character(rng), side="", depth=""), **told)


def _asked_count(tags: list[str]) -> int:
    numbers = (re.fullmatch(r"(\d)(?:girl|boy)s?", tag) for tag in tags)
    return sum(int(match[1]) for match in numbers if match)

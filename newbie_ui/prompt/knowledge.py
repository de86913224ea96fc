"""What single tags mean: the field they belong to, and which of them cannot both be true.

Promises: answers only where it is sure; a tag it does not know has no home and contradicts nothing. All keys are in
the form of `taglist.key` (lower case, spaces).
Does not know: texts. The word lists follow Danbooru's usage and the official example, which has closed_mouth and
head_tilt under appearance, so that is right here, too.
"""

from __future__ import annotations

import re
from functools import lru_cache

LONGEST_KEY = 60

_COLOR = (
    r"(?:light |dark |platinum )?"
    r"(?:aqua|black|blonde|blue|brown|green|gr[ea]y|orange|pink|purple|red|silver|white|yellow)"
)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split(","))


_GARMENTS = (
    "apron blazer blouse boots cardigan coat dress footwear gloves hakama hoodie jacket jeans kimono kneehighs legwear "
    "leotard loafers necktie bowtie overalls pajamas pants pantyhose robe sandals school uniform serafuku shirt shoes "
    "shorts skirt sleeves sneakers socks suit sweater swimsuit bikini t-shirt thighhighs tuxedo uniform vest yukata"
).replace("school uniform ", "")
_GARMENT = re.compile(rf"(?:^|[ -])(?:{'|'.join(_GARMENTS.split())})$")
_BODY = re.compile(
    rf"^(?:{_COLOR}|aqua|rainbow|multicolored|two-tone|gradient|very long|absurdly long|long|short|very short|medium|"
    r"messy|wavy|curly|spiked|straight|pale|dark|tan|dark-skinned) (?:hair|eyes|skin)$"
    r"|^(?:twintails|ponytail|side ponytail|braid|twin braids|single braid|ahoge|bangs|blunt bangs|heterochromia|"
    r"freckles|tareme|tsurime|bob cut|hime cut|drill hair|pointy ears|"
    r"(?:cat|fox|dog|wolf|rabbit) tail|(?:angel|demon|bat|fairy) wings|(?:demon|dragon|oni) horns|mole under eye)$"
)
_EXPRESSION = _set(
    "smile,light smile,grin,smirk,evil smile,frown,angry,annoyed,sad,happy,surprised,embarrassed,"
    "expressionless,pout,scared,serious,nervous,worried,shy,smug,excited,:d,;d,:3,:o,:<,;),xd,"
    ">:(,>:)"
)
_ACTION = re.compile(
    r"^(?:holding\b.*|standing(?: on one leg)?|sitting|kneeling|squatting|lying|running|walking|jumping|flying|dancing|"
    r"singing|eating|drinking|reading|writing|cooking|swimming|fighting|waving|pointing(?: at viewer)?|salute|arms? up|"
    r"crossed arms|hands? on hips?|outstretched arms?|spread arms|arms behind (?:back|head)|double v|hug|kiss|"
    r"fighting stance|princess carry|piggyback|hands? in pockets?|adjusting .*)$"
)
_PLACE = re.compile(r"^(?:center|centre) (?:left|right)$|^far (?:left|right)$|^(?:left|right) side$")
_SCENE = re.compile(
    rf"^(?:(?:{_COLOR}|simple|gradient|transparent|blurry|starry|floral|detailed|abstract|beige|two-tone) background|"
    r"(?:blue |night |starry |cloudy )?sky|outdoors|indoors|scenery|beach|ocean|forest|mountain|classroom|bedroom|"
    r"city|cityscape|street|sunset|sunrise|night|day|rain|snow|snowing|cherry blossoms|full moon|sunlight|"
    r"flower field)$"
)
_QUALITY = _set(
    "masterpiece,best quality,high quality,high resolution,max high resolution,highres,absurdres,detailed,"
    "highly detailed,very aesthetic,newest,no text,worst quality,low quality,lowres"
)
_STYLE = _set(
    "anime style,digital art,realistic shading,cel shading,watercolor,pixel art,monochrome,greyscale,sketch,"
    "lineart,traditional media,anime coloring,anime screencap"
)
_COUNT = re.compile(r"^(?:\d+\+?(?:girls?|boys?|others?)|multiple (?:girls|boys|others)|solo)$")

_SCENE_HOMES = ("background", "environment", "atmosphere", "lighting", "perspective", "objects", "other", "extra_tags")
_GROUPS = (
    (_COUNT, ("count", "gender")),
    (_PLACE, ("position",)),
    (frozenset({"blush", "light blush"}), ("expression", "appearance")),
    (frozenset({"crying", "laughing"}), ("expression", "action")),
    (_EXPRESSION, ("expression",)),
    (_ACTION, ("action", "interaction")),
    (_BODY, ("appearance", "body_type")),
    (re.compile(r"^(?:cat|fox|dog|wolf|rabbit|bear|mouse|animal) ears$"), ("appearance", "body_type", "clothing")),
    (_GARMENT, ("clothing",)),
    (_QUALITY, ("quality", "resolution", "style", "other", "extra_tags")),
    (_STYLE, ("style", "quality", "other", "extra_tags")),
    (_SCENE, _SCENE_HOMES),
)
WORDS = {
    "count": "a count",
    "position": "a position",
    "expression": "an expression",
    "action": "an action",
    "appearance": "appearance",
    "clothing": "clothing",
    "quality": "a quality tag",
    "style": "a style",
    "background": "background",
}


def homes(key: str) -> tuple[str, ...]:
    """Fields where a tag belongs, the most usual one first; empty if that is not sure."""
    return _homes(key) if len(key) <= LONGEST_KEY else ()


@lru_cache(maxsize=4096)
def _homes(key: str) -> tuple[str, ...]:
    for group, fields in _GROUPS:
        if key in group if isinstance(group, frozenset) else group.search(key):
            return fields
    return ()


# ---- contradictions

_MIXED_HAIR = re.compile(
    r"^(?:multicolored|two-tone|gradient|streaked|split-color|colored inner|rainbow) hair$|streaks$"
)
_MIXED_EYES = frozenset({"heterochromia", "multicolored eyes", "gradient eyes", "two-tone eyes"})
_HAIR_COLOR = re.compile(rf"^{_COLOR} hair$")
_EYE_COLOR = re.compile(rf"^{_COLOR} eyes$")

_EXCLUSIVE = (
    "short hair,very short hair / long hair,very long hair,absurdly long hair",
    "bald / short hair,medium hair,long hair,very long hair,twintails,ponytail,braid",
    "open mouth / closed mouth",
    "closed eyes / wide-eyed,half-closed eyes,one eye closed",
    "standing / sitting / lying / kneeling / squatting",
    "happy / sad,angry",
    "smile,grin,laughing / frown,expressionless",
    "barefoot / shoes,boots,sneakers,loafers,high heels,sandals,mary janes,socks,thighhighs,pantyhose",
    "long sleeves / short sleeves",
    "indoors / outdoors",
    "day,blue sky / night,night sky,starry sky",
    "simple background,white background / outdoors,indoors,scenery,beach,forest,classroom,cityscape",
    "upper body / full body",
    "from above / from below",
    "from behind / from front",
    "solo / multiple girls,multiple boys",
    "facing viewer / facing away",
)
_SIDES: dict[str, list[tuple[int, int]]] = {}  # tag → (number of the line above, which side of it)
for _number, _line in enumerate(_EXCLUSIVE):
    for _side, _words in enumerate(_line.split(" / ")):
        for _word in _words.split(","):
            _SIDES.setdefault(_word, []).append((_number, _side))


def contradictions(keys: list[str]) -> list[tuple[int, int]]:
    """Pairs (earlier, later) of places in the list that cannot both be true; each later one is named once."""
    pairs: dict[int, int] = {}
    seen: dict[int, dict[int, int]] = {}  # line → side → first place
    for place, key in enumerate(keys):
        for line, side in _SIDES.get(key, ()):
            sides = seen.setdefault(line, {})
            other = next((at for one, at in sides.items() if one != side), None)
            if other is not None:
                pairs.setdefault(place, other)
            sides.setdefault(side, place)
    if not any(_MIXED_HAIR.search(key) for key in keys):
        _differing(keys, _HAIR_COLOR, pairs)
    if _MIXED_EYES.isdisjoint(keys):
        _differing(keys, _EYE_COLOR, pairs)
    return sorted((earlier, later) for later, earlier in pairs.items())


def _differing(keys: list[str], pattern: re.Pattern, pairs: dict[int, int]) -> None:
    """Two different colours of one thing; `light blue hair` beside `blue hair` is the same."""
    places = [place for place, key in enumerate(keys) if pattern.match(key)]
    for later in places[1:]:
        first = places[0]
        if keys[later].split()[-2] != keys[first].split()[-2]:
            pairs.setdefault(later, first)


# ---- likely fields, for sorting a pasted list into cards

_LIKELY_CLOTHING = re.compile(
    r"(?:^|[ -]|sun|head|hair|neck)"
    r"(?:hat|cap|beret|dress|ribbon|bow|scarf|glasses|eyewear|monocle|headphones|headset|choker|necklace|earrings?|"
    r"jewelry|belt|bag|backpack|crown|tiara|mask|goggles|band|clip|pin|hair ornament|armor|cape|capelet|cloak|collar|"
    r"sash|obi|veil|suspenders|stockings|heels|watch|ring|bracelet|gauntlets|helmet|hood|kerchief|clothes|costume|"
    r"outfit|footwear|headwear|hair flower|scrunchie|barefoot)$"
)
_LIKELY_EXPRESSION = re.compile(
    r"^(?:open mouth|closed mouth|parted lips|closed eyes|half-closed eyes|one eye closed|tongue out|tears|teeth|"
    r"fang|clenched teeth|wavy mouth|light blush|full-face blush|tearing up|sweatdrop|[:;>xX=^][\w<>()^]{1,2})$"
)
_LIKELY_ACTION = re.compile(
    r"^(?!evening|morning|building|wing |wings|string|spring|ceiling|painting|lighting)\w+ing\b"
    r"|^(?:hands? |arms? |own hands|head (?:on|rest|tilt)|legs? (?:up|apart)|knees? |v$|seiza|wariza|crossed )"
)
_LIKELY_LIGHT = re.compile(r"(?:lighting|\blight|glow|lens flare|light rays|light particles)$")
_LIKELY_VIEW = re.compile(
    r"^(?:from (?:above|below|behind|side)|upper body|full body|cowboy shot|portrait|close-up|"
    r"wide shot|dutch angle|pov|depth of field|fisheye|lower body)$"
)


def character_field(key: str) -> str:
    """The field of a card where a tag of one character goes; `appearance` if nothing is known of it."""
    home = next((field for field in homes(key) if field in ("gender", *_CARD_FIELDS)), "")
    if home:
        return home
    for pattern, field in (
        (_LIKELY_EXPRESSION, "expression"),
        (_LIKELY_ACTION, "action"),
        (_LIKELY_CLOTHING, "clothing"),
    ):
        if len(key) <= LONGEST_KEY and pattern.search(key):
            return field
    return "appearance"


def general_field(key: str) -> str:
    """The general field where a tag of the whole picture goes; `other` if nothing is known of it."""
    home = next((field for field in homes(key) if field in _PICTURE_FIELDS), "")
    if home or len(key) > LONGEST_KEY:
        return home or "other"
    return "lighting" if _LIKELY_LIGHT.search(key) else "perspective" if _LIKELY_VIEW.search(key) else "other"


def is_personal(key: str) -> bool:
    """True for a tag that surely describes one character."""
    home = homes(key)
    if home:
        return home[0] in _CARD_FIELDS
    return len(key) <= LONGEST_KEY and any(
        pattern.search(key) for pattern in (_LIKELY_EXPRESSION, _LIKELY_ACTION, _LIKELY_CLOTHING, _BODY_PART)
    )


_CARD_FIELDS = ("appearance", "clothing", "expression", "action", "position", "body_type", "interaction")
_PICTURE_FIELDS = ("count", "style", "background", "quality", "lighting", "perspective", "atmosphere")
_BODY_PART = re.compile(
    r"(?:^|[ -])(?:hair|eyes|ears|tail|horns|wings|skin|braids?|ponytail|bangs|pupils|fangs?|bob|bun|halo)$"
)

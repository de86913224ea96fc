"""Captions as people write them: the official XML, the same in another order or with gaps, tag lists, sentences.

A caption says nothing that is not in the picture; it may say less, and it may hold words that mean nothing to the
demo (as real prompts do). The unmentioned is then whatever was drawn, which is what the model has to learn.
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass, replace

from newbie_ui.demo.artist.look import CharacterLook, Scene
from newbie_ui.demo.words import PLACE_EXTRAS, describe_backdrop, describe_character, describe_count

FIELDS = ("gender", "appearance", "clothing", "expression", "action", "position")
# Tags from real prompts that the demo does not draw: the model learns to pass over them.
_FILLER_WORDS = """
hair_between_eyes head_tilt tareme tsurime closed_mouth blush full_body cowboy_shot upper_body portrait
red_neckerchief bow ribbon hair_ribbon sidelocks hair_ornament hair_intakes medium_hair floating_hair wavy_hair
straight_hair multicolored_hair gradient_hair streaked_hair collarbone bare_shoulders pleated_skirt miniskirt
long_skirt thighhighs kneehighs pantyhose socks white_socks boots shoes loafers sneakers sleeves_past_wrists
puffy_sleeves sleeveless collared_shirt buttons belt scarf gloves choker necklace earrings jewelry bag backpack
star_(symbol) heart flower rose holding_hands hug looking_back facing_viewer from_side from_above from_below
dynamic_pose simple_shading flat_color outline white_outline thick_outlines sketch watercolor_(medium) painting
oil_painting pixel_art retro_artstyle 1990s_(style) official_art game_cg key_visual cover poster illustration
fantasy magic sparkle light_particles lens_flare bloom depth_of_field bokeh blurry blurry_background bright dim
volumetric_lighting backlighting sunlight moonlight shadow warm_colors cool_colors pastel_colors vibrant
colorful cheerful calm peaceful melancholic romantic mysterious energetic cozy nostalgic dreamy serene playful
warm masterpiece best_quality high_quality very_aesthetic aesthetic absurdres highres high_resolution detailed
extremely_detailed ultra_detailed intricate newest recent year_2024 year_2025 safe sfw rating:general score_9
anime_style digital_art anime_coloring cel_shading manga semi-realistic 2d cute kawaii moe lovely beautiful
alternate_costume alternate_hairstyle original fanart artist_name signature watermark no_text text_focus
multiple_persons friends siblings sisters couple duo trio group side-by-side facing_another eye_contact matching
food drink cup tea coffee cake ice_cream umbrella sword staff wand guitar piano camera phone laptop desk chair
table window door tree leaf autumn_leaves rain cloud_shadow sun moon star mountain river lake bridge street park
garden forest room bedroom kitchen cafe shop school train bus car bicycle boat airplane bird cat dog fish
butterfly horns tail wings halo fang elf pointy_ears freckles mole eyepatch mask bandaid sweatdrop nose teeth
slim tall petite toned young_adult teenage medium_breasts flat_chest small_head big_eyes tsundere shy serious
confident determined worried nervous embarrassed sleepy bored running walking dancing singing reading eating
drinking sleeping thinking pointing stretching leaning kneeling lying fighting_stance finger_to_mouth
"""
FILLER = tuple(_FILLER_WORDS.split())
SYSTEM_PROMPTS = (
    "You are an assistant designed to generate high-quality anime images with the highest degree of image-text "
    "alignment based on xml format textual prompts. <Prompt Start>",
    "You are an assistant designed to generate low-quality images based on textual prompts. <Prompt Start>",
)
STYLE_TAGS = ("anime_style, chibi", "anime_style, digital_art", "chibi", "anime_style")


@dataclass(frozen=True)
class Manner:
    """How a caption is written. The default is the official form, complete."""

    form: str = "xml"  # xml, list (characters one after another), mixed (all tags shuffled together) or sentence
    underscores: bool = True
    shuffled: bool = False  # order of characters, fields and tags
    gaps: float = 0.0  # chance that a field or tag is left out
    extras: float = 0.0  # chance of each true but needless tag
    filler: int = 0  # tags that mean nothing here
    indent: str = ""


def random_manner(rng: random.Random) -> Manner:
    """A mixture of all forms, half of them official XML: lists are the harder ones to learn (docs/demo-model.md)."""
    form = rng.choices(("xml", "list", "sentence"), (0.50, 0.42, 0.08))[0]
    return Manner(
        form=form,
        underscores=rng.random() < 0.6,
        shuffled=rng.random() < 0.45,
        gaps=rng.choice((0.0, 0.0, 0.0, 0.08, 0.25)),
        extras=rng.choice((0.0, 0.0, 0.15, 0.4)),
        filler=rng.choice((0, 0, 0, 1, 2, 4, 7)),
        indent=rng.choice(("", "", "  ")),
    )


def write_caption(scene: Scene, manner: Manner | None = None, rng: random.Random | None = None) -> str:
    """One caption of the scene. The same arguments (and state of `rng`) give the same text."""
    manner, rng = manner or Manner(), rng or random.Random(scene.seed)
    writer = {"xml": _xml, "list": _tag_list, "mixed": _mixed, "sentence": _sentences}[manner.form]
    text = writer(scene, manner, rng)
    return text if manner.underscores else _with_spaces(text)


def _with_spaces(text: str) -> str:
    """Spaces for underscores in the tags; element names and `$character_1$` keep theirs, as most writers do."""
    return "\n".join(
        line if line.startswith(("<character", "</", "<general", "<n>")) else _spaced_value(line)
        for line in text.split("\n")
    )


def _spaced_value(line: str) -> str:
    return line.replace("^_^", "^^").replace("_", " ")


def _filler(rng: random.Random, count: int) -> list[str]:
    """Known filler, and now and then a word that no vocabulary has."""
    words = [rng.choice(FILLER) for _ in range(count)]
    if count and rng.random() < 0.15:
        words[0] = "".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(3, 7)))
    return words


def _character_fields(look: CharacterLook, manner: Manner, rng: random.Random, filler: int) -> dict[str, list[str]]:
    tags, fields = describe_character(look), {}
    noise = _filler(rng, filler)
    for name in FIELDS:
        if name == "position":
            kept = list(tags.needed[name])
        elif name != "gender" and rng.random() < manner.gaps:
            continue
        else:
            kept = [tag for tag in tags.needed[name] if rng.random() >= manner.gaps or name == "gender"]
            kept += [tag for tag in tags.extra.get(name, ()) if rng.random() < manner.extras and tag not in kept]
        if name in ("appearance", "clothing", "action") and noise:
            kept += [noise.pop()]
        if name == "appearance" and manner.filler > 3:
            kept += noise
            noise = []
        if manner.shuffled:
            rng.shuffle(kept)
        if kept:
            fields[name] = kept
    return fields


def _general_fields(scene: Scene, manner: Manner, rng: random.Random) -> dict[str, list[str]]:
    place = list(describe_backdrop(scene.backdrop))
    place += [t for t in PLACE_EXTRAS[scene.backdrop.place] if rng.random() < manner.extras and t not in place]
    style = ["monochrome"] if scene.ink else [rng.choice(STYLE_TAGS)] if rng.random() < 0.5 else []
    fields = {"count": list(describe_count(scene.characters)), "style": style, "background": place}
    if manner.filler:
        fields[rng.choice(("atmosphere", "quality", "objects", "other"))] = _filler(rng, min(3, manner.filler))
    for name in ("count", "background"):
        if rng.random() < manner.gaps:
            del fields[name]
    return {name: tags for name, tags in fields.items() if tags}


def _xml(scene: Scene, manner: Manner, rng: random.Random) -> str:
    blocks = []
    for number, look in enumerate(scene.characters, 1):
        fields = _character_fields(look, manner, rng, rng.randint(0, manner.filler))
        lines = _field_lines(fields, manner, rng)
        if rng.random() < 0.9:
            lines.insert(0, f"{manner.indent}<n>$character_{number}$</n>")
        blocks.append([f"<character_{number}>", *lines, f"</character_{number}>"])
    if manner.shuffled and all(look.side for look in scene.characters) and rng.random() < 0.5:
        rng.shuffle(blocks)  # without sides the order of the blocks is the order in the picture
    general = ["<general_tags>", *_field_lines(_general_fields(scene, manner, rng), manner, rng), "</general_tags>"]
    blocks.insert(0 if manner.shuffled and rng.random() < 0.25 else len(blocks), general)
    return "\n\n".join("\n".join(block) for block in blocks)


def _field_lines(fields: dict[str, list[str]], manner: Manner, rng: random.Random) -> list[str]:
    lines = [f"{manner.indent}<{name}>{', '.join(tags)}</{name}>" for name, tags in fields.items()]
    if manner.shuffled:
        rng.shuffle(lines)
    return lines


def _tag_lists(scene: Scene, manner: Manner, rng: random.Random) -> tuple[list[list[str]], list[str]]:
    people = [
        [tag for tags in _character_fields(look, manner, rng, rng.randint(0, manner.filler)).values() for tag in tags]
        for look in scene.characters
    ]
    general = [tag for tags in _general_fields(scene, manner, rng).values() for tag in tags]
    return people, general


def _tag_list(scene: Scene, manner: Manner, rng: random.Random) -> str:
    """Each character's tags together, starting with `1girl` or `1boy`, the general ones first or last."""
    people, general = _tag_lists(scene, replace(manner, shuffled=False), rng)
    if manner.shuffled:
        for tags in people:
            rest = tags[1:]
            rng.shuffle(rest)
            tags[1:] = rest
    parts = [*people, general] if rng.random() < 0.5 else [general, *people]
    return ", ".join(tag for part in parts for tag in part)


def _mixed(scene: Scene, manner: Manner, rng: random.Random) -> str:
    """All tags of all characters shuffled together: nothing says what belongs to whom."""
    people, general = _tag_lists(scene, manner, rng)
    tags = [tag for part in people for tag in part]
    rng.shuffle(tags)
    return ", ".join([*general, *tags])


def _sentences(scene: Scene, manner: Manner, rng: random.Random) -> str:
    sentences = [_sentence(look, manner, rng) for look in scene.characters]
    place = " ".join(describe_backdrop(scene.backdrop))
    if rng.random() >= manner.gaps:
        sentences.append(rng.choice((f"the background is {place}.", f"{place} in the background.")))
    return " ".join(sentences).replace("_", " ")


def _sentence(look: CharacterLook, manner: Manner, rng: random.Random) -> str:
    fields = _character_fields(look, replace(manner, shuffled=False), rng, 0)
    body = " and ".join(fields.get("appearance", []))
    worn = " and ".join(fields.get("clothing", []))
    doing = " and ".join(fields.get("expression", []) + fields.get("action", []))
    where = " ".join(fields.get("position", []))
    parts = [f"a {look.gender}"]
    parts += [f"with {body}"] if body else []
    parts += [f"wearing {worn}"] if worn else []
    parts += [f"is {doing}"] if doing else []
    parts += [f"on the {where}"] if where else []
    return " ".join(parts) + "."

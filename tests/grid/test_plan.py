"""Two axes over one request: what each changes, the order of making, what is refused, what it will cost."""

import subprocess
import sys
from dataclasses import replace

import pytest

from newbie_ui.engine.base import PresetChoice
from newbie_ui.grid.axes import Known, offered
from newbie_ui.grid.plan import estimate, read_plan
from newbie_ui.grid.values import GridError
from newbie_ui.prompt.xml import parse
from newbie_ui.request import PARAMETERS, GenerateRequest, LoraUse

PROMPT = """<character_1>
<n>$character_1$</n>
<appearance>blue_hair,  long hair</appearance>
<clothing>school_uniform</clothing>
</character_1>

<character_2>
<appearance>pink_hair</appearance>
</character_2>

<general_tags>
<style>anime_style</style>
<mood_board>odd</mood_board>
</general_tags>
<caption>two friends</caption>"""
BASE = GenerateRequest(prompt=PROMPT, negative_prompt="blurry", width=256, height=256, steps=20, seed=7)
KNOWN = Known(presets=(("balanced", "Balanced"), ("fp8", "Fast fp8")), loras=("ink", "glow:v2"))


def plan(x, y=None, base=BASE, known=KNOWN):
    return read_plan(base, x, y, known)


def requests(made):
    """The requests in reading order."""
    return [cell.request for cell in sorted(made.cells, key=lambda cell: (cell.row, cell.column))]


def only_differs(request, *names):
    return {n for n in PARAMETERS if getattr(request, n) != getattr(BASE, n)} <= set(names)


def test_importing_the_plan_needs_the_standard_library_only():
    code = (
        "import newbie_ui.grid.plan, sys; sys.exit(any(m in sys.modules for m in ('torch', 'PIL', 'gradio', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", [n for n, p in PARAMETERS.items() if p.kind in ("int", "float") and n != "images"])
def test_every_number_of_a_request_can_be_an_axis(name):
    parameter = PARAMETERS[name]
    low = int(parameter.minimum) if parameter.minimum >= 1 or parameter.kind == "int" else parameter.minimum
    for request in requests(plan((name, f"{low}"))):
        assert getattr(request, name) == low
        assert only_differs(request, name)


@pytest.mark.parametrize("name", [n for n, p in PARAMETERS.items() if p.kind == "choice"])
def test_every_choice_of_a_request_can_be_an_axis(name):
    made = plan((name, "all"))
    assert made.columns == PARAMETERS[name].choices
    assert [getattr(request, name) for request in requests(made)] == list(PARAMETERS[name].choices)


@pytest.mark.parametrize("name", ["prompt", "negative_prompt", "system_prompt"])
def test_whole_texts_can_be_an_axis(name):
    made = plan((name, "a {cat|dog} | b, c"))
    assert [getattr(request, name) for request in requests(made)] == ["a {cat|dog}", "b, c"]


def test_each_value_of_x_meets_each_value_of_y():
    made = plan(("steps", "10, 20"), ("guidance_scale", "3-7:3"))
    assert [(r.steps, r.guidance_scale) for r in requests(made)] == [(s, g) for g in (3, 5, 7) for s in (10, 20)]
    assert (made.columns, made.rows) == (("10", "20"), ("3", "5", "7"))
    assert made.title == "Steps x Guidance"
    assert made.settings() == "seed 7, euler, simple"


def test_a_grid_makes_single_pictures_of_one_seed_unless_the_seed_is_an_axis():
    made = requests(plan(("steps", "10, 20"), base=replace(BASE, seed=None, images=8)))
    assert made[0].seed is not None
    assert made[0].seed == made[1].seed
    assert {request.images for request in made} == {1}
    seeds = [request.seed for request in requests(plan(("seed", "5, random 3")))]
    assert seeds[0] == 5
    assert len(set(seeds)) == 4


def test_a_size_sets_both_sides():
    made = plan(("size", "256x384, 384 × 256"))
    assert [(r.width, r.height) for r in requests(made)] == [(256, 384), (384, 256)]
    assert made.columns == ("256 x 384", "384 x 256")


def test_a_preset_is_found_by_its_label_too():
    made = plan(("preset", "balanced | Fast fp8"))
    assert [r.preset for r in requests(made)] == ["balanced", "fp8"]
    assert made.columns == ("Balanced", "Fast fp8")


def test_the_weight_of_a_lora_changes_while_the_others_stay():
    base = replace(BASE, loras=(LoraUse("ink", 0.5), LoraUse("other", 1.0)))
    made = requests(plan(("lora:ink", "0, 1"), base=base))
    assert [r.loras for r in made] == [(LoraUse("ink", w), LoraUse("other", 1.0)) for w in (0.0, 1.0)]
    added = requests(plan(("lora:glow:v2", "0.75")))
    assert added[0].loras == (LoraUse("glow:v2", 0.75),)


def test_one_lora_after_the_other_and_none():
    made = plan(("loras", "none | ink | ink:0.5 | glow:v2 | glow:v2:-1"))
    uses = [(), ("ink", 1), ("ink", 0.5), ("glow:v2", 1), ("glow:v2", -1)]
    assert [r.loras for r in requests(made)] == [(LoraUse(*use),) if use else () for use in uses]
    assert made.columns == ("none", "ink", "ink 0.5", "glow:v2", "glow:v2 -1")


def test_a_field_of_a_character_changes_and_every_other_letter_stays():
    made = plan(("character:1:clothing", "red_dress, bow | | kimono"))
    texts = [r.prompt for r in requests(made)]
    assert texts[0] == PROMPT.replace("school_uniform", "red_dress, bow")
    assert "clothing" not in texts[1]
    assert made.columns == ("red_dress, bow", "(empty)", "kimono")
    assert all(only_differs(r, "prompt") for r in requests(made))


def test_a_field_that_the_prompt_lacks_is_put_where_it_belongs():
    (text,) = [r.prompt for r in requests(plan(("character:2:expression", "smile")))]
    assert parse(text).prompt.characters[1].fields == (("appearance", "pink_hair"), ("expression", "smile"))


def test_general_tags_and_top_elements_can_be_axes():
    assert "<style>sketch</style>" in requests(plan(("general:style", "sketch")))[0].prompt
    assert "<mood_board>calm</mood_board>" in requests(plan(("general:mood_board", "calm")))[0].prompt
    assert "<caption>alone</caption>" in requests(plan(("extra:caption", "alone")))[0].prompt


def test_card_numbers_count_where_a_muted_card_is_left_out():
    known = replace(KNOWN, slots=(1, 3))
    made = plan(("character:3:appearance", "green_hair"), known=known)
    assert "green_hair" in parse(requests(made)[0].prompt).prompt.characters[1].get("appearance")
    with pytest.raises(GridError, match="no part 'character:2:appearance'"):
        plan(("character:2:appearance", "green_hair"), known=known)


def test_text_is_replaced_everywhere_and_the_first_value_leaves_it():
    made = plan(("replace", "hair, fur"))
    texts = [r.prompt for r in requests(made)]
    assert texts == [PROMPT, PROMPT.replace("hair", "fur")]
    negative = requests(plan(("replace", "blurry | sharp, clean")))
    assert [r.negative_prompt for r in negative] == ["blurry", "sharp, clean"]


def test_wholes_change_before_their_parts_whichever_side_they_are_on():
    for x, y in (("prompt", "replace"), ("replace", "prompt")):
        typed = {"prompt": "a red cat | a red dog", "replace": "red | blue"}
        base = replace(BASE, prompt="a red cow")
        made = read_plan(base, (x, typed[x]), (y, typed[y]), KNOWN)
        assert {r.prompt for r in requests(made)} == {f"a {c} {a}" for c in ("red", "blue") for a in ("cat", "dog")}


@pytest.mark.parametrize(
    ("x", "y", "part", "side"),
    [
        (("steps", "10, 500"), None, "Steps 500 is out of range. Use 1 to 100.", "x"),
        (("steps", "4.5"), None, "Steps 4.5 is not a whole number", "x"),
        (("steps", "random"), None, "cannot be random", "x"),
        (("width", "100"), None, "Width 100 is not a multiple of 16. Use 96 or 112. This is the picture with", ""),
        (("size", "256"), None, "Size '256' is not width x height", "x"),
        (("sampler", "euler, fastest"), None, "Sampler 'fastest' is not known. Use some of: euler, heun", "x"),
        (("preset", "turbo"), None, "Preset 'turbo' is not known", "x"),
        (("lora:gone", "1"), None, "LoRA 'gone' is not in the folder", "x"),
        (("lora:ink", "1, 9"), None, "Weight 9 of LoRA 'ink' cannot be used. Use -4 to 4.", "x"),
        (("loras", "gone"), None, "LoRA 'gone' is not in the folder, which has ink, glow:v2.", "x"),
        (("replace", "cat, dog"), None, "The prompt does not contain 'cat'", ""),
        (("replace", " | dog"), None, "nothing to look for", "x"),
        (("character:9:clothing", "a"), None, "no part 'character:9:clothing' now", "x"),
        (("character:1:clothing", "a</clothing><b>x</b>"), None, "holds an element", "x"),
        (("images", "1, 2"), None, "There is no axis 'images'", "x"),
        (("", "1"), None, "There is no axis ''", "x"),
        (("steps:x", "1"), None, "There is no axis 'steps:x'", "x"),
        (("character", "1"), None, "There is no axis 'character'", "x"),
        (("character:1:", "1"), None, "no part 'character:1:'", "x"),
        (("steps", "10"), ("guidance_scale", "one"), "Guidance 'one' is not a number", "y"),
        (("steps", "10"), ("steps", "20"), "Both sides vary Steps", "y"),
        (("size", "256x256"), ("width", "256"), "set the same thing", "y"),
        (("steps", "1..12"), ("guidance_scale", "1..6"), "12 x 6 is 72 pictures; 64 are the most. Use 5 or", "y"),
        (("guidance_start", "0.8"), ("guidance_end", "0.2"), "lies after guidance until", ""),
        (("prompt", " | a"), None, "The prompt is empty", ""),
    ],
)
def test_what_cannot_be_made_is_refused_as_a_whole_with_a_sentence(x, y, part, side):
    with pytest.raises(GridError) as error:
        plan(x, y)
    assert part in str(error.value)
    assert str(error.value).endswith(".")
    assert error.value.side == side


def test_cells_of_one_preset_then_of_one_prompt_are_made_together():
    made = plan(("seed", "1, 2, 3"), ("character:1:clothing", "a | b"))
    assert [(cell.row, cell.column) for cell in made.cells] == [(r, c) for r in range(2) for c in range(3)]
    made = plan(("character:1:clothing", "a | b"), ("seed", "1, 2, 3"))
    assert [(cell.column, cell.row) for cell in made.cells] == [(c, r) for c in range(2) for r in range(3)]
    presets = [cell.request.preset for cell in plan(("preset", "fp8, balanced"), ("prompt", "a | b | c")).cells]
    assert presets == ["fp8"] * 3 + ["balanced"] * 3
    sizes = [cell.request.width for cell in plan(("prompt", "a | b | c"), ("width", "256, 512")).cells]
    assert sizes == [256] * 3 + [512] * 3


def test_every_offered_axis_can_be_chosen_and_has_an_example():
    offers = offered(PROMPT, KNOWN)
    ids = [offer.id for offer in offers]
    assert len(ids) == len(set(ids))
    assert {n for n in PARAMETERS if n != "images"} <= set(ids)
    assert {"size", "replace", "lora:ink", "character:2:clothing", "general:mood_board", "extra:caption"} <= set(ids)
    for offer in offers:
        typed = "hair | fur" if offer.id == "replace" else offer.example.split("  or  ")[0].replace("name", "ink")
        assert plan((offer.id, typed)).cells, offer.id


def test_free_text_offers_no_fields():
    assert not [offer for offer in offered("just a cat", KNOWN) if ":" in offer.id and offer.group != "device"]


def choices(seconds, measured=True):
    def ask(request):
        known = seconds.get(request.steps)
        return [
            PresetChoice("quality", "Quality", "", fits=False, recommended=False, median_s=1000.0),
            PresetChoice(
                "fp8", "Fast", "", fits=True, recommended=False, median_s=known and known / 2, measured=measured
            ),
            PresetChoice("balanced", "B", "", fits=True, recommended=True, median_s=known, measured=measured),
        ]

    return ask


def test_the_total_is_the_sum_of_what_each_picture_took_here():
    made = plan(("steps", "10, 20"), ("preset", "balanced, fp8"))
    found = estimate(made, choices({10: 4.0, 20: 8.0}))
    assert (found.pictures, found.seconds, found.measured) == (4, 4 + 8 + 2 + 4, True)
    assert not estimate(made, choices({10: 4.0, 20: 8.0}, measured=False)).measured


def test_the_automatic_preset_is_the_recommended_one():
    assert estimate(plan(("steps", "10, 20")), choices({10: 4.0, 20: 8.0})).seconds == 12


def test_a_total_that_is_not_known_is_not_guessed():
    found = estimate(plan(("steps", "10, 20, 30")), choices({10: 4.0}))
    assert (found.pictures, found.seconds, found.unknown) == (3, None, 2)


def test_the_machine_is_asked_once_for_each_size_and_number_of_steps():
    asked = []
    estimate(plan(("seed", "1-8"), ("steps", "10, 20")), lambda request: asked.append(request) or ())
    assert len(asked) == 2


def test_nasty_text_stays_text_in_labels_and_prompts():
    nasty = '<img src=x onerror="alert(1)">'
    made = plan(("prompt", f"{nasty} | b"))
    assert made.columns[0] == nasty
    text = requests(plan(("character:1:clothing", nasty)))[0].prompt
    assert parse(text).prompt.characters[0].get("clothing") == nasty
    assert len(parse(text).characters) == 2

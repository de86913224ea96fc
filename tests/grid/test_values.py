"""What may be typed for a side of a grid, and the sentence for what may not."""

import copy
from decimal import Decimal

import pytest

from newbie_ui.grid.values import GridError, names, numbers, texts, words


def read(text, *, whole=True, step=1):
    return [float(value) for value in numbers(text, "Steps", whole=whole, step=Decimal(step))]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("4, 5, 6", [4, 5, 6]),
        ("4,5 , 6,", [4, 5, 6]),
        ("4；5、6", [4, 5, 6]),
        ("１０，２０", [10, 20]),
        ("4 | 5", [4, 5]),
        ("3-7:3", [3, 5, 7]),
        ("3-7 [3]", [3, 5, 7]),
        ("3..7 step 2", [3, 5, 7]),
        ("3-7 (+2)", [3, 5, 7]),
        ("3-7", [3, 4, 5, 6, 7]),
        ("7..3 step 2", [7, 5, 3]),
        ("3..8 step 2", [3, 5, 7]),
        ("-1-1:3", [-1, 0, 1]),
        ("-1..-3", [-1, -2, -3]),
        ("5, 5, 3-7:3", [5, 3, 7]),
        ("1-10:1", [1]),
        ("1, 10..20 step 5, 3", [1, 10, 15, 20, 3]),
    ],
)
def test_numbers_and_ranges_are_read(text, values):
    assert read(text) == values


def test_fractions_stay_exact():
    assert read("0..0.6 step 0.2", whole=False) == [0.0, 0.2, 0.4, 0.6]
    assert read(".5, 1.25", whole=False) == [0.5, 1.25]
    assert read("0-1:4", whole=False) == [0.0, 0.3333, 0.6667, 1.0]


def test_evenly_spaced_sizes_are_multiples_of_sixteen():
    assert numbers("512..1024:4", "Width", whole=True, step=Decimal(16)) == [512, 688, 848, 1024]


def test_evenly_spaced_whole_numbers_are_rounded_and_counted_once():
    assert read("3-4:5") == [3, 4]
    assert read("1-10:4") == [1, 4, 7, 10]


def test_a_range_without_a_step_takes_the_parameter_s_own():
    assert read("64..128", step=16) == [64, 80, 96, 112, 128]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "no values yet"),
        (" , ,", "no values yet"),
        ("abc", "'abc' is not a number or a range"),
        ("3-", "'3-' is not a number"),
        ("1e9", "'1e9' is not a number"),
        ("1..5 step 0", "steps of 0"),
        ("1-5:0", "0 values"),
        ("1-5:13", "13 values; 12 fit"),
        ("1..1000000000000", "1000000000000 values; 12 fit on one side. Use fewer, for example 1..1000000000000:12."),
        (",".join(map(str, range(13))), "13 values; 12 fit"),
        ("1-5:9999", "9999 values"),
        ("random 13", "13 values"),
        ("9" * 30, "is not a number"),
        ("1," * 30_000, "characters; 20000 are the most"),
    ],
)
def test_what_is_no_number_gets_a_sentence_with_value_and_remedy(text, part):
    with pytest.raises(GridError) as error:
        read(text)
    assert part in str(error.value)
    assert str(error.value).endswith(".")


def test_random_ones_are_left_open():
    assert numbers("5, random, random 2", "Seed", whole=True, step=Decimal(1)) == [5, None, None, None]


def test_texts_stand_between_bars_and_keep_their_commas():
    assert texts("red_dress, bow | blue_dress|  | no shoes ", "Clothing") == [
        "red_dress, bow",
        "blue_dress",
        "",
        "no shoes",
    ]
    assert texts("猫｜犬", "Prompt") == ["猫", "犬"]


def test_bars_of_wildcards_and_escaped_bars_are_no_separators():
    assert texts(r"{red|blue} hair | \|_\| | x", "Appearance") == ["{red|blue} hair", "|_|", "x"]
    assert texts(":{ | :}}", "Expression") == [":{", ":}}"]


def test_words_may_stand_between_commas_where_there_is_no_bar():
    assert words("blue_hair, red_hair", "Text") == ["blue_hair", "red_hair"]
    assert words("blue_hair, long | red_hair", "Text") == ["blue_hair, long", "red_hair"]


def test_names_are_found_by_name_or_label_in_any_case():
    choices = [("fp8", "Fast fp8"), ("balanced", "Balanced")]
    assert names("FAST FP8 | balanced", "Preset", choices) == ["fp8", "balanced"]
    assert names("all", "Preset", choices) == ["fp8", "balanced"]
    with pytest.raises(GridError, match="Preset 'turbo' is not known"):
        names("fp8, turbo", "Preset", choices)
    with pytest.raises(GridError, match="Wait until the engine has started"):
        names("all", "Preset", ())
    with pytest.raises(GridError, match="Preset has no values yet"):
        names(" ", "Preset", choices)


def test_an_error_keeps_its_side_when_it_travels():
    error = copy.copy(GridError("No. Use 1.", "y"))
    assert (str(error), error.side) == ("No. Use 1.", "y")

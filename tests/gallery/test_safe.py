"""Decoding within limits."""

from __future__ import annotations

import time

import pytest

from newbie_ui.gallery.safe import Damaged, complete_entries, load_json, load_object, number, salvage, whole


def test_nan_and_infinity_are_read_as_nothing_outside_texts():
    assert load_json('{"a": NaN, "b": [Infinity, -Infinity], "c": "NaN"}') == {"a": None, "b": [None, None], "c": "NaN"}


@pytest.mark.parametrize("text", ["[" * 100 + "]" * 100, "[" * 1_000_000, '{"a":' * 100_000, "", "{", '"\\', "nul"])
def test_deep_and_broken_json_is_damaged_and_nothing_else(text):
    with pytest.raises(Damaged):
        load_json(text)


def test_brackets_inside_texts_are_no_depth():
    assert load_json('["' + "[" * 500 + '\\""]') == ["[" * 500 + '"']


def test_an_object_is_wanted_where_an_object_is_wanted():
    with pytest.raises(Damaged):
        load_object("[1]")


def test_pairs_of_a_broken_object_are_saved_the_first_of_each():
    text = (
        '{"prompt": "a \\"b\\" {c", "seed": 12, "inner": {"steps": 3, "seed": 99}, "l": [1, 2, "uc": "bad", "c": "off'
    )
    assert salvage(text) == {"prompt": 'a "b" {c', "seed": 12, "steps": 3, "uc": "bad"}


def test_whole_entries_of_a_broken_object_are_saved():
    assert complete_entries('{"3": {"a": [1, "}"]}, "4": {"b": 2}, "5": {"c"') == {"3": {"a": [1, "}"]}, "4": {"b": 2}}


@pytest.mark.parametrize("text", ['"a":"' * 100_000, '"a":[' * 100_000, '"' * 500_000, '"a"' + " " * 500_000])
def test_saving_takes_little_time_whatever_the_text(text):
    started = time.process_time()
    salvage(text)
    complete_entries("{" + text)
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (5, 5),
        ("18446744073709551615", 2**64 - 1),
        (5.0, 5),
        ("5.0", 5),
        (5.5, None),
        (True, None),
        ("x", None),
        (None, None),
        ([], None),
        (float("nan"), None),
        ("1e400", None),
        (10**50, None),
        ("٣", None),
    ],
)
def test_whole_numbers_are_read_from_what_programs_write(value, found):
    assert whole(value) == found


@pytest.mark.parametrize(
    ("value", "found"), [("4.5", 4.5), (3, 3.0), ("-1e2", -100.0), ("1.2.3", None), ("0x10", None), (1e300, None)]
)
def test_numbers_are_finite_or_nothing(value, found):
    assert number(value) == found

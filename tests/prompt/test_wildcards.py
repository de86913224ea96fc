"""Wildcards: the same seed, the same choice; nothing else is touched."""

import json

import pytest

from newbie_ui.prompt.wildcards import MAX_CHARS, has_wildcards, names, resolve
from tests.prompt.samples import COMFY, OFFICIAL


def test_the_same_seed_draws_the_same_and_other_seeds_draw_others():
    text = "{red|blue|green|black}_hair, {smile|frown}"
    assert resolve(text, 7) == resolve(text, 7)
    assert len({resolve(text, seed).after for seed in range(60)}) == 8
    assert resolve("{a|b|c}", 1).after in "abc"


def test_the_draw_is_the_same_on_every_machine_and_version():
    drawn = [resolve("{a|b|c|d}{1|2|3|4}", seed).after for seed in (0, 1, 2, 2**63 - 1)]
    assert drawn == ["a3", "d4", "a1", "b4"]
    assert [resolve("{a|b}", seed).after for seed in range(8)] == list("abaaabba")


def test_before_after_and_each_choice_are_recorded():
    found = resolve("a {x|y} b", 3)
    assert found.before == "a {x|y} b"
    assert found.after in ("a x b", "a y b")
    assert found.choices[0].wildcard == "{x|y}"
    assert found.choices[0].picked in "xy"


def test_choices_may_be_empty_and_nested():
    results = {resolve("{|{a|b}{1|2}}", seed).after for seed in range(60)}
    assert results == {"", "a1", "a2", "b1", "b2"}


def test_braces_without_a_bar_are_not_touched():
    for text in ("{blue_hair}", COMFY, OFFICIAL, '{ "a": "x | y" }', "{{x}}", "a | b", "|_|", "{", "}|{"):
        assert resolve(text, 1).after == text
        assert not has_wildcards(text)


def test_files_of_the_folder_give_lines(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "colour.txt").write_text("# comment\nred\n\nblue\n")
    (tmp_path / "sub" / "hair.txt").write_text("__colour___hair\n__colour__ {long|short} hair\n")
    results = {resolve("1girl, __sub/hair__", seed, tmp_path).after for seed in range(80)}
    assert results <= {
        "1girl, red long hair",
        "1girl, red short hair",
        "1girl, blue long hair",
        "1girl, blue short hair",
        "1girl, red_hair",
        "1girl, blue_hair",
    }
    assert len(results) >= 4
    assert names(tmp_path) == ("colour", "sub/hair")


def test_a_file_that_is_missing_leaves_the_text_and_says_so(tmp_path):
    found = resolve("__nothing__, a", 1, tmp_path)
    assert found.after == "__nothing__, a"
    assert "no wildcard file nothing.txt" in found.problems[0]
    assert "needs a folder" in resolve("__nothing__", 1).problems[0]


def test_no_file_outside_the_folder_is_ever_read(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    inside = tmp_path / "cards"
    inside.mkdir()
    (inside / "link.txt").symlink_to(tmp_path / "secret.txt")
    for name in ("../secret", "a/../../secret", "/etc/hostname", "link", "sub/../link"):
        assert "secret" not in resolve(f"__{name}__", 1, inside).after.replace("secret__", "")


def test_endless_and_huge_wildcards_end(tmp_path):
    (tmp_path / "loop.txt").write_text("x__loop__\n")
    found = resolve("__loop__", 1, tmp_path)
    assert "followed 8 times" in found.problems[0]
    (tmp_path / "bomb.txt").write_text("__bomb__ __bomb__ __bomb__ __bomb__ __bomb__ __bomb__ __bomb__ __bomb__\n")
    found = resolve("__bomb__", 1, tmp_path)
    assert len(found.after) <= MAX_CHARS
    assert found.problems
    (tmp_path / "long.txt").write_text("y" * 1_999)
    assert len(resolve("__long__ " * 30, 1, tmp_path).after) <= MAX_CHARS
    (tmp_path / "longer.txt").write_text("y" * 30_000)
    assert "is empty" in resolve("__longer__", 1, tmp_path).problems[0]
    assert resolve("{a|b}" * 2_000, 1).problems


@pytest.mark.parametrize(
    "text", ["{" * 5_000, "{|" * 3_000, "__" * 5_000, "{a|b" * 3_000, "{" + "|" * 20_000, "}" * 5_000]
)
def test_hostile_texts_end(text):
    resolve(text, 1)


def test_choices_survive_json(tmp_path):
    found = resolve("{a|b}", 1)
    assert json.loads(json.dumps([c.__dict__ for c in found.choices]))[0]["wildcard"] == "{a|b}"

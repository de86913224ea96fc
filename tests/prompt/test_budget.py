"""Tokens by block, the two marks, the diet and the cut. The tokenizer here is a simple stand-in."""

import random
import re

import pytest

from newbie_ui.prompt.budget import BlockTokens, budget, cut, diet, joined, saved, spaced
from newbie_ui.prompt.taglist import keys
from newbie_ui.prompt.xml import parse
from tests.prompt.samples import COMFY, NASTY, OFFICIAL, SYSTEM


def count(texts):
    """Words, single signs and runs of white space, as a byte-pair tokenizer roughly splits them."""
    return [len(re.findall(r"[^\W_]+|_|[^\w\s]|\s\s+|\n", text)) for text in texts]


def test_blocks_add_up_to_the_whole_and_cover_the_text():
    for text in (OFFICIAL, COMFY, *NASTY.values()):
        found = budget(text, count, SYSTEM)
        assert found.total == sum(b.tokens for b in found.blocks) + (1 if text else 0)
        assert found.total == count([joined(text, SYSTEM)])[0] + (1 if text else 0)
        spans = [(b.start, b.end) for b in found.blocks if b.end]
        assert "".join(text[start:end] for start, end in spans) == text


def test_blocks_are_named_in_the_order_of_the_text():
    text = OFFICIAL.replace("$character_2$", "momo") + "\n<caption>Two girls.</caption>\nrain"
    labels = [(b.kind, b.index, b.label) for b in budget(text, count, SYSTEM).blocks]
    assert labels == [
        ("system", -1, "system"),
        ("character", 0, "character 1"),
        ("character", 1, "momo"),
        ("general", -1, "general"),
        ("caption", -1, "caption"),
        ("text", -1, "text"),
    ]


def test_a_system_prompt_in_the_text_is_used_instead_of_ours():
    found = budget(NASTY["system"], count, SYSTEM)
    assert [b.kind for b in found.blocks] == ["system", "character", "character", "general"]
    assert found.blocks[0].end > 0
    assert budget("", count, SYSTEM).total == 0


def test_the_places_where_both_marks_are_passed_are_exact():
    text = OFFICIAL * 3
    total = budget(text, count).total
    for mark in (10, 100, 333, total - 1):
        found = budget(text, count, None, trained=mark, possible=mark + 1)
        end = found.trained_end
        assert count([text[:end]])[0] + 1 <= mark < count([text[: end + 1]])[0] + 1
    assert budget(text, count, None, trained=total).trained_end is None
    assert budget(text, count, SYSTEM, trained=3).trained_end == 0, "the system prompt alone is longer"


def test_the_state_says_whether_it_fits_and_what_is_lost():
    assert budget(OFFICIAL, count, SYSTEM, trained=5000, possible=6000).state == "fits"
    over = budget(OFFICIAL, count, SYSTEM, trained=300, possible=6000)
    assert over.state == "beyond trained"
    assert [b.label for b in over.lost()] == ["character 2", "general"]
    assert budget(OFFICIAL, count, SYSTEM, trained=10, possible=20).state == "beyond possible"
    assert isinstance(over.blocks[0], BlockTokens)


def test_the_tokenizer_is_asked_a_few_times_only():
    calls = []

    def counted(texts):
        calls.append(len(texts))
        return count(texts)

    budget(OFFICIAL * 8, counted, SYSTEM)
    assert len(calls) < 26
    calls.clear()
    budget(OFFICIAL, counted, SYSTEM, trained=5000, possible=6000)
    assert calls == [4]


# ---- diet


def test_the_diet_of_the_official_example_has_spaces_no_indentation_and_the_same_tags():
    indented = OFFICIAL.replace("\n<", "\n    <").replace("<objects>briefcase", "<mood>  </mood>\n<objects>briefcase")
    text = diet(indented)
    assert "red eyes, blue hair" in text
    assert "\n " not in text
    assert "mood" not in text
    assert "<n>$character_1$</n>" in text
    assert "<general_tags>" in text
    before, after = parse(OFFICIAL).prompt, parse(text).prompt
    assert [keys(v) for _, v in before.general.fields] == [keys(v) for _, v in after.general.fields]
    assert [[keys(v) for _, v in c.fields] for c in before.characters] == [
        [keys(v) for _, v in c.fields] for c in after.characters
    ]
    assert saved(indented, count) > 40


@pytest.mark.parametrize(
    "tag",
    [
        "aris_\\(blue archive\\)",
        ">_<",
        "^_^",
        "o_o",
        "__colours__",
        "$character_1$",
        "<o>_<o>",
        "u_u",
        "0_0",
        "<lora:a_b:1>",
    ],
)
def test_the_diet_keeps_underscores_that_mean_something(tag):
    assert spaced(tag) == tag
    assert tag in diet(f"<character_1><appearance>blue_hair, {tag}</appearance></character_1>")


def test_names_artists_and_captions_keep_their_underscores():
    text = "<character_1><n>hatsune_miku</n></character_1><general_tags><artists>some_one</artists></general_tags>"
    assert diet(text) == text
    caption = "<caption>She wears a red_hat.\n  And boots.</caption>"
    assert diet(caption) == caption


def test_weights_are_spaced_like_tags():
    assert diet("(blue_hair:1.2), red_eyes") == "(blue hair:1.2), red eyes"


@pytest.mark.parametrize("name", NASTY)
def test_the_diet_never_fails_loses_nothing_and_is_the_same_the_second_time(name):
    text = NASTY[name]
    once = diet(text)
    assert diet(once) == once
    assert len(once) <= len(text)
    words = re.findall(r"[^\W_]+", text)
    kept = re.findall(r"[^\W_]+", once)
    empty = {"n", "action"}
    assert [w for w in words if w not in empty] == [w for w in kept if w not in empty]


# ---- cut


def fits_in(limit):
    return lambda text: count([text])[0] <= limit


def test_what_fits_is_not_cut():
    assert cut(OFFICIAL, fits_in(10_000)) == (OFFICIAL, ())


def test_captions_go_first_then_general_tags_then_the_last_character():
    text = OFFICIAL + "\n<caption>Two girls stand in the rain.</caption>\nlast words\n"
    total = count([text])[0]
    short, names = cut(text, fits_in(total - 1))
    assert names == ("free text",)
    short, names = cut(text, fits_in(total - 20))
    assert names[:2] == ("free text", "caption")
    short, names = cut(text, fits_in(count([OFFICIAL])[0] - 12))
    assert names == ("free text", "caption", "other", "objects")
    assert [n for n, _ in parse(short).prompt.general.fields] == [
        "count",
        "style",
        "background",
        "atmosphere",
        "quality",
    ]
    short, names = cut(text, fits_in(230))
    assert names[-1] == "character_2"
    assert len(parse(short).prompt.characters) == 1
    assert parse(short).prompt.general.get("count")
    assert parse(short).problems == ()


def test_a_plain_list_loses_its_last_tags():
    assert cut("a, b, c, d", fits_in(5)) == ("a, b, c", ("the last tag",))
    assert cut("a, b, c, d", fits_in(3)) == ("a, b", ("the last 2 tags",))
    assert cut("a, b", fits_in(0)) == ("", ("the last 2 tags",))


def test_every_cut_is_shorter_and_whole():
    rng = random.Random(8)
    for name, text in NASTY.items():
        limit = rng.randrange(1, 60)
        short, names = cut(text, fits_in(limit))
        assert len(short) <= len(text), name
        assert bool(names) == (short != text)

"""The vocabulary: what ships is safe and complete, what artists bring is checked, and searching is fast."""

import time

import pytest

from newbie_ui.errors import PromptError
from newbie_ui.prompt.document import NAME_FIELDS
from newbie_ui.prompt.tags import CATEGORIES, DATA, Tag, Vocabulary, builtin, is_safe, load_csv, normalise, own_lists
from newbie_ui.prompt.xml import parse
from tests.prompt.samples import OFFICIAL


def names(matches):
    return [match.tag.name for match in matches]


def test_the_list_that_ships_is_read_without_a_complaint():
    words = builtin()
    assert words.problems == ()
    assert len(words) > 7_500
    assert {tag.category for tag in words} <= {*CATEGORIES.values(), ""}
    assert all(tag.count is None for tag in words), "the source has no counts, so there must be none"
    ranks = [tag.rank for tag in words if tag.rank]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks)
    assert "MIT License" in (DATA / "NOTICE.txt").read_text()


def test_the_five_hundred_most_used_tags_have_chinese_and_japanese_names():
    most = sorted((tag for tag in builtin() if tag.rank), key=lambda tag: tag.rank)[:500]
    unnamed = [tag.name for tag in most if not (tag.zh and tag.ja) and any(letter.isalpha() for letter in tag.name)]
    assert len(unnamed) <= 5, unnamed
    assert sum(1 for tag in builtin() if tag.zh and tag.ja) > 1000


def test_lists_of_a_folder_are_one_and_a_bad_one_spoils_nothing(tmp_path):
    (tmp_path / "a.csv").write_text("my_oc,4,12,\nblue_hair,0,900,\nnude,0,5000,\n", encoding="utf-8")
    (tmp_path / "b.csv").write_bytes("caf\xe9,0,1".encode("latin-1"))
    (tmp_path / "notes.txt").write_text("not_a_list,0,1", encoding="utf-8")
    mine = own_lists(tmp_path)
    assert [(tag.name, tag.source) for tag in mine] == [("my_oc", "a"), ("blue_hair", "a")]
    assert "b.csv is not UTF-8" in mine.problems[0]
    assert "nude" in own_lists(tmp_path, safe=False)
    both = builtin().combined(mine)
    assert both.get("blue_hair").count == 900
    assert names(both.search("my_o")) == ["my_oc"]
    assert len(own_lists(tmp_path / "gone")) == 0


def test_a_list_with_counts_stands_among_the_ranked_tags():
    ranked = Vocabulary([Tag("blue_eyes", rank=1), Tag("blue_hair", rank=2), Tag("blue_hat", rank=3)])
    mine = Vocabulary([Tag("blue_eyes", count=900), Tag("blue_hat", count=10), Tag("blue_archive", count=500)])
    assert names(ranked.combined(mine).search("blue"))[0] == "blue_eyes"
    assert names(ranked.combined(mine).search("blue")).index("blue_archive") <= 3
    assert ranked.combined(mine).get("blue_archive").rank == 3


def test_the_list_that_ships_holds_nothing_unsafe():
    assert [tag.name for tag in builtin() if not is_safe(tag.name)] == []


@pytest.mark.parametrize("name", ["nude", "Bare Breasts", "sex_toy", "see-through", "loli", "red_micro_bikini"])
def test_explicit_tags_are_refused_in_any_spelling(name):
    assert not is_safe(name)


@pytest.mark.parametrize("name", ["blue_hair", "cockpit", "analog_clock", "facial_hair", "smile", ">_<", "青髪"])
def test_harmless_tags_are_not_refused(name):
    assert is_safe(name)


def test_every_tag_of_the_official_example_is_known():
    prompt = parse(OFFICIAL).prompt
    values = [v for block in (*prompt.characters, prompt.general) for k, v in block.fields if k not in NAME_FIELDS]
    missing = [tag for value in values for tag in value.split(", ") if tag not in builtin()]
    assert missing == []


def test_hundreds_of_tags_have_chinese_and_japanese_names():
    named = [tag for tag in builtin() if tag.zh and tag.ja]
    assert len(named) > 800
    assert builtin().get("blue_hair").zh[0] == "蓝发"
    assert builtin().get("blue hair").ja[0] == "青髪"
    top = [tag for tag in builtin() if tag.rank and tag.rank <= 150 and tag.category == "general"]
    assert sum(bool(tag.zh) for tag in top) / len(top) > 0.8


def test_the_most_used_are_found_first_by_the_beginning_of_their_name():
    assert names(builtin().search("blu", 3)) == ["blush", "blue_eyes", "blue_hair"]
    assert names(builtin().search("blue ha", 1)) == ["blue_hair"]
    assert names(builtin().search("v", 1)) == ["v"], "the whole name comes first"


def test_tags_are_found_by_a_word_an_alias_and_their_chinese_or_japanese_name():
    assert _first("red_sk") == ("red_skirt", "name")
    assert ("pleated_skirt", "word") in [(m.tag.name, m.kind) for m in builtin().search("skirt")]
    assert _first("gray hair") == ("grey_hair", "alias")
    assert _first("蓝发") == ("blue_hair", "translation")
    assert _first("青髪") == ("blue_hair", "translation")
    assert "long_hair" in names(builtin().search("发")), "a part of the name is enough"
    assert _first("ミク") == ("hatsune_miku", "translation")


def _first(query):
    match = builtin().search(query, 1)[0]
    return match.tag.name, match.kind


def test_escaped_parentheses_and_underscores_do_not_matter():
    assert names(builtin().search("gap_\\(tou")) == ["gap_(touhou)"]
    assert builtin().get("gap \\(touhou\\)").name == "gap_(touhou)"
    assert normalise("Aris_\\(Blue  Archive\\)") == "aris (blue archive)"


def test_a_keystroke_is_answered_in_five_milliseconds():
    words = Vocabulary([*builtin(), *(Tag(f"extra_tag_{i}") for i in range(4_000))])
    words.search("warm up")
    for query in ("b", "bl", "hair", "蓝", "e", "extra_tag_1", "zzz"):
        words._short.clear()
        start = time.process_time()
        words.search(query, 10)
        assert time.process_time() - start < 0.005


def test_an_artists_list_in_tagcompletes_form_brings_counts_and_aliases(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text('\ufeffblue_hair,0,900000,"azul,bluehair"\nmy_oc_(mine),4,12,\nplain tag\n', encoding="utf-8")
    mine = load_csv(path)
    assert mine.get("blue_hair").count == 900_000
    assert mine.get("my_oc_(mine)").category == "character"
    assert mine.get("plain_tag").count is None
    both = builtin().combined(mine)
    blue = both.get("blue_hair")
    assert (blue.count, blue.zh[0], blue.source) == (900_000, "蓝发", "built-in, own")
    assert blue.rank == builtin().get("blue_hair").rank
    assert blue.aliases == ("azul", "bluehair")
    assert names(both.search("azul")) == ["blue_hair"]
    assert len(both) == len(builtin()) + 2


def test_bad_lines_of_an_artists_list_are_counted_and_the_rest_is_used(tmp_path):
    path = tmp_path / "mine.csv"
    lines = [
        "name,category,count",
        "ok,0,5,",
        "bad,0,many,",
        "x" * 500,
        'open,0,1,"never closed',
        "\x07bell",
        "fine,0,7,",
    ]
    path.write_text("\n".join(lines))
    mine = load_csv(path)
    assert [tag.name for tag in mine] == ["ok", "fine"]
    assert mine.problems == ("mine.csv: 4 lines are not tags and were left out (line 3, 4, 5, 6).",)


def test_an_artists_list_can_be_kept_safe(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("blue_hair,0,5,\nnude,0,9,\n")
    assert [tag.name for tag in load_csv(path, safe=True)] == ["blue_hair"]
    assert len(load_csv(path)) == 2


def test_a_list_that_cannot_be_used_is_refused_in_a_sentence(tmp_path, monkeypatch):
    with pytest.raises(PromptError, match=r"gone\.csv cannot be read"):
        load_csv(tmp_path / "gone.csv")
    (tmp_path / "latin.csv").write_bytes(b"caf\xe9,0,1,")
    with pytest.raises(PromptError, match="not UTF-8"):
        load_csv(tmp_path / "latin.csv")
    monkeypatch.setattr("newbie_ui.prompt.tags.MAX_FILE_BYTES", 3)
    with pytest.raises(PromptError, match="larger than"):
        load_csv(tmp_path / "latin.csv")


def test_too_many_rows_are_cut_and_reported(tmp_path, monkeypatch):
    monkeypatch.setattr("newbie_ui.prompt.tags.MAX_ROWS", 10)
    (tmp_path / "many.csv").write_text("\n".join(f"tag{i},0,1," for i in range(20)))
    assert len(load_csv(tmp_path / "many.csv")) == 10
    assert "only the first 10 of 20 lines" in load_csv(tmp_path / "many.csv").problems[0]


def test_the_models_own_tags_are_marked_and_come_first():
    words = builtin().with_model(["blue_skirt", "very own tag"])
    assert words.get("blue_skirt").model
    assert not words.get("blue_hair").model
    assert words.get("very_own_tag").source == "model"
    assert names(words.search("blue_", 1)) == ["blue_skirt"]
    assert builtin().with_model([]) is builtin()
    assert len(words.rows()) == len(words)

"""Whole tags are one token, spelling does not matter, and nothing is beyond the tokenizer."""

import json
import random

import pytest
from transformers import PreTrainedTokenizerFast

from newbie_ui.demo.artist.look import random_scene
from newbie_ui.demo.captions import SYSTEM_PROMPTS, Manner, random_manner, write_caption
from newbie_ui.demo.tokenizer import build_tokenizer, save_tokenizer, vocabulary_tags
from newbie_ui.demo.weights_folder import WEIGHTS


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


GATHERING = ["<appearance>", "<clothing>", "<action>"]


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def tokens(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).tokens


def test_every_tag_of_the_vocabulary_is_one_token(tokenizer):
    assert [tag for tag in vocabulary_tags() if tokens(tokenizer, tag)[1:] != GATHERING] == []


def test_something_stands_behind_each_characters_tags(tokenizer):
    given = tokens(tokenizer, "1girl, blue_hair, 1boy, red_hair")
    assert given == ["1girl", "blue hair", *GATHERING, "1boy", "red hair", *GATHERING]
    assert tokens(tokenizer, "<Prompt Start> 1girl, smile\n") == ["<prompt start>", "1girl", "smile", *GATHERING]


def test_in_xml_it_stands_behind_each_character_and_at_the_end_whatever_the_order(tokenizer):
    one, two = (f"<character_{k}>\n<n>$character_{k}$</n>\n<gender>1girl</gender>\n</character_{k}>" for k in (1, 2))
    general = "<general_tags>\n<count>2girls, 1boy, solo</count>\n</general_tags>"
    first, second = (["<" + f"character {k}>", "<n>", f"$character {k}$", "<gender>", "1girl"] for k in (1, 2))
    last = ["<general tags>", "<count>", "2girls", "1boy", "solo"]
    for texts, groups in (((one, two, general), (first, second, last)), ((general, two, one), (last, second, first))):
        expected = [token for group in groups for token in (*group, *GATHERING)]
        assert tokens(tokenizer, "\n\n".join(texts)) == expected
        assert tokens(tokenizer, f"<Prompt Start>\n{texts[0]}") == ["<prompt start>", *groups[0], *GATHERING]


def test_a_very_long_list_does_not_take_forever(tokenizer):
    assert len(ids(tokenizer, "1girl, blue_hair, " * 3000)) == 3000 * (2 + len(GATHERING))


def test_underscores_case_indentation_and_closing_elements_make_no_difference(tokenizer):
    text = write_caption(random_scene(random.Random(1), 2))
    plain = ids(tokenizer, text)
    for other in (text.replace("_", " "), text.upper(), text.replace("\n", "\n    "), text.replace("</n>", "")):
        assert ids(tokenizer, other) == plain


def test_a_system_prompt_is_one_token(tokenizer):
    for system in (*SYSTEM_PROMPTS, "Anything else. <Prompt Start>"):
        assert ids(tokenizer, f"{system}\n1girl") == [*ids(tokenizer, "<Prompt Start>"), *ids(tokenizer, "1girl")]


def test_unknown_text_becomes_letters_and_bytes_never_unknown(tokenizer):
    found = tokens(tokenizer, "xyzzy, 長い髪, 😀, >_<")
    assert "<unk>" not in found
    assert found[:5] == list("xyzzy")
    assert "<0xF0>" in found


def test_the_letter_in_a_word_is_not_the_peace_sign(tokenizer):
    assert ids(tokenizer, "v") == ids(tokenizer, "peace_sign")
    assert "peace sign" not in tokens(tokenizer, "vqv")


def test_an_empty_text_is_the_begin_token(tokenizer):
    assert tokenizer.encode("").tokens == ["<bos>"]


def test_four_full_characters_fit_the_trained_bucket(tokenizer):
    rng = random.Random(2)
    lengths = [len(tokenizer.encode(write_caption(random_scene(rng, 4), Manner(), rng)).ids) for _ in range(50)]
    assert max(lengths) < 128


def test_captions_of_all_manners_are_mostly_whole_tokens(tokenizer):
    rng = random.Random(3)
    text = [write_caption(random_scene(rng), random_manner(rng), rng) for _ in range(100)]
    found = [token for one in tokenizer.encode_batch(text) for token in one.tokens]
    assert sum(len(token) == 1 for token in found) / len(found) < 0.08


def test_it_loads_from_an_encoders_folder(tokenizer, tmp_path):
    save_tokenizer(tmp_path, 100)
    loaded = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    batch = loaded(["1girl, blue_hair", ""], padding=True)
    assert batch["attention_mask"] == [[1] * 6, [1] + [0] * 5]


@pytest.mark.parametrize("encoder", ["text_encoder", "clip_model"])
def test_the_shipped_tokenizer_is_the_one_built_here(tokenizer, encoder):
    shipped = json.loads((WEIGHTS / encoder / "tokenizer.json").read_text(encoding="utf-8"))
    built = json.loads(tokenizer.to_str())
    assert shipped["model"]["vocab"] == built["model"]["vocab"]
    assert shipped["normalizer"] == built["normalizer"]
    assert shipped["pre_tokenizer"] == built["pre_tokenizer"]
    assert shipped["normalizer"] == built["normalizer"]

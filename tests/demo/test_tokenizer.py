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


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def test_every_tag_of_the_vocabulary_is_one_token(tokenizer):
    assert [tag for tag in vocabulary_tags() if len(ids(tokenizer, tag)) != 1] == []


def test_underscores_case_indentation_and_closing_elements_make_no_difference(tokenizer):
    text = write_caption(random_scene(random.Random(1), 2))
    plain = ids(tokenizer, text)
    for other in (text.replace("_", " "), text.upper(), text.replace("\n", "\n    "), text.replace("</n>", "")):
        assert ids(tokenizer, other) == plain


def test_a_system_prompt_is_one_token(tokenizer):
    for system in (*SYSTEM_PROMPTS, "Anything else. <Prompt Start>"):
        assert ids(tokenizer, f"{system}\n1girl") == [*ids(tokenizer, "<Prompt Start>"), *ids(tokenizer, "1girl")]


def test_unknown_text_becomes_letters_and_bytes_never_unknown(tokenizer):
    tokens = tokenizer.encode("xyzzy, 長い髪, 😀, >_<", add_special_tokens=False).tokens
    assert "<unk>" not in tokens
    assert tokens[:5] == list("xyzzy")
    assert "<0xF0>" in tokens


def test_the_letter_in_a_word_is_not_the_peace_sign(tokenizer):
    assert ids(tokenizer, "v") == ids(tokenizer, "peace_sign")
    assert not set(ids(tokenizer, "v")) & set(ids(tokenizer, "vqv"))


def test_an_empty_text_is_the_begin_token(tokenizer):
    assert tokenizer.encode("").tokens == ["<bos>"]


def test_four_full_characters_fit_the_trained_bucket(tokenizer):
    rng = random.Random(2)
    lengths = [len(tokenizer.encode(write_caption(random_scene(rng, 4), Manner(), rng)).ids) for _ in range(50)]
    assert max(lengths) < 128


def test_captions_of_all_manners_are_mostly_whole_tokens(tokenizer):
    rng = random.Random(3)
    text = [write_caption(random_scene(rng), random_manner(rng), rng) for _ in range(100)]
    tokens = [token for one in tokenizer.encode_batch(text) for token in one.tokens]
    assert sum(len(token) == 1 for token in tokens) / len(tokens) < 0.08


def test_it_loads_from_an_encoders_folder(tokenizer, tmp_path):
    save_tokenizer(tmp_path, 100)
    loaded = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    batch = loaded(["1girl, blue_hair", ""], padding=True)
    assert batch["attention_mask"] == [[1, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize("encoder", ["text_encoder", "clip_model"])
def test_the_shipped_tokenizer_is_the_one_built_here(tokenizer, encoder):
    shipped = json.loads((WEIGHTS / encoder / "tokenizer.json").read_text(encoding="utf-8"))
    built = json.loads(tokenizer.to_str())
    assert shipped["model"]["vocab"] == built["model"]["vocab"]
    assert shipped["pre_tokenizer"] == built["pre_tokenizer"]
    assert shipped["normalizer"] == built["normalizer"]

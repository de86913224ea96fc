"""Encoding text with real classes at tiny size."""

import pickle

import pytest
import torch

from newbie_ui.errors import PromptError
from newbie_ui.model.text import Conditioning, TextEncoders, without_last_layer
from tests import tiny

LONG, SHORT = "1girl, blue_hair, long_hair, smile", "solo"


@pytest.fixture(scope="module")
def encoders():
    return tiny.pipeline().text_encoders


def largest(a, b):
    return (a - b).abs().max().item()


def test_features_are_the_hidden_states_before_the_last_layer(encoders):
    ids = torch.tensor([encoders.gemma_tokenizer(LONG)["input_ids"]])
    with torch.no_grad():
        states = encoders.gemma(input_ids=ids, output_hidden_states=True).hidden_states
    conditioning = encoders.encode([LONG])
    assert torch.equal(conditioning.features, states[-2])
    assert conditioning.features.shape == (1, ids.shape[1], tiny.WIDTH)


def test_the_model_is_whole_again_after_encoding_and_after_an_error(encoders):
    norm = encoders.gemma.norm
    with pytest.raises(RuntimeError), without_last_layer(encoders.gemma):
        raise RuntimeError
    assert encoders.gemma.config.num_hidden_layers == len(encoders.gemma.layers) == 3
    assert encoders.gemma.norm is norm


def test_pooled_is_the_mean_over_real_tokens(encoders):
    ids = torch.tensor([encoders.clip_tokenizer(SHORT)["input_ids"]])
    with torch.no_grad():
        mean = encoders.clip(input_ids=ids).last_hidden_state.mean(dim=1)
    assert largest(encoders.encode([LONG, SHORT]).pooled[1:], mean) < 1e-5


def test_a_batch_gives_what_its_members_give_alone(encoders):
    both = encoders.encode([LONG, SHORT])
    for i, text in enumerate((LONG, SHORT)):
        alone = encoders.encode([text])
        length = alone.features.shape[1]
        assert both.lengths[i] == length
        assert both.mask[i].sum() == length
        assert both.mask[i, :length].all()
        assert largest(both.features[i, :length], alone.features[0]) < 1e-5
        assert largest(both.pooled[i], alone.pooled[0]) < 1e-5


def test_equal_prompts_are_computed_once(encoders, monkeypatch):
    rows = []
    original = TextEncoders._gemma_features

    def watched(self, texts):
        rows.append(len(texts))
        return original(self, texts)

    monkeypatch.setattr(TextEncoders, "_gemma_features", watched)
    conditioning = encoders.encode([LONG, SHORT, LONG, LONG])
    assert rows == [2]
    assert torch.equal(conditioning.features[0], conditioning.features[3])
    assert len(conditioning) == 4


def test_an_empty_text_is_the_begin_token_alone(encoders):
    assert encoders.encode([""], "A system prompt").lengths == [1]


def test_the_system_prompt_changes_features_but_not_the_pooled_text(encoders):
    plain, led = encoders.encode([LONG]), encoders.encode([LONG], "You draw. <Prompt Start>")
    assert led.lengths[0] > plain.lengths[0]
    assert torch.equal(plain.pooled, led.pooled)


def test_counting_needs_no_model(encoders):
    bare = TextEncoders(None, encoders.gemma_tokenizer, None, encoders.clip_tokenizer)
    texts = [LONG, "", SHORT]
    assert bare.count_tokens(texts) == [len(encoders.gemma_tokenizer(text)["input_ids"]) - 1 for text in texts]
    assert bare.count_tokens([]) == []


def test_too_long_a_prompt_is_refused_before_any_model_runs(encoders):
    bare = TextEncoders(None, encoders.gemma_tokenizer, None, encoders.clip_tokenizer)
    with pytest.raises(PromptError, match="takes 1023 at most"):
        bare.encode(["zq " * 800])


def test_a_tokenizer_without_a_begin_token_is_refused(encoders):
    tokenizer = tiny._tokenizer({"pad_token": "<pad>", "eos_token": "<eos>"}, "$A")
    broken = TextEncoders(encoders.gemma, tokenizer, encoders.clip, encoders.clip_tokenizer)
    with pytest.raises(ValueError, match="must add its begin token"):
        broken.encode([""])


# ---- Conditioning ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def conditioning(encoders):
    return encoders.encode([LONG, SHORT])


def test_padding_and_trimming_keep_real_tokens(conditioning):
    wide = conditioning.padded(256)
    assert wide.features.shape[1] == wide.mask.shape[1] == 256
    assert wide.lengths == conditioning.lengths
    assert torch.equal(wide.trimmed().features, conditioning.features)
    with pytest.raises(ValueError, match="do not fit a caption length of 2"):
        conditioning.padded(2)


def test_selecting_one_row_and_trimming_gives_it_alone(conditioning, encoders):
    alone = conditioning.select([1]).trimmed()
    assert largest(alone.features, encoders.encode([SHORT]).features) < 1e-5


def test_concatenating_pads_to_the_longest(conditioning):
    parts = [conditioning.select([1]).trimmed(), conditioning.select([0])]
    both = Conditioning.concatenate(parts)
    assert both.lengths == [conditioning.lengths[1], conditioning.lengths[0]]
    assert both.pooled.shape == (2, tiny.CLIP_WIDTH)


def test_it_moves_and_travels(conditioning):
    assert conditioning.to(dtype=torch.bfloat16).pooled.dtype == torch.bfloat16
    assert conditioning.to("cpu", torch.bfloat16).mask.dtype == torch.bool
    assert torch.equal(pickle.loads(pickle.dumps(conditioning)).features, conditioning.features)

"""Tokenizers from folders and from sentencepiece models, as ComfyUI packs them into weights files."""

import random
import shutil

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file

from newbie_ui.errors import CheckpointError
from newbie_ui.model.checkpoint import load_tokens, locate
from newbie_ui.model.checkpoints.tokenizers import from_sentencepiece, load_tokenizer, read_sentencepiece
from tests.model import published

TEXTS = [
    "1girl, blue hair",
    "<character_1>\n  left_side\n\n  smile é 漢字 😀</character_1>",
    "  two  spaces ",
    "ﬁne Ｆull 1girl\ttab & >_<",
    "$character_1$ 2024",
]
WORDS = (
    "1girl blue hair, pink_hair smile the quick brown fox <character_1> left_side standing outdoors sky ^_^ >_< ﬁne 漢"
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Small sentencepiece models with the settings of Gemma, XLM-RoBERTa, and XLM-RoBERTa as repacked for ComfyUI."""
    folder = tmp_path_factory.mktemp("spm")
    dice = random.Random(0)
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(" ".join(dice.choices(WORDS.split(), k=8)) for _ in range(300)), encoding="utf-8")
    common = {"input": str(corpus), "minloglevel": 2, "character_coverage": 1.0, "hard_vocab_limit": False}
    gemma = {
        "model_type": "bpe",
        "vocab_size": 420,
        "byte_fallback": True,
        "pad_id": 0,
        "eos_id": 1,
        "bos_id": 2,
        "unk_id": 3,
        "pad_piece": "<pad>",
        "bos_piece": "<bos>",
        "eos_piece": "<eos>",
        "add_dummy_prefix": False,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "split_digits": True,
        "user_defined_symbols": ["<mask>", "\n\n", "\n"],
    }
    xlmr = {"model_type": "unigram", "vocab_size": 90, "normalization_rule_name": "nmt_nfkc"}
    repacked = {**xlmr, "bos_id": 0, "pad_id": 1, "eos_id": 2, "unk_id": 3}
    for name, options in {"gemma": gemma, "xlmr": xlmr, "repacked": repacked}.items():
        sentencepiece.SentencePieceTrainer.train(model_prefix=str(folder / name), **common, **options)
    return folder


def processor(models, name):
    return sentencepiece.SentencePieceProcessor(model_file=str(models / f"{name}.model"))


def load(kind, path):
    folder = path.parent / f"only_{path.stem}"
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / ("tokenizer.model" if kind == "gemma" else "sentencepiece.bpe.model"))
    return load_tokenizer(kind, (folder,))


@pytest.mark.parametrize("text", ["", *TEXTS])
def test_gemma_from_sentencepiece_gives_its_ids(text, models):
    tokenizer = load("gemma", models / "gemma.model")
    assert tokenizer(text)["input_ids"] == [2, *processor(models, "gemma").encode(text)]


@pytest.mark.parametrize("text", ["", *TEXTS])
def test_clip_from_sentencepiece_gives_its_ids_shifted_as_jina_counts(text, models):
    tokenizer = load("clip", models / "xlmr.model")
    ids = [i + 1 if i else 3 for i in processor(models, "xlmr").encode(text)]
    assert tokenizer(text)["input_ids"] == [0, *ids, 2]
    assert tokenizer.pad_token_id == 1


@pytest.mark.parametrize("text", ["", *TEXTS])
def test_a_repacked_clip_model_counts_as_it_is(text, models):
    tokenizer = load("clip", models / "repacked.model")
    assert tokenizer(text)["input_ids"] == [0, *processor(models, "repacked").encode(text), 2]


def test_padding_goes_to_the_right(models):
    for kind, name in (("gemma", "gemma"), ("clip", "xlmr")):
        tokenizer = load(kind, models / f"{name}.model")
        batch = tokenizer(["1girl", "1girl blue hair smile"], padding=True)
        assert batch["attention_mask"][0][0] == 1
        assert batch["attention_mask"][0][-1] == 0


def test_a_split_file_brings_its_tokenizer_inside(tmp_path, models):
    split = published.write_split(tmp_path, published.pipeline())
    for path, name in ((split.text_encoder, "gemma"), (split.clip, "xlmr")):
        shutil.rmtree(path.removesuffix(".safetensors"))
        blob = (models / f"{name}.model").read_bytes()
        save_file({**load_file(path), "spiece_model": torch.tensor(list(blob), dtype=torch.uint8)}, path)
    files = locate(split)
    for part, name, bos in (("text_encoder", "gemma", 2), ("clip_model", "xlmr", 0)):
        ids = load_tokens(files, part)("blue hair")["input_ids"]
        assert ids[0] == bos
        assert len(ids) == len(processor(models, name).encode("blue hair")) + (1 if name == "gemma" else 2)


def test_a_split_file_without_any_tokenizer_says_where_to_put_one(tmp_path):
    split = published.write_split(tmp_path, published.pipeline())
    shutil.rmtree(split.clip.removesuffix(".safetensors"))
    with pytest.raises(CheckpointError) as refused:
        load_tokens(locate(split), "clip_model")
    assert str(refused.value) == (
        f"No tokenizer for the CLIP text encoder in {tmp_path / 'jina_clip_v2'}: looked for tokenizer.json and "
        "tokenizer.model, sentencepiece.bpe.model, spiece.model. Put the tokenizer.json of jinaai/jina-clip-v2 there."
    )


@pytest.mark.parametrize("damage", [b"", b"\x0a", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0f\x00"])
def test_a_damaged_model_is_refused(damage, tmp_path):
    with pytest.raises(CheckpointError, match=r"The tokenizer inside .*x is damaged \(.*\)\. Download it again\."):
        from_sentencepiece("gemma", damage, tmp_path / "x")


def test_cut_off_models_never_do_worse_than_a_refusal(models):
    blob = (models / "xlmr.model").read_bytes()
    for end in range(1, 400, 7):
        try:
            read_sentencepiece(blob[:end])
        except (ValueError, IndexError):
            continue


def test_a_tokenizer_json_that_marks_no_ends_gets_them(tmp_path):
    gemma, clip = (published.pipeline().tokenizer, published.pipeline().clip_tokenizer)
    for kind, tokenizer, count in (("gemma", gemma, 1), ("clip", clip, 2)):
        tokenizer.save_pretrained(tmp_path / kind)
        path = tmp_path / kind / "tokenizer.json"
        bare = tokenizer.backend_tokenizer.from_file(str(path))
        bare.post_processor = None
        bare.save(str(path))
        assert len(load_tokenizer(kind, (tmp_path / kind,))("")["input_ids"]) == count


def test_a_tokenizer_without_ends_is_refused(tmp_path):
    published.pipeline().tokenizer.save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="names no begin, end or padding token"):
        load_tokenizer("gemma", (tmp_path,))

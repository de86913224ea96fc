"""The demo's tokenizer: whole tags and element names as single tokens, letters and bytes for everything else.

Gemma's own vocabulary would cost 33 million parameters at the demo's width; this one has under two thousand entries.
It reads prompts leniently: case, underscores and spaces, indentation and closing elements make no difference, and a
system prompt in front counts as the one token `<Prompt Start>`. Both encoders share it.

Behind each character's tags, and at the end, `GATHERING` is read: a text encoder that looks back only gathers there
what was said before (docs/demo-model.md has the figures). People need not write it.
"""

from __future__ import annotations

import re
import string
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from newbie_ui.demo import captions, words
from newbie_ui.demo.artist import look as looks
from newbie_ui.prompt.document import CHARACTER_FIELDS, GENERAL_FIELDS

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<prompt start>")
ELEMENTS = (
    *(f"<character {k}>" for k in range(1, 9)),
    "<general tags>",
    *(f"<{name.replace('_', ' ')}>" for name in dict.fromkeys((*CHARACTER_FIELDS, *GENERAL_FIELDS))),
    *(f"$character {k}$" for k in range(1, 9)),
)
GATHERING = " <appearance> <clothing> <action>"
_SENTENCE_WORDS = """
a an the and with wearing is are on in at of to her his she he who left right center middle side background girl boy
girls boys woman man two three four one character picture standing hair eyes dress shirt holding looking next
"""


def vocabulary_tags() -> list[str]:
    """Every tag that the artist can draw, in canonical spelling."""
    tags = [f"{c}_hair" for c in looks.HAIR] + [f"{c}_eyes" for c in looks.EYES]
    tags += [f"{c}_{noun}" for c in looks.COLOURS for nouns, _, _ in words.GARMENTS.values() for noun in nouns]
    tags += [f"{c}_neckerchief" for c in ("red", "blue")] + [f"{wall}_background" for wall in looks.WALLS]
    for _, names, additions in words.GARMENTS.values():
        tags += [*names, *additions]
    tables = (words.STYLES, words.EXPRESSIONS, words.EXPRESSION_EXTRAS, words.ACTIONS, words.ACCESSORIES, words.SKIN)
    for table in (*tables, words.BANGS, words.POSES, words.GAZES, words.PLACES, words.PLACE_EXTRAS, words.TIMES):
        for names in table.values():
            tags += names
    tags += [*words.HAIR_ALIASES, *words.EYE_ALIASES, *looks.SIDES, *looks.DEPTHS, "ahoge", "glasses", "animal_ears"]
    tags += ["holding", "solo", "chibi", "monochrome", "greyscale", "multiple_girls", "multiple_boys"]
    tags += [f"{n}{g}{'s' if n > 1 else ''}" for n in range(1, 7) for g in looks.GENDERS]
    return list(dict.fromkeys(tags))


def _phrases() -> list[str]:
    """Normalised spellings that become one token each."""
    tags = [*vocabulary_tags(), *captions.FILLER, *_SENTENCE_WORDS.split()]
    spelled = (re.sub(r"\s+", " ", tag.replace("_", " ")).strip() for tag in tags)
    return [p for p in dict.fromkeys(spelled) if p]


def build_tokenizer() -> Tokenizer:
    """The tokenizer, made from the vocabulary; no training and no randomness."""
    phrases = _phrases()
    singles = [*string.ascii_lowercase, *string.digits, *"<>()^:;.'\"&!?-/+*=$#@%"]
    byte_tokens = [f"<0x{b:02X}>" for b in range(256)]
    entries = dict.fromkeys((*SPECIAL, *ELEMENTS, *phrases, *singles, *byte_tokens))
    vocab = {token: number for number, token in enumerate(entries)}
    tokenizer = Tokenizer(models.BPE(vocab, [], byte_fallback=True, ignore_merges=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[_\s]+"), " "),
            normalizers.Replace(Regex(r"\A.*<prompt start>"), "<prompt start>"),
            # Behind each character: in a list before the next one, in XML before the next block, and at the end
            *(
                normalizers.Replace(
                    Regex(rf"(?<=[a-z0-9),.]) {who}(?![a-z0-9])(?![^<]{{0,200}}<)"),  # within XML an element follows
                    f"{GATHERING} {who}",
                )
                for who in ("1girl", "1boy")
            ),
            normalizers.Replace(Regex(r"</[a-z0-9 ]{1,40}>"), ","),
            normalizers.Replace(Regex(r"(?<=[^>\s]) ?<(?=(?:character [1-8]|general tags)>)"), f"{GATHERING} <"),
            normalizers.Replace(Regex(r"(?<=[^>\s]) ?\z"), GATHERING),
            normalizers.Replace("\\", ""),
            normalizers.Replace(Regex(r"(?<![a-z0-9<])v(?![a-z0-9-])"), "peace sign"),  # the letter alone is a tag
        ]
    )
    whole = sorted((p for p in phrases if not re.fullmatch(r"[a-z]+", p)), key=len, reverse=True)
    pattern = "|".join(
        [
            "<prompt start>",
            "|".join(re.escape(e).replace(r"\ ", " ") for e in ELEMENTS),
            r"(?<![a-z0-9])(?:" + "|".join(re.escape(p).replace(r"\ ", " ") for p in whole) + r")(?![a-z0-9])",
            r"[a-z]+",
            r"[^\s,a-z]",
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", vocab["<bos>"])]
    )
    return tokenizer


def save_tokenizer(folder: str | Path, max_length: int) -> None:
    """Write it as transformers' PreTrainedTokenizerFast reads it, into an encoder's folder."""
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(
        tokenizer_object=build_tokenizer(),
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        padding_side="right",
        model_max_length=max_length,
    ).save_pretrained(folder)

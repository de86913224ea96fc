"""Tokenizers of the two text encoders, from a folder or from a sentencepiece model inside a weights file.

Promises: the class is chosen here, never by a config; a Gemma text starts with its begin token, a CLIP text has both
ends; padding goes to the right. A sentencepiece model (as ComfyUI packs it into its text encoder files) becomes the
same tokenizer without the sentencepiece library.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import processors
from transformers import (
    AddedToken,
    GemmaTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    XLMRobertaTokenizer,
)

from newbie_ui.errors import CheckpointError
from newbie_ui.model.checkpoints.weights import Weights

PACKED = "spiece_model"  # the name of the tensor in ComfyUI's files
SENTENCEPIECE_FILES = ("tokenizer.model", "sentencepiece.bpe.model", "spiece.model")
CONTROL, USER_DEFINED = 3, 4  # kinds of pieces
MAX_MODEL_BYTES = 64_000_000


def load_tokenizer(kind: str, folders: Sequence[Path], weights: Weights | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of `kind` ("gemma" or "clip") from the first folder that has one, else from inside `weights`.

    Raises:
        CheckpointError: none found, or a damaged one.
    """
    for folder in folders:
        if (folder / "tokenizer.json").is_file():
            return _checked(kind, _from_json(folder), folder)
        for name in SENTENCEPIECE_FILES:
            if (folder / name).is_file():
                return _checked(kind, from_sentencepiece(kind, (folder / name).read_bytes(), folder / name), folder)
    if weights is not None and PACKED in weights.tensors:
        if weights.tensors[PACKED].size > MAX_MODEL_BYTES:
            raise CheckpointError(f"{weights.path} has {PACKED} of {weights.tensors[PACKED].size} bytes: too large.")
        blob = next(bytes(tensor.flatten().numpy().tobytes()) for _, tensor in weights.stream([PACKED]))
        return _checked(kind, from_sentencepiece(kind, blob, weights.path), weights.path)
    places = " or ".join(map(str, folders)) or "the given files"
    whose = "google/gemma-3-4b-it" if kind == "gemma" else "jinaai/jina-clip-v2"
    raise CheckpointError(
        f"No tokenizer for the {'Gemma' if kind == 'gemma' else 'CLIP'} text encoder in {places}: looked for "
        f"tokenizer.json and {', '.join(SENTENCEPIECE_FILES)}. Put the tokenizer.json of {whose} there."
    )


def _from_json(folder: Path) -> PreTrainedTokenizerBase:
    try:
        return PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # the library raises bare Exception for a file that does not parse
        raise CheckpointError(
            f"The tokenizer in {folder} cannot be read ({str(error)[:200]}). Download it again."
        ) from error


def _checked(kind: str, tokenizer: PreTrainedTokenizerBase, source: Path) -> PreTrainedTokenizerBase:
    """Make sure that a text's ends are marked: some tokenizer.json leave that to a class that is not used here."""
    tokenizer.padding_side = "right"
    bos, eos = tokenizer.bos_token, tokenizer.eos_token
    if bos is None or tokenizer.pad_token is None or (kind == "clip" and eos is None):
        raise CheckpointError(f"The tokenizer in {source} names no begin, end or padding token. Download it again.")
    if not tokenizer("")["input_ids"]:
        ends = [bos] if kind == "gemma" else [bos, eos]
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=[ends[0], "$A", *ends[1:]],
            special_tokens=[(token, tokenizer.convert_tokens_to_ids(token)) for token in ends],
        )
    return tokenizer


# ---- sentencepiece -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SentencePiece:
    """What is needed of a sentencepiece model: its pieces with scores and kinds, and the text normalisation."""

    pieces: tuple[tuple[str, float, int], ...]
    charsmap: bytes
    bos_id: int


def from_sentencepiece(kind: str, blob: bytes, source: Path) -> PreTrainedTokenizerBase:
    """A tokenizer equal to this sentencepiece model. Raises CheckpointError for bytes that are none."""
    try:
        model = read_sentencepiece(blob)
    except (ValueError, IndexError, struct.error) as error:
        raise CheckpointError(f"The tokenizer inside {source} is damaged ({error}). Download it again.") from error
    return _gemma(model) if kind == "gemma" else _clip(model)


def _gemma(model: SentencePiece) -> GemmaTokenizer:
    vocab = {piece: i for i, (piece, _, _) in enumerate(model.pieces)}
    tokenizer = GemmaTokenizer(vocab=vocab, merges=_merges(vocab))
    marks = [
        AddedToken(piece, normalized=False, special=kind == CONTROL)
        for piece, _, kind in model.pieces
        if kind in (CONTROL, USER_DEFINED)
    ]
    tokenizer.backend_tokenizer.add_tokens(marks)
    return tokenizer


def _merges(vocab: dict[str, int]) -> list[tuple[str, str]]:
    """Pairs that join to a piece; a piece of lower id is joined first (its id is its rank in sentencepiece's BPE)."""
    pairs = []
    for piece, rank in vocab.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocab and right in vocab:
                pairs.append((rank, vocab[left], vocab[right], left, right))
    return [(left, right) for *_, left, right in sorted(pairs)]


def _clip(model: SentencePiece) -> XLMRobertaTokenizer:
    """The original file counts <unk> <s> </s> …; Jina's ids are <s> <pad> </s> <unk> …, with <mask> at the end."""
    vocab = [(piece, score) for piece, score, _ in model.pieces]
    if model.bos_id == 1:
        ends = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
        vocab = [*ends, *vocab[3:], ("<mask>", 0.0)]
    return XLMRobertaTokenizer(vocab=vocab, _spm_precompiled_charsmap=model.charsmap or None)


def read_sentencepiece(blob: bytes) -> SentencePiece:
    """Parse a sentencepiece ModelProto (field numbers of sentencepiece_model.proto). Raises ValueError."""
    pieces, charsmap, bos_id = [], b"", 1
    for number, value in _fields(blob):
        if number == 1:
            entry = dict(_fields(value))
            score = struct.unpack("<f", entry[2])[0] if 2 in entry else 0.0
            pieces.append((entry[1].decode("utf-8"), score, entry.get(3, 1)))
        elif number == 2:
            bos_id = dict(_fields(value)).get(41, 1)
        elif number == 3:
            charsmap = dict(_fields(value)).get(2, b"")
    if not pieces:
        raise ValueError("no pieces")
    return SentencePiece(tuple(pieces), charsmap, bos_id)


def _fields(blob: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of one protobuf message: whole numbers as int, everything else as bytes."""
    place = 0
    while place < len(blob):
        tag, place = _varint(blob, place)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, place = _varint(blob, place)
            yield number, value
            continue
        if wire == 2:
            size, place = _varint(blob, place)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if place + size > len(blob):
            raise ValueError("ends within a field")
        yield number, blob[place : place + size]
        place += size


def _varint(blob: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = blob[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number that never ends")

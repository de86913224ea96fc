"""Text → Conditioning: Gemma3 features for every token, one pooled CLIP vector.

Promises: `TextEncoders.encode` gives the numbers the transformer was trained on: Gemma's hidden states before its
last layer, and the attention-masked mean of the Jina CLIP text tower, not normalised; a batch gives what its members
give alone. Does not know where the models come from, nor where prompts come from; `fit.py` decides what fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Gemma3TextModel, JinaEmbeddingsV3Model, PreTrainedTokenizerBase

from newbie_ui.model.devices import compute_device
from newbie_ui.model.fit import Cutter, FittedText, TokenLimits, fit_text


@dataclass(frozen=True)
class Conditioning:
    """What the transformer knows of a batch of prompts."""

    features: Tensor  # (B, L, D), padding on the right
    mask: Tensor  # (B, L) bool, True for real tokens
    pooled: Tensor | None  # (B, C)

    def __len__(self) -> int:
        return len(self.features)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Conditioning:
        pooled = None if self.pooled is None else self.pooled.to(device, dtype)
        return Conditioning(self.features.to(device, dtype), self.mask.to(device), pooled)

    @property
    def lengths(self) -> list[int]:
        """Real tokens of each prompt. Waits for the device: not for use between steps."""
        return self.mask.sum(dim=1).tolist()

    def padded(self, length: int, longest: int | None = None) -> Conditioning:
        """The same with room for `length` tokens. Real tokens are never cut off.

        `longest`: the most real tokens of any prompt, if they are known: counting them waits for the device.
        """
        longest = max(self.lengths) if longest is None else longest
        if length < longest:
            raise ValueError(f"{longest} tokens do not fit a caption length of {length}.")
        features, mask = self.features[:, :length], self.mask[:, :length]
        room = length - features.shape[1]
        return replace(self, features=F.pad(features, (0, 0, 0, room)), mask=F.pad(mask, (0, room)))

    def trimmed(self) -> Conditioning:
        """The same without columns that are padding for everyone."""
        return self.padded(max(self.lengths))

    def select(self, indices: Sequence[int]) -> Conditioning:
        """These rows, in this order; rows may repeat."""
        rows = torch.tensor(indices, device=self.features.device)
        pooled = None if self.pooled is None else self.pooled[rows]
        return Conditioning(self.features[rows], self.mask[rows], pooled)

    @staticmethod
    def concatenate(parts: Sequence[Conditioning]) -> Conditioning:
        """One batch of all, padded to the longest. Pooled text must be there for all or none."""
        length = max(part.features.shape[1] for part in parts)
        parts = [part.padded(length) for part in parts]
        pooled = None if parts[0].pooled is None else torch.cat([part.pooled for part in parts])
        return Conditioning(torch.cat([p.features for p in parts]), torch.cat([p.mask for p in parts]), pooled)


@dataclass(frozen=True)
class TextEncoders:
    """Two language models and their tokenizers. The models may be None where only tokens are counted."""

    gemma: Gemma3TextModel | None
    gemma_tokenizer: PreTrainedTokenizerBase
    clip: JinaEmbeddingsV3Model | None
    clip_tokenizer: PreTrainedTokenizerBase
    limits: TokenLimits = field(default_factory=TokenLimits)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Gemma tokens of each text, without special tokens."""
        return count_tokens(self.gemma_tokenizer, texts)

    def fit(
        self,
        texts: Sequence[str],
        system_prompt: str | None = None,
        *,
        on_excess: str = "refuse",
        cutter: Cutter | None = None,
    ) -> list[FittedText]:
        """Each prompt as both encoders will read it, with its warning. Raises PromptError, see `fit_text`."""
        counters = (partial(_count, self.gemma_tokenizer), partial(_count, self.clip_tokenizer))
        return [
            fit_text(text, system_prompt, *counters, self.limits, on_excess=on_excess, cutter=cutter) for text in texts
        ]

    @torch.no_grad()
    def encode(
        self,
        texts: Sequence[str | FittedText],
        system_prompt: str | None = None,
        *,
        on_excess: str = "refuse",
    ) -> Conditioning:
        """The conditioning of these prompts, padded to the longest. Each different prompt is computed once.

        Args:
            texts: prompts as typed, or the results of `fit`.
            system_prompt: for Gemma only, where a text does not bring its own.
            on_excess: "refuse" or "cut", see `fit_text`.
        """
        fitted = [
            t if isinstance(t, FittedText) else self.fit([t], system_prompt, on_excess=on_excess)[0] for t in texts
        ]
        unique = list(dict.fromkeys(fitted))
        features, mask = self._gemma_features([text.gemma for text in unique])
        pooled = self._clip_mean([text.clip for text in unique]).to(features)
        return Conditioning(features, mask, pooled).select([unique.index(text) for text in fitted])

    def _gemma_features(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """The hidden states before the last layer (B, L, D) and which are real (B, L)."""
        ids, mask = _tokenize(self.gemma_tokenizer, texts, compute_device(self.gemma))
        with without_last_layer(self.gemma):
            states = self.gemma(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        return states, mask.bool()

    def _clip_mean(self, texts: list[str]) -> Tensor:
        """The mean of the last hidden state over real tokens (B, C), in float32."""
        ids, mask = _tokenize(self.clip_tokenizer, texts, compute_device(self.clip))
        states = self.clip(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        weight = mask.unsqueeze(-1).float()
        return (states * weight).sum(dim=1) / weight.sum(dim=1)


def count_tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[int]:
    """Tokens of each text, without special tokens."""
    return (
        [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]]
        if texts
        else []
    )


@contextmanager
def without_last_layer(gemma: Gemma3TextModel) -> Iterator[None]:
    """Within, `last_hidden_state` is what the last layer would have read: bit-equal to `hidden_states[-2]`.

    The model keeps all its layers, so that it can be saved and used elsewhere; the last one is merely not run.
    """
    layers, norm = gemma.config.num_hidden_layers, gemma.norm
    gemma.config.num_hidden_layers, gemma.norm = layers - 1, nn.Identity()
    try:
        yield
    finally:
        gemma.config.num_hidden_layers, gemma.norm = layers, norm


def _count(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    return len(tokenizer(text, verbose=False)["input_ids"])


def _tokenize(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], device: torch.device | str
) -> tuple[Tensor, Tensor]:
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt", verbose=False)
    if int(batch["attention_mask"].sum(dim=1).min()) == 0:
        raise ValueError("A text has no token at all: the tokenizer must add its begin token, even to an empty text.")
    return batch["input_ids"].to(device), batch["attention_mask"].to(device)

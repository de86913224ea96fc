"""Stands in for the package flash-attn-4, which needs a card: the same functions, as it documents them."""

from __future__ import annotations

import itertools
import sys
import types
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from newbie_ui.model import attention


@dataclass(frozen=True)
class Call:
    width: int  # of a head
    lengths: list[int] | None = None  # real tokens of each row
    starts: list[int] | None = None  # where each of several in one row begins, and the end


def install(monkeypatch) -> list[Call]:
    """Until the test ends. Returns what it will have been asked for."""
    calls = []

    def flash_attn_varlen_func(q, k, v, *, softmax_scale, seqused_k=None, cu_seqlens_q=None, cu_seqlens_k=None):
        if cu_seqlens_q is None:
            calls.append(Call(q.shape[-1], seqused_k.tolist()))
            seen = (torch.arange(k.shape[1]) < seqused_k[:, None])[:, None, None]
            return attended(q, k, v, softmax_scale, seen)
        assert q.ndim == k.ndim == v.ndim == 3
        assert torch.equal(cu_seqlens_q, cu_seqlens_k)
        starts = cu_seqlens_q.tolist()
        calls.append(Call(q.shape[-1], starts=starts))
        parts = zip(*(x.split([b - a for a, b in itertools.pairwise(starts)]) for x in (q, k, v)))
        return torch.cat([attended(*(x[None] for x in part), softmax_scale)[0] for part in parts])

    def flash_attn_func(q, k, v, *, softmax_scale):
        calls.append(Call(q.shape[-1]))
        return attended(q, k, v, softmax_scale), None  # one with sums, one without

    for name in ("flash_attn", "flash_attn.cute"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["flash_attn.cute"].flash_attn_func = flash_attn_func
    sys.modules["flash_attn.cute"].flash_attn_varlen_func = flash_attn_varlen_func
    return calls


def attended(q: Tensor, k: Tensor, v: Tensor, scale: float, seen: Tensor | None = None) -> Tensor:
    groups = q.shape[2] // k.shape[2]
    q, k, v = q.transpose(1, 2), *(x.repeat_interleave(groups, dim=2).transpose(1, 2) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale).transpose(1, 2).contiguous()


def use(transformer: torch.nn.Module) -> None:
    """Let the transformer ask for it."""
    for processor in transformer.attn_processors.values():
        processor._attention_backend = attention.FLASH_4

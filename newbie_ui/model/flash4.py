"""FlashAttention 4 (the package flash-attn-4) as a torch operator, so that it goes into a compiled block as it is.

It is told how many tokens of each row are real, so padding costs it nothing: no mask, no channels. Diffusers knows it
only as code from the hub, and torch's own hook expects other results than present releases give.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

import torch
from torch import Tensor

PACKAGE = "flash_attn.cute"
_CACHE = "FLASH_ATTENTION_CUTE_DSL_CACHE"


def use_disk_cache(folder: Path, environ: MutableMapping[str, str] = os.environ) -> None:
    """Keep its compiled kernels in the folder, unless the environment names another. Before its first use only."""
    environ.setdefault(f"{_CACHE}_ENABLED", "1")
    environ.setdefault(f"{_CACHE}_DIR", str(folder))


@torch.library.custom_op("newbie_ui::flash_attention_4", mutates_args=())
def flash_attention_4(
    q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None, starts: Tensor | None, scale: float
) -> Tensor:
    """softmax(q·k·scale)·v (B, S, H, D); query head h reads key and value head h // (H / KV).

    Args:
        q: (B, S, H, D).
        k, v: (B, S, KV, D).
        lengths: (B,) int32, the real tokens of each row, padding behind them; None: all are real.
        starts: (n + 1,) int32 where one row holds several that do not see each other: where each begins, and S.
    """
    from flash_attn.cute import flash_attn_func, flash_attn_varlen_func  # takes seconds, and is an optional package

    if starts is not None:
        told = {"cu_seqlens_q": starts, "cu_seqlens_k": starts}
        found = flash_attn_varlen_func(q[0], k[0], v[0], softmax_scale=scale, **told)
    elif lengths is not None:
        found = flash_attn_varlen_func(q, k, v, softmax_scale=scale, seqused_k=lengths)
    else:
        found = flash_attn_func(q, k, v, softmax_scale=scale)
    found = found[0] if isinstance(found, tuple) else found  # releases differ: with the softmax's sums or without
    return found if starts is None else found.unsqueeze(0)


@flash_attention_4.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None, starts: Tensor | None, scale: float) -> Tensor:
    return q.new_empty(*q.shape[:3], v.shape[-1])

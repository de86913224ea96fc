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
def flash_attention_4(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None, scale: float) -> Tensor:
    """softmax(q·k·scale)·v (B, S, H, D); query head h reads key and value head h // (H / KV).

    Args:
        q: (B, S, H, D).
        k, v: (B, S, KV, D).
        lengths: (B,) int32, the real tokens of each row, padding behind them; None: all are real.
    """
    from flash_attn.cute import flash_attn_func, flash_attn_varlen_func  # takes seconds, and is an optional package

    told = {} if lengths is None else {"seqused_k": lengths}
    found = (flash_attn_varlen_func if told else flash_attn_func)(q, k, v, softmax_scale=scale, **told)
    return found[0] if isinstance(found, tuple) else found  # releases differ: with the softmax's sums or without


@flash_attention_4.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None, scale: float) -> Tensor:
    return q.new_empty(*q.shape[:3], v.shape[-1])

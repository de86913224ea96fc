"""Attention of the NewBie transformer: grouped heads, rotary positions, padding that is exactly ignored.

Promises: one function, `NewbieAttnProcessor.__call__`, holds the whole computation; every attention backend of
diffusers can be chosen with `set_attention_backend`; a padded batch gives the same numbers as its unpadded members.
Does not know what the tokens are (image or caption) nor where their positions come from.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn
from torch import Tensor, nn

PADDING_METHODS = ("auto", "mask", "channels")
PADDING_CHANNELS = 8  # kernels want head widths that are multiples of 8
PADDING_SCORE = -30000.0  # fits float16; exp of it is exactly 0 after the softmax's shift

Rotary = tuple[Tensor, Tensor]  # (cos, sin), each (B, S, head_dim / 2), float32


def apply_rotary(x: Tensor, rotary: Rotary) -> Tensor:
    """Turn the pairs (x0, x1), (x2, x3), … of x (B, S, H, D) by their token's angles. Computed in float32."""
    cos, sin = (table.unsqueeze(2) for table in rotary)  # (B, S, 1, D/2)
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2).to(x.dtype)


class NewbieAttnProcessor:
    """Self-attention within the refiners: every process of a group computes it whole.

    `padding` says how padding tokens are ignored, when there are any:

    - ``mask``: a boolean mask, for kernels that take one.
    - ``channels``: 8 more channels, ones in the queries and a large negative number in the padding's keys. Exact,
      for kernels that are slow with a mask or refuse it; shapes stay static.
    - ``auto``: channels on CUDA, mask elsewhere.
    """

    _attention_backend = None  # set by `set_attention_backend`

    def __init__(self, padding: str = "auto"):
        self.padding = padding

    def __call__(self, attn: NewbieAttention, hidden_states: Tensor, rotary: Rotary, token_mask: Tensor | None):
        split = (attn.n_heads, attn.n_kv_heads, attn.n_kv_heads)
        qkv = attn.qkv(hidden_states).unflatten(-1, (-1, attn.head_dim))  # (B, S, H + 2·KV, D)
        q, k, v = qkv.split(split, dim=2)
        q = apply_rotary(attn.q_norm(q), rotary)
        k = apply_rotary(attn.k_norm(k), rotary)
        repeats = attn.n_heads // attn.n_kv_heads  # query head h reads KV head h // repeats
        k, v = (x.repeat_interleave(repeats, dim=2) for x in (k, v))
        x = self._attend(q, k, v, token_mask, scale=attn.head_dim**-0.5)
        return attn.out(x.flatten(2))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, token_mask: Tensor | None, scale: float) -> Tensor:
        """softmax(q·k·scale)·v over the tokens that `token_mask` (B, S) marks; all are (B, S, H, D)."""
        mask, head_dim = None, v.shape[-1]
        if token_mask is not None:
            if self.padding == "mask" or (self.padding == "auto" and not q.is_cuda):
                mask = token_mask[:, None, None, :]
            else:
                q, k, v = self._widen(q, k, v, token_mask)
        x = dispatch_attention_fn(
            q,
            k,
            v,
            attn_mask=mask,
            scale=scale,
            backend=self._attention_backend,
            parallel_config=getattr(self, "_parallel_config", None),
        )
        return x[..., :head_dim]

    def _widen(self, q: Tensor, k: Tensor, v: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        score = torch.where(token_mask, 0.0, PADDING_SCORE).to(k.dtype)[:, :, None, None]
        k = torch.cat((k, score.expand(*k.shape[:3], PADDING_CHANNELS)), dim=-1)
        q = F.pad(q, (0, PADDING_CHANNELS), value=1.0)
        if self._attention_backend is not AttentionBackendName._NATIVE_CUDNN:  # the others want v as wide as q and k
            v = F.pad(v, (0, PADDING_CHANNELS))
        return q, k, v


class NewbieJointAttnProcessor(NewbieAttnProcessor):
    """The same for the joint layers, whose tokens a context-parallel group shares (`enable_parallelism`).

    That one attribute is the difference: diffusers sets the group on every processor that has it, and the refiners
    must stay out of it.
    """

    _parallel_config = None


class NewbieAttention(nn.Module, AttentionModuleMixin):
    """Projections of one self-attention. `qkv` rows are [q | k | v], head by head; no bias anywhere."""

    _default_processor_cls = NewbieAttnProcessor
    _available_processors = (NewbieAttnProcessor, NewbieJointAttnProcessor)
    _supports_qkv_fusion = False  # it is fused already

    def __init__(self, dim: int, n_heads: int, n_kv_heads: int, qk_norm: bool, processor: NewbieAttnProcessor):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_dim = n_heads, n_kv_heads, dim // n_heads
        self.qkv = nn.Linear(dim, (n_heads + 2 * n_kv_heads) * self.head_dim, bias=False)
        self.out = nn.Linear(n_heads * self.head_dim, dim, bias=False)
        self.q_norm = nn.RMSNorm(self.head_dim, eps=1e-6) if qk_norm else nn.Identity()
        self.k_norm = nn.RMSNorm(self.head_dim, eps=1e-6) if qk_norm else nn.Identity()
        self.set_processor(processor)

    def forward(self, hidden_states: Tensor, rotary: Rotary, token_mask: Tensor | None = None) -> Tensor:
        """hidden_states (B, S, dim) → (B, S, dim). `token_mask` (B, S) is True for real tokens, None if all are."""
        return self.processor(self, hidden_states, rotary, token_mask)

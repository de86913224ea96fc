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

from newbie_ui.model import kernels, products
from newbie_ui.model.flash4 import flash_attention_4
from newbie_ui.model.kernels import PADDING_CHANNELS, PADDING_SCORE, Rows
from newbie_ui.model.packing import Packing

PADDING_METHODS = ("auto", "mask", "channels")
FLASH_4 = "flash_attn_4"  # beside the backends of diffusers
# Kernels that read the keys and values of a group of heads once; for the others they are repeated.
GROUPED = (AttentionBackendName._NATIVE_CUDNN, AttentionBackendName._NATIVE_FLASH)

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

    FlashAttention 4 needs neither: it is told how many tokens are real. Padding is last in all of them. It also takes
    several pictures in one row (`Packing`).
    """

    _attention_backend = None  # set by `set_attention_backend`

    def __init__(self, padding: str = "auto"):
        self.padding = padding

    @property
    def takes_packing(self) -> bool:
        return self._attention_backend == FLASH_4

    def __call__(
        self,
        attn: NewbieAttention,
        hidden_states: Tensor | Rows,
        rotary: Rotary,
        token_mask: Tensor | None,
        packing: Packing | None,
        turns: Tensor | None,
    ):
        mask = lengths = None
        if token_mask is not None and self._attention_backend == FLASH_4:
            lengths, token_mask = token_mask.sum(dim=1, dtype=torch.int32), None
        elif token_mask is not None and (self.padding == "mask" or (self.padding == "auto" and not rotary[0].is_cuda)):
            mask, token_mask = token_mask[:, None, None, :], None
        heads = None
        if turns is not None and self._attention_backend == FLASH_4:
            heads = attn.heads_in_one_product(hidden_states, turns)
        q, k, v = heads or self._heads(attn, attn.qkv(hidden_states), rotary, token_mask)
        starts = None if packing is None else packing.starts
        parallel = getattr(self, "_parallel_config", None)
        x = attend(q, k, v, self._attention_backend, attn.head_dim**-0.5, mask, lengths, starts, parallel)
        return attn.out(x[..., : attn.head_dim].flatten(2))

    def _heads(
        self, attn: NewbieAttention, qkv: Tensor, rotary: Rotary, token_mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """q (B, S, H, W), k (B, S, KV, W), v (B, S, KV, D); with a mask W is wider, and padding is in the channels."""
        heads, norms = (attn.n_heads, attn.n_kv_heads), (attn.q_norm, attn.k_norm)
        here = all(type(norm) is nn.RMSNorm and norm.weight.device == qkv.device for norm in norms)
        if here and kernels.usable(qkv):
            weights = (attn.q_norm.weight, attn.k_norm.weight)
            head_major = self._attention_backend != FLASH_4
            return kernels.turned_heads(qkv, weights, rotary, token_mask, *heads, attn.q_norm.eps, head_major)
        q, k, v = qkv.unflatten(-1, (-1, attn.head_dim)).split((*heads, attn.n_kv_heads), dim=2)
        q, k = (apply_rotary(norm(x), rotary) for norm, x in zip(norms, (q, k)))
        return (q, k, v) if token_mask is None else (*_widened(q, k, token_mask), v)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    backend: AttentionBackendName | str | None,
    scale: float,
    mask: Tensor | None = None,
    lengths: Tensor | None = None,
    starts: Tensor | None = None,
    parallel: object | None = None,
) -> Tensor:
    """softmax(q·k·scale)·v (B, S, H, ≥ D) by one kernel; query head h reads key and value head h // (H / KV).

    Args:
        q: (B, S, H, W).
        k: (B, S, KV, W).
        v: (B, S, KV, D), D ≤ W.
        backend: None is torch's choice.
        mask: True where a query may look, broadcast to (B, H, S, S).
        lengths, starts: see `flash_attention_4`; for it alone.
        parallel: diffusers' ParallelConfig.
    """
    if backend == FLASH_4:
        return flash_attention_4(q, k, v, lengths, starts, scale)
    if backend is not AttentionBackendName._NATIVE_CUDNN:  # the others want v as wide as q and k
        v = F.pad(v, (0, q.shape[-1] - v.shape[-1]))
    grouped = parallel is None and backend in GROUPED and q.shape[2] != k.shape[2]
    if not grouped:
        k, v = (x.repeat_interleave(q.shape[2] // k.shape[2], dim=2) for x in (k, v))
    return dispatch_attention_fn(
        q, k, v, attn_mask=mask, scale=scale, enable_gqa=grouped, backend=backend, parallel_config=parallel
    )


def _widened(q: Tensor, k: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor]:
    """With the channels that `kernels.turned_heads` describes."""
    score = torch.where(token_mask, 0.0, PADDING_SCORE).to(k.dtype)[:, :, None, None]
    k = torch.cat((k, score.expand(*k.shape[:3], PADDING_CHANNELS)), dim=-1)
    return F.pad(q, (0, PADDING_CHANNELS), value=1.0), k


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
        self._head_norms: Tensor | None = None  # see `products.head_norms`
        self.set_processor(processor)

    @property
    def product_dtype(self) -> torch.dtype:
        return self.qkv.weight.dtype

    @property
    def _turned_columns(self) -> int:
        return (self.n_heads + self.n_kv_heads) * self.head_dim

    @property
    def joined(self) -> bool:
        return self._head_norms is not None

    def join(self, device: torch.device) -> None:
        """Let the product that makes queries and keys also norm and turn them, where it is made for such heads."""
        norms = (self.q_norm, self.k_norm)
        if all(type(norm) is nn.RMSNorm for norm in norms) and products.heads_fit(self.head_dim, self._turned_columns):
            weights = (norm.weight.detach().to(device) for norm in norms)
            self._head_norms = products.head_norms(*weights, self.n_heads, self.n_kv_heads)

    def part(self) -> None:
        """Before anybody moves or exchanges the weights."""
        self._head_norms = None

    def heads_in_one_product(self, x: Tensor | Rows, turns: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Queries, keys and values (B, S, heads, head_dim), or None where that product cannot be used.

        Args:
            x: (B, S, dim).
            turns: `products.turning_table` of these tokens.
        """
        layer = self.qkv
        if not self.joined:
            return None
        if isinstance(x, Rows):
            operands = (*x, layer.weight, layer.scale)
        elif type(layer) is nn.Linear and layer.weight.dtype == x.dtype:  # a LoRA adds to what it gives
            operands = (x, None, layer.weight, None)
        else:
            return None
        qkv = products.heads_product(*operands, self._head_norms, turns, self._turned_columns, self.q_norm.eps)
        return qkv.unflatten(-1, (-1, self.head_dim)).split((self.n_heads, *(self.n_kv_heads,) * 2), dim=2)

    def forward(
        self,
        hidden_states: Tensor | Rows,
        rotary: Rotary,
        token_mask: Tensor | None = None,
        packing: Packing | None = None,
        turns: Tensor | None = None,
    ) -> Tensor:
        """hidden_states (B, S, dim) → (B, S, dim).

        Args:
            token_mask: (B, S), True for real tokens, None if all are.
            turns: `products.turning_table(rotary)`, for whom it is of use.
        """
        return self.processor(self, hidden_states, rotary, token_mask, packing, turns)

"""A block of the transformer: attention and feed-forward, and what lies between them.

`forward` is the plain code; where kernels can do it, each takes all that lies between two sublayers in one pass
(`_fused`), also across two blocks: the last sum of a block does the first norm of the next.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from newbie_ui.model import kernels, products
from newbie_ui.model.attention import NewbieAttention, NewbieAttnProcessor, NewbieJointAttnProcessor, Rotary
from newbie_ui.model.kernels import Rows
from newbie_ui.model.packing import Packing


class RMSNorm(nn.RMSNorm):
    """x / rms(x) · weight in x's own precision, also where the weight is stored in a narrower one."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class FeedForward(nn.Module):
    """SwiGLU: w2(silu(w1 x) · w3 x)."""

    def __init__(self, dim: int, hidden_dim: int):
        super().__init__()
        self.w1 = nn.Linear(dim, hidden_dim, bias=False)
        self.w2 = nn.Linear(hidden_dim, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden_dim, bias=False)
        self._both: Tensor | None = None  # (2·hidden_dim, dim), which the weights of w1 and w3 are halves of

    def forward(self, x: Tensor) -> Tensor:
        bare = type(self.w1) is nn.Linear and type(self.w3) is nn.Linear  # a LoRA reads what lies between
        if self._both is not None and bare and self._both.dtype == x.dtype:
            return self.w2(products.gated_product(x, self._both))
        return self.w2(F.silu(self.w1(x)) * self.w3(x))

    @property
    def product_dtype(self) -> torch.dtype:
        return self.w1.weight.dtype

    def join(self, device: torch.device) -> None:
        """Let w1 and w3 share one matrix on the device, for `gated_product`; they stay usable by themselves.

        Costs nothing where they lie one behind the other there already, as `fill_module` leaves them.
        """
        if self._both is None:
            self._both = _stacked(self.w1.weight.detach(), self.w3.weight.detach(), device)
            self.w1.weight.data, self.w3.weight.data = self._both.chunk(2)

    def part(self) -> None:
        """Before anybody moves or exchanges the weights."""
        self._both = None


def _stacked(first: Tensor, second: Tensor, device: torch.device) -> Tensor:
    """(N, D) and (M, D) as (N + M, D) on the device: the memory that they share, or a new one."""
    one = first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()
    if one and first.device.type == device.type and second.data_ptr() == first.data_ptr() + first.nbytes:
        return first.as_strided((len(first) + len(second), first.shape[1]), first.stride(), first.storage_offset())
    stacked = torch.empty(len(first) + len(second), first.shape[1], dtype=first.dtype, device=device)
    for part, weight in zip(stacked.split((len(first), len(second))), (first, second)):
        part.copy_(weight)
    return stacked


class FirstNorm(NamedTuple):
    """The norm before a block's attention."""

    weight: Tensor  # (dim,)
    modulation: Tensor  # (B, 4·dim) of the block, the scale of this norm first
    in_8_bit: bool

    def of(self, x: Tensor, eps: float, owner: Tensor | None) -> Tensor | Rows:
        return kernels.normed_rows(x, self.weight, self.modulation, 0, eps, self.in_8_bit, owner)


class NewbieRefinerBlock(nn.Module):
    """Attention and feed-forward, each between two norms; modulated by time where `c_dim` is given.

    The joint layers are a class of their own, so that one compiled graph serves all of them (`_repeated_blocks`).
    """

    _processor_class: type[NewbieAttnProcessor] = NewbieAttnProcessor

    def __init__(self, dim: int, heads: tuple[int, int], ffn_dim: int, eps: float, qk_norm: bool, c_dim: int | None):
        super().__init__()
        self.attention = NewbieAttention(dim, *heads, qk_norm, self._processor_class())
        self.feed_forward = FeedForward(dim, ffn_dim)
        self.attention_norm1 = RMSNorm(dim, eps=eps)
        self.attention_norm2 = RMSNorm(dim, eps=eps)
        self.ffn_norm1 = RMSNorm(dim, eps=eps)
        self.ffn_norm2 = RMSNorm(dim, eps=eps)
        if c_dim is not None:
            self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(c_dim, 4 * dim))

    def forward(
        self,
        hidden_states: Tensor,  # (B, S, dim)
        rotary: Rotary,
        token_mask: Tensor | None = None,  # (B, S)
        c: Tensor | None = None,  # (B, c_dim): time and pooled text
        modulation: Tensor | None = None,  # (B, 4·dim): adaLN_modulation(c), where it was computed before
        packing: Packing | None = None,  # of hidden_states and rotary, if B pictures are in one row
        turns: Tensor | None = None,  # rotary as a table, see `NewbieAttention.forward`
        normed: Tensor | Rows | None = None,  # hidden_states, normed and modulated for attention already
        following: FirstNorm | None = None,  # of the block that comes next: then the result is (x, its `normed`)
    ) -> Tensor | tuple[Tensor, Tensor | Rows]:
        x = hidden_states
        if c is None and modulation is None:
            x = x + self.attention_norm2(self.attention(self.attention_norm1(x), rotary, token_mask))
            return x + self.ffn_norm2(self.feed_forward(self.ffn_norm1(x)))
        if modulation is None:
            modulation = self.adaLN_modulation(c)
        if self.can_fuse(x):
            attention = partial(self.attention, rotary=rotary, token_mask=token_mask, packing=packing, turns=turns)
            owner = None if packing is None else packing.owner
            return self._fused(x, attention, modulation, owner, normed, following)
        dtype = modulation.dtype  # of the matrix products; everything else has x's precision, which may be higher
        by_token = modulation.unsqueeze(1) if packing is None else packing.per_token(modulation)
        scale_msa, gate_msa, scale_mlp, gate_mlp = by_token.to(x.dtype).chunk(4, dim=-1)
        h = self.attention_norm1(x) * (1 + scale_msa)
        h = self.attention(h.to(dtype), rotary, token_mask, packing, turns)
        x = x + gate_msa.tanh() * self.attention_norm2(h.to(x.dtype))
        h = self.ffn_norm1(x) * (1 + scale_mlp)
        h = self.feed_forward(h.to(dtype))
        return x + gate_mlp.tanh() * self.ffn_norm2(h.to(x.dtype))

    @property
    def _norms(self) -> tuple[RMSNorm, ...]:
        return (self.attention_norm1, self.attention_norm2, self.ffn_norm1, self.ffn_norm2)

    @property
    def _takes_rows(self) -> tuple[bool, bool]:
        """Whether attention and feed-forward want their input in 8 bit; then the norms before them write that."""
        return getattr(self.attention.qkv, "takes_rows", False), getattr(self.feed_forward, "takes_rows", False)

    def can_fuse(self, x: Tensor) -> bool:
        """Whether kernels do all between the sublayers: not with a LoRA on a norm or hooks that bring the weights."""
        bare = all(type(norm) is RMSNorm and norm.weight.device == x.device for norm in self._norms)
        return bare and kernels.usable(x)

    def first_norm(self, modulation: Tensor) -> FirstNorm:
        """What the block before needs to know to do this block's first norm."""
        return FirstNorm(self.attention_norm1.weight, modulation, self._takes_rows[0])

    def _fused(
        self,
        x: Tensor,
        attention: Callable[[Tensor | Rows], Tensor],
        modulation: Tensor,
        owner: Tensor | None,
        normed: Tensor | Rows | None,
        following: FirstNorm | None,
    ) -> Tensor | tuple[Tensor, Tensor | Rows]:
        """The same with one kernel for all that lies between two sublayers, also of two blocks."""
        _, after_attention, before_ffn, after_ffn = (norm.weight for norm in self._norms)
        eps, ffn_rows = self.attention_norm1.eps, self._takes_rows[1]
        if normed is None:
            normed = self.first_norm(modulation).of(x, eps, owner)
        h, between = attention(normed), (after_attention, before_ffn)
        x, h = kernels.residual_normed_rows(x, h, between, modulation, modulation, (1, 2), eps, ffn_rows, owner)
        h = self.feed_forward(h)
        if following is None:
            return kernels.residual_rows(x, h, after_ffn, modulation, 3, eps, owner)
        between, next_modulation = (after_ffn, following.weight), following.modulation
        return kernels.residual_normed_rows(
            x, h, between, modulation, next_modulation, (3, 0), eps, following.in_8_bit, owner
        )


class NewbieBlock(NewbieRefinerBlock):
    """One of the joint layers: the block that is compiled, cached, offloaded and shared among devices."""

    _processor_class = NewbieJointAttnProcessor

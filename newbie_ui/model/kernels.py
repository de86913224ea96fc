"""Row-wise work between the matrix products, as Triton kernels: where the compiler's own stay far from memory speed.

    turned_heads     queries, keys, values head by head: normed, turned, with channels that make attention skip padding
    normed_rows      norm and modulation before a sublayer; residual_rows: the gated sum after it, and both in one
    quantized_rows   a row in 8 bit with its scale
    gated_rows       silu(a)·b of the feed-forward, in 8 bit with its scale

The compiler makes better kernels than `normed_rows` and its kin, and finds them itself; they are for running without
it. Each reads its input once and writes its result once. They are torch operators, so they go into a compiled block as
they are. Promises: the numbers of the plain code up to rounding (the whole of a kernel is float32). For CUDA with
Triton only: ask `usable`; the plain code is beside every call.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # torch for processors comes without
    triton = None

PADDING_CHANNELS = 8  # attention kernels want head widths that are multiples of 8
PADDING_SCORE = -30000.0  # fits float16; exp of it is exactly 0 after the softmax's shift
FP8_MAX = 448.0  # of float8_e4m3fn
TOKENS = 32  # of a head, for one program
ROWS = 4  # of a picture, for one program


class Rows(NamedTuple):
    """Rows in 8 bit: `values`·`scale`."""

    values: Tensor  # (…, width) float8_e4m3fn
    scale: Tensor  # (…, 1) float32


def usable(tensor: Tensor) -> bool:
    """Whether these kernels can take it. They have no gradient: not where there may be one, as in training a LoRA."""
    return triton is not None and tensor.is_cuda and not torch.is_grad_enabled()


def turned_heads(
    qkv: Tensor,
    weights: tuple[Tensor, Tensor],
    rotary: tuple[Tensor, Tensor],
    token_mask: Tensor | None,
    heads: int,
    kv_heads: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (B, S, heads, W) and keys (B, S, kv_heads, W), normed and turned, and values (B, S, kv_heads, D).

    In memory each head's tokens lie together, as attention kernels read them fastest.

    Args:
        qkv: (B, S, (heads + 2·kv_heads)·D), head by head.
        weights: (D,) of the queries' and the keys' RMS norm.
        rotary: (cos, sin), each (B, S, D / 2) in float32.
        token_mask: (B, S), True for real tokens; then W is D + 8: ones behind the queries, and behind the keys zeros,
            or -30000 for padding, which attention then ignores exactly. None: W is D.
    """
    q, k, v = _turned_heads(qkv.contiguous(), *weights, *rotary, token_mask, heads, kv_heads, eps)
    return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)


def normed_rows(x: Tensor, weight: Tensor, modulation: Tensor, scale: int, eps: float) -> Tensor:
    """norm(x)·weight·(1 + scale) in the modulation's number format.

    Args:
        x: (B, S, D), in any precision.
        weight: (D,) of an RMS norm.
        modulation: (B, n·D), of which the part number `scale` is meant.
    """
    return _residual_rows(x.contiguous(), None, modulation, -1, None, scale, weight, eps)[1]


def residual_rows(x: Tensor, h: Tensor, weight: Tensor, modulation: Tensor, gate: int, eps: float) -> Tensor:
    """x + tanh(gate)·norm(h)·weight, in the precision of x (B, S, D)."""
    return _residual_rows(x.contiguous(), h.contiguous(), modulation, gate, weight, -1, None, eps)[0]


def residual_normed_rows(
    x: Tensor, h: Tensor, weights: tuple[Tensor, Tensor], modulation: Tensor, parts: tuple[int, int], eps: float
) -> tuple[Tensor, Tensor]:
    """`residual_rows`, and `normed_rows` of that; weights and parts (gate, scale) in this order."""
    (weight, next_weight), (gate, scale) = weights, parts
    return _residual_rows(x.contiguous(), h.contiguous(), modulation, gate, weight, scale, next_weight, eps)


def quantized_rows(rows: Tensor) -> Rows:
    """(…, width) in 8 bit."""
    return Rows(*_quantized_rows(rows.contiguous()))


def gated_rows(a: Tensor, b: Tensor) -> Rows:
    """silu(a)·b (…, width) in 8 bit."""
    return Rows(*_gated_rows(a.contiguous(), b.contiguous()))


# ---- launching -------------------------------------------------------------------------------------------------


def _operator(function):
    """A torch operator that the compiler sees into, where Triton is there."""
    if triton is None:
        return function
    return torch.library.triton_op(f"newbie_ui::{function.__name__.strip('_')}", function, mutates_args=())


def _launcher(kernel):
    """What is called with a grid: within an operator, a wrapped kernel; Triton's interpreter takes it as it is."""
    return torch.library.wrap_triton(kernel) if isinstance(kernel, triton.runtime.JITFunction) else kernel


@_operator
def _turned_heads(
    qkv: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    token_mask: Tensor | None,
    heads: int,
    kv_heads: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, tokens, _ = qkv.shape
    width = q_weight.shape[0]
    wide = width + (PADDING_CHANNELS if token_mask is not None else 0)
    if cos.stride()[1:] != (width // 2, 1) or sin.stride() != cos.stride():
        cos, sin = cos.contiguous(), sin.contiguous()
    q = qkv.new_empty(batch, heads, tokens, wide)
    k = qkv.new_empty(batch, kv_heads, tokens, wide)
    v = qkv.new_empty(batch, kv_heads, tokens, width)
    mask = None if token_mask is None else token_mask.contiguous()
    _launcher(_turn)[(triton.cdiv(tokens, TOKENS), heads + 2 * kv_heads, batch)](
        qkv,
        q_weight,
        k_weight,
        cos,
        sin,
        qkv if mask is None else mask,
        q,
        k,
        v,
        tokens,
        cos.stride(0),
        eps,
        HEADS=heads,
        KV_HEADS=kv_heads,
        WIDTH=width,
        WIDE=wide,
        MASKED=mask is not None,
        TOKENS=TOKENS,
        PAIRS=triton.next_power_of_2(wide) // 2,
        SCORE=PADDING_SCORE,
        num_warps=4,
    )
    return q, k, v


@_operator
def _residual_rows(
    x: Tensor,
    h: Tensor | None,
    modulation: Tensor,
    gate: int,
    weight: Tensor | None,
    scale: int,
    next_weight: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """(x + …, normed); what is not asked for is empty."""
    batch, tokens, width = x.shape
    adds, norms = h is not None, next_weight is not None
    new_x = torch.empty_like(x) if adds else x.new_empty(0)
    y = x.new_empty(x.shape if norms else 0, dtype=modulation.dtype)
    _launcher(_residual)[(triton.cdiv(tokens, ROWS), batch)](
        x,
        h if adds else x,
        modulation.contiguous(),
        weight if adds else modulation,
        next_weight if norms else modulation,
        new_x,
        y,
        tokens,
        width,
        modulation.shape[1],
        gate * width,
        scale * width,
        eps,
        ADDS=adds,
        NORMS=norms,
        ROWS=ROWS,
        BLOCK=triton.next_power_of_2(width),
        num_warps=8,
    )
    return new_x, y


@_operator
def _quantized_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    width = rows.shape[-1]
    values, scale = torch.empty_like(rows, dtype=torch.float8_e4m3fn), _empty_scale(rows)
    _launcher(_quantize)[(scale.numel(),)](rows, values, scale, width, **_row_options(width))
    return values, scale


@_operator
def _gated_rows(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    width = a.shape[-1]
    values, scale = torch.empty_like(a, dtype=torch.float8_e4m3fn), _empty_scale(a)
    _launcher(_gate)[(scale.numel(),)](a, b, values, scale, width, **_row_options(width))
    return values, scale


def _empty_scale(rows: Tensor) -> Tensor:
    return rows.new_empty((*rows.shape[:-1], 1), dtype=torch.float32)


def _row_options(width: int) -> dict[str, int | float]:
    """A whole row is held at once."""
    block = triton.next_power_of_2(width)
    return {"BLOCK": block, "MOST": FP8_MAX, "num_warps": 16 if block > 8192 else 8 if block > 4096 else 4}


# ---- kernels ---------------------------------------------------------------------------------------------------

if triton is not None:

    @triton.jit
    def _turn(
        qkv,
        q_weight,
        k_weight,
        cos,
        sin,
        mask,
        q,
        k,
        v,
        tokens,
        rotary_stride,
        eps,
        HEADS: tl.constexpr,
        KV_HEADS: tl.constexpr,
        WIDTH: tl.constexpr,
        WIDE: tl.constexpr,
        MASKED: tl.constexpr,
        TOKENS: tl.constexpr,
        PAIRS: tl.constexpr,
        SCORE: tl.constexpr,
    ):
        """Some tokens of one head."""
        token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
        head, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
        channel = tl.arange(0, 2 * PAIRS)[None, :]
        there = (token < tokens)[:, None]
        inside = there & (channel < WIDTH)
        row = (batch * tokens + token[:, None]) * ((HEADS + 2 * KV_HEADS) * WIDTH) + head * WIDTH
        given = tl.load(qkv + row + channel, mask=inside, other=0.0)
        if head >= HEADS + KV_HEADS:
            to_v = (batch * KV_HEADS + head - HEADS - KV_HEADS) * tokens + token[:, None]
            tl.store(v + to_v * WIDTH + channel, given, mask=inside)
        else:
            if head < HEADS:
                weight = tl.load(q_weight + channel, mask=channel < WIDTH, other=0.0).to(tl.float32)
            else:
                weight = tl.load(k_weight + channel, mask=channel < WIDTH, other=0.0).to(tl.float32)
            x = given.to(tl.float32)
            x = x * tl.rsqrt(tl.sum(x * x, axis=1) / WIDTH + eps)[:, None] * weight

            pair = tl.arange(0, PAIRS)[None, :]
            at = batch * rotary_stride + token[:, None] * (WIDTH // 2) + pair
            c = tl.load(cos + at, mask=there & (pair < WIDTH // 2), other=0.0)
            s = tl.load(sin + at, mask=there & (pair < WIDTH // 2), other=0.0)
            even, odd = tl.split(tl.reshape(x, (TOKENS, PAIRS, 2)))
            y = tl.reshape(tl.join(even * c - odd * s, odd * c + even * s), (TOKENS, 2 * PAIRS))
            if head < HEADS:
                if MASKED:
                    y = tl.where(channel < WIDTH, y, 1.0)
                to_q = (batch * HEADS + head) * tokens + token[:, None]
                tl.store(q + to_q * WIDE + channel, y.to(q.dtype.element_ty), mask=there & (channel < WIDE))
            else:
                if MASKED:
                    real = tl.load(mask + batch * tokens + token, mask=token < tokens, other=0)
                    y = tl.where(channel < WIDTH, y, tl.where(real, 0.0, SCORE)[:, None])
                to_k = (batch * KV_HEADS + head - HEADS) * tokens + token[:, None]
                tl.store(k + to_k * WIDE + channel, y.to(k.dtype.element_ty), mask=there & (channel < WIDE))

    @triton.jit
    def _residual(
        x,
        h,
        modulation,
        weight,
        next_weight,
        new_x,
        y,
        tokens,
        width,
        modulation_stride,
        gate_start,
        scale_start,
        eps,
        ADDS: tl.constexpr,
        NORMS: tl.constexpr,
        ROWS: tl.constexpr,
        BLOCK: tl.constexpr,
    ):
        """Some rows of one picture, one after the other; what they share stays in registers."""
        batch = tl.program_id(1).to(tl.int64)
        column = tl.arange(0, BLOCK)
        there = column < width
        of_picture = modulation + batch * modulation_stride
        if ADDS:
            gate = tl.load(of_picture + gate_start + column, mask=there, other=0.0).to(tl.float32)
            gate = 2 * tl.sigmoid(2 * gate) - 1  # tanh
            gate *= tl.load(weight + column, mask=there, other=0.0).to(tl.float32)
        if NORMS:
            factor = 1 + tl.load(of_picture + scale_start + column, mask=there, other=0.0).to(tl.float32)
            factor *= tl.load(next_weight + column, mask=there, other=0.0).to(tl.float32)
        for number in range(ROWS):
            token = tl.program_id(0) * ROWS + number
            here = column < tl.where(token < tokens, width, 0)
            at = (batch * tokens + token) * width + column
            row = tl.load(x + at, mask=here, other=0.0).to(tl.float32)
            if ADDS:
                added = tl.load(h + at, mask=here, other=0.0).to(tl.float32)
                row += gate * added * tl.rsqrt(tl.sum(added * added, axis=0) / width + eps)
                stored = row.to(new_x.dtype.element_ty)
                tl.store(new_x + at, stored, mask=here)
                row = stored.to(tl.float32)
            if NORMS:
                normed = row * tl.rsqrt(tl.sum(row * row, axis=0) / width + eps) * factor
                tl.store(y + at, normed.to(y.dtype.element_ty), mask=here)

    @triton.jit
    def _quantize(rows, values, scale, width, BLOCK: tl.constexpr, MOST: tl.constexpr):
        row = tl.program_id(0)
        column = tl.arange(0, BLOCK)
        start = row.to(tl.int64) * width
        x = tl.load(rows + start + column, mask=column < width, other=0.0).to(tl.float32)
        _store_quantized(x, values + start, scale + row, column, width, MOST)

    @triton.jit
    def _gate(a, b, values, scale, width, BLOCK: tl.constexpr, MOST: tl.constexpr):
        row = tl.program_id(0)
        column = tl.arange(0, BLOCK)
        start = row.to(tl.int64) * width
        x = tl.load(a + start + column, mask=column < width, other=0.0).to(tl.float32)
        y = tl.load(b + start + column, mask=column < width, other=0.0).to(tl.float32)
        _store_quantized(x * tl.sigmoid(x) * y, values + start, scale + row, column, width, MOST)

    @triton.jit
    def _store_quantized(x, values, scale, column, width, MOST: tl.constexpr):
        step = tl.maximum(tl.max(tl.abs(x), axis=0), 1e-12) / MOST
        tl.store(scale, step)
        tl.store(values + column, (x / step).to(values.dtype.element_ty), mask=column < width)

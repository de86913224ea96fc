"""Row-wise work between the matrix products, as Triton kernels: where the compiler's own stay far from memory speed.

    turned_heads     queries, keys, values head by head: normed, turned, with channels that make attention skip padding
    normed_rows      norm and modulation before a sublayer, in 8 bit where that wants it so; residual_rows: the gated
                     sum after it, and both in one
    quantized_rows   a row in 8 bit with its scale
    gated_rows       silu(a)·b of the feed-forward, in 8 bit with its scale

Each reads its input once and writes its result once. They are torch operators, so they go into a compiled block as
they are. Promises: the numbers of the plain code up to rounding (the whole of a kernel is float32). For CUDA with
Triton only: ask `usable`; the plain code is beside every call.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache
from pathlib import Path
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
TOKENS, GROUP = 32, 4  # of a picture, heads of each at most, for one program


class Rows(NamedTuple):
    """Rows in 8 bit: `values`·`scale`."""

    values: Tensor  # (…, width) float8_e4m3fn
    scale: Tensor  # (…, 1) float32


def usable(tensor: Tensor) -> bool:
    """Whether these kernels can take it. They have no gradient: not where there may be one, as in training a LoRA."""
    return triton is not None and tensor.is_cuda and not torch.is_grad_enabled()


@cache
def fingerprint() -> str:
    """Another one for every change of the kernels, or of how they are launched."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]


def turned_heads(
    qkv: Tensor,
    weights: tuple[Tensor, Tensor],
    rotary: tuple[Tensor, Tensor],
    token_mask: Tensor | None,
    heads: int,
    kv_heads: int,
    eps: float,
    head_major: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (B, S, heads, W) and keys (B, S, kv_heads, W), normed and turned, and values (B, S, kv_heads, D).

    Args:
        qkv: (B, S, (heads + 2·kv_heads)·D), head by head.
        weights: (D,) of the queries' and the keys' RMS norm.
        rotary: (cos, sin), each (B, S, D / 2) in float32.
        token_mask: (B, S), True for real tokens; then W is D + 8: ones behind the queries, and behind the keys zeros,
            or -30000 for padding, which attention then ignores exactly. None: W is D.
        head_major: each head's tokens lie together in memory, as most attention kernels read them fastest. Otherwise
            each token's heads do, and the values stay in `qkv`.
    """
    qkv = qkv.contiguous()
    q, k, v = _turned_heads(qkv, *weights, *rotary, token_mask, heads, kv_heads, eps, head_major)
    if head_major:
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    return q, k, qkv.unflatten(-1, (-1, weights[0].shape[0]))[:, :, heads + kv_heads :]


def normed_rows(
    x: Tensor,
    weight: Tensor,
    modulation: Tensor,
    scale: int,
    eps: float,
    in_8_bit: bool = False,
    owner: Tensor | None = None,
) -> Tensor | Rows:
    """norm(x)·weight·(1 + scale) in the modulation's number format, or in 8 bit.

    Args:
        x: (B, S, D), in any precision; (1, S, D) with an owner.
        weight: (D,) of an RMS norm.
        modulation: (B, n·D), of which the part number `scale` is meant.
        owner: (S,) whose modulation each token of the one row takes.
    """
    return _asked(
        *_residual_rows(x.contiguous(), None, modulation, modulation, owner, -1, None, scale, weight, eps, in_8_bit)[
            1:
        ],
        in_8_bit,
    )


def residual_rows(
    x: Tensor, h: Tensor, weight: Tensor, modulation: Tensor, gate: int, eps: float, owner: Tensor | None = None
) -> Tensor:
    """x + tanh(gate)·norm(h)·weight, in the precision of x (B, S, D)."""
    return _residual_rows(
        x.contiguous(), h.contiguous(), modulation, modulation, owner, gate, weight, -1, None, eps, False
    )[0]


def residual_normed_rows(
    x: Tensor,
    h: Tensor,
    weights: tuple[Tensor, Tensor],
    modulation: Tensor,
    next_modulation: Tensor,
    parts: tuple[int, int],
    eps: float,
    in_8_bit: bool = False,
    owner: Tensor | None = None,
) -> tuple[Tensor, Tensor | Rows]:
    """`residual_rows`, and `normed_rows` of that; weights, modulations and parts (gate, scale) in this order."""
    (weight, next_weight), (gate, scale) = weights, parts
    x, *normed = _residual_rows(
        x.contiguous(),
        h.contiguous(),
        modulation,
        next_modulation,
        owner,
        gate,
        weight,
        scale,
        next_weight,
        eps,
        in_8_bit,
    )
    return x, _asked(*normed, in_8_bit)


def quantized_rows(rows: Tensor) -> Rows:
    """(…, width) in 8 bit."""
    return Rows(*_quantized_rows(rows.contiguous()))


def gated_rows(a: Tensor, b: Tensor) -> Rows:
    """silu(a)·b (…, width) in 8 bit."""
    return Rows(*_gated_rows(a.contiguous(), b.contiguous()))


def _asked(normed: Tensor, scale: Tensor, in_8_bit: bool) -> Tensor | Rows:
    return Rows(normed, scale) if in_8_bit else normed


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
    head_major: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """(q, k, v), each (B, H, S, W) if head-major, otherwise (B, S, H, W) and v is empty."""
    batch, tokens, _ = qkv.shape
    width = q_weight.shape[0]
    wide = width + (PADDING_CHANNELS if token_mask is not None else 0)
    if cos.stride()[1:] != (width // 2, 1) or sin.stride() != cos.stride():
        cos, sin = cos.contiguous(), sin.contiguous()
    q = qkv.new_empty(batch, *((heads, tokens) if head_major else (tokens, heads)), wide)
    k = qkv.new_empty(batch, *((kv_heads, tokens) if head_major else (tokens, kv_heads)), wide)
    v = qkv.new_empty((batch, kv_heads, tokens, width) if head_major else 0)
    mask = None if token_mask is None else token_mask.contiguous()
    group = math.gcd(heads, kv_heads, GROUP)
    of_heads = heads + (2 if head_major else 1) * kv_heads
    _launcher(_turn)[(triton.cdiv(tokens, TOKENS), of_heads // group, batch)](
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
        EPS=eps,
        HEADS=heads,
        KV_HEADS=kv_heads,
        GROUP=group,
        WIDTH=width,
        WIDE=wide,
        MASKED=mask is not None,
        HEAD_MAJOR=head_major,
        TOKENS=TOKENS,
        PAIRS=triton.next_power_of_2(wide) // 2,
        SCORE=PADDING_SCORE,
        num_warps=8,
    )
    return q, k, v


@_operator
def _residual_rows(
    x: Tensor,
    h: Tensor | None,
    modulation: Tensor,
    next_modulation: Tensor,
    owner: Tensor | None,
    gate: int,
    weight: Tensor | None,
    scale: int,
    next_weight: Tensor | None,
    eps: float,
    in_8_bit: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """(x + …, normed, its scale in 8 bit); what is not asked for is empty."""
    batch, tokens, width = x.shape
    adds, norms = h is not None, next_weight is not None
    new_x = torch.empty_like(x) if adds else x.new_empty(0)
    y = x.new_empty(x.shape if norms else 0, dtype=torch.float8_e4m3fn if in_8_bit else modulation.dtype)
    y_scale = _empty_scale(x) if in_8_bit else x.new_empty(0, dtype=torch.float32)
    _launcher(_residual)[(tokens, batch)](
        x,
        h if adds else x,
        modulation.contiguous(),
        next_modulation.contiguous(),
        modulation if owner is None else owner,
        weight if adds else modulation,
        next_weight if norms else modulation,
        new_x,
        y,
        y_scale,
        width,
        modulation.shape[1],
        gate * width,
        scale * width,
        EPS=eps,
        ADDS=adds,
        NORMS=norms,
        OWNED=owner is not None,
        IN_8_BIT=in_8_bit,
        **_blocks(width),
        MOST=FP8_MAX,
        num_warps=8,
    )
    return new_x, y, y_scale


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


def _blocks(width: int) -> dict[str, int]:
    """A whole row is held at once, in two blocks: the largest power of two below its width, and the rest."""
    first = 1 << max(width - 1, 1).bit_length() - 1
    return {"FIRST": first, "REST": triton.next_power_of_2(max(width - first, 1))}


def _row_options(width: int) -> dict[str, int | float]:
    return {**_blocks(width), "MOST": FP8_MAX, "num_warps": 16 if width > 8192 else 8 if width > 4096 else 4}


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
        EPS: tl.constexpr,
        HEADS: tl.constexpr,
        KV_HEADS: tl.constexpr,
        GROUP: tl.constexpr,
        WIDTH: tl.constexpr,
        WIDE: tl.constexpr,
        MASKED: tl.constexpr,
        HEAD_MAJOR: tl.constexpr,
        TOKENS: tl.constexpr,
        PAIRS: tl.constexpr,
        SCORE: tl.constexpr,
    ):
        """Some tokens of a group of heads, one after the other; what they share stays in registers."""
        token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
        first, batch = tl.program_id(1) * GROUP, tl.program_id(2).to(tl.int64)
        channel = tl.arange(0, 2 * PAIRS)[None, :]
        there = (token < tokens)[:, None]
        inside = there & (channel < WIDTH)
        wide = there & (channel < WIDE)
        given = qkv + (batch * tokens + token[:, None]) * ((HEADS + 2 * KV_HEADS) * WIDTH) + channel
        if first >= HEADS + KV_HEADS:
            for number in range(GROUP):
                head = first + number
                to_v = _row(batch, head - HEADS - KV_HEADS, token, KV_HEADS, tokens, True)[:, None]
                tl.store(v + to_v * WIDTH + channel, tl.load(given + head * WIDTH, mask=inside, other=0.0), mask=inside)
        else:
            if first < HEADS:
                weight = tl.load(q_weight + channel, mask=channel < WIDTH, other=0.0).to(tl.float32)
            else:
                weight = tl.load(k_weight + channel, mask=channel < WIDTH, other=0.0).to(tl.float32)
            pair = tl.arange(0, PAIRS)[None, :]
            at = batch * rotary_stride + token[:, None] * (WIDTH // 2) + pair
            c = tl.load(cos + at, mask=there & (pair < WIDTH // 2), other=0.0)
            s = tl.load(sin + at, mask=there & (pair < WIDTH // 2), other=0.0)
            for number in range(GROUP):
                head = first + number
                x = tl.load(given + head * WIDTH, mask=inside, other=0.0).to(tl.float32)
                x = x * tl.rsqrt(tl.sum(x * x, axis=1) / WIDTH + EPS)[:, None] * weight
                even, odd = tl.split(tl.reshape(x, (TOKENS, PAIRS, 2)))
                y = tl.reshape(tl.join(even * c - odd * s, odd * c + even * s), (TOKENS, 2 * PAIRS))
                if first < HEADS:
                    if MASKED:
                        y = tl.where(channel < WIDTH, y, 1.0)
                    to_q = _row(batch, head, token, HEADS, tokens, HEAD_MAJOR)[:, None]
                    tl.store(q + to_q * WIDE + channel, y.to(q.dtype.element_ty), mask=wide)
                else:
                    if MASKED:
                        real = tl.load(mask + batch * tokens + token, mask=token < tokens, other=0)
                        y = tl.where(channel < WIDTH, y, tl.where(real, 0.0, SCORE)[:, None])
                    to_k = _row(batch, head - HEADS, token, KV_HEADS, tokens, HEAD_MAJOR)[:, None]
                    tl.store(k + to_k * WIDE + channel, y.to(k.dtype.element_ty), mask=wide)

    @triton.jit
    def _row(batch, head, token, heads, tokens, HEAD_MAJOR: tl.constexpr):
        if HEAD_MAJOR:
            row = (batch * heads + head) * tokens + token
        else:
            row = (batch * tokens + token) * heads + head
        return row

    @triton.jit
    def _residual(
        x,
        h,
        modulation,
        next_modulation,
        owner,
        weight,
        next_weight,
        new_x,
        y,
        y_scale,
        width,
        modulation_stride,
        gate_start,
        scale_start,
        EPS: tl.constexpr,
        ADDS: tl.constexpr,
        NORMS: tl.constexpr,
        OWNED: tl.constexpr,
        IN_8_BIT: tl.constexpr,
        FIRST: tl.constexpr,
        REST: tl.constexpr,
        MOST: tl.constexpr,
    ):
        token, batch = tl.program_id(0), tl.program_id(1).to(tl.int64)
        row = batch * tl.num_programs(0) + token
        at = row * width
        row_0, row_1 = _load(x + at, width, FIRST, REST)
        picture = tl.load(owner + token) if OWNED else batch
        if ADDS:
            of_picture = modulation + picture * modulation_stride
            added_0, added_1 = _load(h + at, width, FIRST, REST)
            gate_0, gate_1 = _load(of_picture + gate_start, width, FIRST, REST)
            weight_0, weight_1 = _load(weight, width, FIRST, REST)
            inverse = _inverse_rms(added_0, added_1, width, EPS, FIRST, REST)
            row_0 = (row_0 + _tanh(gate_0) * weight_0 * added_0 * inverse).to(new_x.dtype.element_ty)
            row_1 = (row_1 + _tanh(gate_1) * weight_1 * added_1 * inverse).to(new_x.dtype.element_ty)
            _store(new_x + at, row_0, row_1, width, FIRST, REST)
            row_0 = row_0.to(tl.float32)
            row_1 = row_1.to(tl.float32)
        if NORMS:
            of_picture = next_modulation + picture * modulation_stride
            scale_0, scale_1 = _load(of_picture + scale_start, width, FIRST, REST)
            weight_0, weight_1 = _load(next_weight, width, FIRST, REST)
            inverse = _inverse_rms(row_0, row_1, width, EPS, FIRST, REST)
            row_0 *= inverse * (1 + scale_0) * weight_0
            row_1 *= inverse * (1 + scale_1) * weight_1
            if IN_8_BIT:
                _store_quantized(row_0, row_1, y + at, y_scale + row, width, FIRST, REST, MOST)
            else:
                _store(y + at, row_0, row_1, width, FIRST, REST)

    @triton.jit
    def _quantize(rows, values, scale, width, FIRST: tl.constexpr, REST: tl.constexpr, MOST: tl.constexpr):
        row = tl.program_id(0)
        start = row.to(tl.int64) * width
        x_0, x_1 = _load(rows + start, width, FIRST, REST)
        _store_quantized(x_0, x_1, values + start, scale + row, width, FIRST, REST, MOST)

    @triton.jit
    def _gate(a, b, values, scale, width, FIRST: tl.constexpr, REST: tl.constexpr, MOST: tl.constexpr):
        row = tl.program_id(0)
        start = row.to(tl.int64) * width
        a_0, a_1 = _load(a + start, width, FIRST, REST)
        b_0, b_1 = _load(b + start, width, FIRST, REST)
        x_0 = a_0 * tl.sigmoid(a_0) * b_0
        x_1 = a_1 * tl.sigmoid(a_1) * b_1
        _store_quantized(x_0, x_1, values + start, scale + row, width, FIRST, REST, MOST)

    # Epsilons are constants: as an argument within a compiled block a number is 64 bits wide, and so all it touches.
    # A row lies in two blocks, whose sizes have to be powers of two: 2304 = 2048 + 256, where one block would be 4096.

    @triton.jit
    def _load(row, width, FIRST: tl.constexpr, REST: tl.constexpr):
        first, rest = tl.arange(0, FIRST), FIRST + tl.arange(0, REST)
        values_0 = tl.load(row + first, mask=first < width, other=0.0).to(tl.float32)
        values_1 = tl.load(row + rest, mask=rest < width, other=0.0).to(tl.float32)
        return values_0, values_1

    @triton.jit
    def _store(row, values_0, values_1, width, FIRST: tl.constexpr, REST: tl.constexpr):
        first, rest = tl.arange(0, FIRST), FIRST + tl.arange(0, REST)
        tl.store(row + first, values_0.to(row.dtype.element_ty), mask=first < width)
        tl.store(row + rest, values_1.to(row.dtype.element_ty), mask=rest < width)

    @triton.jit
    def _store_quantized(x_0, x_1, values, scale, width, FIRST: tl.constexpr, REST: tl.constexpr, MOST: tl.constexpr):
        most = tl.max(tl.maximum(tl.max(tl.reshape(tl.abs(x_0), (REST, FIRST // REST)), axis=1), tl.abs(x_1)), axis=0)
        step = tl.maximum(most, 1e-12) / MOST
        tl.store(scale, step)
        _store(values, x_0 * (1 / step), x_1 * (1 / step), width, FIRST, REST)

    @triton.jit
    def _inverse_rms(x_0, x_1, width, EPS: tl.constexpr, FIRST: tl.constexpr, REST: tl.constexpr):
        squares = tl.sum(tl.reshape(x_0 * x_0, (REST, FIRST // REST)), axis=1) + x_1 * x_1
        return tl.rsqrt(tl.sum(squares, axis=0) / width + EPS)

    @triton.jit
    def _tanh(x):
        return 2 * tl.sigmoid(2 * x) - 1

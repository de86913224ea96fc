"""Matrix products that do on the way out what comes next (the package quack-kernels, for Hopper).

    gated_product        a feed-forward's silu(x·w1)·(x·w3): what lies between is never written out
    gated_rows_product   the same of a product in 8 bit
    heads_product        an attention's queries, keys and values, normed and turned already; in 8 bit too

Both matrices of a feed-forward have to be one, w3 behind w1. The kernels themselves are in `epilogues.py`.
"""

from __future__ import annotations

import logging
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from newbie_ui.model import kernels

log = logging.getLogger(__name__)

PACKAGE = "quack.gemm_interface"
EPILOGUES = "newbie_ui.model.epilogues"  # imports more of it
CACHE = "QUACK_CACHE_DIR"  # environment: where it keeps compiled kernels
CAPABILITY = 9  # its products are as fast as cuBLAS's there; elsewhere nobody measured
HEAD_WIDTH = 96  # whose whole heads fill a tile of `heads_product`, in both of its number formats
HEAD_COLUMNS = 192  # of its largest tile
# The fastest of eight for 8832 × 2304 by 2304 × 18432 on an H200: 0.93 ms, 1.06 ms with cuBLAS and the compiler.
TILE = {"tile_m": 128, "tile_n": 192, "pingpong": True, "cluster_m": 2, "cluster_n": 1}


def usable(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernels for this number format are there, worth it, and right."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16, torch.float8_e4m3fn):
        return False
    return torch.cuda.get_device_capability(device)[0] == CAPABILITY and is_right(device, dtype)


@lru_cache(maxsize=8)
def is_right(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether small products give what plain torch does; not if the package is missing or refuses. Remembered."""
    try:
        errors = [_error(*pair) for pair in _small_products(device, dtype)]
    except Exception as error:  # packages of kernels fail in any way they like
        log.info("no products of quack-kernels in %s: %s", dtype, str(error)[:120])
        return False
    return max(errors) < 2e-2


def _error(got: Tensor, wanted: Tensor) -> float:
    return float((got.float() - wanted).norm() / wanted.norm())


def _small_products(device: torch.device, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """(what a kernel gives, what it should be) for each of them, of rows that nothing divides."""
    tokens, heads, kv_heads, width = 251, 4, 2, HEAD_WIDTH
    columns = (heads + 2 * kv_heads) * width
    x, both, qkv = (torch.randn(rows, 256, device=device) for rows in (tokens, 2 * 384, columns))
    norms = head_norms(*torch.rand(2, width, device=device), heads, kv_heads)
    angles = torch.randn(tokens, width // 2, device=device)
    rotary = (angles.cos(), angles.sin())
    table, first = turning_table(rotary), (heads + kv_heads) * width
    if dtype.itemsize > 1:
        x, both, qkv = x.to(dtype), both.to(dtype) / 16, qkv.to(dtype)
        got = (gated_product(x, both), heads_product(x, None, qkv, None, norms, table, first, 1e-6))
    else:
        (x, x_scale), *weights = map(_in_8_bit, (x, both / 16, qkv))
        (both, both_scale), (qkv, qkv_scale) = weights
        scales = paired_scales(*both_scale.flatten().chunk(2))
        got = (gated_rows_product(x, x_scale, both, scales),)
        got += (heads_product(x, x_scale, qkv, qkv_scale.flatten(), norms, table, first, 1e-6),)
        x, both, qkv = x.float() * x_scale, both.float() * both_scale, qkv.float() * qkv_scale
    gate, up = (x @ both.t()).float().chunk(2, dim=-1)
    split = ((heads + kv_heads) * width, kv_heads * width)
    turned, values = (x @ qkv.t()).float().split(split, dim=-1)
    turned = F.rms_norm(turned.unflatten(-1, (-1, width)), (width,), eps=1e-6) * norms[0, :first].view(-1, width)
    even, odd = turned.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = (part[:, None] for part in rotary)
    turned = torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(1)
    return list(zip(got, (F.silu(gate) * up, torch.cat((turned, values), dim=-1))))


def _in_8_bit(rows: Tensor) -> tuple[Tensor, Tensor]:
    scale = rows.abs().amax(dim=1, keepdim=True) / kernels.FP8_MAX
    return (rows / scale).to(torch.float8_e4m3fn), scale


# ---- a feed-forward's --------------------------------------------------------------------------------------------


@torch.library.custom_op("newbie_ui::gated_product", mutates_args=())
def gated_product(x: Tensor, both: Tensor) -> Tensor:
    """silu(x·w1)·(x·w3).

    Args:
        x: (…, in).
        both: (2·out, in): the rows of w1, then those of w3.

    Returns:
        (…, out).
    """
    from quack.gemm_config import GemmConfig  # takes seconds, and is an optional package
    from quack.gemm_interface import gemm_gated

    tile = GemmConfig(**TILE, device_capacity=CAPABILITY, is_dynamic_persistent=False)
    options = {"activation": "swiglu", "store_preact": False, "concat_layout": ("B",), "config": tile}
    return gemm_gated(x.flatten(0, -2), both.t(), **options)[1].unflatten(0, x.shape[:-1])


@torch.library.custom_op("newbie_ui::gated_rows_product", mutates_args=())
def gated_rows_product(values: Tensor, scale: Tensor, both: Tensor, scales: Tensor) -> Tensor:
    """silu(x·w1)·(x·w3) of rows in 8 bit, in bfloat16.

    Args:
        values, scale: (…, in) and (…, 1), see `kernels.Rows`.
        both: (2·out, in) in 8 bit: the rows of w1, then those of w3.
        scales: `paired_scales` of them.
    """
    from newbie_ui.model.epilogues import gated_rows  # likewise

    return gated_rows(values.flatten(0, -2), scale.flatten(), both, scales).unflatten(0, values.shape[:-1])


def paired_scales(of_w1: Tensor, of_w3: Tensor) -> Tensor:
    """(out,) of each matrix → (1, 2·out) float32, as the kernel pairs their columns."""
    return torch.stack((of_w1, of_w3), dim=1).view(1, -1).float()


def _gated_like(x: Tensor, both: Tensor, dtype: torch.dtype) -> Tensor:
    return x.new_empty(*x.shape[:-1], both.shape[0] // 2, dtype=dtype)


gated_product.register_fake(lambda x, both: _gated_like(x, both, x.dtype))
gated_rows_product.register_fake(lambda values, scale, both, scales: _gated_like(values, both, torch.bfloat16))


# ---- an attention's ----------------------------------------------------------------------------------------------


def heads_fit(width: int, first: int) -> bool:
    """Whether `heads_product` is made for heads of this width, and for this many columns of queries and keys."""
    return width == HEAD_WIDTH and first % HEAD_COLUMNS == 0


@torch.library.custom_op("newbie_ui::heads_product", mutates_args=())
def heads_product(
    x: Tensor,
    x_scale: Tensor | None,
    qkv: Tensor,
    qkv_scale: Tensor | None,
    norms: Tensor,
    table: Tensor,
    first: int,
    eps: float,
) -> Tensor:
    """x·qkv, whose first columns are normed and turned head by head.

    Args:
        x: (…, in), in 8 bit with its scale (…, 1) or as it is without one.
        qkv: (columns, in): queries, keys, values, head by head; likewise, its scale is (columns,).
        norms: `head_norms`.
        table: (…, 2·width), `turning_table` of the same tokens, for heads of this width.
        first: columns of queries and keys together; the values behind them stay as they are.

    Returns:
        (…, columns) in the format of x, or in bfloat16.
    """
    from newbie_ui.model.epilogues import heads

    scales = None if x_scale is None else (x_scale.flatten(), qkv_scale)
    given = (x.flatten(0, -2), qkv, scales, norms, table.flatten(0, -2))
    return heads(*given, first, eps).unflatten(0, x.shape[:-1])


@heads_product.register_fake
def _(x: Tensor, x_scale: Tensor | None, qkv: Tensor, *_) -> Tensor:
    return x.new_empty(*x.shape[:-1], len(qkv), dtype=x.dtype if x_scale is None else torch.bfloat16)


def head_norms(q_weight: Tensor, k_weight: Tensor, heads: int, kv_heads: int) -> Tensor:
    """(1, columns) float32: the weight of each column's norm, 1 for values."""
    values = torch.ones_like(k_weight).repeat(kv_heads)
    return torch.cat((q_weight.repeat(heads), k_weight.repeat(kv_heads), values)).float()[None]


def turning_table(rotary: tuple[Tensor, Tensor]) -> Tensor:
    """(…, 2·width) float16, finer than bfloat16's rounding: cos and sin in turn, then what leaves a head as it is."""
    cos, sin = rotary
    angles = torch.cat((cos, torch.ones_like(cos)), dim=-1), torch.cat((sin, torch.zeros_like(sin)), dim=-1)
    return torch.stack(angles, dim=-1).flatten(-2).half()

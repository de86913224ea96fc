"""silu(x·w1)·(x·w3) in one kernel of the package quack-kernels, for Hopper: what lies between is never written out.

It wants both matrices as one, w3 behind w1. The rest of the feed-forward is a product like any other.
"""

from __future__ import annotations

import logging
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

log = logging.getLogger(__name__)

PACKAGE = "quack.gemm_interface"
CACHE = "QUACK_CACHE_DIR"  # environment: where it keeps compiled kernels
CAPABILITY = 9  # its products are as fast as cuBLAS's there; elsewhere nobody measured
# The fastest of eight for 8832 × 2304 by 2304 × 18432 on an H200: 0.93 ms, 1.06 ms with cuBLAS and the compiler.
TILE = {"tile_m": 128, "tile_n": 192, "pingpong": True, "cluster_m": 2, "cluster_n": 1}


def usable(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernel is there, worth it, and right."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    return torch.cuda.get_device_capability(device)[0] == CAPABILITY and is_right(device, dtype)


@lru_cache(maxsize=8)
def is_right(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a small product gives what plain torch does; not if the package is missing or refuses. Remembered."""
    x, both = (torch.randn(rows, 256, device=device, dtype=dtype) / 16 for rows in (256, 2 * 384))
    gate, up = (x @ both.t()).float().chunk(2, dim=-1)
    expected = F.silu(gate) * up
    try:
        error = (gated_product(x, both).float() - expected).norm() / expected.norm()
    except Exception as error:  # packages of kernels fail in any way they like
        log.info("no gated product: %s", str(error)[:120])
        return False
    return bool(error < 2e-2)


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


@gated_product.register_fake
def _(x: Tensor, both: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], both.shape[0] // 2)

"""What the device can do at this model's shapes, measured before anything is compared with it.

Rates are the best of several rounds after a warm-up, operands made anew on the device. The floor of a step is its
work at these rates: nothing that computes the same products in the same number format can be faster, so a share of
the floor says how much is left to gain.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F

from newbie_ui.bench.work import StepWork, layer_shapes
from newbie_ui.engine import attention
from newbie_ui.engine.measure import best_s

log = logging.getLogger(__name__)

FP8_FROM = (8, 9)  # compute capability


@dataclass(frozen=True)
class Ceilings:
    """Operations a second. `fp8` is empty where the device has none."""

    matmul: Mapping[str, float]  # matrix name → rate in the model's number format
    fp8: Mapping[str, float] = field(default_factory=dict)
    attention: Mapping[str, float] = field(default_factory=dict)  # kernel name → rate

    def floor_s(self, work: StepWork, config: Mapping[str, Any], eight_bit: bool = False) -> float:
        """The least seconds of a step."""
        rates = self.fp8 if eight_bit and self.fp8 else self.matmul
        shapes = layer_shapes(config)
        seconds_a_weight = sum(rows * cols / rates[name] for name, (rows, cols) in shapes.matrices.items())
        return work.matmul * seconds_a_weight / shapes.weights + work.attention / max(self.attention.values())


def measure_ceilings(
    config: Mapping[str, Any], device: torch.device, dtype: torch.dtype, tokens: int, rows: int = 2, rounds: int = 10
) -> Ceilings:
    """All rates for `rows` sequences of `tokens` tokens."""
    shapes = layer_shapes(config)
    matmul, fp8 = {}, {}
    for name, (out, inner) in shapes.matrices.items():
        operations = 2.0 * rows * tokens * out * inner
        x = torch.randn(rows * tokens, inner, device=device, dtype=dtype)
        weight = torch.randn(out, inner, device=device, dtype=dtype)
        matmul[name] = operations / best_s(lambda x=x, w=weight: F.linear(x, w), device, rounds)
        if has_fp8(device):
            fp8[name] = operations / best_s(fp8_product(x, weight), device, rounds)
    operations = 4.0 * rows * tokens * tokens * shapes.heads * shapes.head_dim
    kernels = {}
    for name in attention.candidates(device):
        took = attention.time_backend(name, device, dtype, shapes.all_heads, shapes.head_dim, tokens, rows, rounds)
        if took:
            kernels[name] = operations / took
    for name, took in others_s(device, dtype, (rows, tokens, shapes.heads, shapes.head_dim), rounds).items():
        kernels[name] = operations / took
    return Ceilings(matmul, fp8, kernels)


def others_s(
    device: torch.device, dtype: torch.dtype, shape: tuple[int, int, int, int], rounds: int
) -> dict[str, float]:
    """Seconds of torch's kernels that the engine has no use for unless one of them wins: flex and variable length.

    On a card only; what a torch release does not have, or refuses, is left out.
    """
    if device.type != "cuda":
        return {}
    found = {}
    for name, prepare in (("flex", _flex), ("varlen", _varlen)):
        try:
            found[name] = best_s(prepare(device, dtype, *shape), device, rounds)
        except Exception as error:  # compilers and kernels fail in any way they like
            log.info("attention kernel %s is not usable here: %s", name, str(error)[:120])
    return found


def _flex(device: torch.device, dtype: torch.dtype, rows: int, tokens: int, heads: int, width: int) -> Callable:
    from torch.nn.attention.flex_attention import flex_attention

    q, k, v = (torch.randn(rows, heads, tokens, width, device=device, dtype=dtype) for _ in range(3))
    compiled = torch.compile(flex_attention, dynamic=False)
    return lambda: compiled(q, k, v)


def _varlen(device: torch.device, dtype: torch.dtype, rows: int, tokens: int, heads: int, width: int) -> Callable:
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (torch.randn(rows * tokens, heads, width, device=device, dtype=dtype) for _ in range(3))
    starts = torch.arange(0, rows * tokens + 1, tokens, device=device, dtype=torch.int32)
    return lambda: varlen_attn(q, k, v, starts, starts, tokens, tokens)


def has_fp8(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= FP8_FROM


def fp8_product(x: torch.Tensor, weight: torch.Tensor) -> Callable[[], torch.Tensor]:
    """A row-scaled fp8 product of the same shapes; the scales are ones, the time does not depend on them."""
    x8, w8 = x.to(torch.float8_e4m3fn), weight.to(torch.float8_e4m3fn)
    scale_a = torch.ones(x.shape[0], 1, device=x.device)
    scale_b = torch.ones(1, weight.shape[0], device=x.device)
    options = {"scale_a": scale_a, "scale_b": scale_b, "out_dtype": torch.bfloat16, "use_fast_accum": True}
    return lambda: torch._scaled_mm(x8, w8.t(), **options)

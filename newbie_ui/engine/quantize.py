"""8-bit matrix products for the transformer, 8- or 4-bit weights for the text encoder.

Plain modules around torch's own kernels rather than tensor subclasses, which made per-block compilation hang. All are
lossy; the figures belong beside the speed in `docs/performance.md`. A quantised layer cannot be turned back: the
engine reads the weights again.

    Fp8Linear     activations scaled by row at run time, weights by output channel; torch._scaled_mm
    Int8Linear    the same in int8; torch._int_mm
    Int8Weight    weights only, for layers that wait for memory more than for arithmetic
    Int4Weight    the same with two weights a byte, each group of 64 with a scale and an offset
"""

from __future__ import annotations

import math
import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from newbie_ui.model import kernels, products
from newbie_ui.model.blocks import FeedForward
from newbie_ui.model.kernels import Rows

INT8_MAX = 127.0
INT4_GROUP = 64
INT_MM_ROWS = 17  # torch._int_mm on a card wants more than 16 rows
TRANSFORMER_LAYERS = re.compile(r"^(layers|noise_refiner)\.\d+\.(attention\.(qkv|out)|feed_forward\.w[123])$")
TEXT_LAYERS = re.compile(r"\.(self_attn|mlp)\.\w+_proj$")


class _QuantizedLinear(nn.Module):
    """Keeps an 8-bit weight (out, in) and its scale (out,)."""

    limit: float
    storage: torch.dtype

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()
        scale = _scale(weight, self.limit)  # (out, 1)
        self.weight = nn.Parameter(_to_8bit(weight / scale, self.storage), requires_grad=False)
        self.register_buffer("scale", scale.squeeze(1), persistent=False)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach(), requires_grad=False)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {self.storage}"

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.in_features)
        y = self._product(rows).to(x.dtype)
        return (y if self.bias is None else y + self.bias).reshape(*x.shape[:-1], self.out_features)

    def _product(self, rows: Tensor) -> Tensor:
        scale = _scale(rows, self.limit)  # (rows, 1)
        return self._multiply(_to_8bit(rows / scale, self.storage), scale)

    def _multiply(self, rows: Tensor, scale: Tensor) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not quantise activations.")


class Fp8Linear(_QuantizedLinear):
    limit, storage = kernels.FP8_MAX, torch.float8_e4m3fn

    @property
    def takes_rows(self) -> bool:
        """Whether the input may come in 8 bit: not where a LoRA reads it too."""
        return type(self) is Fp8Linear

    def forward(self, x: Tensor | Rows) -> Tensor:
        if isinstance(x, Rows):
            return self.of_rows(x)
        return self.of_rows(kernels.quantized_rows(x)).to(x.dtype) if kernels.usable(x) else super().forward(x)

    def of_rows(self, rows: Rows) -> Tensor:
        """The layer of an input (…, in) that is in 8 bit already."""
        y = self._multiply(rows.values.flatten(0, -2), rows.scale.flatten(0, -2))
        return (y if self.bias is None else y + self.bias).unflatten(0, rows.values.shape[:-1])

    def _multiply(self, rows: Tensor, scale: Tensor) -> Tensor:
        return torch._scaled_mm(
            rows,
            self.weight.t(),
            scale_a=scale.float(),
            scale_b=self.scale[None, :],
            out_dtype=torch.bfloat16,
            use_fast_accum=rows.is_cuda,
        )


class Fp8FeedForward(FeedForward):
    """The same with its input in 8 bit for two layers at once, and what lies between the layers never written out."""

    _scales: Tensor | None = None  # of both matrices, once they are one

    @property
    def takes_rows(self) -> bool:
        """Whether the input may come in 8 bit: not where a LoRA reads it, or what lies between the layers."""
        return all(type(layer) is Fp8Linear for layer in (self.w1, self.w2, self.w3))

    def forward(self, x: Tensor | Rows) -> Tensor:
        if isinstance(x, Tensor):
            if not self.takes_rows or not kernels.usable(x):
                return super().forward(x)
            return self.forward(kernels.quantized_rows(x)).to(x.dtype)
        if self._both is None:
            return self.w2.of_rows(kernels.gated_rows(self.w1.of_rows(x), self.w3.of_rows(x)))
        gated = products.gated_rows_product(*x, self._both, self._scales)
        return self.w2.of_rows(kernels.quantized_rows(gated))

    def join(self, device: torch.device) -> None:
        super().join(device)
        self._scales = products.paired_scales(*(layer.scale.to(device) for layer in (self.w1, self.w3)))

    def part(self) -> None:
        super().part()
        self._scales = None


class Int8Linear(_QuantizedLinear):
    limit, storage = INT8_MAX, torch.int8

    def _multiply(self, rows: Tensor, scale: Tensor) -> Tensor:
        missing = max(0, INT_MM_ROWS - rows.shape[0])
        product = torch._int_mm(F.pad(rows, (0, 0, 0, missing)) if missing else rows, self.weight.t())
        return product[: rows.shape[0]] * (scale.float() * self.scale[None, :])


class Int8Weight(_QuantizedLinear):
    limit, storage = INT8_MAX, torch.int8

    def _product(self, rows: Tensor) -> Tensor:
        return F.linear(rows, self.weight.to(rows.dtype)) * self.scale.to(rows.dtype)


class Int4Weight(nn.Module):
    """Two weights a byte. A group of columns runs from its smallest (0) to its largest value (15)."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.group = math.gcd(INT4_GROUP, self.in_features)
        weight = linear.weight.detach().float().unflatten(1, (-1, self.group))  # (out, groups, group)
        low, high = weight.amin(dim=2, keepdim=True), weight.amax(dim=2, keepdim=True)
        step = ((high - low) / 15).clamp_min(1e-12)
        codes = ((weight - low) / step).round().to(torch.uint8).flatten(1)
        self.weight = nn.Parameter(codes[:, ::2] | codes[:, 1::2] << 4, requires_grad=False)
        self.register_buffer("step", step.to(linear.weight.dtype), persistent=False)
        self.register_buffer("low", low.to(linear.weight.dtype), persistent=False)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach(), requires_grad=False)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, 4 bit, groups of {self.group}"

    def forward(self, x: Tensor) -> Tensor:
        codes = torch.stack((self.weight & 15, self.weight >> 4), dim=-1)
        codes = codes.reshape(self.out_features, -1, self.group).to(x.dtype)
        weight = torch.addcmul(self.low.to(x.dtype), codes, self.step.to(x.dtype))
        return F.linear(x, weight.flatten(1), self.bias)


KINDS = {"fp8": Fp8Linear, "int8": Int8Linear, "weight": Int8Weight, "weight4": Int4Weight}
TEXT_KINDS = {"int8": "weight", "int4": "weight4"}


def quantize(module: nn.Module, kind: str, which: re.Pattern[str], device: torch.device | None = None) -> int:
    """Exchange the linear layers whose name matches; returns how many. They stay where they were, whatever `device`
    converts them."""
    chosen = [(n, m) for n, m in module.named_modules() if isinstance(m, nn.Linear) and which.search(n)]
    for name, linear in chosen:
        owner, _, attribute = name.rpartition(".")
        home = linear.weight.device
        setattr(module.get_submodule(owner), attribute, KINDS[kind](linear.to(device)).to(home))
    return len(chosen)


def quantize_transformer(transformer: nn.Module, kind: str, device: torch.device | None = None) -> int:
    """ "fp8" or "int8" for the large products of every step; embedders, context refiner and adaLN stay."""
    count = quantize(transformer, kind, TRANSFORMER_LAYERS, device)
    if kind == "fp8":
        for block in (*transformer.noise_refiner, *transformer.layers):
            block.feed_forward.__class__ = Fp8FeedForward
    return count


def quantize_text_encoder(text_encoder: nn.Module, kind: str = "int8", device: torch.device | None = None) -> int:
    """ "int8" or "int4" weights for Gemma's attention and feed-forward layers."""
    return quantize(text_encoder, TEXT_KINDS[kind], TEXT_LAYERS, device)


def _scale(rows: Tensor, limit: float) -> Tensor:
    """(n, 1): what brings each row's largest value to `limit`."""
    return rows.abs().amax(dim=1, keepdim=True).float().clamp_min(1e-12) / limit


def _to_8bit(scaled: Tensor, storage: torch.dtype) -> Tensor:
    return (scaled.round() if storage is torch.int8 else scaled).to(storage)

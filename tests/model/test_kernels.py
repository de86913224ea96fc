"""The kernels give the numbers of the plain code, and compile. Without a card Triton's interpreter runs them.

It has to be chosen before Triton is imported, so the comparisons run in a process of their own (`main`), which prints
the largest error of each. Faults of the interpreter (Triton 3.9.0) are allowed for: a bfloat16 is cut off instead of
rounded; in 8 bit a carry into the next power of two is lost (126 becomes 64 instead of 128), and what is below the
smallest normal number is cut off. It also accepts what the compiler refuses, such as a variable whose type depends on a
branch; so each kernel is compiled for cards that need not be there.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from newbie_ui.model import kernels
from newbie_ui.model.attention import NewbieAttention, NewbieAttnProcessor
from tests import tiny

try:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
except ImportError:  # there is none for this machine
    triton = None

ROOT = Path(__file__).parents[2]
HEADS = {  # batch, tokens, query heads, key heads, width
    "published": (1, 5, 24, 8, 96),
    "two prompts": (2, 35, 4, 2, 64),
    "narrow": (2, 3, 2, 1, 12),
}
STREAM = (2, 6, 40)  # batch, tokens, width
ROWS = {"odd": (2, 3, 300), "one": (1, 96), "feed-forward": (2, 9216)}
DTYPES = ("float32", "bfloat16")
SMALLEST_NORMAL = 2**-6  # of float8_e4m3fn
EPS = 1e-6
POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float8_e4m3fn: "*fp8e4nv"}
POINTERS |= {torch.bool: "*i1", torch.int64: "*i64"}
NUMBERS = {int: "i32", float: "fp32"}
FP8_SINCE = 89

needs_triton = pytest.mark.skipif(kernels.triton is None, reason="there is no Triton for this machine")


# ---- in a process of its own -------------------------------------------------------------------------------------


def main() -> None:
    torch.manual_seed(0)
    errors = {}
    for dtype in DTYPES:
        kind = getattr(torch, dtype)
        for name, shape in HEADS.items():
            for padded in (True, False):
                errors[f"heads {name} {dtype} {padded}"] = turning_error(shape, kind, padded)
        for name, error in stream_errors(kind).items():
            errors[f"{name} {dtype}"] = error
        for name, shape in ROWS.items():
            errors[f"quantized {name} {dtype}"] = quantizing_error(shape, kind)
            errors[f"gated {name} {dtype}"] = gating_error(shape, kind)
    errors["tables of another layout"] = other_layout_error()
    errors["zeros"] = kernels.quantized_rows(torch.zeros(2, 40)).values.float().abs().max().item()
    for padding in ("channels", "mask", "none"):
        errors[f"transformer {padding}"] = transformer_error(padding)
    print(json.dumps(errors))


def relative(got: Tensor, wanted: Tensor) -> float:
    """The largest error, relative where what is wanted is above 1."""
    assert got.shape == wanted.shape
    return ((got.float() - wanted).abs() / wanted.abs().clamp_min(1)).max().item()


def turning_error(shape: tuple[int, ...], dtype: torch.dtype, padded: bool) -> float:
    """Of queries, keys and values against the plain code in float32."""
    batch, tokens, heads, kv_heads, width = shape
    plain = NewbieAttention(heads * width, heads, kv_heads, True, NewbieAttnProcessor()).requires_grad_(False)
    for norm in (plain.q_norm, plain.k_norm):
        norm.weight.copy_(torch.randn(width).bfloat16())
    qkv = torch.randn(batch, tokens, (heads + 2 * kv_heads) * width, dtype=dtype)
    angles = torch.randn(batch, tokens + 2, width // 2)
    rotary = (angles.cos()[:, :tokens], angles.sin()[:, :tokens])  # parts of longer tables
    mask = torch.rand(batch, tokens) > 0.4 if padded else None
    wanted = plain.processor._heads(plain, qkv.float(), rotary, mask)
    weights = (plain.q_norm.weight.to(dtype), plain.k_norm.weight.to(dtype))
    errors = []
    for head_major in (True, False):
        got = kernels.turned_heads(qkv, weights, rotary, mask, heads, kv_heads, plain.q_norm.eps, head_major)
        assert {x.dtype for x in got} == {dtype}
        assert got[0].transpose(1, 2).is_contiguous() == head_major
        errors += [relative(*pair) for pair in zip(got, wanted)]
    assert got[2].untyped_storage().data_ptr() == qkv.untyped_storage().data_ptr()
    return max(errors)


def other_layout_error() -> float:
    weights, angles = (torch.ones(12), torch.ones(12)), torch.randn(2, 6, 3)
    qkv, tables = torch.randn(2, 3, 48), (angles.cos().transpose(1, 2), angles.sin().transpose(1, 2))
    results = []
    for rotary in (tables, tuple(table.contiguous() for table in tables)):
        results.append(torch.cat(kernels.turned_heads(qkv, weights, rotary, None, 2, 1, EPS), dim=2))
    return (results[0] - results[1]).abs().max().item()


def stream_errors(dtype: torch.dtype) -> dict[str, float]:
    """Of the sum after a sublayer and of the norm before the next: x in float32 or `dtype`, all else in `dtype`."""
    x, (batch, _, width) = torch.randn(STREAM), STREAM
    h, modulation = torch.randn(STREAM).to(dtype), torch.randn(batch, 4 * width).to(dtype)
    weights = (torch.randn(width).to(dtype), torch.randn(width).to(dtype))
    _, gate, scale, _ = modulation.float().unsqueeze(1).chunk(4, dim=-1)
    added = x + gate.tanh() * F.rms_norm(h.float(), (width,), weights[0].float(), EPS)

    def normed(stream: Tensor) -> Tensor:
        return F.rms_norm(stream, (width,), weights[1].float(), EPS) * (1 + scale)

    new_x, both = kernels.residual_normed_rows(x, h, weights, modulation, modulation, (1, 2), EPS)
    alone = kernels.normed_rows(x, weights[1], modulation, 2, EPS)
    narrow = kernels.residual_rows(x.to(dtype), h, weights[0], modulation, 1, EPS)
    alone_8 = kernels.normed_rows(x, weights[1], modulation, 2, EPS, in_8_bit=True)
    new_x_8, both_8 = kernels.residual_normed_rows(x, h, weights, modulation, modulation, (1, 2), EPS, in_8_bit=True)
    assert torch.equal(new_x_8, new_x)
    in_one_row(x, h, weights, modulation, (new_x, both, alone, both_8))
    assert (new_x.dtype, both.dtype, alone.dtype, narrow.dtype) == (x.dtype, dtype, dtype, dtype)
    assert torch.equal(new_x, kernels.residual_rows(x, h, weights[0], modulation, 1, EPS))
    return {
        "sum": relative(new_x, added),
        "norm": relative(alone, normed(x)),
        "sum and norm": relative(both, normed(added)),
        "norm in 8 bit": rounding_error(alone_8, normed(x)),
        "sum and norm in 8 bit": rounding_error(both_8, normed(added)),
        "narrow sum": relative(narrow, added - x + x.to(dtype).float()),
    }


def in_one_row(x: Tensor, h: Tensor, weights: tuple[Tensor, Tensor], modulation: Tensor, wanted: tuple) -> None:
    """Tokens of several pictures in any order in one row give the same, each with its own picture's modulation."""
    order = torch.randperm(x[..., 0].numel())
    x, h = (tensor.flatten(0, 1)[order][None] for tensor in (x, h))
    owner = order // STREAM[1]
    new_x, both = kernels.residual_normed_rows(x, h, weights, modulation, modulation, (1, 2), EPS, owner=owner)
    alone = kernels.normed_rows(x, weights[1], modulation, 2, EPS, owner=owner)
    _, both_8 = kernels.residual_normed_rows(
        x, h, weights, modulation, modulation, (1, 2), EPS, in_8_bit=True, owner=owner
    )
    assert torch.equal(new_x, kernels.residual_rows(x, h, weights[0], modulation, 1, EPS, owner=owner))
    for got, kept in zip((new_x, both, alone, *both_8), (*wanted[:3], *wanted[3])):
        assert torch.equal(got[0].float(), kept.flatten(0, 1)[order].float())


def quantizing_error(shape: tuple[int, ...], dtype: torch.dtype) -> float:
    rows = torch.randn(*shape[:-1], 2 * shape[-1]).to(dtype)[..., ::2]
    return rounding_error(kernels.quantized_rows(rows), rows.float())


def gating_error(shape: tuple[int, ...], dtype: torch.dtype) -> float:
    a, b = torch.randn(*shape[:-1], 2 * shape[-1]).to(dtype).chunk(2, dim=-1)
    return rounding_error(kernels.gated_rows(a, b), F.silu(a.float()) * b.float())


def rounding_error(rows: kernels.Rows, exact: Tensor) -> float:
    """The largest one where the interpreter can round, as a part of what rounding may cost: up to 1."""
    assert (rows.values.dtype, rows.values.shape) == (torch.float8_e4m3fn, exact.shape)
    assert torch.allclose(rows.scale, exact.abs().amax(dim=-1, keepdim=True) / kernels.FP8_MAX)
    codes = exact / rows.scale
    rounded = codes.to(rows.values.dtype).float()
    sound = (codes.abs() >= SMALLEST_NORMAL) & (rounded.frexp().mantissa.abs() != 0.5)  # 0.5: a power of two
    assert sound.float().mean() > 0.5
    half_step = torch.exp2(codes.frexp().exponent - 5.0)  # 3 bits behind the leading one, and half a bit
    return ((rows.values.float() - codes).abs() / half_step)[sound].max().item()


@torch.no_grad()
def transformer_error(padding: str) -> float:
    """Of the velocity of a whole transformer that goes through the kernels wherever it can."""
    transformer, asked = tiny.pipeline().transformer, Counter()
    mask = None if padding == "none" else torch.arange(10) < torch.tensor([[10], [4]])
    if mask is not None:
        transformer.set_padding_method(padding)
    latents, times, texts = torch.randn(2, 16, 8, 8), torch.tensor([0.7]), torch.randn(2, 10, tiny.WIDTH)
    inputs = (latents, times.expand(2), texts, mask, torch.randn(2, tiny.CLIP_WIDTH))
    caption = transformer.prepare_caption(*inputs[2:])
    prepared = {
        "caption": caption,
        "modulation": transformer.prepare_modulation(times, caption.pooled, 2, texts.dtype)[0],
    }
    plain = transformer(*inputs).sample
    names = ("turned_heads", "normed_rows", "residual_normed_rows", "residual_rows")
    for name in names:
        setattr(kernels, name, counting(getattr(kernels, name), asked))
    kernels.usable, usable = lambda tensor: True, kernels.usable
    got = transformer(*inputs).sample
    layers, refiners = len(transformer.layers), len(transformer.noise_refiner)
    assert [asked[name] for name in names[1:]] == [layers + refiners] * 3
    assert asked["turned_heads"] == layers + refiners + len(transformer.context_refiner)
    asked.clear()
    chained = transformer(latents, **prepared).sample  # each layer does the first norm of the next
    assert [asked[name] for name in names[1:]] == [1 + refiners, 2 * layers + refiners, refiners]
    kernels.usable = usable
    return max((velocity - plain).abs().max().item() for velocity in (got, chained))


def counting(function: Callable, calls: Counter) -> Callable:
    @functools.wraps(function)
    def counted(*args, **options):
        calls[function.__name__] += 1
        return function(*args, **options)

    return counted


# ---- compiling for other machines --------------------------------------------------------------------------------


class Recorded:
    """In place of a kernel that is launched: keeps what it was launched with."""

    def __init__(self, kernel, launched: list[Launch]):
        self.kernel, self.launched = kernel, launched

    def __getitem__(self, grid):
        return lambda *args, **options: self.launched.append(Launch(self.kernel, args, options))


@dataclass(frozen=True)
class Launch:
    kernel: Any  # of Triton
    args: tuple[Any, ...]
    options: dict[str, Any]

    @property
    def in_8_bit(self) -> bool:
        return any(isinstance(given, Tensor) and given.dtype == torch.float8_e4m3fn for given in self.args)

    def shared_bytes(self, capability: int) -> int:
        """What a program of it takes of a multiprocessor's memory, once compiled for a card, as at this launch."""
        constants, types, attributes = dict(self.options), {}, {}
        warps = constants.pop("num_warps")
        for number, (name, given) in enumerate(zip(self.kernel.arg_names, self.args)):
            types[name] = POINTERS[given.dtype] if isinstance(given, Tensor) else NUMBERS[type(given)]
            if isinstance(given, Tensor) or (isinstance(given, int) and given % 16 == 0):
                attributes[number,] = [["tt.divisibility", 16]]
        types |= dict.fromkeys(constants, "constexpr")
        source = ASTSource(self.kernel, types, constants, attributes)
        options = {"num_warps": warps, "enable_fp_fusion": True}  # Triton 3.9 asks whoever does not say
        return triton.compile(source, GPUTarget("cuda", capability, 32), options).metadata.shared


def launches(monkeypatch) -> list[Launch]:
    """One of each kind, at the published widths."""
    launched = []
    monkeypatch.setattr(kernels, "_launcher", lambda kernel: Recorded(kernel, launched))
    b, s, dim, ffn, width = 2, 5, 2304, 9216, 96
    stream, rows, hidden = torch.zeros(b, s, dim), *(torch.zeros(b, s, n, dtype=torch.bfloat16) for n in (dim, ffn))
    qkv, tables = rows.new_zeros(b, s, 40 * width), (torch.zeros(b, s, width // 2),) * 2
    weight, modulation = rows.new_zeros(dim), rows.new_zeros(b, 4 * dim)
    for mask, head_major in ((torch.ones(b, s, dtype=torch.bool), True), (None, True), (None, False)):
        kernels.turned_heads(qkv, (weight[:width],) * 2, tables, mask, 24, 8, EPS, head_major)
    for x in (stream, rows):
        kernels.residual_normed_rows(x, rows, (weight,) * 2, modulation, modulation, (1, 2), EPS)
    kernels.normed_rows(stream, weight, modulation, 0, EPS)
    owner = torch.zeros(b * s, dtype=torch.int64)
    for in_8_bit in (False, True):
        args = (stream.view(1, -1, dim), rows.view(1, -1, dim), (weight,) * 2, modulation, modulation, (1, 2), EPS)
        kernels.residual_normed_rows(*args, in_8_bit, owner)
    kernels.residual_rows(stream, rows, weight, modulation, 3, EPS)
    kernels.normed_rows(stream, weight, modulation, 0, EPS, in_8_bit=True)
    kernels.residual_normed_rows(stream, rows, (weight,) * 2, modulation, modulation, (1, 2), EPS, in_8_bit=True)
    kernels.quantized_rows(rows)
    kernels.gated_rows(hidden, hidden)
    return launched


# ---- tests -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def errors():
    command, environ = [sys.executable, "-m", "tests.model.test_kernels"], {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@needs_triton
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 2e-6), ("bfloat16", 2**-7)])
@pytest.mark.parametrize("heads", HEADS)
def test_queries_and_keys_are_normed_turned_and_padded_as_in_the_plain_code(errors, heads, dtype, bound, padded):
    assert errors[f"heads {heads} {dtype} {padded}"] <= bound


@needs_triton
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 2e-6), ("bfloat16", 2**-7)])
def test_sums_and_norms_between_sublayers_are_as_in_the_plain_code(errors, dtype, bound):
    assert errors[f"sum {dtype}"] < 2e-6
    for kernel in ("norm", "sum and norm", "narrow sum"):
        assert errors[f"{kernel} {dtype}"] <= bound
    for kernel in ("norm in 8 bit", "sum and norm in 8 bit"):
        assert errors[f"{kernel} {dtype}"] < 1.001


@needs_triton
def test_rotary_tables_may_lie_in_memory_in_any_way(errors):
    assert errors["tables of another layout"] == 0


@needs_triton
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("kernel", ["quantized", "gated"])
def test_rows_in_8_bit_are_as_near_as_8_bit_can_be(errors, kernel, rows, dtype):
    assert errors[f"{kernel} {rows} {dtype}"] < 1.001


@needs_triton
def test_a_row_of_zeros_stays_one(errors):
    assert errors["zeros"] == 0


@needs_triton
@pytest.mark.parametrize("padding", ["channels", "mask", "none"])
def test_a_whole_transformer_gives_the_same_with_the_kernels(errors, padding):
    assert errors[f"transformer {padding}"] < 1e-5


@needs_triton
@pytest.mark.parametrize("capability", [80, 89, 90])
def test_every_kernel_compiles_for_cards_that_are_not_here(capability, monkeypatch, tmp_path):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    wanted = [launch for launch in launches(monkeypatch) if capability >= FP8_SINCE or not launch.in_8_bit]
    assert len(wanted) == (13 if capability >= FP8_SINCE else 8)
    assert all(launch.shared_bytes(capability) < 48 * 1024 for launch in wanted)  # what a program gets without asking


def test_on_the_processor_the_plain_code_is_used():
    assert not kernels.usable(torch.zeros(1))


@needs_triton
def test_what_may_need_a_gradient_goes_through_the_plain_code():
    on_card = SimpleNamespace(is_cuda=True)
    assert not kernels.usable(on_card)  # with a LoRA that learns, the first layer's input needs none, its output does
    with torch.no_grad():
        assert kernels.usable(on_card)


def test_norms_go_through_the_kernels_only_where_they_are_bare_and_on_the_device(monkeypatch):
    block, x = tiny.pipeline().transformer.layers[0], torch.zeros(1, 2, tiny.TRANSFORMER["dim"])
    monkeypatch.setattr(kernels, "usable", lambda tensor: True)
    assert block.can_fuse(x)
    assert not block.can_fuse(x.to("meta"))
    block.ffn_norm1.__class__ = type("WithBranch", (type(block.ffn_norm1),), {})
    assert not block.can_fuse(x)


def test_without_triton_the_module_is_there_and_not_usable(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    spec = importlib.util.spec_from_file_location("kernels_without_triton", kernels.__file__)
    alone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alone)
    assert alone.triton is None
    with torch.no_grad():
        assert not alone.usable(SimpleNamespace(is_cuda=True))


if __name__ == "__main__":
    main()

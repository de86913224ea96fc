"""Torch in place of the Triton kernels, which need a card or an interpreter."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from newbie_ui.model import kernels
from newbie_ui.model.attention import apply_rotary


def install(monkeypatch, counted: bool = True) -> list[str]:
    """Until the test ends they are always usable. Returns what will have been asked for, turning aside.

    `counted`: not where the compiler looks on, to whom every count is another function.
    """
    asked = []

    def note(name: str) -> None:
        if counted:
            asked.append(name)

    def in_8_bits(rows):
        scale = rows.abs().amax(dim=-1, keepdim=True).float() / kernels.FP8_MAX
        return kernels.Rows((rows / scale).to(torch.float8_e4m3fn), scale)

    def turned_heads(qkv, weights, rotary, token_mask, heads, kv_heads, eps, head_major=True):
        assert token_mask is None
        width = len(weights[0])
        *parts, v = qkv.unflatten(-1, (-1, width)).split((heads, kv_heads, kv_heads), dim=2)
        parts = (F.rms_norm(x.float(), (width,), weight.float(), eps) for x, weight in zip(parts, weights))
        return (*(apply_rotary(x, rotary).to(qkv.dtype) for x in parts), v)

    def quantized_rows(rows):
        note("quantized")
        return in_8_bits(rows)

    def gated_rows(a, b):
        note("gated")
        return in_8_bits(F.silu(a.float()) * b.float())

    def part(modulation, number, owner):
        chosen = modulation.chunk(4, dim=1)[number]
        return chosen[:, None] if owner is None else chosen[owner][None]

    def normed_rows(x, weight, modulation, scale, eps, in_8_bit=False, owner=None):
        y = F.rms_norm(x, weight.shape, weight.to(x.dtype), eps) * (1 + part(modulation, scale, owner))
        note("normed in 8 bit" if in_8_bit else "normed")
        return in_8_bits(y) if in_8_bit else y.to(modulation.dtype)

    def residual_rows(x, h, weight, modulation, gate, eps, owner=None):
        return x + part(modulation, gate, owner).tanh() * F.rms_norm(h, weight.shape, weight, eps)

    def residual_normed_rows(x, h, weights, modulation, next_modulation, parts, eps, in_8_bit=False, owner=None):
        x = residual_rows(x, h, weights[0], modulation, parts[0], eps, owner)
        return x, normed_rows(x, weights[1], next_modulation, parts[1], eps, in_8_bit, owner)

    for stand_in in (turned_heads, quantized_rows, gated_rows, normed_rows, residual_rows, residual_normed_rows):
        monkeypatch.setattr(kernels, stand_in.__name__, stand_in)
    monkeypatch.setattr(kernels, "usable", lambda tensor: True)
    return asked

"""Stands in for the package quack-kernels, which needs a card: its function as documented, our epilogues in torch."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from newbie_ui.model import products


@dataclass(frozen=True)
class Call:
    name: str
    weights: tuple[int, int]  # (out, in)


def install(monkeypatch) -> list[Call]:
    """Until the test ends, on every device. Returns what it will have been asked for."""
    calls = []

    def gemm_gated(x, weights, *, activation, store_preact, concat_layout, config):
        assert (activation, store_preact, concat_layout) == ("swiglu", False, ("B",))
        calls.append(Call("gated", tuple(weights.t().shape)))
        gate, up = (x @ weights).chunk(2, dim=-1)
        return None, F.silu(gate) * up

    def gated_rows(x, scale, both, scales):
        calls.append(Call("gated rows", tuple(both.shape)))
        columns = scales.view(-1, 2).t().flatten()  # they come in pairs
        gate, up = (multiplied(x, both) * scale[:, None] * columns).chunk(2, dim=-1)
        return (F.silu(gate) * up).bfloat16()

    def heads(x, qkv, scales, norms, table, first, eps):
        width = table.shape[1] // 2
        calls.append(Call("heads" if scales is None else "heads rows", tuple(qkv.shape)))
        y = multiplied(x, qkv)
        if scales is not None:
            y = y * scales[0][:, None] * scales[1]
        cos, sin = (table[:, :width].float()[:, None, part::2] for part in (0, 1))
        turned = F.rms_norm(y[:, :first].unflatten(1, (-1, width)), (width,), eps=eps)
        even, odd = (turned * norms[:, :first].view(-1, width)).unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(1)
        dtype = x.dtype if scales is None else torch.bfloat16
        return torch.cat((turned, y[:, first:]), dim=1).to(dtype)

    parts = {"quack.gemm_config": {"GemmConfig": dict}, "quack.gemm_interface": {"gemm_gated": gemm_gated}}
    parts |= {"quack": {}, "newbie_ui.model.epilogues": {"gated_rows": gated_rows, "heads": heads}}
    for name, functions in parts.items():
        module = types.ModuleType(name)
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(products, "usable", lambda device, dtype: dtype.is_floating_point)
    monkeypatch.setattr(products, "heads_fit", lambda width, first: True)
    return calls


def multiplied(x: Tensor, weights: Tensor) -> Tensor:
    return x.float() @ weights.float().t()

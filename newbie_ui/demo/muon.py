"""Muon: momentum whose update is made orthogonal, for the matrices inside a network.

After Jordan et al. 2024 (the quintic Newton-Schulz iteration, five steps in bfloat16 on a GPU) with the scale of Liu et
al. 2025 (0.2·√(larger side), so that an update is as large as AdamW's). torch has it for one matrix after the other;
here all matrices of a shape are one batch, and the rate is a tensor, so that a step can be recorded as a CUDA graph.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """For parameters of two dimensions. A group's `lr` is a tensor of no dimension."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: Tensor, momentum: float = 0.95, decay: float = 0.01):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault(parameter.shape, []).append(parameter)
            for parameters in alike.values():
                self._move(parameters, group["lr"], group["momentum"], group["decay"])

    def _move(self, parameters: list[nn.Parameter], lr: Tensor, momentum: float, decay: float) -> None:
        gradients = [parameter.grad for parameter in parameters]
        for p in parameters:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        kept = [self.state[p]["momentum"] for p in parameters]
        torch._foreach_lerp_(kept, gradients, 1 - momentum)
        ahead = torch.stack(torch._foreach_lerp(gradients, kept, momentum))  # Nesterov's
        update = orthogonal(ahead).to(ahead.dtype) * (-lr * 0.2 * math.sqrt(max(ahead.shape[1:])))
        torch._foreach_mul_(parameters, 1 - lr * decay)
        torch._foreach_add_(parameters, list(update.unbind()))


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (N, rows, columns) with all singular values moved near 1."""
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(5):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x

"""Classifier-free guidance: two velocities in, one out. Per sample, without waiting for the device.

Sources of the formulas: the official NewBie code (scale, renorm, truncation); Lin et al. 2023, "Common Diffusion
Noise Schedules and Sample Steps Are Flawed" (rescale).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Guidance:
    """How strongly the prompt is followed, and on which part of the way.

    Args:
        scale: v = v_uncond + scale · (v_cond - v_uncond); 1 is no guidance.
        renorm: the guided velocity is at most this many times as long as the conditional one; 0 is off.
        rescale: how much of the guided velocity's spread is pulled back to the conditional one's (0 to 1).
        start, end: guided where start ≤ t < end (t is 0 at the noise, 1 at the picture; end 1 means to the last).
            Outside, the conditional pass runs alone: half the work.
    """

    scale: float = 1.0
    renorm: float = 1.0
    rescale: float = 0.0
    start: float = 0.0
    end: float = 1.0

    def acts_at(self, t: float) -> bool:
        return self.scale != 1.0 and self.start <= t < self.end

    def combine(self, conditional: Tensor, unconditional: Tensor) -> Tensor:
        """The guided velocity, all (B, C, H, W)."""
        guided = unconditional + self.scale * (conditional - unconditional)
        if self.renorm > 0:
            limit = self.renorm * _norm(conditional)
            guided = guided * (limit / _norm(guided).clamp_min(1e-12)).clamp(max=1.0)
        if self.rescale > 0:
            spread = conditional.std(dim=(1, 2, 3), keepdim=True) / guided.std(dim=(1, 2, 3), keepdim=True)
            guided = guided * (1 + self.rescale * (spread - 1))
        return guided


def _norm(v: Tensor) -> Tensor:
    return torch.linalg.vector_norm(v, dim=(1, 2, 3), keepdim=True)

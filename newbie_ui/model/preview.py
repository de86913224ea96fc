"""A quick look at latents: one matrix from 16 channels to red, green, blue. An eighth of the picture's size.

Promises: `PreviewMap.image` costs a millisecond; `fit_preview` finds the best matrix for any VAE. The map is linear,
so fine detail and strong contrast are lost: it shows composition and colours, nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class PreviewMap:
    """rgb = latents · weight + bias, from -1 (black) to 1 (white). Latents are scaled as the transformer sees them."""

    weight: tuple[tuple[float, float, float], ...]  # a row for each latent channel
    bias: tuple[float, float, float]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PreviewMap:
        return cls(tuple(tuple(map(float, row)) for row in data["weight"]), tuple(map(float, data["bias"])))

    def to_dict(self) -> dict[str, Any]:
        return {"weight": [list(row) for row in self.weight], "bias": list(self.bias)}

    def rgb(self, latents: Tensor) -> Tensor:
        """(B, C, h, w) → (B, 3, h, w)."""
        weight = torch.tensor(self.weight, dtype=torch.float32, device=latents.device)
        bias = torch.tensor(self.bias, dtype=torch.float32, device=latents.device)
        return torch.einsum("bchw,cr->brhw", latents.float(), weight) + bias[:, None, None]

    def image(self, latents: Tensor) -> Image.Image:
        """One picture of (C, h, w) or (1, C, h, w)."""
        rgb = self.rgb(latents.reshape(1, *latents.shape[-3:]))[0]
        pixels = ((rgb.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy(), "RGB")


# Published for the FLUX.1 VAE, which the real NewBie uses.
FLUX_PREVIEW = PreviewMap(
    weight=(
        (-0.0346, 0.0244, 0.0681),
        (0.0034, 0.0210, 0.0687),
        (0.0275, -0.0668, -0.0433),
        (-0.0174, 0.0160, 0.0617),
        (0.0859, 0.0721, 0.0329),
        (0.0004, 0.0383, 0.0115),
        (0.0405, 0.0861, 0.0915),
        (-0.0236, -0.0185, -0.0259),
        (-0.0245, 0.0250, 0.1180),
        (0.1008, 0.0755, -0.0421),
        (-0.0515, 0.0201, 0.0011),
        (0.0428, -0.0012, -0.0036),
        (0.0817, 0.0765, 0.0749),
        (-0.1264, -0.0522, -0.1103),
        (-0.0280, -0.0881, -0.0499),
        (-0.1262, -0.0982, -0.0778),
    ),
    bias=(-0.0329, -0.0718, -0.0851),
)


@torch.no_grad()
def fit_preview(vae: AutoencoderKL, latents: Tensor) -> PreviewMap:
    """The matrix that comes closest to decoding, by least squares over every place of these latents.

    Args:
        vae: the VAE in use.
        latents: (B, C, h, w) of ordinary pictures, scaled as the transformer sees them: `encode_picture` of the
            pipeline. Sixteen pictures are plenty; random noise gives a poor map.
    """
    z = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
    pictures = vae.decode(z.to(vae.dtype)).sample.float()
    rgb = F.interpolate(pictures, size=latents.shape[-2:], mode="area")
    x = latents.double().permute(0, 2, 3, 1).flatten(0, 2)  # (B·h·w, C)
    x = torch.cat((x, torch.ones_like(x[:, :1])), dim=1)
    solution = torch.linalg.lstsq(x, rgb.double().permute(0, 2, 3, 1).flatten(0, 2)).solution  # (C + 1, 3)
    rows = [tuple(round(value, 6) for value in row) for row in solution.tolist()]
    return PreviewMap(tuple(rows[:-1]), rows[-1])

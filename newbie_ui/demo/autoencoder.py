"""Stage: the autoencoder. Crops of drawings, colour weighted over brightness, edges counted twice.

The loss works in a brightness-colour space: on flat pictures brightness edges alone take over and colours stay grey.
Posterior sampling with a small KL weight keeps the latents smooth enough for the flow that is trained on them.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from diffusers.models.upsampling import Upsample2D
from torch import Tensor

from newbie_ui.demo import ranks
from newbie_ui.demo.config import Autoencoder, Recipe
from newbie_ui.demo.data import load_shard

log = logging.getLogger(__name__)

# Rows: brightness, blue difference, red difference (BT.601).
YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])


def to_model(pixels: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) → float (B, 3, H, W) in [-1, 1]."""
    return pixels.permute(0, 3, 1, 2).float().div(127.5).sub(1)


def to_pixels(images: Tensor) -> Tensor:
    """float (B, 3, H, W) in [-1, 1] → uint8 (B, H, W, 3)."""
    return images.float().add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1)


def loss_of(output: Tensor, target: Tensor, chroma: float, edges: float) -> Tensor:
    """L1 + 5·MSE in brightness and weighted colour, and L1 between neighbours' differences. All (B, 3, H, W)."""
    weights = torch.tensor([1.0, chroma, chroma], device=output.device).view(1, 3, 1, 1)
    difference = torch.einsum("kc,bchw->bkhw", YCC.to(output.device), output.float() - target.float()) * weights
    loss = difference.abs().mean() + 5 * difference.square().mean()
    return loss + edges * (difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean())


def _crops(pixels: Tensor, batch: int, size: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Endless random crops (B, size, size, 3) of pixels (N, H, W, 3); most of them where characters stand."""
    count, height, width, _ = pixels.shape
    span = torch.arange(size, device=pixels.device)
    while True:
        n = torch.randint(count, (batch,), generator=rng).to(pixels.device)
        y = torch.randint(height - size + 1, (batch,), generator=rng).to(pixels.device)
        x = torch.randint(width - size + 1, (batch,), generator=rng).to(pixels.device)
        rows, columns = (y[:, None] + span)[:, :, None], (x[:, None] + span)[:, None, :]
        yield pixels[n[:, None, None], rows, columns]


def load_pixels(paths: list[Path], device: torch.device) -> Tensor:
    """All pictures of these shards on the device, uint8 (N, H, W, 3)."""
    import numpy as np

    return torch.cat([torch.from_numpy(np.array(load_shard(path)["pixels"])).to(device) for path in paths])


def _upsample(self: Upsample2D, hidden_states: Tensor, *_, **__) -> Tensor:
    """What `Upsample2D` computes, without `interpolate`, whose backward pass is slow and breaks the compiled graph."""
    batch, channels, height, width = hidden_states.shape
    wide = hidden_states[:, :, :, None, :, None].expand(batch, channels, height, 2, width, 2)
    return self.conv(wide.reshape(batch, channels, 2 * height, 2 * width))


@contextmanager
def fast_upsampling() -> Iterator[None]:
    usual, Upsample2D.forward = Upsample2D.forward, _upsample
    try:
        yield
    finally:
        Upsample2D.forward = usual


def _make_step(
    vae: AutoencoderKL, part: Autoencoder, device: torch.device
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The function from images to (loss with KL, loss without), compiled on a GPU."""

    def forward(images: Tensor) -> tuple[Tensor, Tensor]:
        posterior = vae.encode(images).latent_dist
        output = vae.decode(posterior.mean + posterior.std * torch.randn_like(posterior.mean)).sample
        loss = loss_of(output, images, part.chroma, part.edges)
        kl = 0.5 * (posterior.mean.float().square() + posterior.var.float() - 1 - posterior.logvar.float()).mean()
        return loss + part.kl * kl, loss.detach()

    return torch.compile(forward) if device.type == "cuda" else forward


def train_autoencoder(vae: AutoencoderKL, recipe: Recipe, paths: list[Path], device: torch.device) -> list[tuple]:
    """Train in place; returns the curve as rows of step, seconds, loss."""
    part, batch = recipe.autoencoder, max(1, recipe.autoencoder.batch // ranks.count())
    rng = torch.Generator().manual_seed(recipe.seed + 1000 * ranks.number())
    crops = _crops(load_pixels(paths, device), batch, part.crop, rng)
    vae.to(device, memory_format=torch.channels_last).train()
    parameters = list(vae.parameters())
    ranks.copy_from_first(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=part.lr, betas=(0.9, 0.98), weight_decay=1e-4)
    average = [p.detach().clone() for p in parameters]
    step_function, steps = _make_step(vae, part, device), max(1, part.crops // part.batch)
    curve, started = [], time.monotonic()
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = part.lr * min(1.0, step / 200) * max(0.01, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        images = to_model(next(crops)).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"), fast_upsampling():
            total, loss = step_function(images)
        total.backward()
        ranks.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - min(0.995, step / (step + 10)))
        if step % 200 == 0 or step in (1, steps):
            curve.append((step, round(time.monotonic() - started, 1), loss.item()))
            log.info("autoencoder step %d %.0f s loss %.4f", *curve[-1])
    with torch.no_grad():
        torch._foreach_copy_(parameters, average)
    return curve


@torch.no_grad()
def encode_pixels(vae: AutoencoderKL, pixels: Tensor) -> Tensor:
    """Latents (B, 16, h, w) as the flow sees them: mean, shifted and scaled as the autoencoder's config says."""
    mean = vae.encode(to_model(pixels).to(vae.dtype)).latent_dist.mean
    return (mean - vae.config.shift_factor) * vae.config.scaling_factor


@torch.no_grad()
def decode_latents(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """uint8 (B, H, W, 3)."""
    z = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
    return to_pixels(vae.decode(z).sample)


@torch.no_grad()
def measure_psnr(vae: AutoencoderKL, pixels: Tensor, batch: int = 50) -> float:
    """Mean over pictures of the PSNR in dB of encode → decode; pixels uint8 (N, H, W, 3)."""
    values = []
    for chunk in pixels.split(batch):
        again = decode_latents(vae, encode_pixels(vae, chunk))
        error = (again.float() - chunk.float()).square().flatten(1).mean(dim=1)
        values.append(10 * torch.log10(255**2 / error.clamp_min(1e-3)))
    return torch.cat(values).mean().item()


@torch.no_grad()
def fit_statistics(vae: AutoencoderKL, pixels: Tensor, batch: int = 50) -> tuple[float, float]:
    """Shift and scale that give the latents mean 0 and spread 1; stored in the autoencoder's config."""
    vae.register_to_config(shift_factor=0.0, scaling_factor=1.0)
    latents = torch.cat([encode_pixels(vae, chunk).float() for chunk in pixels.split(batch)])
    shift, scale = latents.mean().item(), 1 / latents.std().item()
    vae.register_to_config(shift_factor=shift, scaling_factor=scale)
    return shift, scale

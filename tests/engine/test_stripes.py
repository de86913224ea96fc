"""Decoding in stripes gives the decoder's own pixels."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL

from newbie_ui.engine import stripes
from tests import tiny


def flux_like():
    """FLUX's decoder with its attention and its shortcuts, few channels."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 16, 24, 24),
        layers_per_block=2,
        latent_channels=16,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()


@torch.no_grad()
@pytest.mark.parametrize("make", [tiny.vae, flux_like])
@pytest.mark.parametrize("stripe_bytes", [1, 30_000, 2**30])
def test_the_pixels_are_the_decoders_own(monkeypatch, make, stripe_bytes):
    monkeypatch.setattr(stripes, "STRIPE_BYTES", stripe_bytes)
    torch.manual_seed(0)
    vae, latents = make(), torch.randn(2, 16, 10, 6)
    whole = vae.decode(latents).sample
    stripes.enable(vae)
    striped = vae.decode(latents).sample
    assert torch.allclose(striped, whole, atol=2e-5)
    stripes.disable(vae)
    assert torch.equal(vae.decode(latents).sample, whole)


@torch.no_grad()
def test_bfloat16_stays_as_close_as_bfloat16_is(monkeypatch):
    monkeypatch.setattr(stripes, "STRIPE_BYTES", 30_000)
    torch.manual_seed(0)
    vae, latents = flux_like(), torch.randn(1, 16, 8, 8)
    exact = vae.decode(latents).sample
    vae = vae.to(torch.bfloat16)
    plain = vae.decode(latents.bfloat16()).sample.float()
    stripes.enable(vae)
    striped = vae.decode(latents.bfloat16()).sample.float()
    assert (striped - exact).norm() <= 1.2 * (plain - exact).norm()


@torch.no_grad()
def test_the_latents_are_left_alone():
    torch.manual_seed(0)
    vae, latents = flux_like(), torch.randn(1, 16, 8, 8)
    before = latents.clone()
    stripes.enable(vae)
    vae.decode(latents)
    assert torch.equal(latents, before)

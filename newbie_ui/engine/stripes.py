"""Decoding a picture in stripes: the same pixels in less than half the memory.

Cutting a picture into tiles and decoding each by itself leaves seams and shifts of tone, because every tile has its
own group-norm statistics. Here only the work is cut: each layer of the decoder takes its statistics from the whole
feature map and then goes over it stripe by stripe, convolutions with one row of overlap. What is saved are the
temporaries; two or three whole feature maps remain. Equal to the ordinary decoder up to rounding.

Knows the decoder of diffusers' `AutoencoderKL` as FLUX and the demo shape it: residual blocks without time embedding,
nearest-neighbour upsampling followed by a convolution.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIPE_BYTES = 32 * 2**20  # of a stripe in float32


def enable(vae: nn.Module) -> None:
    """Let this VAE decode in stripes from now on."""
    vae.decoder.forward = partial(decode_in_stripes, vae.decoder)


def disable(vae: nn.Module) -> None:
    """Back to the decoder's own way."""
    vars(vae.decoder).pop("forward", None)


def decode_in_stripes(decoder: nn.Module, latents: Tensor) -> Tensor:
    """`Decoder.forward`: latents (B, C, h, w) → pixels (B, 3, 8·h, 8·w)."""
    x = decoder.mid_block(decoder.conv_in(latents))
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            x = _residual(resnet, x)
        for upsampler in block.upsamplers or ():
            x = _upsampled(upsampler.conv, x)
    return _normed_convolved(decoder.conv_norm_out, decoder.conv_out, x)


def _residual(resnet: nn.Module, x: Tensor) -> Tensor:
    """conv2(act(norm2(conv1(act(norm1(x)))))) + shortcut(x). Writes into x where there is no shortcut layer."""
    h = _normed_convolved(resnet.norm1, resnet.conv1, x)
    scale, shift = _scale_and_shift(resnet.norm2, h)
    shortcut = resnet.conv_shortcut
    out = x if shortcut is None else x.new_empty(len(x), resnet.out_channels, *x.shape[2:])
    for top, bottom in _stripes(h):
        added = _convolve(resnet.conv2, h, scale, shift, top, bottom)
        kept = x[:, :, top:bottom]
        out[:, :, top:bottom] = (added + (kept if shortcut is None else shortcut(kept))) / resnet.output_scale_factor
    return out


def _normed_convolved(norm: nn.GroupNorm, conv: nn.Conv2d, x: Tensor) -> Tensor:
    """conv(silu(norm(x)))."""
    scale, shift = _scale_and_shift(norm, x)
    out = x.new_empty(len(x), conv.out_channels, *x.shape[2:])
    for top, bottom in _stripes(x):
        out[:, :, top:bottom] = _convolve(conv, x, scale, shift, top, bottom)
    return out


def _convolve(conv: nn.Conv2d, x: Tensor, scale: Tensor, shift: Tensor, top: int, bottom: int) -> Tensor:
    """Rows top to bottom of conv(silu(x · scale + shift))."""
    rows = x[:, :, max(0, top - 1) : bottom + 1]
    activated = F.silu(torch.addcmul(shift, rows.float(), scale)).to(x.dtype)
    return _convolve_rows(conv, activated, above=top == 0, below=bottom == x.shape[2])


def _convolve_rows(conv: nn.Conv2d, rows: Tensor, above: bool, below: bool) -> Tensor:
    """A 3×3 convolution of rows that hold their neighbours; the picture's edge is above or below them."""
    padded = F.pad(rows, (0, 0, int(above), int(below))) if above or below else rows
    return F.conv2d(padded, conv.weight, conv.bias, padding=(0, 1))


def _upsampled(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """conv(x doubled in height and width)."""
    batch, _, height, width = x.shape
    out = x.new_empty(batch, conv.out_channels, 2 * height, 2 * width)
    for top, bottom in _stripes(x, growth=4):
        first, last = max(0, top - 1), min(height, bottom + 1)
        doubled = F.interpolate(x[:, :, first:last], scale_factor=2.0, mode="nearest")
        # of the neighbours, only the nearer of the two copies is needed
        start, stop = int(top > 0), doubled.shape[2] - int(bottom < height)
        rows = _convolve_rows(conv, doubled[:, :, start:stop], above=top == 0, below=bottom == height)
        out[:, :, 2 * top : 2 * bottom] = rows
    return out


def _scale_and_shift(norm: nn.GroupNorm, x: Tensor) -> tuple[Tensor, Tensor]:
    """The group norm of all of x as x · scale + shift, each (B, C, 1, 1) in float32."""
    batch, channels = x.shape[:2]
    count, mean, squares = 0, 0.0, 0.0  # Chan's way of joining the statistics of parts
    for top, bottom in _stripes(x):
        part = x[:, :, top:bottom].float().reshape(batch, norm.num_groups, -1)
        var, part_mean = torch.var_mean(part, dim=-1, correction=0)
        n, delta = part.shape[-1], part_mean - mean
        squares = squares + var * n + delta.square() * (count * n / (count + n))
        mean = mean + delta * (n / (count + n))
        count += n
    rstd = torch.rsqrt(squares / count + norm.eps)
    each = channels // norm.num_groups
    scale = rstd.repeat_interleave(each, dim=1) * norm.weight.float()
    shift = norm.bias.float() - mean.repeat_interleave(each, dim=1) * scale
    return scale[:, :, None, None], shift[:, :, None, None]


def _stripes(x: Tensor, growth: int = 1) -> Iterator[tuple[int, int]]:
    """(top, bottom) of each stripe; `growth` is how much larger than its rows a stripe's temporaries are."""
    height = x.shape[2]
    rows = max(4, STRIPE_BYTES // (4 * growth * x[:, :, :1].numel()))
    return ((top, min(top + rows, height)) for top in range(0, height, rows))

"""Which attention kernel the transformer uses: by name, or the fastest measured on this model's shapes.

Names are the presets'; each stands for a backend of diffusers, or for FlashAttention 4. A measurement is made once a
device, head width and rough length, and remembered for the process. Nothing is downloaded: only kernels that are
installed are tried.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from importlib.util import find_spec

import torch
from diffusers.models.attention_dispatch import AttentionBackendName

from newbie_ui.engine.measure import best_s
from newbie_ui.errors import PresetError
from newbie_ui.model import flash4
from newbie_ui.model.attention import FLASH_4, attend
from newbie_ui.model.kernels import PADDING_CHANNELS

log = logging.getLogger(__name__)

BACKENDS = {
    "native": AttentionBackendName.NATIVE,
    "cudnn": AttentionBackendName._NATIVE_CUDNN,
    "flash": AttentionBackendName._NATIVE_FLASH,
    "efficient": AttentionBackendName._NATIVE_EFFICIENT,
    "math": AttentionBackendName._NATIVE_MATH,
    "flash_attn": AttentionBackendName.FLASH,  # package flash-attn
    "flash_attn_3": AttentionBackendName._FLASH_3,  # package flash-attn-3, Hopper
    FLASH_4: FLASH_4,  # package flash-attn-4
}
PACKAGES = {"flash_attn": "flash_attn", "flash_attn_3": "flash_attn_interface", FLASH_4: flash4.PACKAGE}
CARD_CANDIDATES = ("cudnn", "flash", "efficient", *PACKAGES)
BUCKET = 1024  # tokens: lengths within one bucket share a measurement


def candidates(device: torch.device) -> tuple[str, ...]:
    """Kernels worth trying on a device."""
    if device.type != "cuda":
        return ("native",)
    return tuple(n for n in CARD_CANDIDATES if n not in PACKAGES or is_installed(PACKAGES[n]))


@lru_cache
def is_installed(package: str) -> bool:
    """Whether a package is there itself, not just a folder of its name that others put something into."""
    try:
        found = find_spec(package)
    except ImportError:  # of what it is part of
        return False
    return found is not None and found.origin is not None


def fastest(
    device: torch.device,
    dtype: torch.dtype,
    heads: tuple[int, int],
    head_dim: int,
    tokens: int,
    *,
    padded: bool = False,
) -> str:
    """The fastest kernel for a guided picture, (2, tokens, heads, head_dim), measured once and remembered.

    `heads` are of queries, and of keys and values. `padded`: captions have padding, which costs kernels other than
    cuDNN's and FlashAttention 4 some width (`NewbieAttnProcessor`).
    """
    names = candidates(device)
    if len(names) == 1 or dtype not in (torch.bfloat16, torch.float16):
        return "native"
    return _measured(device, dtype, heads, head_dim, -(-tokens // BUCKET) * BUCKET, padded, names)


@lru_cache(maxsize=64)
def _measured(
    device: torch.device,
    dtype: torch.dtype,
    heads: tuple[int, int],
    head_dim: int,
    tokens: int,
    padded: bool,
    names: tuple[str, ...],
) -> str:
    seconds = {}
    for name in names:
        took = time_backend(name, device, dtype, heads, head_dim, tokens, padded=padded)
        if took is not None:
            seconds[name] = took
    log.info("attention at %d tokens: %s", tokens, {n: f"{s * 1000:.3f} ms" for n, s in seconds.items()})
    return min(seconds, key=seconds.get) if seconds else "native"


def time_backend(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    heads: tuple[int, int],
    head_dim: int,
    tokens: int,
    batch: int = 2,
    rounds: int = 5,
    padded: bool = False,
) -> float | None:
    """Seconds of one attention with this kernel, as the transformer calls it, or None if it refuses these shapes."""
    of_q, of_kv = heads
    told = name == FLASH_4  # where each picture begins; it needs no channels
    wide = head_dim + PADDING_CHANNELS if padded and not told else head_dim
    shapes = ((of_q, wide), (of_kv, wide), (of_kv, head_dim))
    parts = (torch.randn(batch, n, tokens, width, device=device, dtype=dtype) for n, width in shapes)
    parts = (part.transpose(1, 2) for part in parts)
    q, k, v = (part.contiguous() if told else part for part in parts)  # in memory as `kernels.turned_heads` leaves them
    options = {}
    if padded and told:  # in one row, as `packing` has them
        q, k, v = (part.reshape(1, batch * tokens, *part.shape[2:]) for part in (q, k, v))
        options["starts"] = torch.arange(batch + 1, dtype=torch.int32, device=device) * tokens
    try:
        return best_s(lambda: attend(q, k, v, BACKENDS[name], head_dim**-0.5, **options), device, rounds)
    except Exception as error:  # kernels refuse in any way they like
        log.info("attention kernel %s is not usable here: %s", name, str(error)[:120])
        return None


def use(transformer: torch.nn.Module, name: str) -> None:
    """Let every attention of the transformer use this kernel.

    Set on the processors themselves: diffusers' `set_attention_backend` would change a process-wide default too.
    """
    if name in PACKAGES and not is_installed(PACKAGES[name]):
        raise PresetError(f"attention is {name!r}, but its package is not installed. Install it, or use auto.")
    for processor in transformer.attn_processors.values():
        processor._attention_backend = BACKENDS[name]

"""Which attention kernel the transformer uses: by name, or the fastest measured on this model's shapes.

Names are the presets'; each stands for a backend of diffusers. A measurement is made once a device, head width and
rough length, and remembered for the process. Nothing is downloaded: only kernels that are installed are tried.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from importlib.util import find_spec

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

from newbie_ui.engine.measure import best_s
from newbie_ui.model.attention import GROUPED
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
}
PACKAGES = {"flash_attn": "flash_attn", "flash_attn_3": "flash_attn_interface"}
CARD_CANDIDATES = ("cudnn", "flash", "efficient", "flash_attn", "flash_attn_3")
BUCKET = 1024  # tokens: lengths within one bucket share a measurement


def candidates(device: torch.device) -> tuple[str, ...]:
    """Kernels worth trying on a device."""
    if device.type != "cuda":
        return ("native",)
    return tuple(n for n in CARD_CANDIDATES if n not in PACKAGES or find_spec(PACKAGES[n]) is not None)


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
    cuDNN's some width (`NewbieAttnProcessor`).
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
    backend, (of_q, of_kv) = BACKENDS[name], heads
    grouped = backend in GROUPED and of_q != of_kv
    of_kv = of_kv if grouped else of_q
    wide = head_dim + PADDING_CHANNELS if padded else head_dim
    shapes = ((of_q, wide), (of_kv, wide), (of_kv, head_dim if name == "cudnn" else wide))
    parts = (torch.randn(batch, n, tokens, width, device=device, dtype=dtype) for n, width in shapes)
    q, k, v = (part.transpose(1, 2) for part in parts)  # in memory as `kernels.turned_heads` leaves them
    try:
        return best_s(lambda: dispatch_attention_fn(q, k, v, enable_gqa=grouped, backend=backend), device, rounds)
    except (RuntimeError, ValueError, TypeError, ImportError, AttributeError) as error:
        log.info("attention kernel %s is not usable here: %s", name, str(error)[:120])
        return None


def use(transformer: torch.nn.Module, name: str) -> None:
    """Let every attention of the transformer use this kernel.

    Set on the processors themselves: diffusers' `set_attention_backend` would change a process-wide default too.
    """
    for processor in transformer.attn_processors.values():
        processor._attention_backend = BACKENDS[name]

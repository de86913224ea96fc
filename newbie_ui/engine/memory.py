"""Running out of memory is an event, not an end: recognise it, and know what to say when nothing helps."""

from __future__ import annotations

import torch

from newbie_ui.errors import OutOfMemory
from newbie_ui.request import ResolvedRequest

SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is the device's or the machine's memory running out, in any of the forms it takes."""
    if isinstance(error, OutOfMemory):
        return False  # ours, final
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)


def device_is_lost(device: torch.device) -> bool:
    """After an error: a broken CUDA context fails at everything, so ask it for something trivial."""
    if device.type != "cuda":
        return False
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return True
    return False


def too_small(resolved: ResolvedRequest, tried: tuple[str, ...]) -> OutOfMemory:
    """The error when every step down was tried."""
    done = f" Tried: {', '.join(tried)}." if tried else ""
    return OutOfMemory(
        f"There is too little memory for {resolved.width}×{resolved.height} pictures here.{done} "
        "Use a smaller size, or close other programs that use the device."
    )


def no_room(preset: str) -> OutOfMemory:
    """The error when not even the weights fit."""
    return OutOfMemory(
        f"Preset {preset!r} does not fit into the memory that is free. "
        "Close other programs that use the device, or choose a smaller preset."
    )

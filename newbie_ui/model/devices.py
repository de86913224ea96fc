"""Where a module computes, whoever moves its weights: diffusers' group offload, accelerate's hooks, or nobody."""

from __future__ import annotations

import torch
from diffusers.hooks.group_offloading import _get_group_onload_device, _is_group_offload_enabled
from torch import nn


def is_offloaded(module: nn.Module) -> bool:
    """Whether hooks bring the weights to the device, so that only `forward` may be called."""
    return hasattr(module, "_hf_hook") or _is_group_offload_enabled(module)


def compute_device(module: nn.Module) -> torch.device:
    """Where this module computes: not where its weights lie, if hooks move them."""
    for part in module.modules() if hasattr(module, "_hf_hook") else ():
        hooked = getattr(getattr(part, "_hf_hook", None), "execution_device", None)
        if hooked is not None:
            return torch.device(hooked)
    if _is_group_offload_enabled(module):
        return _get_group_onload_device(module)
    return next(module.parameters()).device

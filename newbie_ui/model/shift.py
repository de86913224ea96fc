"""The shift of a schedule, by size. Arithmetic only, so that it may be imported without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from newbie_ui.request import PARAMETERS


def shift_for_size(shift: float, width: int, height: int, trained: tuple[int, int] = (1024, 1024)) -> float:
    """The shift that hides as much of a picture of this size as `shift` hides of one of the trained size.

    More pixels show more through the same noise: the shift grows with the square root of their number
    (Stable Diffusion 3, arXiv 2403.03206, equation 23). Kept in the range that requests allow.
    """
    limits = PARAMETERS["shift"]
    scaled = shift * math.sqrt(width * height / (trained[0] * trained[1]))
    return min(max(scaled, limits.minimum), limits.maximum)


def shift_from_config(config: Mapping[str, Any], width: int, height: int) -> float:
    """What a `scheduler_config.json` asks for at this size: its static shift, or its resolution-dependent one.

    With `use_dynamic_shifting` mu runs linearly with the number of 16-pixel patches, as in FLUX.
    """
    if not config.get("use_dynamic_shifting"):
        return float(config.get("shift") or 1.0)
    few, many = config.get("base_image_seq_len") or 256, config.get("max_image_seq_len") or 4096
    low, high = config.get("base_shift") or 0.5, config.get("max_shift") or 1.15
    patches = (width // 16) * (height // 16)
    mu = low + (high - low) * (patches - few) / (many - few)
    return mu if config.get("time_shift_type") == "linear" else math.exp(mu)

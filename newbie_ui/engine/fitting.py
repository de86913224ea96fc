"""Which plan a preset gets on this device, and what was learnt about its memory while the program runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from newbie_ui.engine.base import DeviceInfo
from newbie_ui.engine.plan import Plan, make_plan, step_down
from newbie_ui.presets import AUTO, Preset, choose

log = logging.getLogger(__name__)


class Fitting:
    """Presets on one device.

    Args:
        presets: all there are.
        default: the one that "auto" means; may be "auto" itself, for the best that fits.
        device: what there is.
        small_model: the model is so small that memory does not count.
    """

    def __init__(self, presets: Sequence[Preset], default: str, device: DeviceInfo, small_model: bool):
        self._presets, self._default = presets, default
        self._device, self._small = device, small_model
        self._lowered: dict[str, list[tuple[int, Plan]]] = {}  # preset → (pixels from which it applies, plan)

    def preset(self, name: str) -> Preset:
        """Raises PresetError for one that is unknown or not for this device."""
        name = self._default if name == AUTO else name
        return choose(self._presets, name, self._device.kind, self._device.total_gb, self._small)

    def plan(self, preset: Preset, pixels: int = 0) -> Plan:
        """The preset's plan, or the lower one that pictures of this many pixels were found to need."""
        learnt = [plan for smallest, plan in self._lowered.get(preset.name, ()) if pixels >= smallest]
        return learnt[-1] if learnt else make_plan(preset, self._device, self._small)

    def lower(self, plan: Plan, stage: str, pixels: int = 0) -> Plan | None:
        """One rung down after running out of memory in a stage, remembered from this size on; None at the bottom."""
        lower = step_down(plan, stage, self._device.kind == "cuda")
        if lower is not None:
            log.warning("stepping down: %s", lower.notes[-1])
            self._lowered.setdefault(plan.preset, []).append((pixels, lower))
        return lower

    def forget(self) -> None:
        """Start from the presets again."""
        self._lowered.clear()

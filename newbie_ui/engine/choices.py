"""The preset list as the page shows it: what fits the device, what it costs here."""

from __future__ import annotations

from collections.abc import Sequence

from newbie_ui.engine.base import DeviceInfo, ModelInfo, PresetChoice
from newbie_ui.engine.history import History
from newbie_ui.engine.resolve import FULL_SIZE_DEFAULTS
from newbie_ui.presets import Fit, Preset, rank
from newbie_ui.request import GenerateRequest


def preset_choices(
    presets: Sequence[Preset],
    device: DeviceInfo,
    model: ModelInfo | None,
    history: History,
    request: GenerateRequest | None = None,
) -> tuple[PresetChoice, ...]:
    """Presets ranked for a device, with the measured or estimated cost of this request's size and steps."""
    small = model is not None and model.demo
    rows = rank(presets, device.kind, device.total_gb, small)
    return tuple(_choice(row, device, model, history, request or GenerateRequest()) for row in rows)


def _choice(
    row: Fit, device: DeviceInfo, model: ModelInfo | None, history: History, request: GenerateRequest
) -> PresetChoice:
    preset = row.preset
    estimate = None
    if model is not None and row.fits:
        width, height, steps = (
            getattr(request, name) or model.defaults.get(name, FULL_SIZE_DEFAULTS[name])
            for name in ("width", "height", "steps")
        )
        estimate = history.estimate(model.name, preset.name, device.name, width, height, steps)
    guess = preset.peak_gb if preset.peak_gb and not (model is not None and model.demo) else None
    return PresetChoice(
        name=preset.name,
        label=preset.label,
        summary=preset.summary,
        fits=row.fits,
        recommended=row.recommended,
        reason=row.reason,
        median_s=estimate.seconds if estimate else None,
        peak_gb=estimate.peak_gb if estimate else guess,
        measured=bool(estimate and estimate.measured),
    )

"""The ladder: each rung is a preset that adds one thing to the rung before.

Which rungs there are depends on the device. "lossless" means equal up to rounding; the quality figure beside each
rung says how equal.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace

from newbie_ui.engine.base import DeviceInfo
from newbie_ui.errors import PresetError
from newbie_ui.presets import Preset, resolve_8bit

INTERVAL_END = 0.6  # guided up to this part of the way
CACHE_THRESHOLD = 0.08
REFERENCE = "reference"
EXACT = "eager"  # the rung that quality is compared with


@dataclass(frozen=True)
class Rung:
    """One row of the ladder. `reference` rungs run diffusers' transformer instead of ours."""

    preset: Preset
    adds: str
    lossless: bool = True
    reference: bool = False

    @property
    def name(self) -> str:
        return self.preset.name


def ladder(device: DeviceInfo, dtype: str = "auto") -> list[Rung]:
    """All rungs that make sense on a device, slowest first."""
    base = Preset(name=EXACT, device=device.kind, dtype=dtype, attention="native", tiling="off", preview_s=60.0)
    rungs = [
        Rung(replace(base, name=REFERENCE), "diffusers' Lumina2 transformer, eager, padded batch", reference=True),
        Rung(base, "our transformer, eager, work hoisted out of the steps"),
    ]
    top = rungs[-1]
    if device.kind == "cuda":
        top = _add(rungs, top, "attention", "the fastest attention kernel", attention="auto")
    else:
        _add(rungs, top, "one-thread", "on a single core", threads=1)
        _add(rungs, top, "bfloat16", "in bfloat16", lossless=False, dtype="bfloat16")
    if device.kind == "cuda" or shutil.which("g++") or shutil.which("clang++"):
        top = _add(rungs, top, "compiled", "one compiled block, static shapes", compile="block")
    if device.kind == "cuda":
        top = _add(rungs, top, "vae", "compiled VAE decoder", compile_vae=True)
    _add(rungs, top, "stripes", "VAE in stripes: less memory", tiling="on", compile_vae=False)
    eight = resolve_8bit("8bit", device.capability)
    if eight != "off":
        top = _add(rungs, top, eight, f"matrix products in {eight}", lossless=False, quantize=eight)
    top = _add(rungs, top, "interval", "guidance early on only", lossless=False, guidance_end=INTERVAL_END)
    _add(rungs, top, "cached", "steps reused while little changes", lossless=False, step_cache=CACHE_THRESHOLD)
    return rungs


def presets_as_rungs(presets: Sequence[Preset], names: Sequence[str]) -> list[Rung]:
    """Shipped presets, measured like rungs."""
    by_name = {preset.name: preset for preset in presets}
    if unknown := [name for name in names if name not in by_name]:
        raise PresetError(f"Preset {unknown[0]!r} is unknown. Use one of: {', '.join(by_name)}.")
    return [Rung(by_name[n], by_name[n].summary, lossless=by_name[n].quantize == "off") for n in names]


def _add(rungs: list[Rung], top: Rung, name: str, adds: str, lossless: bool = True, **keys: object) -> Rung:
    rung = Rung(replace(top.preset, name=name, **keys), adds, lossless and top.lossless)
    rungs.append(rung)
    return rung

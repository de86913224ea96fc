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

REFERENCE, REFERENCE_COMPILED = "reference", "reference-compiled"
EAGER = "eager"
SMALL_SIDE = 512  # pictures up to this may gain from CUDA graphs
TURBO = "turbo"  # the shipped preset whose shortcuts the last rungs take


@dataclass(frozen=True)
class Rung:
    """One row of the ladder. `reference` rungs run diffusers' transformer instead of ours."""

    preset: Preset
    adds: str
    lossless: bool = True
    reference: bool = False
    side: bool = False  # on the way or beside it: no target is about this one
    largest_side: int = 0  # of the pictures that it is for; 0: all

    @property
    def name(self) -> str:
        return self.preset.name

    @property
    def full_work(self) -> bool:
        """Whether every step is computed and guided, in the usual number format: what the floor is measured for."""
        usual = self.preset.dtype == "auto"
        return usual and self.preset.step_cache == 0 and self.preset.guidance_end >= 1


def ladder(device: DeviceInfo, turbo: Preset | None = None, dtype: str = "auto") -> list[Rung]:
    """All rungs that make sense on a device, slowest first. `turbo` says how far shortcuts go, if anywhere."""
    card = device.kind == "cuda"
    base = Preset(name=EAGER, device=device.kind, dtype=dtype, attention="native", tiling="off", preview_s=60.0)
    rungs = [Rung(replace(base, name=REFERENCE), "diffusers' Lumina2 transformer, eager, padded batch", reference=True)]
    if card:
        compiled = replace(base, name=REFERENCE_COMPILED, compile="block")
        rungs.append(Rung(compiled, "the same, compiled as a whole", reference=True, side=True))
    rungs.append(Rung(base, "our transformer, eager: static layout, no mask, work hoisted out of the steps", side=True))
    top = rungs[-1]
    if card:
        top = _add(rungs, top, "attention", "the fastest attention kernel", side=True, attention="auto")
    else:
        _add(rungs, top, "one-thread", "on a single core", side=True, threads=1)
        _add(rungs, top, "bfloat16", "in bfloat16", lossless=False, side=True, dtype="bfloat16")
    if card or shutil.which("g++") or shutil.which("clang++"):
        top = _add(rungs, top, "compiled", "one compiled block, static shapes", side=card, compile="block")
    if card:
        top = _add(rungs, top, "vae", "compiled VAE decoder", compile_vae=True)
        options = {"side": True, "largest_side": SMALL_SIDE, "graph_side": SMALL_SIDE}
        _add(rungs, top, "graphs", "steps as CUDA graphs", **options)
        _add(rungs, top, "split", "guided passes one after the other", side=True, split_guidance=True)
    _add(rungs, top, "stripes", "VAE in stripes: less memory", side=True, tiling="on", compile_vae=False)
    eight = resolve_8bit("8bit", device.capability)
    if eight != "off":
        top = _add(rungs, top, eight, f"matrix products in {eight}", lossless=False, quantize=eight)
    if turbo is None:
        return rungs
    end, threshold = turbo.guidance_end, turbo.step_cache
    top = _add(
        rungs, top, "interval", f"guided up to {end:g} of the way only", lossless=False, side=True, guidance_end=end
    )
    _add(rungs, top, TURBO, f"steps reused while less than {threshold:g} changes", lossless=False, step_cache=threshold)
    return rungs


def presets_as_rungs(presets: Sequence[Preset], names: Sequence[str]) -> list[Rung]:
    """Shipped presets, measured like rungs: what they would compile in quiet moments is compiled when it is needed."""
    by_name = {preset.name: preset for preset in presets}
    if unknown := [name for name in names if name not in by_name]:
        raise PresetError(f"Preset {unknown[0]!r} is unknown. Use one of: {', '.join(by_name)}.")
    return [Rung(replace(by_name[n], warm=0), by_name[n].summary, lossless=_is_lossless(by_name[n])) for n in names]


def _is_lossless(preset: Preset) -> bool:
    """Equal up to rounding."""
    exact_weights = (preset.quantize, preset.quantize_text) == ("off", "off")
    return exact_weights and preset.step_cache == 0 and preset.guidance_end >= 1


def _add(
    rungs: list[Rung],
    top: Rung,
    name: str,
    adds: str,
    lossless: bool = True,
    side: bool = False,
    largest_side: int = 0,
    **keys: object,
) -> Rung:
    preset = replace(top.preset, name=name, **keys)
    rungs.append(Rung(preset, adds, lossless and top.lossless, side=side, largest_side=largest_side))
    return rungs[-1]

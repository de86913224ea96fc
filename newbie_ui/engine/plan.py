"""A preset made concrete for one device and model, and the way down when memory runs out.

`Plan` is what the rig applies and what the stats card names. `step_down` is the memory ladder as data: each rung is
another plan with a note for the artist. Nothing here touches the device.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from newbie_ui.engine.base import DeviceInfo
from newbie_ui.presets import Preset, resolve_8bit


@dataclass(frozen=True)
class Plan:
    """Fields are those of `Preset`, with every "auto" that needs no measuring decided."""

    preset: str
    peak_gb: float = 0.0
    dtype: str = "float32"
    tf32: bool = True
    attention: str = "native"  # or "auto": measured on the first picture's shapes
    compile: str = "off"
    compile_mode: str = "default"
    warm: int = 0
    sizes: tuple[tuple[int, int], ...] = ()  # to warm; empty: the model's own
    compile_vae: bool = False
    graph_side: int = 0
    quantize: str = "off"  # "off" | "fp8" | "int8"
    quantize_text: str = "off"
    offload: str = "off"
    tiling: str = "auto"
    split_guidance: bool = False
    batch: int = 1
    threads: int = 0
    step_cache: float = 0.0
    guidance_end: float = 1.0
    preview_s: float = 0.5
    notes: tuple[str, ...] = ()  # what was changed to make it fit

    @property
    def weights(self) -> tuple[str, str, str]:
        """What the weights in memory depend on: another value means reading them again."""
        return (self.dtype, self.quantize, self.quantize_text)


def make_plan(preset: Preset, device: DeviceInfo, small_model: bool) -> Plan:
    """Decide dtype, 8-bit kind and what makes no sense on a processor."""
    card = device.kind == "cuda"
    shared = {f.name for f in fields(Plan)} & {f.name for f in fields(Preset)}
    plan = Plan(preset=preset.name, sizes=preset.sizes, **{name: getattr(preset, name) for name in shared})
    if plan.dtype == "auto":
        plan = replace(plan, dtype="bfloat16" if card or not small_model else "float32")
    plan = replace(plan, quantize=resolve_8bit(plan.quantize, device.capability))
    if not card:
        plan = replace(
            plan, offload="off", graph_side=0, attention="native" if plan.attention == "auto" else plan.attention
        )
    return plan


def step_down(plan: Plan, stage: str, card: bool) -> Plan | None:
    """The next plan to try after running out of memory in a stage ("encode", "denoise", "decode"), or None.

    In order: decoding in stripes, encoders parked, models taking turns, half the batch, blocks streamed.
    """
    if stage == "decode" and plan.tiling != "on":
        return _noted(plan, "decoded in stripes", tiling="on", compile_vae=False)
    if card and plan.offload == "off":
        return _noted(plan, "text encoders parked in the machine's memory", offload="encoders")
    if card and plan.offload == "encoders" and stage == "encode":
        return _noted(plan, "models take turns on the card", offload="model")
    if stage != "encode" and plan.batch > 1:
        half = plan.batch // 2
        return _noted(plan, f"{half} picture{'s' if half > 1 else ''} at a time", batch=half)
    if card and plan.offload != "group":
        return _noted(plan, "weights streamed block by block, which is slow", offload="group", compile="off")
    return None


def _noted(plan: Plan, note: str, **changes: object) -> Plan:
    return replace(plan, notes=(*plan.notes, note), **changes)

"""From `PARAMETERS` to widgets and back: every knob of a picture is declared in `newbie_ui.request`, not here.

`component(name)` makes Gradio's widget for one parameter; `Form.request` turns the values of all widgets into a
checked `GenerateRequest`. Values come from a browser and are trusted in nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from newbie_ui.errors import RequestError
from newbie_ui.request import PARAMETERS, GenerateRequest, LoraUse
from newbie_ui.ui.words import word

MAX_LORAS = 8  # as many as the model takes at once
# Gradio's own widgets on the right, in this order; the rest are widgets of ours.
SLIDERS = ("steps", "guidance_scale")
SAMPLING = (
    "sampler",
    "schedule",
    "shift",
    "shift_scaling",
    "guidance_renorm",
    "guidance_rescale",
    "guidance_start",
    "guidance_end",
    "fit",
)
FALLBACKS = {"steps": 28, "guidance_scale": 5.0, "shift": 6.0}  # shown until the model has said its own


def component(name: str, default: Any = None) -> gr.components.Component:
    """The widget of one parameter, with its label, help, range and default."""
    p = PARAMETERS[name]
    value = next((v for v in (default, p.default, FALLBACKS.get(name)) if v is not None), None)
    shared: dict[str, Any] = {"label": word(f"param.{name}"), "elem_id": f"nb-p-{name}", "elem_classes": ["nb-row"]}
    if p.kind == "choice":
        choices = [(word(f"choice.{choice}"), choice) for choice in p.choices]
        return gr.Dropdown(choices, value=value, info=None, filterable=False, **shared)
    if p.kind in ("int", "float"):
        slider = gr.Slider(p.minimum, p.maximum, value=value, step=p.step, buttons=[], **shared)
        slider.preprocess = lambda number: number  # checked by `request`, which says in words what is wrong
        return slider
    return gr.Textbox(
        value or "", lines=3, max_lines=8, max_length=int(p.maximum), **{**shared, "elem_classes": ["nb-text"]}
    )


def defaults(model_defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What each of Gradio's widgets shows for a model."""
    names = (*SLIDERS, *SAMPLING, "system_prompt")
    given = {name: model_defaults.get(name) for name in names}
    return {name: _first(given[name], PARAMETERS[name].default, FALLBACKS.get(name), "") for name in names}


def _first(*values: Any) -> Any:
    return next(v for v in values if v is not None)


def whole(name: str, value: Any) -> int | None:
    """A number from a field of ours, or None for an empty one. Raises RequestError."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return PARAMETERS[name].check(value.strip() if isinstance(value, str) else value)


def loras(value: Any) -> tuple[LoraUse, ...]:
    """The LoRA list from its widget. Raises RequestError."""
    uses = value.get("uses", ()) if isinstance(value, Mapping) else ()
    if not isinstance(uses, Sequence) or isinstance(uses, str) or len(uses) > MAX_LORAS:
        raise RequestError("loras", f"The LoRA list cannot be read. Use {MAX_LORAS} at most, each with a weight.")
    out = []
    for use in uses:
        name, weight = (use.get("name"), use.get("weight", 1.0)) if isinstance(use, Mapping) else (None, None)
        if not isinstance(name, str) or not 0 < len(name) <= 200:
            raise RequestError("loras", f"LoRA name {str(name)[:60]!r} cannot be used. Choose one from the list.")
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not -4 <= weight <= 4:
            raise RequestError("loras", f"Weight {weight!r} of LoRA {name!r} is out of range. Use -4 to 4.")
        out.append(LoraUse(name, float(weight)))
    return tuple(out)


def request(
    texts: Mapping[str, str], size: Any, seed: Any, images: Any, preset: Any, lora: Any, knobs: Mapping[str, Any]
) -> GenerateRequest:
    """A checked request from everything a person set. Raises RequestError for the first bad field."""
    size = size if isinstance(size, Mapping) else {}
    system = knobs.get("system_prompt")
    values = {
        **{name: value for name, value in knobs.items() if name in PARAMETERS},
        "system_prompt": system if isinstance(system, str) and system.strip() else None,
        "width": whole("width", size.get("width")),
        "height": whole("height", size.get("height")),
        "seed": whole("seed", seed),
        "images": whole("images", images) or 1,
        "preset": preset if isinstance(preset, str) and preset else "auto",
        "loras": loras(lora),
        **texts,
    }
    return GenerateRequest(**values).checked()

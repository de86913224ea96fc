"""SwarmUI: JSON with `sui_image_params` under `parameters`. Values may be texts, lists may be comma texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from newbie_ui.gallery.foreign.extra import others
from newbie_ui.gallery.info import PictureInfo, join_lora, stem
from newbie_ui.gallery.safe import Damaged, load_object, mapping, number, salvage, text_of, whole

_READ = (
    *("prompt", "negativeprompt", "model", "seed", "steps", "cfgscale", "width", "height", "sampler", "scheduler"),
    *("loras", "loraweights", "sigmashift", "refinerupscale", "refinercontrolpercentage", "refinersteps"),
)


def read(text: str) -> PictureInfo:
    """Everything the form can use."""
    try:
        data = load_object(text)
        return _read(mapping(data.get("sui_image_params")), mapping(data.get("sui_extra_data")))
    except Damaged as error:
        found = salvage(text)
        info = _read(found, found)
        return info.saying(f"The SwarmUI data is damaged: {error} What could be found was read.", partial=True)


def _read(data: Mapping[str, Any], more: Mapping[str, Any]) -> PictureInfo:
    prompt, original = text_of(data.get("prompt")), text_of(more.get("original_prompt"))
    model = text_of(data.get("model"))
    notes = ()
    if prompt and "<" in prompt:
        notes = ("SwarmUI's own signs in the prompt (<segment:…>, <region:…>) are kept as text.",)
    return PictureInfo(
        program="SwarmUI",
        prompt=prompt,
        negative=text_of(data.get("negativeprompt")),
        seed=whole(data.get("seed")),
        steps=whole(data.get("steps")),
        sampler=text_of(data.get("sampler")),
        scheduler=text_of(data.get("scheduler")),
        cfg=number(data.get("cfgscale")),
        width=whole(data.get("width")),
        height=whole(data.get("height")),
        model=stem(model) if model else None,
        loras=_loras(data),
        shift=number(data.get("sigmashift")),
        original_prompt=original if original != prompt else None,
        extra=others(data, _READ) | others(more, ("original_prompt", *data)),
        hires=_hires(data),
        notes=notes,
    )


def _loras(data: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    names, weights = _list(data.get("loras")), [number(weight) for weight in _list(data.get("loraweights"))]
    weights += [None] * (len(names) - len(weights))
    pairs = [(str(name), 1.0 if weight is None else weight) for name, weight in zip(names, weights)]
    return join_lora(pairs)


def _list(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value if isinstance(value, list) else []


def _hires(data: Mapping[str, Any]) -> dict[str, Any]:
    values = {
        "scale": number(data.get("refinerupscale")),
        "denoise": number(data.get("refinercontrolpercentage")),
        "steps": whole(data.get("refinersteps")),
    }
    return {key: value for key, value in values.items() if value is not None}

"""The Settings tab: what runs here, on what, from where, and under which licence. It shows; flags change.

What is shown of this machine (folders, flags) stays hidden on a shared page.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

from newbie_ui.engine.base import EngineStatus, PresetChoice
from newbie_ui.presets import Preset
from newbie_ui.settings import Settings, flag
from newbie_ui.ui import words
from newbie_ui.ui.access import is_shared
from newbie_ui.ui.widgets import widget

if TYPE_CHECKING:
    from newbie_ui.ui.page import PageContext

Value = dict[str, Any]
PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "peft", "torchao", "gradio", "pillow")
FOLDERS = ("output_dir", "lora_dir", "presets_dir")
HIDDEN_FLAGS = (*FOLDERS, "model")  # shown elsewhere on the tab
WEIGHTS = (
    ("NewBie-image-Exp0.1", "Newbie-NC-1.0", "licence_newbie"),
    ("Gemma 3", "Gemma Terms of Use", "licence_gemma"),
    ("Jina CLIP v2", "CC BY-NC 4.0", "licence_jina"),
    ("FLUX VAE", "see its model card", "licence_vae"),
)


def build(ctx: PageContext) -> None:
    """Fill the tab."""

    def settings_now(message: Any = None) -> Value:
        language = message.get("language") if isinstance(message, Mapping) else None
        return {**facts(ctx), "helps": words.helps().get(str(language), {})}

    widget("settings", {}, server_functions=[settings_now], elem_id="nb-settings")


def facts(ctx: PageContext) -> Value:
    """Everything the tab shows, as plain data, fresh."""
    status = ctx.engine.status()
    shared = is_shared(ctx.settings)
    return {
        "state": status.state.value,
        "message": "" if shared else status.message,
        "model": model_facts(status, shared),
        "device": device_facts(status),
        "folders": [] if shared or ctx.settings is None else [[name, getattr(ctx.settings, name)] for name in FOLDERS],
        "flags": [] if shared or ctx.settings is None else flag_facts(ctx.settings),
        "presets": [preset_row(choice, preset_keys(ctx)) for choice in ctx.engine.presets()],
        "loras": list(ctx.engine.loras()),
        "versions": [list(pair) for pair in versions()],
        "licences": [list(row) for row in WEIGHTS],
        "shared": shared,
    }


def model_facts(status: EngineStatus, shared: bool) -> Value | None:
    """The model in use, or None before it is open."""
    model = status.model
    if model is None:
        return None
    return {
        "name": model.name,
        "licence": model.licence,
        "demo": model.demo,
        "source": "" if shared else model.source,
        "hash": model.hash,
        "sizes": [f"{width} × {height}" for width, height in model.sizes],
        "tokens": [model.trained_tokens, model.max_tokens],
        "defaults": {
            name: model.defaults[name] for name in ("steps", "guidance_scale", "shift") if name in model.defaults
        },
        "vocabulary": len(model.vocabulary),
    }


def device_facts(status: EngineStatus) -> Value | None:
    """The device and what the engine says of how it uses it."""
    device = status.device
    if device is None:
        return None
    return {
        "kind": device.kind,
        "name": device.name,
        "total_gb": device.total_gb,
        "capability": ".".join(map(str, device.capability)) if device.capability else "",
        "compile": status.compile,
        "facts": [[name, str(value)] for name, value in status.facts.items() if name != "loading"],
    }


def preset_row(choice: PresetChoice, keys: dict[str, list[list[str]]]) -> Value:
    """One line of the preset table, with the keys that its file sets."""
    return {
        "name": choice.name,
        "label": choice.label,
        "summary": choice.summary,
        "fits": choice.fits,
        "recommended": choice.recommended,
        "reason": choice.reason,
        "seconds": choice.median_s,
        "gb": choice.peak_gb,
        "measured": choice.measured,
        "keys": keys.get(choice.name, []),
    }


def preset_keys(ctx: PageContext) -> dict[str, list[list[str]]]:
    """{preset: [[key, value, help]]} of what each file changes; empty if the folder cannot be read."""
    default = Preset()
    shown = [item for item in fields(default) if item.name not in ("name", "label", "summary")]
    return {
        preset.name: [
            [item.name, str(getattr(preset, item.name)), item.metadata["help"]]
            for item in shown
            if getattr(preset, item.name) != getattr(default, item.name)
        ]
        for preset in ctx.preset_files()
    }


def flag_facts(settings: Settings) -> list[list[str]]:
    """[flag, value, help, "changed" or ""] for every setting."""
    default = Settings()
    return [
        [
            flag(item.name),
            str(getattr(settings, item.name)),
            item.metadata["help"],
            "changed" if getattr(settings, item.name) != getattr(default, item.name) else "",
        ]
        for item in fields(settings)
        if item.name not in HIDDEN_FLAGS
    ]


@lru_cache(maxsize=1)
def versions() -> tuple[tuple[str, str], ...]:
    """Versions of what the program stands on; packages that are not installed are left out."""
    found = [("Python", platform.python_version())]
    for package in PACKAGES:
        try:
            found.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            continue
    return tuple(found)

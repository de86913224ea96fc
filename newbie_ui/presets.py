"""Performance presets: how the device is used, one TOML file each, only the differences from the defaults.

Promises: every key is declared once, below, with its default, range and help; an unknown key, a wrong value or an
unreadable file raises `PresetError` naming file, key and remedy; `rank` and `choose` are pure functions of the
presets and of what the device has. A preset never changes what a picture shows beyond rounding, unless its key
says "lossy". Nothing here knows torch: the engine applies what a preset says.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from newbie_ui.errors import PresetError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

AUTO = "auto"
ENOUGH = 0.97  # a "24 GB" card may report a little less
DEVICES = ("cuda", "cpu")
DTYPES = ("auto", "float32", "bfloat16")
ATTENTIONS = ("auto", "native", "cudnn", "flash", "efficient", "math", "flash_attn", "flash_attn_3", "flash_attn_4")
COMPILES = ("off", "block")
COMPILE_MODES = ("default", "max-autotune-no-cudagraphs")
QUANTIZES = ("off", "8bit", "fp8", "int8")
TEXT_QUANTIZES = ("off", "int8", "int4")
OFFLOADS = ("off", "encoders", "model", "turns", "group")
TILINGS = ("auto", "on", "off")
SIZE = re.compile(r"[1-9]\d{1,3}x[1-9]\d{1,3}")


def _key(default: Any, help: str, **limits: Any) -> Any:
    return field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True)
class Preset:
    """One way to use a device. `name` is the file's stem; all other fields are keys of the file."""

    name: str = _key("", "the file's name without .toml", from_file_name=True)
    label: str = _key("", "name shown to people")
    summary: str = _key("", "what it does, in a few words")
    device: str = _key("cuda", "kind of device it is for", choices=DEVICES)
    device_gb: float = _key(0.0, "memory the device needs for full-size NewBie, in GB", minimum=0, maximum=1000)
    peak_gb: float = _key(
        0.0, "estimated peak at 1024×1024, kept to where tiling is auto; 0 is unknown", minimum=0, maximum=1000
    )
    auto: bool = _key(True, "may be chosen by auto")
    dtype: str = _key(
        "auto", "number format of the weights; auto is bfloat16, float32 for small models", choices=DTYPES
    )
    tf32: bool = _key(True, "let remaining float32 matrix products use TF32")
    attention: str = _key("auto", "attention kernel; auto measures once and remembers", choices=ATTENTIONS)
    compile: str = _key("off", "compile one transformer block and share it among all", choices=COMPILES)
    compile_mode: str = _key("default", "how hard the compiler tries", choices=COMPILE_MODES)
    warm: int = _key(0, "shapes compiled while idle, the first size first", minimum=0, maximum=64)
    warm_sizes: str = _key("", "their sizes, such as 1024x1024 832x1216; empty is the model's own list", sizes=True)
    compile_vae: bool = _key(False, "compile the VAE decoder too")
    graph_side: int = _key(
        0, "record steps of pictures up to this side as CUDA graphs; 0 is off", minimum=0, maximum=1024
    )
    quantize: str = _key(
        "off",
        "transformer matrix products in 8 bit; 8bit is fp8 where the card has it, else int8; lossy",
        choices=QUANTIZES,
    )
    quantize_text: str = _key("off", "Gemma's weights in 8 or 4 bit; lossy", choices=TEXT_QUANTIZES)
    offload: str = _key("off", "which parts wait in the machine's memory while not in use", choices=OFFLOADS)
    tiling: str = _key("auto", "decode in stripes, with equal pixels; auto when free memory is short", choices=TILINGS)
    split_guidance: bool = _key(False, "guided passes one after the other: less memory, less padding, smaller products")
    batch: int = _key(1, "pictures made together", minimum=1, maximum=16)
    threads: int = _key(0, "processor threads; 0 is one a core, or what OMP_NUM_THREADS says", minimum=0, maximum=256)
    step_cache: float = _key(0.0, "reuse a step when less than this changed; 0 is off; lossy", minimum=0.0, maximum=1.0)
    guidance_end: float = _key(1.0, "guide no longer than up to here (0 noise, 1 picture); lossy", minimum=0, maximum=1)
    preview_s: float = _key(0.5, "least seconds between two previews; 0 is every step", minimum=0.0, maximum=60.0)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """`warm_sizes` as (width, height)."""
        return tuple((int(w), int(h)) for w, h in (size.split("x") for size in self.warm_sizes.split()))


KEYS = {f.name: f for f in fields(Preset) if not f.metadata.get("from_file_name")}


@dataclass(frozen=True)
class Fit:
    """One row of the ranked list."""

    preset: Preset
    fits: bool
    recommended: bool
    reason: str = ""  # why it does not fit, with both numbers


def load_presets(folder: str | Path) -> tuple[Preset, ...]:
    """All presets of a folder, by name. Raises PresetError."""
    files = sorted(Path(folder).glob("*.toml"))
    if not files:
        raise PresetError(
            f"There is no preset in {str(folder)!r}. Point --presets-dir at the folder with *.toml files."
        )
    return tuple(load_preset(file) for file in files)


def load_preset(file: str | Path) -> Preset:
    """One preset. Raises PresetError naming file and key."""
    file = Path(file)
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PresetError(f"Preset {file.name} cannot be read: {error}. Correct or remove the file.") from error
    return preset_with(Preset(name=file.stem, label=file.stem.capitalize()), values, file.name)


def preset_with(preset: Preset, values: Mapping[str, Any], source: str = "") -> Preset:
    """The preset with other values, checked. Raises PresetError, which names `source` (by default the preset)."""
    checked = {key: _check(source or preset.name, key, value) for key, value in values.items()}
    return replace(preset, **checked)


def rank(presets: Iterable[Preset], kind: str, total_gb: float, small_model: bool = False) -> tuple[Fit, ...]:
    """Presets sorted for a device: those that fit first, the fastest of them recommended.

    Args:
        kind: "cuda" or "cpu".
        total_gb: the card's memory, or the machine's on a CPU.
        small_model: the model is so small (the demo) that memory does not count.
    """
    rows = []
    for preset in presets:
        reason = _why_not(preset, kind, total_gb, small_model)
        rows.append(Fit(preset, fits=not reason, recommended=False, reason=reason))
    # Among those that fit, the one that asks for most memory is fastest; among the others the nearest comes first.
    rows.sort(
        key=lambda row: (not row.fits, row.preset.device != kind, _order(row), not row.preset.auto, row.preset.name)
    )
    best = next((row for row in rows if row.fits and row.preset.auto), None) or _least(rows, kind)
    return tuple(Fit(row.preset, row.fits, row is best, row.reason) for row in rows)


def choose(presets: Sequence[Preset], name: str, kind: str, total_gb: float, small_model: bool = False) -> Preset:
    """The preset of that name, or the recommended one for "auto". Raises PresetError if unknown or too large."""
    ranked = rank(presets, kind, total_gb, small_model)
    if name == AUTO:
        return next(row.preset for row in ranked if row.recommended)
    for row in ranked:
        if row.preset.name == name:
            if row.fits or row.recommended:
                return row.preset
            best = next(other.preset.name for other in ranked if other.recommended)
            raise PresetError(f"Preset {name!r} {row.reason}. Use {best!r} or auto.")
    raise _unknown(presets, name)


def check_name(presets: Sequence[Preset], name: str) -> None:
    """Raises PresetError unless a preset has this name; "auto" is always fine."""
    if name != AUTO and name not in {preset.name for preset in presets}:
        raise _unknown(presets, name)


def _unknown(presets: Sequence[Preset], name: str) -> PresetError:
    known = ", ".join(sorted(preset.name for preset in presets))
    return PresetError(f"Preset {name[:64]!r} is unknown. Use auto or one of: {known}.")


def resolve_8bit(quantize: str, capability: tuple[int, int] | None) -> str:
    """What "8bit" means on a card: fp8 from compute capability 9.0, int8 from 8.0, else nothing.

    Ada (8.9) has fp8 too but consumer cards gain nothing over int8 there and lose precision.
    """
    if quantize == "off" or capability is None:
        return "off"
    if quantize == "int8" or capability < (9, 0):
        return "int8" if capability >= (8, 0) else "off"
    return "fp8"


def _order(row: Fit) -> float:
    return -row.preset.device_gb if row.fits else row.preset.device_gb


def _least(rows: Sequence[Fit], kind: str) -> Fit:
    """Nothing fits: the least demanding preset of this kind of device, to be tried all the same."""
    same = [row for row in rows if row.preset.device == kind]
    if not same:
        raise PresetError(f"No preset is made for this device ({kind}). Add one with device = {kind!r}.")
    return min(same, key=lambda row: row.preset.device_gb)


def _why_not(preset: Preset, kind: str, total_gb: float, small_model: bool) -> str:
    if preset.device != kind:
        if preset.device == "cpu":
            return "is for machines without a card; this engine uses one"
        return f"needs a card with {preset.device_gb:g} GB; this machine has none"
    if small_model or total_gb >= preset.device_gb * ENOUGH:
        return ""
    what = "a card with" if kind == "cuda" else "a machine with"
    return f"needs {what} {preset.device_gb:g} GB; this one has {total_gb:.1f} GB"


def _check(source: str, key: str, value: Any) -> Any:
    """The value as its key's type, or PresetError."""
    declared = KEYS.get(key)
    if declared is None:
        raise PresetError(f"Preset {source} has the unknown key {key!r}. Known keys: {', '.join(KEYS)}.")
    kind = type(declared.default)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise PresetError(f"Preset {source}: {key} is {value!r}. Use {_wanted(declared)}.")
    limits = declared.metadata
    if "choices" in limits and value not in limits["choices"]:
        raise PresetError(f"Preset {source}: {key} is {value!r}. Use {_wanted(declared)}.")
    if "sizes" in limits and not all(SIZE.fullmatch(size) for size in value.split()):
        raise PresetError(f"Preset {source}: {key} is {value!r}. Use {_wanted(declared)}.")
    if "minimum" in limits and not limits["minimum"] <= value <= limits["maximum"]:
        raise PresetError(f"Preset {source}: {key} is {value!r}. Use {_wanted(declared)}.")
    return value


def _wanted(declared: Any) -> str:
    limits = declared.metadata
    if "choices" in limits:
        return "one of: " + ", ".join(limits["choices"])
    if "sizes" in limits:
        return "sizes with spaces between them, such as 1024x1024 832x1216"
    if "minimum" in limits:
        return f"a number from {limits['minimum']:g} to {limits['maximum']:g}"
    return "true or false" if isinstance(declared.default, bool) else "text in quotes"

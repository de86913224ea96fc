"""What a picture tells about how it was made, whatever program wrote it.

Promises: plain data; a field that the file does not say is None (seed 0 is a seed, absent is not 0; an empty
negative prompt that is *stated* is ""). `sampler` and `scheduler` are the file's own words; `form` translates what
can be translated into fields of a GenerateRequest and says in sentences what cannot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from newbie_ui.errors import RequestError
from newbie_ui.gallery.record import Record
from newbie_ui.request import PARAMETERS, SIZE_MULTIPLE, LoraUse

_EXTENSIONS = re.compile(r"\.(safetensors|ckpt|pt|pth|gguf|bin|sft)$", re.IGNORECASE)
MAX_LORAS = 50


@dataclass(frozen=True)
class CharacterInfo:
    """One character as the file tells it: `text` in one piece, the rest where the format has it."""

    text: str
    negative: str = ""
    center: tuple[float, float] | None = None  # x, y from 0 to 1, from the top left
    fields: tuple[tuple[str, str], ...] = ()  # of the NewBie XML


@dataclass(frozen=True)
class PictureInfo:
    """How a picture was made. `program` is None when the file does not say anything about it."""

    program: str | None = None
    prompt: str | None = None
    negative: str | None = None
    seed: int | None = None
    steps: int | None = None
    sampler: str | None = None
    scheduler: str | None = None
    cfg: float | None = None
    width: int | None = None  # of the first pass; the file's pixels are `picture_size`
    height: int | None = None
    model: str | None = None
    loras: tuple[tuple[str, float], ...] = ()
    system_prompt: str | None = None
    shift: float | None = None
    characters: tuple[CharacterInfo, ...] = ()
    segments: tuple[str, ...] = ()  # parts of the prompt between BREAK and its like
    hires: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)  # what the file says besides, as text
    original_prompt: str | None = None  # before wildcards, where the file has it
    problems: tuple[str, ...] = ()  # what could not be read
    notes: tuple[str, ...] = ()  # what was read in a way worth knowing
    partial: bool = False  # something is damaged: fields may be missing
    record: Record | None = None  # everything, for pictures of ours
    format: str = ""
    picture_size: tuple[int, int] = (0, 0)

    @property
    def found(self) -> bool:
        """True when the file says how it was made."""
        return self.program is not None

    def saying(self, *problems: str, partial: bool = False) -> PictureInfo:
        """The same with more problems told."""
        return replace(self, problems=self.problems + problems, partial=self.partial or partial)

    def to_json(self) -> dict[str, Any]:
        """For programs and browsers: the seed is text, because JavaScript rounds above 2^53."""
        hires = {key: value for key, value in self.hires.items() if value is not None}
        return {
            "program": self.program,
            "prompt": self.prompt,
            "negative": self.negative,
            "seed": None if self.seed is None else str(self.seed),
            "seed_text": "" if self.seed is None else str(self.seed),
            "steps": self.steps,
            "sampler": self.sampler,
            "scheduler": self.scheduler,
            "cfg": self.cfg,
            "width": self.width,
            "height": self.height,
            "model": self.model,
            "loras": [list(pair) for pair in self.loras],
            "system_prompt": self.system_prompt,
            "shift": self.shift,
            "characters": [character.text for character in self.characters],
            "character_fields": [dict(character.fields) for character in self.characters if character.fields],
            "character_negatives": _unless_empty([character.negative for character in self.characters]),
            "character_centers": _unless_empty([character.center for character in self.characters]),
            "segments": list(self.segments),
            "hires": hires or None,
            "extra": dict(self.extra),
            "original_prompt": self.original_prompt,
            "problems": list(self.problems),
            "notes": list(self.notes),
            "partial": self.partial,
            "format": self.format,
            "picture_size": list(self.picture_size),
        }

    def form(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        """GenerateRequest fields that can be filled from this file, and sentences about those that cannot."""
        if self.record is not None:
            return self.record.form(), ()
        return _Form(self).fill()


def _unless_empty(values: list[Any]) -> list[Any]:
    return values if any(values) else []


def stem(name: str) -> str:
    """A model's or LoRA's name without folders and without a known extension (`sd_xl_base_1.0` has none)."""
    return _EXTENSIONS.sub("", name.replace("\\", "/").rsplit("/", 1)[-1].strip())


def join_lora(pairs: list[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    """LoRA names as stems, each name and weight once, in order."""
    unique = dict.fromkeys((stem(name), weight) for name, weight in pairs if stem(name))
    return tuple(unique)[:MAX_LORAS]


# ---- into our own form -------------------------------------------------------------------------------------------

SAMPLER_NAMES = {
    "euler": "euler",
    "euler_a": "euler_ancestral",
    "euler_ancestral": "euler_ancestral",
    "heun": "heun",
    "dpm++_2m": "dpmpp_2m",
    "dpmpp_2m": "dpmpp_2m",
    "unipc": "unipc",
    "uni_pc": "unipc",
    "uni_pc_bh2": "unipc",
}
SCHEDULE_NAMES = {
    "simple": "simple",
    "linear_quadratic": "linear_quadratic",
    "beta": "beta",
    "karras": "karras",
    "exponential": "exponential",
}


class _Form:
    """Fills GenerateRequest fields one by one, keeping out what would be refused."""

    def __init__(self, info: PictureInfo):
        self.info = info
        self.values: dict[str, Any] = {}
        self.sentences: list[str] = []

    def fill(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        info = self.info
        self._put("prompt", info.prompt)
        self._put("negative_prompt", info.negative)
        self._put("system_prompt", info.system_prompt)
        self._put("steps", info.steps)
        self._put("guidance_scale", info.cfg)
        self._put("shift", info.shift)
        self._put("seed", info.seed)
        self._put_size("width", info.width)
        self._put_size("height", info.height)
        self._put_name("sampler", info.sampler, SAMPLER_NAMES)
        self._put_name("schedule", info.scheduler, SCHEDULE_NAMES)
        if info.loras:
            self.values["loras"] = tuple(LoraUse(name, weight) for name, weight in info.loras)
        return self.values, tuple(self.sentences)

    def _put(self, name: str, value: Any) -> None:
        if value is None:
            return
        try:
            self.values[name] = PARAMETERS[name].check(value)
        except RequestError as error:
            self.sentences.append(f"{error} The form keeps its own.")

    def _put_size(self, name: str, value: int | None) -> None:
        if value is None:
            return
        fitting = max(1, int(value / SIZE_MULTIPLE + 0.5)) * SIZE_MULTIPLE
        self._put(name, fitting)
        if fitting != value and self.values.get(name) == fitting:
            label = PARAMETERS[name].label
            self.sentences.append(f"{label} {value} became {fitting}, the nearest multiple of {SIZE_MULTIPLE}.")

    def _put_name(self, name: str, value: str | None, names: Mapping[str, str]) -> None:
        if value is None or value.lower() in ("automatic", "undefined", "normal" if name == "schedule" else ""):
            return
        key = value.lower().strip().replace(" ", "_").removeprefix("k_")
        if key in names:
            self.values[name] = names[key]
        else:
            label = PARAMETERS[name].label
            self.sentences.append(f"{label} {value!r} does not exist here. The form keeps its own.")

"""What travels between page, command line, engine and gallery: requests, events, results. Data only.

Every field of `GenerateRequest` is declared once, with default, range and help; page widgets, command-line
flags, checks and PNG metadata are made from `PARAMETERS`. All classes are frozen and pickle, so that an engine
may live in another process. Nothing here knows torch or gradio.

What was asked (`GenerateRequest`), what was resolved (`ResolvedRequest`) and what came out (`GenerateResult`)
are three types.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from newbie_ui.errors import RequestError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SEED = 2**63 - 1
MAX_PROMPT_CHARS = 20_000
MAX_LORA_NAME = 200
SIZE_MULTIPLE = 16

DEFAULT_SYSTEM_PROMPT = (
    "You are an assistant designed to generate high-quality anime images with the highest degree of image-text "
    "alignment based on xml format textual prompts. <Prompt Start>"
)

SAMPLERS = ("euler", "heun", "dpmpp_2m", "unipc", "euler_ancestral")
SCHEDULES = ("simple", "linear_quadratic", "beta", "karras", "exponential")


@dataclass(frozen=True)
class Parameter:
    """One knob of a picture: the single source for its widget, flag, check and metadata key.

    `default` is None where the model in use decides (see `ModelInfo.defaults` in engine.base).
    """

    name: str
    kind: str  # "int" | "float" | "text" | "choice" | "loras"
    default: Any
    label: str
    help: str
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: Any) -> Any:
        """Return the value as its declared type, or raise RequestError naming value and remedy."""
        if value is None and self.default is None:
            return None
        checks = {
            "int": self._number,
            "float": self._number,
            "text": self._text,
            "choice": self._choice,
            "loras": self._loras,
        }
        return checks[self.kind](value)

    def _number(self, value: Any) -> int | float:
        whole = self.kind == "int"
        try:
            number = int(value) if whole else float(value)
            exact = math.isfinite(number) and (not whole or isinstance(value, str) or number == value)
        except (TypeError, ValueError, OverflowError):
            exact = False
        if not exact or isinstance(value, bool):
            kind = "a whole number" if whole else "a number"
            raise RequestError(self.name, f"{self.label} {shown(value)} is not {kind}. Use {self._range()}.")
        if not self.minimum <= number <= self.maximum:
            raise RequestError(self.name, f"{self.label} {shown(number)} is out of range. Use {self._range()}.")
        return number

    def _range(self) -> str:
        return f"{self.minimum:g} to {self.maximum:g}" if self.maximum < 1e15 else f"{self.minimum} to {self.maximum}"

    def _text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise RequestError(self.name, f"{self.label} must be text, not {type(value).__name__}.")
        if len(value) > self.maximum:
            raise RequestError(
                self.name, f"{self.label} has {len(value)} characters; shorten it to {self.maximum:g} at most."
            )
        return value

    def _choice(self, value: Any) -> str:
        if value not in self.choices:
            raise RequestError(
                self.name, f"{self.label} {shown(value)} is unknown. Use one of: {', '.join(self.choices)}."
            )
        return value

    def _loras(self, uses: tuple[LoraUse, ...]) -> tuple[LoraUse, ...]:
        for use in uses:
            if not 0 < len(use.name) <= MAX_LORA_NAME:
                raise RequestError(
                    self.name, f"LoRA name {use.name[:60]!r} cannot be used. Use the name of a file in the LoRA folder."
                )
            if not self.minimum <= use.weight <= self.maximum:  # not a number is out of range, too
                raise RequestError(
                    self.name, f"Weight {use.weight} of LoRA {use.name!r} is out of range. Use {self._range()}."
                )
        return uses


def shown(value: Any) -> str:
    """A value in a refusal: whole if it is short, else its beginning."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _knob(default: Any, kind: str, label: str, help: str, **limits: Any) -> Any:
    return field(default=default, metadata={"kind": kind, "label": label, "help": help, **limits})


@dataclass(frozen=True)
class LoraUse:
    """One LoRA file and how strongly it acts. `name` is the file's stem in the LoRA folder."""

    name: str
    weight: float = 1.0


@dataclass(frozen=True)
class GenerateRequest:
    """What a person asked for. None means: as the model in use recommends."""

    prompt: str = _knob(
        "", "text", "Prompt", "Exactly the text the encoders read, usually XML", maximum=MAX_PROMPT_CHARS
    )
    negative_prompt: str = _knob("", "text", "Negative", "What to stay away from", maximum=MAX_PROMPT_CHARS)
    system_prompt: str | None = _knob(
        None, "text", "System prompt", "Put before the prompt for Gemma only", maximum=4000
    )
    width: int | None = _knob(None, "int", "Width", "Pixels, a multiple of 16", minimum=64, maximum=2048, step=16)
    height: int | None = _knob(None, "int", "Height", "Pixels, a multiple of 16", minimum=64, maximum=2048, step=16)
    steps: int | None = _knob(
        None, "int", "Steps", "More steps, finer picture, more time", minimum=1, maximum=100, step=1
    )
    guidance_scale: float | None = _knob(
        None, "float", "Guidance", "How strictly the prompt is followed; 1 is off", minimum=1.0, maximum=20.0, step=0.1
    )
    guidance_renorm: float = _knob(
        1.0,
        "float",
        "Guidance renorm",
        "Caps the guided step's length at this multiple; 0 is off",
        minimum=0.0,
        maximum=10.0,
        step=0.1,
    )
    guidance_rescale: float = _knob(
        0.0,
        "float",
        "Guidance rescale",
        "Pulls contrast back towards the unguided picture; 0 is off",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    )
    guidance_start: float = _knob(
        0.0,
        "float",
        "Guidance from",
        "Guide from this part of the way (0 noise, 1 picture)",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    )
    guidance_end: float = _knob(
        1.0,
        "float",
        "Guidance until",
        "Guide up to this part of the way; less is faster",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    )
    sampler: str = _knob("euler", "choice", "Sampler", "How the steps are taken", choices=SAMPLERS)
    schedule: str = _knob("simple", "choice", "Schedule", "How the steps are spaced", choices=SCHEDULES)
    shift: float | None = _knob(
        None, "float", "Shift", "Higher spends more steps on composition", minimum=0.1, maximum=20.0, step=0.1
    )
    shift_scaling: str = _knob(
        "fixed", "choice", "Shift by size", "size: larger pictures get a higher shift", choices=("fixed", "size")
    )
    seed: int | None = _knob(
        None, "int", "Seed", "Same seed, same picture; empty is random", minimum=0, maximum=MAX_SEED, step=1
    )
    images: int = _knob(1, "int", "Pictures", "How many, each with the next seed", minimum=1, maximum=64, step=1)
    preset: str = _knob("auto", "text", "Preset", "How the device is used; auto takes the best that fits", maximum=64)
    loras: tuple[LoraUse, ...] = _knob(
        (), "loras", "LoRA", "Small add-on models with a weight each", minimum=-4.0, maximum=4.0
    )
    fit: str = _knob(
        "refuse", "choice", "Too long", "What happens to text past the encoder's limit", choices=("refuse", "cut")
    )

    def checked(self) -> GenerateRequest:
        """The same request with every field checked and converted; raises RequestError for the first bad one."""
        good = replace(self, **{p.name: p.check(getattr(self, p.name)) for p in PARAMETERS.values()})
        for name in ("width", "height"):
            value = getattr(good, name)
            if value is not None and value % SIZE_MULTIPLE:
                below = value - value % SIZE_MULTIPLE
                raise RequestError(
                    name,
                    f"{PARAMETERS[name].label} {value} is not a multiple of {SIZE_MULTIPLE}. "
                    f"Use {below} or {below + SIZE_MULTIPLE}.",
                )
        if good.guidance_start > good.guidance_end:
            raise RequestError(
                "guidance_start",
                f"Guidance from {good.guidance_start:g} lies after guidance until {good.guidance_end:g}. Swap them.",
            )
        return good

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping of all fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GenerateRequest:
        """Rebuild from `to_dict`; keys of later versions are ignored."""
        known = {f.name for f in fields(cls)}
        values = {k: v for k, v in data.items() if k in known}
        values["loras"] = tuple(use if isinstance(use, LoraUse) else LoraUse(**use) for use in values.get("loras", ()))
        return cls(**values)


def _parameters() -> Mapping[str, Parameter]:
    return MappingProxyType(
        {
            f.name: Parameter(name=f.name, default=None if f.default is MISSING else f.default, **f.metadata)
            for f in fields(GenerateRequest)
        }
    )


PARAMETERS: Mapping[str, Parameter] = _parameters()


def random_seed() -> int:
    """A fresh seed, small enough to be exact in JavaScript and easy to read aloud."""
    return random.SystemRandom().randrange(2**32)


@dataclass(frozen=True)
class ResolvedRequest:
    """The request after every "auto" was decided once, for one picture of it."""

    request: GenerateRequest
    system_prompt: str
    width: int
    height: int
    steps: int
    guidance_scale: float
    shift: float
    seed: int
    preset: str
    model: str  # name shown to people
    model_hash: str = ""  # short fingerprint of the weights
    loras: tuple[tuple[str, float, str], ...] = ()  # (name, weight, sha256 of the file, 10 characters)
    prompt: str | None = None  # what the encoders read where `request.prompt` held wildcards; None: as asked
    negative_prompt: str | None = None


@dataclass(frozen=True)
class Timings:
    """Seconds of one picture by stage. A batch's shared stages are divided among its pictures."""

    queue_s: float = 0.0
    encode_s: float = 0.0
    denoise_s: float = 0.0
    decode_s: float = 0.0
    total_s: float = 0.0  # from submit to picture, queue included
    steps: int = 0

    @property
    def s_per_step(self) -> float:
        return self.denoise_s / self.steps if self.steps else 0.0


@dataclass(frozen=True)
class Memory:
    """Peak memory while one picture was made, in GB (1e9 bytes). CUDA figures are None on a CPU."""

    allocated_gb: float | None = None
    reserved_gb: float | None = None
    resident_gb: float | None = None  # resident set of the process
    device_gb: float | None = None  # what the device has in all (the machine's memory on a CPU)


@dataclass(frozen=True)
class GenerateResult:
    """One finished picture. `facts` holds what the stats card names: attention, compile, cache, device, notes."""

    id: str  # sortable, unique: also the gallery id and the file's stem
    resolved: ResolvedRequest
    timings: Timings
    memory: Memory
    created_at: float  # seconds since the epoch
    facts: Mapping[str, str] = field(default_factory=dict)
    image: Image | None = None  # dropped once the picture is stored
    path: str | None = None  # where the gallery put it


# ---- events: what `Engine.events` yields, in this order -------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """Base of all events. `job` is the id that `Engine.submit` returned."""

    job: str


@dataclass(frozen=True)
class Queued(Event):
    """Waiting. `ahead` jobs come first, about `wait_s` seconds (None if unknown)."""

    ahead: int = 0
    wait_s: float | None = None


@dataclass(frozen=True)
class Loading(Event):
    """The engine is getting ready: reading weights, compiling. `fraction` is None when unknown."""

    message: str = ""
    fraction: float | None = None


@dataclass(frozen=True)
class Encoded(Event):
    """The prompt is encoded. `tokens` counts Gemma tokens with the system prompt."""

    tokens: int = 0
    seconds: float = 0.0
    cached: bool = False
    warning: str = ""


@dataclass(frozen=True)
class Step(Event):
    """A denoising step is done. `preview` is a small JPEG or None; `picture` counts from 0 to `pictures` - 1."""

    index: int = 0  # 1-based
    total: int = 0
    picture: int = 0
    pictures: int = 1
    eta_s: float | None = None
    preview: bytes | None = None


@dataclass(frozen=True)
class Picture(Event):
    """One picture is finished and already stored."""

    result: GenerateResult = None  # type: ignore[assignment]
    index: int = 0
    pictures: int = 1


@dataclass(frozen=True)
class Done(Event):
    """Last event: all pictures were made."""

    pictures: int = 0


@dataclass(frozen=True)
class Cancelled(Event):
    """Last event: stopped by a person; pictures made before are kept."""

    pictures: int = 0


@dataclass(frozen=True)
class Failed(Event):
    """Last event: this job failed, the engine serves on. `message` is for people; `reference` finds the log line."""

    message: str = ""
    field: str | None = None
    reference: str = ""


LAST_EVENTS = (Done, Cancelled, Failed)

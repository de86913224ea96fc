"""The seam between those who want pictures and those who make them.

Page, command line, bench and tests speak to `Engine` only; `LocalEngine`, `FakeEngine` and later a process or
Ray replica are interchangeable behind it. A job belongs to the engine: it goes on when the page that started it
is closed, and its events can be read again from the start by anyone who knows its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from newbie_ui.request import Event, GenerateRequest, GenerateResult, Memory

PictureSink = Callable[[GenerateResult], GenerateResult]
"""Called in the worker before `Picture` is announced: stores the picture, returns the result with its path."""


class EngineState(Enum):
    """new → opening → ready ⇄ busy → closing → closed; failed when opening did not succeed."""

    NEW = "new"
    OPENING = "opening"
    READY = "ready"
    BUSY = "busy"
    CLOSING = "closing"
    CLOSED = "closed"
    FAILED = "failed"


@dataclass(frozen=True)
class DeviceInfo:
    """The device pictures are made on. `total_gb` is the card's memory, or the machine's on a CPU."""

    kind: str  # "cuda" | "cpu" | "mps"
    name: str
    total_gb: float
    capability: tuple[int, int] | None = None  # CUDA compute capability


@dataclass(frozen=True)
class ModelInfo:
    """The model in use, as the page needs it."""

    name: str
    source: str  # where it was loaded from, for people
    licence: str
    demo: bool
    hash: str
    sizes: tuple[tuple[int, int], ...]  # (width, height) offered
    defaults: Mapping[str, Any]  # of the GenerateRequest fields whose default is None
    trained_tokens: int = 512
    max_tokens: int = 1023
    vocabulary: tuple[str, ...] = ()  # tags the demo model knows; empty: any


@dataclass(frozen=True)
class PresetChoice:
    """One row of the preset list, sorted by what fits this device."""

    name: str
    label: str
    summary: str  # "compiled, tiled VAE"
    fits: bool
    recommended: bool
    reason: str = ""  # why it does not fit, with both numbers
    median_s: float | None = None  # measured on this machine for the present size and steps
    peak_gb: float | None = None
    measured: bool = False  # False: the two figures are estimates


@dataclass(frozen=True)
class JobInfo:
    """One job as shown in the queue list."""

    id: str
    request: GenerateRequest
    state: str  # "queued" | "running" | "done" | "cancelled" | "failed"
    created_at: float
    pictures_done: int = 0
    step: int = 0
    total_steps: int = 0
    wait_s: float | None = None


@dataclass(frozen=True)
class EngineStatus:
    """A snapshot for the header, the queue list and the health check."""

    state: EngineState
    message: str = ""  # what it is doing, or why it failed
    device: DeviceInfo | None = None
    model: ModelInfo | None = None
    memory: Memory = field(default_factory=Memory)  # in use now
    compile: str = "off"  # "off" | "cold" | "compiling" | "warm"
    jobs: tuple[JobInfo, ...] = ()  # running first, then waiting in order
    facts: Mapping[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """One persistent pipeline. All methods may be called from any thread."""

    def open(self) -> None:
        """Start loading in the background and return at once; `status` tells when it is ready."""

    def submit(self, request: GenerateRequest, client: str = "") -> str:
        """Check the request, queue it, return the job's id. Raises RequestError, EngineError (queue full, closed)."""

    def events(self, job: str, after: int = 0) -> Iterator[Event]:
        """The job's events from number `after` on, waiting for new ones; ends after Done, Cancelled or Failed."""

    def cancel(self, job: str) -> None:
        """Stop this job within one step (now), or take it out of the queue. No effect on an ended job."""

    def skip(self, job: str) -> None:
        """Give up the picture being made and go on with the job's next one."""

    def finish(self, job: str) -> None:
        """Finish the picture being made, then stop the job."""

    def move(self, job: str, position: int) -> None:
        """Put a waiting job at this place of the queue (0 is next)."""

    def status(self) -> EngineStatus: ...

    def presets(self, request: GenerateRequest | None = None) -> tuple[PresetChoice, ...]: ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Gemma tokens of each text, without special tokens. Cheap: needs the tokenizer only."""

    def loras(self) -> tuple[str, ...]:
        """Names of the LoRA files that can be used."""

    def close(self, timeout_s: float = 30.0) -> None:
        """Finish or cancel the running picture, refuse new work, free the device."""


def generate(engine: Engine, request: GenerateRequest, client: str = "") -> Iterator[Event]:
    """Submit and follow one job. Closing the iterator, or whatever breaks it off, cancels the job."""
    job = engine.submit(request, client)
    try:
        yield from engine.events(job)
    except BaseException:
        engine.cancel(job)
        raise

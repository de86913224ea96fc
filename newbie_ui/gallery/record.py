"""Our own metadata: everything about one picture as versioned JSON, and back.

Promises: `read_record(write_record(result))` gives the request as asked, what was resolved, timings, memory, facts
and the versions of the programs, value for value. Reading takes nothing on trust: every field is checked one by one,
a bad one is left out with a sentence, keys of later versions are ignored.

The schema by version is written down in docs/metadata.md. A change that older readers would misunderstand gets a
new `VERSION`; a new key does not.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from importlib import metadata as packages
from typing import Any

import newbie_ui
from newbie_ui.errors import RequestError
from newbie_ui.gallery.safe import Damaged, load_object, mapping, number, sequence, text_of, whole
from newbie_ui.request import PARAMETERS, GenerateRequest, GenerateResult, LoraUse, Memory, ResolvedRequest, Timings

KEYWORD = "newbie_ui"  # of the PNG text chunk
VERSION = 1
MAX_FACTS = 100
MAX_LORAS = 50
_PACKAGES = ("torch", "diffusers", "transformers", "Pillow")
_RESOLVED_NUMBERS = {"width": whole, "height": whole, "steps": whole, "guidance_scale": number, "shift": number}


@dataclass(frozen=True)
class Record:
    """One picture of ours, without the picture."""

    id: str
    created_at: float
    request: GenerateRequest
    resolved: ResolvedRequest | None
    timings: Timings = field(default_factory=Timings)
    memory: Memory = field(default_factory=Memory)
    facts: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def prompt(self) -> str:
        """What the encoders read: the prompt after wildcards."""
        drawn = self.resolved.prompt if self.resolved else None
        return self.request.prompt if drawn is None else drawn

    @property
    def negative_prompt(self) -> str:
        drawn = self.resolved.negative_prompt if self.resolved else None
        return self.request.negative_prompt if drawn is None else drawn

    @property
    def original_prompt(self) -> str | None:
        """The prompt with its wildcards, when it had any."""
        return self.request.prompt if self.prompt != self.request.prompt else None

    def form(self, wildcards: bool = False) -> dict[str, Any]:
        """GenerateRequest fields that make this very picture again: numbers as resolved, one picture, its own seed.

        With `wildcards` the texts are those asked for, before wildcards were drawn.
        """
        values = {f.name: getattr(self.request, f.name) for f in fields(self.request)}
        if self.resolved is not None:
            values |= {name: getattr(self.resolved, name) for name in (*_RESOLVED_NUMBERS, "seed")}
            values["images"] = 1
        if not wildcards:
            values |= {"prompt": self.prompt, "negative_prompt": self.negative_prompt}
        return values


def record_of(result: GenerateResult) -> Record:
    """The record of a result."""
    return Record(
        id=result.id,
        created_at=result.created_at,
        request=result.resolved.request,
        resolved=result.resolved,
        timings=result.timings,
        memory=result.memory,
        facts=dict(result.facts),
        versions=versions(),
    )


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of the programs that make a picture, without importing them."""
    found = {"newbie_ui": newbie_ui.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name.lower()] = packages.version(name)
        except packages.PackageNotFoundError:
            continue
    return found


# ---- writing -----------------------------------------------------------------------------------------------------


def write_record(record: Record) -> str:
    """One line of JSON, ASCII only, so that any text at all survives in any chunk or column."""
    resolved = asdict(record.resolved) if record.resolved else {}
    resolved.pop("request", None)
    data = {
        "program": KEYWORD,
        "version": VERSION,
        "id": record.id,
        "created_at": record.created_at,
        "request": record.request.to_dict(),
        "resolved": resolved,
        "timings": asdict(record.timings),
        "memory": asdict(record.memory),
        "facts": {str(key): str(value) for key, value in record.facts.items()},
        "versions": dict(record.versions),
    }
    return json.dumps(data, ensure_ascii=True, separators=(",", ":"))


# ---- reading -----------------------------------------------------------------------------------------------------


def read_record(text: str) -> tuple[Record, tuple[str, ...]]:
    """The record and what of it could not be used. Raises Damaged when it is not one of ours at all."""
    data = load_object(text)
    if data.get("program") != KEYWORD or not isinstance(data.get("request"), dict):
        raise Damaged("The data under our keyword is not ours.")
    problems: list[str] = []
    version = whole(data.get("version"))
    if version is None or version > VERSION:
        problems.append(f"Written by a later version of this program (format {version}); what is known here was read.")
    request = read_request(data["request"], problems)
    record = Record(
        id=(text_of(data.get("id")) or "")[:80],
        created_at=_positive(data.get("created_at")) or 0.0,
        request=request,
        resolved=_read_resolved(mapping(data.get("resolved")), request, problems),
        timings=_read_timings(mapping(data.get("timings"))),
        memory=Memory(**{f.name: _positive(mapping(data.get("memory")).get(f.name)) for f in fields(Memory)}),
        facts=_read_texts(mapping(data.get("facts"))),
        versions=_read_texts(mapping(data.get("versions"))),
    )
    return record, tuple(problems)


def read_request(data: Mapping[str, Any], problems: list[str]) -> GenerateRequest:
    """A request from untrusted JSON: each field checked alone, bad ones left at their default with a sentence."""
    values: dict[str, Any] = {}
    for name, parameter in PARAMETERS.items():
        if name not in data:
            continue
        try:
            values[name] = _read_loras(data[name]) if name == "loras" else parameter.check(data[name])
        except RequestError as error:
            problems.append(f"{error} It was left out.")
    try:
        return GenerateRequest(**values).checked()
    except RequestError as error:
        problems.append(f"{error} It was left out.")
        names = ("guidance_start", "guidance_end") if error.field == "guidance_start" else (error.field,)
        return GenerateRequest(**{name: value for name, value in values.items() if name not in names})


def _read_loras(data: Any) -> tuple[LoraUse, ...]:
    uses = []
    for entry in sequence(data)[:MAX_LORAS]:
        name, weight = text_of(mapping(entry).get("name"), 200), number(mapping(entry).get("weight"))
        if name:
            uses.append(LoraUse(name, 1.0 if weight is None else weight))
    return tuple(uses)


def _read_resolved(data: Mapping[str, Any], request: GenerateRequest, problems: list[str]) -> ResolvedRequest | None:
    values: dict[str, Any] = {name: read(data.get(name)) for name, read in _RESOLVED_NUMBERS.items()}
    values["seed"] = whole(data.get("seed"))
    for name in ("system_prompt", "preset", "model"):
        values[name] = _exact(data.get(name))
    missing = [name for name, value in values.items() if value is None]
    if missing:
        problems.append(f"What was really used is incomplete ({', '.join(missing)}); only what was asked is known.")
        return None
    return ResolvedRequest(
        request=request,
        model_hash=text_of(data.get("model_hash"), 200) or "",
        loras=_read_resolved_loras(data.get("loras")),
        prompt=_exact(data.get("prompt")),
        negative_prompt=_exact(data.get("negative_prompt")),
        **values,
    )


def _read_resolved_loras(data: Any) -> tuple[tuple[str, float, str], ...]:
    found = []
    for entry in sequence(data)[:MAX_LORAS]:
        if isinstance(entry, list) and len(entry) == 3:
            name, weight, fingerprint = text_of(entry[0], 200), number(entry[1]), text_of(entry[2], 200)
            if name and weight is not None:
                found.append((name, weight, fingerprint or ""))
    return tuple(found)


def _exact(value: Any) -> str | None:
    """Text untouched, line ends included."""
    return value[:100_000] if isinstance(value, str) else None


def _read_timings(data: Mapping[str, Any]) -> Timings:
    seconds = {f.name: _positive(data.get(f.name)) or 0.0 for f in fields(Timings) if f.name != "steps"}
    return Timings(**seconds, steps=max(0, whole(data.get("steps")) or 0))


def _positive(value: Any) -> float | None:
    found = number(value)
    return found if found is not None and found >= 0 else None


def _read_texts(data: Mapping[str, Any]) -> dict[str, str]:
    pairs = list(data.items())[:MAX_FACTS]
    return {str(key)[:100]: value[:4000] for key, value in pairs if isinstance(value, str)}

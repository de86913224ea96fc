"""What our widgets show, as plain data made from engine and gallery objects. No Gradio, no HTML.

Everything here is text, numbers, lists and dicts: a widget turns text into text nodes, so nothing in it can act.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from newbie_ui.engine.base import EngineState, EngineStatus, JobInfo, PresetChoice
from newbie_ui.gallery.record import Record, record_of
from newbie_ui.prompt import positions
from newbie_ui.prompt.complete import Item
from newbie_ui.prompt.xml import parse
from newbie_ui.request import Memory
from newbie_ui.ui.board import JobView

Value = dict[str, Any]
TITLE_CHARS = 80
FACTS = ("attention", "compile", "embedding_cache")
UNUSUAL_FACTS = ("offload", "quantize", "notes")  # named only where they did something


def pulse(status: EngineStatus) -> Value:
    """For the header, the queue list and the slot: how things stand now."""
    model, device, memory = status.model, status.device, status.memory
    jobs = [queue_row(job) for job in status.jobs if job.state in ("queued", "running")]
    return {
        "state": status.state.value,
        "message": status.message,
        "fraction": _fraction(status),
        "device": device.name if device else "",
        "used_gb": used_gb(memory),
        "total_gb": memory.device_gb or (device.total_gb if device else None),
        "model": model.name if model else "",
        "model_key": f"{model.name} {model.hash}" if model else "",
        "licence": model.licence if model else "",
        "demo": bool(model and model.demo),
        "compile": status.compile,
        "jobs": jobs,
    }


def _fraction(status: EngineStatus) -> float | None:
    if status.state is not EngineState.OPENING:
        return None
    try:
        return min(1.0, max(0.0, float(status.facts["loading"])))
    except (KeyError, TypeError, ValueError):
        return None


def used_gb(memory: Memory) -> float | None:
    """The figure that stands for "in use": the card's reserved memory, or the process's resident set."""
    return next((x for x in (memory.reserved_gb, memory.allocated_gb, memory.resident_gb) if x is not None), None)


def queue_row(job: JobInfo) -> Value:
    """One line of the queue list."""
    characters = parse(job.request.prompt).prompt.characters
    request = job.request
    detail = [f"seed {request.seed}" if request.seed is not None else ""]
    if request.images > 1:
        detail.append(f"× {request.images}")
    if request.width and request.height:
        detail.append(f"{request.width} × {request.height}")
    return {
        "id": job.id,
        "state": job.state,
        "title": title_of(request.prompt),
        "preset": request.preset if request.preset != "auto" else "",
        "detail": ", ".join(part for part in detail if part),
        "characters": len(characters),
        "wait": job.wait_s,
        "seconds": None,
    }


def title_of(prompt: str) -> str:
    """What a job is called: its characters' names, or their hair, or the start of what was written."""
    characters = parse(prompt).prompt.characters
    names = [c.name or _look(c.get("appearance")) for c in characters]
    return ", ".join(name for name in names if name)[:TITLE_CHARS] or " ".join(prompt.split())[:TITLE_CHARS] or "–"


def _look(appearance: str) -> str:
    """The tag that tells a character apart at a glance."""
    tags = [tag.strip().replace("_", " ") for tag in appearance.split(",") if tag.strip()]
    return next((tag for tag in tags if tag.endswith(" hair")), tags[0] if tags else "")


def preset_list(choices: Sequence[PresetChoice], status: EngineStatus, selected: str | None = None) -> Value:
    """For the preset list: what each costs here, and why one cannot be used."""
    rows = [
        {
            "name": c.name,
            "label": c.label,
            "summary": c.summary,
            "fits": c.fits,
            "recommended": c.recommended,
            "reason": c.reason,
            "seconds": c.median_s,
            "gb": c.peak_gb,
            "measured": c.measured,
        }
        for c in choices
    ]
    value: Value = {"choices": rows, "device_gb": status.device.total_gb if status.device else None}
    return {**value, "selected": selected, "force": True} if selected else value


def stats(record: Record) -> Value:
    """For the stats card: what this picture cost."""
    timings, memory, facts = record.timings, record.memory, record.facts
    preset = record.resolved.preset if record.resolved else record.request.preset
    rows = [{"key": "preset", "value": preset}]
    loras = record.resolved.loras if record.resolved else ()
    if loras:
        rows.append({"key": "loras", "value": ", ".join(f"{name} {weight:g}" for name, weight, _ in loras)})
    rows += [
        {"key": key, "value": facts[key], "warn": key == "compile" and facts[key].endswith("cold")}
        for key in (*FACTS, *UNUSUAL_FACTS)
        if facts.get(key) and not (key in UNUSUAL_FACTS and facts[key] in ("off", "none"))
    ]
    rows.append({"key": "waited", "value": f"{timings.queue_s:.1f} s"})
    return {
        "total": max(0.0, timings.total_s - timings.queue_s),
        "per_step": timings.s_per_step,
        "encode": timings.encode_s,
        "denoise": timings.denoise_s,
        "decode": timings.decode_s,
        "allocated": memory.allocated_gb,
        "reserved": memory.reserved_gb,
        "resident": memory.resident_gb,
        "device": memory.device_gb,
        "facts": rows,
    }


def finished(record: Record, **more: Any) -> Value:
    """For the middle column: this picture with its cost. A picture that says nothing of its cost has no card."""
    source = record.resolved or record.request
    characters = parse(record.prompt).prompt.characters
    return {
        "state": "done",
        "picture": record.id,
        "size": [source.width or 1, source.height or 1],
        "stats": stats(record) if record.timings.total_s else None,
        "seed": "" if source.seed is None else str(source.seed),
        "alt": ", ".join(c.name or str(number) for number, c in enumerate(characters, 1)),
        "people": None if "grid" in record.facts else [positions.read(c.get("position")) for c in characters],
        **more,
    }


def stage(view: JobView, default_size: Sequence[int]) -> Value:
    """For the middle column while a job is under way, and when it has ended."""
    results = [result.id for result in view.results]
    base: Value = {
        "job": view.job,
        "results": results,
        "following": not view.ended,
        "finished": view.ended,
        "size": list(default_size),
    }
    if view.ended:
        return {**base, **_ended(view)}
    step, encoded = view.step, view.encoded
    index = step.picture if step else len(view.results)
    pictures = step.pictures if step else 1
    fraction = (index + step.index / max(1, step.total)) / pictures if step else 0.0
    last = view.results[-1] if view.results and not view.preview else None
    return {
        **base,
        "state": "queued" if view.state == "queued" else "running",
        "picture": last.id if last else None,
        "preview": data_url(view.preview) if view.preview else "",
        "ahead": view.ahead,
        "fraction": fraction,
        "step": step.index if step else 0,
        "steps": step.total if step else 0,
        "index": index,
        "pictures": pictures,
        "eta": step.eta_s if step else view.wait_s,
        "message": view.message,
        "progress": {
            "encode": encoded.seconds if encoded else None,
            "cached": bool(encoded and encoded.cached),
            "denoise": view.denoise_s,
            "per_step": view.denoise_s / step.index if step and step.index else None,
        },
        "warning": encoded.warning if encoded else "",
    }


def _ended(view: JobView) -> Value:
    shown = finished(record_of(view.results[-1])) if view.results else {"picture": None, "state": view.state}
    if view.results and view.state == "cancelled":
        shown["stopped_after"] = [len(view.results), view.step.pictures if view.step else len(view.results)]
    if view.failure is not None:
        failure = view.failure
        shown["error"] = {"message": failure.message, "field": failure.field, "reference": failure.reference}
        shown["state"] = "failed"
    return shown


def data_url(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def completion(item: Item) -> Value:
    """One row of the completion list."""
    tag = item.tag
    return {
        "insert": item.insert,
        "label": item.label,
        "by": item.by,
        "also": (tag.ja or tag.zh or ("",))[0] if tag else "",
        "zh": (tag.zh or ("",))[0] if tag else "",
        "category": tag.category if tag else item.kind,
        "count": tag.count if tag else None,
        "rank": tag.rank if tag else None,
        "model": bool(tag and tag.model),
    }

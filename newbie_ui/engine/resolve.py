"""Decide every "auto" of a request once, so that what runs, what is shown and what is recorded are the same."""

from __future__ import annotations

from pathlib import Path

from newbie_ui.engine.base import ModelInfo
from newbie_ui.model.shift import shift_for_size
from newbie_ui.prompt import wildcards
from newbie_ui.request import DEFAULT_SYSTEM_PROMPT, MAX_SEED, GenerateRequest, ResolvedRequest, random_seed

FULL_SIZE_DEFAULTS = {
    "width": 1024,
    "height": 1024,
    "steps": 28,
    "guidance_scale": 4.5,
    "shift": 6.0,
    "system_prompt": DEFAULT_SYSTEM_PROMPT,
}
"""What NewBie-image-Exp0.1 recommends; a model's own `defaults` come first."""


def resolve(
    request: GenerateRequest,
    model: ModelInfo,
    preset: str,
    loras: tuple[tuple[str, float, str], ...] = (),
    wildcard_dir: str | Path | None = None,
) -> tuple[ResolvedRequest, ...]:
    """One `ResolvedRequest` a picture, seeds counting up from the first; wildcards are drawn by each seed anew."""
    values = {
        name: getattr(request, name) if getattr(request, name) is not None else model.defaults.get(name, fallback)
        for name, fallback in FULL_SIZE_DEFAULTS.items()
    }
    if request.shift_scaling == "size":
        trained = tuple(model.defaults.get(side, FULL_SIZE_DEFAULTS[side]) for side in ("width", "height"))
        values["shift"] = shift_for_size(values["shift"], values["width"], values["height"], trained)
    first = random_seed() if request.seed is None else request.seed
    rows = []
    for number in range(request.images):
        seed = (first + number) % (MAX_SEED + 1)
        texts = {
            name: wildcards.resolve(getattr(request, name), seed, wildcard_dir).after
            for name in ("prompt", "negative_prompt")
            if wildcards.has_wildcards(getattr(request, name))
        }
        rows.append(
            ResolvedRequest(
                request=request,
                seed=seed,
                preset=preset,
                model=model.name,
                model_hash=model.hash,
                loras=loras,
                **values,
                **texts,
            )
        )
    return tuple(rows)


def wildcard_problems(row: ResolvedRequest, wildcard_dir: str | Path | None = None) -> str:
    """What could not be drawn, as sentences; empty when all is well."""
    texts = (row.request.prompt, row.request.negative_prompt)
    found = [problem for text in texts for problem in wildcards.resolve(text, row.seed, wildcard_dir).problems]
    return " ".join(dict.fromkeys(found))

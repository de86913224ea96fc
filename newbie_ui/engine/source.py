"""Where the engine's model comes from: what it says of itself, its weights when asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from newbie_ui.engine.base import ModelInfo
from newbie_ui.engine.rig import Load, Places, Progress
from newbie_ui.model.checkpoint import (
    DEMO,
    DEMO_FOLDER,
    ModelFiles,
    SplitFiles,
    load_pipeline,
    load_tokens,
    locate,
    read_model_info,
)
from newbie_ui.model.pipeline import NewbiePipeline
from newbie_ui.settings import Settings


@dataclass(frozen=True)
class ModelSource:
    """A model that is not in memory yet.

    describe: (progress) → ModelInfo; reads no weights, but a hub id is downloaded.
    load: (dtype, progress, places) → pipeline, the named parts on their devices, the others on the processor.
    tokenizer: () → Gemma's tokenizer, one of its own: it counts while the pipeline's is at work.
    """

    describe: Callable[[Progress], ModelInfo]
    load: Load
    tokenizer: Callable[[], PreTrainedTokenizerBase]

    @classmethod
    def from_settings(cls, settings: Settings) -> ModelSource:
        """The model that the settings name. Files are looked for when the engine opens, not here."""
        files = _Files(_place(settings))
        return cls(describe=partial(_describe, files), load=partial(_load, files), tokenizer=partial(_tokenizer, files))


def lora_folders(settings: Settings) -> tuple[Path, ...]:
    """Where LoRA files are looked for; the demo model brings one of its own."""
    own = (DEMO_FOLDER.parent / "loras",) if _place(settings) == DEMO else ()
    return (Path(settings.lora_dir).expanduser(), *own)


class _Files:
    """The model's files, located at the first use."""

    def __init__(self, place: str | SplitFiles):
        self._place = place
        self._found: ModelFiles | None = None

    def get(self, progress: Progress) -> ModelFiles:
        if self._found is None:
            self._found = locate(self._place, progress)
        return self._found


def _place(settings: Settings) -> str | SplitFiles:
    """Split files win; parts not given come from `--model`, unless that is the demo."""
    given = (settings.transformer, settings.text_encoder, settings.clip, settings.vae)
    if not any(given):
        return settings.model
    return SplitFiles(*given, base="" if settings.model == DEMO else settings.model)


def _describe(files: _Files, progress: Progress) -> ModelInfo:
    card = read_model_info(files.get(progress))
    return ModelInfo(
        name=card.name,
        source=card.source,
        licence=card.licence,
        demo=card.demo,
        hash=card.hash,
        sizes=card.sizes,
        defaults=card.defaults,
        trained_tokens=card.trained_tokens,
        max_tokens=card.max_tokens,
        vocabulary=card.vocabulary,
    )


def _load(files: _Files, dtype: torch.dtype, progress: Progress, places: Places) -> NewbiePipeline:
    return load_pipeline(files.get(progress), dtype=dtype, device=places, on_progress=progress)


def _tokenizer(files: _Files) -> PreTrainedTokenizerBase:
    return load_tokens(files.get(lambda message, fraction: None), "text_encoder")

"""NewBie's hub layout on disk: one folder a part, tokenizers inside the encoders' folders.

    model_index.json  newbie_ui.json  transformer/  text_encoder/  clip_model/  vae/  scheduler/

Promises: `load` reads what `save` wrote, to equal numbers; a missing or unknown weight is an error, nothing found in
a folder is ever run. Does not know other layouts: those are `checkpoint.py`'s.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
from transformers import (
    Gemma3TextModel,
    GemmaTokenizer,
    JinaEmbeddingsV3Model,
    PreTrainedTokenizerFast,
    XLMRobertaTokenizer,
)

from newbie_ui.errors import CheckpointError
from newbie_ui.model.transformer import NewbieTransformer2DModel

SIDECAR = "newbie_ui.json"
INDEX = {
    "_class_name": "NewbiePipeline",
    "transformer": ["newbie_ui", "NewbieTransformer2DModel"],
    "text_encoder": ["transformers", "Gemma3TextModel"],
    "clip_model": ["transformers", "JinaEmbeddingsV3Model"],
    "vae": ["diffusers", "AutoencoderKL"],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
}
TOKENIZER_FOLDERS = {"tokenizer": "text_encoder", "clip_tokenizer": "clip_model"}


def load(folder: str | Path, dtype: torch.dtype | None, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict]:
    """All components by name, and the sidecar. `given` ones are taken as they are, None included."""
    folder = Path(folder)
    if not (folder / "model_index.json").is_file():
        raise CheckpointError(
            f"{folder} has no model_index.json: it is no folder in NewBie's layout. Give the folder that "
            "holds transformer/, text_encoder/, clip_model/ and vae/."
        )
    loaders: dict[str, Callable[[], Any]] = {
        "transformer": lambda: _model(NewbieTransformer2DModel, folder / "transformer", torch_dtype=dtype).eval(),
        "text_encoder": lambda: _model(Gemma3TextModel, folder / "text_encoder", dtype=dtype or "auto"),
        "tokenizer": lambda: load_tokenizer(folder / "text_encoder"),
        "clip_model": lambda: _model(
            JinaEmbeddingsV3Model, folder / "clip_model", dtype=dtype or "auto", add_pooling_layer=False
        ),
        "clip_tokenizer": lambda: load_tokenizer(folder / "clip_model"),
        "vae": lambda: _model(AutoencoderKL, folder / "vae", torch_dtype=dtype).eval(),
        "scheduler": lambda: FlowMatchEulerDiscreteScheduler.from_pretrained(_existing(folder / "scheduler")),
    }
    if unknown := set(given) - set(loaders):
        raise ValueError(f"Unknown parts: {', '.join(sorted(unknown))}. A pipeline has {', '.join(loaders)}.")
    components = {name: given[name] if name in given else loader() for name, loader in loaders.items()}
    return components, read_sidecar(folder)


def save(folder: str | Path, components: Mapping[str, Any], sidecar: Mapping[str, Any], **options: Any) -> None:
    """Write every component that is there. `options` go to the models' own `save_pretrained`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in components.items():
        if part is None:
            continue
        if name in TOKENIZER_FOLDERS:
            part.save_pretrained(folder / TOKENIZER_FOLDERS[name])
        elif name == "scheduler":
            part.save_pretrained(folder / name)
        else:
            # transformers would otherwise write Jina's names of old, which it reads back as random numbers
            old_names = {"save_original_format": False} if name == "clip_model" else {}
            part.save_pretrained(folder / name, **old_names, **options)
    index = {name: kind for name, kind in INDEX.items() if name == "_class_name" or components.get(name) is not None}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    if sidecar:
        (folder / SIDECAR).write_text(json.dumps(sidecar, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_sidecar(folder: Path) -> dict[str, Any]:
    """What we know of a model beyond its weights; empty for models that are not ours."""
    path = folder / SIDECAR
    if not path.is_file():
        return {}
    try:
        sidecar = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}). Restore the file, or delete it.") from error
    if not isinstance(sidecar, dict):
        raise CheckpointError(f"{path} must hold an object, not {type(sidecar).__name__}. Restore the file.")
    return sidecar


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast | GemmaTokenizer | XLMRobertaTokenizer:
    """The tokenizer in this folder, by the name it gives itself, among the three that NewBie uses."""
    config = _existing(folder) / "tokenizer_config.json"
    name = json.loads(config.read_text(encoding="utf-8")).get("tokenizer_class", "") if config.is_file() else ""
    if name.startswith("XLMRoberta"):
        return XLMRobertaTokenizer.from_pretrained(folder)
    if name.startswith("Gemma"):
        return GemmaTokenizer.from_pretrained(folder)
    if not (folder / "tokenizer.json").is_file():
        raise CheckpointError(f"{folder} has no tokenizer.json. Download the model again, tokenizers included.")
    return PreTrainedTokenizerFast.from_pretrained(folder)


def _model(kind: type, folder: Path, **options: Any):
    """Load strictly: what is missing would otherwise be random numbers, with no more than a log line."""
    try:
        model, report = kind.from_pretrained(_existing(folder), output_loading_info=True, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder} cannot be loaded as {kind.__name__}: {error}") from error
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        names = sorted(map(str, report.get(problem) or ()))
        if names:
            some = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
            raise CheckpointError(
                f"{folder} does not fit {kind.__name__}: {len(names)} {problem.replace('_', ' ')}, {some}. "
                "Download the model again, or check that it is a NewBie model."
            )
    return model


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise CheckpointError(f"{folder} does not exist: the model is incomplete. Download it again.")
    return folder

"""Writing a pipeline in NewBie's hub layout: one folder a part, tokenizers inside the encoders' folders.

    model_index.json  newbie_ui.json  transformer/  text_encoder/  clip_model/  vae/  scheduler/

Reading it again, like every other layout, is `checkpoint.py`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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

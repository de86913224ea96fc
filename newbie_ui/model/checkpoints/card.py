"""What people and pages need to know of a model, without loading it.

Promises: `ModelCard` is plain data; a card costs a few file headers and 64 kB a file. The sidecar `newbie_ui.json`
beside `model_index.json` says what a checkpoint cannot (the demo model has one); without it NewBie's own values hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from newbie_ui.errors import CheckpointError, RequestError
from newbie_ui.model.checkpoints.parts import OFFICIAL_SHIFT
from newbie_ui.model.checkpoints.weights import Weights, read_json
from newbie_ui.model.pipeline import DEFAULTS
from newbie_ui.model.preview import PreviewMap
from newbie_ui.request import PARAMETERS, SIZE_MULTIPLE

SIDECAR = "newbie_ui.json"
NEWBIE_LICENCE = "Newbie-NC-1.0 (non-commercial, share-alike)"
NEWBIE_SIZES = (
    (1024, 1024),
    (832, 1216),
    (1216, 832),
    (896, 1152),
    (1152, 896),
    (768, 1344),
    (1344, 768),
    (1024, 1536),
    (1536, 1024),
)
NEWBIE_DEFAULTS = MappingProxyType({**DEFAULTS, "shift": OFFICIAL_SHIFT})


@dataclass(frozen=True)
class ModelCard:
    """A model as the page shows it. Sizes are (width, height)."""

    name: str
    source: str
    licence: str = NEWBIE_LICENCE
    demo: bool = False
    hash: str = ""  # 10 hexadecimal digits
    sizes: tuple[tuple[int, int], ...] = NEWBIE_SIZES
    defaults: Mapping[str, Any] = field(default_factory=lambda: dict(NEWBIE_DEFAULTS))
    trained_tokens: int = 512
    max_tokens: int = 1023
    vocabulary: tuple[str, ...] = ()
    preview: PreviewMap | None = None  # latents → colours; None: FLUX's


def model_hash(parts: Sequence[Weights]) -> str:
    """10 hexadecimal digits for all parts together. Changes with names, shapes, sizes and most contents."""
    return hashlib.sha256(" ".join(part.fingerprint() for part in parts).encode()).hexdigest()[:10]


def read_sidecar(path: Path) -> dict[str, Any]:
    """The fields of a ModelCard that a `newbie_ui.json` sets, checked. Raises CheckpointError naming file and key."""
    data = read_json(path)
    readers = {
        "name": _text,
        "licence": _text,
        "demo": _flag,
        "defaults": _defaults,
        "sizes": _sizes,
        "trained_tokens": _count,
        "max_tokens": _count,
        "vocabulary": _words,
        "preview": _preview,
    }
    unknown = sorted(set(data) - set(readers))
    if unknown:
        raise CheckpointError(f"{path} has the unknown key {unknown[0]!r}. Use: {', '.join(readers)}.")
    found = {}
    for key, value in data.items():
        try:
            found[key] = readers[key](value)
        except (TypeError, ValueError, KeyError, RequestError) as error:
            raise CheckpointError(f"{path}: {key} cannot be used: {error}") from error
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is no text.")
    return value[:200]


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false.")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 100_000:
        raise ValueError(f"{value!r} is no whole number from 1 to 100000.")
    return value


def _sizes(value: Any) -> tuple[tuple[int, int], ...]:
    sizes = tuple((int(width), int(height)) for width, height in value)
    if not sizes or any(n < 64 or n > 2048 or n % SIZE_MULTIPLE for size in sizes for n in size):
        raise ValueError(f"{value!r} must be pairs of multiples of {SIZE_MULTIPLE} from 64 to 2048.")
    return sizes


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError("it must be a list of texts.")
    return tuple(value)


def _defaults(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} is no object.")
    strange = [key for key in value if key not in PARAMETERS]
    if strange:
        raise ValueError(f"{strange[0]!r} is no setting of a picture.")
    return {**NEWBIE_DEFAULTS, **{key: PARAMETERS[key].check(v) for key, v in value.items()}}


def _preview(value: Any) -> PreviewMap:
    preview = PreviewMap.from_dict(value)
    if len(preview.bias) != 3 or any(len(row) != 3 for row in preview.weight):
        raise ValueError("it needs three colours a row.")
    return preview

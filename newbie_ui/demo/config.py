"""The training recipe: one TOML file, read into frozen dataclasses. An unknown key is an error."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from newbie_ui.errors import UserError

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

RECIPE = Path(__file__).with_name("demo.toml")


@dataclass(frozen=True)
class Draw:
    shards: int
    pictures: int
    captions: int


@dataclass(frozen=True)
class Autoencoder:
    channels: tuple[int, ...]
    layers: int
    latents: int
    groups: int
    crops: int
    batch: int
    crop: int
    lr: float
    shards: int
    chroma: float
    edges: float
    kl: float


@dataclass(frozen=True)
class ReaderRecipe:
    channels: tuple[int, ...]
    pictures: int
    batch: int
    lr: float
    shards: int


@dataclass(frozen=True)
class Transformer:
    dim: int
    n_layers: int
    n_refiner_layers: int
    n_heads: int
    n_kv_heads: int
    multiple_of: int
    ffn_dim_multiplier: float
    axes_dims: tuple[int, ...]
    axes_lens: tuple[int, ...]


@dataclass(frozen=True)
class Text:
    gemma_width: int
    gemma_layers: int
    clip_width: int
    clip_layers: int
    positions: int


@dataclass(frozen=True)
class Flow:
    samples: int
    batch: int
    lr: float
    matrix_lr: float
    warmup: int
    ema: float
    dropout: float
    shift: float
    uniform: float
    figures: float
    faces: float


@dataclass(frozen=True)
class Lora:
    rank: int
    samples: int
    shards: int
    lr: float
    batch: int


@dataclass(frozen=True)
class Sample:
    steps: int
    guidance: float
    shift: float


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is trained. Lengths are counted in samples, batches over all GPUs together."""

    seed: int
    size: int
    tokens: int
    draw: Draw
    autoencoder: Autoencoder
    reader: ReaderRecipe
    transformer: Transformer
    text: Text
    flow: Flow
    lora: Lora
    sample: Sample


_TABLES = {
    "draw": Draw,
    "autoencoder": Autoencoder,
    "reader": ReaderRecipe,
    "transformer": Transformer,
    "text": Text,
    "flow": Flow,
    "lora": Lora,
    "sample": Sample,
}


def load_recipe(path: str | Path = RECIPE, changes: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe. `changes` are `table.key=value` texts that replace single values, as on the command line."""
    data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    for change in changes:
        place, _, value = change.partition("=")
        *tables, key = place.split(".")
        table = data
        for name in tables:
            table = table.get(name, {})
        if key not in table:
            raise UserError(
                f"--set {change}: the recipe {path} has no {place}. Use one of its keys, e.g. flow.samples."
            )
        table[key] = tomllib.loads(f"value = {value}")["value"]
    parts = {name: _table(kind, data.pop(name, {}), f"{path} [{name}]") for name, kind in _TABLES.items()}
    return _table(Recipe, data | parts, str(path))


def _table(kind: type, values: dict[str, Any], where: str) -> Any:
    names = {field.name for field in dataclasses.fields(kind)}
    wrong = sorted(set(values) ^ names)
    if wrong:
        raise UserError(
            f"{where}: unknown or missing keys: {', '.join(wrong)}. It needs exactly: {', '.join(sorted(names))}."
        )
    return kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})

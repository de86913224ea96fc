"""The layers of a transformer that a LoRA may change, by every name that files have for them.

Promises: official names and diffusers', with dots or with underscores; q, k and v of diffusers are rows of our qkv.
Does not know files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from newbie_ui.model.checkpoints.keys import DIFFUSERS_TRANSFORMER


@dataclass(frozen=True)
class Target:
    """A layer that a name in a file may mean: rows of a linear layer, or a norm."""

    name: str
    shape: tuple[int, ...]  # (out, in) of those rows, or (width,)
    rows: slice | None = None  # None: all


def targets(transformer: nn.Module) -> dict[str, Target]:
    """All names by which files call this transformer's layers: official and diffusers', with dots or underscores."""
    found: dict[str, Target] = {}
    for name, module in transformer.named_modules():
        if hasattr(module, "in_features"):
            found[name] = Target(name, (module.out_features, module.in_features))
        elif isinstance(module, nn.RMSNorm):
            found[name] = Target(name, tuple(module.normalized_shape))
    heads, kv_heads = transformer.config.n_heads, transformer.config.n_kv_heads or transformer.config.n_heads
    for name, target in list(found.items()):
        found.update(_aliases(name, target, (heads, kv_heads, kv_heads)))
    return {**found, **{name.replace(".", "_"): target for name, target in found.items()}}


def _aliases(name: str, target: Target, heads: tuple[int, ...]) -> Iterator[tuple[str, Target]]:
    """diffusers' names of an official layer; q, k and v are rows of ours."""
    for theirs, ours in DIFFUSERS_TRANSFORMER:
        base, _, part = ours.partition("#")
        base = base if base.endswith(".") else base + "."
        if base not in f".{name}." or not f"{name}.".endswith(base.lstrip(".")):
            continue
        alias = f".{name}.".replace(base, theirs if theirs.startswith(".") else f".{theirs}", 1).strip(".")
        if not part:
            yield alias, target
            continue
        head_dim, k = target.shape[0] // sum(heads), int(part[0])
        start = sum(heads[:k]) * head_dim
        yield alias, Target(name, (heads[k] * head_dim, target.shape[1]), slice(start, start + heads[k] * head_dim))

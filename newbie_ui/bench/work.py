"""How many operations one denoising step needs. Arithmetic on a transformer's configuration, nothing else.

Counts the joint layers and the noise refiners, which run at every step; embedders, the final layer (under 0.1 %) and
what is prepared once a picture (caption, adaLN) are left out. A multiplication and an addition are two operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LATENT = 16  # pixels a token


@dataclass(frozen=True)
class StepWork:
    """Operations of one step: in matrix products with weights, and in attention."""

    matmul: float
    attention: float

    @property
    def total(self) -> float:
        return self.matmul + self.attention


@dataclass(frozen=True)
class LayerShapes:
    """(out, in) of each matrix of a block, and its heads."""

    matrices: Mapping[str, tuple[int, int]]
    heads: int
    kv_heads: int
    head_dim: int

    @property
    def all_heads(self) -> tuple[int, int]:
        """Of queries, and of keys and values."""
        return (self.heads, self.kv_heads)

    @property
    def weights(self) -> int:
        return sum(rows * columns for rows, columns in self.matrices.values())


def layer_shapes(config: Mapping[str, Any]) -> LayerShapes:
    """Of a transformer config with the official keys. w1 and w3 are counted as one matrix of twice the height."""
    dim, heads = config["dim"], config["n_heads"]
    head_dim, kv_heads = dim // heads, config["n_kv_heads"] or heads
    multiple = config["multiple_of"]
    ffn = -(-int(4 * dim * (config["ffn_dim_multiplier"] or 1)) // multiple) * multiple
    matrices = {
        "qkv": ((heads + 2 * kv_heads) * head_dim, dim),
        "out": (dim, heads * head_dim),
        "w1+w3": (2 * ffn, dim),
        "w2": (dim, ffn),
    }
    return LayerShapes(matrices, heads, kv_heads, head_dim)


def step_work(config: Mapping[str, Any], width: int, height: int, captions: list[int]) -> StepWork:
    """One step of pictures of this size; `captions` has the caption length of each row of the batch."""
    shapes = layer_shapes(config)
    image = (width // LATENT) * (height // LATENT)
    matmul = attention = 0.0
    for caption in captions:
        for layers, tokens in ((config["n_layers"], image + caption), (config["n_refiner_layers"], image)):
            matmul += layers * 2.0 * shapes.weights * tokens
            attention += layers * 4.0 * tokens * tokens * shapes.heads * shapes.head_dim
    return StepWork(matmul, attention)

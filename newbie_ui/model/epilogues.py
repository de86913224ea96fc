"""What quack-kernels' products do before they write their results. Imported where it is used: the package is optional.

Its epilogues are functions over the accumulator; it compiles one for each function and what that closes over, and
finds it again on disk. Tiles are the fastest of those tried on an H200 (docs/log.md, 2026-11-29).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cutlass
import cutlass.cute as cute
import torch
from cutlass import Float32, Int32, const_expr
from quack import copy_utils
from quack.activation import swiglu
from quack.epilogue.frontend import gemm_epilogue, pack, unpack
from quack.epilogue.head_rmsnorm import HeadRstd
from quack.epilogue.ops import ColVecLoad, RowVecLoad
from quack.epilogue.rotary import RotaryCosSinTMALoad
from torch import Tensor

FAST = (("fp8_slow_accum", False),)  # sums in 8 bit stay in the tensor cores, as `use_fast_accum` of torch has it
GATED = {"tile_M": 128, "tile_N": 192, "pingpong": True, "cluster_M": 1, "cluster_N": 2}
HEADS = {"tile_M": 192, "tile_N": 96, "pingpong": True, "cluster_M": 1, "cluster_N": 2}
HEADS_8 = {"tile_M": 128, "tile_N": 192, "pingpong": True, "cluster_M": 2, "cluster_N": 1}


def _scales() -> dict[str, Any]:
    """Of the rows of an input in 8 bit and of the columns of its matrix."""
    return {"rows": ColVecLoad("rows"), "columns": RowVecLoad("columns")}


@gemm_epilogue(outputs=("gated",), ops=_scales(), mode="acc_pair")
def _gated_rows(acc, rows, columns):
    a, b = unpack(acc * rows * columns)
    return {"gated": swiglu(a, b)}


def gated_rows(x: Tensor, scale: Tensor, both: Tensor, scales: Tensor) -> Tensor:
    """See `products.gated_rows_product`; x (rows, in), scale (rows,)."""
    result = x.new_empty(len(x), len(both) // 2, dtype=torch.bfloat16)
    given = {"rows": _vector(scale), "columns": scales, "gated": result}
    _gated_rows.gemm(x, both, None, None, epi_args=given, concat_layout=("B",), post_init_attrs=FAST, **GATED)
    return result


def _vector(values: Tensor) -> Tensor:
    """(n,) → (1, n) of a stride that quack takes, for any n."""
    n = len(values)
    return values.as_strided((1, n), (-(-n // 4) * 4, 1))


def heads(
    x: Tensor,
    qkv: Tensor,
    scales: tuple[Tensor, Tensor] | None,
    norms: Tensor,
    table: Tensor,
    first: int,
    eps: float,
) -> Tensor:
    """See `products.heads_product`; x (rows, in), table (rows, 2·width), scales (rows,) and (columns,)."""
    given = {"cos_sin": table, "inverse": table.shape[1] // 2, "norms": norms}
    options = HEADS
    if scales is not None:
        given |= {"rows": _vector(scales[0]), "columns": _vector(scales[1])}
        options = {**HEADS_8, "post_init_attrs": FAST}
    result = x.new_empty(len(x), len(qkv), dtype=x.dtype if scales is None else torch.bfloat16)
    _heads(first, eps, scales is not None).gemm(x, qkv, result, None, epi_args=given, **options)
    return result


@lru_cache(maxsize=8)
def _heads(first: int, eps: float, in_8_bit: bool) -> Any:
    """The epilogue for this many columns of queries and keys. A tile holds whole heads of one kind."""
    ops = {"cos_sin": _TurnFirst("cos_sin", first), "inverse": _NormFirst("inverse", first, eps)}
    ops["norms"] = RowVecLoad("norms")

    if in_8_bit:

        def squares(acc, rows, columns):
            v = acc * rows * columns
            return {"inverse": v * v}

        @gemm_epilogue(ops={**ops, **_scales()}, prepass=squares, prepass_outs=("inverse",), mode="acc_pair")
        def normed_and_turned(acc, cos_sin, inverse, norms, rows, columns):
            even, odd = unpack(acc * rows * columns * inverse * norms)
            cos, sin = unpack(cos_sin)
            return {"D": pack(even * cos - odd * sin, odd * cos + even * sin)}

        return normed_and_turned

    def squares(acc):
        return {"inverse": acc * acc}

    @gemm_epilogue(ops=ops, prepass=squares, prepass_outs=("inverse",), mode="acc_pair")
    def normed_and_turned(acc, cos_sin, inverse, norms):
        even, odd = unpack(acc * inverse * norms)
        cos, sin = unpack(cos_sin)
        return {"D": pack(even * cos - odd * sin, odd * cos + even * sin)}

    return normed_and_turned


class _NormFirst(HeadRstd):
    """1 / rms of each head; 1 in the columns from `first` on, which are the values'."""

    def __init__(self, name: str, first: int, eps: float):
        super().__init__(name, eps)
        self.first = first

    def config_key(self):
        return (self.eps, self.first)

    @cute.jit
    def begin(self, gemm, param, smem_tensor, ctx):
        stats = self.stats_begin(gemm, smem_tensor, ctx, const_expr(self._group_cols(param)))
        return (stats, ctx.tile_coord_mnkl[1] * ctx.tile_N >= self.first)

    @cute.jit
    def fn_prepass_end(self, gemm, state):
        HeadRstd.fn_prepass_end(self, gemm, state)
        inverse = state[0][5]
        for i in cutlass.range_constexpr(cute.size(inverse)):
            inverse[i] = Float32(1.0) if state[1] else inverse[i]


class _TurnFirst(RotaryCosSinTMALoad):
    """cos and sin from the first half of the table; from its second half in the columns from `first` on."""

    def __init__(self, name: str, first: int):
        super().__init__(name)
        self.first = first

    def config_key(self):
        return (*super().config_key(), self.first)

    def load_g2s_copy_fn(self, gemm, params, smem_tensor, tile_coord_mnkl, varlen_manager, epi_pipeline):
        tensor = varlen_manager.offset_batch_epi(getattr(params, self.name), tile_coord_mnkl[3])
        width = const_expr(tensor.shape[1] // 2)
        tile_m, tile_n = gemm.cta_tile_shape_mnk[0], gemm.cta_tile_shape_mnk[1]
        epi_tile = getattr(params, self._epi_tile_key())
        epi_n = const_expr(cute.size(epi_tile[1]))
        if tile_n % width or width % epi_n or self.first % tile_n:
            raise ValueError(f"Heads of {width}, {self.first} columns of them, do not fit tiles of {tile_n}.")
        copy_tile, _, _ = gemm.epilog_gmem_copy_and_partition(
            getattr(params, self._tma_atom_key()),
            tensor,
            (tile_m, width),
            epi_tile,
            smem_tensor,
            (tile_coord_mnkl[0], Int32(tile_coord_mnkl[1] * tile_n >= self.first)),
        )
        load = copy_utils.tma_producer_copy_fn(copy_tile, epi_pipeline)
        tiles = cute.zipped_divide(cute.make_layout(gemm.cta_tile_shape_mnk[:2]), epi_tile).shape[1]
        order = (0, 1) if const_expr(gemm.epi_m_major) else (1, 0)
        layout = cute.make_ordered_layout(tiles, order=order)

        def copy(src_idx, producer_state, **options):
            at = src_idx if isinstance(src_idx, tuple) else layout.get_hier_coord(src_idx)
            load((at[0], at[1] % (width // epi_n)), producer_state, **options)

        return copy

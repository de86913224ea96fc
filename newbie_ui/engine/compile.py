"""Compiling the transformer's repeated block (and the VAE's decoder) from outside, and taking it back.

One compiled graph serves all blocks of a shape, so the first picture of a new shape waits seconds, not minutes. The
compiler's results are kept on disk by torch and found again by the next process. `CompileState` knows which shapes
have been compiled in this process, for the stats and the "compiling" message.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch
from torch import nn

from newbie_ui.model import flash4, kernels, products

log = logging.getLogger(__name__)

SHAPES = 64  # that may be kept; torch's own limit is 8 graphs
GRAPHS = 2 * SHAPES  # joint layers and noise refiner have one each, and their code in common


def use_disk_cache(environ: MutableMapping[str, str] = os.environ) -> None:
    """Keep compiled code in the user's cache folder, which outlives restarts, unless the environment names another.

    Torch's own choice is a temporary folder. Before the first compilation only.
    """
    named = environ.get("TORCHINDUCTOR_CACHE_DIR")
    folder = Path(named or Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "newbie_ui" / "compiled")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        log.info("%s cannot be made; compiled code is kept where torch likes", folder)
        return
    environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    flash4.use_disk_cache(folder / "flash4", environ)
    environ.setdefault(products.CACHE, str(folder / "products"))


def compile_blocks(
    transformer: nn.Module, mode: str = "default", backend: str = "inductor", inside_hooks: bool = False
) -> None:
    """Compile the blocks in place; the graph is built at the first call of each shape.

    `inside_hooks`: only what the block itself computes, so that a step cache's hooks, which decide by numbers, stay
    around the graph. Compiled with them it falls into pieces that take several times as long to build.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, GRAPHS)
    _tell_kernels_apart()
    options = {"fullgraph": True, "dynamic": False, "backend": backend}
    options |= {"mode": mode} if backend == "inductor" else {}
    for refiner in getattr(transformer, "noise_refiner", ()):  # they too run at every step; of a shape of their own
        refiner.compile(**options)
    if not inside_hooks:
        return transformer.compile_repeated_blocks(**options)
    for block in _blocks(transformer):
        block.forward = torch.compile(block.forward, **options)


def _tell_kernels_apart() -> None:
    """Put our kernels into the keys of what torch keeps on disk: its own know them by name alone, so that after an
    update blocks compiled with the former ones would be found again."""
    config, tag = torch.compiler.config, kernels.fingerprint()
    if tag not in config.cache_key_tag:
        config.cache_key_tag += tag


def _blocks(transformer: nn.Module) -> list[nn.Module]:
    names = getattr(transformer, "_repeated_blocks", None) or ()
    return [module for module in transformer.modules() if type(module).__name__ in names]


def compile_decoder(vae: nn.Module) -> None:
    """Compile the VAE's decoder in place."""
    vae.decoder.compile(dynamic=False)


@contextmanager
def as_written(module: nn.Module) -> Iterator[None]:
    """Inside, the module runs as written, whatever was compiled; outside nothing is lost."""
    compiled, module._compiled_call_impl = module._compiled_call_impl, None
    try:
        yield
    finally:
        module._compiled_call_impl = compiled


def nothing_compiled() -> AbstractContextManager[None]:
    """Inside, all of torch runs as written, also what would be compiled now; outside nothing is lost."""
    return torch.compiler.set_stance("force_eager")


def graphs_built() -> int:
    """Graphs that torch has compiled in this process: unchanged means that nothing was compiled anew."""
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def seconds_compiling() -> float:
    """Spent by this process in tracing and compiling so far, finding results on disk included."""
    return sum(torch._dynamo.utils.compilation_time_metrics.get("_compile.compile_inner", ()))


def undo(module: nn.Module) -> None:
    """Back to eager, for the module and all inside it. Hooks around the blocks must be gone."""
    for part in module.modules():
        part._compiled_call_impl = None
    for block in _blocks(module):
        vars(block).pop("forward", None)


class CompileState:
    """Which shapes are warm. `state` is what `EngineStatus.compile` shows."""

    def __init__(self) -> None:
        self.state = "off"
        self._warm: set[Hashable] = set()

    def reset(self, compiled: bool) -> None:
        """After compiling was switched on or off, or the model changed."""
        self._warm.clear()
        self.state = "cold" if compiled else "off"

    def is_cold(self, shape: Hashable) -> bool:
        return self.state != "off" and shape not in self._warm

    def begin(self, shape: Hashable) -> None:
        if self.is_cold(shape):
            self.state = "compiling"

    def give_up(self) -> None:
        """What was begun will not be finished."""
        if self.state == "compiling":
            self.state = "warm" if self._warm else "cold"

    def done(self, shape: Hashable) -> None:
        if self.state != "off":
            self._warm.add(shape)
            self.state = "warm"

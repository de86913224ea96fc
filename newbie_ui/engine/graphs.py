"""CUDA graphs of the whole transformer: one launch a step instead of some five hundred.

Worth it where a step is so short that launching its kernels takes longer than running them: small pictures on a fast
card. Promises: the same kernels and the same numbers; one graph a shape; calls that do not look like a step of
`denoise` (or are too large) go to the transformer's own forward, and so do all where a kernel cannot be recorded.
Graphs hold addresses: after the weights, the kernel or the LoRAs changed, call `forget`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from newbie_ui.engine.memory import is_out_of_memory
from newbie_ui.model.attention import Rotary
from newbie_ui.model.packing import Packing
from newbie_ui.model.transformer import Caption, Modulation

log = logging.getLogger(__name__)

WARM_UP = 3  # runs before recording: compiled code and kernels' plans must be there
KEPT = 8  # shapes; each holds the memory of its activations

T = TypeVar("T")
Run = Callable[[], Tensor]
Record = Callable[[Run], Run]


class GraphedForward:
    """Stands in for the forward of a transformer.

    Args:
        transformer: its blocks compiled or not.
        tokens: rows times image tokens of the largest step that is recorded.
        record: makes something that replays a computation on the same tensors; a CUDA graph unless a test has another.
    """

    def __init__(self, transformer: nn.Module, tokens: int, record: Record | None = None):
        self._transformer, self._forward, self._tokens = transformer, transformer.forward, tokens
        self._record = record or record_graph
        self._shapes: dict[Hashable, _Recorded] = {}
        transformer.forward = self

    def remove(self) -> None:
        """The transformer's own forward again."""
        self.forget()
        vars(self._transformer).pop("forward", None)

    def forget(self) -> None:
        self._shapes.clear()

    def __len__(self) -> int:
        return len(self._shapes)

    def __call__(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        caption, rotary, modulation, packing = map(kwargs.get, ("caption", "rotary", "modulation", "packing"))
        ready = caption is not None and rotary is not None and modulation is not None
        patches = hidden_states[:, :1].numel() // self._transformer.config.patch_size**2
        if not ready or args or kwargs.get("return_dict", True) or patches > self._tokens:
            return self._forward(hidden_states, *args, **kwargs)
        given = [hidden_states, *_tensors_of(caption, rotary, modulation, packing)]
        shape = tuple((*tensor.shape, tensor.dtype) for tensor in given)
        if shape not in self._shapes:
            try:
                self._keep(shape, _Recorded(self._forward, given, kwargs, self._record))
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                log.warning("steps cannot be recorded here: %s", str(error).partition("\n")[0][:200])
                self._tokens = 0
                return self._forward(hidden_states, *args, **kwargs)
        return (self._shapes[shape].replay(given),)

    def _keep(self, shape: Hashable, recorded: _Recorded) -> None:
        while len(self._shapes) >= KEPT:
            del self._shapes[next(iter(self._shapes))]
        self._shapes[shape] = recorded
        log.info("recorded a step of latents %s", shape[0])


class _Recorded:
    """One shape: the tensors that the graph reads, and its replay."""

    def __init__(self, forward: Callable, given: Sequence[Tensor], like: dict[str, Any], record: Record):
        self._held = [tensor.clone() for tensor in given]
        self._last = given
        caption, packing, refiners = like["caption"], like.get("packing"), len(like["modulation"].noise_refiner)
        hidden_states, cos, sin, tokens, *rest = self._held
        mask = rest.pop(0) if caption.mask is not None else None
        if packing is not None:
            packing, rest = Packing(*rest[: len(packing)]), rest[len(packing) :]
        inputs = {
            "caption": Caption(tokens, caption.lengths, mask, pooled=None),
            "rotary": (cos, sin),
            "modulation": Modulation(rest[:refiners], rest[refiners:-1], rest[-1]),
            "packing": packing,
            "return_dict": False,
        }
        self._replay = record(lambda: forward(hidden_states, **inputs)[0])

    def replay(self, given: Sequence[Tensor]) -> Tensor:
        """The result for these tensors. Only what is another object than last time is copied."""
        changed = [(held, new) for held, new, last in zip(self._held, given, self._last) if new is not last]
        if changed:
            torch._foreach_copy_(*map(list, zip(*changed)))
        self._last = given
        return self._replay().clone()


def _tensors_of(caption: Caption, rotary: Rotary, modulation: Modulation, packing: Packing | None) -> list[Tensor]:
    mask = [] if caption.mask is None else [caption.mask]
    adaln = [*modulation.noise_refiner, *modulation.layers, modulation.final]
    return [*rotary, caption.tokens, *mask, *(packing or ()), *adaln]


def record_graph(run: Callable[[], T], warm_up: int = WARM_UP) -> Callable[[], T]:
    """A CUDA graph of `run`, which reads and writes the same memory at every replay; runs it `warm_up` times before."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(warm_up):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may look at the card meanwhile
        result = run()

    def replay() -> T:
        graph.replay()
        return result

    return replay

"""Which part of the pipeline is on the device when.

Five policies, from fast to small:

    off       everything stays on the device
    encoders  the text encoders visit while they encode; transformer and VAE stay
    model     encoders and transformer take turns; the VAE stays
    turns     the same, and the transformer leaves for decoding too
    group     as model, and the big blocks of transformer and Gemma are streamed through two places on the device,
              the next one copied on a side stream while one computes

Promises: a part's weights have one home in (pinned) processor memory and are copied up only, never back, as long as
nobody changes them; after `forget` they may be changed. The numbers are the same under every policy. It does not
know what the parts compute; a stage is a name and the parts it needs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

STAGES = {"encode": ("text_encoder", "clip_model"), "denoise": ("transformer",), "decode": ("vae",)}
STAYING = {
    "off": ("text_encoder", "clip_model", "transformer", "vae"),
    "encoders": ("transformer", "vae"),
    "model": ("vae",),
    "turns": ("vae",),
    "group": ("vae",),
}
MAY_STAY = {("model", "decode"): ("transformer",)}  # besides the stage's own: worth more there than its memory
ALIGNMENT = 256  # bytes, as kernels like their operands
HEAVY = ("attention", "feed_forward", "self_attn", "mlp")  # of a block: what is streamed; norms and adaLN stay


@dataclass(frozen=True)
class _Slot:
    """One weight or buffer of a module, whose storage can be exchanged."""

    owner: nn.Module
    name: str
    parameter: bool

    def get(self) -> Tensor:
        return (self.owner._parameters if self.parameter else self.owner._buffers)[self.name]

    def set(self, tensor: Tensor) -> None:
        if self.parameter:
            self.owner._parameters[self.name].data = tensor
        else:
            self.owner._buffers[self.name] = tensor


def _slots(module: nn.Module, skip: Iterable[nn.Module] = ()) -> list[_Slot]:
    skipped = {id(inner) for outer in skip for inner in outer.modules()}
    owners = [m for m in module.modules() if id(m) not in skipped]
    found = [_Slot(m, n, True) for m in owners for n, t in m._parameters.items() if t is not None]
    return found + [_Slot(m, n, False) for m in owners for n, t in m._buffers.items() if t is not None]


class Parked:
    """Modules whose weights live in processor memory and visit a device."""

    def __init__(self, modules: Sequence[nn.Module], device: torch.device, skip: Iterable[nn.Module] = ()):
        self._device = device
        skip = list(skip)
        self._slots = [slot for module in modules for slot in _slots(module, skip)]
        self._homes = [self._home(slot.get()) for slot in self._slots]
        self.up = True
        self.park()

    @property
    def nbytes(self) -> int:
        """Room that the copies need when they lie side by side."""
        return sum(_aligned(home.nbytes) for home in self._homes)

    def bring(self, place: Tensor | None = None) -> None:
        """Copy up, to memory of its own or into `place` (bytes on the device)."""
        if self.up:
            return
        start = 0
        for slot, home in zip(self._slots, self._homes):
            if place is None:
                slot.set(home.to(self._device, non_blocking=True))
                continue
            room = place[start : start + home.nbytes].view(home.dtype).view(home.shape)
            slot.set(room.copy_(home, non_blocking=True))
            start += _aligned(home.nbytes)
        self.up = True

    def park(self) -> None:
        """Let the device's copies go."""
        if self.up:
            for slot, home in zip(self._slots, self._homes):
                slot.set(home)
            self.up = False

    def _home(self, tensor: Tensor) -> Tensor:
        tensor = tensor.detach().to("cpu")
        return tensor.pin_memory() if self._device.type == "cuda" and not tensor.is_pinned() else tensor


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


class Streamed:
    """A row of blocks that visit two places on the device in turn: one computes while the next one arrives.

    The places are taken once and belong to no block, so the memory does not depend on how far the processor runs
    ahead of the device. A copy waits, on the device, for the last use of its place; a block waits for its copy.
    """

    def __init__(self, blocks: Sequence[nn.Module], device: torch.device):
        heavy = [[getattr(block, name) for name in HEAVY if hasattr(block, name)] for block in blocks]
        self._units = [Parked(modules, device) for modules in heavy]
        self._device = device
        self._side = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._places: list[Tensor] = []
        self._held: list[int | None] = [None, None]  # which block is in a place
        self._arrived: list[torch.cuda.Event | None] = [None, None]
        self._used: list[torch.cuda.Event | None] = [None, None]
        self._hooks = []
        for number, block in enumerate(blocks):
            self._hooks.append(block.register_forward_pre_hook(lambda *_, n=number: self._before(n)))
            self._hooks.append(block.register_forward_hook(lambda *_, n=number: self._after(n)))

    def let_go(self) -> None:
        """Give the places back; they are taken anew when a block runs."""
        for place in (0, 1):
            self._leave(place)
        if self._side is not None:
            self._side.synchronize()
        self._places.clear()
        self._arrived, self._used = [None, None], [None, None]

    def remove(self) -> None:
        """Take the hooks away; the weights stay at home."""
        for hook in self._hooks:
            hook.remove()
        self.let_go()

    @property
    def most_up(self) -> int:
        """How many blocks are on the device now."""
        return sum(unit.up for unit in self._units)

    def _before(self, number: int) -> None:
        self._fetch(number)
        if self._side is not None:
            torch.cuda.current_stream(self._device).wait_event(self._arrived[number % 2])
        if number + 1 < len(self._units):
            self._fetch(number + 1)

    def _after(self, number: int) -> None:
        place = number % 2
        self._leave(place)
        if self._side is not None:
            self._used[place] = torch.cuda.current_stream(self._device).record_event()

    def _fetch(self, number: int) -> None:
        place = number % 2
        if self._held[place] == number:
            return
        self._leave(place)  # of a pass that was broken off
        self._take_places()
        with torch.cuda.stream(self._side):  # None: no effect
            if self._used[place] is not None:
                self._side.wait_event(self._used[place])
            self._units[number].bring(self._places[place])
        self._held[place] = number
        if self._side is not None:
            self._arrived[place] = self._side.record_event()

    def _take_places(self) -> None:
        if self._places:
            return
        size = max(unit.nbytes for unit in self._units)
        self._places = [torch.empty(size, dtype=torch.uint8, device=self._device) for _ in range(2)]
        if self._side is not None:  # their memory may have had another use a moment ago
            self._side.wait_stream(torch.cuda.current_stream(self._device))

    def _leave(self, place: int) -> None:
        if (number := self._held[place]) is not None:
            self._units[number].park()
            self._held[place] = None


class Placement:
    """Keeps the parts where a policy wants them. Used by the engine's worker thread only.

    Args:
        parts: the pipeline's modules by name, as in `STAGES`; absent ones are left out.
        device: where they compute.
        policy: see the module's docstring.
    """

    def __init__(self, parts: Mapping[str, nn.Module], device: torch.device, policy: str = "off"):
        self._parts, self._device = dict(parts), device
        self._parked: dict[str, Parked] = {}
        self._streams: dict[str, Streamed] = {}
        self.policy = policy
        self.move_to(policy)

    def move_to(self, policy: str) -> None:
        """Change the policy between pictures."""
        self.release()
        self.policy = policy
        for name, part in self._parts.items():
            if name in STAYING[policy]:
                part.to(self._device)
            else:
                self._park(name)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Inside, the parts of this stage can compute on the device. Others leave it if the policy says so."""
        needed = STAGES[name]
        left_alone = (*needed, *STAYING[self.policy], *MAY_STAY.get((self.policy, name), ()))
        parked = [self._park(other) for other in self._parts if other not in left_alone]
        if any(parked) and self._device.type == "cuda":
            torch.cuda.empty_cache()  # blocks of one part's sizes are of little use to another
        for part in needed:
            if part in self._parts and part not in STAYING[self.policy]:
                self._bring(part)
        yield

    def forget(self, name: str) -> None:
        """The part's weights are about to be changed: give up its homes, so that the changed ones become home."""
        if name in self._streams:
            self._streams.pop(name).remove()
        if (parked := self._parked.pop(name, None)) is not None:
            parked.park()

    def release(self) -> None:
        """Bring every visiting part home and drop all hooks."""
        for name in list(self._parts):
            self.forget(name)

    def where(self) -> dict[str, str]:
        """Part → "device", "home" or "streamed", for the stats and tests."""
        state = {}
        for name in self._parts:
            parked = self._parked.get(name)
            state[name] = "device" if name in STAYING[self.policy] or (parked and parked.up) else "home"
            if name in self._streams and state[name] == "device":
                state[name] = "streamed"
        return state

    def _bring(self, name: str) -> None:
        self._prepare(name)
        self._parked[name].bring()

    def _park(self, name: str) -> bool:
        """Whether there was something to let go of."""
        fresh = name not in self._parked
        self._prepare(name)
        was_up = self._parked[name].up
        self._parked[name].park()
        if name in self._streams:
            self._streams[name].let_go()
        return fresh or was_up

    def _prepare(self, name: str) -> None:
        if name in self._parked:
            return
        part = self._parts[name]
        blocks = getattr(part, "layers", None) if self.policy == "group" else None
        heavy = [getattr(b, n) for b in blocks or () for n in HEAVY if hasattr(b, n)]
        if heavy:
            self._streams[name] = Streamed(list(blocks), self._device)
        self._parked[name] = Parked([part], self._device, skip=heavy)
        log.info("%s is parked in processor memory%s", name, ", its blocks streamed" if heavy else "")

"""Which part of the pipeline is on the device when.

Four policies, from fast to small:

    off       everything stays on the device
    encoders  the text encoders visit while they encode; transformer and VAE stay
    model     encoders and transformer take turns; the VAE stays
    group     as model, and the big blocks of transformer and Gemma are streamed through, the next one fetched on a
              side stream while one computes

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
    "group": ("vae",),
}
MAY_STAY = {("model", "decode"): ("transformer",)}  # besides the stage's own: worth more there than its memory
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

    def bring(self, stream: torch.cuda.Stream | None = None) -> None:
        """Copy up; on a side stream the copies belong to the present stream too."""
        if self.up:
            return
        user = torch.cuda.current_stream(self._device) if stream is not None else None
        with torch.cuda.stream(stream):  # None: no effect
            for slot, home in zip(self._slots, self._homes):
                tensor = home.to(self._device, non_blocking=True)
                if user is not None:
                    tensor.record_stream(user)
                slot.set(tensor)
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


class Streamed:
    """A row of blocks that are brought one ahead and let go after use."""

    def __init__(self, blocks: Sequence[nn.Module], device: torch.device):
        heavy = [[getattr(block, name) for name in HEAVY if hasattr(block, name)] for block in blocks]
        self._units = [Parked(modules, device) for modules in heavy]
        self._device = device
        card = device.type == "cuda"
        self._side = torch.cuda.Stream(device) if card else None
        self._arrived: list[torch.cuda.Event | None] = [None] * len(blocks)
        self._hooks = []
        for number, block in enumerate(blocks):
            self._hooks.append(block.register_forward_pre_hook(lambda *_, n=number: self._before(n)))
            self._hooks.append(block.register_forward_hook(lambda *_, n=number: self._after(n)))

    def remove(self) -> None:
        """Take the hooks away; the weights stay at home."""
        for hook in self._hooks:
            hook.remove()
        for unit in self._units:
            unit.park()

    @property
    def most_up(self) -> int:
        """How many blocks are on the device now."""
        return sum(unit.up for unit in self._units)

    def _before(self, number: int) -> None:
        self._fetch(number)
        if self._arrived[number] is not None:
            torch.cuda.current_stream(self._device).wait_event(self._arrived[number])
        if number + 1 < len(self._units):
            self._fetch(number + 1)

    def _after(self, number: int) -> None:
        self._units[number].park()

    def _fetch(self, number: int) -> None:
        if self._units[number].up:
            return
        self._units[number].bring(self._side)
        if self._side is not None:
            self._arrived[number] = self._side.record_event()


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

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Inside, the parts of this stage can compute on the device. Others leave it if the policy says so."""
        needed = STAGES[name]
        left_alone = (*needed, *STAYING[self.policy], *MAY_STAY.get((self.policy, name), ()))
        for other in self._parts:
            if other not in left_alone:
                self._park(other)
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

    def _park(self, name: str) -> None:
        self._prepare(name)
        self._parked[name].park()

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

"""LoRAs on a transformer: several at once, each with a weight, changed between pictures.

Promises: the model's own weights are never touched, so taking a LoRA away leaves exactly what was there; a change of
weights or files that fits the same *room* (see below) compiles nothing anew; it works on plain and on 8-bit layers.
Does not know where files lie (`lora_files.LoraShelf` does) nor who asks.

How: a layer's class is exchanged for one with a side branch, y = layer(x) + up(down(x)), and the branch's matrices
are padded with zeros to a room: 16, 32, 64, … ranks for all the LoRAs together. All joint layers get the same room,
whether a file changes them or not, so that they keep sharing one compiled graph. Each room is compiled once; going
back to one, or to none, finds its graph again. LoKr keeps its Kronecker form, in rooms of 1, 2, 4, … files.
"""

from __future__ import annotations

import logging
import math
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from newbie_ui.errors import LoraError
from newbie_ui.model.denoise import compute_device
from newbie_ui.model.lora_files import (
    Kronecker,
    LoraFile,
    LoraShelf,
    LowRank,
    NormShift,
    Update,
    file_hash,
    read_lora,
)
from newbie_ui.model.lora_targets import targets

log = logging.getLogger(__name__)

ROOMS = (16, 32, 64, 128, 256, 512, 1024)
SLOTS = (1, 2, 4, 8)
MAX_AT_ONCE = 8
MAX_WEIGHT = 10.0
KEPT_FILES = 8  # read files that are remembered
JOINT = re.compile(r"layers\.\d+\.")
ALWAYS = ("attention.qkv", "attention.out", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3")


@dataclass(frozen=True)
class Room:
    """What a layer's branch has place for: ranks, Kronecker products (slots, a, b, c, d), a shift of a norm."""

    ranks: int = 0
    products: tuple[tuple[int, int, int, int, int], ...] = ()
    shift: bool = False


Weighted = list[tuple[float, Update]]


class LoraSet:
    """The LoRAs in use on one transformer. Not thread-safe: use it between pictures, from one thread."""

    def __init__(self, transformer: nn.Module, shelf: LoraShelf, device: torch.device | str | None = None):
        """`device` is where the transformer computes; None takes where it is when LoRAs are used."""
        self.transformer, self.shelf, self.device = transformer, shelf, device
        self.used: tuple[tuple[str, float, str], ...] = ()
        self._targets = targets(transformer)
        self._files: OrderedDict[tuple[Path, str], LoraFile] = OrderedDict()
        self._rooms: dict[str, Room] = {}

    def use(self, wanted: Sequence[tuple[str, float]]) -> tuple[tuple[str, float, str], ...]:
        """Make exactly these (name, weight) act; () takes all away. Returns them with their hashes.

        Raises:
            LoraError: unknown, unreadable, for another model, too many; the LoRAs in use stay as they were.
        """
        wanted = [(name, _checked_weight(name, weight)) for name, weight in wanted]
        _check_count([name for name, _ in wanted])
        used = tuple((name, weight, file_hash(self.shelf.path(name))) for name, weight in wanted)
        if used == self.used:
            return used
        files = [(self._read(name), weight) for name, weight in wanted if weight]
        plan: dict[str, Weighted] = {}
        for file, weight in files:
            for layer, updates in file.updates.items():
                plan.setdefault(layer, []).extend((weight, update) for update in updates)
        rooms = _rooms(plan, self.transformer)
        try:
            self._apply(plan, rooms)
        except BaseException:  # out of memory, most likely: none rather than some
            self._apply({}, {})
            self.used = ()
            raise
        self.used = used
        log.info("loras: %s", ", ".join(f"{n} {w:g} ({h})" for n, w, h in used) or "none")
        return used

    def _apply(self, plan: Mapping[str, Weighted], rooms: dict[str, Room]) -> None:
        device = torch.device(self.device) if self.device else compute_device(self.transformer)
        dtype = self.transformer.x_embedder.weight.dtype  # never quantised
        for layer in self._rooms.keys() - rooms.keys():
            _take_branch(self.transformer.get_submodule(layer))
            del self._rooms[layer]
        for layer, room in rooms.items():
            module = self.transformer.get_submodule(layer)
            if self._rooms.get(layer) != room or module.lora_place != (device, dtype):
                _give_branch(module, room, device, dtype)
                self._rooms[layer] = room
            _fill(module, room, plan.get(layer, []))

    def info(self, name: str) -> LoraFile:
        """The file of this name, read and checked against the transformer. Raises LoraError."""
        return self._read(name)

    def _read(self, name: str) -> LoraFile:
        path = self.shelf.path(name)
        key = (path, file_hash(path))
        if key not in self._files:
            self._files[key] = read_lora(path, self._targets, name)
            while len(self._files) > KEPT_FILES:
                self._files.popitem(last=False)
        self._files.move_to_end(key)
        return self._files[key]


def _checked_weight(name: str, weight: float) -> float:
    number = float(weight)
    if not math.isfinite(number) or abs(number) > MAX_WEIGHT:
        raise LoraError(f"LoRA {name} has the weight {weight}. Use {-MAX_WEIGHT:g} to {MAX_WEIGHT:g}.")
    return number


def _check_count(names: list[str]) -> None:
    if len(names) > MAX_AT_ONCE:
        raise LoraError(f"{len(names)} LoRAs at once are too many. Use {MAX_AT_ONCE} at most.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise LoraError(f"LoRA {twice} is named twice. Name it once, with one weight.")


# ---- rooms ---------------------------------------------------------------------------------------------------


def _rooms(plan: Mapping[str, Weighted], transformer: nn.Module) -> dict[str, Room]:
    """The room of every layer. Layers of the same kind in all joint blocks get the largest that one of them needs."""
    if not plan:
        return {}
    ranks = max(sum(u.rank for _, u in updates if isinstance(u, LowRank)) for updates in plan.values())
    if ranks > ROOMS[-1]:
        raise LoraError(f"These LoRAs have {ranks} ranks together, more than {ROOMS[-1]}. Use fewer of them.")
    ranks = next(room for room in ROOMS if room >= ranks) if ranks else 0
    needs: dict[str, list[Weighted]] = {}
    for layer, updates in plan.items():
        needs.setdefault(_kind(layer), []).append(updates)
    if ranks:
        for kind in ALWAYS:
            needs.setdefault("layers." + kind, [])
    rooms = {}
    for name, _ in transformer.named_modules():
        kind = _kind(name)
        if kind in needs and (kind != name or name in plan):
            linear = not isinstance(transformer.get_submodule(name), nn.RMSNorm)
            rooms[name] = Room(ranks if linear else 0, _products(needs[kind]), not linear)
    return rooms


def _kind(layer: str) -> str:
    """layers.7.attention.qkv → layers.attention.qkv: what all joint blocks have in common."""
    return JOINT.sub("layers.", layer, count=1) if JOINT.match(layer) else layer


def _products(layers: list[Weighted]) -> tuple[tuple[int, int, int, int, int], ...]:
    most: dict[tuple[int, ...], int] = {}
    for updates in layers:
        here: dict[tuple[int, ...], int] = {}
        for _, update in updates:
            if isinstance(update, Kronecker):
                shape = (*update.left.shape, *update.right.shape)
                here[shape] = here.get(shape, 0) + 1
        for shape, count in here.items():
            most[shape] = max(most.get(shape, 0), count)
    return tuple((next(s for s in SLOTS if s >= count), *shape) for shape, count in sorted(most.items()))


# ---- branches ------------------------------------------------------------------------------------------------


class _LinearBranch:
    """Mixed into a linear layer's class. Its matrices are plain attributes: nothing else moves, casts or saves them."""

    lora_room: Room
    lora_down: Tensor  # (R, in)
    lora_up: Tensor  # (out, R)
    lora_left: list[Tensor]  # each (slots, a, b)
    lora_right: list[Tensor]  # each (slots, c, d)

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if self.lora_room.ranks:
            y = y + F.linear(F.linear(x, self.lora_down), self.lora_up)
        for left, right in zip(self.lora_left, self.lora_right):
            b, d = left.shape[2], right.shape[2]
            z = torch.einsum("...bd,scd->...sbc", x.unflatten(-1, (b, d)), right)
            y = y + torch.einsum("...sbc,sab->...ac", z, left).flatten(-2)
        return y


class _NormBranch:
    """Mixed into a norm's class: what a shift of its weight adds."""

    lora_shift: Tensor  # (width,), float32

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + F.rms_norm(x, self.normalized_shape, self.lora_shift.to(x.dtype), self.eps)


@lru_cache
def _branched(kind: type) -> type:
    """The class with a branch, one for each class without."""
    branch = _NormBranch if issubclass(kind, nn.RMSNorm) else _LinearBranch
    return type(f"{kind.__name__}WithLora", (branch, kind), {})


def _give_branch(module: nn.Module, room: Room, device: torch.device, dtype: torch.dtype) -> None:
    if "forward" in vars(module):
        raise RuntimeError(
            f"A hook (layer-wise casting, leaf-level offloading) took over the forward of {type(module).__name__}: "
            "it would leave the LoRA out. Use another way of saving memory."
        )
    if not issubclass(type(module), (_LinearBranch, _NormBranch)):
        module.__class__ = _branched(type(module))
    options = {"device": device, "dtype": dtype}
    module.lora_room, module.lora_place = room, (device, dtype)
    if room.shift:
        module.lora_shift = torch.zeros(module.normalized_shape, device=device)
        return
    module.lora_down = torch.zeros(room.ranks, module.in_features, **options)
    module.lora_up = torch.zeros(module.out_features, room.ranks, **options)
    module.lora_left = [torch.zeros(s, a, b, **options) for s, a, b, _, _ in room.products]
    module.lora_right = [torch.zeros(s, c, d, **options) for s, _, _, c, d in room.products]


def _take_branch(module: nn.Module) -> None:
    module.__class__ = type(module).__mro__[2]  # (with branch, branch, the class it had)
    for name in [name for name in vars(module) if name.startswith("lora_")]:
        delattr(module, name)


@torch.no_grad()
def _fill(module: nn.Module, room: Room, updates: Weighted) -> None:
    """Write the updates into the branch's own memory, zeros elsewhere: shapes and addresses stay."""
    if room.shift:
        module.lora_shift.zero_()
        for weight, update in updates:
            if isinstance(update, NormShift):
                module.lora_shift += weight * update.scale * update.shift.to(module.lora_shift)
        return
    for tensor in (module.lora_down, module.lora_up, *module.lora_left, *module.lora_right):
        tensor.zero_()
    start = 0
    used = [0] * len(room.products)
    for weight, update in updates:
        if isinstance(update, LowRank):
            stop = start + update.rank
            module.lora_down[start:stop] = update.down.to(module.lora_down)
            up = weight * update.scale * update.up.to(module.lora_up.device, torch.float32)
            module.lora_up[update.rows or slice(None), start:stop] = up.to(module.lora_up.dtype)
            start = stop
        elif isinstance(update, Kronecker):
            group = [shape for _, *shape in room.products].index([*update.left.shape, *update.right.shape])
            left = weight * update.scale * update.left.to(module.lora_up.device, torch.float32)
            module.lora_left[group][used[group]] = left.to(module.lora_up.dtype)
            module.lora_right[group][used[group]] = update.right.to(module.lora_right[group])
            used[group] += 1

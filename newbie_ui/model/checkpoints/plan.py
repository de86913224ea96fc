"""From a file's names to ours, and from its tensors to a module's.

Promises: every tensor of the module gets a value and every tensor of the file is accounted for, or there is a
`CheckpointError` that names the layout that was tried and the first names that do not fit; all of that before any
tensor is read. `fill_module` then moves tensors into place one by one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from newbie_ui.errors import CheckpointError
from newbie_ui.model.checkpoints.keys import ADAPTER, FP8_EXTRAS, FP8_FORMATS, FP8_SCALES, Layout, PartKeys
from newbie_ui.model.checkpoints.upload import Upload
from newbie_ui.model.checkpoints.weights import Weights

SHOWN = 3  # names listed in a message
MAX_QUANT_NOTE_BYTES = 4096


@dataclass(frozen=True)
class Slice:
    """Where a tensor of the file goes: rows of `target`, taken from rows of the source."""

    target: str
    of_target: tuple[int, int] = (0, 1)  # the k-th of n parts that are stacked
    of_source: tuple[int, int] = (0, 1)  # the k-th of n parts that it is cut into


@dataclass(frozen=True)
class Plan:
    """Which tensor of a file goes where. `shapes` are those of the whole targets."""

    part: PartKeys
    layout: Layout
    weights: Weights
    slices: Mapping[str, tuple[Slice, ...]]
    shapes: Mapping[str, tuple[int, ...]]
    rows: Mapping[tuple[str, int], slice]  # (target, k) → where its k-th stacked part goes
    scales: Mapping[str, str] = field(default_factory=dict)  # weight → name of its fp8 scale
    adapters: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # weight → names of lora_A and lora_B

    @property
    def size(self) -> int:
        """Bytes to be read."""
        return sum(self.weights.tensors[name].size for name in self.slices)

    def describe(self) -> str:
        return f"{self.part.part} in {self.weights.path} (read as: {self.layout.name})"


def make_plan(weights: Weights, part: PartKeys) -> Plan:
    """Recognise the layout of a file and rename all of it. Raises CheckpointError."""
    scales, names = _split_scales(weights)
    layout, prefix = _recognise(weights, names, part)
    adapters, names = _split_adapters(names)
    slices: dict[str, tuple[Slice, ...]] = {}
    for name in names:
        if any(re.fullmatch(pattern, name) for pattern in part.unused):
            continue
        ours = name.removeprefix(prefix)
        if layout.rows:
            ours = _renamed(ours, layout)
        slices[name] = _slices(ours)
    heights = _check_parts(f"{part.part} in {weights.path}", weights, slices)
    return Plan(part, layout, weights, slices, _shapes(heights), _rows(heights), scales, adapters)


def check_plan(plan: Plan, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a plan that leaves a hole, a stranger, or a wrong shape. `expected` is name → shape of the module."""
    missing = [n for n in expected if n not in plan.shapes and n not in plan.layout.fill]
    unknown = [n for n in plan.shapes if n not in expected]
    if missing:
        raise CheckpointError(
            f"The {plan.describe()} lacks {_count(missing)}, first {_first(missing)}. "
            "The download is not complete, or the file is of another model: download it again."
        )
    if unknown:
        theirs = [n for n, parts in plan.slices.items() if any(s.target in unknown for s in parts)]
        raise CheckpointError(
            f"The {plan.describe()} holds {_count(theirs)} that this model has no place for, first "
            f"{_first(theirs)}. It is of another model or version: use NewBie's own."
        )
    for name, shape in expected.items():
        given = plan.shapes.get(name, shape)
        if given != shape and _squeezed(given) != shape:
            raise CheckpointError(
                f"The {plan.describe()} has {name} of shape {list(given)} where {list(shape)} is expected. "
                "Its config and its weights do not belong together, or it is of another model."
            )


def fill_module(
    module: nn.Module,
    plan: Plan,
    dtype: torch.dtype,
    device: str | torch.device = "cpu",
    on_bytes: Callable[[int], None] | None = None,
    with_adapters: bool = False,
) -> None:
    """Give a module built on meta its weights, converted to dtype, one tensor at a time. Checks the plan first.

    Args:
        on_bytes: told the number of bytes of each tensor as it is read.
        with_adapters: add the file's task adapters to the weights they belong to (alpha / rank 1).
    """
    expected = {name: tuple(t.shape) for name, t in module.state_dict().items()}
    check_plan(plan, expected)
    state = {n: torch.full(expected[n], v, dtype=dtype, device=device) for n, v in plan.layout.fill.items()}
    small = {*plan.scales.values(), *(name for pair in plan.adapters.values() for name in pair)}
    extras = {name: tensor.to(torch.float32, copy=True) for name, tensor in plan.weights.stream(small)}
    upload = Upload(device)
    for name, tensor in plan.weights.stream(plan.slices):
        if on_bytes:
            on_bytes(plan.weights.tensors[name].size)
        tensor = _scaled(tensor, extras.get(plan.scales.get(name, "")))
        if with_adapters and name in plan.adapters:
            tensor = tensor + _adapter(*(extras[n] for n in plan.adapters[name]), tensor.shape)
        for part in plan.slices[name]:
            if part.target not in state or part.target in plan.layout.fill:
                state |= _rooms(_neighbours(part.target, plan.part.neighbours), expected, dtype, device)
            place = state[part.target]
            if part.of_target[1] > 1:
                place = place[plan.rows[part.target, part.of_target[0]]]
            upload.copy(place, tensor.chunk(part.of_source[1])[part.of_source[0]].reshape(place.shape))
    module.load_state_dict(state, strict=True, assign=True)
    _assert_real(module, plan)


def _neighbours(name: str, endings: tuple[str, ...]) -> tuple[str, ...]:
    """The names that are to lie together with this one, itself among them."""
    mine = next((ending for ending in endings if name.endswith(ending)), None)
    return (name,) if mine is None else tuple(name.removesuffix(mine) + ending for ending in endings)


def _rooms(
    names: tuple[str, ...],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: torch.dtype,
    device: str | torch.device,
) -> dict[str, torch.Tensor]:
    """Memory for these tensors, as rows of one."""
    if len(names) == 1:
        return {names[0]: torch.empty(shapes[names[0]], dtype=dtype, device=device)}
    heights = [shapes[name][0] for name in names]
    whole = torch.empty((sum(heights), *shapes[names[0]][1:]), dtype=dtype, device=device)
    return dict(zip(names, whole.split(heights)))


# ---- recognising ---------------------------------------------------------------------------------------------


def _recognise(weights: Weights, names: list[str], part: PartKeys) -> tuple[Layout, str]:
    held = {n.replace(".parametrizations.weight.original", ".weight") for n in names}
    for layout in part.layouts:
        for prefix in part.prefixes:
            if prefix + layout.marker in held:
                return layout, prefix
    tried = " and ".join(f"{layout.name} ({layout.marker})" for layout in part.layouts)
    other = next((m for p, m in part.strangers if any(re.fullmatch(p, n) for n in names)), "")
    looks = f"It looks like {other}. " if other else ""
    raise CheckpointError(
        f"{weights.path} is not a {part.part}: looked for {tried}. {looks}"
        f"Its first tensors are {_first(sorted(names)) or 'none'}."
    )


def _renamed(name: str, layout: Layout) -> str:
    for theirs, ours in layout.rows:
        name = name.replace(theirs, ours, 1)
    return name


def _slices(name: str) -> tuple[Slice, ...]:
    """The row syntax of `keys`: "a.q|k.weight" is cut, "a.qkv#1/3.weight" is stacked."""
    stacked = re.fullmatch(r"(.*)#(\d+)/(\d+)(.*)", name)
    if stacked:
        head, k, n, tail = stacked.groups()
        return (Slice(head + tail, of_target=(int(k), int(n))),)
    if "|" in name:
        head, middle, tail = re.fullmatch(r"(.*\.)?([^.]*\|[^.]*)(\..*)?", name).groups("")
        parts = middle.split("|")
        return tuple(Slice(head + p + tail, of_source=(k, len(parts))) for k, p in enumerate(parts))
    return (Slice(name),)


def _check_parts(
    what: str, weights: Weights, slices: Mapping[str, tuple[Slice, ...]]
) -> dict[str, list[tuple[int, ...]]]:
    """Target → shapes of its stacked parts, in order. Each must be there once, of a type that can be read."""
    given: dict[str, dict[int, tuple[int, ...]]] = {}
    stacked: dict[str, int] = {}
    for name, parts in slices.items():
        info = weights.tensors[name]
        if info.dtype is None or not info.dtype.is_floating_point:
            raise CheckpointError(
                f"The {what} has {name} as {info.kind}, a quantised or packed form that is not read. "
                "Use the bf16, fp16, fp32 or fp8 version of this model."
            )
        for part in parts:
            k, n = part.of_target
            if k in given.setdefault(part.target, {}):
                raise CheckpointError(f"The {what} gives {part.target} twice, last as {name}. Download it again.")
            rows = info.shape[0] // part.of_source[1] if info.shape else 0
            given[part.target][k] = (rows, *info.shape[1:]) if info.shape else ()
            stacked[part.target] = n
    for target, parts in given.items():
        if len(parts) < stacked[target]:
            raise CheckpointError(f"The {what} has only {len(parts)} of {stacked[target]} parts of {target}.")
    return {target: [shape for _, shape in sorted(parts.items())] for target, parts in given.items()}


def _shapes(heights: Mapping[str, list[tuple[int, ...]]]) -> dict[str, tuple[int, ...]]:
    return {
        target: parts[0] if len(parts) == 1 else (sum(shape[0] for shape in parts), *parts[0][1:])
        for target, parts in heights.items()
    }


def _rows(heights: Mapping[str, list[tuple[int, ...]]]) -> dict[tuple[str, int], slice]:
    rows = {}
    for target, parts in heights.items():
        start = 0
        for k, shape in enumerate(parts):
            rows[target, k] = slice(start, start + (shape[0] if shape else 0))
            start = rows[target, k].stop
    return rows


# ---- scales and adapters -------------------------------------------------------------------------------------


def _split_scales(weights: Weights) -> tuple[dict[str, str], list[str]]:
    """(weight → its scale, all names that are weights). Refuses quantised formats that are not plain fp8."""
    scales, names = {}, []
    for name in weights.tensors:
        ending = next((end for end in FP8_SCALES if name.endswith(end)), None)
        if ending:
            scales[name.removesuffix(ending) + ".weight"] = name
        elif any(re.fullmatch(pattern, name) for pattern in FP8_EXTRAS):
            if name.endswith(".comfy_quant"):
                _check_quant_note(weights, name)
        else:
            names.append(name)
    for weight in list(scales):
        if weight not in weights.tensors:
            raise CheckpointError(f"{weights.path} has the scale {scales[weight]} but not {weight}. Download it again.")
    return scales, names


def _check_quant_note(weights: Weights, name: str) -> None:
    if weights.tensors[name].size > MAX_QUANT_NOTE_BYTES:
        raise CheckpointError(f"{weights.path} has {name} of {weights.tensors[name].size} bytes, which is no note.")
    for _, tensor in weights.stream([name]):
        note = bytes(tensor.to(torch.uint8).flatten().tolist())
    try:
        kind = str(json.loads(note)["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{weights.path} has {name} that cannot be read. Download it again.") from error
    if kind not in FP8_FORMATS:
        raise CheckpointError(
            f"{weights.path} is quantised as {kind[:40]!r}, which is not read. "
            f"Use the bf16 or fp8 version of this model ({', '.join(FP8_FORMATS)})."
        )


def _scaled(tensor: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    """fp8 weights times their scale: one number, or one for each row."""
    if scale is None:
        return tensor
    if scale.numel() > 1:
        scale = scale.reshape(-1, *[1] * (tensor.dim() - 1))
    return tensor.to(torch.float32) * scale


def _split_adapters(names: list[str]) -> tuple[dict[str, tuple[str, str]], list[str]]:
    pairs: dict[str, dict[str, str]] = {}
    plain = []
    for name in names:
        head, mark, which = name.partition(ADAPTER)
        if mark and which in ("lora_A", "lora_B"):
            pairs.setdefault(head + ".parametrizations.weight.original", {})[which] = name
        else:
            plain.append(name)
    return {k: (v["lora_A"], v["lora_B"]) for k, v in pairs.items() if len(v) == 2}, plain


def _adapter(a: torch.Tensor, b: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """The first task's update: B·A of a linear layer (task, out, r)·(task, r, in), A·B of an embedding."""
    a, b = a[0], b[0]
    return (b @ a if (b.shape[0], a.shape[1]) == tuple(shape) else a @ b).reshape(shape)


# ---- the end -------------------------------------------------------------------------------------------------


def _assert_real(module: nn.Module, plan: Plan) -> None:
    left = [n for n, t in (*module.named_parameters(), *module.named_buffers()) if t.is_meta]
    if left:
        raise CheckpointError(f"The {plan.describe()} left {_first(left)} without values. Download it again.")


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """1×1 convolutions are linear layers written with two more axes."""
    return shape[:2] if len(shape) == 4 and shape[2:] == (1, 1) else shape


def _count(names: list[str]) -> str:
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''}"


def _first(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")

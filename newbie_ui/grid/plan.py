"""A grid as data: two axes over one request become cells, in the order in which they are best made.

Promises: at most `MAX_CELLS` single pictures; every cell's request is checked beforehand, so that a grid is refused as
a whole or not at all; without a seed one is drawn for the whole grid, so that only what the axes name differs.
`estimate` counts with the machine's own medians, and says when it does not know. Standard library only.

Order: cells of one preset together (a change of preset may load and compile anew), then of one size, then of one set
of LoRAs, then of one prompt (its embedding is computed once); each group stands where its first cell stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from newbie_ui.engine.base import PresetChoice
from newbie_ui.errors import RequestError
from newbie_ui.grid.axes import Axis, Known, Value, read_axis
from newbie_ui.grid.values import MAX_VALUES, GridError
from newbie_ui.request import GenerateRequest, random_seed

MAX_CELLS = 64
SETTINGS = {  # what is told under a sheet where no axis varies it
    "seed": "seed {}",
    "steps": "{} steps",
    "guidance_scale": "guidance {:g}",
    "sampler": "{}",
    "schedule": "{}",
    "shift": "shift {:g}",
}
Side = tuple[str, str]  # axis id, typed values
ONE = Value("", lambda request: request)


@dataclass(frozen=True)
class Cell:
    """One picture of a grid. Columns and rows count from 0."""

    column: int
    row: int
    request: GenerateRequest


@dataclass(frozen=True)
class Plan:
    """A grid that can be made: its axes, and its cells in the order of making."""

    base: GenerateRequest
    x: Axis
    y: Axis | None
    cells: tuple[Cell, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(value.label for value in self.x.values)

    @property
    def rows(self) -> tuple[str, ...]:
        return tuple(value.label for value in self.y.values) if self.y else ("",)

    @property
    def title(self) -> str:
        return f"{self.x.label} x {self.y.label}" if self.y else self.x.label

    def settings(self) -> str:
        """What is the same in all pictures, in one line: "seed 5, 20 steps, guidance 4.5"."""
        varied = self.x.fields | (self.y.fields if self.y else frozenset())
        known = [(name, words, getattr(self.base, name)) for name, words in SETTINGS.items() if name not in varied]
        return ", ".join(words.format(value) for _, words, value in known if value is not None)


@dataclass(frozen=True)
class Estimate:
    """What a grid will probably take. `seconds` is None when `unknown` of its pictures were never timed here."""

    pictures: int
    seconds: float | None
    unknown: int = 0
    measured: bool = False  # False: scaled from other sizes or step counts


def read_plan(base: GenerateRequest, x: Side, y: Side | None, known: Known) -> Plan:
    """The plan of what was typed; `y` may be None or have an empty id. Raises GridError with its side."""
    base = replace(base, images=1)
    axis_x = _read(x, base, known, "x")
    axis_y = _read(y, base, known, "y") if y and y[0] else None
    return make_plan(base, axis_x, axis_y)


def _read(side: Side, base: GenerateRequest, known: Known, name: str) -> Axis:
    try:
        return read_axis(side[0], side[1], base, known)
    except GridError as error:
        raise GridError(str(error), name) from error


def make_plan(base: GenerateRequest, x: Axis, y: Axis | None = None) -> Plan:
    """All combinations, checked and in order. Raises GridError."""
    _refuse_conflict(x, y)
    _refuse_many(x, y)
    base = replace(base, images=1, seed=random_seed() if base.seed is None else base.seed)
    rows = y.values if y else (ONE,)
    cells = [
        Cell(column, row, _request(base, (x, across), (y, down)))
        for row, down in enumerate(rows)
        for column, across in enumerate(x.values)
    ]
    return Plan(base, x, y, tuple(ordered(cells)))


def _request(base: GenerateRequest, *sides: tuple[Axis | None, Value]) -> GenerateRequest:
    """The request of one cell: wholes before their parts."""
    chosen = sorted(((axis, value) for axis, value in sides if axis), key=lambda side: side[0].turn)
    request = base
    try:
        for _, value in chosen:
            request = value.change(request)
        request = request.checked()
    except (RequestError, GridError) as error:
        where = ", ".join(f"{axis.label} {value.label[:40]!r}" for axis, value in chosen)
        raise GridError(f"{error} This is the picture with {where}.") from error
    if not request.prompt.strip():
        raise GridError("The prompt is empty. Fill in a character, or load the example.")
    return request


def _refuse_conflict(x: Axis, y: Axis | None) -> None:
    if y is None:
        return
    if x.id == y.id and x.id != "replace":
        raise GridError(f"Both sides vary {x.label}. Choose another axis for one of them.", "y")
    if x.fields & y.fields:
        raise GridError(f"{x.label} and {y.label} set the same thing. Choose another axis for one of them.", "y")


def _refuse_many(x: Axis, y: Axis | None) -> None:
    across, down = len(x.values), len(y.values) if y else 1
    for axis in filter(None, (x, y)):
        if not 1 <= len(axis.values) <= MAX_VALUES:
            raise GridError(f"{axis.label} has {len(axis.values)} values. Use 1 to {MAX_VALUES}.")
    if across * down > MAX_CELLS:
        fit = MAX_CELLS // across
        raise GridError(
            f"{across} x {down} is {across * down} pictures; {MAX_CELLS} are the most. "
            f"Use {fit} or fewer values of {y.label if y else x.label}.",
            "y" if y else "x",
        )


def ordered(cells: Iterable[Cell]) -> list[Cell]:
    """The cells in the order of making; see the module's docstring."""
    cells = list(cells)
    ranks = [_ranks(map(key, cells)) for key in (_preset, _size, _loras, _prompt)]
    keys = [tuple(rank[key(cell)] for rank, key in zip(ranks, (_preset, _size, _loras, _prompt))) for cell in cells]
    return [cell for _, _, cell in sorted(zip(keys, range(len(cells)), cells), key=lambda item: item[:2])]


def _ranks(values: Iterable[Any]) -> Mapping[Any, int]:
    return {value: rank for rank, value in enumerate(dict.fromkeys(values))}


def _preset(cell: Cell) -> Any:
    return cell.request.preset


def _size(cell: Cell) -> Any:
    return cell.request.width, cell.request.height


def _loras(cell: Cell) -> Any:
    return cell.request.loras


def _prompt(cell: Cell) -> Any:
    return cell.request.system_prompt, cell.request.prompt, cell.request.negative_prompt


# ---- what it will cost ----------------------------------------------------------------------------------------------

Presets = Callable[[GenerateRequest], Sequence[PresetChoice]]


def cell_costs(plan: Plan, presets: Presets) -> tuple[tuple[float | None, bool], ...]:
    """Seconds of each cell, in the order of making, or None; and whether just this was measured here."""
    asked: dict[Any, Sequence[PresetChoice]] = {}
    found = []
    for cell in plan.cells:
        request = cell.request
        key = (request.width, request.height, request.steps)
        if key not in asked:
            asked[key] = presets(request)
        found.append(_cost(asked[key], request.preset))
    return tuple(found)


def _cost(choices: Sequence[PresetChoice], preset: str) -> tuple[float | None, bool]:
    fits = [choice for choice in choices if choice.fits]
    named = [choice for choice in choices if choice.name == preset]
    chosen = (named or [choice for choice in fits if choice.recommended] or fits or [None])[0]
    return (chosen.median_s, chosen.measured) if chosen else (None, False)


def estimate(plan: Plan, presets: Presets) -> Estimate:
    """Pictures and seconds of the whole grid, without what waits in the queue before it."""
    costs = cell_costs(plan, presets)
    unknown = sum(seconds is None for seconds, _ in costs)
    total = None if unknown else sum(seconds for seconds, _ in costs if seconds is not None)
    return Estimate(len(costs), total, unknown, not unknown and all(measured for _, measured in costs))

"""Where a character stands: position tags ⇄ a cell of the pad, 7 columns by 3 depths.

Promises: `read(write("", cell)) == cell` for every cell; every alias seen in prompts is read, in underscores or
spaces, English, Chinese or Japanese; `write` changes only the words that say the place and keeps the others.
Does not know: pixels. NewBie has no list of allowed positions; these are the words that its prompts use.
"""

from __future__ import annotations

import re
from typing import NamedTuple

COLUMNS = ("far_left", "left_side", "center_left", "center", "center_right", "right_side", "far_right")
DEPTHS = ("background", "", "foreground")  # back, middle (not written), front
CENTER, MIDDLE = 3, 1

_COLUMN_ALIASES = (
    "far_left leftmost extreme_left far_left_side left_edge 最左 最左侧 最左側 左端",
    "left_side left left_hand_side 左 左侧 左側 左边 左邊",
    "center_left left_center left_of_center middle_left mid_left left_middle 中央左 中央偏左 中左 中左侧",
    "center middle central centered center_side center_stage 中央 中间 中間 居中 中心 真ん中",
    "center_right right_center right_of_center middle_right mid_right right_middle 中央右 中央偏右 中右 中右侧",
    "right_side right right_hand_side 右 右侧 右側 右边 右邊",
    "far_right rightmost extreme_right far_right_side right_edge 最右 最右侧 最右側 右端",
)
_DEPTH_ALIASES = (
    "background back rear behind far_background backmost 背景 后景 後景 后面 後ろ 奥",
    "midground middle_ground middle_distance 中景",
    "foreground front in_front frontmost near_foreground 前景 前面 手前 前",
)
_COLUMN = {alias: i for i, aliases in enumerate(_COLUMN_ALIASES) for alias in aliases.split()}
_DEPTH = {alias: i for i, aliases in enumerate(_DEPTH_ALIASES) for alias in aliases.split()}
_ITEM = re.compile(r"[^,，、]+")
_FILLER = re.compile(
    r"^(?:standing_|sitting_|placed_)?(?:on|at|in|to)_(?:the_)?|_of_(?:the_)?(?:frame|image|picture|scene)$"
)


class Cell(NamedTuple):
    """Column 0 (far left) to 6 (far right), depth 0 (back), 1 (middle), 2 (front)."""

    column: int
    depth: int = MIDDLE


def read(value: str) -> Cell | None:
    """The cell that a position value names, or None if it names none."""
    column = depth = None
    for item in _ITEM.findall(value):
        kind, place = _meaning(item)
        if kind == "column" and column is None:
            column = place
        elif kind == "depth" and depth is None:
            depth = place
    if column is None and depth is None:
        return None
    return Cell(CENTER if column is None else column, MIDDLE if depth is None else depth)


def write(value: str, cell: Cell) -> str:
    """The value with its place changed to this cell; other words of it stay where they are."""
    if read(value) == cell:
        return value
    spaces = " " in "".join(item.strip() for item in _ITEM.findall(value) if _meaning(item)[0])
    words = [COLUMNS[cell.column], DEPTHS[cell.depth]]
    if spaces:
        words = [word.replace("_", " ") for word in words]
    kept = [(item.strip(), _meaning(item)[0]) for item in _ITEM.findall(value) if item.strip()]
    first = next((i for i, (_, kind) in enumerate(kept) if kind), 0)
    others = [item for item, kind in kept if not kind]
    place = sum(1 for _, kind in kept[:first] if not kind)
    return ", ".join([*others[:place], *(word for word in words if word), *others[place:]])


def tag(cell: Cell) -> str:
    """The tags of a cell: `center_left`, or `center_left, foreground`."""
    return write("", cell)


def from_point(x: float, y: float = 0.5) -> Cell:
    """The cell of a point of the picture, 0 to 1 from left and from top: higher up is further back."""
    x, y = min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)
    return Cell(min(6, int(x * 7)), 0 if y < 0.34 else 2 if y > 0.66 else 1)


def spread(count: int) -> tuple[Cell, ...]:
    """Places for so many characters side by side, from left to right."""
    columns = {0: (), 1: (3,), 2: (2, 4), 3: (1, 3, 5), 4: (1, 2, 4, 5), 5: (1, 2, 3, 4, 5), 6: (0, 1, 2, 4, 5, 6)}
    chosen = columns.get(count) or tuple(min(6, i * 7 // count) for i in range(count))
    return tuple(Cell(column) for column in chosen)


def _meaning(item: str) -> tuple[str, int]:
    """("column" | "depth" | "", place) of one item of a position value."""
    name = re.sub(r"[\s_\-]+", "_", item.strip().lower()).replace("centre", "center").replace("\\", "")
    for word in (name, _FILLER.sub("", _FILLER.sub("", name))):
        if word in _COLUMN:
            return "column", _COLUMN[word]
        if word in _DEPTH:
            return "depth", _DEPTH[word]
    return "", -1

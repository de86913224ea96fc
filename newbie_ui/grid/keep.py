"""The sheet of a finished grid, drawn from the stored pictures and stored like any other, with what made it.

Promises: the sheet is a picture of the gallery in the collection `COLLECTION`; its record holds the request the grid
began with, so that restoring it fills the form as it was, and in its facts both axes and every cell's picture by id.
Its timings stay empty: it cost nothing of its own, and no statistic of this machine counts it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from newbie_ui.errors import PictureError
from newbie_ui.gallery.pictures import open_picture
from newbie_ui.grid.lettering import printable
from newbie_ui.grid.plan import Plan
from newbie_ui.grid.sheet import Place, Tile, draw_sheet
from newbie_ui.request import GenerateResult, Memory, ResolvedRequest, Timings

COLLECTION = "Grids"
LABEL_CHARS = 200  # of one value in the record
NUMBERS = ("width", "height", "steps", "guidance_scale", "shift")


@dataclass(frozen=True)
class Outcome:
    """What became of one cell: its picture, or why there is none."""

    result: GenerateResult | None = None
    note: str = "not made"
    failed: bool = False


def draw(plan: Plan, outcomes: Mapping[Place, Outcome]) -> Image.Image:
    """The sheet of what was made; at least one picture was."""
    return draw_sheet(plan, {place: tile_of(outcome) for place, outcome in outcomes.items()}, caption(plan, outcomes))


def tile_of(outcome: Outcome) -> Tile:
    result = outcome.result
    if result is None:
        return Tile((1, 1), note=outcome.note, failed=outcome.failed)
    size = (result.resolved.width, result.resolved.height)
    return Tile(size, lambda: picture_of(result), note="no longer there")


def picture_of(result: GenerateResult) -> Image.Image | None:
    """The pixels of a result, None when its file was deleted or damaged since."""
    if result.image is not None:
        return result.image
    try:
        return open_picture(result.path or "")
    except PictureError:
        return None


def caption(plan: Plan, outcomes: Mapping[Place, Outcome]) -> str:
    """Which model and settings all pictures share, in one line."""
    first = first_of(outcomes)
    size = "" if "width" in varied(plan) or "height" in varied(plan) else f"{first.width} x {first.height}"
    preset = "" if "preset" in varied(plan) else f"preset {first.preset}"
    return ", ".join(filter(None, (first.model, size, plan.settings(), preset)))


def first_of(outcomes: Mapping[Place, Outcome]) -> ResolvedRequest:
    """How the first picture of the sheet was made."""
    return next(outcomes[place].result.resolved for place in sorted(outcomes, key=_reading) if outcomes[place].result)


def _reading(place: Place) -> tuple[int, int]:
    return place[1], place[0]


def varied(plan: Plan) -> frozenset[str]:
    return plan.x.fields | (plan.y.fields if plan.y else frozenset())


def sheet_result(plan: Plan, outcomes: Mapping[Place, Outcome], image: Image.Image | None = None) -> GenerateResult:
    """The sheet as the gallery takes it."""
    base, first = plan.base, first_of(outcomes)
    asked = {name: getattr(base, name) for name in NUMBERS}
    resolved = replace(
        first,
        request=base,
        seed=base.seed,
        system_prompt=first.system_prompt if base.system_prompt is None else base.system_prompt,
        preset=base.preset if "preset" in varied(plan) else first.preset,
        loras=tuple((use.name, use.weight, "") for use in base.loras),
        prompt=None,
        negative_prompt=None,
        **{name: getattr(first, name) if value is None else value for name, value in asked.items()},
    )
    return GenerateResult(
        id="",  # the gallery gives one
        resolved=resolved,
        timings=Timings(),
        memory=Memory(),
        created_at=time.time(),
        facts=facts_of(plan, outcomes),
        image=image,
    )


def facts_of(plan: Plan, outcomes: Mapping[Place, Outcome]) -> dict[str, str]:
    """The grid in the record: axes with their values, and the pictures' ids row by row ("" where there is none)."""
    rows = [[_id(outcomes.get((x, y))) for x in range(len(plan.columns))] for y in range(len(plan.rows))]
    facts = {"grid": f"{len(plan.columns)} x {len(plan.rows)}", "grid_x": printable(plan.x.label)}
    facts["grid_x_values"] = _json([printable(label)[:LABEL_CHARS] for label in plan.columns])
    if plan.y:
        facts["grid_y"] = printable(plan.y.label)
        facts["grid_y_values"] = _json([printable(label)[:LABEL_CHARS] for label in plan.rows])
    return facts | {"grid_pictures": _json(rows)}


def _id(outcome: Outcome | None) -> str:
    return outcome.result.id if outcome and outcome.result else ""


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def keep_sheet(plan: Plan, outcomes: Mapping[Place, Outcome], gallery: Any) -> str:
    """Draw the sheet and put it into the gallery; returns its id. Raises OSError when it cannot be written."""
    stored = gallery.add(sheet_result(plan, outcomes, draw(plan, outcomes)))
    gallery.collect(COLLECTION, [stored.id])
    return stored.id

"""The X/Y grid on the Create tab: two axis pickers, the total beforehand, progress, the sheet.

The form's own values are the grid's base. What is typed is checked by the server each time it changes; the run belongs
to the process (`newbie_ui.grid.runner`), so every page shows the same run, also one that was opened later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from newbie_ui.errors import RequestError, UserError
from newbie_ui.grid.axes import Known, Offer, offered
from newbie_ui.grid.plan import Estimate, Plan, Side, estimate, read_plan
from newbie_ui.grid.runner import CellView, GridRunner, RunView
from newbie_ui.grid.values import GridError
from newbie_ui.prompt.document import NAME_FIELDS
from newbie_ui.request import GenerateRequest
from newbie_ui.ui import compose
from newbie_ui.ui.access import client_of
from newbie_ui.ui.widgets import DIRECT, widget

if TYPE_CHECKING:
    from newbie_ui.ui.page import PageContext

Value = dict[str, Any]
NOTE_CHARS = 300


def build(ctx: PageContext) -> Panel:
    """Put the fold where the layout stands now; `connect` ties it to the form."""
    return Panel(ctx)


class Panel:
    """The fold and its handlers; they take and return plain values."""

    def __init__(self, ctx: PageContext):
        self.engine = ctx.engine
        self.runner = GridRunner(ctx.engine, ctx.gallery)
        self.widget = widget(
            "grid", {}, events=("check", "run"), server_functions=[self.standing, self.stop], elem_id="nb-grid"
        )

    def connect(
        self, given: Sequence[gr.components.Component], asked: Callable[[Sequence[Any]], GenerateRequest]
    ) -> None:
        """`given` are the form's components, the editor first; `asked` makes a request of their values."""
        self._asked = asked
        inputs = [self.widget, *given]
        self.widget.check(self.check, inputs, self.widget, trigger_mode="multiple", **DIRECT)
        self.widget.run(self.run, inputs, self.widget, **DIRECT)

    # ---- handlers ----------------------------------------------------------------------------------------------

    def check(self, typed: Any, *values: Any) -> Value:
        """What may be chosen, and what the grid that is typed would come to."""
        text, known = self._prompt(values[0])
        answer: Value = {"number": time.monotonic_ns(), "axes": [offer_row(o) for o in offered(text, known)]}
        if not side_of(typed, "x")[0]:
            return {**answer, "total": None, "error": None}
        try:
            plan = self._plan(typed, values, known)
        except UserError as error:
            return {**answer, "total": None, "error": complaint(error)}
        return {**answer, "total": total_row(plan, estimate(plan, self.engine.presets)), "error": None}

    def run(self, request: gr.Request, typed: Any, *values: Any) -> Value:
        """Begin the grid that is typed, or say why not."""
        answer: Value = {"number": time.monotonic_ns(), "error": None}
        try:
            self.runner.start(self._plan(typed, values, self._prompt(values[0])[1]), client_of(request))
        except UserError as error:
            return {**answer, "error": complaint(error)}
        return {**answer, "started": True, "run": self.standing()}

    def standing(self, _message: Any = None) -> Value | None:
        """How the present or the last grid of this process stands."""
        view = self.runner.view()
        return None if view is None else run_row(view)

    def stop(self, message: Any) -> Value | None:
        """Stop the run of this id."""
        id = message.get("id") if isinstance(message, Mapping) else None
        if isinstance(id, str) and id:
            self.runner.stop(id)
        return self.standing()

    # ---- from the form -----------------------------------------------------------------------------------------

    def _plan(self, typed: Any, values: Sequence[Any], known: Known) -> Plan:
        x, y = side_of(typed, "x"), side_of(typed, "y")
        if not x[0]:
            raise GridError("Choose what the columns vary.", "x")
        return read_plan(self._asked(values), x, y if y[0] else None, known)

    def _prompt(self, editor: Any) -> tuple[str, Known]:
        """The text that is generated, and what the machine and the cards know."""
        made = compose.draft(editor)
        presets = tuple((choice.name, choice.label) for choice in self.engine.presets() if choice.fits)
        return compose.effective(made), Known(presets, self.engine.loras(), tuple(compose.slots(made)))


# ---- plain data for the script -----------------------------------------------------------------------------------


def side_of(typed: Any, name: str) -> Side:
    """One side as a browser sends it: axis id and typed values."""
    side = typed.get(name) if isinstance(typed, Mapping) else None
    id, text = (side.get("id"), side.get("text")) if isinstance(side, Mapping) else ("", "")
    return (id if isinstance(id, str) else "", text if isinstance(text, str) else "")


def offer_row(offer: Offer) -> Value:
    field = "n" if offer.name in NAME_FIELDS else offer.name
    return {
        "id": offer.id,
        "group": offer.group,
        "label": offer.label,
        "example": offer.example,
        "kind": offer.kind,
        "field": field,
        "number": offer.number,
    }


def complaint(error: UserError) -> Value:
    """A refusal, with the side to mark and, for a value of the form, its field."""
    field = error.field if isinstance(error, RequestError) else None
    return {"message": str(error), "side": getattr(error, "side", ""), "field": field}


def total_row(plan: Plan, found: Estimate) -> Value:
    return {
        "columns": len(plan.columns),
        "rows": len(plan.rows),
        "pictures": found.pictures,
        "seconds": found.seconds,
        "measured": found.measured,
    }


def run_row(view: RunView) -> Value:
    """A run for the script: its cells in reading order."""
    cells = sorted(view.cells, key=lambda cell: (cell.cell.row, cell.cell.column))
    return {
        "id": view.id,
        "state": view.state,
        "active": view.active,
        "title": view.plan.title,
        "columns": list(view.plan.columns),
        "rows": list(view.plan.rows),
        "cells": [cell_row(cell) for cell in cells],
        "done": view.count("done"),
        "failed": view.count("failed"),
        "total": len(cells),
        "progress": sum(1.0 if cell.ended else cell.progress for cell in cells) / max(1, len(cells)),
        "eta": view.eta_s,
        "sheet": view.sheet,
        "message": view.message,
    }


def cell_row(view: CellView) -> Value:
    result = view.outcome.result
    return {
        "state": view.state,
        "picture": result.id if result and result.path else "",
        "note": view.outcome.note[:NOTE_CHARS] if view.outcome.failed else "",
    }

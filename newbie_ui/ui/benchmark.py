"""The Benchmark tab: what pictures cost on this machine, and a run that measures every preset that fits.

This file is wiring; figures are made in `bench_views.py`, runs in `measuring.py`. On a shared page the run is off: it
would keep the device from everyone else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from newbie_ui.errors import UserError
from newbie_ui.ui import bench_views as views
from newbie_ui.ui import ladder
from newbie_ui.ui.access import is_shared
from newbie_ui.ui.measuring import Measuring, Run
from newbie_ui.ui.shelf import Shelf
from newbie_ui.ui.widgets import widget

if TYPE_CHECKING:
    from newbie_ui.ui.page import PageContext

Value = dict[str, Any]
SHOWN_PICTURES = 120
KEPT_RUNS = 20


def build(ctx: PageContext) -> None:
    """Fill the tab."""
    tab = BenchmarkTab(ctx)
    functions = [tab.bench_now, tab.bench_start, tab.bench_stop, tab.ladder_start, tab.ladder_stop]
    widget("benchmark", {}, server_functions=functions, elem_id="nb-benchmark")


class BenchmarkTab:
    """What the widget asks for; safe to call from any thread."""

    def __init__(self, ctx: PageContext):
        self.ctx = ctx
        self.shelf = Shelf(ctx.gallery)
        self.measuring = Measuring(ctx.engine)
        self.ladder = ladder.Ladder(ctx.settings)
        self.monitor = views.Monitor()
        self.runs: list[Run] = []

    def bench_now(self, _: Any = None) -> Value:
        """Everything the tab shows, fresh."""
        status = self.ctx.engine.status()
        same = views.comparable(self.shelf.made(SHOWN_PICTURES), status)
        choices = self.ctx.engine.presets(views.request_like(same))
        labels = {choice.name: choice.label for choice in choices}
        run = self.measuring.run
        self._keep(run)
        return {
            "may": self._may(),
            "subject": views.subject(status, same),
            "run": views.run_value(run, labels),
            "presets": views.preset_rows(choices, same, run),
            "pictures": [m.row() for m in same],
            "key": views.key_figures(same, status, run, len(same), same[0].created_at if same else None),
            "monitor": self.monitor.read(status),
            "runs": [run_row(old, labels) for old in reversed(self.runs)],
            "ladder": self._ladder(),
        }

    def bench_start(self, message: Any) -> Value:
        """Begin to measure presets; an answer with `error` says why not."""
        names = message.get("presets") if isinstance(message, Mapping) else None
        if not self._may():
            return {"error": "This page is shared: measuring is off."}
        try:
            self.measuring.start([name for name in names or () if isinstance(name, str)])
        except UserError as error:
            return {"error": str(error)}
        return {}

    def bench_stop(self, _: Any = None) -> Value:
        """Stop after the present step."""
        if self._may():
            self.measuring.stop()
        return {}

    def ladder_start(self, _: Any = None) -> Value:
        """Begin to measure the ladder; an answer with `error` says why not."""
        if not self._may():
            return {"error": "This page is shared: measuring is off."}
        try:
            self.ladder.start()
        except UserError as error:
            return {"error": str(error)}
        return {}

    def ladder_stop(self, _: Any = None) -> Value:
        """End the ladder's run."""
        if self._may():
            self.ladder.stop()
        return {}

    def _ladder(self) -> Value:
        runs = self.ladder.runs()
        return {
            "running": self.ladder.running,
            "line": self.ladder.line,
            "error": self.ladder.error,
            "proof": ladder.proof(runs[-1] if runs else None),
            "runs": [ladder.row(run) for run in reversed(runs)],
            "export": runs[-1] if runs else None,
        }

    def _may(self) -> bool:
        return not is_shared(self.ctx.settings)

    def _keep(self, run: Run) -> None:
        """Remember finished runs of this session of the server, newest last."""
        if not run.running and run.figures and run not in self.runs:
            self.runs = [*self.runs, run][-KEPT_RUNS:]


def run_row(run: Run, labels: Mapping[str, str]) -> Value:
    """One line of the list of runs: when, which presets, the best median."""
    medians = [f.median_s for f in run.figures if f.median_s is not None]
    what = ", ".join(labels.get(f.preset, f.preset) for f in run.figures)
    return {"at": run.started_at, "what": what, "figure": f"{min(medians):.2f}" if medians else "–"}

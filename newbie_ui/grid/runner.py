"""Makes a grid: one cell after the other as ordinary jobs of the engine, then the sheet.

Promises: the run belongs to the process and goes on when every page is closed; `view` tells anyone at any time how it
stands; at most `AHEAD` of its jobs are in the queue at once, so that other people and the artist's own next picture do
not wait for the whole grid; a cell that fails is marked and the next one is made; `stop` ends it within one step and
the sheet shows what there is. One grid is made at a time. A run is lost with the process, its pictures are not.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from newbie_ui.engine.base import Engine, EngineState
from newbie_ui.errors import EngineError, NewbieError, UserError
from newbie_ui.grid.keep import Outcome, keep_sheet
from newbie_ui.grid.plan import Cell, Plan, cell_costs
from newbie_ui.grid.values import GridError
from newbie_ui.request import Encoded, Event, Failed, Picture, Step

log = logging.getLogger(__name__)

AHEAD = 2  # one is made, one waits: the device never idles between them
RETRY_S = 1.0  # when the queue is full
SERVING = (EngineState.OPENING, EngineState.READY, EngineState.BUSY)
CELL_ENDS = ("done", "failed", "left out")
NOT_MADE = Outcome()


@dataclass(frozen=True)
class CellView:
    """How one cell stands. `state`: waiting, queued, making, done, failed, left out."""

    cell: Cell
    state: str = "waiting"
    progress: float = 0.0
    outcome: Outcome = NOT_MADE

    @property
    def ended(self) -> bool:
        return self.state in CELL_ENDS


@dataclass(frozen=True)
class RunView:
    """How a run stands. `state`: running, stopping, drawing, done, stopped, failed."""

    id: str
    plan: Plan
    state: str
    cells: tuple[CellView, ...]  # in the order of making
    eta_s: float | None = None
    sheet: str = ""  # gallery id
    message: str = ""

    @property
    def active(self) -> bool:
        return self.state in ("running", "stopping", "drawing")

    def count(self, state: str) -> int:
        return sum(cell.state == state for cell in self.cells)


@dataclass(eq=False)
class _Run:
    """A run as its thread sees it. Changed under the runner's lock."""

    plan: Plan
    client: str
    cells: list[CellView]
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: str = "running"
    costs: tuple[float | None, ...] = ()
    jobs: list[str] = field(default_factory=list)  # in the queue or running
    stop: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    sheet: str = ""
    message: str = ""


class GridRunner:
    """All methods may be called from any thread and return at once (except `wait`).

    Args:
        engine: makes the pictures and, through its sink, stores them.
        gallery: a `newbie_ui.gallery.store.Gallery` for the sheet; without one there is none.
    """

    def __init__(self, engine: Engine, gallery: Any = None):
        self.engine, self.gallery = engine, gallery
        self._lock = threading.Lock()
        self._run: _Run | None = None

    def start(self, plan: Plan, client: str = "") -> str:
        """Begin; returns the run's id. Raises GridError while another one is made."""
        with self._lock:
            old = self._run
            if old is not None and not old.ended.is_set():
                made = sum(cell.state == "done" for cell in old.cells)
                raise GridError(
                    f"A grid is being made, {made} of {len(old.cells)} pictures are done. Wait for it, or stop it."
                )
            run = self._run = _Run(plan, client, [CellView(cell) for cell in plan.cells])
        threading.Thread(target=self._work, args=(run,), name="newbie-ui-grid", daemon=True).start()
        return run.id

    def stop(self, id: str = "") -> None:
        """Stop within one step and draw what there is; without an id the run that is on."""
        with self._lock:
            run = self._run
            if run is None or run.ended.is_set() or (id and run.id != id):
                return
            run.stop.set()
            run.state = "stopping" if run.state == "running" else run.state
            jobs = list(run.jobs)
        for job in jobs:
            self.engine.cancel(job)

    def view(self) -> RunView | None:
        """The present run, or the last one, or None."""
        with self._lock:
            run = self._run
            if run is None:
                return None
            return RunView(run.id, run.plan, run.state, tuple(run.cells), _left(run), run.sheet, run.message)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of the present run; False if that took too long."""
        run = self._run
        return run is None or run.ended.wait(timeout_s)

    # ---- the run's thread ------------------------------------------------------------------------------------------

    def _work(self, run: _Run) -> None:
        state = "failed"
        try:
            run.costs = tuple(seconds for seconds, _ in cell_costs(run.plan, self.engine.presets))
            self._make(run)
            self._draw(run)
            state = "failed" if run.message else "stopped" if run.stop.is_set() else "done"
        except Exception:
            reference = secrets.token_hex(4)
            log.exception("grid %s failed, reference %s", run.id, reference)
            run.message = f"The grid ended early; the log has the reason under {reference}. Its pictures are kept."
        finally:
            with self._lock:
                run.state = state
            run.ended.set()
            made = sum(cell.state == "done" for cell in run.cells)
            log.info("grid %s %s: %d of %d pictures", run.id, state, made, len(run.cells))

    def _make(self, run: _Run) -> None:
        waiting, open_jobs = deque(range(len(run.cells))), deque()
        while open_jobs or (waiting and not run.stop.is_set()):
            self._submit(run, waiting, open_jobs)
            if open_jobs:
                self._follow(run, *open_jobs.popleft())
        for index in waiting:
            self._set(run, index, state="left out")

    def _submit(self, run: _Run, waiting: deque[int], open_jobs: deque[tuple[int, str]]) -> None:
        """Put the next cells into the queue, as many as shall be there. A refused one is marked and passed over."""
        while waiting and len(open_jobs) < AHEAD and not run.stop.is_set():
            try:
                job = self.engine.submit(run.cells[waiting[0]].cell.request, run.client)
            except EngineError as error:
                if self.engine.status().state not in SERVING:
                    run.message = str(error)
                    run.stop.set()
                elif open_jobs:
                    return  # the queue is full: one of ours has to end first
                run.stop.wait(RETRY_S)
                continue
            except UserError as error:
                self._fail(run, waiting.popleft(), str(error))
                continue
            index = waiting.popleft()
            open_jobs.append((index, job))
            with self._lock:
                run.jobs.append(job)
            self._set(run, index, state="queued")
            if run.stop.is_set():  # between the two lines above: `stop` did not know this job yet
                self.engine.cancel(job)

    def _follow(self, run: _Run, index: int, job: str) -> None:
        try:
            for event in self.engine.events(job):
                self._take(run, index, event)
        except NewbieError as error:  # the engine no longer knows the job
            self._fail(run, index, str(error))
        with self._lock:
            run.jobs.remove(job)
        if not run.cells[index].ended:
            self._set(run, index, state="left out")

    def _take(self, run: _Run, index: int, event: Event) -> None:
        if isinstance(event, Encoded):
            self._set(run, index, state="making")
        elif isinstance(event, Step):
            self._set(run, index, state="making", progress=event.index / max(1, event.total))
        elif isinstance(event, Picture):
            self._set(run, index, state="done", progress=1.0, outcome=Outcome(event.result))
        elif isinstance(event, Failed):
            self._fail(run, index, event.message)

    def _fail(self, run: _Run, index: int, message: str) -> None:
        self._set(run, index, state="failed", outcome=Outcome(note=message, failed=True))

    def _set(self, run: _Run, index: int, **changes: Any) -> None:
        with self._lock:
            run.cells[index] = replace(run.cells[index], **changes)

    def _draw(self, run: _Run) -> None:
        """The sheet, if there is anything to show and somewhere to keep it."""
        outcomes = {(view.cell.column, view.cell.row): view.outcome for view in run.cells}
        if self.gallery is None or not any(outcome.result for outcome in outcomes.values()):
            return
        with self._lock:
            run.state = "drawing"
        try:
            run.sheet = keep_sheet(run.plan, outcomes, self.gallery)
        except OSError as error:
            log.exception("the sheet of grid %s could not be written", run.id)
            run.message = f"The sheet could not be saved: {error.strerror or 'disk error'}. Its pictures are kept."


def _left(run: _Run) -> float | None:
    """Seconds until the last picture: this machine's medians, corrected by how this run went so far."""
    if run.state not in ("running", "drawing"):
        return None
    costs = run.costs or (None,) * len(run.cells)
    made = [(cell.outcome.result.timings, cost) for cell, cost in zip(run.cells, costs) if cell.outcome.result]
    took = [timings.total_s - timings.queue_s for timings, _ in made]
    parts = [(1 - cell.progress, cost) for cell, cost in zip(run.cells, costs) if not cell.ended]
    if all(cost is not None for _, cost in parts):
        known = [cost for _, cost in made if cost]
        pace = sum(took) / sum(known) if known and len(known) == len(made) else 1.0
        return sum(part * cost for part, cost in parts) * min(4.0, max(0.25, pace))
    return sum(part for part, _ in parts) * sum(took) / len(took) if took else None

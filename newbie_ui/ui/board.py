"""What the page knows about jobs: one watcher a job, one snapshot for any number of open pages.

Promises: a page that comes late, comes back or is a second tab sees the same as the one that pressed Generate, since
jobs are found through the engine and their events are read from the start. Memory is bounded. Reading a snapshot
never waits, so that a page follows without holding a thread.
Does not know: widgets, and how a picture is made.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace

from newbie_ui.engine.base import Engine
from newbie_ui.errors import NewbieError
from newbie_ui.request import (
    Cancelled,
    Done,
    Encoded,
    Event,
    Failed,
    GenerateRequest,
    GenerateResult,
    Loading,
    Picture,
    Queued,
    Step,
)

log = logging.getLogger(__name__)
KEPT_JOBS = 40
LAST = ("done", "cancelled", "failed")


@dataclass(frozen=True)
class JobView:
    """How one job stands: what `create.stage_value` shows. `version` grows with every change."""

    job: str
    version: int = 0
    state: str = "queued"  # queued | loading | running | done | cancelled | failed
    ahead: int = 0
    wait_s: float | None = None
    message: str = ""
    fraction: float | None = None
    encoded: Encoded | None = None
    step: Step | None = None
    preview: bytes | None = None
    denoise_s: float = 0.0  # so far, of the present picture
    results: tuple[GenerateResult, ...] = ()
    failure: Failed | None = None
    ended_at: float = 0.0  # time.monotonic

    @property
    def ended(self) -> bool:
        return self.state in LAST


class Board:
    """Follows every job of an engine once. All methods may be called from any thread and return at once."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self._lock = threading.Lock()
        self._views: OrderedDict[str, JobView] = OrderedDict()
        self._since: dict[str, float] = {}

    def submit(self, request: GenerateRequest, client: str = "") -> str:
        """Queue a request and follow its job. Raises what `Engine.submit` raises."""
        job = self.engine.submit(request, client)
        self._watch(job)
        return job

    def sync(self) -> None:
        """Follow jobs that came in another way: the API, a page that is gone."""
        for info in self.engine.status().jobs:
            if info.state in ("queued", "running"):
                self._watch(info.id)

    def view(self, job: str) -> JobView | None:
        with self._lock:
            return self._views.get(job)

    def views(self) -> list[JobView]:
        """All known jobs, those that ended last at the end."""
        with self._lock:
            return list(self._views.values())

    def current(self) -> JobView | None:
        """The running job, else the one that is next, else the one that ended last."""
        views = self.views()
        for states in (("running", "loading"), ("queued",)):
            found = [view for view in views if view.state in states]
            if found:
                return min(found, key=lambda view: view.ahead)
        return views[-1] if views else None

    def active(self) -> bool:
        return any(not view.ended for view in self.views())

    def _watch(self, job: str) -> None:
        with self._lock:
            if job in self._views:
                return
            self._views[job] = JobView(job)
            while len(self._views) > KEPT_JOBS and next(iter(self._views.values())).ended:
                self._since.pop(self._views.popitem(last=False)[0], None)
        threading.Thread(target=self._follow, args=(job,), name=f"newbie-ui-follow-{job}", daemon=True).start()

    def _follow(self, job: str) -> None:
        try:
            for event in self.engine.events(job):
                self._take(event)
        except NewbieError as error:  # the engine no longer knows the job, or has closed
            self._take(Failed(job, message=str(error)))
        finally:
            view = self.view(job)
            if view is not None and not view.ended:
                self._take(Cancelled(job))

    def _take(self, event: Event) -> None:
        with self._lock:
            old = self._views.get(event.job)
            if old is None:
                return
            view = self._next(old, event)
            ended_at = time.monotonic() if view.ended else 0.0
            self._views[event.job] = replace(view, version=old.version + 1, ended_at=ended_at)
            if view.ended:
                self._views.move_to_end(event.job)

    def _next(self, view: JobView, event: Event) -> JobView:
        """The view after this event."""
        if isinstance(event, Queued):
            return replace(view, state="queued", ahead=event.ahead, wait_s=event.wait_s)
        if isinstance(event, Loading):
            return replace(view, state="loading", message=event.message, fraction=event.fraction)
        if isinstance(event, Encoded):
            self._since[event.job] = time.monotonic()
            return replace(view, state="running", ahead=0, encoded=event, denoise_s=0.0)
        if isinstance(event, Step):
            so_far = time.monotonic() - self._since.setdefault(event.job, time.monotonic())
            step = replace(event, preview=None)
            preview = event.preview or (view.preview if event.index > 1 else None)
            return replace(view, state="running", ahead=0, step=step, preview=preview, denoise_s=so_far)
        if isinstance(event, Picture):
            self._since[event.job] = time.monotonic()
            return replace(
                view, results=(*view.results, replace(event.result, image=None)), preview=None, denoise_s=0.0
            )
        if isinstance(event, Failed):
            return replace(view, state="failed", failure=event, preview=None)
        if isinstance(event, (Done, Cancelled)):
            return replace(view, state="done" if isinstance(event, Done) else "cancelled", preview=None)
        return view

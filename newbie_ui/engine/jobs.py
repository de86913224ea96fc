"""Jobs, their queue and their replayable event logs; shared by every engine that runs in this process.

A `JobBoard` promises: jobs are taken one at a time in queue order; every event of a job can be read again from any
number by any thread; memory is bounded (a picture leaves the log once it has a file, only the newest preview of a
job is kept, only the last ended jobs are remembered). Clients take turns: the first job of a newcomer waits for at
most one job of each client before it, however many they queued.

It knows nothing of devices or models, and it does not persist: a job is lost with the process, its stored pictures
are not.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from newbie_ui.engine.base import JobInfo
from newbie_ui.errors import EngineError
from newbie_ui.request import LAST_EVENTS, Cancelled, Done, Event, Failed, GenerateRequest, Picture, Queued, Step

ENDED_STATES = {Done: "done", Cancelled: "cancelled", Failed: "failed"}


@dataclass(eq=False)
class Job:
    """One request on its way. Written by the board and the worker only; everyone else sees `JobInfo` and events."""

    id: str
    request: GenerateRequest
    client: str
    created_at: float
    turn: int  # the round in which this job's client has its go
    changed: threading.Condition
    submitted: float = field(default_factory=time.perf_counter)
    state: str = "queued"
    log: list[Event] = field(default_factory=list)
    ahead: int = -1  # as last announced
    preview_at: int = -1  # log index of the newest preview
    pictures_done: int = 0
    step: int = 0
    total_steps: int = 0
    eta_s: float | None = None
    cancel_asked: bool = False
    finish_asked: bool = False
    skip_asked: bool = False

    @property
    def ended(self) -> bool:
        return bool(self.log) and isinstance(self.log[-1], LAST_EVENTS)

    def take_skip(self) -> bool:
        """True once after each `skip`: the worker gives up the picture it is making."""
        asked, self.skip_asked = self.skip_asked, False
        return asked

    def info(self, wait_s: float | None = None) -> JobInfo:
        return JobInfo(
            id=self.id,
            request=self.request,
            state=self.state,
            created_at=self.created_at,
            pictures_done=self.pictures_done,
            step=self.step,
            total_steps=self.total_steps,
            wait_s=wait_s,
        )


class JobBoard:
    """The queue and the logs.

    Args:
        max_waiting: jobs that may wait in all.
        max_per_client: jobs that one client may have waiting; clients without a name share one count.
        keep_ended: ended jobs whose events can still be read.
        estimate: seconds a request will probably take, or None; called with the board's lock held, so quick.
    """

    def __init__(
        self,
        *,
        max_waiting: int = 64,
        max_per_client: int = 16,
        keep_ended: int = 200,
        estimate: Callable[[GenerateRequest], float | None] = lambda request: None,
    ):
        self.max_waiting = max_waiting
        self.max_per_client = max_per_client
        self.keep_ended = keep_ended
        self._estimate = estimate
        self._lock = threading.RLock()
        self._arrived = threading.Condition(self._lock)
        self._waiting: list[Job] = []
        self._running: Job | None = None
        self._handed_over: list[Job] = []  # made, their last pictures still being stored
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._turn = 0
        self._last_turns: dict[str, int] = {}
        self._closed = False

    # ---- for callers ------------------------------------------------------------------------------------------

    def add(self, request: GenerateRequest, client: str = "") -> Job:
        """Queue a checked request. Raises EngineError when the queue or this client's share of it is full."""
        with self._lock:
            self._refuse_if_full(client)
            job = Job(
                id=secrets.token_hex(16),
                request=request,
                client=client,
                created_at=time.time(),
                turn=max(self._turn, self._last_turns.get(client, -1) + 1),
                changed=threading.Condition(self._lock),
            )
            self._last_turns[client] = job.turn
            later = (i for i, other in enumerate(self._waiting) if other.turn > job.turn)
            self._waiting.insert(next(later, len(self._waiting)), job)
            self._jobs[job.id] = job
            self._announce_places()
            self._arrived.notify_all()
            return job

    def events(self, job_id: str, after: int = 0) -> Iterator[Event]:
        """Events of a job from number `after` on, blocking for new ones, up to and including its last.

        Raises EngineError at once (not on the first `next`) when the job is unknown.
        """
        job = self._jobs.get(job_id)
        if job is None:
            raise EngineError(f"Job {job_id[:40]!r} is not known any more. Its pictures, if any, are in the gallery.")
        return self._follow(job, max(0, after))

    def cancel(self, job_id: str) -> None:
        with self._lock:
            job = self._active(job_id)
            if job is None:
                return
            job.cancel_asked = True
            if job in self._waiting:
                self.end(job, Cancelled(job.id, pictures=0))

    def skip(self, job_id: str) -> None:
        with self._lock:
            job = self._active(job_id)
            if job is not None and job is self._running:
                job.skip_asked = True

    def finish(self, job_id: str) -> None:
        """Ask to stop after the present picture; a job that still waits is taken out of the queue."""
        with self._lock:
            job = self._active(job_id)
            if job is not None and job is self._running:
                job.finish_asked = True
            elif job is not None:
                self.cancel(job_id)

    def move(self, job_id: str, position: int) -> None:
        with self._lock:
            job = self._active(job_id)
            if job is None or job not in self._waiting:
                return
            self._waiting.remove(job)
            position = min(max(0, position), len(self._waiting))
            self._waiting.insert(position, job)
            # Later arrivals are sorted in by turn, so a moved job takes the turn of its new place.
            behind = self._waiting[position + 1 : position + 2]
            before = self._waiting[position - 1 : position] if position else []
            job.turn = behind[0].turn if behind else max(job.turn, *(other.turn for other in before), self._turn)
            self._announce_places()

    def infos(self) -> tuple[JobInfo, ...]:
        """Jobs that are running or waiting, in the order in which they will be done."""
        with self._lock:
            running = [*self._handed_over, *([self._running] if self._running else [])]
            waits = self._waits()
            return (*(job.info(0.0) for job in running), *(job.info(wait) for job, wait in zip(self._waiting, waits)))

    # ---- for the worker ---------------------------------------------------------------------------------------

    def take(self, wait: bool = True) -> Job | None:
        """Start the next job, waiting for one if need be; None once the board is closed, or when not to wait."""
        with self._lock:
            while wait and not self._waiting and not self._closed:
                self._arrived.wait()
            if self._closed or not self._waiting:
                return None
            job = self._running = self._waiting.pop(0)
            job.state = "running"
            self._turn = max(self._turn, job.turn)
            self._announce_places()
            return job

    def emit(self, job: Job, event: Event) -> None:
        """Append an event to the job's log and wake its readers."""
        with self._lock:
            if job.ended:
                return
            if isinstance(event, Step):
                job.step, job.total_steps, job.eta_s = event.index, event.total, event.eta_s
                if event.preview is not None:
                    self._forget_preview(job)
                    job.preview_at = len(job.log)
            elif isinstance(event, Picture):
                job.pictures_done += 1
                if event.result.path is not None:
                    event = replace(event, result=replace(event.result, image=None))
            job.log.append(event)
            job.changed.notify_all()

    def hand_over(self, job: Job) -> None:
        """The worker is done with this job and may take another; its last events are still to come."""
        with self._lock:
            if self._running is job:
                self._running = None
                self._handed_over.append(job)

    def end(self, job: Job, event: Event) -> None:
        """Log the last event of a job, take it off the board, forget the oldest ended ones."""
        with self._lock:
            self._forget_preview(job)
            job.state = ENDED_STATES[type(event)]
            self.emit(job, event)
            self.hand_over(job)
            for jobs in (self._handed_over, self._waiting):
                if job in jobs:
                    jobs.remove(job)
            self._jobs.move_to_end(job.id)
            ended = [other for other in self._jobs.values() if other.ended]
            for other in ended[: max(0, len(ended) - self.keep_ended)]:
                del self._jobs[other.id]
            active = {other.client for other in self._jobs.values() if not other.ended}
            self._last_turns = {c: t for c, t in self._last_turns.items() if c in active or t >= self._turn}
            self._announce_places()

    def tell_all(self, make: Callable[[str], Event]) -> None:
        """Send the same news, made for each job id, to every job that runs or waits."""
        with self._lock:
            for job in (*([self._running] if self._running else []), *self._waiting):
                self.emit(job, make(job.id))

    def end_waiting(self, make: Callable[[str], Event]) -> None:
        """End every waiting job with an event made for its id."""
        with self._lock:
            for job in list(self._waiting):
                self.end(job, make(job.id))

    @property
    def running(self) -> Job | None:
        return self._running

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Let `take` return None from now on. Waiting jobs are left to `end_waiting`."""
        with self._lock:
            self._closed = True
            self._arrived.notify_all()

    # ---- inside, lock held ------------------------------------------------------------------------------------

    def _refuse_if_full(self, client: str) -> None:
        if len(self._waiting) >= self.max_waiting:
            raise EngineError(f"The queue is full ({self.max_waiting} jobs wait). Try again when some are done.")
        mine = sum(job.client == client for job in self._waiting)
        if mine >= self.max_per_client:
            raise EngineError(
                f"You have {mine} jobs waiting, the most allowed is {self.max_per_client}. Wait or remove some."
            )

    def _active(self, job_id: str) -> Job | None:
        job = self._jobs.get(job_id)
        return None if job is None or job.ended else job

    def _waits(self) -> list[float | None]:
        """Seconds until each waiting job starts; None from the first unknown estimate on."""
        total: float | None = 0.0
        if self._running is not None:
            total = self._running.eta_s if self._running.eta_s is not None else self._estimate(self._running.request)
        waits: list[float | None] = []
        for job in self._waiting:
            waits.append(total)
            more = None if total is None else self._estimate(job.request)
            total = None if more is None or total is None else total + more
        return waits

    def _announce_places(self) -> None:
        busy = int(self._running is not None)
        for place, (job, wait) in enumerate(zip(self._waiting, self._waits())):
            if job.ahead != place + busy:
                job.ahead = place + busy
                self.emit(job, Queued(job.id, ahead=job.ahead, wait_s=wait))

    def _forget_preview(self, job: Job) -> None:
        if job.preview_at >= 0:
            job.log[job.preview_at] = replace(job.log[job.preview_at], preview=None)
            job.preview_at = -1

    def _follow(self, job: Job, number: int) -> Iterator[Event]:
        while True:
            with self._lock:
                while number >= len(job.log) and not job.ended:
                    job.changed.wait()
                if number >= len(job.log):
                    return
                event = job.log[number]
            yield event
            number += 1
            if isinstance(event, LAST_EVENTS):
                return

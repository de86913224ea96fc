"""Pictures are stored, and told of, beside the making of the next one.

One thread takes every event of every job in order. A picture goes to the sink first and is announced only when it is
stored; the events behind it wait their turn, so a reader always sees them in the order in which they happened. The
worker goes on meanwhile: writing a large PNG takes as long as several steps on a fast card. At most a few pictures
wait in memory; then the worker waits.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
from dataclasses import replace

from newbie_ui.engine.base import PictureSink
from newbie_ui.engine.jobs import Job, JobBoard
from newbie_ui.errors import UserError
from newbie_ui.request import Cancelled, Done, Event, Failed, GenerateResult, Picture

log = logging.getLogger(__name__)

PICTURES_WAITING = 4


class Announcer:
    """Owns the thread. `tell` and `conclude` are called by the worker, between `start` and `stop`."""

    def __init__(self, board: JobBoard, sink: PictureSink | None):
        self._board, self._sink = board, sink
        self._queue: queue.SimpleQueue[tuple[Job, Event, bool] | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(PICTURES_WAITING)
        self._failures: dict[str, Failed] = {}
        self._thread = threading.Thread(target=self._work, name="newbie-announcer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def tell(self, job: Job, event: Event) -> bool:
        """Queue an event; False when an earlier picture of this job could not be stored, so that it may stop."""
        if isinstance(event, Picture):
            self._room.acquire()
        self._queue.put((job, event, False))
        return job.id not in self._failures

    def conclude(self, job: Job, ending: Event) -> None:
        """The job's last event, once all before it are told. The worker may take the next job at once."""
        self._board.hand_over(job)
        self._queue.put((job, ending, True))

    def stop(self) -> None:
        """Tell and store what is queued, then end."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            job, event, last = item
            try:
                self._end(job, event) if last else self._emit(job, event)
            except Exception:
                log.exception("an event of job %s could not be told", job.id[:8])
            finally:
                if isinstance(event, Picture):
                    self._room.release()

    def _emit(self, job: Job, event: Event) -> None:
        if job.id in self._failures:
            return
        if isinstance(event, Picture) and self._sink is not None:
            try:
                event = replace(event, result=self._sink(event.result))
            except Exception as error:
                self._failures[job.id] = _why(job, event.result, error)
                return
        self._board.emit(job, event)

    def _end(self, job: Job, ending: Event) -> None:
        ending = self._failures.pop(job.id, ending)
        if isinstance(ending, (Done, Cancelled)):
            ending = replace(ending, pictures=job.pictures_done)
        self._board.end(job, ending)
        log.info("job %s: %s", job.id[:8], type(ending).__name__)


def _why(job: Job, result: GenerateResult, error: Exception) -> Failed:
    """A failed store as the job's last event: sentences for what a person can mend, a reference for the rest."""
    if isinstance(error, UserError):
        return Failed(job.id, message=str(error))
    if isinstance(error, OSError):
        reason = error.strerror or type(error).__name__
        log.error("picture %s could not be stored: %s", result.id, error)
        return Failed(
            job.id,
            message=f"The picture could not be saved ({reason}). Make room or rights in its folder and try again.",
        )
    reference = secrets.token_hex(4)
    log.error("reference %s: picture %s could not be stored", reference, result.id, exc_info=error)
    return Failed(
        job.id, message=f"The picture could not be saved; the log has why under {reference}.", reference=reference
    )

"""`QueuedEngine`: the part of every in-process engine that is not about making pictures.

It owns the lifecycle (new → opening → ready ⇄ busy → closing → closed, or failed), one worker thread and a
`JobBoard`. An engine derives from it and says how to load, how to make one job's pictures as a stream of events,
and how to let go of the device. Promises: cancel is looked at after every event; whatever goes wrong in a job ends
that job with `Failed` and leaves the engine serving; people never see the text of an unexpected exception.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime, timezone

from newbie_ui.engine.announce import Announcer
from newbie_ui.engine.base import DeviceInfo, EngineState, EngineStatus, ModelInfo, PictureSink, PresetChoice
from newbie_ui.engine.jobs import Job, JobBoard
from newbie_ui.errors import EngineError, UserError
from newbie_ui.request import (
    Cancelled,
    Done,
    Event,
    Failed,
    GenerateRequest,
    Loading,
    Memory,
    Picture,
)

log = logging.getLogger(__name__)

LOADING_EVENT_EVERY_S = 0.25
DEVICE_LOST = "The device stopped working. Restart the program."


class DeviceLost(Exception):
    """The device cannot be used again in this process; the engine stops serving."""


class _Closing(Exception):
    """Loading is given up because the engine is being closed."""


_id_lock = threading.Lock()
_last_id_us = 0


def new_picture_id() -> str:
    """A unique id that sorts by time of making: UTC date, time, microseconds, four random digits."""
    global _last_id_us
    with _id_lock:
        _last_id_us = max(_last_id_us + 1, time.time_ns() // 1000)
        us = _last_id_us
    moment = datetime.fromtimestamp(us // 1_000_000, tz=timezone.utc)
    return f"{moment:%Y%m%d-%H%M%S}-{us % 1_000_000:06d}-{secrets.token_hex(2)}"


class QueuedEngine(ABC):
    """Base of engines that work through one queue in one thread of this process.

    Args:
        sink: stores each picture before it is announced; without one the picture stays in its `Picture` event.
        max_waiting, max_per_client, keep_ended: see `JobBoard`.
    """

    thread_name = "newbie-engine"

    def __init__(
        self,
        sink: PictureSink | None = None,
        *,
        max_waiting: int = 64,
        max_per_client: int = 16,
        keep_ended: int = 200,
    ):
        self._board = JobBoard(
            max_waiting=max_waiting,
            max_per_client=max_per_client,
            keep_ended=keep_ended,
            estimate=self._estimate_s,
        )
        self._announcer = Announcer(self._board, sink)
        self._state = EngineState.NEW
        self._state_lock = threading.Lock()
        self._message = ""
        self._loading_told = 0.0
        self._closing = threading.Event()
        self._opened = threading.Event()
        self._thread: threading.Thread | None = None
        self.device: DeviceInfo | None = None
        self.model: ModelInfo | None = None

    # ---- what an engine fills in ------------------------------------------------------------------------------

    @abstractmethod
    def _load(self) -> None:
        """Get ready, in the worker thread; tell progress with `_loading`. Sets `device` and `model`."""

    @abstractmethod
    def _make(self, job: Job) -> Iterator[Event]:
        """Make a job's pictures. Looks at `job.take_skip()` and `job.finish_asked`; cancel closes the iterator."""

    def _has_idle_work(self) -> bool:
        """Whether there is something to get ready while no job waits, such as compiling."""
        return False

    def _idle_work(self) -> None:  # noqa: B027
        """Do one piece of it, seconds at most: a job that arrives meanwhile waits for it."""

    def _drop_idle_work(self) -> None:  # noqa: B027
        """Forget the rest of it."""

    @abstractmethod
    def presets(self, request: GenerateRequest | None = None) -> tuple[PresetChoice, ...]: ...

    @abstractmethod
    def count_tokens(self, texts: Sequence[str]) -> list[int]: ...

    def _unload(self) -> None:  # noqa: B027 (nothing to let go of is a fair answer)
        """Let go of the device, in the worker thread."""

    def _admit(self, request: GenerateRequest) -> GenerateRequest:
        """Last checks of a request that need the engine's knowledge; raises UserError."""
        return request

    def _estimate_s(self, request: GenerateRequest) -> float | None:
        return None

    def _memory(self) -> Memory:
        return Memory()

    def _compile_state(self) -> str:
        return "off"

    def _facts(self) -> dict[str, str]:
        return {}

    def loras(self) -> tuple[str, ...]:
        return ()

    # ---- the Engine protocol ----------------------------------------------------------------------------------

    def open(self) -> None:
        with self._state_lock:
            if self._state is not EngineState.NEW:
                raise EngineError(f"The engine is {self._state.value}; it can be opened once only. Make a new one.")
            self._state = EngineState.OPENING
        self._announcer.start()
        self._thread = threading.Thread(target=self._work, name=self.thread_name, daemon=True)
        self._thread.start()

    def submit(self, request: GenerateRequest, client: str = "") -> str:
        self._refuse_unless_serving()
        request = self._admit(request.checked())
        job = self._board.add(request, client)
        if not self._serving():  # closed or failed between the two lines above: nobody would ever take the job
            self._board.end_waiting(lambda job_id: Cancelled(job_id))
            self._refuse_unless_serving()
        if self._message:
            self._board.emit(job, Loading(job.id, message=self._message))
        log.info("job %s queued: %d picture(s)", job.id[:8], request.images)
        return job.id

    def events(self, job: str, after: int = 0) -> Iterator[Event]:
        return self._board.events(job, after)

    def cancel(self, job: str) -> None:
        self._board.cancel(job)

    def skip(self, job: str) -> None:
        self._board.skip(job)

    def finish(self, job: str) -> None:
        self._board.finish(job)

    def move(self, job: str, position: int) -> None:
        self._board.move(job, position)

    def status(self) -> EngineStatus:
        return EngineStatus(
            state=self._state,
            message=self._message,
            device=self.device,
            model=self.model,
            memory=self._memory(),
            compile=self._compile_state(),
            jobs=self._board.infos(),
            facts=self._facts(),
        )

    def close(self, timeout_s: float = 30.0) -> None:
        """Cancel what waits, let the present picture finish within `timeout_s`, else cancel it, free the device."""
        with self._state_lock:
            thread = self._thread
            if thread is None:
                self._state = EngineState.CLOSED
                return
            if self._state not in (EngineState.FAILED, EngineState.CLOSED):
                self._state = EngineState.CLOSING
        self._closing.set()
        self._board.end_waiting(lambda job_id: Cancelled(job_id))
        if (running := self._board.running) is not None:
            self._board.finish(running.id)
        self._board.close()
        thread.join(timeout_s)
        if thread.is_alive() and (running := self._board.running) is not None:
            self._board.cancel(running.id)
            thread.join(max(5.0, timeout_s))
        if thread.is_alive():
            log.warning("the engine's worker did not end in time; it is left behind")

    def wait_until_open(self, timeout_s: float | None = None) -> EngineState:
        """Wait until opening has ended, well or not; returns the state."""
        self._opened.wait(timeout_s)
        return self._state

    def __enter__(self):
        if self._state is EngineState.NEW:
            self.open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ---- the worker thread ------------------------------------------------------------------------------------

    def _work(self) -> None:
        ready = self._load_or_fail()
        self._opened.set()
        alive = ready
        while alive and not self._board.closed:
            job = self._board.take(wait=not self._has_idle_work())
            if job is not None:
                self._become(EngineState.BUSY)
                alive = self._serve(job)
                self._become(EngineState.READY)
            elif not self._board.closed:
                self._be_useful()
        self._announcer.stop()
        if ready and alive:
            self._let_go()
            self._become(EngineState.CLOSED)

    def _load_or_fail(self) -> bool:
        try:
            self._load()
            if self._closing.is_set():
                raise _Closing
        except _Closing:
            self._let_go()
            self._become(EngineState.CLOSED)
            return False
        except UserError as error:
            self._fail(str(error))
            return False
        except Exception:
            self._fail(f"The engine could not start. The log has the reason under reference {self._log_failure()}.")
            return False
        self._message = ""
        self._become(EngineState.READY)
        return True

    def _be_useful(self) -> None:
        try:
            self._idle_work()
        except Exception:
            log.exception("work while idle failed; there will be no more of it")
            self._drop_idle_work()
        finally:
            self._message = ""

    def _serve(self, job: Job) -> bool:
        """Run one job to its last event; False when the device is lost."""
        alive = True
        try:
            ending = self._run(job)
        except UserError as error:
            ending = Failed(job.id, message=str(error), field=getattr(error, "field", None))
        except _Closing:
            ending = Cancelled(job.id)
        except DeviceLost:
            reference = self._log_failure(job)
            ending = Failed(job.id, message=DEVICE_LOST, reference=reference)
            alive = False
        except Exception:
            reference = self._log_failure(job)
            ending = Failed(
                job.id,
                message=f"Something went wrong while making this picture; the log has it under {reference}. "
                "Your settings are kept: try again.",
                reference=reference,
            )
        self._announcer.conclude(job, ending)
        if not alive:
            self._fail(DEVICE_LOST)
        return alive

    def _run(self, job: Job) -> Event:
        made = 0
        with closing(self._make(job)) as events:
            for event in events:
                made += isinstance(event, Picture)
                stored = self._announcer.tell(job, event)
                if job.cancel_asked or not stored:
                    break
        stopped = made < job.request.images and (job.cancel_asked or job.finish_asked)
        return Cancelled(job.id) if stopped else Done(job.id)

    def _loading(self, message: str, fraction: float | None = None) -> None:
        """Tell the status and all jobs what is being prepared; gives up when the engine is closing."""
        if self._closing.is_set():
            raise _Closing
        now = time.monotonic()
        if (
            message == self._message
            and fraction not in (None, 1.0)
            and now - self._loading_told < LOADING_EVENT_EVERY_S
        ):
            return
        self._message, self._loading_told = message, now
        self._board.tell_all(lambda job_id: Loading(job_id, message=message, fraction=fraction))

    def _fail(self, message: str) -> None:
        self._message = message
        self._state = EngineState.FAILED
        self._board.end_waiting(lambda job_id: Failed(job_id, message=message))
        log.error("engine failed: %s", message)

    def _let_go(self) -> None:
        try:
            self._unload()
        except Exception:
            log.exception("letting go of the device failed")

    def _log_failure(self, job: Job | None = None) -> str:
        reference = secrets.token_hex(4)
        log.exception("reference %s, job %s", reference, job.id[:8] if job else "none")
        return reference

    # ---- states -----------------------------------------------------------------------------------------------

    def _become(self, state: EngineState) -> None:
        with self._state_lock:
            if self._state is EngineState.FAILED or (
                self._state is EngineState.CLOSING and state is not EngineState.CLOSED
            ):
                return
            self._state = state

    def _serving(self) -> bool:
        return self._state in (EngineState.OPENING, EngineState.READY, EngineState.BUSY)

    def _refuse_unless_serving(self) -> None:
        if self._state is EngineState.NEW:
            raise EngineError("The engine is not open yet. Call open() first.")
        if self._state is EngineState.FAILED:
            raise EngineError(f"The engine takes no work: {self._message}")
        if not self._serving():
            raise EngineError("The engine is shutting down and takes no new work. Start the program again.")

"""The two passes of a guided step side by side on a processor.

Torch shares each operation among its threads and lets them meet after it; for small matrices much of the second core
is lost that way. The conditional and the unconditional pass know nothing of each other, so each gets half the threads
to itself: 0.32 s instead of 0.40 s a step of the demo model on two cores (docs/log.md, 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor


class SideBySide:
    """Call with two computations; gives both results. Used by one thread at a time.

    Args:
        threads: torch's threads in all, 2 at least; they are set back to this after each pair.
    """

    def __init__(self, threads: int):
        self._threads, self._second_share = threads, threads // 2
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="newbie-second-pass")

    def __call__(self, first: Callable[[], Tensor], second: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        torch.set_num_threads(self._threads - self._second_share)
        started = self._executor.submit(self._run, second)
        try:
            result = first()
        finally:
            started.exception()  # waits: nothing of the second may still be at work when an error goes up
            torch.set_num_threads(self._threads)
        return result, started.result()

    def close(self) -> None:
        self._executor.shutdown()

    def _run(self, work: Callable[[], Tensor]) -> Tensor:
        torch.set_num_threads(self._second_share)
        with torch.no_grad():
            return work()

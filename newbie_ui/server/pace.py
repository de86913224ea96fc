"""How fast one visitor may send things: a bucket of requests that refills steadily, one an address.

For pages that strangers use. It keeps one visitor from filling the page's queue with small calls, which would push
others' results out of it. Memory is bounded: the address seen longest ago is forgotten first. It knows nothing of
jobs; how many of those one visitor may have waiting is the engine's matter.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

ADDRESSES = 10_000


class Pace:
    """Args: `rate` requests a second in the long run, `burst` at once."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic):
        self.rate, self.burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address: (requests left, when)

    def allows(self, address: str) -> bool:
        """Take one request out of the address's bucket; False when it is empty."""
        now = self._clock()
        left, before = self._buckets.pop(address, (float(self.burst), now))
        left = min(float(self.burst), left + (now - before) * self.rate)
        allowed = left >= 1
        self._buckets[address] = (left - 1 if allowed else left, now)
        while len(self._buckets) > ADDRESSES:
            self._buckets.popitem(last=False)
        return allowed

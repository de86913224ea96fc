"""What a picture cost: seconds by stage, peak memory, and what the device is.

Promises: stage times are taken after the device has finished its work; memory is in GB of 1e9 bytes; a CPU's peak is
sampled every few milliseconds, a card's is the allocator's own count. Does not know what a stage does.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch

from newbie_ui.engine.base import DeviceInfo
from newbie_ui.errors import SettingsError
from newbie_ui.request import Memory

GB = 1e9
SAMPLE_EVERY_S = 0.02


def find_device(wanted: str = "auto") -> torch.device:
    """The device for "auto", "cuda" or "cpu". Raises SettingsError when there is no card to use."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            "--device is 'cuda', but there is no card that torch can use. Use auto or cpu, or install the driver "
            "and a torch made for it."
        )
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device("cuda", torch.cuda.current_device()) if wanted == "cuda" else torch.device(wanted)


def describe_device(device: torch.device) -> DeviceInfo:
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        capability = (properties.major, properties.minor)
        return DeviceInfo("cuda", properties.name, properties.total_memory / GB, capability)
    return DeviceInfo("cpu", _processor_name(), psutil.virtual_memory().total / GB)


def _processor_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {len_cores()} cores"


def len_cores() -> int:
    """Cores this process may use (a container may allow fewer than the machine has)."""
    if hasattr(psutil.Process, "cpu_affinity"):
        return max(1, len(psutil.Process().cpu_affinity()))
    return psutil.cpu_count(logical=False) or 1


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def best_s(work: Callable[[], Any], device: torch.device, rounds: int) -> float:
    """The shortest of several rounds of some work, each at least a few milliseconds long, after a warm-up."""
    work()
    synchronize(device)
    repeats = max(1, min(50, int(0.005 / max(_once_s(work, device, 1), 1e-7))))
    return min(_once_s(work, device, repeats) for _ in range(rounds))


def _once_s(work: Callable[[], Any], device: torch.device, repeats: int) -> float:
    synchronize(device)
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    synchronize(device)
    return (time.perf_counter() - started) / repeats


def resident_gb() -> float:
    return psutil.Process().memory_info().rss / GB


def memory_now(device: DeviceInfo) -> Memory:
    """Memory in use at this moment."""
    if device.kind == "cuda":
        return Memory(
            allocated_gb=torch.cuda.memory_allocated() / GB,
            reserved_gb=torch.cuda.memory_reserved() / GB,
            resident_gb=resident_gb(),
            device_gb=device.total_gb,
        )
    return Memory(resident_gb=resident_gb(), device_gb=device.total_gb)


class PeakMemory:
    """Context manager: the peak between entry and exit (or the call of `so_far`)."""

    def __init__(self, device: DeviceInfo):
        self._device = device
        self._peak = 0
        self._done = threading.Event()
        self._process = psutil.Process()

    def __enter__(self) -> PeakMemory:
        if self._device.kind == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self._thread = threading.Thread(target=self._sample, name="peak-memory", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()

    def so_far(self) -> Memory:
        self._look()
        card = self._device.kind == "cuda"
        return Memory(
            allocated_gb=torch.cuda.max_memory_allocated() / GB if card else None,
            reserved_gb=torch.cuda.max_memory_reserved() / GB if card else None,
            resident_gb=self._peak / GB,
            device_gb=self._device.total_gb,
        )

    def _look(self) -> None:
        self._peak = max(self._peak, self._process.memory_info().rss)

    def _sample(self) -> None:
        self._look()
        while not self._done.wait(SAMPLE_EVERY_S):
            self._look()


class Stopwatch:
    """Seconds by stage, the device's queue emptied at both ends of each."""

    def __init__(self, device: torch.device):
        self._device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        synchronize(self._device)
        started = time.perf_counter()
        try:
            yield
        finally:
            synchronize(self._device)
            self.add(name, time.perf_counter() - started)

    def add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


class Pacer:
    """Keeps the host at most one step ahead of a card, so that progress is true and cancelling quick."""

    def __init__(self, device: torch.device):
        self._card = device.type == "cuda"
        self._last: torch.cuda.Event | None = None

    def step(self) -> None:
        """Call after queueing a step: waits until the step before it is done."""
        if not self._card:
            return
        event = torch.cuda.Event()
        event.record()
        if self._last is not None:
            self._last.synchronize()
        self._last = event

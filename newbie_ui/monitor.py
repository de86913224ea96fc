"""What the cards are doing: a line a second, as CSV with nvidia-smi's column names.

    python -m newbie_ui.monitor --csv gpu_monitor.log

Promises: the same readings for a live panel (`Cards.read`) and for the file; one row a card and moment, written
through at once; a machine without an NVIDIA card gets a sentence and exit code 2. Reads through nvidia-ml-py, so
nothing is started and no text of another program is parsed.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

from newbie_ui.errors import EngineError, SettingsError
from newbie_ui.exit_code import exit_code
from newbie_ui.settings import Parser

COLUMNS = (
    "timestamp",
    "name",
    "utilization.gpu [%]",
    "memory.used [MiB]",
    "memory.free [MiB]",
    "temperature.gpu",
    "power.draw [W]",
)
MIB = 2**20


@dataclass(frozen=True)
class Reading:
    """One card at one moment. None where the card does not tell."""

    time: datetime
    name: str
    utilization: int | None  # percent
    used_mib: int
    free_mib: int
    temperature: int | None  # °C
    power_w: float | None

    def row(self) -> tuple[str, ...]:
        """The values of `COLUMNS`, as nvidia-smi writes them with nounits."""
        moment = f"{self.time:%Y/%m/%d %H:%M:%S}.{self.time.microsecond // 1000:03d}"
        power = None if self.power_w is None else f"{self.power_w:.2f}"
        values = (self.utilization, self.used_mib, self.free_mib, self.temperature, power)
        return (moment, self.name, *("[N/A]" if value is None else str(value) for value in values))


class Cards:
    """All NVIDIA cards of this machine. Raises EngineError when there is none or no driver.

    Args:
        nvml: the module to ask, `pynvml` by default.
    """

    def __init__(self, nvml: Any = None):
        if nvml is None:
            import pynvml as nvml
        self._nvml = nvml
        try:
            nvml.nvmlInit()
            self._handles = [nvml.nvmlDeviceGetHandleByIndex(n) for n in range(nvml.nvmlDeviceGetCount())]
        except nvml.NVMLError as error:
            raise EngineError(
                f"No NVIDIA card can be read here ({error}). On a machine with one, install its driver; "
                "without one there is nothing to monitor."
            ) from error
        if not self._handles:
            raise EngineError("This machine has an NVIDIA driver but no card. There is nothing to monitor.")

    def read(self) -> tuple[Reading, ...]:
        """All cards now."""
        return tuple(self._read_one(handle) for handle in self._handles)

    def close(self) -> None:
        self._nvml.nvmlShutdown()

    def __enter__(self) -> Cards:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _read_one(self, handle: Any) -> Reading:
        nvml = self._nvml
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        name = nvml.nvmlDeviceGetName(handle)
        power = self._told(nvml.nvmlDeviceGetPowerUsage, handle)
        return Reading(
            time=datetime.now(),
            name=name.decode() if isinstance(name, bytes) else name,
            utilization=self._told(lambda h: nvml.nvmlDeviceGetUtilizationRates(h).gpu, handle),
            used_mib=memory.used // MIB,
            free_mib=memory.free // MIB,
            temperature=self._told(lambda h: nvml.nvmlDeviceGetTemperature(h, nvml.NVML_TEMPERATURE_GPU), handle),
            power_w=None if power is None else power / 1000,
        )

    def _told(self, ask: Callable[[Any], Any], handle: Any) -> Any:
        try:
            return ask(handle)
        except self._nvml.NVMLError:  # virtual and older cards do not have every sensor
            return None


def record(cards: Cards, out: TextIO, interval_s: float, count: int | None, header: bool = True) -> None:
    """Write rows until `count` moments are written, or for ever."""
    writer = csv.writer(out)
    if header:
        writer.writerow(COLUMNS)
    moment = 0
    while True:
        writer.writerows(reading.row() for reading in cards.read())
        out.flush()
        moment += 1
        if moment == count:
            return
        time.sleep(interval_s)


@exit_code
def main(argv: Sequence[str] | None = None, nvml: Any = None) -> None:
    """Run from the command line; being interrupted is how it usually ends."""
    parser = Parser(prog="python -m newbie_ui.monitor", description=__doc__.splitlines()[0])
    parser.add_argument("--csv", metavar="FILE", help="append to this file instead of printing")
    parser.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="time between rows (default: 1)")
    parser.add_argument("--count", type=int, default=None, metavar="N", help="stop after so many (default: never)")
    options = parser.parse_args(argv)
    if not 0.05 <= options.interval <= 3600:
        raise SettingsError(f"--interval is {options.interval:g}. Use 0.05 to 3600 seconds.")
    if options.count is not None and options.count < 1:
        raise SettingsError(f"--count is {options.count}. Use 1 or more.")
    with Cards(nvml) as cards, ExitStack() as stack, suppress(KeyboardInterrupt):
        out = stack.enter_context(_open(options.csv)) if options.csv else sys.stdout
        empty = not options.csv or out.tell() == 0
        record(cards, out, options.interval, options.count, header=empty)


def _open(file: str) -> TextIO:
    try:
        return open(file, "a", encoding="utf-8", newline="")
    except OSError as error:
        raise SettingsError(f"{file!r} cannot be written ({error.strerror}). Choose another file.") from error


if __name__ == "__main__":
    sys.exit(main())

"""The monitor writes nvidia-smi's columns, and explains a machine without a card."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import pytest

from newbie_ui.errors import EngineError
from newbie_ui.monitor import COLUMNS, Cards, main


class FakeNvml:
    """Two cards; the second has no power sensor."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self, cards=2, driver=True):
        self.cards, self.driver, self.closed = cards, driver, False

    def nvmlInit(self):
        if not self.driver:
            raise self.NVMLError("NVML Shared Library Not Found")

    def nvmlShutdown(self):
        self.closed = True

    def nvmlDeviceGetCount(self):
        return self.cards

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetName(self, handle):
        return f"Card {handle}"

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(used=3 * 2**30, free=5 * 2**30)

    def nvmlDeviceGetUtilizationRates(self, handle):
        return SimpleNamespace(gpu=97)

    def nvmlDeviceGetTemperature(self, handle, kind):
        return 61

    def nvmlDeviceGetPowerUsage(self, handle):
        if handle == 1:
            raise self.NVMLError("Not Supported")
        return 312_456


def test_rows_have_the_columns_of_nvidia_smi(tmp_path):
    file, nvml = tmp_path / "gpu.log", FakeNvml()
    assert main(["--csv", str(file), "--count", "2", "--interval", "0.05"], nvml) == 0
    rows = list(csv.reader(file.open()))
    assert tuple(rows[0]) == COLUMNS
    assert [row[1:] for row in rows[1:]] == 2 * [
        ["Card 0", "97", "3072", "5120", "61", "312.46"],
        ["Card 1", "97", "3072", "5120", "61", "[N/A]"],
    ]
    assert nvml.closed


def test_a_second_run_appends_without_a_second_header(tmp_path):
    file = tmp_path / "gpu.log"
    for _ in range(2):
        main(["--csv", str(file), "--count", "1"], FakeNvml(cards=1))
    assert [row[0] == COLUMNS[0] for row in csv.reader(file.open())] == [True, False, False]


def test_without_a_file_rows_are_printed(capsys):
    assert main(["--count", "1"], FakeNvml(cards=1)) == 0
    assert capsys.readouterr().out.count("Card 0") == 1


@pytest.mark.parametrize(
    ("nvml", "message"),
    [(FakeNvml(driver=False), "No NVIDIA card can be read here"), (FakeNvml(cards=0), "no card")],
)
def test_a_machine_without_a_card_is_told_so_with_exit_code_2(capsys, nvml, message):
    assert main([], nvml) == 2
    assert message in capsys.readouterr().err
    with pytest.raises(EngineError, match=message):
        Cards(nvml)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--interval", "0"], "--interval is 0. Use 0.05 to 3600 seconds."),
        (["--count", "0"], "--count is 0. Use 1 or more."),
        (["--interval", "x"], "invalid float value"),
        (["--csv", "/proc/no/file"], "cannot be written"),
    ],
)
def test_wrong_flags_are_explained(capsys, argv, message):
    assert main(argv, FakeNvml()) == 2
    assert message in capsys.readouterr().err

"""The page about performance says what the bench does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from newbie_ui.bench import command, setup, suite, tables
from newbie_ui.bench.rungs import ladder
from newbie_ui.engine.base import DeviceInfo
from newbie_ui.presets import Preset

PAGE = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")
CARD = DeviceInfo("cuda", "A card", 85.0, (9, 0))
ROWS = re.findall(r"^\| (`.+?) \| (.+?) \|", PAGE, re.M)


def test_the_ladders_rungs_are_explained_in_their_order():
    named = [name for cell, _ in ROWS for name in re.findall(r"`([\w-]+)`", cell)]
    wanted = [rung.name for rung in ladder(CARD, Preset(name="turbo"))]
    wanted.insert(wanted.index("fp8") + 1, "int8")
    assert named[: len(wanted)] == wanted


def test_the_suites_stages_are_explained_with_their_minutes():
    rows = [(cell.strip("`"), second) for cell, second in ROWS]
    for stage in suite.stages(suite.Scale(), "fp8", True):
        assert (stage.name, f"{stage.minutes:g}") in rows


def test_what_is_asked_of_the_presets_is_what_the_report_looks_at():
    row = next(line for line in PAGE.splitlines() if line.startswith("| peak reserved"))
    order = re.search(r"reserved: ([\w, ]+\w)", row).group(1).split(", ")
    assert f"≤ {', '.join(f'{tables.PEAKS[name]:g}' for name in order)} GB" in row
    assert order == list(tables.TIMES)


@pytest.mark.parametrize("line", re.findall(r"^python -m newbie_ui\.bench(?: .*)?$", PAGE, re.M))
def test_the_commands_are_understood(monkeypatch, line):
    for module in (command, setup):
        monkeypatch.setattr(module, "describe_device", lambda device: CARD)
    assert command.parse(shlex.split(line, comments=True)[3:]).rungs


def test_a_figure_is_never_given_for_what_was_not_measured():
    for line in PAGE.partition("## Targets")[2].partition("## Ceilings")[0].splitlines():
        if line.startswith("| ") and "asked" not in line:
            assert line.endswith(("| not yet |", "| not yet on a card |"))

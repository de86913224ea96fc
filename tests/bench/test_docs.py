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
MEASURED = Path(__file__).parents[2] / "docs" / "measurements"
FOUND = {}
for folder in ("h100-2026-11-24", "h200-2026-11-28", "h200-2026-11-29", "h200-2026-11-30"):  # later ones count
    FOUND |= suite.read(MEASURED / folder)
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


@pytest.mark.parametrize("line", re.findall(r"^python -m newbie_ui\.bench(?: .*)?$", PAGE, re.M))
def test_the_commands_are_understood(monkeypatch, line):
    for module in (command, setup):
        monkeypatch.setattr(module, "describe_device", lambda device: CARD)
    assert command.parse(shlex.split(line, comments=True)[3:]).rungs


def section(title, until):
    return PAGE.partition(f"## {title}")[2].partition(f"## {until}")[0]


def test_targets_have_the_figures_of_the_committed_results_and_no_others():
    page = section("Targets", "What each rung brought")
    measured = {text: value for _, text, value, _ in tables.targets(FOUND)[1:]}
    lines = [line for line in page.splitlines() if line.count("|") == 4]
    for text, value in measured.items():
        row = next(line for line in lines if text in line)
        assert row.endswith("| not yet |") if value == "not measured" else f"| {value}" in row, (row, value)
    assert sum(value != "not measured" for value in measured.values()) > 5


def test_presets_have_the_figures_of_the_committed_results():
    page, preset = section("Targets", "What each rung brought"), ""
    rows = {tuple(row[:2]): row[2:7] for row in tables.presets(FOUND)[1:]}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) != 8 or "×" not in cells[2]:
            continue
        preset = cells[0] or preset
        peak, allowed, ratio, slower, new = rows.pop((preset, cells[2]))
        assert (cells[3], cells[4], cells[7]) == (f"{peak} GB", allowed, f"{new} s")
        assert cells[5].startswith(ratio)
        assert slower.removeprefix("≤ ") == cells[6].removeprefix("≤ ")
    assert not rows


def test_rungs_have_the_figures_of_the_committed_results():
    page = section("What each rung brought", "Ceilings")
    for row in FOUND["ladder"]["result"]["results"]:
        line = next(line for line in page.splitlines() if re.match(rf"\| {row['rung']}[ ,(]", line))
        cells = [cell.strip() for cell in line.split("|")]
        assert (cells[4], cells[6]) == (f"{row['steady_s']:.2f}", f"{row['step_ms']:.1f}")

"""The pages about checkpoints, samplers and LoRAs say what the code does."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from newbie_ui.demo.samplers import table
from newbie_ui.model.checkpoints import keys
from newbie_ui.model.checkpoints.card import read_sidecar
from newbie_ui.model.checkpoints.weights import PICKLED
from newbie_ui.model.lora import MAX_WEIGHT, ROOMS
from newbie_ui.request import SAMPLERS, SCHEDULES
from newbie_ui.settings import Settings, flag

DOCS = Path(__file__).parents[2] / "docs"


def page(name):
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*SAMPLERS, *SCHEDULES])
def test_every_sampler_and_schedule_has_its_row(name):
    assert f"\n| `{name}` |" in page("samplers")


@pytest.mark.parametrize("name", ["checkpoints", "lora"])
def test_every_flag_that_is_named_exists(name):
    named = set(re.findall(r"(?<=[` ])--[a-z][a-z-]+", page(name)))
    assert named
    assert named <= {flag(setting.name) for setting in fields(Settings)}


def test_every_layout_has_its_row():
    parts = (keys.TRANSFORMER, keys.GEMMA, keys.JINA, keys.VAE)
    for layout in (layout for part in parts for layout in part.layouts):
        assert f"{layout.name}" in page("checkpoints")
        assert f"`{layout.marker}`" in page("checkpoints")
    assert all(f"`{ending}`" in page("checkpoints") for ending in PICKLED)


def test_the_sidecars_keys_are_listed(tmp_path):
    listed = re.search(r"cannot: (.+?)\. All", page("checkpoints"), re.DOTALL)[1]
    named = set(re.findall(r"`(\w+)`", listed))
    (tmp_path / "newbie_ui.json").write_text('{"x": 1}')
    with pytest.raises(Exception, match="unknown key") as refused:
        read_sidecar(tmp_path / "newbie_ui.json")
    assert named == set(str(refused.value).rpartition("Use: ")[2].rstrip(".").split(", "))


def test_the_rooms_and_weights_of_loras_are_as_written():
    assert ", ".join(map(str, ROOMS[:-1])) + f" or {ROOMS[-1]}" in page("lora")
    assert f"−{MAX_WEIGHT:g} to {MAX_WEIGHT:g}" in page("lora")


def test_the_table_of_samplers_is_one_that_the_measure_printed():
    printed = re.search(r"(\| sampler \| 4 \|.*?\n)\n", page("samplers"), re.DOTALL)[1].strip()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines()]
    assert [row[0] for row in rows] == [f"`{name}`" for name in SAMPLERS]
    counts = [int(cell) for cell in head if cell.isdigit()]
    curves, errors = {}, {}
    for name, *cells in rows:
        values = zip(counts, (cell.strip("*") for cell in cells))
        curves[name.strip("`")] = {count: float(value) for count, value in values if value}
        errors[name.strip("`")] = float(cells[-1])
    assert table(curves, errors) == printed

"""The page about grids says what the code does."""

import contextlib
import io
import re
from decimal import Decimal
from pathlib import Path

import pytest

from newbie_ui.grid import keep, sheet, values
from newbie_ui.grid.axes import Known, offered, read_axis
from newbie_ui.grid.plan import MAX_CELLS
from newbie_ui.grid.runner import AHEAD
from newbie_ui.request import PARAMETERS, GenerateRequest

PAGE = (Path(__file__).parents[2] / "docs" / "grids.md").read_text("utf-8")
PROMPT = "<character_1><appearance>blue_hair</appearance><clothing>a</clothing></character_1><caption>b</caption>"
KNOWN = Known(presets=(("balanced", "Balanced"),), loras=("ink",))


def table(heading):
    """Cells of the first table under a heading, without its head."""
    rows = re.findall(r"^\|(.+)\|$", PAGE.split(f"## {heading}\n")[1].split("\n## ")[0], re.MULTILINE)
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)] for row in rows[2:]]


@pytest.mark.parametrize("row", table("How values are written"), ids=lambda row: row[0])
def test_every_way_to_write_numbers_is_read_as_the_page_says(row):
    meant = [float(number) for number in re.sub(r"\(.*\)", "", row[1]).split(",")]
    for typed in re.findall(r"`([^`]+)`", row[0]):
        assert [float(v) for v in values.numbers(typed, "Steps", whole=True, step=Decimal(1))] == meant


def test_every_axis_is_on_the_page_and_every_example_works():
    ids = {"LoRA": "loras", "Weight": "lora:ink", "Text": "replace", "A field": "character:1:clothing"}
    listed = []
    for names, _, examples in table("What can vary"):
        for name in re.sub(r" as a whole$", "", names).split(", "):
            known = [n for n, p in PARAMETERS.items() if p.label == name and n not in ("loras", "images")]
            start = next((id for word, id in ids.items() if name.startswith(word)), "size" if name == "Size" else "")
            id = known[0] if known else start
            if not id:
                continue
            listed.append(id)
            for example in re.findall(r"`([^`]+)`", examples):
                # One example stands for a row of axes; those with another range or other names get a value of theirs.
                typed = "0.5" if id.startswith("guidance_") and id != "guidance_scale" else example
                typed = "256..512 step 128" if id in ("width", "height") else typed
                typed = PARAMETERS[id].choices[0] if id in PARAMETERS and PARAMETERS[id].choices else typed
                assert read_axis(id, typed, GenerateRequest(prompt=PROMPT), KNOWN).values
    whole = {offer.id for offer in offered(PROMPT, KNOWN) if offer.group not in ("character", "general", "extra")}
    assert whole <= set(listed)


def test_the_limits_on_the_page_are_those_of_the_code():
    for said in (
        f"up to {values.MAX_VALUES} values, a grid up to {MAX_CELLS} pictures",
        f"up to {sheet.MAX_SIDE} pixels a side and {sheet.MAX_PIXELS // 10**6} million",
        f"collection *{keep.COLLECTION}*",
    ):
        assert said in " ".join(PAGE.split())
    assert (AHEAD, sheet.BAND) == (2, 6)


def test_the_example_runs():
    code = PAGE.split("```python\n")[1].split("```")[0]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "docs/grids.md", "exec"), {})
    assert len(printed.getvalue().splitlines()) == 6

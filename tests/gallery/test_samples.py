"""Each sample file of each program reads as `data/expected.json` says."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from newbie_ui.gallery.info import stem
from newbie_ui.gallery.metadata import main, read
from tests.gallery.making import DATA

EXPECTED = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))
FIELDS = ("program", "prompt", "negative", "seed", "steps", "sampler", "scheduler", "cfg", "width", "height", "model")
BONUS = ("shift", "system_prompt", "character_negatives", "hires")


def same_text(one, other) -> bool:
    return _lines(one) == _lines(other)


def _lines(text) -> list[str]:
    return [line.strip() for line in (text or "").replace("\r\n", "\n").strip().split("\n")]


def matches(field: str, found, wanted) -> bool:
    if field in ("prompt", "negative"):
        return same_text(found, wanted)
    if field == "seed":
        return found == (None if wanted is None else str(wanted))
    if field == "model":
        return (found and stem(found)) == (wanted and stem(wanted))
    return found == wanted


@pytest.mark.parametrize("name", EXPECTED)
def test_every_field_of_the_sample_is_read(name):
    wanted, found = EXPECTED[name], read(DATA / name).to_json()
    also = wanted.get("also_ok", {})
    for field in FIELDS:
        accepted = [wanted[field], *also.get(field, [])]
        assert any(matches(field, found[field], value) for value in accepted), (field, found[field])
    assert {(stem(n), w) for n, w in found["loras"]} == {(stem(n), w) for n, w in wanted["loras"]}
    for field in BONUS:
        if field in wanted:
            assert found[field] == wanted[field]
    if "character_centers" in wanted:
        assert [list(center) for center in found["character_centers"]] == wanted["character_centers"]


@pytest.mark.parametrize("name", [name for name, wanted in EXPECTED.items() if "characters" in wanted])
def test_every_character_is_found_with_all_its_fields(name):
    wanted, found = EXPECTED[name], read(DATA / name).to_json()
    assert [text.strip() for text in found["characters"]] == [text.strip() for text in wanted["characters"]]
    if "character_fields" in wanted:
        assert found["character_fields"] == wanted["character_fields"]


@pytest.mark.parametrize("name", [name for name, wanted in EXPECTED.items() if "extra" in wanted])
def test_settings_without_a_field_of_ours_are_kept(name):
    assert EXPECTED[name]["extra"].items() <= read(DATA / name).extra.items()


def test_the_command_prints_one_json_line_a_file_with_the_seed_as_text():
    files = [str(DATA / name) for name in EXPECTED]
    command = [sys.executable, "-W", "error", "-m", "newbie_ui.gallery.metadata", "--json", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in lines] == files
    assert lines[0]["seed"] == "2871450923"
    assert lines[14]["program"] is None
    assert lines[14]["problems"]


def test_the_command_says_why_a_file_cannot_be_read_and_ends_with_2(tmp_path, capsys):
    (tmp_path / "page.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    assert main(["--json", str(tmp_path / "page.png"), str(DATA / "01_a1111_basic.png"), str(tmp_path / "none")]) == 2
    refused, good, missing = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert "'page.png' is not a PNG, WebP or JPEG picture" in refused["error"]
    assert good["program"] == "A1111"
    assert "cannot be read" in missing["error"]


def test_the_command_tells_people_in_lines(capsys):
    assert main([str(DATA / "01_a1111_basic.png")]) == 0
    assert "seed: 2871450923" in capsys.readouterr().out

"""What the engine's page says is so, and its example runs."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

import newbie_ui.engine
from newbie_ui.engine.stages import WARM_BUCKETS
from newbie_ui.model.fit import CAPTION_BUCKETS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "engine.md"


def test_the_example_makes_a_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    exec(compile(code, str(PAGE), "exec"), {})
    assert Image.open("picture.png").size == (256, 256)


def test_every_file_it_names_exists():
    named = re.findall(r"^\| `(\w+\.py)`", PAGE.read_text(encoding="utf-8"), re.M)
    assert len(named) > 8
    assert [name for name in named if not (Path(newbie_ui.engine.__file__).parent / name).is_file()] == []


def test_the_caption_lengths_are_as_written():
    written = re.search(r"caption_buckets = (\([\d, ]+\))", (DOCS / "model.md").read_text(encoding="utf-8"))[1]
    assert written == str(CAPTION_BUCKETS)
    warmed = re.search(r"up to ([\d, ]+ and \d+) tokens", (DOCS / "presets.md").read_text(encoding="utf-8"))[1]
    assert [int(length) for length in re.findall(r"\d+", warmed)] == list(WARM_BUCKETS)

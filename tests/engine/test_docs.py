"""The example in the engine's page runs."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

PAGE = Path(__file__).parents[2] / "docs" / "engine.md"


def test_the_example_makes_a_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    exec(compile(code, str(PAGE), "exec"), {})
    assert Image.open("picture.png").size == (256, 256)

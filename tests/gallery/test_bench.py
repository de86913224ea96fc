"""The benchmark runs and tells its figures; how fast it is depends on the machine and is no test."""

from __future__ import annotations

import json

from newbie_ui.gallery import bench
from newbie_ui.gallery.bench import QUESTIONS, main


def test_the_benchmark_makes_pictures_and_times_every_question(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "REPEATS", 2)
    assert main(["--pictures", "70", "--size", "32", "--folder", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pictures"] == 70
    assert set(QUESTIONS) < set(found["times"])
    assert all(times["median_ms"] >= 0 for times in found["times"].values())
    assert main(["--pictures", "5", "--size", "32"]) == 0
    assert "first page" in capsys.readouterr().out

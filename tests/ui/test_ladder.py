"""The ladder's run from the page: a process of its own, its result kept, its failures told."""

import json
import sys
import time

import pytest

from newbie_ui.errors import EngineError
from newbie_ui.settings import from_flags
from newbie_ui.ui.ladder import FILE_NAME, Ladder, model_flags, proof, row


def result(rung, step_ms, **more):
    values = {"width": 256, "height": 256, "batch": 1, "steps": 20, "steady_s": step_ms / 50, "floor_ms": 100.0}
    return {"rung": rung, "adds": f"adds {rung}", "step_ms": step_ms, "resident_gb": 0.8, **values, **more}


RUN = {
    "device": {"name": "Processor"},
    "model": "demo",
    "dtype": "float32",
    "at": "2026-11-22T11:00:00+00:00",
    "ceilings": {"matmul": {"qkv": 2e12}, "fp8": {}, "attention": {"native": 1e12}},
    "results": [
        result("reference", 400.0, first_s=9.0),
        result("eager", 200.0, share_of_floor=0.5, psnr_db=None),
        result("large", 900.0, width=1024),
    ],
}


@pytest.fixture
def settings(tmp_path):
    return from_flags({"output_dir": str(tmp_path)}, {})


def ladder(settings, code):
    return Ladder(settings, [sys.executable, "-c", code])


def ended(run):
    for _ in range(500):
        if not run.running:
            return run
        time.sleep(0.02)
    raise AssertionError("the run did not end")


def test_a_run_says_what_it_does_and_its_result_is_found_after_a_restart(settings, tmp_path):
    code = f"print('eager: 0.2 s', flush=True); print({json.dumps(json.dumps(RUN))})"
    run = ladder(settings, code)
    run.start()
    ended(run)
    assert run.line == "eager: 0.2 s"
    assert run.error == ""
    assert run.runs() == [RUN]
    assert (tmp_path / FILE_NAME).read_text().count("\n") == 1
    assert Ladder(settings).runs() == [RUN]


def test_why_a_run_ended_is_told_in_its_own_sentence(settings):
    run = ladder(settings, "import sys; print('newbie_ui: The card is too small.', file=sys.stderr); sys.exit(2)")
    run.start()
    assert ended(run).error == "The card is too small."
    assert run.runs() == []


def test_a_crash_points_to_the_log(settings, caplog):
    run = ladder(settings, "1 / 0")
    run.start()
    assert "code 1" in ended(run).error
    assert "ZeroDivisionError" in caplog.text


def test_one_run_at_a_time_and_it_can_be_stopped(settings):
    run = ladder(settings, "import time; print('begun', flush=True); time.sleep(60)")
    run.start()
    with pytest.raises(EngineError, match="is being measured"):
        run.start()
    run.stop()
    assert ended(run).error == ""
    assert run.runs() == []


def test_damaged_lines_are_left_out(settings, tmp_path):
    lines = [
        "{",
        "[]",
        '{"results": [{"rung": 1}]}',
        '{"results": []}',
        json.dumps(RUN),
        '{"results": [{"rung": "x"}]}',
    ]
    (tmp_path / FILE_NAME).write_text("\n".join(lines))
    assert Ladder(settings).runs() == [RUN]


def test_the_chart_compares_what_can_be_compared():
    chart = json.loads(json.dumps(proof(RUN)))
    assert [rung["label"] for rung in chart["rungs"]] == ["reference", "eager"]
    assert [rung["best"] for rung in chart["rungs"]] == [False, True]
    assert chart["rungs"][1]["cells"] == ["4", "0.80", "–", "50%", "–", "2.00 ×"]
    assert chart["floors"] == [{"value": 100.0, "label": "floor 100 ms"}]
    assert chart["ceilings"][0] == {"name": "Matmul, qkv", "tflops": 2.0}
    assert chart["subject"] == "demo on Processor, float32, 256 × 256, 20 steps, 2026-11-22"
    assert proof(None) is None
    assert row(RUN)["what"] == "eager"


def test_the_bench_measures_the_model_that_the_page_uses(tmp_path):
    settings = from_flags({"output_dir": str(tmp_path), "model": "/models/newbie", "device": "cpu", "port": "1"}, {})
    assert model_flags(settings) == ["--model", "/models/newbie", "--device", "cpu"]
    assert model_flags(None) == []

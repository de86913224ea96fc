"""What the benchmark shows: figures of pictures that were made, never of ones that cannot be compared."""

import json

import pytest

from newbie_ui.engine.base import DeviceInfo, EngineState, EngineStatus, PresetChoice
from newbie_ui.engine.fake import FAKE_MODEL
from newbie_ui.request import GenerateRequest, GenerateResult, Memory, ResolvedRequest, Timings
from newbie_ui.ui import bench_views as views
from newbie_ui.ui.bench_views import Made
from newbie_ui.ui.measuring import PresetFigures, Run, figures_of

STATUS = EngineStatus(EngineState.READY, device=DeviceInfo("cpu", "Processor", 24.0), model=FAKE_MODEL)


def made(seconds: float, preset: str = "cpu", at: float = 0.0, size: int = 256, model: str = FAKE_MODEL.name) -> Made:
    timings = Timings(queue_s=5.0, encode_s=0.1, denoise_s=seconds - 0.2, decode_s=0.1, total_s=5.0 + seconds, steps=10)
    return Made(f"id{at}", at, model, preset, size, size, 10, timings, Memory(resident_gb=1.0 + seconds), "warm")


def test_seconds_leave_out_the_queue():
    assert made(3.0).seconds == pytest.approx(3.0)


def test_only_pictures_of_the_same_model_size_and_steps_are_compared():
    pictures = [made(9, size=512), made(1, model="another"), made(2, at=1), made(3, at=2)]
    assert [m.seconds for m in views.comparable(pictures, STATUS)] == pytest.approx([2, 3])
    assert views.comparable([], STATUS) == []


def test_the_best_preset_is_the_one_with_the_lowest_median():
    pictures = [made(4, "slow"), made(2, "fast"), made(9, "fast"), made(3, "fast")]
    key = views.key_figures(pictures, STATUS, Run(), 4, 1.0)
    assert key["best_preset"] == "fast"
    assert key["best_s"] == pytest.approx(3)
    assert key["per_step_s"] == pytest.approx(0.28)
    assert key["peak_gb"] == pytest.approx(10)
    assert key["first_s"] is None


def test_without_pictures_there_are_no_figures():
    key = views.key_figures([], STATUS, Run(), 0, None)
    assert key["best_s"] is None
    assert views.subject(STATUS, []) == ""


def test_a_row_carries_what_the_engine_says_and_what_the_run_measured():
    choice = PresetChoice("cpu", "Processor", "eager", True, True, median_s=3.0, peak_gb=4.0, measured=True)
    run = Run(("cpu",), (PresetFigures("cpu", first_s=12.0, per_step_s=0.3),))
    (row,) = views.preset_rows([choice], [], run)
    assert (row["seconds"], row["measured"], row["first"], row["per_step"]) == (3.0, True, 12.0, 0.3)
    estimate = PresetChoice("cpu", "Processor", "eager", True, True, median_s=9.0, peak_gb=9.0)
    (row,) = views.preset_rows([estimate], [made(2.0), made(4.0)], Run())
    assert (row["seconds"], row["measured"], row["gb"]) == (pytest.approx(3.0), True, pytest.approx(5.0))


def test_the_engine_is_asked_about_the_same_size_and_steps():
    request = views.request_like([made(2.0)])
    assert (request.width, request.height, request.steps) == (256, 256, 10)
    assert views.request_like([]) is None


def test_everything_is_plain_data():
    run = Run(("cpu", "x"), (PresetFigures("cpu", error="too small"),), running=True, preset="x", step=1, steps=4)
    value = json.loads(json.dumps([views.run_value(run, {"cpu": "Processor"}), made(2.0).row()]))
    assert value[0]["errors"] == ["Processor: too small"]
    assert 0 < value[0]["fraction"] < 1


def test_the_first_picture_does_not_count_for_the_median():
    def result(seconds):
        resolved = ResolvedRequest(GenerateRequest(), "", 64, 64, 4, 4.5, 6.0, 1, "cpu", "Demo")
        timings = Timings(denoise_s=seconds, total_s=seconds, steps=4)
        return GenerateResult("x", resolved, timings, Memory(reserved_gb=seconds), 0.0)

    figures = figures_of("cpu", [result(60.0), result(2.0), result(4.0)])
    assert (figures.first_s, figures.median_s, figures.peak_gb) == (60.0, 3.0, 60.0)


def test_a_processor_is_watched_through_the_machine():
    reading = views.Monitor().read(STATUS)
    assert 0 < reading["used_gb"] < reading["total_gb"]
    assert [key for key, _ in reading["more"]] == ["process", "compile", "queue"]


def test_a_card_without_a_driver_shows_what_is_known():
    card = DeviceInfo("cuda", "Card", 24.0)
    status = EngineStatus(EngineState.READY, device=card, model=FAKE_MODEL, memory=Memory(reserved_gb=7.0))
    monitor = views.Monitor()
    monitor._asked = True  # no driver was found
    reading = monitor.read(status)
    assert (reading["used_gb"], reading["total_gb"], reading["busy"]) == (7.0, 24.0, None)

"""Measuring presets from the page: real jobs through the queue, one run at a time."""

import time

import pytest

from newbie_ui.engine.fake import FakeEngine, Fault
from newbie_ui.errors import EngineError
from newbie_ui.ui.measuring import PICTURES, Measuring


@pytest.fixture
def engine():
    made = []
    engine = FakeEngine(lambda result: made.append(result) or result, step_s=0.001)
    engine.made = made
    engine.open()
    yield engine
    engine.close()


def wait_for(measuring: Measuring) -> None:
    for _ in range(400):
        if not measuring.run.running:
            return
        time.sleep(0.01)
    raise AssertionError("the run did not end")


def test_a_run_makes_real_pictures_and_keeps_the_first_apart(engine):
    measuring = Measuring(engine)
    measuring.start(["cpu"])
    wait_for(measuring)
    (figures,) = measuring.run.figures
    assert len(engine.made) == PICTURES
    assert figures.preset == "cpu"
    assert figures.median_s > 0
    assert figures.per_step_s > 0
    assert figures.peak_gb == 0.5
    assert figures.error == ""
    assert measuring.run.fraction == 1.0
    assert measuring.run.size == (256, 256)


def test_presets_that_do_not_fit_are_not_measured(engine):
    with pytest.raises(EngineError, match="None of these presets fits"):
        Measuring(engine).start(["quality", "no such preset"])


def test_a_second_run_waits_its_turn_and_stopping_keeps_what_is_measured(engine):
    engine.step_s = 0.2
    measuring = Measuring(engine)
    measuring.start(["cpu"])
    with pytest.raises(EngineError, match="under way"):
        measuring.start(["cpu"])
    time.sleep(0.1)
    measuring.stop()
    wait_for(measuring)
    assert measuring.run.stopped
    assert measuring.run.figures[0].median_s is None


def test_a_failure_is_shown_beside_its_preset(engine):
    engine.faults.append(Fault(EngineError("The device is too small. Use another preset.")))
    measuring = Measuring(engine)
    measuring.start(["cpu"])
    wait_for(measuring)
    assert "too small" in measuring.run.figures[0].error

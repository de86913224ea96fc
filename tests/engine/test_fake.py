"""The engine machinery, seen through FakeEngine: events, queue, cancel, failures, lifecycle."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from newbie_ui.engine.base import EngineState, generate
from newbie_ui.engine.fake import FakeEngine, Fault
from newbie_ui.errors import EngineError, OutOfMemory, RequestError
from newbie_ui.request import (
    Cancelled,
    Done,
    Encoded,
    Failed,
    GenerateRequest,
    Loading,
    Picture,
    Queued,
    Step,
)

QUICK = {"step_s": 0.0}
REQUEST = GenerateRequest(prompt="1girl, blue_hair", steps=4, seed=7)


@pytest.fixture
def engine():
    with FakeEngine(**QUICK) as engine:
        yield engine


@pytest.fixture
def slow():
    with FakeEngine(step_s=0.02) as engine:
        yield engine


def names(events):
    return [type(event).__name__ for event in events]


def wait_for_step(engine, job, index=1):
    for event in engine.events(job):
        if isinstance(event, Step) and event.index >= index:
            return event
    raise AssertionError("the job ended before that step")


def test_a_request_becomes_its_events_in_order(engine):
    events = [e for e in generate(engine, REQUEST) if not isinstance(e, Loading)]
    assert names(events) == ["Queued", "Encoded", "Step", "Step", "Step", "Step", "Picture", "Done"]
    assert [e.index for e in events if isinstance(e, Step)] == [1, 2, 3, 4]


def test_the_same_request_and_seed_give_the_same_pixels_and_another_seed_others(engine):
    def pixels(request):
        return next(e.result.image for e in generate(engine, request) if isinstance(e, Picture)).tobytes()

    assert pixels(REQUEST) == pixels(REQUEST)
    assert pixels(REQUEST) != pixels(replace(REQUEST, seed=8))
    assert pixels(REQUEST) != pixels(replace(REQUEST, prompt="1girl, pink_hair"))


def test_several_pictures_take_the_following_seeds_and_sorted_ids(engine):
    results = [e.result for e in generate(engine, replace(REQUEST, images=3)) if isinstance(e, Picture)]
    assert [r.resolved.seed for r in results] == [7, 8, 9]
    assert [r.id for r in results] == sorted({r.id for r in results})


def test_wildcards_are_drawn_by_each_seed_and_recorded_as_drawn(engine):
    request = replace(REQUEST, prompt="{red|green|blue}_hair", images=8)
    results = [e.result for e in generate(engine, request) if isinstance(e, Picture)]
    drawn = [r.resolved.prompt for r in results]
    assert set(drawn) <= {"red_hair", "green_hair", "blue_hair"}
    assert len(set(drawn)) > 1
    assert results[0].resolved.request.prompt == "{red|green|blue}_hair"
    again = [e.result.resolved.prompt for e in generate(engine, request) if isinstance(e, Picture)]
    assert again == drawn


def test_a_random_seed_is_drawn_once_and_recorded(engine):
    first, second = (
        next(e.result.resolved.seed for e in generate(engine, replace(REQUEST, seed=None)) if isinstance(e, Picture))
        for _ in range(2)
    )
    assert first != second


def test_timings_add_up_to_the_total(engine):
    timings = next(e.result.timings for e in generate(engine, REQUEST) if isinstance(e, Picture))
    stages = timings.queue_s + timings.encode_s + timings.denoise_s + timings.decode_s
    assert timings.total_s == pytest.approx(stages)
    assert timings.steps == 4


def test_previews_are_small_jpegs_and_only_the_newest_is_kept(slow):
    job = slow.submit(REQUEST)
    live = [e.preview for e in slow.events(job) if isinstance(e, Step) and e.preview]
    assert live  # the last may be gone before it is read: the job has ended by then
    for preview in live:
        assert Image.open(io.BytesIO(preview)).format == "JPEG"
        assert len(preview) < 20_000
    again = [e.preview for e in slow.events(job) if isinstance(e, Step)]
    assert again == [None] * 4


def test_events_can_be_read_again_from_the_start_and_from_the_middle(engine):
    job = engine.submit(REQUEST)
    first = names(engine.events(job))
    assert names(engine.events(job)) == first
    assert names(engine.events(job, after=3)) == first[3:]
    assert names(engine.events(job, after=99)) == []


def test_two_readers_follow_one_job_at_once(slow):
    job = slow.submit(REQUEST)
    seen = [[], []]
    threads = [threading.Thread(target=lambda s=s: s.extend(names(slow.events(job)))) for s in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert seen[0] == seen[1]
    assert seen[0][-1] == "Done"


def test_cancel_stops_within_one_step(slow):
    job = slow.submit(replace(REQUEST, steps=50))
    at = wait_for_step(slow, job).index
    slow.cancel(job)
    events = list(slow.events(job))
    assert isinstance(events[-1], Cancelled)
    assert max(e.index for e in events if isinstance(e, Step)) <= at + 2


def test_closing_the_iterator_cancels_the_job(slow):
    events = generate(slow, replace(REQUEST, steps=50))
    job = next(e.job for e in events if isinstance(e, Step))
    events.close()
    assert isinstance(list(slow.events(job))[-1], Cancelled)


def test_skip_gives_up_one_picture_and_goes_on_with_the_next(slow):
    job = slow.submit(replace(REQUEST, images=2))
    wait_for_step(slow, job)
    slow.skip(job)
    events = list(slow.events(job))
    assert [e.index for e in events if isinstance(e, Picture)] == [1]
    assert events[-1] == Done(job, pictures=1)


def test_finish_completes_the_present_picture_then_stops(slow):
    job = slow.submit(replace(REQUEST, images=3))
    wait_for_step(slow, job)
    slow.finish(job)
    assert list(slow.events(job))[-1] == Cancelled(job, pictures=1)


def test_finish_takes_a_waiting_job_out_of_the_queue(slow):
    slow.submit(replace(REQUEST, steps=50))
    waiting = slow.submit(REQUEST)
    slow.finish(waiting)
    assert list(slow.events(waiting))[-1] == Cancelled(waiting, pictures=0)


def test_status_lists_the_running_job_first_and_the_wait_grows(slow):
    jobs = [slow.submit(replace(REQUEST, steps=30)) for _ in range(3)]
    wait_for_step(slow, jobs[0])
    status = slow.status()
    assert status.state is EngineState.BUSY
    assert [job.id for job in status.jobs] == jobs
    assert [job.state for job in status.jobs] == ["running", "queued", "queued"]
    assert status.jobs[1].wait_s < status.jobs[2].wait_s
    for job in reversed(jobs):
        slow.cancel(job)


def test_a_moved_job_is_done_first(slow):
    blocker, first, second = (slow.submit(replace(REQUEST, steps=s)) for s in (20, 1, 1))
    wait_for_step(slow, blocker)
    slow.move(second, 0)
    assert [job.id for job in slow.status().jobs] == [blocker, second, first]
    assert [e.ahead for e in slow.events(second) if isinstance(e, Queued)][:2] == [2, 1]


def test_an_unexpected_failure_shows_a_reference_but_not_its_text_and_the_next_job_works():
    faults = [Fault(RuntimeError("secret path /root"), stage="step", step=2)]
    with FakeEngine(**QUICK, faults=faults) as engine:
        failed = list(generate(engine, REQUEST))[-1]
        assert isinstance(failed, Failed)
        assert "secret" not in failed.message
        assert failed.reference in failed.message
        assert isinstance(list(generate(engine, REQUEST))[-1], Done)


@pytest.mark.parametrize("stage", ["encode", "step", "decode"])
def test_a_user_error_in_any_stage_is_shown_as_it_is(stage):
    with FakeEngine(**QUICK, faults=[Fault(OutOfMemory("Too small. Use 512×512."), stage=stage)]) as engine:
        assert list(generate(engine, REQUEST))[-1].message == "Too small. Use 512×512."
        assert isinstance(list(generate(engine, REQUEST))[-1], Done)


def test_a_failing_sink_is_explained_and_the_engine_serves_on(tmp_path):
    def full_disk(result):
        raise OSError(28, "No space left on device")

    with FakeEngine(full_disk, **QUICK) as engine:
        failed = list(generate(engine, REQUEST))[-1]
        assert "could not be saved (No space left on device)" in failed.message
        assert engine.status().state in (EngineState.READY, EngineState.BUSY)


def test_a_stored_picture_is_announced_after_storing_and_without_its_pixels(tmp_path):
    def sink(result):
        path = tmp_path / f"{result.id}.png"
        result.image.save(path)
        return replace(result, path=str(path))

    with FakeEngine(sink, **QUICK) as engine:
        result = next(e.result for e in generate(engine, REQUEST) if isinstance(e, Picture))
    assert result.image is None
    assert Image.open(result.path).size == (256, 256)


def test_the_next_job_is_begun_while_the_last_picture_is_still_being_stored():
    begun = threading.Event()

    def slow_disk(result):
        assert result.resolved.seed != 1 or begun.wait(10)
        return result

    with FakeEngine(slow_disk, **QUICK) as engine:
        first, second = (engine.submit(replace(REQUEST, seed=seed)) for seed in (1, 2))
        engine._make, make = lambda job: (begun.set() if job.id == second else None, make(job))[1], engine._make
        assert [type(e) for e in engine.events(first)][-2:] == [Picture, Done]
        assert isinstance(list(engine.events(second))[-1], Done)


def test_only_a_few_pictures_wait_for_a_slow_disk():
    gate, stored = threading.Event(), []

    def blocked_disk(result):
        assert gate.wait(10)
        stored.append(result.id)
        return result

    with FakeEngine(blocked_disk, **QUICK) as engine:
        made, decode = [], engine._decode
        engine._decode = lambda resolved: made.append(1) or decode(resolved)
        job = engine.submit(replace(REQUEST, images=20, steps=1))
        threading.Event().wait(0.3)
        assert 1 <= len(made) <= 6
        gate.set()
        assert list(engine.events(job))[-1] == Done(job, pictures=20)
    assert stored == sorted(stored)


def test_a_picture_that_cannot_be_stored_ends_its_job_and_keeps_the_ones_before():
    def second_fails(result):
        if result.resolved.seed == 8:
            raise OSError(28, "No space left on device")
        return result

    with FakeEngine(second_fails, **QUICK) as engine:
        events = list(generate(engine, replace(REQUEST, images=3)))
        assert [e.index for e in events if isinstance(e, Picture)] == [0]
        assert isinstance(events[-1], Failed)
        assert isinstance(list(generate(engine, REQUEST))[-1], Done)


def test_a_bad_request_is_refused_with_its_field(engine):
    with pytest.raises(RequestError, match="Width 70 is not a multiple of 16") as caught:
        engine.submit(GenerateRequest(width=70))
    assert caught.value.field == "width"


def test_the_prompt_cache_is_told(engine):
    list(generate(engine, REQUEST))
    assert next(e for e in generate(engine, REQUEST) if isinstance(e, Encoded)).cached


def test_the_preset_list_is_the_shipped_one_with_the_times_it_took(engine):
    list(generate(engine, REQUEST))
    first, *others = engine.presets(REQUEST)
    assert (first.name, first.fits, first.recommended, first.measured) == ("cpu", True, True, True)
    shipped = {path.stem for path in (Path(__file__).parents[2] / "presets").glob("*.toml")}
    assert {choice.name for choice in others} == shipped - {"cpu"}
    assert all(not choice.fits and "this machine has none" in choice.reason for choice in others)


def test_jobs_wait_while_the_engine_opens_and_hear_of_it():
    with FakeEngine(step_s=0.0, open_s=0.2) as engine:
        events = list(generate(engine, REQUEST))
    assert "Loading" in names(events)
    assert isinstance(events[-1], Done)


def test_failing_to_open_fails_the_waiting_jobs_and_refuses_new_ones():
    engine = FakeEngine(open_s=0.2, faults=[Fault(EngineError("No such model."), stage="load")])
    engine.open()
    job = engine.submit(REQUEST)
    assert list(engine.events(job))[-1] == Failed(job, message="No such model.")
    assert engine.status().state is EngineState.FAILED
    with pytest.raises(EngineError, match="No such model"):
        engine.submit(REQUEST)
    engine.close()


def test_wrong_order_is_refused_in_a_sentence():
    engine = FakeEngine()
    with pytest.raises(EngineError, match="not open yet"):
        engine.submit(REQUEST)
    engine.open()
    with pytest.raises(EngineError, match="opened once only"):
        engine.open()
    engine.close()
    assert engine.status().state is EngineState.CLOSED
    with pytest.raises(EngineError, match="shutting down"):
        engine.submit(REQUEST)


def test_close_finishes_the_present_picture_and_cancels_the_waiting_jobs():
    engine = FakeEngine(step_s=0.02)
    engine.open()
    running, waiting = engine.submit(replace(REQUEST, images=2)), engine.submit(REQUEST)
    wait_for_step(engine, running)
    engine.close(timeout_s=10)
    assert list(engine.events(running))[-1] == Cancelled(running, pictures=1)
    assert list(engine.events(waiting))[-1] == Cancelled(waiting, pictures=0)
    assert engine.status().state is EngineState.CLOSED


def test_close_cancels_a_picture_that_takes_longer_than_the_timeout():
    engine = FakeEngine(step_s=0.05)
    engine.open()
    job = engine.submit(replace(REQUEST, steps=100))
    wait_for_step(engine, job)
    engine.close(timeout_s=0.1)
    assert list(engine.events(job))[-1] == Cancelled(job, pictures=0)


def test_the_fake_engine_needs_no_torch():
    code = "import sys, newbie_ui.engine.fake; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"

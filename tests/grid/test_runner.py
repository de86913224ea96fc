"""A grid made by an engine: queue, progress, failures, stopping, and the sheet in the gallery."""

import json
import threading
import time
from dataclasses import replace

import pytest
from PIL import Image

from newbie_ui.engine.fake import FAKE_MODEL, FakeEngine, Fault
from newbie_ui.engine.resolve import resolve
from newbie_ui.errors import OutOfMemory, UserError
from newbie_ui.gallery.layout import new_id
from newbie_ui.gallery.metadata import read
from newbie_ui.gallery.record import read_record, record_of, write_record
from newbie_ui.gallery.store import Filters, Gallery
from newbie_ui.grid import runner as runner_module
from newbie_ui.grid.axes import Known
from newbie_ui.grid.keep import COLLECTION, Outcome, sheet_result
from newbie_ui.grid.plan import read_plan
from newbie_ui.grid.runner import AHEAD, GridRunner
from newbie_ui.grid.values import GridError
from newbie_ui.request import GenerateRequest, GenerateResult, LoraUse, Memory, Timings

PROMPT = "<character_1><clothing>school_uniform</clothing></character_1>"
BASE = GenerateRequest(prompt=PROMPT, width=64, height=64, steps=2, seed=11)
KNOWN = Known(presets=(("balanced", "Balanced"),), loras=("ink",))


@pytest.fixture
def gallery(tmp_path):
    with Gallery(tmp_path) as gallery:
        yield gallery


def serve(gallery, **options):
    return FakeEngine(gallery.add if gallery else None, **{"step_s": 0.001, **options})


def plan(x, y=None, base=BASE):
    return read_plan(base, x, y, KNOWN)


def made(runner, some_plan):
    """Run a plan to its end."""
    runner.start(some_plan, "me")
    assert runner.wait(60)
    return runner.view()


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_grid_is_single_pictures_and_one_sheet_in_the_gallery(gallery):
    with serve(gallery) as engine:
        view = made(GridRunner(engine, gallery), plan(("seed", "1, 2, 3"), ("steps", "1, 2")))
    assert (view.state, view.count("done"), view.message) == ("done", 6, "")
    assert gallery.facets().total == 7
    for cell in view.cells:
        record = gallery.get(cell.outcome.result.id).info.record
        assert (record.resolved.seed, record.resolved.steps) == (cell.cell.request.seed, cell.cell.request.steps)
    entry = gallery.get(view.sheet)
    assert entry.collections == (COLLECTION,)
    assert entry.info.picture_size[0] > 3 * 64


def test_the_sheet_shows_the_very_pictures_that_were_stored(gallery):
    with serve(gallery) as engine:
        view = made(GridRunner(engine, gallery), plan(("seed", "1, 2")))
    sheet = Image.open(gallery.path(view.sheet)).convert("RGB")
    for cell in view.cells:
        picture = Image.open(gallery.path(cell.outcome.result.id)).convert("RGB")
        assert any(
            sheet.crop((x, y, x + 64, y + 64)).tobytes() == picture.tobytes()
            for x in range(sheet.width - 63)
            for y in range(sheet.height - 63)
            if sheet.getpixel((x, y)) == picture.getpixel((0, 0))
        )


def test_the_sheet_s_record_tells_the_grid_and_restores_the_form_as_it_was(gallery):
    base = GenerateRequest(
        prompt=PROMPT, width=64, height=64, steps=5, guidance_scale=3.5, loras=(LoraUse("ink", 0.5),)
    )
    with serve(gallery) as engine:
        view = made(GridRunner(engine, gallery), plan(("steps", "1, 2"), ("character:1:clothing", "a | b"), base))
    info = read(gallery.path(view.sheet))
    assert info.problems == ()
    form = GenerateRequest(**info.record.form())
    assert form.checked() == replace(view.plan.base, shift=6.0)  # the model's own, as used
    assert (form.steps, form.guidance_scale, form.loras) == (5, 3.5, base.loras)
    assert form.seed == view.cells[0].outcome.result.resolved.seed
    facts = info.record.facts
    assert (facts["grid"], facts["grid_x"], facts["grid_y"]) == ("2 x 2", "Steps", "Character 1, clothing")
    assert json.loads(facts["grid_x_values"]) == ["1", "2"]
    assert json.loads(facts["grid_y_values"]) == ["a", "b"]
    ids = {(c.cell.column, c.cell.row): c.outcome.result.id for c in view.cells}
    assert json.loads(facts["grid_pictures"]) == [[ids[x, y] for x in range(2)] for y in range(2)]


def test_the_largest_grid_s_record_can_be_read_back_whole():
    longest = " | ".join(f"{letter} " + 'very_long_tag, "quoted" ' * 40 for letter in "abcdefgh")
    largest = plan(("prompt", longest), ("seed", "1-8"))
    outcomes = {}
    for cell in largest.cells:
        resolved = resolve(cell.request, FAKE_MODEL, "balanced")[0]
        result = GenerateResult(new_id(time.time()), resolved, Timings(), Memory(), time.time())
        outcomes[cell.column, cell.row] = Outcome(result)
    record, problems = read_record(write_record(record_of(sheet_result(largest, outcomes))))
    assert problems == ()
    assert len(json.loads(record.facts["grid_x_values"])) == 8
    assert json.loads(record.facts["grid_pictures"])[7][7] == outcomes[7, 7].result.id


def test_a_sheet_costs_nothing_in_the_figures_of_this_machine(gallery):
    with serve(gallery) as engine:
        view = made(GridRunner(engine, gallery), plan(("steps", "1, 2")))
    assert gallery.get(view.sheet).info.record.timings.total_s == 0


def test_a_failed_cell_is_marked_and_the_others_are_made(gallery):
    faults = [
        Fault(OutOfMemory("Needs 9 GB. Use a smaller size."), prompt="kimono"),
        Fault(ValueError("secret path"), prompt="coat"),
    ]
    with serve(gallery, faults=faults) as engine:
        view = made(GridRunner(engine, gallery), plan(("character:1:clothing", "dress | kimono | coat | hat")))
    assert [cell.state for cell in view.cells] == ["done", "failed", "failed", "done"]
    assert view.cells[1].outcome.note == "Needs 9 GB. Use a smaller size."
    assert "secret path" not in view.cells[2].outcome.note
    assert view.state == "done"
    assert json.loads(gallery.get(view.sheet).info.record.facts["grid_pictures"])[0][1:3] == ["", ""]


def test_a_cell_that_the_engine_refuses_is_marked_and_the_others_are_made(gallery):
    class Choosy(FakeEngine):
        def _admit(self, request):
            if request.steps == 2:
                raise UserError("Steps 2 do not go with this preset. Use 3.")
            return request

    with Choosy(gallery.add, step_s=0.001) as engine:
        view = made(GridRunner(engine, gallery), plan(("steps", "1, 2, 3")))
    assert [cell.state for cell in view.cells] == ["done", "failed", "done"]
    assert "Use 3" in view.cells[1].outcome.note


def test_no_more_than_a_few_jobs_of_a_grid_wait_at_once(gallery):
    most = []
    with serve(gallery, step_s=0.002) as engine:
        submit = engine.submit

        def counted(request, client=""):
            job = submit(request, client)
            most.append(len(engine.status().jobs))
            return job

        engine.submit = counted
        view = made(GridRunner(engine, gallery), plan(("seed", "1-8")))
    assert view.count("done") == 8
    assert 1 < max(most) <= AHEAD + 1  # the one whose picture is just being stored may still be listed


def test_a_full_queue_is_waited_for(gallery, monkeypatch):
    monkeypatch.setattr(runner_module, "RETRY_S", 0.01)
    with serve(gallery, step_s=0.005, max_per_client=1) as engine:
        for _ in range(2):
            engine.submit(BASE, "me")
            wait_until(lambda: engine.status().jobs[0].state == "running")
        view = made(GridRunner(engine, gallery), plan(("seed", "1, 2, 3")))
    assert view.count("done") == 3


def test_stopping_ends_within_a_step_and_draws_what_there_is(gallery):
    with serve(gallery, step_s=0.01) as engine:
        runner = GridRunner(engine, gallery)
        runner.start(plan(("seed", "1-6"), base=GenerateRequest(prompt="a", width=64, height=64, steps=40)))
        wait_until(lambda: runner.view().count("done") >= 2)
        runner.stop()
        assert runner.wait(20)
        view = runner.view()
        assert view.state == "stopped"
        assert 2 <= view.count("done") < 6
        assert view.count("done") + view.count("left out") == 6
        assert engine.status().jobs == ()
    assert gallery.get(view.sheet).info.picture_size[0] > 64


def test_stopping_before_the_first_picture_leaves_no_sheet(gallery):
    with serve(gallery, step_s=0.05) as engine:
        runner = GridRunner(engine, gallery)
        runner.start(plan(("seed", "1-6"), base=GenerateRequest(prompt="a", steps=50)))
        wait_until(lambda: runner.view().count("making"))
        runner.stop()
        assert runner.wait(20)
    assert (runner.view().state, runner.view().sheet) == ("stopped", "")
    assert gallery.facets().total == 0


def test_a_job_taken_out_of_the_queue_or_skipped_leaves_its_cell_out(gallery):
    with serve(gallery, step_s=0.02) as engine:
        runner = GridRunner(engine, gallery)
        runner.start(plan(("seed", "1, 2, 3"), base=GenerateRequest(prompt="a", width=64, height=64, steps=50)))
        wait_until(lambda: runner.view().count("making") and len(engine.status().jobs) == 2)
        engine.skip(engine.status().jobs[0].id)
        engine.cancel(engine.status().jobs[1].id)
        assert runner.wait(20)
    assert [cell.state for cell in runner.view().cells] == ["left out", "left out", "done"]
    assert runner.view().state == "done"


def test_one_grid_at_a_time_and_another_after_it(gallery):
    with serve(gallery, step_s=0.01) as engine:
        runner = GridRunner(engine, gallery)
        first = runner.start(plan(("steps", "5, 6")))
        with pytest.raises(GridError, match="A grid is being made, 0 of 2 pictures are done"):
            runner.start(plan(("steps", "5, 6")))
        runner.stop("another id")
        assert runner.view().state == "running"
        assert runner.wait(20)
        assert runner.view().state == "done"
        assert made(runner, plan(("steps", "1, 2"))).id != first


def test_an_engine_that_ends_ends_the_grid_with_its_reason(gallery):
    engine = serve(gallery, step_s=0.02)
    engine.open()
    runner = GridRunner(engine, gallery)
    runner.start(plan(("seed", "1-6"), base=GenerateRequest(prompt="a", width=64, height=64, steps=20)))
    wait_until(lambda: runner.view().count("done") == 1)
    engine.close()
    assert runner.wait(20)
    view = runner.view()
    assert view.state == "failed"
    assert "shutting down" in view.message
    assert view.sheet  # of the pictures that were made


def test_progress_and_the_time_left_can_be_read_meanwhile(gallery):
    seen = []
    with serve(gallery, step_s=0.004) as engine:
        runner = GridRunner(engine, gallery)
        assert runner.view() is None
        runner.start(plan(("seed", "1-5"), base=GenerateRequest(prompt="a", width=64, height=64, steps=10)))
        while not runner.wait(0.01):
            seen.append(runner.view())
    running = [view for view in seen if view.state == "running"]
    assert any(0 < cell.progress < 1 for view in running for cell in view.cells)
    known = [view.eta_s for view in running if view.count("done")]
    assert known
    assert all(0 <= eta < 5 for eta in known)
    assert known[-1] < known[0]
    assert runner.view().eta_s is None


def test_a_disk_that_is_full_costs_the_sheet_only(gallery, monkeypatch):
    with serve(gallery) as engine:
        runner = GridRunner(engine, gallery)

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(runner_module, "keep_sheet", full)
        view = made(runner, plan(("steps", "1, 2")))
    assert view.message == "The sheet could not be saved: No space left on device. Its pictures are kept."
    assert (view.state, view.count("done")) == ("failed", 2)


def test_a_picture_deleted_meanwhile_is_missing_on_the_sheet_and_nowhere_else(gallery):
    with serve(gallery) as engine:
        runner = GridRunner(engine, gallery)
        finish = threading.Event()
        draw = runner._draw
        runner._draw = lambda run: (finish.wait(20), draw(run))
        runner.start(plan(("steps", "1, 2")))
        wait_until(lambda: runner.view().count("done") == 2)
        gallery.delete([runner.view().cells[0].outcome.result.id])
        finish.set()
        assert runner.wait(20)
    assert runner.view().state == "done"
    assert gallery.page(Filters(collection=COLLECTION)).total == 1


def test_without_a_gallery_there_are_pictures_and_no_sheet():
    with FakeEngine(step_s=0.001) as engine:
        view = made(GridRunner(engine), plan(("steps", "1, 2")))
    assert (view.state, view.sheet) == ("done", "")
    assert all(cell.outcome.result.image for cell in view.cells)

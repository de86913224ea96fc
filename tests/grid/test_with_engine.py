"""A grid over the real engine with a tiny real model: the order of making spares loading and encoding."""

from newbie_ui.engine.local import LocalEngine
from newbie_ui.gallery.store import Gallery
from newbie_ui.grid.axes import Known
from newbie_ui.grid.plan import estimate, read_plan
from newbie_ui.grid.runner import GridRunner
from newbie_ui.request import GenerateRequest
from tests.engine.conftest import make_settings, tiny_source

PROMPT = "<character_1><clothing>a</clothing></character_1>"


def test_weights_are_read_once_a_preset_and_a_prompt_is_encoded_once(tmp_path):
    loads = []
    with Gallery(tmp_path / "gallery") as gallery:
        engine = LocalEngine(make_settings(tmp_path), gallery.add, source=tiny_source(loads))
        with engine:
            engine.wait_until_open(60)
            known = Known(presets=tuple((choice.name, choice.label) for choice in engine.presets() if choice.fits))
            base = GenerateRequest(prompt=PROMPT, width=64, height=64, steps=2, seed=3, preset="cpu")
            plan = read_plan(base, ("preset", "cpu, bf16"), ("character:1:clothing", "kimono | dress"), known)
            assert [cell.row for cell in plan.cells] == [0, 1, 0, 1]
            runner = GridRunner(engine, gallery)
            runner.start(plan)
            assert runner.wait(100)
            assert estimate(plan, engine.presets).seconds is not None
            view, read = runner.view(), len(loads)
            runner.start(read_plan(base, ("character:1:clothing", "coat | hat"), ("seed", "1, 2"), known))
            assert runner.wait(100)
            second = runner.view()
        assert [cell.outcome.note for cell in view.cells if cell.outcome.failed] == []
        assert (view.state, view.count("done")) == ("done", 4)
        assert read == 2
        records = [gallery.get(cell.outcome.result.id).info.record for cell in view.cells]
        assert [record.resolved.preset for record in records] == ["cpu", "cpu", "bf16", "bf16"]
        facts = [cell.outcome.result.facts for cell in second.cells]
        assert [fact["embedding_cache"] for fact in facts] == ["miss", "hit", "miss", "hit"]
        assert gallery.get(view.sheet).info.record.facts["grid_x_values"] == '["Cpu","Bf16"]'

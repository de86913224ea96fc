"""The suite: its stages on a card are well-formed without one, and on a processor they run."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from torch.utils.flop_counter import FlopCounterMode

from newbie_ui.bench import command, fit, parts, setup, shapes, soak, start, suite, tables
from newbie_ui.engine.base import DeviceInfo
from newbie_ui.exit_code import exit_code
from tests import tiny

CARD = DeviceInfo("cuda", "A card", 85.0, (9, 0))
SCALE = suite.Scale()


@pytest.fixture
def a_card(monkeypatch):
    for module in (command, setup):
        monkeypatch.setattr(module, "describe_device", lambda device: CARD)


def by_name(scale=SCALE, eight="fp8", card=True):
    return {stage.name: stage for stage in suite.stages(scale, eight, card)}


@pytest.mark.parametrize("name", by_name())
def test_every_stage_for_a_card_has_flags_that_its_command_understands(a_card, name):
    module, *flags = by_name()[name].command
    if module == "newbie_ui.bench":
        options = command.parse(flags)
        assert options.rungs
        assert options.random_weights == (name != "demo")
    elif module != "newbie_ui.bench.fit":
        bench, _ = setup.read_flags(module, "x", flags)
        assert bench.presets
    else:
        assert {flag for flag in flags if flag.startswith("--")} <= {"--device", "--pictures", "--ends", "--thresholds"}


def test_the_ladder_measures_what_targets_are_about_ten_times_and_the_presets_under_their_caps(a_card):
    ladder = command.parse(by_name()["ladder"].command[1:])
    assert [r.name for r in ladder.rungs if not r.side] == ["reference", "vae", "fp8", "turbo"]
    assert (ladder.rounds, ladder.side_rounds) == (10, 3)
    capped = command.parse(by_name()["presets"].command[1:])
    assert capped.cap_gb == 0
    assert {r.name: r.preset.device_gb for r in capped.rungs} == {
        "quality": 24, "balanced": 16, "minimal": 6, "economy": 12, "small": 8}  # fmt: skip
    assert capped.sizes == ((1024, 1024), (1024, 1536))
    assert set(tables.PEAKS) == {r.name for r in capped.rungs}


def test_each_stage_ends_within_ten_minutes_and_half_an_hour_does_all_but_the_last():
    minutes = [stage.minutes for stage in suite.stages(SCALE, "fp8", True)]
    assert max(minutes) <= 9
    assert sum(minutes[:-2]) <= 30


def test_what_is_there_is_not_run_again_and_a_failure_does_not_end_the_others(tmp_path, monkeypatch):
    broken = suite.Stage("broken", 1, ("newbie_ui.nowhere",))
    works = suite.Stage("works", 1, ("newbie_ui.monitor", "--help"))
    monkeypatch.setattr(suite, "report", lambda results: f"{sorted(results)}\n")
    results = suite.run(tmp_path, [broken, works])
    assert results["broken"]["error"].startswith("code 1")
    assert "No module named newbie_ui.nowhere" in (tmp_path / "log.txt").read_text()
    kept = json.loads((tmp_path / "results.json").read_text())
    kept["works"] = {"command": [], "seconds": 1, "result": {}}
    (tmp_path / "results.json").write_text(json.dumps(kept))
    assert suite.run(tmp_path, [works])["works"]["result"] == {}
    assert "error" in suite.run(tmp_path, [works], again=True)["works"]
    assert (tmp_path / "report.md").read_text() == "['broken', 'works']\n"


def test_an_unknown_stage_is_refused(tmp_path):
    with pytest.raises(SystemExit):
        suite.main([str(tmp_path), "--stages", "nap"])


def test_random_weights_get_a_prompt_as_long_as_gemma_would_have_it():
    class Engine:
        model = setup.FULL_SIZE

        def count_tokens(self, texts):
            return [len(text.split()) for text in texts]

    assert setup._caption(Engine(), f"{Engine.model.defaults['system_prompt']} {setup.usual_prompt(Engine())}") == 304
    Engine.model = replace(setup.FULL_SIZE, source="elsewhere")
    assert setup.usual_prompt(Engine()) == setup.PROMPT


# ---- on a processor --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny.save(tmp_path_factory.mktemp("suite") / "model"))


def json_of(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def flags(model, **changes):
    values = {"model": model, "preset": "cpu", "device": "cpu", "size": "64x64", "steps": 2, **changes}
    return [part for name, value in values.items() for part in (f"--{name}", str(value))]


def test_a_row_of_pictures_tells_what_memory_was_kept(model, capsys):
    assert soak.main(flags(model, count=12)) == 0
    result = json_of(capsys)
    assert len(result["kept_gb"]) == 12
    assert result["growth"] == pytest.approx(result["kept_gb"][-1] / result["kept_gb"][9] - 1)
    assert result["sizes"] == [[64, 64], [64, 64], [64, 64]]


def test_warmed_shapes_compile_nothing_anew(model, capsys, monkeypatch):
    monkeypatch.setattr(
        "newbie_ui.engine.compile.compile_blocks",
        lambda t, mode, inside_hooks: t.compile_repeated_blocks(backend="eager", dynamic=False),
    )
    assert shapes.main([*flags(model), "--set", "compile=block,warm=4,warm_sizes=64x64 64x128"]) == 0
    result = json_of(capsys)
    assert (result["shapes"], result["recompiled"]) == (4, 0)
    assert [p["tokens"] for p in result["pictures"]] == [320, 384, 512, 640]
    assert {p["compile"] for p in result["pictures"]} == {"block, warm"}


def test_ways_to_decode_are_compared_and_a_step_is_taken_apart(model, capsys, monkeypatch):
    ways, timed, work_done = parts._ways, parts._timed, []

    def counted(work, *args):
        with FlopCounterMode(display=False) as flops:
            work()
        work_done.append(flops.get_total_flops())
        return timed(work, *args)

    monkeypatch.setattr(parts, "_ways", lambda vae: {n: way for n, way in ways(vae).items() if n != "compiled"})
    monkeypatch.setattr(parts, "_timed", counted)
    assert parts.main([*flags(model), "--rounds", "1"]) == 0
    result = json_of(capsys)
    levels = {row["way"]: row["levels"] for row in result["decode"]}
    assert levels["whole"] == 0
    assert 0 <= levels["in stripes"] < 0.1
    assert min(result["hoist"].values()) > 0
    inside, hoisted = work_done[-2:]  # times of the tiny model are noise on a busy machine
    assert inside > hoisted > 0
    kinds = result["profile"]["ms"]
    assert kinds["matmul"] > 0
    assert sum(kinds.values()) == pytest.approx(result["profile"]["wall_ms"], rel=0.5)


def test_a_fresh_process_is_timed_from_its_beginning(model):
    done = subprocess.run(
        [sys.executable, "-m", "newbie_ui.bench.start", "--child", *flags(model)], capture_output=True, text=True
    )
    run = json.loads(done.stdout)
    assert run["total_s"] > run["import_s"] + run["picture_s"] > 0
    assert (run["compile_s"], run["preset"], run["size"]) == (0, "cpu", [64, 64])
    assert {"Reading the transformer", "Moving the model to its place", "first step", "steps"} <= run["phases"].keys()
    assert 0 < sum(run["phases"].values()) <= run["total_s"] - run["import_s"]


@pytest.mark.parametrize("first", [(command.main,), (shapes.main,), (start.main, start.CHILD)])
def test_a_command_that_cannot_go_on_says_why_and_ends_with_2(first, capsys):
    main, *argv = first
    assert main([*argv, "--presets", "best", "--device", "cpu"]) == 2
    assert capsys.readouterr().err.startswith("newbie_ui: Preset 'best' is unknown.")


def test_a_command_that_is_interrupted_ends_with_130():
    @exit_code
    def interrupted():
        raise KeyboardInterrupt

    assert interrupted() == 130


def test_the_best_shortcut_is_the_least_work_within_two_points():
    rows = [fit.Row(1.0, 0.0, 1.0, 99.0, 2.0), fit.Row(0.5, 0.1, 0.6, 97.5, 1.2), fit.Row(0.3, 0.3, 0.3, 96.9, 0.6)]
    assert fit.best(rows) is rows[1]


# ---- the report ------------------------------------------------------------------------------------------------


def rung(name, **values):
    numbers = {"steady_s": 7.0, "share_of_floor": 0.4, "velocity_error": 3e-3, "encode_s": 0.0003, "overhead_ms": 9.0}
    base = {
        "rung": name, "adds": "x", "lossless": True, "width": 1024, "height": 1024, "batch": 1, "steps": 28,
        "rounds": 10, "first_s": 9.0, "compile_s": 5.0, "new_prompt_s": 7.2, "encode_new_s": 0.1,
        "denoise_s": 6.8, "decode_s": 0.1,
        "step_ms": 240.0, "floor_ms": 100.0, "images_per_min": 9.0, "allocated_gb": 15.0, "reserved_gb": 18.0,
        "reuse": 0.8, "resident_gb": 3.0, "recompiled": 0, "psnr_db": None, "accuracy": None, "facts": {},
    }  # fmt: skip
    return {**base, **numbers, **values}


def entry(*rows, failures=None):
    run = {
        "device": {"name": "A card"}, "model": "NewBie", "dtype": "bfloat16", "at": "2026-01-01", "results": list(rows),
        "ceilings": {"matmul": {"qkv": 7e14}, "fp8": {}, "attention": {"cudnn": 4e14}}, "failures": failures or {},
        "versions": {"torch": "2.11.0"},
    }  # fmt: skip
    return {"command": ["python", "-m", "newbie_ui.bench"], "seconds": 400.0, "result": run}


def test_each_target_stands_beside_what_was_measured():
    found = {
        "ladder": entry(
            rung("reference"),
            rung("reference-compiled", steady_s=4.2),
            rung("vae", steady_s=3.0, share_of_floor=0.92),
            rung("fp8", steady_s=2.5, share_of_floor=0.8, velocity_error=6e-2),
            rung("turbo", steady_s=1.0),
        ),
        "demo": entry(rung("eager", accuracy=97.0), rung("fp8", accuracy=96.5), rung("turbo", accuracy=94.0)),
        "presets": entry(rung("quality"), rung("small", reserved_gb=6.4, steady_s=12.0)),
    }
    rows = {(mode, asked): (text, reached) for mode, asked, text, reached in tables.targets(found)}
    assert rows["lossless", "≥ 2.15 × the eager reference"] == ("2.33 ×", "yes")
    assert rows["fp8", "velocity error ≤ 5e-2"] == ("6.0e-02", "no")
    assert rows["fp8", "demo accuracy −1 point at most"] == ("-0.50 (97.00 → 96.50 %)", "yes")
    assert rows["turbo", "demo accuracy −2 points at most"][1] == "no"
    assert rows["warm start", "≤ 3 s of it compiling"] == ("not measured", "")
    small = next(row for row in tables.presets(found) if row[0] == "small")
    assert small == ["small", "1024×1024", "6.40", "≤ 6.5", "1.71", "≤ 1.6", "7.20", "no"]


def test_a_batch_is_compared_with_the_fastest_way_to_make_one_picture():
    small = {"width": 512, "height": 512}
    found = {
        "batch": entry(
            rung("vae", images_per_min=20.0),
            rung("vae", images_per_min=21.0, batch=4),
            rung("vae", images_per_min=36.0, **small),
            rung("vae", images_per_min=86.0, batch=4, **small),
            rung("graphs", images_per_min=76.0, **small),
            rung("graphs", images_per_min=85.0, batch=4, **small),
        )
    }
    rows = {mode: (text, reached) for mode, _, text, reached in tables.targets(found)}
    assert rows["batch 4"] == ("1.05 ×", "yes")
    assert rows["batch 4, small"] == ("1.13 ×", "no")


def test_the_page_has_every_stage_that_was_run_and_names_what_failed():
    found = {
        "ladder": entry(rung("eager"), failures={"fp8": "no room"}),
        "soak": {"command": ["x"], "seconds": 1.0, "error": "code 1: boom"},
    }
    page = tables.report(found)
    assert "## Ladder" in page
    assert "- failed, fp8: no room" in page
    assert "- soak: code 1: boom" in page
    assert page.startswith("# Measured on A card\n\nNewBie, 2026-01-01, torch 2.11.0.")

"""LocalEngine over the tiny real pipeline: real stages, cache, batches, presets, memory ladder, history."""

from __future__ import annotations

import io
import json
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from newbie_ui.engine import compile, fitting
from newbie_ui.engine.base import EngineState, generate
from newbie_ui.engine.history import FILE_NAME
from newbie_ui.engine.local import LocalEngine
from newbie_ui.engine.placement import Placement
from newbie_ui.engine.source import ModelSource
from newbie_ui.engine.stages import Stages
from newbie_ui.errors import CheckpointError, EngineError, LoraError, PresetError, RequestError
from newbie_ui.request import Cancelled, Done, Encoded, Failed, GenerateRequest, Loading, LoraUse, Picture, Step
from tests.engine.conftest import tiny_source

REQUEST = GenerateRequest(prompt="<character_1><n>A</n></character_1>", seed=11, steps=3)


def run(engine, request):
    return list(generate(engine, request))


def pictures(events):
    return [e.result for e in events if isinstance(e, Picture)]


def pixels(result):
    return np.asarray(result.image, dtype=float)


def only(events, kind):
    return [e for e in events if isinstance(e, kind)]


def fail_first(monkeypatch, owner, name, *errors):
    """Let the first calls of a method raise these errors."""
    real, left = getattr(owner, name), list(errors)

    def flaky(*args, **kwargs):
        if left:
            raise left.pop(0)
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, flaky)


def oom():
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.fixture
def ready(engine):
    """An engine that has loaded, so that its parts can be tampered with; what it learnt is forgotten afterwards."""
    run(engine, REQUEST)
    yield engine
    engine._fitting.forget()


# ---- the way of a request --------------------------------------------------------------------------------------


def test_a_request_becomes_a_picture_with_times_memory_and_facts(make_engine):
    engine = make_engine()
    events = run(engine, REQUEST)
    assert isinstance(events[-1], Done)
    assert [e.index for e in only(events, Step)] == [1, 2, 3]
    (result,) = pictures(events)
    assert result.image.size == (64, 64)
    assert (result.resolved.seed, result.resolved.preset, result.resolved.guidance_scale) == (11, "cpu", 4.0)
    timings = result.timings
    assert min(timings.encode_s, timings.denoise_s, timings.decode_s) > 0
    assert timings.total_s >= timings.encode_s + timings.denoise_s + timings.decode_s
    assert timings.s_per_step == pytest.approx(timings.denoise_s / 3)
    assert result.memory.resident_gb > 0.1
    assert result.memory.allocated_gb is None
    assert result.facts["embedding_cache"] == "miss"
    assert (result.facts["dtype"], result.facts["attention"], result.facts["compile"]) == ("float32", "native", "off")


def test_the_same_seed_gives_the_same_picture_and_a_cached_prompt_too(engine):
    request = replace(REQUEST, prompt="fresh")
    first, second = run(engine, request), run(engine, request)
    assert np.array_equal(pixels(pictures(first)[0]), pixels(pictures(second)[0]))
    assert [only(e, Encoded)[0].cached for e in (first, second)] == [False, True]
    assert pictures(second)[0].facts["embedding_cache"] == "hit"
    assert pictures(second)[0].timings.encode_s < 0.002


def test_the_cache_distinguishes_prompt_system_prompt_and_negative(engine):
    run(engine, REQUEST)
    for changed in ({"prompt": "other"}, {"system_prompt": "Paint."}, {"negative_prompt": "bad"}):
        assert not only(run(engine, replace(REQUEST, **changed)), Encoded)[0].cached


def test_pictures_made_together_equal_those_made_alone(engine):
    alone = [pixels(pictures(run(engine, replace(REQUEST, seed=seed)))[0]) for seed in (11, 12, 13)]
    together = pictures(run(engine, replace(REQUEST, images=3, preset="pairs")))
    assert [r.facts["batch"] for r in together] == ["2", "2", "1"]
    for one, other in zip(alone, together):
        assert np.abs(one - pixels(other)).max() <= 1


def test_steps_tell_the_picture_the_time_left_and_a_preview(engine):
    steps = only(run(engine, replace(REQUEST, images=2)), Step)
    assert [s.picture for s in steps] == [0, 0, 0, 1, 1, 1]
    assert all(s.pictures == 2 and s.total == 3 for s in steps)
    assert steps[0].eta_s > steps[-1].eta_s


def test_a_preview_is_a_jpeg_of_the_pictures_form(engine):
    events = generate(engine, replace(REQUEST, width=64, height=128, steps=4))
    previews = [e.preview for e in events if isinstance(e, Step) and e.preview]
    image = Image.open(io.BytesIO(previews[0]))
    assert (image.format, image.size) == ("JPEG", (192, 384))


def test_each_picture_of_a_batch_has_its_own_wildcards(engine):
    request = replace(REQUEST, prompt="{red_hair|a much longer text about green_hair}", images=4, preset="pairs")
    together = pictures(run(engine, request))
    assert len({r.resolved.prompt for r in together}) == 2
    for made in together:
        alone = replace(REQUEST, prompt=made.resolved.prompt, seed=made.resolved.seed)
        assert np.abs(pixels(pictures(run(engine, alone))[0]) - pixels(made)).max() <= 1


def test_a_wildcard_file_that_is_not_there_is_told(engine):
    encoded = only(run(engine, replace(REQUEST, prompt="__nowhere__")), Encoded)[0]
    assert encoded.warning == "There is no wildcard file nowhere.txt. Add it, or take __nowhere__ out."


def test_guidance_one_needs_no_negative(engine):
    before = engine._cache.misses
    run(engine, replace(REQUEST, prompt="alone", negative_prompt="never read", guidance_scale=1.0))
    assert engine._cache.misses == before + 1


def test_every_sampler_makes_a_picture(engine):
    made = [
        pictures(run(engine, replace(REQUEST, sampler=s))) for s in ("heun", "dpmpp_2m", "unipc", "euler_ancestral")
    ]
    assert all(len(results) == 1 for results in made)


def test_a_reloaded_page_finds_the_events_again_from_the_middle(engine):
    job = engine.submit(REQUEST)
    everything = list(engine.events(job))
    again = list(engine.events(job, after=len(everything) - 2))
    assert [type(e) for e in again] == [Picture, Done]


# ---- stopping --------------------------------------------------------------------------------------------------


def test_cancel_takes_effect_within_one_step(engine):
    job, evaluated = engine.submit(replace(REQUEST, steps=40)), []
    for event in engine.events(job):
        if isinstance(event, Step):
            evaluated.append(event.index)
            if event.index == 3:
                engine.cancel(job)
    assert isinstance(list(engine.events(job))[-1], Cancelled)
    assert max(evaluated) <= 5


def test_a_skipped_picture_leaves_the_others(engine):
    job = engine.submit(replace(REQUEST, steps=30, images=2))
    for event in engine.events(job):
        if isinstance(event, Step) and (event.picture, event.index) == (0, 1):
            engine.skip(job)
    events = list(engine.events(job))
    assert [e.index for e in only(events, Picture)] == [1]
    assert events[-1] == Done(job, pictures=1)


# ---- refusals and failures -------------------------------------------------------------------------------------


def test_what_would_fail_later_is_refused_at_once(ready):
    with pytest.raises(PresetError, match=r"Preset 'card' needs a card with 24 GB; this machine has none\. Use 'cpu'"):
        ready.submit(replace(REQUEST, preset="card"))
    with pytest.raises(RequestError, match="makes no sense with 1 step"):
        ready.submit(replace(REQUEST, sampler="heun", steps=1))
    with pytest.raises(RequestError, match=r"Height 2048 is more than this model can do\. Use 1024 at most"):
        ready.submit(replace(REQUEST, height=2048))


def test_a_prompt_over_the_limit_fails_with_its_numbers_and_the_next_works(engine):
    failed = run(engine, replace(REQUEST, prompt="blue_hair, " * 500))[-1]
    assert isinstance(failed, Failed)
    assert "takes 1023 at most" in failed.message
    assert isinstance(run(engine, REQUEST)[-1], Done)


@pytest.mark.parametrize("stage", ["encode", "denoise", "decode"])
def test_a_bug_in_any_stage_fails_its_job_only(ready, monkeypatch, stage):
    fail_first(monkeypatch, ready._stages, stage, KeyError("a secret"))
    failed = run(ready, replace(REQUEST, prompt=stage))[-1]
    assert isinstance(failed, Failed)
    assert "secret" not in failed.message
    assert failed.reference
    assert isinstance(run(ready, REQUEST)[-1], Done)


def test_a_model_that_cannot_be_loaded_fails_the_engine_with_its_sentence(settings):
    def missing(progress):
        raise CheckpointError("Model 'x' does not exist.")

    engine = LocalEngine(settings, source=ModelSource(missing, load=None, tokenizer=None))
    engine.open()
    engine._thread.join(5)
    assert (engine.status().state, engine.status().message) == (EngineState.FAILED, "Model 'x' does not exist.")
    with pytest.raises(EngineError, match="Model 'x' does not exist"):
        engine.submit(REQUEST)


def test_tokens_can_be_counted_only_when_the_tokenizer_is_there(settings, ready):
    assert ready.count_tokens(["blue_hair", ""]) == [ready.count_tokens(["blue_hair"])[0], 0]
    with pytest.raises(EngineError, match="still opening"):
        LocalEngine(settings, source=ready._source).count_tokens(["x"])


# ---- the memory ladder -----------------------------------------------------------------------------------------


def test_the_first_shortage_is_met_by_freeing_memory(ready, monkeypatch):
    fail_first(monkeypatch, ready._stages, "denoise", oom())
    events = run(ready, REQUEST)
    assert isinstance(events[-1], Done)
    assert "notes" not in pictures(events)[0].facts


def test_decoding_steps_down_to_stripes_keeps_the_latents_and_says_so(ready, monkeypatch):
    exact = pixels(pictures(run(ready, REQUEST))[0])
    fail_first(monkeypatch, ready._stages, "decode", oom(), RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    events = run(ready, REQUEST)
    (result,) = pictures(events)
    assert result.facts["notes"] == "decoded in stripes"
    assert result.facts["vae"] == "in stripes"
    assert len(only(events, Step)) == 3
    assert np.abs(pixels(result) - exact).max() <= 2


def test_a_batch_that_does_not_fit_is_halved(ready, monkeypatch):
    fail_first(monkeypatch, ready._stages, "denoise", oom(), oom())
    results = pictures(run(ready, replace(REQUEST, images=2, preset="pairs")))
    assert [r.facts["batch"] for r in results] == ["1", "1"]
    assert results[0].facts["notes"] == "1 picture at a time"


def test_what_was_found_to_fit_is_remembered_for_this_size_and_larger_only(ready, monkeypatch):
    fail_first(monkeypatch, ready._stages, "decode", oom(), oom())
    run(ready, replace(REQUEST, width=128, height=128))
    monkeypatch.undo()
    notes = [
        pictures(run(ready, replace(REQUEST, width=side, height=side)))[0].facts.get("notes") for side in (64, 128, 192)
    ]
    assert notes == [None, "decoded in stripes", "decoded in stripes"]


def test_at_the_bottom_of_the_ladder_the_artist_gets_a_sentence_and_the_engine_serves_on(ready, monkeypatch):
    fail_first(monkeypatch, ready._stages, "decode", *(oom() for _ in range(10)))
    failed = run(ready, REQUEST)[-1]
    assert failed.message.startswith("There is too little memory for 64×64 pictures here. Tried: decoded in stripes.")
    monkeypatch.undo()
    assert isinstance(run(ready, REQUEST)[-1], Done)


def test_a_preset_that_does_not_fit_while_loading_steps_down(make_engine, monkeypatch):
    fail_first(monkeypatch, Placement, "move_to", oom())
    monkeypatch.setattr(fitting, "step_down", lambda plan, stage, card: replace(plan, notes=("less of it",)))
    loads = []
    engine = make_engine(loads=loads)
    made = [pictures(run(engine, REQUEST))[0] for _ in range(2)]
    assert [result.facts["notes"] for result in made] == ["less of it"] * 2
    assert len(loads) == 2  # the second picture starts from what was learnt


def test_a_device_without_room_for_any_preset_fails_with_a_sentence(make_engine, monkeypatch):
    fail_first(monkeypatch, Placement, "move_to", oom())
    engine = make_engine()
    assert engine.wait_until_open() is EngineState.FAILED
    assert engine.status().message.startswith("Preset 'cpu' does not fit into the memory that is free.")


def test_shortages_in_every_stage_leave_the_right_picture(ready, monkeypatch):
    exact = pixels(pictures(run(ready, REQUEST))[0])
    for number in range(6):
        with monkeypatch.context() as patch:
            stage = ("encode", "denoise", "decode")[number % 3]
            fail_first(patch, ready._stages, stage, MemoryError())
            if stage == "encode":
                ready._cache.clear()
            assert np.abs(pixels(pictures(run(ready, REQUEST))[0]) - exact).max() <= 2


# ---- LoRA ------------------------------------------------------------------------------------------------------


def write_lora(engine):
    """A LoRA file in the engine's folder that changes every joint layer."""
    engine.wait_until_open()
    transformer, tensors = engine.rig.pipe.transformer, {}
    torch.manual_seed(5)
    for number, layer in enumerate(transformer.layers):
        out, inner = layer.attention.qkv.weight.shape
        tensors[f"layers.{number}.attention.qkv.lora_A.weight"] = torch.randn(4, inner)
        tensors[f"layers.{number}.attention.qkv.lora_B.weight"] = torch.randn(out, 4)
    engine._shelf.folders[0].mkdir(exist_ok=True)
    save_file(tensors, engine._shelf.folders[0] / "style.safetensors")
    return "style"


@pytest.fixture
def lora(engine):
    return write_lora(engine)


def test_a_lora_acts_is_recorded_and_leaves_nothing_behind(engine, lora):
    plain = pictures(run(engine, REQUEST))[0]
    styled = pictures(run(engine, replace(REQUEST, loras=(LoraUse(lora, 0.8),))))[0]
    assert np.abs(pixels(styled) - pixels(plain)).max() > 0
    ((name, weight, digest),) = styled.resolved.loras
    assert (name, weight, len(digest)) == ("style", 0.8, 10)
    assert "style" in engine.loras()
    assert np.array_equal(pixels(pictures(run(engine, REQUEST))[0]), pixels(plain))


def test_a_lora_survives_reading_the_weights_again(engine, lora):
    styled = replace(REQUEST, loras=(LoraUse(lora, 0.8),))
    before = pictures(run(engine, styled))[0]
    run(engine, replace(styled, preset="bf16"))
    assert np.array_equal(pixels(pictures(run(engine, styled))[0]), pixels(before))


def test_an_unknown_lora_is_refused_at_once(engine):
    with pytest.raises(LoraError, match="There is no LoRA 'nowhere'"):
        engine.submit(replace(REQUEST, loras=(LoraUse("nowhere"),)))


# ---- presets and history ---------------------------------------------------------------------------------------


def test_a_preset_is_changed_without_reading_the_weights_again_unless_they_differ(make_engine):
    loads = []
    engine = make_engine(loads=loads)
    for preset in ("auto", "pairs", "cpu"):
        run(engine, replace(REQUEST, preset=preset))
    assert loads == [torch.float32]
    result = pictures(run(engine, replace(REQUEST, preset="bf16")))[0]
    assert loads == [torch.float32, torch.bfloat16]
    assert (result.facts["dtype"], result.resolved.preset) == ("bfloat16", "bf16")


def test_the_presets_show_what_was_measured_and_the_queue_uses_it(make_engine, settings):
    engine = make_engine()
    run(engine, REQUEST)
    choice = engine.presets(REQUEST)[0]
    assert (choice.name, choice.recommended, choice.measured) == ("cpu", True, True)
    assert 0 < choice.median_s < 60
    lines = (engine._history._file).read_text().splitlines()
    assert json.loads(lines[0])["preset"] == "cpu"
    assert engine._history._file.name == FILE_NAME
    jobs = [engine.submit(replace(REQUEST, steps=30)) for _ in range(3)]
    waits = [job.wait_s for job in engine.status().jobs]
    assert all(wait is not None for wait in waits)
    for job in jobs:
        engine.cancel(job)


# ---- compiling while idle --------------------------------------------------------------------------------------

WARMED = replace(REQUEST, prompt="blue_hair, " * 60)  # as long as what is compiled first


@pytest.fixture
def compiling(settings, monkeypatch):
    """Settings that compile for two lengths of prompts while idle, with a compiler that takes no time."""
    torch._dynamo.reset()
    real = compile.compile_blocks
    monkeypatch.setattr(compile, "use_disk_cache", lambda: None)
    monkeypatch.setattr(compile, "compile_blocks", lambda t, mode, inside_hooks: real(t, backend="eager"))
    yield replace(settings, preset="warmed")
    torch._dynamo.reset()


def wait_until(true):
    for _ in range(400):
        if true():
            return
        threading.Event().wait(0.05)
    raise AssertionError("the engine never came to rest")


def wait_until_warm(engine):
    engine.wait_until_open()
    wait_until(lambda: not engine.warming and engine.status().compile == "warm")


def compile_fact(events):
    return pictures(events)[0].facts["compile"]


def test_shapes_are_compiled_while_idle_and_a_job_of_that_shape_finds_them_warm(compiling):
    engine = LocalEngine(compiling, source=tiny_source())
    assert engine.status().compile == "off"
    with engine:
        wait_until_warm(engine)
        graphs = compile.graphs_built()
        assert compile_fact(run(engine, WARMED)) == "block, warm"
        assert compile.graphs_built() == graphs


def test_a_failure_while_idle_stops_the_idling_only(compiling, monkeypatch):
    monkeypatch.setattr(Stages, "warm", lambda self, shape: 1 / 0)
    with LocalEngine(compiling, source=tiny_source()) as engine:
        engine.wait_until_open()
        assert isinstance(run(engine, WARMED)[-1], Done)
        wait_until(lambda: not engine.warming)
        assert isinstance(run(engine, WARMED)[-1], Done)


def test_the_first_picture_of_a_shape_runs_as_written_and_the_shape_is_compiled_in_a_quiet_moment(
    compiling, monkeypatch
):
    with LocalEngine(compiling, source=tiny_source()) as engine:
        wait_until_warm(engine)
        graphs = compile.graphs_built()
        with monkeypatch.context() as busy:
            busy.setattr(engine, "_has_idle_work", lambda: False)
            first = run(engine, REQUEST)
            assert (compile_fact(first), only(first, Loading)) == ("block, as written", [])
            assert compile.graphs_built() == graphs
            assert [(shape.bucket, shape.guided) for shape in engine._to_warm] == [(128, True)]
        run(engine, WARMED)  # wakes it
        wait_until_warm(engine)
        graphs = compile.graphs_built()
        again = run(engine, REQUEST)
        assert compile.graphs_built() == graphs
    assert compile_fact(again) == "block, warm"
    assert np.abs(pixels(pictures(first)[0]) - pixels(pictures(again)[0])).max() <= 1


def test_the_second_picture_of_a_shape_is_compiled_where_there_was_no_quiet_moment(compiling, monkeypatch):
    with LocalEngine(compiling, source=tiny_source()) as engine:
        wait_until_warm(engine)
        monkeypatch.setattr(engine, "_has_idle_work", lambda: False)
        events = [run(engine, REQUEST) for _ in range(3)]
    assert [compile_fact(made) for made in events] == ["block, as written", "block, cold", "block, warm"]
    assert [len(only(made, Loading)) for made in events] == [0, 1, 0]


def test_with_a_lora_or_with_nothing_to_warm_the_first_picture_is_compiled(compiling, tmp_path):
    with LocalEngine(compiling, source=tiny_source()) as engine:
        styled = replace(REQUEST, loras=(LoraUse(write_lora(engine), 0.8),))
        wait_until_warm(engine)
        assert compile_fact(run(engine, styled)) == "block, cold"
        assert not engine.warming
    preset = tmp_path / "presets" / "warmed.toml"
    preset.write_text(preset.read_text().replace("warm = 2", "warm = 0"))
    with LocalEngine(compiling, source=tiny_source()) as engine:
        assert compile_fact(run(engine, REQUEST)) == "block, cold"


def test_loading_is_told_with_its_progress(make_engine):
    engine = make_engine()
    messages = [e.message for e in only(run(engine, REQUEST), Loading)]
    assert "Reading weights" in messages or engine.status().state is EngineState.READY


def test_status_names_device_model_and_memory(ready):
    status = ready.status()
    assert (status.device.kind, status.model.name, status.compile) == ("cpu", "Tiny", "off")
    assert status.memory.resident_gb > 0
    assert status.facts["preset"] == "cpu"

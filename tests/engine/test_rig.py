"""A rig under every plan makes the same picture, through all three stages."""

from __future__ import annotations

import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig
from peft.tuners import lora

from newbie_ui.engine import compile
from newbie_ui.engine.base import ModelInfo
from newbie_ui.engine.embeddings import EmbeddingCache
from newbie_ui.engine.plan import Plan
from newbie_ui.engine.resolve import resolve
from newbie_ui.engine.rig import Rig, decode_bytes
from newbie_ui.engine.stages import Shape, Stages
from newbie_ui.model import gated
from newbie_ui.model.fit import CAPTION_BUCKETS
from newbie_ui.model.transformer import FeedForward
from newbie_ui.request import GenerateRequest
from tests import tiny

CPU = torch.device("cpu")
INFO = ModelInfo("Tiny", "", "", True, "h", ((64, 64),), {"width": 64, "height": 64, "steps": 2, "guidance_scale": 4.0})
PLAN = Plan("p", threads=1)


def make_rig(plan=PLAN):
    rig = Rig(lambda dtype, progress, places: tiny.pipeline().to(dtype), CPU, lambda message, fraction: None)
    rig.use(plan)
    return rig


def picture(rig, **changes):
    """Pixels of one picture, encoded anew."""
    row = resolve(GenerateRequest(**{"prompt": tiny.PROMPT, "seed": 3, **changes}), INFO, "p")[0]
    stages = Stages(rig, EmbeddingCache())
    for step in stages.denoise([row], stages.encode([row])):
        latents = step.latents
    return np.asarray(stages.decode(latents, row)[0], dtype=float)


@pytest.fixture(scope="module")
def exact():
    return picture(make_rig())


@pytest.mark.parametrize("offload", ["encoders", "model", "turns", "group"])
def test_every_placement_makes_the_same_picture_again_and_again(exact, offload):
    rig = make_rig(replace(PLAN, offload=offload))
    assert np.array_equal(picture(rig), exact)
    assert np.array_equal(picture(rig), exact)


def test_placements_can_be_changed_between_pictures(exact):
    rig = make_rig()
    for offload in ("group", "model", "off"):
        rig.use(replace(PLAN, offload=offload))
        assert np.array_equal(picture(rig), exact)


@pytest.mark.parametrize(
    ("changes", "straight"),
    [
        ({}, {"text_encoder", "clip_model", "transformer", "vae"}),
        ({"offload": "encoders"}, {"transformer", "vae"}),
        ({"offload": "group"}, {"vae"}),
        ({"quantize": "fp8", "quantize_text": "int8"}, {"clip_model", "vae"}),  # made of weights on the processor
    ],
)
def test_what_stays_on_the_device_as_it_is_read_goes_straight_there(changes, straight):
    asked = []
    rig = Rig(lambda dtype, progress, places: asked.append(places) or tiny.pipeline(), CPU, lambda *_: None)
    rig.use(replace(PLAN, **changes))
    assert asked == [dict.fromkeys(straight, CPU)]


@pytest.fixture
def gated_calls(monkeypatch):
    """The package's function, as it documents itself, on every device; `calls` are the shapes of its weights."""

    def gemm_gated(x, weights, *, activation, store_preact, concat_layout, config):
        assert (activation, store_preact, concat_layout) == ("swiglu", False, ("B",))
        calls.append(tuple(weights.shape))
        gate, up = (x @ weights).chunk(2, dim=-1)
        return None, F.silu(gate) * up

    calls = []
    for name in ("quack", "quack.gemm_config", "quack.gemm_interface"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["quack.gemm_config"].GemmConfig = dict
    sys.modules["quack.gemm_interface"].gemm_gated = gemm_gated
    monkeypatch.setattr(gated, "usable", lambda device, dtype: True)
    return calls


def test_a_gated_product_has_to_be_there_and_right(gated_calls, monkeypatch):
    gated.is_right.cache_clear()
    assert gated.is_right(CPU, torch.bfloat16)
    gated.is_right.cache_clear()
    monkeypatch.setattr(sys.modules["quack.gemm_interface"], "gemm_gated", lambda x, w, **_: (None, (x @ w)[:, ::2]))
    assert not gated.is_right(CPU, torch.bfloat16)
    gated.is_right.cache_clear()
    monkeypatch.delitem(sys.modules, "quack.gemm_interface")  # another package of that name
    assert not gated.is_right(CPU, torch.bfloat16)
    gated.is_right.cache_clear()


def test_both_first_matrices_are_one_product_where_the_transformer_stays(exact, gated_calls):
    rig = make_rig()
    layers = len([m for m in rig.pipe.transformer.modules() if type(m) is FeedForward])
    weights = sum(p.nbytes for p in rig.pipe.transformer.parameters())
    storages = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in rig.pipe.transformer.parameters()}
    assert sum(storages.values()) == weights  # nothing is there twice
    for offload, joined in (("off", True), ("encoders", True), ("model", False), ("group", False), ("off", True)):
        gated_calls.clear()
        rig.use(replace(PLAN, offload=offload))
        assert np.abs(picture(rig) - exact).max() <= 1
        assert bool(gated_calls) == joined
        if joined:
            ffn = rig.pipe.transformer.layers[0].feed_forward.w1
            assert set(gated_calls) == {(ffn.in_features, 2 * ffn.out_features)}
            assert len(gated_calls) >= layers


def test_weights_in_8_bit_do_without_the_joint_product(gated_calls):
    picture(make_rig(replace(PLAN, quantize="int8")))
    assert not gated_calls


def test_a_lora_reads_what_the_joint_product_would_not_write(gated_calls):
    rig = make_rig()
    expected = picture(rig)
    gated_calls.clear()
    for feed_forward in (m for m in rig.pipe.transformer.modules() if type(m) is FeedForward):
        feed_forward.w1 = lora.Linear(feed_forward.w1, "default", LoraConfig(r=1), r=1)
    assert np.abs(picture(rig) - expected).max() <= 1
    assert not gated_calls


def test_the_joint_product_goes_into_the_one_graph_of_all_layers(exact, gated_calls, monkeypatch):
    torch._dynamo.reset()
    real = compile.compile_blocks
    monkeypatch.setattr(compile, "use_disk_cache", lambda: None)
    monkeypatch.setattr(compile, "compile_blocks", lambda t, mode, inside_hooks: real(t, backend="eager"))
    rig = make_rig(replace(PLAN, compile="block"))
    graphs = compile.graphs_built()
    assert np.abs(picture(rig) - exact).max() <= 1
    assert compile.graphs_built() - graphs == 2  # layers and noise refiner
    assert gated_calls
    torch._dynamo.reset()


def test_padding_captions_to_a_bucket_does_not_change_the_picture(exact):
    rig = make_rig()
    rig.pipe.caption_buckets = CAPTION_BUCKETS
    assert np.abs(picture(rig) - exact).max() <= 1


@pytest.mark.parametrize("offload", ["off", "group"])
def test_8_bit_stays_close_and_can_be_placed_anywhere(exact, offload):
    rig = make_rig(replace(PLAN, quantize="int8", quantize_text="int8", offload=offload))
    assert 0 < np.abs(picture(rig) - exact).mean() < 4


def test_4_bit_text_changes_the_picture_a_little(exact):
    assert 0 < np.abs(picture(make_rig(replace(PLAN, quantize_text="int4"))) - exact).mean() < 8


def test_warming_builds_every_kind_of_step_that_the_plan_will_need(monkeypatch):
    seen = []
    for end, wanted in ((1.0, [2]), (0.5, [2, 1])):
        rig = make_rig(replace(PLAN, guidance_end=end))
        rig.pipe.split_guidance = False
        rig.pipe.transformer.register_forward_hook(lambda m, args, out: seen.append(len(args[0])))
        Stages(rig, EmbeddingCache()).warm(Shape(64, 64, 1, 256, guided=True))
        assert seen == wanted
        seen.clear()


def test_guided_passes_one_after_the_other_make_the_same_picture(exact):
    rig = make_rig(replace(PLAN, split_guidance=True))
    assert rig.pipe.split_guidance is True
    assert np.abs(picture(rig) - exact).max() <= 1
    rig.use(PLAN)
    assert rig.pipe.split_guidance is None


def test_a_plan_with_a_peak_decodes_in_stripes_before_it_is_passed(monkeypatch):
    rig = make_rig(replace(PLAN, peak_gb=19.0))
    monkeypatch.setattr(rig, "_free_bytes", lambda: 8e9)
    monkeypatch.setattr(rig, "device", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 16.0e9)
    monkeypatch.setattr("newbie_ui.engine.rig.decode_bytes", lambda pixels, vae: 2.4 * 2**30 * pixels / 1024**2)
    assert [rig.tile(1024 * 1024), rig.tile(1024 * 1536)] == [False, True]


def test_a_decoder_that_is_to_be_compiled_later_runs_as_written_until_then(exact):
    rig = make_rig()
    calls = []
    rig.pipe.vae.decoder._compiled_call_impl = lambda *args: calls.append(1) or rig.pipe.vae.decoder.forward(*args)
    row = resolve(GenerateRequest(prompt=tiny.PROMPT, seed=3), INFO, "p")[0]
    stages = Stages(rig, EmbeddingCache())
    latents = list(stages.denoise([row], stages.encode([row])))[-1].latents
    for eager, wanted in ((True, []), (False, [1])):
        assert np.array_equal(np.asarray(stages.decode(latents, row, eager)[0]), exact)
        assert calls == wanted


def test_large_pictures_are_decoded_in_stripes_when_memory_is_short(monkeypatch):
    rig = make_rig()
    monkeypatch.setattr(rig, "_free_bytes", lambda: 10e6)
    needed = decode_bytes(64 * 64, rig.pipe.vae)
    assert needed < 10e6 < decode_bytes(2048 * 2048, rig.pipe.vae)
    assert [rig.tile(64 * 64), rig.tile(2048 * 2048), rig.tile(64 * 64)] == [False, True, False]
    assert "forward" not in vars(rig.pipe.vae.decoder)


def test_a_plan_that_failed_half_way_is_applied_from_the_start_the_next_time(monkeypatch):
    loads = []
    rig = Rig(lambda dtype, progress, places: loads.append(1) or tiny.pipeline(), CPU, lambda *_: None)
    rig.use(PLAN)
    monkeypatch.setattr(rig, "_record_steps", lambda *_: (_ for _ in ()).throw(RuntimeError("x")))
    with pytest.raises(RuntimeError):
        rig.use(replace(PLAN, tiling="on"))
    monkeypatch.undo()
    rig.use(PLAN)
    assert len(loads) == 2

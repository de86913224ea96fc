"""A rig under every plan makes the same picture, through all three stages."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import LoraConfig
from peft.tuners import lora
from torch.utils._python_dispatch import TorchDispatchMode

from newbie_ui.engine import attention, compile
from newbie_ui.engine.base import ModelInfo
from newbie_ui.engine.embeddings import EmbeddingCache
from newbie_ui.engine.plan import Plan
from newbie_ui.engine.resolve import resolve
from newbie_ui.engine.rig import Rig, decode_bytes
from newbie_ui.engine.stages import Shape, Stages
from newbie_ui.model import products
from newbie_ui.model.attention import NewbieAttention
from newbie_ui.model.blocks import FeedForward
from newbie_ui.model.fit import CAPTION_BUCKETS
from newbie_ui.model.products import heads_fit
from newbie_ui.request import GenerateRequest
from tests import flash4, kernels, quack, tiny

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
def calls(monkeypatch):
    return quack.install(monkeypatch)


def names(calls):
    found = {call.name for call in calls}
    calls.clear()
    return found


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_products_have_to_be_there_and_right(calls, monkeypatch, dtype):
    products.is_right.cache_clear()
    assert products.is_right(CPU, dtype)
    assert len(calls) == 2
    broken, function = {
        torch.bfloat16: ("quack.gemm_interface", "gemm_gated"),
        torch.float8_e4m3fn: ("newbie_ui.model.epilogues", "heads"),
    }[dtype]
    right = getattr(sys.modules[broken], function)
    nearly = {"gemm_gated": lambda x, w, **_: (None, (x @ w)[:, ::2]), "heads": lambda *args: right(*args).flip(1)}
    monkeypatch.setattr(sys.modules[broken], function, nearly[function])
    products.is_right.cache_clear()
    assert not products.is_right(CPU, dtype)
    monkeypatch.delattr(sys.modules[broken], function)  # another package of that name
    products.is_right.cache_clear()
    assert not products.is_right(CPU, dtype)
    products.is_right.cache_clear()


def test_both_first_matrices_are_one_product_where_the_transformer_stays(exact, calls):
    rig = make_rig()
    layers = len([m for m in rig.pipe.transformer.modules() if type(m) is FeedForward])
    weights = sum(p.nbytes for p in rig.pipe.transformer.parameters())
    storages = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in rig.pipe.transformer.parameters()}
    assert sum(storages.values()) == weights  # nothing is there twice
    for offload, joined in (("off", True), ("encoders", True), ("model", False), ("group", False), ("off", True)):
        calls.clear()
        rig.use(replace(PLAN, offload=offload))
        assert np.abs(picture(rig) - exact).max() <= 1
        assert bool(calls) == joined
        if joined:
            ffn = rig.pipe.transformer.layers[0].feed_forward.w1
            assert set(calls) == {quack.Call("gated", (2 * ffn.out_features, ffn.in_features))}
            assert len(calls) >= layers


@pytest.fixture
def token_major(monkeypatch):
    """FlashAttention 4 is there, and chosen."""
    flash4.install(monkeypatch)
    monkeypatch.setattr(attention, "is_installed", lambda package: True)
    return replace(PLAN, attention="flash_attn_4")


def test_the_kernel_is_set_once_and_again_on_weights_that_are_read_anew(token_major, monkeypatch):
    used, use = [], attention.use
    monkeypatch.setattr(attention, "use", lambda transformer, name: used.append(name) or use(transformer, name))
    monkeypatch.setattr(attention, "fastest", lambda *shape, padded: "flash_attn_4")
    rig = make_rig(replace(token_major, attention="auto"))
    picture(rig), picture(rig)
    assert used == ["native", "flash_attn_4"]
    rig.use(replace(token_major, dtype="bfloat16"))
    assert used == ["native", "flash_attn_4"] * 2
    kernels_in_use = {each._attention_backend for each in rig.pipe.transformer.attn_processors.values()}
    assert kernels_in_use == {attention.BACKENDS["flash_attn_4"]}


@pytest.mark.parametrize("together", [True, False])
def test_heads_come_out_of_their_product_normed_and_turned(exact, calls, token_major, together):
    rig = make_rig(token_major)
    rig.pipe.split_guidance, rig.pipe.caption_buckets = not together, CAPTION_BUCKETS
    assert np.abs(picture(rig) - exact).max() <= 1  # also of two captions in one row
    assert names(calls) == {"gated", "heads"}
    rig.use(replace(token_major, attention="native"))  # reads head by head
    assert np.abs(picture(rig) - exact).max() <= 1
    assert names(calls) == {"gated"}


class _Copies(TorchDispatchMode):
    """Counts tensors made of Python's numbers: on a card each waits until everything before it is done."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten.lift_fresh.default
        return function(*args, **(kwargs or {}))


def test_a_step_does_not_wait_for_the_device(calls, token_major, monkeypatch):
    rig, copies = make_rig(token_major), _Copies()
    rig.pipe.split_guidance, rig.pipe.caption_buckets = False, CAPTION_BUCKETS
    forward = rig.pipe.transformer.forward

    def counted(*args, **kwargs):
        with copies:
            return forward(*args, **kwargs)

    monkeypatch.setattr(rig.pipe.transformer, "forward", counted)
    picture(rig)
    assert copies.count == 0
    with copies:
        torch.tensor([1.0])
    assert copies.count == 1


def test_weights_in_8_bit_have_products_of_their_own(calls, token_major, monkeypatch):
    """Only where kernels write rows in 8 bit; the caption's refiner stays in the usual format."""
    plan = replace(token_major, quantize="fp8")
    plain = picture(make_rig(replace(PLAN, quantize="fp8")))
    assert names(calls) == {"gated"}
    rig = make_rig(plan)
    kernels.install(monkeypatch)
    assert np.abs(picture(rig) - plain).mean() < 1
    assert names(calls) == {"gated", "gated rows", "heads rows"}
    picture(make_rig(replace(token_major, quantize="int8")))
    assert names(calls) == {"gated"}


def test_a_lora_reads_what_the_joint_product_would_not_write(calls):
    rig = make_rig()
    expected = picture(rig)
    calls.clear()
    for feed_forward in (m for m in rig.pipe.transformer.modules() if type(m) is FeedForward):
        feed_forward.w1 = lora.Linear(feed_forward.w1, "default", LoraConfig(r=1), r=1)
    assert np.abs(picture(rig) - expected).max() <= 1
    assert not calls


def test_heads_that_fill_no_tile_stay_with_the_kernel_that_turns_any(exact, calls, token_major, monkeypatch):
    monkeypatch.setattr(products, "heads_fit", heads_fit)  # the stand-in takes all
    assert heads_fit(96, 32 * 96)  # the published model's
    assert not heads_fit(64, 6 * 64)  # the demo's
    rig = make_rig(token_major)
    assert np.abs(picture(rig) - exact).max() <= 1
    assert names(calls) == {"gated"}


def test_a_lora_adds_to_queries_before_they_are_normed(calls, token_major):
    rig = make_rig(token_major)
    expected = picture(rig)
    assert names(calls) == {"gated", "heads"}
    for module in (m for m in rig.pipe.transformer.modules() if type(m) is NewbieAttention):
        module.qkv = lora.Linear(module.qkv, "default", LoraConfig(r=1), r=1)
    assert np.abs(picture(rig) - expected).max() <= 1
    assert names(calls) == {"gated"}


def test_layers_do_each_others_first_norm_unless_a_step_caches_hooks_stand_between(exact, monkeypatch):
    kernels.install(monkeypatch)
    rig, chained = make_rig(), []
    for layer in rig.pipe.transformer.layers:
        layer.register_forward_pre_hook(lambda _, args, given: chained.append("normed" in given), with_kwargs=True)
    assert np.abs(picture(rig) - exact).max() <= 1
    assert all(chained)
    chained.clear()
    rig.use(replace(PLAN, step_cache=1e-9))
    assert np.abs(picture(rig) - exact).max() <= 1
    assert not any(chained)


def test_layers_that_do_each_others_first_norm_have_one_graph(exact, monkeypatch):
    torch._dynamo.reset()
    real = compile.compile_blocks
    monkeypatch.setattr(compile, "use_disk_cache", lambda: None)
    monkeypatch.setattr(compile, "compile_blocks", lambda t, mode, inside_hooks: real(t, backend="eager"))
    kernels.install(monkeypatch, counted=False)
    rig = make_rig(replace(PLAN, compile="block"))
    rig.pipe.split_guidance = False
    graphs = compile.graphs_built()
    assert np.abs(picture(rig) - exact).max() <= 1
    assert compile.graphs_built() - graphs == 2  # layers and noise refiner
    torch._dynamo.reset()


@pytest.mark.parametrize("kernel", ["native", "flash_attn_4"])
def test_products_go_into_the_one_graph_of_all_layers(exact, calls, token_major, monkeypatch, kernel):
    torch._dynamo.reset()
    real = compile.compile_blocks
    monkeypatch.setattr(compile, "use_disk_cache", lambda: None)
    monkeypatch.setattr(compile, "compile_blocks", lambda t, mode, inside_hooks: real(t, backend="eager"))
    rig = make_rig(replace(token_major, compile="block", attention=kernel))
    graphs = compile.graphs_built()
    assert np.abs(picture(rig) - exact).max() <= 1
    assert compile.graphs_built() - graphs == 2  # layers and noise refiner
    assert names(calls) == ({"gated"} if kernel == "native" else {"gated", "heads"})
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


@pytest.mark.parametrize(("kernel", "pictures"), [("native", 1), ("flash_attn_4", 1), ("flash_attn_4", 2)])
def test_what_was_warmed_is_what_pictures_need(monkeypatch, kernel, pictures):
    """Also where both passes of a picture lie in one row, whose length is that of both texts together."""
    torch._dynamo.reset()
    flash4.install(monkeypatch)
    real = compile.compile_blocks
    monkeypatch.setattr(attention, "is_installed", lambda package: True)
    monkeypatch.setattr(compile, "use_disk_cache", lambda: None)
    monkeypatch.setattr(compile, "compile_blocks", lambda t, mode, inside_hooks: real(t, backend="eager"))
    rig = make_rig(replace(PLAN, compile="block", attention=kernel))
    rig.pipe.split_guidance = False
    stages = Stages(rig, EmbeddingCache())
    for prompt in (tiny.PROMPT, "blue_hair, smile"):
        request = GenerateRequest(prompt=prompt, negative_prompt="bad", seed=3, images=pictures)
        rows = resolve(request, INFO, "p")
        texts = stages.encode(rows)
        shape = stages.shape(rows, texts)
        tokens = texts[0].positive.tokens + texts[0].negative.tokens
        assert shape.bucket >= (tokens if kernel == "flash_attn_4" else texts[0].positive.tokens)
        stages.warm(shape)
        graphs = compile.graphs_built()
        list(stages.denoise(rows, texts))
        assert compile.graphs_built() == graphs > 0
    torch._dynamo.reset()


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

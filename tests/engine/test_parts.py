"""The engine's parts one by one: embeddings cache, history, plans, placement, 8-bit layers, compile state."""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from newbie_ui.engine import ahead, attention
from newbie_ui.engine.base import DeviceInfo, ModelInfo
from newbie_ui.engine.choices import preset_choices
from newbie_ui.engine.compile import CompileState, use_disk_cache
from newbie_ui.engine.embeddings import EmbeddingCache, Encoding
from newbie_ui.engine.history import FILE_NAME, KEEP, History, Measurement
from newbie_ui.engine.measure import PeakMemory, Stopwatch, best_s, describe_device, find_device
from newbie_ui.engine.placement import STAYING, Parked, Placement, Streamed
from newbie_ui.engine.plan import Plan, make_plan, step_down
from newbie_ui.engine.quantize import KINDS, Fp8FeedForward, Fp8Linear, quantize, quantize_transformer
from newbie_ui.engine.stages import WARM_BUCKETS, shapes_to_warm
from newbie_ui.errors import PresetError, SettingsError
from newbie_ui.model import kernels
from newbie_ui.model.attention import apply_rotary
from newbie_ui.model.blocks import FeedForward
from newbie_ui.model.fit import CAPTION_BUCKETS
from newbie_ui.presets import Preset
from newbie_ui.request import GenerateRequest
from tests import flash4, tiny
from tests import kernels as stand_ins

CPU = torch.device("cpu")
CARD = DeviceInfo("cuda", "A card", 25.4, (9, 0))
PROCESSOR = DeviceInfo("cpu", "A processor", 24.0)


def measured(**changes):
    values = {"model": "m", "preset": "cpu", "width": 256, "height": 256, "steps": 20, "device": "A processor",
              "seconds": 4.0, "denoise_s": 3.0, "peak_gb": 0.8}  # fmt: skip
    return Measurement(**{**values, **changes})


# ---- embeddings ------------------------------------------------------------------------------------------------


def test_the_least_recently_used_embedding_is_dropped_first():
    cache = EmbeddingCache(max_entries=2)
    for key in "ab":
        cache.put(key, Encoding(key, 1))
    cache.get("a")
    cache.put("c", Encoding("c", 1))
    assert [cache.get(key) is not None for key in "abc"] == [True, False, True]
    assert (cache.hits, cache.misses) == (3, 1)


def test_the_cache_is_bounded_by_bytes_and_refuses_what_is_larger_than_itself():
    cache = EmbeddingCache(max_bytes=100)
    for number in range(50):
        cache.put(number, Encoding(number, 1, bytes=30))
    assert len(cache) == 3
    cache.put("huge", Encoding("huge", 1, bytes=101))
    assert cache.get("huge") is None
    assert len(cache) == 3


# ---- history ---------------------------------------------------------------------------------------------------


def test_the_median_of_the_same_size_and_steps_is_remembered_across_restarts(tmp_path):
    history = History(tmp_path)
    for seconds in (3.0, 5.0, 100.0):
        history.add(measured(seconds=seconds))
    history.add(measured(seconds=60.0, cold=True))
    estimate = History(tmp_path).estimate("m", "cpu", "A processor", 256, 256, 20)
    assert (estimate.seconds, estimate.peak_gb, estimate.measured) == (5.0, 0.8, True)


def test_other_steps_and_sizes_are_scaled_and_marked_as_estimates():
    history = History()
    history.add(measured())
    assert history.estimate("m", "cpu", "A processor", 256, 256, 40).seconds == pytest.approx(1 + 6)
    larger = history.estimate("m", "cpu", "A processor", 512, 256, 20)
    assert larger.seconds == pytest.approx(8)
    assert not larger.measured


def test_nothing_is_estimated_for_another_model_preset_or_device():
    history = History()
    history.add(measured())
    for other in (("x", "cpu", "A processor"), ("m", "x", "A processor"), ("m", "cpu", "x")):
        assert history.estimate(*other, 256, 256, 20) is None


def test_damaged_lines_are_skipped(tmp_path):
    History(tmp_path).add(measured())
    with open(tmp_path / FILE_NAME, "a") as file:
        file.write('{"half": \n[]\n{"model": 1}\n' + json.dumps({**vars(measured()), "steps": 0}) + "\n\xff\n")
    assert len(History(tmp_path)) == 1


def test_the_file_stays_bounded(tmp_path):
    (tmp_path / FILE_NAME).write_text((json.dumps(vars(measured())) + "\n") * (2 * KEEP))
    history = History(tmp_path)
    history.add(measured(seconds=9.0))
    lines = (tmp_path / FILE_NAME).read_text().splitlines()
    assert len(lines) == KEEP
    assert json.loads(lines[-1])["seconds"] == 9.0


def test_a_folder_that_cannot_be_written_costs_the_memory_only(tmp_path):
    (tmp_path / "file").write_text("")
    history = History(tmp_path / "file")
    history.add(measured())
    assert history.estimate("m", "cpu", "A processor", 256, 256, 20).seconds == 4.0


def test_the_preset_list_shows_what_was_measured_here():
    model = ModelInfo("m", "", "", True, "", ((256, 256),), {"width": 256, "height": 256, "steps": 20})
    presets = [Preset(name="cpu", device="cpu"), Preset(name="quality", device_gb=24, peak_gb=19)]
    history = History()
    before = preset_choices(presets, PROCESSOR, model, history)
    assert (before[0].median_s, before[0].peak_gb, before[0].measured) == (None, None, False)
    history.add(measured())
    cpu, quality = preset_choices(presets, PROCESSOR, model, history, GenerateRequest(steps=20))
    assert (cpu.median_s, cpu.peak_gb, cpu.measured, cpu.recommended) == (4.0, 0.8, True, True)
    assert (quality.fits, quality.reason) == (False, "needs a card with 24 GB; this machine has none")
    assert not preset_choices(presets, PROCESSOR, model, history, GenerateRequest(steps=40))[0].measured


# ---- plans -----------------------------------------------------------------------------------------------------


def test_auto_is_decided_by_device_and_model():
    preset = Preset(name="p", quantize="8bit", offload="model")
    on_card, on_processor = make_plan(preset, CARD, False), make_plan(preset, PROCESSOR, True)
    assert (on_card.dtype, on_card.quantize, on_card.offload, on_card.attention) == (
        "bfloat16", "fp8", "model", "auto")  # fmt: skip
    assert (on_processor.dtype, on_processor.quantize, on_processor.offload, on_processor.attention) == (
        "float32", "off", "off", "native")  # fmt: skip
    assert make_plan(preset, PROCESSOR, False).dtype == "bfloat16"


def descend(stage, card, **start):
    plan, seen = Plan("p", **start), []
    while (plan := step_down(plan, stage, card)) is not None:
        seen.append((plan.tiling, plan.offload, plan.batch))
    return seen


def test_the_ladder_goes_down_in_the_promised_order():
    assert descend("decode", True, batch=4) == [
        ("on", "off", 4), ("on", "encoders", 4), ("on", "encoders", 2), ("on", "encoders", 1), ("on", "group", 1),
    ]  # fmt: skip
    assert descend("encode", True) == [("auto", "encoders", 1), ("auto", "model", 1), ("auto", "group", 1)]
    assert descend("denoise", False, batch=2) == [("auto", "off", 1)]


def test_sizes_to_warm_are_the_presets_or_the_models():
    model_sizes = ((1024, 1024), (832, 1216))
    preset = Preset(name="p", compile="block", warm=4, warm_sizes="768x768 512x512")
    plan = make_plan(preset, CARD, False)
    assert [(s.width, s.bucket) for s in shapes_to_warm(plan, model_sizes)] == [
        (768, 320),
        (768, 384),
        (768, 512),
        (768, 640),
    ]
    plan = make_plan(replace(preset, warm=8), CARD, False)
    assert [s.width for s in shapes_to_warm(plan, model_sizes)] == [768] * 6 + [512] * 2
    plan = make_plan(Preset(name="p", compile="block", warm=1), CARD, False)
    assert [(s.width, s.height) for s in shapes_to_warm(plan, model_sizes)] == [(1024, 1024)]


def test_every_length_to_warm_is_one_that_captions_are_padded_to():
    assert set(WARM_BUCKETS) <= set(CAPTION_BUCKETS)


def test_every_rung_tells_the_artist_what_was_done():
    assert step_down(Plan("p"), "decode", False).notes == ("decoded in stripes",)


# ---- placement -------------------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.feed_forward, self.norm = nn.Linear(8, 8), nn.Linear(8, 8), nn.LayerNorm(8)

    def forward(self, x):
        return self.norm(x + self.feed_forward(self.attention(x)))


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.layers = nn.Linear(8, 8), nn.ModuleList(Block() for _ in range(4))

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        return x


PARTS = ("text_encoder", "clip_model", "transformer", "vae")


@pytest.mark.parametrize("policy", STAYING)
def test_every_policy_gives_the_same_numbers_and_leaves_the_weights_unchanged(policy):
    torch.manual_seed(0)
    tower, x = Tower(), torch.randn(2, 8)
    before, wanted = {k: v.clone() for k, v in tower.state_dict().items()}, tower(x)
    placement = Placement({"transformer": tower, "text_encoder": Tower()}, CPU, policy)
    for _ in range(2):
        with placement.stage("encode"):
            pass
        with placement.stage("denoise"):
            assert torch.equal(tower(x), wanted)
    placement.release()
    assert all(torch.equal(v, before[k]) for k, v in tower.state_dict().items())
    assert torch.equal(tower(x), wanted)


@pytest.mark.parametrize(
    ("policy", "encode", "denoise", "decode"),
    [
        ("off", set(PARTS), set(PARTS), set(PARTS)),
        ("encoders", set(PARTS), {"transformer", "vae"}, {"transformer", "vae"}),
        ("model", {"text_encoder", "clip_model", "vae"}, {"transformer", "vae"}, {"transformer", "vae"}),
        ("turns", {"text_encoder", "clip_model", "vae"}, {"transformer", "vae"}, {"vae"}),
        ("group", {"text_encoder", "clip_model", "vae"}, {"transformer", "vae"}, {"vae"}),
    ],
)
def test_each_policy_keeps_its_promise_of_what_is_on_the_device(policy, encode, denoise, decode):
    placement = Placement({name: Tower() for name in PARTS}, CPU, policy)
    for _ in range(2):
        for stage, wanted in (("encode", encode), ("denoise", denoise), ("decode", decode)):
            with placement.stage(stage):
                assert {name for name, place in placement.where().items() if place != "home"} == wanted


def test_streaming_keeps_at_most_two_blocks_on_the_device():
    tower, seen = Tower(), []
    streamed = Streamed(list(tower.layers), CPU)
    for layer in tower.layers:
        layer.norm.register_forward_hook(lambda *_: seen.append(streamed.most_up))
    tower(torch.randn(1, 8))
    assert seen == [2, 2, 2, 1]
    assert streamed.most_up == 0
    streamed.remove()
    tower(torch.randn(1, 8))
    assert streamed.most_up == 0


@torch.no_grad()
def test_a_pass_that_was_broken_off_leaves_no_wrong_weights_in_a_place():
    tower, x = Tower(), torch.randn(2, 8)
    wanted = tower(x)
    streamed = Streamed(list(tower.layers), CPU)
    stop = tower.layers[1].norm.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tower(x)
    assert streamed.most_up == 2
    stop.remove()
    assert torch.equal(tower(x), wanted)


@torch.no_grad()
def test_streamed_blocks_share_two_places_whatever_their_sizes_and_formats():
    tower, x = Tower(), torch.randn(2, 8)
    tower.layers[2].feed_forward = nn.Sequential(nn.Linear(8, 40), nn.Linear(40, 8))
    tower.layers[3].attention = KINDS["int8"](tower.layers[3].attention)
    wanted, seen = tower(x), set()
    streamed = Streamed(list(tower.layers), CPU)
    for layer in tower.layers:
        layer.norm.register_forward_hook(lambda *_: seen.update(p.data_ptr() for p in streamed._places))
    assert torch.equal(tower(x), wanted)
    assert len(seen) == 2
    streamed.let_go()
    assert streamed._places == []


def test_weights_changed_after_forget_are_kept():
    tower = Tower()
    placement = Placement({"transformer": tower}, CPU, "model")
    with placement.stage("denoise"):
        pass
    placement.forget("transformer")
    with torch.no_grad():
        tower.first.weight.fill_(3.0)
    for stage in ("encode", "denoise"):
        with placement.stage(stage):
            assert (tower.first.weight == 3.0).all()


def test_parked_weights_can_visit_another_device():
    linear = nn.Linear(4, 4).to("cpu")
    parked = Parked([linear], torch.device("cpu"))
    home = linear.weight.data_ptr()
    parked.bring()
    parked.park()
    assert linear.weight.data_ptr() == home


# ---- 8-bit layers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "bound"), [("fp8", 0.05), ("int8", 0.02), ("weight", 0.01), ("weight4", 0.09)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_8bit_layers_stay_close_to_the_exact_ones(kind, bound, dtype):
    torch.manual_seed(0)
    linear, x = nn.Linear(64, 96).to(dtype), torch.randn(2, 5, 64).to(dtype)
    exact = linear(x).float()
    got = KINDS[kind](linear)(x)
    assert (got.shape, got.dtype) == (exact.shape, dtype)
    assert (got.float() - exact).norm() / exact.norm() < bound


def test_4_bit_weights_take_little_more_than_half_a_byte_each():
    layer = KINDS["weight4"](nn.Linear(256, 64, dtype=torch.bfloat16))
    stored = sum(t.nbytes for t in layer.state_dict(keep_vars=True).values()) + layer.step.nbytes + layer.low.nbytes
    assert stored == 64 * 128 + 2 * 2 * 64 * 4 + 2 * 64  # codes, steps and offsets, bias
    assert layer.weight.dtype == torch.uint8


def test_converted_layers_stay_where_they_were():
    tower = Tower()
    quantize(tower, "int8", re.compile("feed_forward"), torch.device("cpu"))
    assert {p.device for p in tower.parameters()} == {CPU}


def test_only_the_large_products_of_the_joint_layers_are_quantized():
    model = nn.Module()
    model.layers = nn.ModuleList([nn.Module()])
    model.layers[0].attention, model.layers[0].feed_forward = nn.Module(), nn.Module()
    model.layers[0].attention.qkv = nn.Linear(16, 16, bias=False)
    model.layers[0].feed_forward.w1 = nn.Linear(16, 16, bias=False)
    model.layers[0].adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(16, 16))
    model.x_embedder = nn.Linear(16, 16)
    assert quantize_transformer(model, "int8") == 2
    assert isinstance(model.layers[0].adaLN_modulation[1], nn.Linear)
    assert quantize(model, "int8", re.compile("nothing")) == 0


@pytest.fixture
def fp8_layer():
    """The first feed-forward of a transformer in fp8, and some input."""
    transformer = tiny.pipeline().transformer
    quantize_transformer(transformer, "fp8")
    torch.manual_seed(0)
    return transformer.layers[0].feed_forward, torch.randn(2, 5, tiny.TRANSFORMER["dim"], dtype=torch.bfloat16)


@pytest.fixture
def plain_kernels(monkeypatch):
    return stand_ins.install(monkeypatch)


@torch.no_grad()
def test_fp8_feed_forwards_compute_on_a_processor_as_the_class_they_replace():
    transformer = tiny.pipeline().transformer
    assert quantize_transformer(transformer, "fp8") == 5 * (len(transformer.layers) + len(transformer.noise_refiner))
    inputs = (torch.randn(1, 16, 8, 8), torch.tensor([0.4]), torch.randn(1, 6, tiny.WIDTH), None)
    inputs = (*inputs, torch.randn(1, tiny.CLIP_WIDTH))
    own = transformer(*inputs).sample
    for block in (*transformer.noise_refiner, *transformer.layers):
        assert type(block.feed_forward) is Fp8FeedForward
        block.feed_forward.__class__ = FeedForward
    assert all(type(block.feed_forward) is FeedForward for block in transformer.context_refiner)
    assert torch.equal(transformer(*inputs).sample, own)


@torch.no_grad()
def test_norms_before_fp8_layers_write_8_bit_unless_a_lora_reads_what_they_write(request):
    transformer = tiny.pipeline().transformer
    quantize_transformer(transformer, "fp8")
    block = transformer.layers[0]
    torch.manual_seed(0)
    x, modulation = torch.randn(2, 5, tiny.TRANSFORMER["dim"]), torch.randn(2, 4 * tiny.TRANSFORMER["dim"])
    angles = torch.randn(2, 5, block.attention.head_dim // 2)
    inputs = {"rotary": (angles.cos(), angles.sin()), "modulation": modulation}
    plain = block(x, **inputs)
    asked = request.getfixturevalue("plain_kernels")
    request.getfixturevalue("monkeypatch").setattr(kernels, "turned_heads", turned_by_torch(block.attention))
    assert (block(x, **inputs) - plain).norm() / plain.norm() < 0.02
    assert asked == ["normed in 8 bit", "quantized", "normed in 8 bit", "gated"]
    asked.clear()
    block.attention.qkv.__class__ = type("WithBranch", (Fp8Linear,), {})
    block.feed_forward.w1.__class__ = type("WithBranch", (Fp8Linear,), {})
    assert (block(x, **inputs) - plain).norm() / plain.norm() < 0.02
    assert "normed in 8 bit" not in asked
    assert "normed" in asked


def turned_by_torch(attention):
    def turned_heads(qkv, weights, rotary, token_mask, heads, kv_heads, eps, head_major):
        q, k, v = qkv.unflatten(-1, (-1, attention.head_dim)).split((heads, kv_heads, kv_heads), dim=2)
        return *(apply_rotary(F.rms_norm(x, w.shape, w, eps), rotary) for x, w in zip((q, k), weights)), v

    return turned_heads


@torch.no_grad()
def test_an_fp8_feed_forward_quantizes_its_input_once_and_what_lies_between_its_layers(fp8_layer, request):
    layer, x = fp8_layer
    plain = layer(x).float()
    asked = request.getfixturevalue("plain_kernels")
    assert (layer(x).float() - plain).norm() / plain.norm() < 0.02
    assert asked == ["quantized", "gated"]


@torch.no_grad()
@pytest.mark.parametrize("branched", ["w1", "w2", "w3"])
def test_an_fp8_feed_forward_with_a_lora_keeps_what_the_lora_reads(fp8_layer, plain_kernels, branched):
    layer, x = fp8_layer
    read = []

    class WithBranch(Fp8Linear):
        def forward(self, x):
            read.append(x.dtype)
            return super().forward(x)

    getattr(layer, branched).__class__ = WithBranch
    layer(x)
    assert read == [torch.bfloat16]
    assert plain_kernels == ["quantized"] * 3  # each layer for itself


# ---- compile state and measures --------------------------------------------------------------------------------


def test_a_shape_is_cold_once():
    state = CompileState()
    assert not state.is_cold("a")
    state.reset(compiled=True)
    state.begin("a")
    assert state.state == "compiling"
    state.done("a")
    assert (state.is_cold("a"), state.is_cold("b"), state.state) == (False, True, "warm")
    state.begin("a")
    assert state.state == "warm"


def test_the_peak_of_resident_memory_is_seen():
    with PeakMemory(describe_device(CPU)) as quiet:
        pass
    with PeakMemory(describe_device(CPU)) as busy:
        block = torch.ones(50_000_000 // 4)
        del block
        so_far = busy.so_far()
    assert so_far.resident_gb >= quiet.so_far().resident_gb
    assert so_far.allocated_gb is None
    assert so_far.device_gb > 1


def test_a_stage_is_timed_even_when_it_fails():
    watch = Stopwatch(CPU)
    with pytest.raises(ValueError, match="x"), watch.stage("decode"):
        raise ValueError("x")
    assert watch.seconds["decode"] >= 0


def test_the_best_of_several_rounds_is_a_time_for_one_run_after_a_warm_up():
    runs = []

    def work():
        runs.append(time.perf_counter())
        time.sleep(0.001)

    assert 0.001 <= best_s(work, CPU, rounds=3) < 0.1
    assert len(runs) >= 2 + 3


def test_a_card_that_is_not_there_is_explained():
    with pytest.raises(SettingsError, match=r"no card that torch can use\. Use auto or cpu"):
        find_device("cuda")


def test_compiled_code_is_kept_in_the_users_cache(tmp_path):
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    use_disk_cache(environ)
    assert environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "newbie_ui" / "compiled")
    mine = str(tmp_path / "mine")
    for chosen in ({"TORCHINDUCTOR_CACHE_DIR": mine}, {"TORCHINDUCTOR_CACHE_DIR": mine}):
        use_disk_cache(chosen)
        assert chosen == {
            "TORCHINDUCTOR_CACHE_DIR": mine,
            "FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED": "1",
            "FLASH_ATTENTION_CUTE_DSL_CACHE_DIR": f"{mine}/flash4",
            "QUACK_CACHE_DIR": f"{mine}/products",
        }
    blocked = {"TORCHINDUCTOR_CACHE_DIR": "/proc/none"}
    use_disk_cache(blocked)
    assert blocked == {"TORCHINDUCTOR_CACHE_DIR": "/proc/none"}


def test_the_processor_is_described_with_its_cores():
    info = describe_device(find_device("cpu"))
    assert (info.kind, info.capability) == ("cpu", None)
    assert "cores" in info.name


# ---- attention -------------------------------------------------------------------------------------------------


def test_a_kernel_that_is_not_installed_is_passed_over(monkeypatch):
    shape = {"device": CPU, "dtype": torch.float32, "heads": (2, 1), "head_dim": 8, "tokens": 16}
    assert attention.time_backend("native", **shape) > 0
    assert attention.time_backend("native", **shape, padded=True) > 0
    assert attention.time_backend("flash_attn", **shape) is None
    assert attention.time_backend("flash_attn_4", **shape, padded=True) is None
    calls = flash4.install(monkeypatch)
    assert attention.time_backend("flash_attn_4", **shape, padded=True) > 0
    assert {tuple(call.starts) for call in calls} == {(0, shape["tokens"], 2 * shape["tokens"])}  # as pictures use it
    assert attention.fastest(**shape) == "native"


def test_a_preset_that_names_a_kernel_which_is_not_installed_is_told_so():
    with pytest.raises(PresetError, match=r"attention is 'flash_attn_3', but its package is not installed.* use auto"):
        attention.use(tiny.pipeline().transformer, "flash_attn_3")


def test_a_package_is_there_only_with_its_own_code(tmp_path, monkeypatch):
    """FlashAttention 4 puts a folder into one of FlashAttention 2's name."""
    (tmp_path / "outer_package" / "inner").mkdir(parents=True)
    (tmp_path / "outer_package" / "inner" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert attention.is_installed("outer_package.inner")
    assert not attention.is_installed("outer_package")
    assert not attention.is_installed("nothing.inner")


def test_packages_of_kernels_are_imported_ahead_and_broken_ones_left_alone(tmp_path, monkeypatch):
    (tmp_path / "broken_kernels.py").write_text("raise OSError('no driver')")
    (tmp_path / "good_kernels.py").write_text("import threading\nwhere = threading.current_thread().name")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(ahead, "use_disk_cache", lambda: None)
    ahead.import_packages(("broken_kernels", "no_such_kernels", "good_kernels")).join()
    assert sys.modules.pop("good_kernels").where == "kernel packages"
    assert set(ahead.PACKAGES) == {"quack.gemm_interface", "newbie_ui.model.epilogues", "flash_attn.cute"}

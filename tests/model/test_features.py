"""What diffusers offers for its models works on ours: each feature is seen to act, not only to be callable."""

import json
import multiprocessing

import pytest
import torch
from diffusers import FirstBlockCacheConfig, MagCacheConfig
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

from newbie_ui.model import attention
from newbie_ui.model.transformer import NewbieTransformer2DModel
from tests import flash4, tiny
from tests.model import context_parallel


@pytest.fixture
def model():
    return context_parallel.model()


@pytest.fixture
def inputs():
    return context_parallel.inputs()


@pytest.fixture
def pipe():
    return tiny.pipeline()


def largest(a, b):
    return (a - b).abs().max().item()


@torch.no_grad()
def run(model, inputs, **changes):
    return model(**{**inputs, **changes}).sample


def picture(pipe, prompt=tiny.PROMPT, **options):
    return pipe(prompt, generator=torch.Generator().manual_seed(3), output_type="pt", **options).images


# ---- attention backends ------------------------------------------------------------------------------------------


@pytest.fixture
def backend_calls(monkeypatch):
    """How often the math kernel of diffusers' dispatcher is asked."""
    calls = []
    name = AttentionBackendName._NATIVE_MATH
    original = _AttentionBackendRegistry._backends[name]
    monkeypatch.setitem(_AttentionBackendRegistry._backends, name, lambda **kw: calls.append(1) or original(**kw))
    monkeypatch.setattr(_AttentionBackendRegistry, "_active_backend", _AttentionBackendRegistry._active_backend)
    return calls


def test_every_attention_uses_the_backend_that_was_set(model, inputs, backend_calls):
    expected = run(model, inputs)
    assert not backend_calls
    model.set_attention_backend("_native_math")
    assert largest(run(model, inputs), expected) < 2e-6
    assert len(backend_calls) == len(model.attn_processors) == 5
    model.reset_attention_backend()


@torch.no_grad()
@pytest.mark.parametrize("padding", ["mask", "channels"])
def test_a_kernel_that_knows_groups_reads_each_key_once(pipe, inputs, monkeypatch, padding):
    """On a card cuDNN and flash do; here torch's own choice stands in for them."""
    transformer, heads = pipe.transformer, []
    transformer.set_padding_method(padding)
    name = AttentionBackendName.NATIVE
    original = _AttentionBackendRegistry._backends[name]

    def watched(**named):
        heads.append((named["query"].shape[2], named["key"].shape[2], named["value"].shape[2]))
        return original(**named)

    monkeypatch.setitem(_AttentionBackendRegistry._backends, name, watched)
    for processor in transformer.attn_processors.values():
        processor._attention_backend = name
    repeated = run(transformer, inputs)
    monkeypatch.setattr(attention, "GROUPED", (name,))
    assert largest(run(transformer, inputs), repeated) < 2e-6
    assert heads == [(2, 2, 2)] * 5 + [(2, 1, 1)] * 5


@torch.no_grad()
def test_flash_attention_4_is_told_the_lengths_and_needs_no_channels(model, inputs, graphs, monkeypatch):
    model.set_padding_method("channels")
    expected, calls = run(model, inputs), flash4.install(monkeypatch)
    flash4.use(model)
    assert largest(run(model, inputs), expected) < 2e-6
    width = model.config.dim // model.config.n_heads
    lengths = inputs["encoder_attention_mask"].sum(dim=1)
    tokens = inputs["hidden_states"].shape[-1] * inputs["hidden_states"].shape[-2] // 4
    of_caption, of_image = flash4.Call(width, lengths.tolist()), flash4.Call(width)
    assert all(call in (of_caption, of_image, flash4.Call(width, (lengths + tokens).tolist())) for call in calls)
    assert len(set(map(str, calls))) == 3
    model.compile_repeated_blocks(fullgraph=True, backend=graphs, dynamic=False)
    assert largest(run(model, inputs), expected) < 2e-6
    assert graphs.count == 1


# ---- compiling ---------------------------------------------------------------------------------------------------


class Graphs:
    """A compiler backend that counts graphs and runs them as they are."""

    def __init__(self):
        self.count = 0

    def __call__(self, graph, example_inputs):
        self.count += 1
        return graph.forward


@pytest.fixture
def graphs():
    torch._dynamo.reset()
    yield Graphs()
    torch._dynamo.reset()


def test_one_graph_serves_all_layers_all_steps_and_all_prompts_of_a_bucket(model, inputs, graphs):
    expected = run(model, inputs)
    model.compile_repeated_blocks(fullgraph=True, backend=graphs, dynamic=False)
    assert largest(run(model, inputs), expected) < 1e-6
    assert graphs.count == 1
    with torch.compiler.set_stance("fail_on_recompile"):
        run(model, inputs, timestep=torch.tensor([0.9, 0.1]))
        run(model, inputs, encoder_attention_mask=torch.arange(10) < torch.tensor([[7], [1]]))


def test_each_further_size_costs_one_graph_more(model, inputs, graphs):
    model.compile_repeated_blocks(fullgraph=True, backend=graphs, dynamic=False)
    for side in (8, 4, 6):
        run(model, inputs, hidden_states=torch.randn(2, 16, side, side))
    assert graphs.count == 3


def test_prepared_modulation_needs_no_graph_of_its_own_at_every_step(model, inputs, graphs):
    model.compile_repeated_blocks(fullgraph=True, backend=graphs, dynamic=False)
    with torch.no_grad():
        caption = model.prepare_caption(inputs["encoder_hidden_states"], inputs["encoder_attention_mask"])
        rotary = model.prepare_rotary(caption, 8, 8)
        for modulation in model.prepare_modulation(torch.linspace(0, 0.9, 5), None, 2, torch.float32):
            model(inputs["hidden_states"], caption=caption, rotary=rotary, modulation=modulation)
    assert graphs.count == 1


def test_the_whole_model_is_one_graph(model, inputs, graphs):
    model.layers = model.layers[:1]
    expected = run(model, inputs)
    compiled = torch.compile(model, fullgraph=True, backend=graphs)
    assert largest(run(compiled, inputs), expected) < 1e-6
    assert graphs.count == 1


def test_the_real_compiler_gives_the_same_numbers(model, inputs):
    torch._dynamo.reset()
    model.set_padding_method("channels")
    model.layers = model.layers[:1]
    expected = run(model, inputs)
    model.compile_repeated_blocks(fullgraph=True)
    assert largest(run(model, inputs), expected) < 1e-5
    torch._dynamo.reset()


# ---- caches between steps ----------------------------------------------------------------------------------------


@pytest.fixture
def block_runs(pipe):
    """How often the second layer really computes."""
    runs = []
    pipe.transformer.layers[1].feed_forward.register_forward_hook(lambda *_: runs.append(1))
    return runs


def test_first_block_cache_skips_the_other_layers(pipe, block_runs):
    expected = picture(pipe, num_inference_steps=6)
    every = len(block_runs)
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=1e-9))
    assert largest(picture(pipe, num_inference_steps=6), expected) < 1e-5
    pipe.transformer.disable_cache()
    block_runs.clear()
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=10.0))
    cached = picture(pipe, num_inference_steps=6)
    assert every == 12
    assert len(block_runs) == 2  # the first step of each of the two passes
    assert 1e-6 < largest(cached, expected) < 1


def test_caches_forget_between_pictures(pipe, block_runs):
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=10.0))
    first = picture(pipe, num_inference_steps=3)
    picture(pipe, "something else", num_inference_steps=3)
    assert largest(picture(pipe, num_inference_steps=3), first) < 1e-6


def test_caches_forget_when_a_picture_is_given_up(pipe):
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=10.0))
    first = picture(pipe, num_inference_steps=3)
    steps = pipe.denoise(pipe.encode(["cat"]), None, pipe.prepare_latents([1], 64, 64), steps=3)
    next(steps)
    steps.close()
    assert largest(picture(pipe, num_inference_steps=3), first) < 1e-6


def test_disabling_the_cache_gives_the_exact_picture_again(pipe):
    expected = picture(pipe, num_inference_steps=3)
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=10.0))
    picture(pipe, num_inference_steps=3)
    pipe.transformer.disable_cache()
    assert largest(picture(pipe, num_inference_steps=3), expected) == 0


def test_mag_cache_skips_after_calibration(pipe, block_runs, capsys):
    steps = 8
    pipe.transformer.enable_cache(MagCacheConfig(num_inference_steps=steps, calibrate=True))
    expected = picture(pipe, num_inference_steps=steps, guidance_scale=1.0)
    pipe.transformer.disable_cache()
    ratios = next(json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("[1.0"))
    assert len(ratios) == len(block_runs) == steps
    block_runs.clear()
    pipe.transformer.enable_cache(MagCacheConfig(num_inference_steps=steps, mag_ratios=ratios, threshold=0.5))
    cached = picture(pipe, num_inference_steps=steps, guidance_scale=1.0)
    assert len(block_runs) < steps
    assert 0 < largest(cached, expected) < 1


# ---- offloading and casting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["block_level", "leaf_level"])
def test_group_offload_gives_the_same_picture(pipe, level):
    expected = picture(pipe)
    outside = []
    pipe.transformer.prepare_caption = lambda *args: (
        outside.append(1) or NewbieTransformer2DModel.prepare_caption(pipe.transformer, *args)
    )
    options = {"num_blocks_per_group": 1} if level == "block_level" else {}
    pipe.transformer.enable_group_offload(
        onload_device=torch.device("cpu"), offload_device=torch.device("cpu"), offload_type=level, **options
    )
    assert largest(picture(pipe), expected) < 1e-5
    assert len(outside) == 2 * 2  # inside every forward: two passes, two steps; nothing is prepared outside


def test_model_offload_gives_the_same_picture_and_takes_parts_off_again(pipe):
    expected = picture(pipe)
    pipe.enable_model_cpu_offload(device="cpu")
    assert largest(picture(pipe), expected) < 1e-5
    assert all(hasattr(part, "_hf_hook") for part in (pipe.transformer, pipe.text_encoder, pipe.clip_model, pipe.vae))


def test_layerwise_casting_halves_the_weights_and_keeps_the_picture(pipe):
    expected = picture(pipe)
    pipe.transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    block = pipe.transformer.layers[0]
    assert block.attention.qkv.weight.dtype == torch.float8_e4m3fn
    assert block.attention_norm1.weight.dtype == pipe.transformer.x_embedder.weight.dtype == torch.float32
    assert 0 < (picture(pipe) - expected).abs().mean() < 0.05


# ---- LoRA --------------------------------------------------------------------------------------------------------


def lora(model, seed, rank=2):
    g = torch.Generator().manual_seed(seed)
    names = ("layers.0.attention.qkv", "layers.2.feed_forward.w2", "layers.1.adaLN_modulation.1", "time_text_embed.1")
    weights = {}
    for name in names:
        out, into = model.get_submodule(name).weight.shape
        weights[f"{name}.lora_A.weight"] = torch.randn(rank, into, generator=g)
        weights[f"{name}.lora_B.weight"] = torch.randn(out, rank, generator=g) * 0.3
    return weights


def test_a_lora_acts_can_be_weighed_and_goes_away_exactly(model, inputs):
    expected = run(model, inputs)
    model.load_lora_adapter(lora(model, 1), prefix=None, adapter_name="one")
    full = run(model, inputs)
    model.set_adapters(["one"], weights=[0.5])
    half = run(model, inputs)
    assert largest(full, expected) > 1e-2
    assert 1e-3 < largest(half, expected) < largest(full, expected)
    model.delete_adapters(["one"])
    assert largest(run(model, inputs), expected) == 0


def test_a_lora_is_what_its_matrices_say(model, inputs):
    weights = lora(model, 1)
    by_hand = context_parallel.model()
    with torch.no_grad():
        for name in {key.rpartition(".lora_")[0] for key in weights}:
            delta = weights[f"{name}.lora_B.weight"] @ weights[f"{name}.lora_A.weight"]
            by_hand.get_submodule(name).weight += delta
    model.load_lora_adapter(weights, prefix=None)
    assert largest(run(model, inputs), run(by_hand, inputs)) < 1e-4


def test_hot_swapping_loras_compiles_nothing_anew(model, inputs, graphs):
    model.enable_lora_hotswap(target_rank=4)
    model.load_lora_adapter(lora(model, 1, rank=2), prefix=None, adapter_name="slot")
    model.compile_repeated_blocks(fullgraph=True, backend=graphs, dynamic=False)
    first = run(model, inputs)
    built = graphs.count
    with torch.compiler.set_stance("fail_on_recompile"):
        model.load_lora_adapter(lora(model, 2, rank=4), prefix=None, adapter_name="slot", hotswap=True)
        second = run(model, inputs)
    assert graphs.count == built
    other = context_parallel.model()
    other.load_lora_adapter(lora(other, 2, rank=4), prefix=None)
    assert largest(first, second) > 1e-2
    assert largest(second, run(other, inputs)) < 1e-4


# ---- several devices ---------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_two_processes_share_a_picture(tmp_path):
    store, results = str(tmp_path / "store"), str(tmp_path / "result")
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=context_parallel.main, args=(rank, store, results)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
        process.kill()
        assert process.exitcode == 0
    for rank in (0, 1):
        result = torch.load(f"{results}.{rank}", weights_only=True)
        assert max(result["errors"].values()) < 1e-5
        assert result["lengths"] == [13, 13]  # half of the 26 tokens

"""Compiling from outside: the same numbers, one graph for all blocks, and back to eager."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import FirstBlockCacheConfig

from newbie_ui.engine import compile
from newbie_ui.engine.plan import Plan
from newbie_ui.engine.rig import Rig
from newbie_ui.model import kernels
from tests import tiny

torch._dynamo.config.suppress_errors = False


@pytest.fixture
def transformer():
    torch._dynamo.reset()
    yield tiny.pipeline().transformer
    torch._dynamo.reset()


def inputs(side=8, tokens=6):
    torch.manual_seed(0)
    return (
        torch.randn(1, 16, side, side),
        torch.tensor([0.4]),
        torch.randn(1, tokens, tiny.WIDTH),
        None,
        torch.randn(1, tiny.CLIP_WIDTH),
    )


@torch.no_grad()
def test_compiled_blocks_share_one_graph_and_give_the_same_numbers(transformer):
    eager = transformer(*inputs()).sample
    graphs = []

    def counting(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    compile.compile_blocks(transformer, backend=counting)
    assert torch.allclose(transformer(*inputs()).sample, eager, atol=1e-5)
    assert len(graphs) == 2  # for all three layers, and for the noise refiner
    transformer(*inputs(side=4))
    assert len(graphs) == 4
    with torch.compiler.set_stance("fail_on_recompile"):
        transformer(*inputs())
        transformer(*inputs(side=4))


@torch.no_grad()
def test_a_step_cache_around_compiled_blocks_needs_no_other_graphs(transformer):
    exact, graphs = transformer(*inputs()).sample, []

    def counting(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    def run(x):
        with transformer.cache_context("both"):
            return transformer(x, *inputs()[1:]).sample

    compile.compile_blocks(transformer, backend=counting, inside_hooks=True)
    transformer.enable_cache(FirstBlockCacheConfig(threshold=0.5))
    x = inputs()[0]
    assert torch.allclose(run(x), exact, atol=1e-5)
    reused = run(x + 1e-3)
    assert not torch.allclose(reused, run(x * -3), atol=1e-2)
    assert len(graphs) == 2
    transformer.disable_cache()
    compile.undo(transformer)
    assert all("forward" not in vars(block) for block in transformer.layers)
    assert torch.equal(transformer(*inputs()).sample, exact)


@torch.no_grad()
def test_what_was_compiled_is_counted_and_timed(transformer):
    before = compile.graphs_built(), compile.seconds_compiling()
    compile.compile_blocks(transformer, backend="eager")
    transformer(*inputs())
    assert compile.graphs_built() == before[0] + 2
    assert compile.seconds_compiling() > before[1]
    with compile.as_written(transformer.layers[0]):
        assert transformer.layers[0]._compiled_call_impl is None
    assert transformer.layers[0]._compiled_call_impl is not None


def test_other_kernels_are_other_keys_for_what_is_kept_on_disk(transformer, monkeypatch, tmp_path):
    with torch.compiler.config.patch(cache_key_tag="given"):
        compile.compile_blocks(transformer, backend="eager")
        compile.compile_blocks(transformer, backend="eager")
        assert torch.compiler.config.cache_key_tag == "given" + kernels.fingerprint()
    changed = tmp_path / "kernels.py"
    changed.write_text(Path(kernels.__file__).read_text() + "# another\n")
    monkeypatch.setattr(kernels, "__file__", str(changed))
    assert kernels.fingerprint.__wrapped__() != kernels.fingerprint()


@torch.no_grad()
def test_as_many_shapes_as_promised_stay_below_torchs_limit(transformer, monkeypatch):
    """Layers and noise refiner count together: they have their code in common."""
    assert compile.SHAPES >= 40
    assert torch._dynamo.config.accumulated_recompile_limit >= compile.GRAPHS == 2 * compile.SHAPES
    graphs, shapes = [], (4, 6, 8)
    monkeypatch.setattr(compile, "GRAPHS", compile.GRAPHS // compile.SHAPES * len(shapes))
    with torch._dynamo.config.patch(recompile_limit=1):  # torch's own is 8
        compile.compile_blocks(transformer, backend=lambda graph, _: graphs.append(graph) or graph.forward)
        for side in shapes:
            transformer(*inputs(side=side))
        assert len(graphs) == 2 * len(shapes)
        with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):
            transformer(*inputs(side=10))


@torch.no_grad()
def test_the_noise_refiner_has_one_graph_a_size_whatever_the_caption(transformer):
    graphs = []
    compile.compile_blocks(transformer, backend=lambda graph, _: graphs.append(graph) or graph.forward)
    for tokens in (3, 5, 6):
        transformer(*inputs(tokens=tokens))
    assert len(graphs) == 1 + 3


@torch.no_grad()
def test_what_is_not_compiled_yet_can_be_run_as_written_and_compiled_later(transformer):
    graphs = compile.graphs_built()
    compile.compile_blocks(transformer, backend="eager")
    with compile.nothing_compiled():
        written = transformer(*inputs()).sample
    assert compile.graphs_built() == graphs
    assert torch.allclose(transformer(*inputs()).sample, written, atol=1e-5)
    assert compile.graphs_built() == graphs + 2


@torch.no_grad()
def test_compiling_is_taken_back(transformer):
    compile.compile_blocks(transformer, backend="eager")
    assert all(block._compiled_call_impl for block in (*transformer.noise_refiner, *transformer.layers))
    compile.undo(transformer)
    assert all(module._compiled_call_impl is None for module in transformer.modules())


def test_a_rig_turns_compiling_on_and_off_with_the_plan(monkeypatch):
    monkeypatch.setattr(
        compile, "compile_blocks", lambda t, mode, inside_hooks: t.compile_repeated_blocks(backend="eager")
    )
    monkeypatch.setattr(compile, "use_disk_cache", lambda: None)
    rig = Rig(lambda dtype, progress, places: tiny.pipeline(), torch.device("cpu"), lambda message, fraction: None)
    states = []
    for plan in (Plan("a", threads=1), Plan("b", threads=1, compile="block"), Plan("c", threads=1)):
        rig.use(plan)
        block = rig.pipe.transformer.layers[0]
        states.append((block._compiled_call_impl is not None, rig.compiled.state, rig.pipe.caption_buckets is None))
    assert states == [(False, "off", True), (True, "cold", False), (False, "off", True)]
    rig.close()


def test_a_rig_switches_the_step_cache_and_8_bit_on(monkeypatch):
    reads = []
    rig = Rig(lambda dtype, *_: reads.append(dtype) or tiny.pipeline(), torch.device("cpu"), lambda *_: None)
    rig.use(Plan("a", threads=1, step_cache=0.1))
    assert rig.pipe.transformer.is_cache_enabled
    rig.use(Plan("b", threads=1))
    assert not rig.pipe.transformer.is_cache_enabled
    rig.use(Plan("c", threads=1, quantize="int8", quantize_text="int8"))
    assert len(reads) == 2
    assert type(rig.pipe.transformer.layers[0].attention.qkv).__name__ == "Int8Linear"
    assert type(rig.pipe.text_encoder.layers[0].mlp.up_proj).__name__ == "Int8Weight"
    rig.close()

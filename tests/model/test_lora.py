"""LoRAs act as if their updates were added to the weights, change without compiling anew, and leave no trace."""

import copy
import hashlib

import pytest
import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model

from newbie_ui.engine.quantize import Int8Linear, quantize_transformer
from newbie_ui.errors import LoraError
from newbie_ui.model import lora
from newbie_ui.model.lora import MAX_AT_ONCE, LoraSet
from newbie_ui.model.lora_files import LoraShelf
from newbie_ui.model.lora_targets import targets
from tests import tiny
from tests.model import lora_writers as write


@pytest.fixture
def transformer():
    model = tiny.pipeline().transformer
    for parameter in model.parameters():  # zero gates would hide what a layer does
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model


@pytest.fixture
def shelf(tmp_path):
    return LoraShelf(tmp_path)


@pytest.fixture
def loras(transformer, shelf):
    return LoraSet(transformer, shelf)


@torch.no_grad()
def velocity(model):
    g = torch.Generator().manual_seed(0)
    config = model.config
    return model(
        torch.randn(2, 16, 8, 8, generator=g),
        timestep=torch.tensor([0.2, 0.7]),
        encoder_hidden_states=torch.randn(2, 5, config.cap_feat_dim, generator=g),
        pooled_projections=torch.randn(2, config.clip_text_dim, generator=g),
    ).sample


def merged(model, *updates):
    """A copy whose weights have the updates added."""
    model = copy.deepcopy(model)
    for weight, one in updates:
        for name, update in one.items():
            module = model.get_submodule(name)
            module.weight.data.add_(weight * update)
    return velocity(model)


def largest(a, b):
    return (a - b).abs().max().item()


def close(a, b):
    return largest(a, b) < 2e-5 * max(1.0, b.abs().max().item())


# ---- every format --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix", ["base_model.model.", "diffusion_model.", "transformer.", "model.diffusion_model.", ""]
)
def test_peft_files_act_like_their_product(prefix, tmp_path, transformer, loras):
    pairs = write.low_rank(write.layers(transformer))
    write.write_peft(tmp_path / "a.safetensors", pairs, prefix=prefix)
    expected = merged(transformer, (1.0, write.dense(pairs)))
    plain = velocity(transformer)
    loras.use([("a", 1.0)])
    assert close(velocity(transformer), expected)
    assert largest(plain, expected) > 0.1


@pytest.mark.parametrize("alpha", [1, 8])
def test_alpha_in_the_metadata_counts(alpha, tmp_path, transformer, loras):
    pairs = write.low_rank(write.layers(transformer), rank=4)
    write.write_peft(tmp_path / "a.safetensors", pairs, alpha=alpha, middle=".default")
    expected = merged(transformer, (0.7, write.dense(pairs, alpha / 4)))
    loras.use([("a", 0.7)])
    assert close(velocity(transformer), expected)


@pytest.mark.parametrize("prefix", ["lora_unet_", "lycoris_", "lora_transformer_"])
def test_kohya_files_bring_alpha_with_each_layer(prefix, tmp_path, transformer, loras):
    pairs = write.low_rank(write.layers(transformer), rank=4)
    write.write_kohya(tmp_path / "a.safetensors", pairs, alpha=2.0, prefix=prefix)
    expected = merged(transformer, (1.0, write.dense(pairs, 0.5)))
    loras.use([("a", 1.0)])
    assert close(velocity(transformer), expected)


def test_diffusers_names_reach_the_rows_of_qkv(tmp_path, transformer, loras):
    rows = {"q": slice(0, 48), "k": slice(48, 72), "v": slice(72, 96)}
    shapes = {f"layers.0.attn.to_{letter}": (r.stop - r.start, 48) for letter, r in rows.items()}
    shapes["layers.1.feed_forward.linear_2"] = (48, 192)
    pairs = write.low_rank(shapes)
    write.write_peft(tmp_path / "a.safetensors", pairs, prefix="transformer.")
    updates = write.dense(pairs)
    ours = {
        "layers.0.attention.qkv": torch.cat([updates[f"layers.0.attn.to_{letter}"] for letter in "qkv"]),
        "layers.1.feed_forward.w2": updates["layers.1.feed_forward.linear_2"],
    }
    loras.use([("a", 1.0)])
    assert close(velocity(transformer), merged(tiny_copy(transformer, loras), (1.0, ours)))


def tiny_copy(transformer, loras):
    """The transformer without its LoRAs."""
    used = [(name, weight) for name, weight, _ in loras.used]
    loras.use(())
    plain = copy.deepcopy(transformer)
    loras.use(used)
    return plain


@pytest.mark.parametrize(("rank", "alpha"), [(0, 1e5), (2, 1.0), (2, 4.0)])
def test_lokr_files_act_like_their_kronecker_product(rank, alpha, tmp_path, transformer, loras):
    norms = [(f"layers.{i}.{kind}", 48) for i in range(3) for kind in ("attention_norm1", "ffn_norm2")]
    updates = write.write_lokr(tmp_path / "a.safetensors", write.layers(transformer), rank, alpha, norms=norms)
    expected = merged(transformer, (0.8, updates))
    loras.use([("a", 0.8)])
    assert close(velocity(transformer), expected)
    assert loras.info("a").format == "LoKr"


def test_loha_files_act_like_their_elementwise_product(tmp_path, transformer, loras):
    updates = write.write_loha(tmp_path / "a.safetensors", write.layers(transformer), rank=3, alpha=2.0)
    expected = merged(transformer, (1.0, updates))
    loras.use([("a", 1.0)])
    assert close(velocity(transformer), expected)
    assert loras.info("a").rank == 9


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(r=4, lora_alpha=8, target_modules=["qkv", "out", "w1"]),
        LoraConfig(r=4, lora_alpha=8, use_rslora=True, target_modules=["qkv", "w2"]),
        LoKrConfig(r=4, alpha=8, target_modules=["qkv", "w2"]),
        LoKrConfig(r=64, alpha=32, target_modules=["qkv", "w2"]),
        LoHaConfig(r=4, alpha=8, target_modules=["qkv", "out"]),
    ],
    ids=["lora", "rslora", "lokr", "lokr-full", "loha"],
)
def test_what_peft_trains_and_saves_acts_as_it_does_there(config, tmp_path, transformer, loras):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trained = get_peft_model(copy.deepcopy(transformer), config)
        for name, parameter in trained.named_parameters():
            if "lora_" in name or "lokr_" in name or "hada_" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    trained.save_pretrained(tmp_path / "mine")
    loras.use([("mine", 1.0)])
    assert close(velocity(transformer), velocity(trained.eval()))


# ---- several, changed, removed -------------------------------------------------------------------------------


def test_several_at_once_add_up_with_their_weights(tmp_path, transformer, loras):
    shapes = write.layers(transformer)
    one, two = write.low_rank(shapes, rank=4, seed=1), write.low_rank(shapes, rank=3, seed=2)
    write.write_peft(tmp_path / "one.safetensors", one)
    write.write_kohya(tmp_path / "two.safetensors", two, alpha=3.0)
    three = write.write_lokr(tmp_path / "three.safetensors", shapes, seed=3)
    updates = [(0.5, write.dense(one)), (-1.5, write.dense(two)), (1.0, three)]
    expected = merged(transformer, *updates)
    loras.use([("one", 0.5), ("two", -1.5), ("three", 1.0)])
    assert close(velocity(transformer), expected)


def test_taking_loras_away_leaves_exactly_what_was_there(tmp_path, transformer, loras):
    shapes = write.layers(transformer)
    write.write_peft(tmp_path / "one.safetensors", write.low_rank(shapes))
    write.write_lokr(tmp_path / "two.safetensors", shapes, norms=[("layers.0.attention_norm1", 48)])
    before, state = velocity(transformer), {n: t.clone() for n, t in transformer.state_dict().items()}
    classes = [type(m) for m in transformer.modules()]
    for wanted in ([("one", 1.0)], [("one", 0.3), ("two", 2.0)], [("two", 1.0)], ()):
        loras.use(wanted)
        assert transformer.state_dict().keys() == state.keys()
        assert all(torch.equal(t, state[n]) for n, t in transformer.state_dict().items())
    assert torch.equal(velocity(transformer), before)
    assert [type(m) for m in transformer.modules()] == classes
    assert not [k for m in transformer.modules() for k in vars(m) if k.startswith("lora_")]


def test_a_weight_of_zero_is_no_lora(tmp_path, transformer, loras):
    write.write_peft(tmp_path / "one.safetensors", write.low_rank(write.layers(transformer)))
    before = velocity(transformer)
    assert loras.use([("one", 0.0)])[0][:2] == ("one", 0.0)
    assert torch.equal(velocity(transformer), before)


def test_what_is_used_is_told_with_its_hash(tmp_path, transformer, loras):
    path = write.write_peft(tmp_path / "one.safetensors", write.low_rank(write.layers(transformer)))
    sha = hashlib.sha256(path.read_bytes()).hexdigest()[:10]
    assert loras.use([("one", 0.5)]) == (("one", 0.5, sha),)
    assert loras.used == (("one", 0.5, sha),)


def test_a_file_that_was_replaced_is_read_again(tmp_path, transformer, loras):
    shapes = write.layers(transformer)
    write.write_peft(tmp_path / "one.safetensors", write.low_rank(shapes, seed=1))
    loras.use([("one", 1.0)])
    first = velocity(transformer)
    write.write_peft(tmp_path / "one.safetensors", write.low_rank(shapes, seed=2, rank=5))
    loras.use([("one", 1.0)])
    assert largest(velocity(transformer), first) > 0.01


@pytest.mark.parametrize("kind", ["int8", "bfloat16"])
def test_loras_act_on_other_kinds_of_layers(kind, tmp_path, transformer, shelf):
    pairs = write.low_rank(write.layers(transformer), size=0.1)
    write.write_peft(tmp_path / "a.safetensors", pairs)
    expected = merged(transformer, (1.0, write.dense(pairs)))
    unchanged = velocity(transformer)
    if kind == "int8":
        quantize_transformer(transformer, "int8")
        assert isinstance(transformer.layers[0].attention.qkv, Int8Linear)
    else:
        transformer.to(torch.bfloat16)
    loras = LoraSet(transformer, shelf)
    call = (lambda: velocity(transformer)) if kind == "int8" else (lambda: half_velocity(transformer))
    before = call()
    loras.use([("a", 1.0)])
    with_lora = call()
    # what the LoRA does is far more than what the layers' precision does
    assert largest(with_lora.float(), expected) < 0.2 * largest(expected, unchanged)
    loras.use(())
    assert torch.equal(call(), before)


def half_velocity(model):
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        return model(
            torch.randn(2, 16, 8, 8, generator=g).bfloat16(),
            timestep=torch.tensor([0.2, 0.7]),
            encoder_hidden_states=torch.randn(2, 5, model.config.cap_feat_dim, generator=g).bfloat16(),
            pooled_projections=torch.randn(2, model.config.clip_text_dim, generator=g).bfloat16(),
        ).sample


# ---- compiled ------------------------------------------------------------------------------------------------


@pytest.fixture
def no_compiler_memory():
    torch._dynamo.reset()
    yield
    torch.compiler.set_stance("default")
    torch._dynamo.reset()


def test_changes_within_a_room_compile_nothing_anew(tmp_path, transformer, loras, no_compiler_memory):
    shapes = write.layers(transformer)
    write.write_peft(tmp_path / "one.safetensors", write.low_rank(shapes, rank=4, seed=1))
    write.write_peft(tmp_path / "few.safetensors", write.low_rank({"layers.1.feed_forward.w3": (192, 48)}, rank=9))
    write.write_loha(tmp_path / "loha.safetensors", shapes, rank=2)
    write.write_kohya(tmp_path / "other.safetensors", write.low_rank(shapes, rank=7, seed=3), alpha=1.0)
    changes = [
        [("one", 1.0)],
        [("one", 0.3)],
        [("few", 1.0)],
        [("other", 1.0), ("one", -1.0)],
        [("loha", 0.5), ("few", 0.1)],
        (),
        [("one", 1.0)],
    ]
    eager = []
    for wanted in changes:
        loras.use(wanted)
        eager.append(velocity(transformer))
    transformer.compile_repeated_blocks(fullgraph=True, dynamic=False, backend="eager")
    for wanted in ((), [("one", 1.0)]):  # once without, once with this room
        loras.use(wanted)
        velocity(transformer)
    torch.compiler.set_stance("fail_on_recompile")
    for wanted, expected in zip(changes, eager):
        loras.use(wanted)
        assert largest(velocity(transformer), expected) < 1e-4


def test_a_larger_room_compiles_once_and_is_found_again(tmp_path, transformer, loras, no_compiler_memory):
    shapes = write.layers(transformer)
    for rank in (4, 20):
        write.write_peft(tmp_path / f"r{rank}.safetensors", write.low_rank(shapes, rank=rank))
    write.write_lokr(tmp_path / "lokr.safetensors", shapes)
    transformer.compile_repeated_blocks(fullgraph=True, dynamic=False, backend="aot_eager")
    rooms = [(), [("r4", 1.0)], [("r20", 1.0)], [("lokr", 1.0)]]
    for wanted in rooms:
        loras.use(wanted)
        velocity(transformer)
    torch.compiler.set_stance("fail_on_recompile")
    for wanted in (*rooms, [("r20", 0.2), ("r4", 1.0)], [("lokr", 0.1)], ()):
        loras.use(wanted)
        velocity(transformer)


def test_one_graph_serves_all_blocks_with_a_lora_too(tmp_path, transformer, loras, no_compiler_memory):
    """A file that changes one block only must not split the blocks into two kinds."""
    write.write_peft(tmp_path / "few.safetensors", write.low_rank({"layers.1.attention.qkv": (96, 48)}))
    loras.use([("few", 1.0)])
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph

    transformer.compile_repeated_blocks(fullgraph=True, dynamic=False, backend=count)
    velocity(transformer)
    assert len(graphs) == 1


# ---- refused -------------------------------------------------------------------------------------------------


def refusal(loras, wanted):
    with pytest.raises(LoraError) as refused:
        loras.use(wanted)
    return str(refused.value)


def test_an_unknown_name(tmp_path, transformer, loras):
    assert refusal(loras, [("ink", 1.0)]) == (
        f"There is no LoRA 'ink'. Put its .safetensors file into {tmp_path}; there now: none."
    )


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", "", "x\0y", "a" * 500])
def test_a_name_never_leads_out_of_the_folder(name, tmp_path, transformer, loras):
    write.write_peft(tmp_path.parent / "secret.safetensors", write.low_rank(write.layers(transformer)))
    assert refusal(loras, [(name, 1.0)]).startswith("There is no LoRA ")


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 11, -1e9])
def test_a_weight_out_of_range(weight, transformer, loras):
    assert refusal(loras, [("one", weight)]) == f"LoRA one has the weight {weight}. Use -10 to 10."


def test_too_many_and_twice_the_same(transformer, loras):
    many = [(f"l{i}", 1.0) for i in range(MAX_AT_ONCE + 1)]
    assert refusal(loras, many) == "9 LoRAs at once are too many. Use 8 at most."
    assert refusal(loras, [("a", 1.0), ("a", 0.5)]) == "LoRA a is named twice. Name it once, with one weight."


def test_more_ranks_than_there_is_room_for(tmp_path, transformer, loras):
    shapes = {"layers.0.attention.qkv": (96, 48)}
    for name in "ab":
        write.write_peft(tmp_path / f"{name}.safetensors", write.low_rank(shapes, rank=600))
    said = refusal(loras, [("a", 1.0), ("b", 1.0)])
    assert said == "These LoRAs have 1200 ranks together, more than 1024. Use fewer of them."


def test_a_refusal_leaves_what_was_in_use(tmp_path, transformer, loras):
    write.write_peft(tmp_path / "one.safetensors", write.low_rank(write.layers(transformer)))
    loras.use([("one", 1.0)])
    before = velocity(transformer)
    refusal(loras, [("one", 1.0), ("nowhere", 1.0)])
    assert torch.equal(velocity(transformer), before)
    assert loras.used[0][0] == "one"


def test_running_out_of_memory_leaves_none_rather_than_some(tmp_path, transformer, loras, monkeypatch):
    write.write_peft(tmp_path / "one.safetensors", write.low_rank(write.layers(transformer)))
    before = velocity(transformer)
    calls = []

    def scarce(module, room, updates, fill=lora._fill):
        calls.append(module)
        if len(calls) == 4:
            raise torch.OutOfMemoryError("scarce")
        fill(module, room, updates)

    monkeypatch.setattr(lora, "_fill", scarce)
    with pytest.raises(torch.OutOfMemoryError):
        loras.use([("one", 1.0)])
    assert torch.equal(velocity(transformer), before)
    assert loras.used == ()
    monkeypatch.undo()
    loras.use([("one", 1.0)])
    assert largest(velocity(transformer), before) > 0.1


def test_a_hook_that_would_leave_the_lora_out_is_noticed(tmp_path, transformer, loras):
    write.write_peft(tmp_path / "one.safetensors", write.low_rank(write.layers(transformer)))
    transformer.enable_layerwise_casting(torch.float8_e4m3fn, torch.float32)
    with pytest.raises(RuntimeError, match="would leave the LoRA out"):
        loras.use([("one", 1.0)])


def test_targets_know_every_linear_layer_and_norm(transformer):
    known = {target.name for target in targets(transformer).values()}
    here = [n for n, m in transformer.named_modules() if isinstance(m, torch.nn.Linear | torch.nn.RMSNorm)]
    assert known == set(here)

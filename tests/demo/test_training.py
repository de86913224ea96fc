"""Every stage of the training at toy size, through the command itself; what it writes loads as a model."""

import itertools
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from newbie_ui.demo import evaluate, ranks, train
from newbie_ui.demo.autoencoder import _upsample
from newbie_ui.demo.config import Flow, load_recipe
from newbie_ui.demo.data import draw_shard, load_shard
from newbie_ui.demo.flow import FlowNetworks, FlowTraining, caption_ids, loss_weights, sample_times
from newbie_ui.demo.networks import BOS, PAD, build_clip, build_gemma, build_transformer
from newbie_ui.errors import UserError
from newbie_ui.model.pipeline import NewbiePipeline

_TOY = """size=64 draw.shards=2 draw.pictures=8 draw.captions=2 autoencoder.channels=[8,8,8,8] autoencoder.groups=4
autoencoder.crops=12 autoencoder.batch=4 autoencoder.crop=32 autoencoder.shards=1 reader.channels=[8,8,8,8,8]
reader.pictures=12 reader.batch=4 reader.shards=1 transformer.dim=64 transformer.n_layers=1 transformer.n_heads=1
transformer.n_kv_heads=1 text.gemma_width=32 text.gemma_layers=2 text.clip_width=64 text.clip_layers=1 flow.samples=16
flow.batch=4 lora.samples=8 lora.batch=4 lora.shards=1 sample.steps=1"""
TOY = _TOY.split()
CHANGES = [f"--set={change}" for change in TOY]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Work and out folders after all stages, the flow in two goes."""
    work, out = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("out")
    common = ["--work", str(work), "--out", str(out), "--device", "cpu", "--workers", "1", *CHANGES]
    assert train.main([*common, "--stages", "draw,autoencoder,encode,reader,flow", "--seconds", "1e9"]) == 0
    assert train.main([*common, "--stages", "flow,lora,export"]) == 0
    return work, out


@pytest.mark.timeout(400)
def test_all_stages_run_and_write_what_they_promise(trained):
    work, out = trained
    names = {path.name for path in out.iterdir()}
    assert {"autoencoder.csv", "flow.csv", "demo_ink.safetensors", "weights-00.safetensors"} <= names
    assert any(name.startswith("step_") for name in names)
    assert all(path.stat().st_size < 16e6 for path in out.rglob("*") if path.is_file())
    assert (out / "flow.csv").read_text().splitlines()[-1].startswith("4,")
    assert {"newbie_ui.json", "model_index.json", "reader", "transformer"} <= {
        p.name for p in (work / "model").iterdir()
    }


@pytest.mark.timeout(400)
def test_the_lora_goes_on_from_the_one_in_the_start_folder(trained, tmp_path):
    work, out = trained
    common = ["--work", str(work), "--device", "cpu", "--stages", "lora", *CHANGES, "--set=lora.lr=0"]
    assert train.main([*common, "--out", str(tmp_path / "on"), "--start", str(out)]) == 0
    assert train.main([*common, "--out", str(tmp_path / "anew")]) == 0
    earlier, on, anew = (
        load_file(folder / "demo_ink.safetensors") for folder in (out, tmp_path / "on", tmp_path / "anew")
    )
    assert all(torch.equal(on[key], earlier[key]) for key in earlier)
    assert not all(torch.equal(anew[key], earlier[key]) for key in earlier)


@pytest.mark.timeout(400)
def test_a_training_goes_on_from_an_exported_model(trained, tmp_path):
    work, out = trained
    common = ["--work", str(work), "--device", "cpu", "--stages", "reader", *CHANGES]
    (work / "weights").rename(tmp_path / "weights")  # what it would go on from otherwise
    try:
        assert train.main([*common, "--out", str(tmp_path / "on"), "--start", str(work / "model")]) == 0
    finally:
        shutil.rmtree(work / "weights", ignore_errors=True)
        (tmp_path / "weights").rename(work / "weights")
    earlier, on = (load_file(folder / "weights-00.safetensors") for folder in (out, tmp_path / "on"))
    same = {key for key in earlier if torch.allclose(on[key].float(), earlier[key].float(), rtol=2e-3, atol=1e-6)}
    others = earlier.keys() - same
    assert others
    assert all(key.startswith("reader/") for key in others)


def toy_flow(*changes):
    recipe = load_recipe(changes=(*TOY, *changes))
    networks = FlowNetworks(build_transformer(recipe), build_gemma(recipe), build_clip(recipe))
    shape = (6, recipe.draw.captions, recipe.tokens - 2)
    latents = torch.randn(6, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    data = {"latents": latents, "tokens": torch.full(shape, 9), "heads": torch.zeros(6, 4, 4)}
    return FlowTraining(networks, recipe, data, torch.device("cpu"))


def test_what_takes_in_modulates_or_gives_out_is_adams_and_matrices_between_are_muons():
    training = toy_flow()
    names = {id(p): name for m in training.networks.modules().values() for name, p in m.named_parameters()}
    muons, adams = (
        {names[id(p)] for group in optimizer.param_groups for p in group["params"]}
        for optimizer in (training.muon, training.adam)
    )
    assert muons | adams == {names[id(p)] for p in training.live}
    assert not muons & adams
    assert {"layers.0.attention.qkv.weight", "layers.0.feed_forward.w2.weight"} <= muons
    assert not [name for name in muons if "embed" in name or "adaLN" in name or "final" in name or "norm" in name]
    assert toy_flow("flow.matrix_lr=0").muon is None


def test_both_optimizers_go_on_with_their_momentum(tmp_path):
    alone = toy_flow("flow.warmup=1")
    before = [p.detach().clone() for p in alone.live]
    alone._one_step()
    alone.save(tmp_path / "flow.pt")
    alone._one_step()
    for optimizer in (alone.adam, alone.muon):
        mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert any(not torch.equal(a, b) for a, b in zip(before, alone.live) if id(b) in mine)
    again = toy_flow("flow.warmup=1")
    again.load(tmp_path / "flow.pt")
    again._one_step()
    assert again.step == alone.step == 2
    assert all(torch.equal(a, b) for a, b in zip(alone.live, again.live))


def test_a_gpu_more_goes_on_from_the_same_weights_with_numbers_of_its_own(tmp_path, monkeypatch):
    alone = toy_flow()
    alone.run(0)
    alone.save(tmp_path / "flow.pt")
    again = toy_flow()
    again.load(tmp_path / "flow.pt")
    monkeypatch.setattr(ranks, "number", lambda: 1)
    joined = toy_flow()
    joined.load(tmp_path / "flow.pt")
    assert joined.step == alone.step > 0
    assert all(torch.equal(a, b) for a, b in zip(joined.live, alone.live))
    assert torch.equal(again.rng.get_state(), alone.rng.get_state())
    assert not torch.equal(joined.rng.get_state(), alone.rng.get_state())


def test_the_exported_folder_is_a_pipeline_that_can_be_measured(trained, capsys):
    model = trained[0] / "model"
    pipe = NewbiePipeline.from_pretrained(str(model), torch_dtype=torch.float32)
    assert pipe.sidecar["demo"] is True
    assert len(pipe.sidecar["preview"]["weight"]) == 16
    facts = ["--model", str(model), "--prompts", "1", "--batch", "1", "--manners", "xml", "--device", "cpu"]
    assert evaluate.main(facts) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(line["percent"]) == {"reader", "xml"}


def test_a_shard_depends_on_seed_and_number_alone(tmp_path):
    recipe = load_recipe(changes=tuple(TOY))
    for name in "ab":
        (tmp_path / name).mkdir()
    first, again = (load_shard(draw_shard(tmp_path / name, recipe, 1)) for name in "ab")
    other = load_shard(draw_shard(tmp_path / "b", recipe, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["pixels"], other["pixels"])


def write_shard(work, name):
    """One grey picture as the artist would leave it."""
    (work / "shards").mkdir(exist_ok=True)
    np.save(work / "shards" / f"{name}.npy", np.full((1, 64, 64, 3), 128, np.uint8))
    np.savez(work / "shards" / f"{name}.npz")


def test_every_shard_is_encoded_though_a_later_one_is_drawn_first(tmp_path, monkeypatch):
    names = ["train_0000", "train_0002", "ink_0000"]
    for name in names:
        write_shard(tmp_path, name)
    monkeypatch.setattr(train.time, "sleep", lambda seconds: write_shard(tmp_path, "train_0001"))
    argv = ["--work", str(tmp_path), "--device", "cpu", *CHANGES, "--set=draw.shards=3", "--stages", "encode"]
    assert train.main(argv) == 0
    assert {path.stem for path in (tmp_path / "shards").glob("*.latents")} == {*names, "train_0001"}


def test_a_later_shard_does_not_stand_in_for_the_first(tmp_path, monkeypatch):
    write_shard(tmp_path, "train_0001")
    clock = itertools.count(step=100)
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda seconds: None))
    with pytest.raises(SystemExit, match=r"0 of 1 train shards .* no train_0000\. Run the stage draw first"):
        train.main(["--work", str(tmp_path), "--device", "cpu", *CHANGES, "--stages", "autoencoder"])


def test_an_unknown_key_of_the_recipe_is_named(tmp_path):
    with pytest.raises(UserError, match=r"flow\.sampels"):
        load_recipe(changes=("flow.sampels=3",))
    broken = tmp_path / "recipe.toml"
    broken.write_text("seed = 1\nspeed = 2\n")
    with pytest.raises(UserError, match="captions"):
        load_recipe(broken)


def test_upsampling_in_training_equals_diffusers():
    from diffusers.models.upsampling import Upsample2D

    layer = Upsample2D(4, use_conv=True, out_channels=4)
    x = torch.randn(2, 4, 5, 6)
    assert torch.allclose(_upsample(layer, x), layer(x), atol=1e-6)


def part(**changes):
    values = {**load_recipe().flow.__dict__, **changes}
    return Flow(**values)


def test_dropped_captions_are_empty_for_both_encoders():
    tokens = torch.full((64, 6), 9)
    gemma, clip = caption_ids(tokens, part(dropout=1.0), torch.Generator().manual_seed(0))
    empty = torch.tensor([BOS] + [PAD] * 7)
    assert torch.equal(gemma, empty.expand_as(gemma))
    assert torch.equal(clip, empty.expand_as(clip))


def test_most_captions_have_a_system_prompt_for_gemma_alone():
    tokens = torch.full((400, 6), 9)
    gemma, clip = caption_ids(tokens, part(dropout=0.0), torch.Generator().manual_seed(0))
    assert 0.65 < (gemma[:, 1] != 9).float().mean() < 0.85
    assert bool((clip[:, 1] == 9).all())


def test_heads_weigh_most_and_the_mean_is_one():
    heads = torch.zeros(1, 4, 4)
    heads[0, 0] = torch.tensor([16.0, 16.0, 48.0, 48.0])
    weights = loss_weights(heads, 16, part())[0, 0]
    assert weights.mean() == pytest.approx(1, abs=1e-5)
    assert weights[4, 4] > weights[8, 4] > weights[0, 0]


def test_a_shift_trains_more_at_the_noisy_end():
    rng = torch.Generator().manual_seed(0)
    plain = sample_times(4000, part(shift=1.0, uniform=0.0), rng, torch.device("cpu"))
    shifted = sample_times(4000, part(shift=3.0, uniform=0.0), rng, torch.device("cpu"))
    assert shifted.mean() < plain.mean() - 0.1
    assert float(shifted.min()) > 0
    assert float(shifted.max()) < 1

"""Every published layout loads to the same numbers, and nothing in a model folder is ever run."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from newbie_ui.model.blocks import FeedForward
from newbie_ui.model.checkpoint import (
    DEMO_FOLDER,
    PARTS,
    SplitFiles,
    load_part,
    load_pipeline,
    locate,
    read_model_info,
)
from newbie_ui.model.checkpoints import parts, upload
from newbie_ui.model.pipeline import NewbiePipeline
from newbie_ui.request import DEFAULT_SYSTEM_PROMPT
from tests import tiny
from tests.model import published

PROMPT = "<character_1>\n<gender>1girl</gender>\n<appearance>blue_hair</appearance>\n</character_1> & >_<"


@pytest.fixture(scope="module")
def original():
    return published.pipeline()


@pytest.fixture(scope="module")
def shelf(original, tmp_path_factory):
    """The same model in every layout."""
    shelf = tmp_path_factory.mktemp("models")
    return {
        "official": str(published.write_official(shelf / "official", original)),
        "diffusers": str(published.write_diffusers(shelf / "diffusers", original)),
        "split": published.write_split(shelf / "split", original),
        "split without prefix": published.write_split(shelf / "bare", original, prefix=""),
    }


def picture(pipe):
    generator = [torch.Generator().manual_seed(3)]
    options = {"height": 64, "width": 64, "num_inference_steps": 2, "guidance_scale": 4.0}
    return pipe(PROMPT, generator=generator, output_type="pt", **options).images


def assert_same_weights(one, other):
    for part in PARTS:
        a, b = getattr(one, part).state_dict(), getattr(other, part).state_dict()
        assert a.keys() == b.keys()
        different = [n for n in a if not torch.equal(a[n], b[n]) and n != "norm_final.weight"]  # unused, not everywhere
        assert not different, f"{part}: {different}"


@pytest.mark.parametrize("layout", ["official", "diffusers", "split", "split without prefix"])
def test_every_layout_makes_the_same_picture(layout, shelf, original):
    pipe = load_pipeline(shelf[layout], dtype=torch.float32)
    assert isinstance(pipe, NewbiePipeline)
    assert_same_weights(pipe, original)
    assert torch.equal(picture(pipe), picture(original))


def test_the_layout_of_save_pretrained_loads_too(tmp_path):
    pipe = load_pipeline(str(tiny.save(tmp_path / "tiny")), dtype=torch.float32)
    assert_same_weights(pipe, tiny.pipeline())
    assert torch.equal(picture(pipe), picture(tiny.pipeline()))
    assert pipe.sidecar == tiny.SIDECAR


def test_parts_of_several_places_can_be_mixed(shelf, original):
    mixed = SplitFiles(transformer=shelf["split"].transformer, vae=shelf["diffusers"] + "/vae", base=shelf["official"])
    assert torch.equal(picture(load_pipeline(mixed, dtype=torch.float32)), picture(original))


def test_a_part_that_is_given_may_be_missing_elsewhere(shelf, original, tmp_path):
    folder = shutil.copytree(shelf["official"], tmp_path / "newbie")
    shutil.rmtree(folder / "clip_model")
    mended = SplitFiles(clip=shelf["official"] + "/clip_model", base=str(folder))
    assert torch.equal(picture(load_pipeline(mended, dtype=torch.float32)), picture(original))


def test_a_part_may_be_named_by_the_whole_folder_it_is_in(shelf, original):
    for layout, clip in (("official", "clip_model"), ("diffusers", "text_encoder_2")):
        folder = shelf[layout]
        files = locate(SplitFiles(folder, folder + "/text_encoder", folder + "/" + clip, folder + "/vae"))
        assert files.name == layout
        assert files.paths["transformer"].name == "transformer"
        assert torch.equal(picture(load_pipeline(files, dtype=torch.float32)), picture(original))


def test_a_pth_file_loads_bare_or_wrapped(tmp_path, shelf, original):
    state = published.official_transformer(original)
    for name, content in {"bare": state, "model": {"model": state, "step": 3}, "sd": {"state_dict": state}}.items():
        torch.save(content, tmp_path / f"{name}.pth")
        source = SplitFiles(transformer=str(tmp_path / f"{name}.pth"), base=shelf["official"])
        assert_same_weights(load_pipeline(source, dtype=torch.float32), original)


def test_an_old_pth_file_loads(tmp_path, shelf, original):
    path = tmp_path / "old.pth"
    torch.save(published.official_transformer(original), path, _use_new_zipfile_serialization=False)
    files = locate(SplitFiles(transformer=str(path), base=shelf["official"]))
    loaded = load_part(files, "transformer", dtype=torch.float32).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in original.transformer.state_dict().items())


@pytest.mark.parametrize(("stored", "tolerance"), [(torch.bfloat16, 1e-2), (torch.float16, 1e-3)])
def test_half_precision_files_load_in_any_precision(stored, tolerance, tmp_path, original):
    split = published.write_split(tmp_path, original, dtype=stored)
    pipe = load_pipeline(split, dtype=torch.float32)
    weight = original.transformer.x_embedder.weight
    assert pipe.transformer.dtype == torch.float32
    assert torch.equal(pipe.transformer.x_embedder.weight, weight.to(stored).float())
    assert torch.allclose(pipe.transformer.x_embedder.weight, weight, rtol=tolerance, atol=1e-6)
    assert load_pipeline(split, dtype=torch.bfloat16).text_encoder.dtype == torch.bfloat16


def test_rotary_tables_stay_exact_in_half_precision(shelf, original):
    pipe = load_pipeline(shelf["official"], dtype=torch.bfloat16)
    for part in ("text_encoder", "clip_model"):
        ours = dict(getattr(pipe, part).named_buffers())
        for name, theirs in getattr(original, part).named_buffers():
            assert torch.equal(ours[name], theirs), name


def test_a_folder_with_python_files_loads_without_touching_them(shelf):
    folder = locate(shelf["official"]).folder
    scripts = list(folder.rglob("*.py"))
    assert len(scripts) > 20
    assert "auto_map" in json.loads((folder / "clip_model/config.json").read_text())
    load_pipeline(str(folder), dtype=torch.float32)  # each of them would raise SystemExit
    assert not list(folder.rglob("__pycache__"))


def test_loaded_parts_are_ready_to_run_and_not_to_train(shelf):
    pipe = load_pipeline(shelf["official"], dtype=torch.float32)
    for part in PARTS:
        module = getattr(pipe, part)
        assert not module.training
        assert not any(p.requires_grad or p.is_meta for p in module.parameters())


def test_each_part_is_read_straight_to_its_place(shelf, monkeypatch):
    filled, fill = [], parts.fill_module

    def filling(module, plan, dtype, device, *rest, **options):
        filled.append((type(module).__name__, str(device)))
        return fill(module, plan, dtype, "cpu", *rest, **options)

    monkeypatch.setattr(parts, "fill_module", filling)
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, *_: module)
    load_pipeline(shelf["official"], dtype=torch.float32, device={"vae": torch.device("meta"), "transformer": "meta"})
    assert dict(filled) == {
        "NewbieTransformer2DModel": "meta",
        "Gemma3TextModel": "cpu",
        "JinaEmbeddingsV3Model": "cpu",
        "AutoencoderKL": "meta",
    }


class Arrival:
    """What a card's event tells: counts how often it was waited for."""

    waits = 0

    def synchronize(self):
        Arrival.waits += 1

    def record(self, stream):
        assert stream == "present"


def test_what_goes_through_pinned_memory_arrives_whole_in_the_type_that_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", Arrival)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "present")
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda memory: memory)
    way = upload.Upload("cuda", piece_bytes=64)
    for shape in ((100,), (3, 50), (2, 3, 5), (), (0, 4)):
        for kind in (torch.bfloat16, torch.float32, torch.float64):
            source = torch.randn(shape).to(kind)
            place = torch.full((2 * max(1, source.numel()),), 7.0, dtype=torch.bfloat16)
            way.copy(place[: source.numel()].view(shape), source)
            assert torch.equal(place[: source.numel()].view(shape), source.to(torch.bfloat16))
            assert (place[source.numel() :] == 7).all()
    assert Arrival.waits == sum(-(-n // (64 // size)) for n in (100, 150, 30, 1, 0) for size in (2, 4, 8))


def test_matrices_that_are_used_as_one_lie_one_behind_the_other(shelf):
    transformer = load_part(locate(shelf["official"]), "transformer", dtype=torch.float32)
    feed_forwards = [module for module in transformer.modules() if type(module) is FeedForward]
    assert len(feed_forwards) > 2
    for feed_forward in feed_forwards:
        first, second = feed_forward.w1.weight, feed_forward.w3.weight
        expected = torch.cat((first, second)).clone()
        feed_forward.join(torch.device("cpu"))
        assert torch.equal(feed_forward._both, expected)
        assert feed_forward._both.data_ptr() == first.data_ptr()  # nothing was copied
        assert feed_forward._both.untyped_storage().nbytes() == expected.nbytes


def test_progress_goes_from_nothing_to_all(shelf):
    told = []
    load_pipeline(shelf["official"], dtype=torch.float32, on_progress=lambda *news: told.append(news))
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)
    assert fractions[0] < 0.1
    assert fractions[-1] > 0.9
    assert len(told) <= 101
    assert list(dict.fromkeys(message for message, _ in told)) == [
        "Reading the transformer",
        "Reading the Gemma text encoder",
        "Reading the CLIP text encoder",
        "Reading the VAE",
    ]


def test_fp8_files_load_with_and_without_scales(tmp_path, shelf, original):
    state = published.official_transformer(original)
    plain, scaled, per_row = {}, {"scaled_fp8": torch.tensor([], dtype=torch.float8_e4m3fn)}, {}
    for name, tensor in state.items():
        if tensor.dim() == 2 and "norm" not in name:
            stem = name.removesuffix("weight")
            plain[name] = tensor.to(torch.float8_e4m3fn)
            scale = tensor.abs().max() / 448
            scaled[name] = (tensor / scale).to(torch.float8_e4m3fn)
            scaled[stem + "scale_weight"] = scale.reshape(())
            scaled[stem + "scale_input"] = torch.tensor(1.0)
            rows = tensor.abs().amax(dim=1) / 448
            per_row[name] = (tensor / rows[:, None]).to(torch.float8_e4m3fn)
            per_row[stem + "weight_scale"] = rows
            note = json.dumps({"format": "float8_e4m3fn"}).encode()
            per_row[stem + "comfy_quant"] = torch.tensor(list(note), dtype=torch.uint8)
        else:
            plain[name] = scaled[name] = per_row[name] = tensor
    for kind, content in {"plain": plain, "scaled": scaled, "per_row": per_row}.items():
        save_file({"model.diffusion_model." + k: v for k, v in content.items()}, tmp_path / f"{kind}.safetensors")
        source = SplitFiles(transformer=str(tmp_path / f"{kind}.safetensors"), base=shelf["official"])
        loaded = load_part(locate(source), "transformer", dtype=torch.float32)
        weight, exact = loaded.layers[0].attention.qkv.weight, state["layers.0.attention.qkv.weight"]
        error = (weight - exact).norm() / exact.norm()
        assert 0 < error < 0.04, kind  # three bits of mantissa
        assert torch.equal(loaded.x_embedder.bias, state["x_embedder.bias"])
    stored, scale = (per_row[f"layers.0.attention.qkv.{kind}"] for kind in ("weight", "weight_scale"))
    assert torch.equal(weight, stored.float() * scale[:, None])


def test_jina_files_with_adapters_load_plain_by_default(tmp_path, shelf, original):
    state = load_file(shelf["official"] + "/clip_model/model.safetensors")
    name = "text_model.transformer.encoder.layers.0.mlp.fc1"
    words = "text_model.transformer.embeddings.word_embeddings"
    adapted = {}
    generator = torch.Generator().manual_seed(0)
    for key, tensor in state.items():
        if key in (f"{name}.weight", f"{words}.weight"):
            stem = key.removesuffix(".weight") + ".parametrizations.weight"
            rows, columns = tensor.shape
            adapted[f"{stem}.original"] = tensor
            a, b = ((rows, 4), (4, columns)) if key.startswith(words) else ((4, columns), (rows, 4))
            adapted[f"{stem}.0.lora_A"] = torch.randn(1, *a, generator=generator)
            adapted[f"{stem}.0.lora_B"] = torch.randn(1, *b, generator=generator)
        else:
            adapted[key] = tensor
    save_file(adapted, tmp_path / "jina.safetensors")
    files = locate(SplitFiles(clip=str(tmp_path / "jina.safetensors"), base=shelf["official"]))
    plain = load_part(files, "clip_model", dtype=torch.float32)
    assert all(torch.equal(t, plain.state_dict()[n]) for n, t in original.clip_model.state_dict().items())
    with_adapter = load_part(files, "clip_model", dtype=torch.float32, clip_adapter=True)
    a, b = (adapted[f"{name}.parametrizations.weight.0.lora_{which}"][0] for which in "AB")
    assert torch.allclose(with_adapter.layers[0].mlp.fc1.weight, plain.layers[0].mlp.fc1.weight + b @ a, atol=1e-5)
    a, b = (adapted[f"{words}.parametrizations.weight.0.lora_{which}"][0] for which in "AB")
    embeddings = with_adapter.embeddings.word_embeddings.weight
    assert torch.allclose(embeddings, plain.embeddings.word_embeddings.weight + a @ b, atol=1e-5)


# ---- the card ------------------------------------------------------------------------------------------------


def test_the_card_of_a_published_model(shelf):
    card = read_model_info(shelf["official"])
    assert card.name == "official"
    assert card.licence.startswith("Newbie-NC-1.0")
    assert not card.demo
    assert len(card.hash) == 10
    assert card.defaults["system_prompt"] == DEFAULT_SYSTEM_PROMPT
    assert (card.defaults["width"], card.defaults["steps"], card.defaults["shift"]) == (1024, 28, 6.0)
    assert (1024, 1024) in card.sizes
    assert (card.trained_tokens, card.max_tokens, card.vocabulary) == (512, 1023, ())


def test_the_card_of_split_files_names_the_transformer(shelf):
    card = read_model_info(shelf["split"])
    assert card.name == "newbie"
    assert card.source.count(".safetensors") == 4


def test_the_sidecar_fills_the_card(tmp_path):
    card = read_model_info(str(tiny.save(tmp_path / "tiny")))
    assert (card.name, card.demo, card.licence) == ("Tiny", True, "Apache-2.0")
    assert card.sizes == ((64, 64), (64, 128))
    assert card.defaults["steps"] == 2


def test_the_hash_stays_with_the_weights_and_changes_with_them(tmp_path, original):
    first = published.write_official(tmp_path / "first", original)
    again = published.write_official(tmp_path / "again", original)
    other = published.write_official(tmp_path / "other", published.pipeline(seed=1))
    hashes = [read_model_info(str(folder)).hash for folder in (first, again, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_demo_has_its_place_in_the_package():
    assert DEMO_FOLDER.parts[-3:] == ("newbie_ui", "demo", "weights")

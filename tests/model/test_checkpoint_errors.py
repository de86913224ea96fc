"""What is said when a model cannot be loaded: the value, the reason, the remedy."""

import errno
import json
import random
import shutil
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma3TextConfig, Gemma3TextModel

from newbie_ui.errors import CheckpointError
from newbie_ui.model.checkpoint import SplitFiles, load_pipeline, read_model_info
from newbie_ui.model.checkpoints.card import read_sidecar
from newbie_ui.model.checkpoints.weights import Weights, open_weights
from tests.model import published


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    return published.write_official(tmp_path_factory.mktemp("models") / "newbie", published.pipeline())


@pytest.fixture
def folder(shelf, tmp_path):
    return shutil.copytree(shelf, tmp_path / "newbie")


def refusal(source, **options):
    with pytest.raises(CheckpointError) as refused:
        load_pipeline(source, dtype=torch.float32, **options)
    return str(refused.value)


def edit(path, change):
    """Rewrite a safetensors file after `change` has altered its tensors."""
    state = load_file(path)
    change(state)
    save_file(state, path)
    return path


def transformer(path, shelf):
    return SplitFiles(transformer=str(path), base=str(shelf))


# ---- sources -------------------------------------------------------------------------------------------------


def test_a_path_that_is_nowhere():
    said = refusal("/no/such/model")
    assert said.startswith("'/no/such/model' is neither a folder on this machine nor a hub id. Use e.g. --model NewBie")


def test_a_single_file_is_not_a_model(shelf):
    said = refusal(str(shelf / "transformer/diffusion_pytorch_model.safetensors"))
    assert "is one file, but a model has four parts. Give it with --transformer" in said


def test_an_empty_folder(tmp_path):
    assert f"{tmp_path} holds no model: looked for the folders transformer, text_encoder" in refusal(str(tmp_path))


def test_a_folder_without_one_part(folder):
    shutil.rmtree(folder / "clip_model")
    said = refusal(str(folder))
    assert "lacks the CLIP text encoder (clip_model/ or text_encoder_2/). The download is not complete" in said
    assert "give this part with --clip" in said


def test_split_files_that_are_not_all_there(shelf, tmp_path):
    said = refusal(SplitFiles(transformer=str(shelf / "transformer")))
    assert "missing: --text-encoder (Gemma text encoder), --clip (CLIP text encoder), --vae (VAE)" in said
    assert "--vae /no/ae.safetensors does not exist. Check the path." in refusal(
        SplitFiles(vae="/no/ae.safetensors", base=str(shelf))
    )


@pytest.mark.parametrize(("asked", "which"), [("open", "text_encoder/model.safetensors.index.json"), ("is_dir", ".")])
def test_what_may_not_be_read_is_named(asked, which, shelf, monkeypatch):
    """As root everything may be read, so the system's answer is put into its mouth."""

    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, asked, refuse)
    assert (
        refusal(str(shelf)) == f"{shelf / which} cannot be read (Permission denied). Check that this user may read it."
    )


def test_a_part_without_weights(folder):
    (folder / "vae/diffusion_pytorch_model.safetensors").unlink()
    assert "vae holds no weights (*.safetensors, *.pth). The download is not complete" in refusal(str(folder))


def test_a_part_with_several_weights_files(folder):
    place = folder / "vae/diffusion_pytorch_model.safetensors"
    place.rename(folder / "vae/a.safetensors")
    shutil.copy(folder / "vae/a.safetensors", folder / "vae/b.safetensors")
    said = refusal(str(folder))
    assert "holds several weights files (a.safetensors, b.safetensors). Name the one to use." in said


def test_a_file_of_another_part_is_called_so_before_its_tokenizer_is_missed(shelf):
    vae = str(shelf / "vae/diffusion_pytorch_model.safetensors")
    said = refusal(SplitFiles(text_encoder=vae, base=str(shelf)))
    assert "is not a Gemma3 text encoder: looked for Gemma names (layers.0.pre_feedforward_layernorm.weight)" in said
    assert "It looks like a VAE: give it with --vae." in said


# ---- files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        (b"GGUF\x03\0\0\0", "is a GGUF file. Download the safetensors version of this model."),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer, not the weights. Run `git lfs pull`"),
        (b"<!DOCTYPE html><html>", "is a web page. Download the file itself"),
        (b"", "is empty. Download it again."),
        (b"\x10\0\0\0\0\0\0\0not a header....", "is damaged or not complete ("),
    ],
)
def test_files_that_are_no_weights(start, sentence, tmp_path, shelf):
    path = tmp_path / "model.safetensors"
    path.write_bytes(start)
    assert sentence in refusal(transformer(path, shelf))


def test_a_file_that_broke_off(shelf, tmp_path):
    whole = (shelf / "transformer/diffusion_pytorch_model.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    said = refusal(transformer(tmp_path / "half.safetensors", shelf))
    assert "half.safetensors is damaged or not complete (" in said
    assert said.endswith("Download it again.")


def test_a_header_that_claims_to_be_huge(tmp_path, shelf):
    (tmp_path / "huge.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    assert "huge.safetensors is damaged or not complete (" in refusal(transformer(tmp_path / "huge.safetensors", shelf))


def test_a_file_of_an_unknown_kind(tmp_path, shelf):
    (tmp_path / "model.zip").write_bytes(b"PK\x03\x04")
    assert "model.zip is not a weights file that can be read. Use .safetensors, or .pth" in refusal(
        transformer(tmp_path / "model.zip", shelf)
    )


class Harmful:
    def __reduce__(self):
        return (open, ("canary", "w"))


@pytest.mark.parametrize("old", [False, True])
def test_a_pickle_with_code_is_not_opened(old, tmp_path, shelf, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"a": torch.ones(1)}, "x": Harmful()}, "m.pth", _use_new_zipfile_serialization=not old)
    said = refusal(transformer(tmp_path / "m.pth", shelf))
    assert "m.pth holds Python objects besides tensors, which could run code, so it is not opened" in said
    assert not (tmp_path / "canary").exists()


def test_a_pth_without_tensors(tmp_path, shelf):
    torch.save({"epoch": 3}, tmp_path / "m.pth")
    said = refusal(transformer(tmp_path / "m.pth", shelf))
    assert "m.pth holds no named tensors, neither directly nor under 'model' or 'state_dict'" in said


def test_a_pth_that_broke_off(tmp_path, shelf):
    torch.save({"a": torch.ones(1000)}, tmp_path / "m.pth")
    (tmp_path / "m.pth").write_bytes((tmp_path / "m.pth").read_bytes()[:900])
    assert "m.pth is damaged or not complete (" in refusal(transformer(tmp_path / "m.pth", shelf))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_damaged_pth_is_refused_or_read_and_nothing_else(tmp_path):
    path, chance = tmp_path / "m.pth", random.Random(0)
    torch.save({"a": torch.ones(4), "b": torch.ones(2, dtype=torch.bfloat16)}, path)
    whole, refused = path.read_bytes(), 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(3):
            data[chance.randrange(600)] = chance.randrange(256)
        path.write_bytes(data)
        try:
            open_weights(path)
        except CheckpointError:
            refused += 1
    assert 50 < refused < 300


# ---- shards --------------------------------------------------------------------------------------------------


def test_a_missing_shard(folder):
    (folder / "text_encoder/model-00002-of-00002.safetensors").unlink()
    said = refusal(str(folder))
    assert "model-00002-of-00002.safetensors is missing, but model.safetensors.index.json lists it." in said


def test_a_shard_that_holds_too_little(folder):
    shard = folder / "text_encoder/model-00002-of-00002.safetensors"
    edit(shard, lambda state: state.pop(next(iter(state))))
    assert "model.safetensors.index.json lists 1 tensors that its shards do not hold, first " in refusal(str(folder))


@pytest.mark.parametrize("shard", ["../../secret.safetensors", "/etc/passwd", "evil.bin", 7])
def test_an_index_that_points_elsewhere(shard, folder):
    (folder / "text_encoder/model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    assert f"names the shard {shard!r}, which is not a safetensors file beside it" in refusal(str(folder))


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00", '{"weight_map": []}'])
def test_a_damaged_index(text, folder):
    (folder / "text_encoder/model.safetensors.index.json").write_text(text)
    said = refusal(str(folder))
    assert any(s in said for s in ("is not valid JSON", "holds a list where an object is", "has no weight_map"))


# ---- names and shapes ----------------------------------------------------------------------------------------


def test_missing_tensors_are_named_with_the_layout(folder):
    path = folder / "transformer/diffusion_pytorch_model.safetensors"
    edit(path, lambda state: [state.pop(f"layers.{i}.attention.q_norm.weight") for i in (1, 2)])
    said = refusal(str(folder))
    assert said.startswith(f"The NewBie transformer in {path} (read as: official names) lacks 2 tensors, first ")
    assert "layers.1.attention.q_norm.weight, layers.2.attention.q_norm.weight." in said


def test_unknown_tensors_are_named_as_the_file_names_them(folder):
    path = folder / "vae/diffusion_pytorch_model.safetensors"
    edit(path, lambda state: state.update({"quant_conv.weight": torch.ones(2), "quant_conv.bias": torch.ones(2)}))
    said = refusal(str(folder))
    assert "(read as: diffusers names) holds 2 tensors that this model has no place for" in said
    assert "quant_conv.bias, quant_conv.weight. It is of another model or version: use NewBie's own." in said


def test_a_wrong_shape(folder):
    path = folder / "transformer/diffusion_pytorch_model.safetensors"
    edit(path, lambda state: state.update({"layers.1.feed_forward.w1.weight": torch.ones(5, 48)}))
    said = refusal(str(folder))
    assert "has layers.1.feed_forward.w1.weight of shape [5, 48] where [192, 48] is expected" in said


def test_half_a_stacked_weight(tmp_path, shelf):
    folder = published.write_diffusers(tmp_path / "d", published.pipeline())
    edit(
        folder / "transformer/diffusion_pytorch_model.safetensors", lambda state: state.pop("layers.0.attn.to_k.weight")
    )
    assert "has only 2 of 3 parts of layers.0.attention.qkv.weight" in refusal(str(folder))


def test_a_tensor_given_twice(tmp_path):
    folder = published.write_diffusers(tmp_path / "d", published.pipeline())
    path = folder / "transformer/diffusion_pytorch_model.safetensors"
    edit(path, lambda state: state.update({"layers.0.norm1.weight": torch.ones(48)}))
    assert "gives layers.0.attention_norm1.weight twice, last as " in refusal(str(folder))


def test_an_integer_tensor(folder):
    path = folder / "transformer/diffusion_pytorch_model.safetensors"
    edit(path, lambda state: state.update({"x_embedder.weight": state["x_embedder.weight"].to(torch.int8)}))
    said = refusal(str(folder))
    assert "has x_embedder.weight as I8, a quantised or packed form that is not read. Use the bf16" in said


def test_a_quantisation_that_is_not_read(folder):
    path = folder / "transformer/diffusion_pytorch_model.safetensors"
    note = torch.tensor(list(b'{"format": "nvfp4"}'), dtype=torch.uint8)
    edit(path, lambda state: state.update({"x_embedder.comfy_quant": note}))
    said = refusal(str(folder))
    assert "is quantised as 'nvfp4', which is not read. Use the bf16 or fp8 version" in said


def test_a_scale_without_its_weight(folder):
    path = folder / "transformer/diffusion_pytorch_model.safetensors"
    edit(path, lambda state: state.update({"layers.9.attention.qkv.scale_weight": torch.ones(())}))
    assert "has the scale layers.9.attention.qkv.scale_weight but not layers.9.attention.qkv.weight" in refusal(
        str(folder)
    )


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "FLUX"),
        ("model.diffusion_model.input_blocks.0.0.weight", "Stable Diffusion"),
        ("model.layers.0.self_attn.q_proj.weight", "a language model"),
        ("diffusion_model.layers.0.attention.qkv.lora_A.weight", "a LoRA, not a whole model"),
        ("decoder.mid.block_1.conv1.weight", "a VAE: give it with --vae"),
    ],
)
def test_a_file_of_another_model_is_recognised(name, what, tmp_path, shelf):
    save_file({name: torch.ones(2)}, tmp_path / "other.safetensors")
    said = refusal(transformer(tmp_path / "other.safetensors", shelf))
    assert (
        "is not a NewBie transformer: looked for official names (layers.0.attention.qkv.weight) and diffusers" in said
    )
    assert f"It looks like {what}. Its first tensors are {name}." in said


def test_swapped_text_encoders_are_told_apart(shelf):
    swapped = SplitFiles(text_encoder=str(shelf / "clip_model"), base=str(shelf))
    assert "It looks like Jina CLIP: give it with --clip." in refusal(swapped)
    swapped = SplitFiles(clip=str(shelf / "text_encoder"), base=str(shelf))
    assert "It looks like Gemma: give it with --text-encoder." in refusal(swapped)


def test_swapped_text_encoders_with_the_same_attention_names_are_told_apart(tmp_path):
    """Both as transformers saves them: `layers.0.self_attn.q_proj` is in either."""
    pipe = published.pipeline()
    folder = tmp_path / "saved"
    pipe.save_pretrained(folder)
    swapped = SplitFiles(text_encoder=str(folder / "clip_model"), base=str(folder))
    assert "It looks like Jina CLIP: give it with --clip." in refusal(swapped)
    swapped = SplitFiles(clip=str(folder / "text_encoder"), base=str(folder))
    assert "It looks like Gemma: give it with --text-encoder." in refusal(swapped)


def test_parts_of_different_models(tmp_path, shelf):
    pipe = published.pipeline()
    config = pipe.text_encoder.config.to_dict() | {"hidden_size": 16}
    Gemma3TextModel(Gemma3TextConfig(**config)).save_pretrained(tmp_path / "narrow")
    pipe.tokenizer.save_pretrained(tmp_path / "narrow")
    said = refusal(SplitFiles(text_encoder=str(tmp_path / "narrow"), base=str(shelf)))
    assert "gives 16 features, but the transformer" in said
    assert "takes 32. They are of different models" in said


# ---- configs and tokenizers ----------------------------------------------------------------------------------


def change_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_config_of_another_size(folder):
    change_json(folder / "transformer/config.json", n_layers=36)
    assert "has n_layers 3, but its config.json says 36. They do not belong together" in refusal(str(folder))


def test_a_config_of_another_language_model(folder):
    change_json(folder / "text_encoder/config.json", text_config={"model_type": "qwen2"})
    assert "is of 'qwen2'; NewBie needs gemma3_text" in refusal(str(folder))


def test_a_config_with_nonsense(folder):
    text = json.loads((folder / "text_encoder/config.json").read_text())["text_config"]
    change_json(folder / "text_encoder/config.json", text_config={**text, "hidden_size": "wide"})
    assert "The config.json beside" in refusal(str(folder))
    (folder / "text_encoder/config.json").write_text("{")
    assert "text_encoder/config.json is not valid JSON. Download it again." in refusal(str(folder))


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("transformer", {"in_channels": -1}),
        ("transformer", {"axes_dims": [8, 8]}),
        ("text_encoder", {"text_config": {"num_attention_heads": 0}}),
        ("text_encoder", {"text_config": {"vocab_size": 0}}),
        ("vae", {"block_out_channels": []}),
        ("vae", {"norm_num_groups": 0}),
    ],
)
def test_numbers_that_no_model_can_have_are_refused_however_the_library_stumbles(part, changes, folder):
    path = folder / part / "config.json"
    if "text_config" in changes:
        text = json.loads(path.read_text())["text_config"]
        changes = {"text_config": {**text, **changes["text_config"]}}
    change_json(path, **changes)
    said = refusal(str(folder))
    assert f"The config.json beside {folder / part}" in said
    assert " cannot be used: " in said
    assert said.endswith(". Download it again.")


@pytest.mark.parametrize(("key", "value"), [("num_train_timesteps", None), ("num_train_timesteps", 0), ("shift", "x")])
def test_a_scheduler_config_with_nonsense(key, value, folder):
    change_json(folder / "scheduler/scheduler_config.json", **{key: value})
    said = refusal(str(folder))
    assert said.startswith("The model's scheduler/scheduler_config.json cannot be used: ")
    assert said.endswith(". Download it again.")
    with pytest.raises(CheckpointError, match=r"scheduler_config\.json cannot be used"):
        read_model_info(str(folder))


def test_a_missing_tokenizer(folder):
    (folder / "text_encoder/tokenizer.json").unlink()
    said = refusal(str(folder))
    assert "No tokenizer for the Gemma text encoder in" in said
    assert "Put the tokenizer.json of google/gemma-3-4b-it there." in said


def test_a_damaged_tokenizer(folder):
    (folder / "clip_model/tokenizer.json").write_text("{}")
    assert "clip_model cannot be read (" in refusal(str(folder))


def test_no_adapter_to_use(shelf):
    assert "holds no task adapter. Load it without one." in refusal(str(shelf), clip_adapter=True)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"nmae": "x"}, "has the unknown key 'nmae'. Use: name, licence, demo"),
        ({"name": ""}, "name cannot be used: '' is no text."),
        ({"demo": "yes"}, "demo cannot be used: 'yes' is neither true nor false."),
        ({"max_tokens": 0}, "max_tokens cannot be used: 0 is no whole number from 1 to 100000."),
        ({"sizes": [[100, 64]]}, "must be pairs of multiples of 16 from 64 to 2048"),
        ({"defaults": {"steps": 0}}, "defaults cannot be used: Steps 0 is out of range. Use 1 to 100."),
        ({"defaults": {"cfg": 3}}, "defaults cannot be used: 'cfg' is no setting of a picture."),
        ({"vocabulary": "cat"}, "vocabulary cannot be used: it must be a list of texts."),
        ({"preview": {"weight": [[1, 2]], "bias": [0, 0, 0]}}, "preview cannot be used: it needs three colours a row."),
    ],
)
def test_a_sidecar_with_an_error(content, sentence, tmp_path):
    path = tmp_path / "newbie_ui.json"
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError) as refused:
        read_sidecar(path)
    assert sentence in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_refused_model_is_not_read_in_vain(folder, monkeypatch):
    """The last part is checked before the first is read."""
    edit(folder / "vae/diffusion_pytorch_model.safetensors", lambda state: state.pop("decoder.conv_in.bias"))
    monkeypatch.setattr(Weights, "stream", lambda *_: pytest.fail("a tensor was read"))
    assert "lacks 1 tensor, first decoder.conv_in.bias." in refusal(str(folder))


def test_the_card_of_an_incomplete_model_says_the_same(folder):
    (folder / "vae/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="vae holds no weights"):
        read_model_info(str(folder))

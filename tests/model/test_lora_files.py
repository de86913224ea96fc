"""LoRA files: what is read, what is refused, and why."""

import json
import os
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from newbie_ui.errors import LoraError
from newbie_ui.model import lora_files
from newbie_ui.model.lora_files import LoraShelf, LowRank, NormShift, read_lora
from newbie_ui.model.lora_targets import targets
from tests import tiny
from tests.model import lora_writers as write


@pytest.fixture(scope="module")
def transformer():
    return tiny.pipeline().transformer


@pytest.fixture(scope="module")
def known(transformer):
    return targets(transformer)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ink.safetensors"


def refusal(path, known):
    with pytest.raises(LoraError) as refused:
        read_lora(path, known)
    return str(refused.value)


# ---- what is read --------------------------------------------------------------------------------------------


def test_a_file_tells_its_format_rank_hash_and_notes(path, transformer, known):
    write.write_peft(path, write.low_rank(write.layers(transformer), rank=4), alpha=2)
    lora = read_lora(path, known)
    assert (lora.name, lora.format, lora.rank) == ("ink", "LoRA", 4)
    assert lora.notes == {"lora_alpha": "2", "lora_rank": "4"}
    assert len(lora.sha256) == 10
    assert len(lora.updates) == 17
    update = lora.updates["layers.0.attention.qkv"][0]
    assert isinstance(update, LowRank)
    assert update.scale == 0.5


def test_norms_of_a_lokr_are_shifts(path, transformer, known):
    write.write_lokr(path, {"layers.0.attention.out": (48, 48)}, norms=[("layers.0.ffn_norm1", 48)])
    lora = read_lora(path, known)
    assert isinstance(lora.updates["layers.0.ffn_norm1"][0], NormShift)
    assert lora.rank == 0


def test_a_folder_that_peft_saved_is_a_lora(tmp_path, transformer, known):
    folder = tmp_path / "style"
    folder.mkdir()
    write.write_peft(folder / "adapter_model.safetensors", write.low_rank(write.layers(transformer), rank=4))
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 12}))
    shelf = LoraShelf(tmp_path)
    assert shelf.names() == ("style",)
    assert read_lora(shelf.path("style"), known).updates["layers.0.attention.qkv"][0].scale == 3.0


def test_the_shelf_lists_files_of_all_folders_and_the_first_wins(tmp_path, transformer):
    pairs = write.low_rank({"layers.0.attention.qkv": (96, 48)})
    for folder, name in (("mine", "b"), ("mine", "A"), ("shipped", "b"), ("shipped", "c")):
        (tmp_path / folder).mkdir(exist_ok=True)
        write.write_peft(tmp_path / folder / f"{name}.safetensors", pairs)
    (tmp_path / "mine" / "readme.txt").write_text("x")
    (tmp_path / "mine" / "empty").mkdir()
    shelf = LoraShelf(tmp_path / "mine", tmp_path / "shipped", tmp_path / "nowhere")
    assert shelf.names() == ("A", "b", "c")
    assert shelf.path("b").parent.name == "mine"


def test_a_long_or_strange_metadata_block_stays_text_of_limited_length(path, transformer, known):
    save_file(
        _peft_state(transformer),
        path,
        metadata={"<script>": "x" * 10_000, "lora_alpha": "4", **{f"k{i}": "v" for i in range(200)}},
    )
    notes = read_lora(path, known).notes
    assert len(notes) <= 50
    assert all(len(value) <= 500 for value in notes.values())


def _peft_state(transformer, rank=4):
    pairs = write.low_rank(write.layers(transformer), rank=rank)
    return {
        f"base_model.model.{n}.lora_{letter}.weight": t for n, pair in pairs.items() for letter, t in zip("AB", pair)
    }


# ---- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ink.pt", "ink.bin", "ink.ckpt", "ink"])
def test_pickles_are_never_opened(name, tmp_path, known):
    torch.save({"a": torch.ones(1)}, tmp_path / name)
    kind = os.path.splitext(name)[1] or "nameless"
    assert refusal(tmp_path / name, known) == (
        f"LoRA ink is a {kind} file. Only .safetensors is read: it cannot run code."
    )


def test_a_pickle_under_a_false_name_is_not_opened_either(path, known):
    torch.save({"a": torch.ones(1)}, path)
    assert "ink.safetensors is damaged or not complete (" in refusal(path, known)


@pytest.mark.parametrize("content", [b"", b"GGUF....", b"\xff" * 64, struct.pack("<Q", 10**12) + b"{}"])
def test_files_that_are_none(content, path, known):
    path.write_bytes(content)
    assert str(path) in refusal(path, known)


def test_a_file_that_is_gone(path, known):
    assert refusal(path, known) == f"LoRA ink is not there any more ({path}). Choose another."


def test_a_file_that_is_too_large(path, transformer, known, monkeypatch):
    write.write_peft(path, write.low_rank(write.layers(transformer)))
    monkeypatch.setattr(lora_files, "MAX_FILE_BYTES", 10_000)
    assert refusal(path, known).startswith("LoRA ink has 0.0 GB, more than the 0 GB that are read.")
    monkeypatch.setattr(lora_files, "MAX_FILE_BYTES", 10**9)
    monkeypatch.setattr(lora_files, "MAX_TENSORS", 3)
    assert refusal(path, known) == "LoRA ink holds 34 tensors, more than the 3 that are read."


def test_a_model_is_no_lora(path, transformer, known):
    save_file(dict(transformer.state_dict()), path)
    assert "which is of no known kind. Use PEFT, kohya, LoKr or LoHa files." in refusal(path, known)


def test_an_empty_file_is_no_lora(path, known):
    save_file({}, path)
    assert refusal(path, known) == f"{path} holds no LoRA layers. It is not a LoRA file."


@pytest.mark.parametrize(
    ("layer", "looks"),
    [
        ("lora_unet_double_blocks_0_img_attn_qkv", " It looks like one for FLUX."),
        ("lora_unet_down_blocks_0_attentions_0_proj_in", " It looks like one for Stable Diffusion."),
        ("diffusion_model.blocks.0.cross_attn.q", " It looks like one for a video model."),
        ("diffusion_model.layers.77.attention.qkv", ""),
    ],
)
def test_a_file_for_another_model_is_refused_with_the_reason(layer, looks, path, known):
    save_file({f"{layer}.lora_down.weight": torch.ones(4, 8), f"{layer}.lora_up.weight": torch.ones(8, 4)}, path)
    assert refusal(path, known) == (
        "LoRA ink is for another model: 2 of its 2 tensors name layers that this one has not, "
        f"first {layer}.lora_down.weight.{looks} Use one that was trained for NewBie."
    )


def test_a_file_for_a_wider_model_is_refused(path, known):
    write.write_peft(path, write.low_rank({"layers.0.attention.qkv": (3840, 2304)}))
    assert refusal(path, known) == (
        "LoRA ink, layer layers.0.attention.qkv is for a layer of shape [3840, 2304], this model's has [96, 48]. "
        "The LoRA is for another model: use one that was trained for this one."
    )


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("diffusion_model.layers.0.attention.qkv.dora_scale", "DoRA"),
        ("base_model.model.layers.0.attention.qkv.lora_magnitude_vector.default.weight", "DoRA"),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", "a text encoder"),
        ("lycoris_layers_0_attention_qkv.hada_t1", "a Tucker decomposition, which is for convolutions"),
        ("lycoris_layers_0_attention_qkv.oft_blocks", "another method"),
    ],
)
def test_methods_that_are_not_supported_are_named(name, method, path, transformer, known):
    save_file({**_peft_state(transformer), name: torch.ones(4, 4)}, path)
    assert refusal(path, known) == (
        f"LoRA ink changes or uses {method} ({name}), which is not supported. Use a plain LoRA."
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(bad, path, transformer, known):
    state = _peft_state(transformer)
    name = next(iter(state))
    state[name][0, 0] = bad
    save_file(state, path)
    assert refusal(path, known) == (
        f"LoRA ink holds numbers that are not finite ({name}). It is broken: use another one."
    )


def test_half_a_layer_is_refused(path, transformer, known):
    state = _peft_state(transformer)
    del state["base_model.model.layers.1.attention.out.lora_B.weight"]
    save_file(state, path)
    assert (
        refusal(path, known) == "LoRA ink, layer layers.1.attention.out has only down. It is broken: use another one."
    )


def test_a_layer_given_twice_is_refused(path, transformer, known):
    state = _peft_state(transformer)
    save_file({**state, "transformer.layers.1.attention.out.lora_down.weight": torch.ones(4, 48)}, path)
    assert "LoRA ink gives layers.1.attention.out twice, last as " in refusal(path, known)


def test_ranks_that_do_not_match_or_are_too_many(path, known):
    name = "layers.0.attention.out"
    save_file({f"{name}.lora_A.weight": torch.ones(4, 48), f"{name}.lora_B.weight": torch.ones(48, 5)}, path)
    assert refusal(path, known) == f"LoRA ink, layer {name} has ranks 4 and 5 that do not match."
    write.write_peft(path, write.low_rank({name: (48, 48)}, rank=1025), prefix="")
    assert refusal(path, known) == f"LoRA ink, layer {name} has rank 1025, more than the 1024 that are supported."


def test_a_lokr_without_its_second_factor_is_refused(path, transformer, known):
    write.write_lokr(path, {"layers.0.attention.out": (48, 48)})
    state = load_file(path)
    del state["lycoris_layers_0_attention_out.lokr_w2"]
    save_file(state, path)
    assert "lacks lokr_w2. It is broken: use another one." in refusal(path, known)


@pytest.mark.parametrize("alpha", ["abc", "nan", "inf", "1e999"])
def test_an_alpha_that_is_no_number_is_refused(alpha, path, transformer, known):
    save_file(_peft_state(transformer), path, metadata={"lora_alpha": alpha})
    assert refusal(path, known) == f"LoRA ink has alpha {alpha!r}, which is no number. It is broken."


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ('{"use_dora": true}', "uses DoRA, which is not supported. Use a plain LoRA."),
        ('{"alpha_pattern": {"qkv": 4}}', "has another alpha or rank for some layers, which is not supported."),
        ("{", "adapter_config.json is not valid JSON. Download it again."),
    ],
)
def test_a_peft_config_that_cannot_be_followed(config, sentence, tmp_path, transformer, known):
    path = tmp_path / "adapter_model.safetensors"
    write.write_peft(path, write.low_rank(write.layers(transformer)))
    (tmp_path / "adapter_config.json").write_text(config)
    assert sentence in refusal(path, known)


@pytest.mark.parametrize(
    ("end", "shape"), [("lora_A.weight", (4,)), ("alpha", (4,)), ("w_norm", (4, 4)), ("lora_B", (0, 4))]
)
def test_shapes_that_cannot_be_are_refused(end, shape, path, transformer, known):
    name = f"layers.0.attention.qkv.{end}"
    save_file({name: torch.zeros(shape)}, path)
    assert refusal(path, known) == (
        f"LoRA ink: {name} has the shape {list(shape)}, which it cannot have. It is broken: use another one."
    )


def test_packed_numbers_are_refused(path, known):
    save_file({"layers.0.attention.qkv.lora_A.weight": torch.zeros(4, 48, dtype=torch.int8)}, path)
    assert "holds I8 numbers, which are not read. Use the bf16, fp16 or fp32 version." in refusal(path, known)


def test_factors_that_do_not_match_are_refused(path, known):
    name, shapes = (
        "lycoris_layers_0_attention_out",
        {"w1_a": (48, 2), "w1_b": (3, 48), "w2_a": (48, 2), "w2_b": (2, 48)},
    )
    save_file({f"{name}.hada_{k}": torch.ones(v) for k, v in shapes.items()}, path)
    assert "has factors that do not match." in refusal(path, known)
    save_file(
        {f"{name}.lokr_w1": torch.ones(4, 4), **{f"{name}.lokr_{k}": torch.ones(12, 12) for k in ("w2_a",)}}, path
    )
    assert "lacks lokr_w2." in refusal(path, known)


def test_random_files_are_read_or_refused_and_nothing_else(path, transformer, known):
    """Names and shapes at random from all that appear in such files."""
    g = torch.Generator().manual_seed(0)

    def pick(items):
        return items[int(torch.randint(len(items), (1,), generator=g))]

    layers = [*list(known)[::17], "lora_unet_double_blocks_0_qkv", "x"]
    ends = [
        "lora_A.weight",
        "lora_B.weight",
        "lora_up.weight",
        "alpha",
        "lokr_w1",
        "lokr_w2_a",
        "lokr_w2_b",
        "hada_w1_a",
        "w_norm",
        "q",
    ]
    shapes = [(), (4,), (48,), (4, 48), (48, 4), (96, 4), (0, 48), (2, 2, 2)]
    read = 0
    for _ in range(300):
        state = {f"{pick(layers)}.{pick(ends)}": torch.zeros(pick(shapes)) for _ in range(int(pick([1, 2, 3])))}
        save_file(state, path)
        try:
            read_lora(path, known)
            read += 1
        except LoraError:
            continue
    assert read < 300

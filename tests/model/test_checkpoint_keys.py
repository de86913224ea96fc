"""Full-size names and shapes, without values, against the full-size models on meta: every key is accounted for.

The lists in keys/ say what the published files hold, one tensor a line.
"""

from pathlib import Path

import pytest
import torch
from diffusers import Lumina2Transformer2DModel
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from safetensors import safe_open

from newbie_ui.errors import CheckpointError
from newbie_ui.model.checkpoints import parts
from newbie_ui.model.checkpoints.keys import ADAPTER
from newbie_ui.model.checkpoints.plan import check_plan, make_plan
from newbie_ui.model.checkpoints.weights import TensorInfo, Weights
from tests.model import published

KEYS = Path(__file__).parent / "keys"
GOOGLE_CONFIG = {  # what google's Gemma3-4B config.json says of the text part, all of it
    "model_type": "gemma3",
    "text_config": {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    },
}
LISTS = {
    "transformer_official": (parts.prepare_transformer, 535, 3_486_636_096),
    "transformer_diffusers": (parts.prepare_transformer, 614, 3_486_636_096),
    "gemma3_4b": (parts.prepare_gemma, 444, 3_880_263_168),
    "jina_clip_v2": (parts.prepare_jina, 292, 558_314_496),
    "flux_vae_diffusers": (parts.prepare_vae, 244, 83_819_683),
    "flux_vae_ldm": (parts.prepare_vae, 244, 83_819_683),
}


def names(kind):
    lines = (KEYS / f"{kind}.txt").read_text(encoding="utf-8").splitlines()
    return {name: tuple(map(int, shape.split("×"))) for name, shape in (li.split() for li in lines if li[0] != "#")}


def weights(kind, prefix="", without=(), extra=()):
    """A file that has these tensors, as its header would tell."""
    tensors = {prefix + n: TensorInfo(s, torch.bfloat16, "BF16") for n, s in names(kind).items() if n not in without}
    tensors |= {name: TensorInfo((4, 4), torch.bfloat16, "BF16") for name in extra}
    return Weights(Path(f"{kind}.safetensors"), tensors, dict.fromkeys(tensors, Path("x")), {})


@pytest.mark.parametrize("kind", LISTS)
def test_every_full_size_key_has_its_place(kind):
    prepare, count, parameters = LISTS[kind]
    assert len(names(kind)) == count
    prepared = prepare(weights(kind), None)  # refuses missing and unknown names and wrong shapes
    assert sum(p.numel() for p in prepared.module.parameters()) == parameters
    assert set(prepared.plan.slices) == set(names(kind))
    assert all(p.is_meta for p in prepared.module.parameters())


@pytest.mark.parametrize("kind", LISTS)
def test_no_full_size_key_is_dispensable(kind):
    prepared = LISTS[kind][0](weights(kind), None)
    expected = {name: tuple(tensor.shape) for name, tensor in prepared.module.state_dict().items()}
    for name in [n for n in names(kind) if n != "norm_final.weight"][::20]:  # that one is read by nothing
        with pytest.raises(CheckpointError):
            check_plan(make_plan(weights(kind, without=(name,)), prepared.plan.part), expected)


def test_the_transformer_is_the_published_one():
    for kind in ("transformer_official", "transformer_diffusers"):
        config = parts.prepare_transformer(weights(kind), None).module.config
        sizes = {k: config[k] for k in ("dim", "n_layers", "n_refiner_layers", "n_heads", "n_kv_heads")}
        assert sizes == {"dim": 2304, "n_layers": 36, "n_refiner_layers": 2, "n_heads": 24, "n_kv_heads": 8}
        assert tuple(config.axes_dims) == (32, 32, 32)
        assert tuple(config.axes_lens) == (1024, 512, 512)
        assert (config.cap_feat_dim, config.clip_text_dim, config.norm_eps) == (2560, 1024, 1e-5)


def test_official_names_are_those_of_the_official_code():
    """parity/transformer.safetensors was written by it, with one layer more than enough to see every kind of name."""

    def kinds(every):
        return {".".join("N" if part.isdigit() else part for part in name.split(".")) for name in every}

    with safe_open(Path(__file__).parent / "parity/transformer.safetensors", framework="pt") as file:
        assert kinds(file.keys()) == kinds(names("transformer_official"))


def test_diffusers_names_are_those_of_the_lumina_class():
    with torch.device("meta"):
        model = Lumina2Transformer2DModel(
            num_layers=36,
            num_refiner_layers=2,
            hidden_size=2304,
            num_attention_heads=24,
            num_kv_heads=8,
            cap_feat_dim=2560,
        )
    theirs = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    added = {n: s for n, s in names("transformer_diffusers").items() if n not in theirs}
    assert all(
        n.startswith(("time_caption_embed.clip_text_pooled_proj.", "time_caption_embed.time_text_")) for n in added
    )
    shared = {n: s for n, s in names("transformer_diffusers").items() if n in theirs}
    assert shared == theirs


def test_ldm_names_become_what_diffusers_makes_of_them():
    small = published.vae()
    ldm = published.ldm_vae(small.state_dict())
    theirs = convert_ldm_vae_checkpoint(dict(ldm), small.config)
    assert {n: tuple(t.shape) for n, t in theirs.items()} == {n: tuple(t.shape) for n, t in small.state_dict().items()}


@pytest.mark.parametrize(
    "prefix",
    ["", "model.", "language_model.", "language_model.model.", "model.language_model."],
)
def test_gemma_has_many_prefixes(prefix):
    extra = (
        "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight",
        "model.multi_modal_projector.mm_input_projection_weight",
        "lm_head.weight",
        "spiece_model",
    )
    prepared = parts.prepare_gemma(weights("gemma3_4b", prefix, extra=extra), None)
    assert len(prepared.plan.slices) == 444


def test_gemma_constants_are_those_of_its_config():
    inferred = parts.prepare_gemma(weights("gemma3_4b"), None).module.config
    given = parts.prepare_gemma(weights("gemma3_4b"), GOOGLE_CONFIG).module.config
    keys = (
        "vocab_size",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "query_pre_attn_scalar",
        "sliding_window",
        "layer_types",
        "rms_norm_eps",
        "hidden_activation",
        "rope_parameters",
    )
    assert {k: getattr(inferred, k) for k in keys} == {k: getattr(given, k) for k in keys}
    assert inferred.layer_types[5] == "full_attention"
    assert inferred.layer_types.count("full_attention") == 5


@pytest.mark.parametrize(
    "prefix", ["", "model.", "roberta.", "text_model.transformer.", "text_model.transformer.roberta."]
)
def test_jina_has_many_prefixes(prefix):
    extra = ("vision_model.blocks.0.attn.q_proj.weight", "logit_scale", "spiece_model")
    prepared = parts.prepare_jina(weights("jina_clip_v2", prefix, extra=extra), {"model_type": "jina_clip"})
    assert len(prepared.plan.slices) == 292
    config = prepared.module.config
    assert (config.num_attention_heads, config.rope_parameters["rope_theta"]) == (16, 20_000.0)


def test_jina_with_adapters_is_accounted_for_too():
    full = weights("jina_clip_v2", "text_model.transformer.")
    tensors = {}
    for name, info in full.tensors.items():
        if name.endswith(("Wqkv.weight", "out_proj.weight", "fc1.weight", "fc2.weight", "embeddings.weight")):
            stem = name.removesuffix(".weight")
            tensors[f"{stem}.parametrizations.weight.original"] = info
            tensors[f"{stem}{ADAPTER}lora_A"] = tensors[f"{stem}{ADAPTER}lora_B"] = info
        else:
            tensors[name] = info
    file = Weights(full.path, tensors, dict.fromkeys(tensors, Path("x")), {})
    prepared = parts.prepare_jina(file, None, adapter=True)
    assert len(prepared.plan.slices) == 292
    assert len(prepared.plan.adapters) == 24 * 4 + 2
    assert parts.prepare_jina(file, None).with_adapters is False


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model.", "transformer.", "module."])
def test_the_transformer_may_be_prefixed(prefix):
    prepared = parts.prepare_transformer(weights("transformer_official", prefix, extra=("vae.decoder.x",)), None)
    assert len(prepared.plan.slices) == 535


def test_the_vae_has_flux_constants():
    config = parts.prepare_vae(weights("flux_vae_ldm"), None).module.config
    assert (config.scaling_factor, config.shift_factor, config.latent_channels) == (0.3611, 0.1159, 16)
    assert tuple(config.block_out_channels) == (128, 256, 512, 512)
    assert config.layers_per_block == 2

"""Tiny models written the way they are published: every layout, official names, with all the clutter of real files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file, save_file
from transformers import Gemma3TextConfig, Gemma3TextModel, JinaEmbeddingsV3Config, JinaEmbeddingsV3Model

from newbie_ui.model.checkpoint import SplitFiles
from newbie_ui.model.pipeline import NewbiePipeline
from newbie_ui.model.transformer import NewbieTransformer2DModel
from tests import tiny

CANARY = "raise SystemExit('a file of the model was executed')\n"
HOSTILE_CONFIG = {"auto_map": {"AutoModel": "modeling.Model", "AutoConfig": "modeling.Config"}, "custom_pipelines": "x"}


def pipeline(seed: int = 0) -> NewbiePipeline:
    """Like `tiny.pipeline`, with the constants that real files leave unsaid: 64 channels a CLIP head and so on."""
    gemma_tokenizer, clip_tokenizer = tiny.tokenizers()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipe = NewbiePipeline(
            transformer=NewbieTransformer2DModel(**{**tiny.TRANSFORMER, "clip_text_dim": 128}).eval(),
            text_encoder=gemma(len(gemma_tokenizer)),
            tokenizer=gemma_tokenizer,
            clip_model=clip(len(clip_tokenizer)),
            clip_tokenizer=clip_tokenizer,
            vae=vae(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
        )
        for module in (pipe.transformer, pipe.text_encoder, pipe.clip_model, pipe.vae):
            for parameter in module.parameters():  # ones and zeros would hide a mix-up
                parameter.data.add_(0.05 * torch.randn_like(parameter))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def gemma(vocabulary: int) -> Gemma3TextModel:
    config = Gemma3TextConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=1024,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
    )
    return Gemma3TextModel(config).eval()


def clip(vocabulary: int) -> JinaEmbeddingsV3Model:
    config = JinaEmbeddingsV3Config(
        vocab_size=vocabulary, hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24
    )
    return JinaEmbeddingsV3Model(config, add_pooling_layer=False).eval()


def vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=32,
        sample_size=1024,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()


# ---- names ---------------------------------------------------------------------------------------------------


def official_transformer(pipe: NewbiePipeline) -> dict[str, torch.Tensor]:
    return dict(pipe.transformer.state_dict())


def diffusers_transformer(state: dict[str, torch.Tensor], n_heads: int, n_kv_heads: int) -> dict[str, torch.Tensor]:
    """Official names → Lumina2's in diffusers, written apart from the loader's table."""
    caption = "time_caption_embed."
    outside = {
        "t_embedder.mlp.0": caption + "timestep_embedder.linear_1",
        "t_embedder.mlp.2": caption + "timestep_embedder.linear_2",
        "cap_embedder.": caption + "caption_embedder.",
        "clip_text_pooled_proj.": caption + "clip_text_pooled_proj.",
        "time_text_embed.": caption + "time_text_embed.",
        "final_layer.adaLN_modulation.1": "norm_out.linear_1",
        "final_layer.linear": "norm_out.linear_2",
    }
    inside = {
        "attention.out": "attn.to_out.0",
        "attention.q_norm": "attn.norm_q",
        "attention.k_norm": "attn.norm_k",
        "adaLN_modulation.1": "norm1.linear",
        "attention_norm1": "norm1.norm",
        "attention_norm2": "norm2",
        "feed_forward.w": "feed_forward.linear_",
    }
    renamed = {}
    for name, tensor in state.items():
        if name.startswith("norm_final"):
            continue
        block = re.match(r"(layers|noise_refiner|context_refiner)\.\d+\.", name)
        if name.endswith("attention.qkv.weight"):
            d = len(tensor) // (n_heads + 2 * n_kv_heads)
            parts = tensor.split((n_heads * d, n_kv_heads * d, n_kv_heads * d))
            for letter, part in zip("qkv", parts):
                renamed[f"{block[0]}attn.to_{letter}.weight"] = part.contiguous()
            continue
        table = inside if block else outside
        for ours, theirs in table.items():
            if ours in name:
                if block and block[1] == "context_refiner" and ours == "attention_norm1":
                    theirs = "norm1"
                name = name.replace(ours, theirs)
                break
        renamed[name] = tensor
    return renamed


def jina_names(pipe: NewbiePipeline, folder: Path) -> dict[str, torch.Tensor]:
    """The names of Jina's own files: transformers writes them itself."""
    pipe.clip_model.save_pretrained(folder / "jina_original", save_original_format=True)
    return load_file(folder / "jina_original" / "model.safetensors")


def ldm_vae(state: dict[str, torch.Tensor], levels: int = 4) -> dict[str, torch.Tensor]:
    """diffusers' VAE names → those of FLUX's ae.safetensors."""
    renamed = {}
    for name, tensor in state.items():
        name = re.sub(r"up_blocks\.(\d)", lambda m: f"up.{levels - 1 - int(m[1])}", name)
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        for ours, theirs in (
            ("down_blocks", "down"),
            ("resnets", "block"),
            ("conv_shortcut", "nin_shortcut"),
            ("downsamplers.0", "downsample"),
            ("upsamplers.0", "upsample"),
            ("conv_norm_out", "norm_out"),
            ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"),
            ("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"),
            ("mid_block.attentions.0.to_", "mid.attn_1."),
        ):
            name = name.replace(ours, theirs)
        if "attn_1" in name and name.endswith("weight") and tensor.dim() == 2:
            tensor = tensor[:, :, None, None]  # 1×1 convolutions there
        renamed[name] = tensor.contiguous()
    return renamed


# ---- layouts -------------------------------------------------------------------------------------------------


def write_official(folder: Path, pipe: NewbiePipeline) -> Path:
    """As NewBie-AI publishes it: official names, whole Gemma3 in shards, whole Jina CLIP, tokenizers inside."""
    _write(folder / "transformer", "diffusion_pytorch_model", official_transformer(pipe), _official_config(pipe))
    _gemma_folder(folder / "text_encoder", pipe)
    pipe.tokenizer.save_pretrained(folder / "text_encoder")
    _jina_folder(folder / "clip_model", pipe)
    pipe.clip_tokenizer.save_pretrained(folder / "clip_model")
    _rest(folder, pipe)
    return folder


def write_diffusers(folder: Path, pipe: NewbiePipeline) -> Path:
    """As Disty0 publishes it: diffusers names, text_encoder_2, tokenizers in folders of their own."""
    config = pipe.transformer.config
    state = diffusers_transformer(official_transformer(pipe), config.n_heads, config.n_kv_heads)
    lumina = {
        "_class_name": "Lumina2Transformer2DModel",
        "hidden_size": config.dim,
        "num_layers": config.n_layers,
        "num_refiner_layers": config.n_refiner_layers,
        "num_attention_heads": config.n_heads,
        "num_kv_heads": config.n_kv_heads,
        "axes_dim_rope": list(config.axes_dims),
        "axes_lens": list(config.axes_lens),
        "cap_feat_dim": config.cap_feat_dim,
        "in_channels": 16,
        "patch_size": 2,
        "norm_eps": 1e-5,
        "scaling_factor": 1.0,
        "sample_size": 128,
    }
    _write(folder / "transformer", "diffusion_pytorch_model", state, lumina)
    _gemma_folder(folder / "text_encoder", pipe, prefix="language_model.")
    pipe.tokenizer.save_pretrained(folder / "tokenizer")
    _jina_folder(folder / "text_encoder_2", pipe)
    pipe.clip_tokenizer.save_pretrained(folder / "tokenizer_2")
    _rest(folder, pipe)
    return folder


def write_split(
    folder: Path, pipe: NewbiePipeline, prefix: str = "model.diffusion_model.", dtype: torch.dtype = torch.float32
) -> SplitFiles:
    """As ComfyUI takes them, with tokenizers in a folder named as the file."""
    folder.mkdir(parents=True, exist_ok=True)
    states = {
        "newbie": {prefix + k: v for k, v in official_transformer(pipe).items()},
        "gemma_3_4b": {"model." + k: v for k, v in pipe.text_encoder.state_dict().items()},
        "jina_clip_v2": {"model." + k: v for k, v in jina_names(pipe, folder).items()},
        "ae": ldm_vae(pipe.vae.state_dict()),
    }
    for name, state in states.items():
        save_file({k: v.to(dtype).contiguous() for k, v in state.items()}, folder / f"{name}.safetensors")
    pipe.tokenizer.save_pretrained(folder / "gemma_3_4b")
    pipe.clip_tokenizer.save_pretrained(folder / "jina_clip_v2")
    return SplitFiles(*(str(folder / f"{name}.safetensors") for name in states))


def _official_config(pipe: NewbiePipeline) -> dict:
    config = {k: v for k, v in pipe.transformer.config.items() if not k.startswith("_")}
    return {"_class_name": "NextDiT_3B_GQA_patch2_Adaln_Refiner_WHIT_CLIP", "model_type": "nextdit_clip", **config}


def _gemma_folder(folder: Path, pipe: NewbiePipeline, prefix: str = "language_model.model.") -> None:
    state = {prefix + k: v.contiguous() for k, v in pipe.text_encoder.state_dict().items()}
    state["vision_tower.vision_model.embeddings.patch_embedding.weight"] = torch.zeros(3, 3)
    state["multi_modal_projector.mm_soft_emb_norm.weight"] = torch.zeros(3)
    text = pipe.text_encoder.config.to_dict()
    config = {"model_type": "gemma3", "text_config": text, "vision_config": {}, **HOSTILE_CONFIG}
    _write_shards(folder, "model", state, config)


def _jina_folder(folder: Path, pipe: NewbiePipeline) -> None:
    state = {"text_model.transformer." + k: v for k, v in jina_names(pipe, folder).items()}
    state["vision_model.blocks.0.attn.q_proj.weight"] = torch.zeros(3, 3)
    state["logit_scale"] = torch.tensor(2.6)
    config = {
        "model_type": "jina_clip",
        "text_config": {"embed_dim": 1024, "hf_model_name_or_path": "jinaai/jina-embeddings-v3"},
        **HOSTILE_CONFIG,
    }
    _write(folder, "model", state, config)


def _rest(folder: Path, pipe: NewbiePipeline) -> None:
    vae_config = {k: v for k, v in pipe.vae.config.items() if not k.startswith("_")}
    _write(
        folder / "vae", "diffusion_pytorch_model", dict(pipe.vae.state_dict()), {**vae_config, "_class_name": "Evil"}
    )
    pipe.scheduler.save_pretrained(folder / "scheduler")
    index = {"_class_name": ["pipeline", "NewbiePipeline"], "transformer": ["model", "NextDiT"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    for place in (folder, *(p for p in folder.iterdir() if p.is_dir())):
        for name in ("modeling.py", "pipeline.py", "model.py", "__init__.py", "tokenization.py"):
            (place / name).write_text(CANARY)


def _write(folder: Path, stem: str, state: dict[str, torch.Tensor], config: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in state.items()}, folder / f"{stem}.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))


def _write_shards(folder: Path, stem: str, state: dict[str, torch.Tensor], config: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = list(state)
    halves = {1: names[: len(names) // 2], 2: names[len(names) // 2 :]}
    weight_map = {}
    for number, part in halves.items():
        file = f"{stem}-{number:05d}-of-00002.safetensors"
        save_file({k: state[k] for k in part}, folder / file)
        weight_map.update(dict.fromkeys(part, file))
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(config))

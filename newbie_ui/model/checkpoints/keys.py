"""How the parts of NewBie are named in published files: tables, no code.

A `Layout` is one way of naming a part. `marker` is a name (after the prefix) that tells it from the others. `rows`
are replaced from top to bottom in each name, first match of each row; the result is our name. In a row

    "to_q"  → "qkv#0/3"             this tensor is the first of three that are stacked to ours
    "Wqkv"  → "q_proj|k_proj|v_proj"  this tensor is cut into three equal parts

`unused` are patterns of whole names that may be in the file and are not needed; `fill` are names that may be absent,
with the value they get instead; `neighbours` are endings of our names whose tensors lie one behind the other in
memory, so that they can be used as one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Rows = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Layout:
    """One way of naming a part's tensors."""

    name: str
    marker: str
    rows: Rows = ()
    fill: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PartKeys:
    """All known ways of naming one part."""

    part: str  # for people: "NewBie transformer"
    prefixes: tuple[str, ...]  # tried in this order; longer ones first
    layouts: tuple[Layout, ...]
    unused: tuple[str, ...] = ()
    strangers: tuple[tuple[str, str], ...] = ()  # (pattern of a name, the model that has it)
    neighbours: tuple[str, ...] = ()


# ---- transformer ---------------------------------------------------------------------------------------------

UNUSED_WEIGHT = {"norm_final.weight": 1.0}  # in the official file, read by nothing

DIFFUSERS_TRANSFORMER: Rows = (
    ("time_caption_embed.timestep_embedder.linear_1.", "t_embedder.mlp.0."),
    ("time_caption_embed.timestep_embedder.linear_2.", "t_embedder.mlp.2."),
    ("time_caption_embed.caption_embedder.", "cap_embedder."),
    ("time_caption_embed.clip_text_pooled_proj.", "clip_text_pooled_proj."),
    ("time_caption_embed.time_text_embed.", "time_text_embed."),
    ("norm_out.linear_1.", "final_layer.adaLN_modulation.1."),
    ("norm_out.linear_2.", "final_layer.linear."),
    (".attn.to_q.", ".attention.qkv#0/3."),
    (".attn.to_k.", ".attention.qkv#1/3."),
    (".attn.to_v.", ".attention.qkv#2/3."),
    (".attn.to_out.0.", ".attention.out."),
    (".attn.norm_q.", ".attention.q_norm."),
    (".attn.norm_k.", ".attention.k_norm."),
    (".norm1.linear.", ".adaLN_modulation.1."),
    (".norm1.norm.", ".attention_norm1."),
    (".norm1.", ".attention_norm1."),  # the context refiner, which has no modulation
    (".norm2.", ".attention_norm2."),
    (".feed_forward.linear_1.", ".feed_forward.w1."),
    (".feed_forward.linear_2.", ".feed_forward.w2."),
    (".feed_forward.linear_3.", ".feed_forward.w3."),
)

TRANSFORMER = PartKeys(
    part="NewBie transformer",
    prefixes=("model.diffusion_model.", "diffusion_model.", "transformer.", "module.", "_orig_mod.", "model.", ""),
    layouts=(
        Layout("official names", "layers.0.attention.qkv.weight", fill=UNUSED_WEIGHT),
        Layout("diffusers names", "layers.0.attn.to_q.weight", DIFFUSERS_TRANSFORMER, fill=UNUSED_WEIGHT),
    ),
    unused=(r"(text_encoders|vae|first_stage_model|cond_stage_model)\..*",),
    strangers=(
        (r".*double_blocks\.0\..*", "FLUX"),
        (r".*(input_blocks|down_blocks)\.0\..*", "Stable Diffusion"),
        (r".*joint_blocks\.0\..*", "Stable Diffusion 3"),
        (r".*lora_(A|B|up|down)\b.*", "a LoRA, not a whole model"),
        (r"(model\.)?layers\.0\.self_attn\..*", "a language model"),
        (r".*decoder\.(mid|mid_block)\..*", "a VAE: give it with --vae"),
    ),
    neighbours=(".feed_forward.w1.weight", ".feed_forward.w3.weight"),  # for `FeedForward.join`
)

# ---- Gemma3, text part: our names are those of transformers, which are the official ones -----------------------

GEMMA = PartKeys(
    part="Gemma3 text encoder",
    prefixes=(
        "model.language_model.",
        "language_model.model.",
        "language_model.",
        "gemma.transformer.model.",
        "model.",
        "",
    ),
    layouts=(Layout("Gemma names", "layers.0.pre_feedforward_layernorm.weight"),),
    unused=(
        r"(model\.)?(vision_tower|vision_model|multi_modal_projector)\..*",
        r"(.*\.)?lm_head\.weight",
        r"spiece_model",
        r"(.*\.)?rotary_emb(_local)?\.inv_freq",
    ),
    strangers=(
        (r".*(mixer\.Wqkv|post_mlp_layernorm)\..*", "Jina CLIP: give it with --clip"),
        (r".*attention\.qkv\..*", "a NewBie transformer: give it with --transformer"),
        (r".*encoder\.block\.0\..*", "T5"),
        (r".*self_attn\.q_proj\..*", "another language model"),
        (r".*decoder\.(mid|mid_block)\..*", "a VAE: give it with --vae"),
    ),
)

# ---- Jina CLIP v2, text tower: our names are those of transformers' JinaEmbeddingsV3Model ----------------------

OFFICIAL_JINA: Rows = (
    (".parametrizations.weight.original", ".weight"),  # weights that carry task adapters
    ("emb_ln.", "embeddings.LayerNorm."),
    ("encoder.layers.", "layers."),
    (".mixer.out_proj.", ".self_attn.o_proj."),
    (".mixer.Wqkv.", ".self_attn.q_proj|k_proj|v_proj."),
    (".norm1.", ".post_attention_layernorm."),
    (".norm2.", ".post_mlp_layernorm."),
)
ADAPTER = ".parametrizations.weight.0."  # followed by lora_A or lora_B

JINA = PartKeys(
    part="Jina CLIP v2 text encoder",
    prefixes=(
        "text_model.transformer.roberta.",
        "text_model.transformer.",
        "transformer.",
        "jina.transformer.model.",
        "roberta.",
        "model.",
        "",
    ),
    layouts=(
        Layout("Jina names", "encoder.layers.0.norm1.weight", OFFICIAL_JINA),
        Layout("transformers names", "layers.0.post_mlp_layernorm.weight"),
    ),
    unused=(
        r"(model\.)?vision_model\..*",
        r"logit_scale",
        r"(text|visual)_projection\..*",
        r"text_model\.(proj|pooler)\..*",
        r"(.*\.)?pooler\.dense\..*",
        r"(.*\.)?(position_ids|token_type_ids)",
        r"(.*\.)?inv_freq",
        r"lm_head\..*",
        r"spiece_model",
    ),
    strangers=(
        (r".*(gate_proj|pre_feedforward_layernorm)\..*", "Gemma: give it with --text-encoder"),
        (r"text_model\.encoder\..*", "another CLIP"),
        (r".*attention\.qkv\..*", "a NewBie transformer: give it with --transformer"),
    ),
)

# ---- FLUX autoencoder: our names are those of diffusers' AutoencoderKL ----------------------------------------

LDM_VAE: Rows = (
    (".mid.block_1.", ".mid_block.resnets.0."),
    (".mid.block_2.", ".mid_block.resnets.1."),
    (".mid.attn_1.norm.", ".mid_block.attentions.0.group_norm."),
    (".mid.attn_1.q.", ".mid_block.attentions.0.to_q."),
    (".mid.attn_1.k.", ".mid_block.attentions.0.to_k."),
    (".mid.attn_1.v.", ".mid_block.attentions.0.to_v."),
    (".mid.attn_1.proj_out.", ".mid_block.attentions.0.to_out.0."),
    ("encoder.down.", "encoder.down_blocks."),
    ("decoder.up.0.", "decoder.up_blocks.3."),
    ("decoder.up.1.", "decoder.up_blocks.2."),
    ("decoder.up.2.", "decoder.up_blocks.1."),
    ("decoder.up.3.", "decoder.up_blocks.0."),
    (".block.", ".resnets."),
    (".nin_shortcut.", ".conv_shortcut."),
    (".downsample.conv.", ".downsamplers.0.conv."),
    (".upsample.conv.", ".upsamplers.0.conv."),
    ("coder.norm_out.", "coder.conv_norm_out."),
)

VAE = PartKeys(
    part="FLUX autoencoder (VAE)",
    prefixes=("first_stage_model.", "vae.", ""),
    layouts=(
        Layout("diffusers names", "decoder.mid_block.resnets.0.conv1.weight"),
        Layout("LDM names", "decoder.mid.block_1.conv1.weight", LDM_VAE),
    ),
    unused=(r"(model\.diffusion_model|cond_stage_model|text_encoders|loss)\..*",),
    strangers=(
        (r".*attention\.qkv\..*", "a NewBie transformer: give it with --transformer"),
        (r".*decoder\.layers\..*", "a tiny autoencoder (TAESD)"),
    ),
)

# ---- scaled fp8, as ComfyUI writes it -------------------------------------------------------------------------

FP8_SCALES = (".scale_weight", ".weight_scale")  # stand in place of ".weight"; our weight = theirs · scale
FP8_EXTRAS = (r"(.*\.)?scaled_fp8", r".*\.(scale_input|input_scale)", r".*\.comfy_quant")
FP8_FORMATS = ("float8_e4m3fn", "float8_e5m2")

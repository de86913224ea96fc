"""The demo's networks: the real classes at tiny size, built from the recipe."""

from __future__ import annotations

from dataclasses import asdict

from diffusers import AutoencoderKL
from torch import nn
from transformers import Gemma3TextConfig, Gemma3TextModel, JinaEmbeddingsV3Config, JinaEmbeddingsV3Model

from newbie_ui.demo.config import Recipe
from newbie_ui.demo.tokenizer import SPECIAL, build_tokenizer
from newbie_ui.model.transformer import NewbieTransformer2DModel

PAD, EOS, BOS = (SPECIAL.index(name) for name in ("<pad>", "<eos>", "<bos>"))
HEAD = 64  # width of an attention head in both text encoders


def build_autoencoder(recipe: Recipe) -> AutoencoderKL:
    """FLUX's shape: 16 channels, an eighth of the size, no quant convolutions; no attention, so crops train it."""
    part = recipe.autoencoder
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(part.channels),
        up_block_types=("UpDecoderBlock2D",) * len(part.channels),
        block_out_channels=part.channels,
        layers_per_block=part.layers,
        latent_channels=part.latents,
        norm_num_groups=part.groups,
        sample_size=recipe.size,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
        scaling_factor=1.0,
        shift_factor=0.0,
    )


def build_transformer(recipe: Recipe) -> NewbieTransformer2DModel:
    model = NewbieTransformer2DModel(
        **asdict(recipe.transformer),
        in_channels=recipe.autoencoder.latents,
        cap_feat_dim=recipe.text.gemma_width,
        clip_text_dim=recipe.text.clip_width,
        clip_img_dim=None,
    )
    model.init_weights()
    return model


def build_gemma(recipe: Recipe) -> Gemma3TextModel:
    part = recipe.text
    config = Gemma3TextConfig(
        vocab_size=build_tokenizer().get_vocab_size(),
        hidden_size=part.gemma_width,
        intermediate_size=2 * part.gemma_width,
        num_hidden_layers=part.gemma_layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=HEAD,
        query_pre_attn_scalar=HEAD,
        layer_types=["full_attention"] * part.gemma_layers,
        max_position_embeddings=part.positions,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=BOS,
    )
    return Gemma3TextModel(config)


def build_clip(recipe: Recipe) -> JinaEmbeddingsV3Model:
    part = recipe.text
    config = JinaEmbeddingsV3Config(
        vocab_size=build_tokenizer().get_vocab_size(),
        hidden_size=part.clip_width,
        intermediate_size=2 * part.clip_width,
        num_hidden_layers=part.clip_layers,
        num_attention_heads=part.clip_width // HEAD,
        max_position_embeddings=part.positions,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=BOS,
    )
    return JinaEmbeddingsV3Model(config, add_pooling_layer=False)


def parameters_of(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())

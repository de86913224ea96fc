"""A whole NewBie pipeline at toy size: real classes, random weights, built in well under two seconds.

    from tests import tiny
    pipe = tiny.pipeline()          # a fresh NewbiePipeline, the same numbers every time
    folder = tiny.save(tmp_path)    # the same on disk, in NewBie's hub layout

Pictures are noise. 64×64 pixels and 2 steps take some 50 ms on one core.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Gemma3TextConfig,
    Gemma3TextModel,
    JinaEmbeddingsV3Config,
    JinaEmbeddingsV3Model,
    PreTrainedTokenizerFast,
)

from newbie_ui.model.pipeline import NewbiePipeline
from newbie_ui.model.transformer import NewbieTransformer2DModel

PROMPT = """<character_1>
<n>$character_1$</n>
<gender>1girl</gender>
<appearance>blue_hair, long_hair, red_eyes</appearance>
<position>left</position>
</character_1>
<character_2>
<n>$character_2$</n>
<gender>1girl</gender>
<appearance>pink_hair, twintails</appearance>
<position>right</position>
</character_2>
<general_tags>
<count>2girls</count>
<background>white_background</background>
</general_tags>"""

WIDTH, CLIP_WIDTH = 32, 16  # of the text encoders
SIDECAR = {
    "name": "Tiny",
    "licence": "Apache-2.0",
    "demo": True,
    "defaults": {"width": 64, "height": 64, "steps": 2, "guidance_scale": 4.0},
    "sizes": [[64, 64], [64, 128]],
    "trained_tokens": 512,
    "max_tokens": 1023,
}
TRANSFORMER = {
    "dim": 48,
    "n_layers": 3,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 1,
    "multiple_of": 32,
    "cap_feat_dim": WIDTH,
    "axes_dims": (8, 8, 8),
    "axes_lens": (1024, 64, 64),
    "clip_text_dim": CLIP_WIDTH,
    "clip_img_dim": CLIP_WIDTH,
}


def pipeline(seed: int = 0) -> NewbiePipeline:
    """Fresh weights from this seed, ready on the CPU in float32."""
    gemma_tokenizer, clip_tokenizer = tokenizers()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipe = NewbiePipeline(
            transformer=NewbieTransformer2DModel(**TRANSFORMER).eval(),
            text_encoder=gemma(len(gemma_tokenizer)),
            tokenizer=gemma_tokenizer,
            clip_model=clip(len(clip_tokenizer)),
            clip_tokenizer=clip_tokenizer,
            vae=vae(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
        )
    pipe.sidecar = {**SIDECAR, "defaults": dict(SIDECAR["defaults"])}
    pipe.set_progress_bar_config(disable=True)
    return pipe


def save(folder: Path, seed: int = 0) -> Path:
    """A model folder as a person would have it."""
    pipeline(seed).save_pretrained(folder)
    return Path(folder)


def gemma(vocabulary: int) -> Gemma3TextModel:
    config = Gemma3TextConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        sliding_window=64,
        max_position_embeddings=2048,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return Gemma3TextModel(config).eval()


def clip(vocabulary: int) -> JinaEmbeddingsV3Model:
    config = JinaEmbeddingsV3Config(
        vocab_size=vocabulary,
        hidden_size=CLIP_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=2048,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return JinaEmbeddingsV3Model(config, add_pooling_layer=False).eval()


def vae() -> AutoencoderKL:
    """FLUX-shaped: 16 channels, an eighth of the size, no quant convolutions."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8,) * 4,
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    ).eval()


def tokenizers() -> tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast]:
    """(Gemma's, CLIP's): whole words of the format, bytes for the rest. `<bos> text` and `<s> text </s>`."""
    return (
        _tokenizer({"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}, "<bos> $A"),
        _tokenizer({"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}, "<s> $A </s>"),
    )


def _tokenizer(special: dict[str, str], template: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer.from_str(_trained_bpe(tuple(special.values())))
    ids = [(token, tokenizer.token_to_id(token)) for token in special.values()]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=2048, **special)


@lru_cache
def _trained_bpe(special: tuple[str, ...]) -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([PROMPT], trainer)
    return tokenizer.to_str()

"""Models to measure with: diffusers' own Lumina2 transformer in NewBie's place, and full size without a checkpoint.

Speed does not depend on the values of weights, so random ones will do. The reference is what a diffusers user gets
today: `Lumina2Transformer2DModel` at the same width and depth, eager, captions padded and masked (NewBie's pooled
CLIP branch, under 0.1 % of the work, is left out). Its pictures mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, Lumina2Transformer2DModel
from torch import Tensor, nn
from transformers import Gemma3TextConfig, Gemma3TextModel, JinaEmbeddingsV3Config, JinaEmbeddingsV3Model

from newbie_ui.model.checkpoint import DEMO, load_tokens, locate
from newbie_ui.model.pipeline import NewbiePipeline
from newbie_ui.model.transformer import NewbieTransformer2DModel

GEMMA = {
    "vocab_size": 262208,
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "num_hidden_layers": 34,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "sliding_window": 1024,
}
FLUX_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 16,
    "sample_size": 1024,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}


class Lumina2InNewbiesPlace(nn.Module):
    """diffusers' transformer behind the interface that `denoise` uses. Everything is computed at every step."""

    is_cache_enabled = packs = False

    def __init__(self, newbie: NewbieTransformer2DModel):
        super().__init__()
        c = self.config = newbie.config
        self._hf_hook = SimpleNamespace(execution_device=None)  # `denoise` then calls `forward` alone
        self.attn_processors: dict = {}
        self.inner = Lumina2Transformer2DModel(
            hidden_size=c.dim,
            num_layers=c.n_layers,
            num_refiner_layers=c.n_refiner_layers,
            num_attention_heads=c.n_heads,
            num_kv_heads=c.n_kv_heads,
            multiple_of=c.multiple_of,
            ffn_dim_multiplier=c.ffn_dim_multiplier,
            axes_dim_rope=tuple(c.axes_dims),
            axes_lens=tuple(c.axes_lens),
            cap_feat_dim=c.cap_feat_dim,
        ).requires_grad_(False)

    @property
    def dtype(self) -> torch.dtype:
        return self.inner.dtype

    def compile_repeated_blocks(self, **ignored: object) -> None:
        """As a whole, with torch's defaults: diffusers' class refuses the block, and breaks `fullgraph`."""
        self.inner.compile()

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor | None,
        pooled_projections: Tensor | None,
        return_dict: bool = False,
    ) -> tuple[Tensor]:
        mask = encoder_attention_mask
        if mask is None:
            mask = torch.ones(encoder_hidden_states.shape[:2], dtype=torch.bool, device=hidden_states.device)
        return self.inner(hidden_states, timestep, encoder_hidden_states, mask.long(), return_dict=False)


def with_reference(pipe: NewbiePipeline, device: torch.device | None = None) -> NewbiePipeline:
    """The pipeline with diffusers' transformer in place of ours, guided prompts in one padded batch.

    It is made on `device`, which is quick on a card, and moved to where ours was.
    """
    newbie = pipe.transformer
    home, dtype = newbie.device, newbie.dtype
    with torch.device(device or home):
        reference = Lumina2InNewbiesPlace(newbie).to(dtype).eval()
    pipe.transformer = reference.to(home)
    pipe.split_guidance = False
    return pipe


def random_pipeline(dtype: torch.dtype, device: torch.device) -> NewbiePipeline:
    """NewBie at full size with random weights, on the processor like any model that was read.

    Each part is made on `device`, which is quick there. The tokenizers are the demo's: their ids fit a larger
    vocabulary.
    """
    demo = locate(DEMO)
    makers = {
        "transformer": NewbieTransformer2DModel,
        "text_encoder": lambda: Gemma3TextModel(Gemma3TextConfig(**GEMMA)),
        "clip_model": lambda: JinaEmbeddingsV3Model(JinaEmbeddingsV3Config(), add_pooling_layer=False),
        "vae": lambda: AutoencoderKL(**FLUX_VAE),
    }
    return NewbiePipeline(
        **{name: _made(make, dtype, device) for name, make in makers.items()},
        tokenizer=load_tokens(demo, "text_encoder"),
        clip_tokenizer=load_tokens(demo, "clip_model"),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
    )


def _made(make: Callable[[], nn.Module], dtype: torch.dtype, device: torch.device) -> nn.Module:
    torch.manual_seed(0)  # the same weights whenever they are made, in 8 bit too
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            part = make()
    finally:
        torch.set_default_dtype(default)
    part.eval().requires_grad_(False)
    return part if device.type == "meta" else part.to("cpu")

"""The transformer of NewBie-image-Exp0.1 (a Next-DiT with pooled CLIP text), as a diffusers model.

Promises: parameter names and numbers of the official code; no host synchronisation and no complex numbers in
`forward`, so it compiles in one graph; what depends only on the prompt or only on the schedule can be computed
once (`prepare_caption`, `prepare_rotary`, `prepare_modulation`) and handed in. It knows neither text, guidance nor
schedulers: it maps (latents, time, conditioning) to a velocity.

How a picture passes through:

    latents (B, 16, h, w) ─ patches 2×2 ─ x_embedder ─ noise_refiner ×2 (modulated) ─┐
    Gemma features (B, L, 2560) ─ cap_embedder ─ context_refiner ×2 ─────────────────┴→ [image | caption | padding]
    time, pooled text ─ t_embedder, clip_text_pooled_proj, time_text_embed ─ adaLN ──→ layers ×36 ─ final_layer
                                                                                     → velocity (B, 16, h, w)

Time t runs from 0 (noise) to 1 (image); the velocity is `image - noise`. Attention does not care about the order of
tokens once their positions are given, so padding goes last and all shapes are static.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models._modeling_parallel import ContextParallelInput, ContextParallelOutput
from diffusers.models.attention import AttentionMixin
from diffusers.models.cache_utils import CacheMixin
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from newbie_ui.errors import CheckpointError
from newbie_ui.model import products
from newbie_ui.model.attention import PADDING_METHODS, Rotary
from newbie_ui.model.blocks import NewbieBlock, NewbieRefinerBlock, RMSNorm
from newbie_ui.model.packing import Packing, make_packing

THETA = 10000.0  # base of the rotary frequencies and of the time embedding
TIME_CHANNELS = 256


@dataclass(frozen=True)
class Caption:
    """A batch of prompts as the joint layers take them: `prepare_caption` makes it once a picture."""

    tokens: Tensor  # (B, L, dim), through the context refiner
    lengths: Tensor  # (B,) real tokens of each
    mask: Tensor | None  # (B, L) True for real tokens; None when there is no padding
    pooled: Tensor | None  # (B, clip_text_dim), projected; None for a model or call without pooled text


@dataclass(frozen=True)
class Modulation:
    """The adaLN outputs of all blocks at one time: `prepare_modulation` makes them for a whole schedule."""

    noise_refiner: Sequence[Tensor | None]  # (B, 4·dim) a block; None where the block shall compute it itself
    layers: Sequence[Tensor | None]  # (B, 4·dim) a block
    final: Tensor | None  # (B, dim)


class TimeEmbedder(nn.Module):
    """cos and sin of t times 128 frequencies, then two layers. Of t itself, not of 1000·t."""

    def __init__(self, dim: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(TIME_CHANNELS, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, timestep: Tensor, dtype: torch.dtype) -> Tensor:
        half = TIME_CHANNELS // 2
        frequencies = torch.exp(-math.log(THETA) / half * torch.arange(half, device=timestep.device).float())
        angles = timestep.float()[:, None] * frequencies
        return self.mlp(torch.cat((angles.cos(), angles.sin()), dim=-1).to(dtype))


class FinalLayer(nn.Module):
    """LayerNorm · (1 + scale) → patches."""

    def __init__(self, dim: int, c_dim: int, out_dim: int):
        super().__init__()
        self.norm_final = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.linear = nn.Linear(dim, out_dim)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(c_dim, dim))

    def forward(self, hidden_states: Tensor, c: Tensor | None = None, modulation: Tensor | None = None) -> Tensor:
        scale = self.adaLN_modulation(c) if modulation is None else modulation
        x = self.norm_final(hidden_states) * (1 + scale.unsqueeze(1))
        return self.linear(x.to(scale.dtype))


class NewbieTransformer2DModel(ModelMixin, ConfigMixin, AttentionMixin, CacheMixin, PeftAdapterMixin):
    """NextDiT_3B_GQA_patch2_Adaln_Refiner_WHIT_CLIP; the defaults are the published model (3.486 B parameters).

    `clip_img_dim` is unused, `norm_final` too: both are in the published files.

    Attributes:
        residual_dtype: precision of the stream that all blocks add to, and of norms and modulation. float32 halves
            the error of bfloat16, or better (docs/model.md); None takes the latents' own and moves fewer bytes.
    """

    _no_split_modules: ClassVar = ["NewbieRefinerBlock", "NewbieBlock"]
    _repeated_blocks: ClassVar = ["NewbieBlock"]
    _skip_layerwise_casting_patterns: ClassVar = ["x_embedder", "t_embedder", "norm"]
    _cp_plan: ClassVar = {
        "layers.0": {"hidden_states": ContextParallelInput(split_dim=1, expected_dims=3)},
        "layers.*": {
            "rotary": [ContextParallelInput(split_dim=1, expected_dims=3)] * 2,
            "token_mask": ContextParallelInput(split_dim=1, expected_dims=2),
        },
        "final_layer": ContextParallelOutput(gather_dim=1, expected_dims=3),
    }

    @register_to_config
    def __init__(
        self,
        patch_size: int = 2,
        in_channels: int = 16,
        dim: int = 2304,
        n_layers: int = 36,
        n_refiner_layers: int = 2,
        n_heads: int = 24,
        n_kv_heads: int | None = 8,
        multiple_of: int = 256,
        ffn_dim_multiplier: float | None = None,
        norm_eps: float = 1e-5,
        qk_norm: bool = True,
        cap_feat_dim: int = 2560,
        axes_dims: Sequence[int] = (32, 32, 32),
        axes_lens: Sequence[int] = (1024, 512, 512),
        clip_text_dim: int | None = 1024,
        clip_img_dim: int | None = 1024,
    ):
        super().__init__()
        if sum(axes_dims) != dim // n_heads:
            raise ValueError(f"axes_dims {list(axes_dims)} must add up to the head width {dim // n_heads}.")
        c_dim = min(dim, 1024)
        block = {
            "dim": dim,
            "heads": (n_heads, n_kv_heads or n_heads),
            "ffn_dim": _round_up(int(4 * dim * (ffn_dim_multiplier or 1)), multiple_of),
            "eps": norm_eps,
            "qk_norm": qk_norm,
        }
        self.x_embedder = nn.Linear(patch_size**2 * in_channels, dim)
        self.t_embedder = TimeEmbedder(c_dim)
        self.cap_embedder = nn.Sequential(RMSNorm(cap_feat_dim, eps=norm_eps), nn.Linear(cap_feat_dim, dim))
        if clip_text_dim:
            self.clip_text_pooled_proj = nn.Sequential(
                RMSNorm(clip_text_dim, eps=1e-6), nn.Linear(clip_text_dim, clip_text_dim)
            )
            self.time_text_embed = nn.Sequential(nn.SiLU(), nn.Linear(c_dim + clip_text_dim, c_dim))
        refiners = range(n_refiner_layers)
        self.noise_refiner = nn.ModuleList(NewbieRefinerBlock(**block, c_dim=c_dim) for _ in refiners)
        self.context_refiner = nn.ModuleList(NewbieRefinerBlock(**block, c_dim=None) for _ in refiners)
        self.layers = nn.ModuleList(NewbieBlock(**block, c_dim=c_dim) for _ in range(n_layers))
        self.norm_final = RMSNorm(dim, eps=norm_eps)
        self.final_layer = FinalLayer(dim, c_dim, patch_size**2 * in_channels)
        self.residual_dtype: torch.dtype | None = torch.float32

    # ---- the whole way ---------------------------------------------------------------------------------------

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        pooled_projections: Tensor | None = None,
        *,
        caption: Caption | None = None,
        rotary: Rotary | None = None,
        modulation: Modulation | None = None,
        packing: Packing | None = None,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """The velocity (B, in_channels, h, w), `image - noise`, at one time.

        Args:
            hidden_states: noisy latents (B, in_channels, h, w), scaled and shifted as the VAE's config says.
            timestep: (B,) in [0, 1]; 0 is noise, 1 the image.
            encoder_hidden_states: Gemma features (B, L, cap_feat_dim), padding on the right.
            encoder_attention_mask: (B, L), True for real tokens, at least one in each row; None: no padding.
            pooled_projections: CLIP text features (B, clip_text_dim) or None.
            caption: `prepare_caption(...)`, in place of the three arguments above.
            rotary: `prepare_rotary(caption, h, w)`, to reuse it for all steps.
            modulation: one item of `prepare_modulation(...)`, in place of `timestep`.
            packing: `prepare_packing(caption, h, w, …)`: the joint layers see all pictures in one row (see `packs`).
        """
        if hidden_states.dtype == torch.float16:
            raise ValueError("float16 overflows in this model. Use bfloat16, or float32 where there is no bfloat16.")
        *_, height, width = hidden_states.shape
        if caption is None:
            caption = self.prepare_caption(encoder_hidden_states, encoder_attention_mask, pooled_projections)
        if rotary is None:
            rotary = self.prepare_rotary(caption, height, width)
        c = None
        if modulation is None:
            c = self.embed_time(timestep, caption.pooled, hidden_states.dtype)
            modulation = Modulation((None,) * len(self.noise_refiner), (None,) * len(self.layers), None)

        x = self.x_embedder(self._patchify(hidden_states))  # (B, N, dim)
        x = x.to(self.residual_dtype or x.dtype)
        n_image = x.shape[1]
        # Copied, so that the refiners' graph does not depend on the length of the caption
        image_rotary = tuple(t[:, :n_image].clone(memory_format=torch.contiguous_format) for t in rotary)
        turns = self._turns(image_rotary)
        for block, ready in zip(self.noise_refiner, modulation.noise_refiner):
            x = block(x, rotary=image_rotary, c=c, modulation=ready, turns=turns)

        x = torch.cat((x, caption.tokens.to(x.dtype)), dim=1)  # [image | caption | padding]
        mask = caption.mask if caption.mask is None else F.pad(caption.mask, (n_image, 0), value=True)
        if packing is not None:
            x, rotary, mask = packing.packed(x), tuple(packing.packed(table) for table in rotary), None
        given = {"rotary": rotary, "token_mask": mask, "packing": packing, "turns": self._turns(rotary)}
        x = self._through_layers(x, c, modulation.layers, given)

        if packing is not None:
            x = packing.images(x)
        x = self.final_layer(x, c=c, modulation=modulation.final)
        velocity = self._unpatchify(x[:, :n_image], height, width)
        return Transformer2DModelOutput(sample=velocity) if return_dict else (velocity,)

    def _turns(self, rotary: Rotary) -> Tensor | None:
        """These angles as attention's own products want them, if they are used."""
        return products.turning_table(rotary) if self.layers[0].attention.joined and self.packs else None

    def _through_layers(
        self, x: Tensor, c: Tensor | None, modulations: Sequence[Tensor | None], given: Mapping[str, Any]
    ) -> Tensor:
        if c is not None or not self._chains(x):
            for block, ready in zip(self.layers, modulations):
                x = block(x, c=c, modulation=ready, **given)
            return x
        firsts = [block.first_norm(ready) for block, ready in zip(self.layers, modulations)]
        packing = given["packing"]
        normed = firsts[0].of(x, self.config.norm_eps, None if packing is None else packing.owner)
        # The last one norms in vain, so that one compiled graph serves all
        for block, ready, following in zip(self.layers, modulations, (*firsts[1:], firsts[0])):
            x, normed = block(x, modulation=ready, normed=normed, following=following, **given)
        return x

    def _chains(self, x: Tensor) -> bool:
        """Whether each joint layer may do the first norm of the next: not where somebody stands between them."""
        if self.is_cache_enabled or not all(block.can_fuse(x) for block in self.layers):
            return False
        return all(block.attention.processor._parallel_config is None for block in self.layers)

    # ---- what need not be done at every step ---------------------------------------------------------------------

    def prepare_caption(self, features: Tensor, mask: Tensor | None = None, pooled: Tensor | None = None) -> Caption:
        """Embed and refine the caption: depends on the prompt alone. Shapes as in `forward`."""
        batch, length, _ = features.shape
        if length > self.config.axes_lens[0]:
            raise ValueError(f"{length} caption tokens do not fit the {self.config.axes_lens[0]} rotary positions.")
        mask = None if mask is None else mask.bool()
        if mask is None:
            lengths = torch.full((batch,), length, device=features.device)
        else:
            lengths = mask.sum(dim=1)
        x = self.cap_embedder(features)
        rotary = self._rotary(_caption_positions(lengths, length))
        for block in self.context_refiner:
            x = block(x, rotary=rotary, token_mask=mask)
        if pooled is not None:
            pooled = self.clip_text_pooled_proj(pooled)
        return Caption(tokens=x, lengths=lengths, mask=mask, pooled=pooled)

    def prepare_rotary(self, caption: Caption, height: int, width: int) -> Rotary:
        """cos and sin of all joint tokens, for latents of this height and width: the same at every step."""
        rows, columns = height // self.config.patch_size, width // self.config.patch_size
        if rows > self.config.axes_lens[1] or columns > self.config.axes_lens[2]:
            raise ValueError(f"Latents of {height}×{width} do not fit the rotary positions {self.config.axes_lens}.")
        image = _image_positions(caption.lengths, rows, columns)
        return self._rotary(torch.cat((image, _caption_positions(caption.lengths, caption.tokens.shape[1])), dim=1))

    @property
    def packs(self) -> bool:
        """Whether the attention kernel in use takes several pictures in one row."""
        processors = [block.attention.processor for block in self.layers]
        return all(each.takes_packing and each._parallel_config is None for each in processors)

    def prepare_packing(self, caption: Caption, height: int, width: int, room: int) -> Packing:
        """How the tokens of these captions and latents of this height and width fit into one row.

        Args:
            room: for the real tokens of all captions together, at most as many as the captions with their padding.
        """
        patches = (height // self.config.patch_size) * (width // self.config.patch_size)
        return make_packing(caption.lengths, caption.tokens.shape[1], patches, room)

    def prepare_modulation(
        self, timesteps: Tensor, pooled: Tensor | None, batch: int, dtype: torch.dtype
    ) -> list[Modulation]:
        """The adaLN outputs of every block for every time of a schedule, so that no step needs their weights.

        Args:
            timesteps: (T,) in [0, 1].
            pooled: `Caption.pooled` (B, clip_text_dim) or None.
            batch: B.
            dtype: the latents' dtype in `forward`.
        """
        steps = len(timesteps)
        times = timesteps.repeat_interleave(batch)  # (T·B,), step by step
        c = self.embed_time(times, None if pooled is None else pooled.repeat(steps, 1), dtype)
        blocks = (*self.noise_refiner, *self.layers, self.final_layer)
        by_block = [block.adaLN_modulation(c).unflatten(0, (steps, batch)) for block in blocks]
        n = len(self.noise_refiner)
        return [Modulation(step[:n], step[n:-1], step[-1]) for step in zip(*by_block)]

    def embed_time(self, timestep: Tensor, pooled: Tensor | None, dtype: torch.dtype) -> Tensor:
        """c (B, min(dim, 1024)): what the adaLN of all blocks is computed from."""
        c = self.t_embedder(timestep, dtype)
        return c if pooled is None else self.time_text_embed(torch.cat((c, pooled.to(dtype)), dim=-1))

    # ---- shapes and positions --------------------------------------------------------------------------------

    def _patchify(self, latents: Tensor) -> Tensor:
        """(B, C, h, w) → (B, N, p·p·C); within a patch: row, column, channel."""
        p = self.config.patch_size
        x = latents.unflatten(3, (-1, p)).unflatten(2, (-1, p))  # (B, C, rows, p, columns, p)
        return x.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)

    def _unpatchify(self, patches: Tensor, height: int, width: int) -> Tensor:
        p = self.config.patch_size
        x = patches.unflatten(2, (p, p, -1)).unflatten(1, (height // p, width // p))  # (B, rows, columns, p, p, C)
        return x.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)

    def _rotary(self, positions: Tensor) -> Rotary:
        """(cos, sin) (B, S, head_dim / 2) of positions (B, S, 3). The angles are exact to float32's last bit."""
        exact = torch.float32 if positions.device.type == "mps" else torch.float64
        angles = []
        for axis, axis_dim in enumerate(self.config.axes_dims):
            pairs = torch.arange(0, axis_dim, 2, dtype=exact, device=positions.device)
            angles.append(positions[..., axis, None].to(exact) * THETA ** (-pairs / axis_dim))
        angle = torch.cat(angles, dim=-1).float()
        return angle.cos(), angle.sin()

    # ---- settings --------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, source, **options):
        """As in diffusers, but a missing or unknown tensor is an error instead of a warning. Official names only.

        `newbie_ui.model.checkpoint.load_part` reads every layout, each in one file or many.

        Raises:
            CheckpointError: the weights are not this model's.
        """
        model, info = super().from_pretrained(source, **{**options, "output_loading_info": True})
        for says, names in (("lacks", info["missing_keys"]), ("has unknown", info["unexpected_keys"])):
            if names:
                raise CheckpointError(
                    f"The transformer in {source} (read as: official names) {says} {', '.join(sorted(names)[:3])}"
                    f"{' …' if len(names) > 3 else ''} ({len(names)} in all). Download it again, or load it with "
                    "newbie_ui.model.checkpoint, which knows the other layouts."
                )
        return (model, info) if options.get("output_loading_info") else model

    def set_padding_method(self, method: str) -> None:
        """How attention ignores padding: "mask", "channels" or "auto" (see `NewbieAttnProcessor`)."""
        if method not in PADDING_METHODS:
            raise ValueError(f"Padding method {method!r} is unknown. Use one of: {', '.join(PADDING_METHODS)}.")
        for processor in self.attn_processors.values():
            processor.padding = method

    def enable_cache(self, config) -> None:
        """As in diffusers (FirstBlockCacheConfig, MagCacheConfig, …). Run `forward` inside `cache_context(name)`."""
        from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry

        TransformerBlockRegistry.register(NewbieBlock, TransformerBlockMetadata(return_hidden_states_index=0))
        super().enable_cache(config)

    def init_weights(self) -> None:
        """Start of a training: Xavier for what mixes, zero for what opens (adaLN, output), so all blocks are inert."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for layer in (self.t_embedder.mlp[0], self.t_embedder.mlp[2]):
            nn.init.normal_(layer.weight, std=0.02)
        for block in (*self.noise_refiner, *self.layers, self.final_layer):
            nn.init.zeros_(block.adaLN_modulation[1].weight)
        nn.init.zeros_(self.final_layer.linear.weight)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _caption_positions(lengths: Tensor, length: int) -> Tensor:
    """(B, L, 3): token k stands at (k, 0, 0)."""
    k = torch.arange(length, device=lengths.device).expand(len(lengths), -1)
    return torch.stack((k, torch.zeros_like(k), torch.zeros_like(k)), dim=-1)


def _image_positions(lengths: Tensor, rows: int, columns: int) -> Tensor:
    """(B, rows·columns, 3): the patch at row r, column s stands at (caption length, r, s)."""
    r = torch.arange(rows, device=lengths.device).repeat_interleave(columns).expand(len(lengths), -1)
    s = torch.arange(columns, device=lengths.device).repeat(rows).expand(len(lengths), -1)
    return torch.stack((lengths[:, None].expand_as(r), r, s), dim=-1)

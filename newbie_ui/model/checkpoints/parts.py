"""The parts of a pipeline, each built without memory and then filled from its file.

Promises: one function a part, from `Weights` and an optional config to a `Prepared` part that is known to fit before
any of its tensors is read; filled, it is a module in eval mode. Where a file comes without a config, its sizes are
read from the shapes and the constants of NewBie's parts are added. No class name, code or pattern of a config is ever
used to import anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import Gemma3TextConfig, Gemma3TextModel, JinaEmbeddingsV3Config, JinaEmbeddingsV3Model
from transformers.initialization import no_init_weights

from newbie_ui.errors import CheckpointError
from newbie_ui.model.checkpoints.keys import GEMMA, JINA, TRANSFORMER, VAE
from newbie_ui.model.checkpoints.plan import Plan, check_plan, fill_module, make_plan
from newbie_ui.model.checkpoints.weights import Weights
from newbie_ui.model.transformer import NewbieTransformer2DModel

Config = Mapping[str, Any]
Shapes = Mapping[str, tuple[int, ...]]
OnBytes = Callable[[int], None]
OFFICIAL_SHIFT = 6.0
FLUX_SCALING, FLUX_SHIFT = 0.3611, 0.1159
# What the libraries raise when a config's values make no sense.
NONSENSE = (StrictDataclassError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)
TRANSFORMER_DEFAULTS = {"patch_size": 2, "in_channels": 16, "norm_eps": 1e-5, "axes_lens": (1024, 512, 512)}
DIFFUSERS_CONFIG_NAMES = {  # diffusers' name of a setting → ours
    "hidden_size": "dim",
    "num_layers": "n_layers",
    "num_refiner_layers": "n_refiner_layers",
    "num_attention_heads": "n_heads",
    "num_kv_heads": "n_kv_heads",
    "axes_dim_rope": "axes_dims",
}


@dataclass(frozen=True)
class Prepared:
    """A part whose file fits: its module without memory, and where each of its tensors comes from."""

    module: nn.Module
    plan: Plan
    with_adapters: bool = False

    def fill(
        self, dtype: torch.dtype, device: str | torch.device = "cpu", on_bytes: OnBytes | None = None
    ) -> nn.Module:
        """Read the weights, converted to dtype. The module is ready to run then."""
        if hasattr(self.module.config, "dtype"):  # transformers keeps it in the config too
            self.module.config.dtype = dtype
        fill_module(self.module, self.plan, dtype, device, on_bytes, with_adapters=self.with_adapters)
        return self.module.to(device).eval().requires_grad_(False)  # buffers move; weights are there already


def prepare_transformer(weights: Weights, config: Config | None) -> Prepared:
    """The transformer from official or diffusers names. Raises CheckpointError."""
    plan = make_plan(weights, TRANSFORMER)
    settings = transformer_config(plan, config or {})
    return _prepared(plan, lambda: NewbieTransformer2DModel(**settings))


def prepare_gemma(weights: Weights, config: Config | None) -> Prepared:
    """The text part of Gemma3; a vision part in the file is left out. Raises CheckpointError."""
    plan = make_plan(weights, GEMMA)
    settings = gemma_config(plan, config)
    return _prepared(plan, lambda: Gemma3TextModel(Gemma3TextConfig(**settings)))


def prepare_jina(weights: Weights, config: Config | None, adapter: bool = False) -> Prepared:
    """The text tower of Jina CLIP v2, without a pooler. Raises CheckpointError.

    Args:
        adapter: add the `retrieval.query` adapter that Jina's own code uses by default; NewBie is taken to have been
            trained without it.
    """
    plan = make_plan(weights, JINA)
    if adapter and not plan.adapters:
        raise CheckpointError(f"{weights.path} holds no task adapter. Load it without one.")
    settings = jina_config(plan, config)
    return _prepared(
        plan, lambda: JinaEmbeddingsV3Model(JinaEmbeddingsV3Config(**settings), add_pooling_layer=False), adapter
    )


def prepare_vae(weights: Weights, config: Config | None) -> Prepared:
    """The FLUX autoencoder from diffusers or LDM names. Raises CheckpointError."""
    plan = make_plan(weights, VAE)
    settings = vae_config(plan) if config is None else _without_private(config)
    return _prepared(plan, lambda: AutoencoderKL.from_config(settings))


def load_scheduler(config: Config | None) -> FlowMatchEulerDiscreteScheduler:
    """The scheduler that a checkpoint names, or the official one (shift 6). Raises CheckpointError."""
    known = FlowMatchEulerDiscreteScheduler().config
    given = {k: v for k, v in (config or {"shift": OFFICIAL_SHIFT}).items() if k in known and not k.startswith("_")}
    try:
        return FlowMatchEulerDiscreteScheduler(**given)
    except (*NONSENSE, ImportError) as error:
        raise CheckpointError(
            f"The model's scheduler/scheduler_config.json cannot be used: {_reason(error)} Download it again."
        ) from error


def _prepared(plan: Plan, build: Callable[[], nn.Module], with_adapters: bool = False) -> Prepared:
    """Build without memory and check that every tensor has its place. Tables that are computed are made for real."""
    try:
        with no_init_weights(), init_empty_weights(include_buffers=False):
            module = build()
    except NONSENSE as error:
        raise CheckpointError(
            f"The config.json beside {plan.weights.path} cannot be used: {_reason(error)} Download it again."
        ) from error
    check_plan(plan, {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()})
    return Prepared(module, plan, with_adapters)


def _reason(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
    return f"{first[:200]}."


# ---- sizes ---------------------------------------------------------------------------------------------------


def transformer_config(plan: Plan, given: Config) -> dict[str, Any]:
    """Arguments of the transformer: sizes from the shapes, the rest as given. They may not contradict each other."""
    shapes = plan.shapes
    settings = {DIFFUSERS_CONFIG_NAMES.get(k, k): v for k, v in given.items() if not k.startswith("_")}
    known = {**TRANSFORMER_DEFAULTS, **{k: v for k, v in settings.items() if k in (*TRANSFORMER_DEFAULTS, "axes_dims")}}
    dim = _need(plan, "x_embedder.weight")[0]
    head_dim = _need(plan, "layers.0.attention.q_norm.weight")[0]
    n_heads = _need(plan, "layers.0.attention.out.weight")[1] // head_dim
    n_kv_heads = (_need(plan, "layers.0.attention.qkv.weight")[0] // head_dim - n_heads) // 2
    sizes = {
        "dim": dim,
        "n_layers": _count(shapes, "layers"),
        "n_refiner_layers": _count(shapes, "noise_refiner"),
        "n_heads": n_heads,
        "n_kv_heads": n_kv_heads,
        "cap_feat_dim": _need(plan, "cap_embedder.0.weight")[0],
        "clip_text_dim": shapes.get("clip_text_pooled_proj.0.weight", (None,))[0],
    }
    for key, value in sizes.items():
        if settings.get(key, value) not in (value, None):
            raise CheckpointError(
                f"The {plan.describe()} has {key} {value}, but its config.json says {settings[key]}. "
                "They do not belong together: download the model again."
            )
    known.setdefault("axes_dims", (head_dim // 3,) * 3)
    return {**known, **sizes, **_ffn(dim, _need(plan, "layers.0.feed_forward.w1.weight")[0])}


def _ffn(dim: int, width: int) -> dict[str, Any]:
    """Which rounding of 4 · dim gives this width. Both settings only matter through it."""
    if width == -(-4 * dim // 256) * 256:
        return {"multiple_of": 256, "ffn_dim_multiplier": None}
    return {"multiple_of": 1, "ffn_dim_multiplier": (width + 0.5) / (4 * dim)}


def gemma_config(plan: Plan, given: Config | None) -> dict[str, Any]:
    """Arguments of Gemma3TextConfig: those of a config.json (its text part), or Gemma3-4B's with the file's sizes."""
    if given is not None:
        text = given.get("text_config", given)
        kind = text.get("model_type", "gemma3_text") if isinstance(text, Mapping) else text
        if kind not in ("gemma3_text", "gemma3"):
            raise CheckpointError(f"The config beside {plan.weights.path} is of {kind!r}; NewBie needs gemma3_text.")
        return _without_private(text)
    vocab, hidden = _need(plan, "embed_tokens.weight")
    head_dim = _need(plan, "layers.0.self_attn.q_norm.weight")[0]
    return {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "intermediate_size": _need(plan, "layers.0.mlp.gate_proj.weight")[0],
        "num_hidden_layers": _count(plan.shapes, "layers"),
        "num_attention_heads": _need(plan, "layers.0.self_attn.q_proj.weight")[0] // head_dim,
        "num_key_value_heads": _need(plan, "layers.0.self_attn.k_proj.weight")[0] // head_dim,
        "head_dim": head_dim,
        "query_pre_attn_scalar": head_dim,
        "sliding_window": 1024,  # every sixth layer is global: transformers' default
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
    }


def jina_config(plan: Plan, given: Config | None) -> dict[str, Any]:
    """Arguments of JinaEmbeddingsV3Config. Jina CLIP's own config.json names no sizes: they come from the file."""
    if given is not None and given.get("model_type") == JinaEmbeddingsV3Config.model_type:
        return _without_private(given)
    vocab, hidden = _need(plan, "embeddings.word_embeddings.weight")
    return {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "intermediate_size": _need(plan, "layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": _count(plan.shapes, "layers"),
        "num_attention_heads": max(1, hidden // 64),
    }


def vae_config(plan: Plan) -> dict[str, Any]:
    """Arguments of AutoencoderKL for a file without a config: FLUX's constants, the file's sizes."""
    shapes = plan.shapes
    levels = _count(shapes, "encoder.down_blocks")
    return {
        "in_channels": _need(plan, "encoder.conv_in.weight")[1],
        "out_channels": _need(plan, "decoder.conv_out.weight")[0],
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": tuple(
            _need(plan, f"encoder.down_blocks.{i}.resnets.0.conv1.weight")[0] for i in range(levels)
        ),
        "layers_per_block": _count(shapes, "encoder.down_blocks.0.resnets"),
        "latent_channels": _need(plan, "decoder.conv_in.weight")[1],
        "norm_num_groups": 32,
        "sample_size": 1024,
        "scaling_factor": FLUX_SCALING,
        "shift_factor": FLUX_SHIFT,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "force_upcast": True,
    }


def _need(plan: Plan, name: str) -> tuple[int, ...]:
    if name not in plan.shapes:
        raise CheckpointError(
            f"The {plan.describe()} lacks {name}. The download is not complete, or the file is of another model: "
            "download it again."
        )
    return plan.shapes[name]


def _count(shapes: Shapes, group: str) -> int:
    """How many numbered members a group has: layers.0, layers.1, … → the highest number + 1."""
    pattern = re.compile(re.escape(group) + r"\.(\d+)\.")
    return 1 + max((int(m[1]) for m in map(pattern.match, shapes) if m), default=-1)


def _without_private(config: Config) -> dict[str, Any]:
    """Settings only: nothing that a library would act on (code references, class names, stored paths)."""
    acted_on = ("auto_map", "architectures", "model_type", "torch_dtype", "dtype", "transformers_version")
    return {k: v for k, v in config.items() if not k.startswith("_") and k not in (*acted_on, "quantization_config")}

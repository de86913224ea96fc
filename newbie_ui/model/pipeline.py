"""NewBie as a diffusers pipeline: prompts in, pictures out, every stage callable by itself.

Promises: `encode`, `prepare_latents`, `denoise`, `decode` are the whole way and keep no state between pictures;
`__call__` strings them together as diffusers users expect; a picture depends on its own prompt and seed, not on its
batch; what `save_pretrained` writes, `from_pretrained` reads. Does not know requests, queues or galleries, and where
parts live: it asks each part where it computes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from PIL import Image
from torch import Tensor
from transformers import Gemma3TextModel, JinaEmbeddingsV3Model, PreTrainedTokenizerBase

from newbie_ui.errors import RequestError
from newbie_ui.model import layout
from newbie_ui.model.denoise import DenoiseStep, Pair, denoise
from newbie_ui.model.devices import compute_device
from newbie_ui.model.fit import NEGATIVE_SYSTEM_PROMPT, FittedText, TokenLimits
from newbie_ui.model.guidance import Guidance
from newbie_ui.model.preview import FLUX_PREVIEW, PreviewMap
from newbie_ui.model.schedule import shift_from_config
from newbie_ui.model.text import Conditioning, TextEncoders
from newbie_ui.model.transformer import NewbieTransformer2DModel
from newbie_ui.request import DEFAULT_SYSTEM_PROMPT, SIZE_MULTIPLE

DEFAULTS = {"width": 1024, "height": 1024, "steps": 28, "guidance_scale": 4.5, "system_prompt": DEFAULT_SYSTEM_PROMPT}
VAE_SCALE = 8  # pixels a latent


class NewbiePipeline(DiffusionPipeline):
    """Text to image with NewBie-image-Exp0.1.

    Args:
        transformer, text_encoder (Gemma3, text part), tokenizer, clip_model (Jina CLIP v2 text tower),
            clip_tokenizer, vae, scheduler: the parts; the encoders may be None where embeddings are handed in.

    Attributes:
        sidecar: what `newbie_ui.json` beside the weights says: name, licence, defaults, limits, preview map.
        caption_buckets: caption lengths to pad to, so that shapes stay static; None pads to the longest prompt.
        split_guidance: conditional and unconditional prompts one after the other (True) or as one batch (False);
            None decides by the device.
        guidance_pair: how the two passes are run where they are split; None: one after the other.
    """

    model_cpu_offload_seq = "text_encoder->clip_model->transformer->vae"
    _optional_components = ("text_encoder", "tokenizer", "clip_model", "clip_tokenizer")
    _callback_tensor_inputs = ("latents",)

    def __init__(
        self,
        transformer: NewbieTransformer2DModel,
        text_encoder: Gemma3TextModel | None,
        tokenizer: PreTrainedTokenizerBase | None,
        clip_model: JinaEmbeddingsV3Model | None,
        clip_tokenizer: PreTrainedTokenizerBase | None,
        vae: AutoencoderKL,
        scheduler,
    ):
        super().__init__()
        self.register_modules(
            transformer=transformer,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            clip_model=clip_model,
            clip_tokenizer=clip_tokenizer,
            vae=vae,
            scheduler=scheduler,
        )
        self.image_processor = VaeImageProcessor(vae_scale_factor=VAE_SCALE)
        self.sidecar: dict[str, Any] = {}
        self.caption_buckets: tuple[int, ...] | None = None
        self.split_guidance: bool | None = None
        self.guidance_pair: Pair | None = None
        self._interrupt = False

    # ---- what the model says of itself -----------------------------------------------------------------------

    @property
    def defaults(self) -> Mapping[str, Any]:
        """width, height, steps, guidance_scale, shift, system_prompt as this model recommends."""
        shift = shift_from_config(self.scheduler.config, DEFAULTS["width"], DEFAULTS["height"])
        return {**DEFAULTS, "shift": shift, **self.sidecar.get("defaults", {})}

    @property
    def limits(self) -> TokenLimits:
        """How many tokens a prompt may have."""
        positions = self.transformer.config.axes_lens[0] - 1
        usual = TokenLimits()
        return TokenLimits(
            trained=self.sidecar.get("trained_tokens", usual.trained),
            maximum=min(self.sidecar.get("max_tokens", usual.maximum), positions),
        )

    @property
    def preview_map(self) -> PreviewMap:
        """From the sidecar; the published one of the FLUX.1 VAE where there is none."""
        return PreviewMap.from_dict(self.sidecar["preview"]) if "preview" in self.sidecar else FLUX_PREVIEW

    @property
    def text_encoders(self) -> TextEncoders:
        return TextEncoders(self.text_encoder, self.tokenizer, self.clip_model, self.clip_tokenizer, self.limits)

    # ---- text ------------------------------------------------------------------------------------------------

    def encode(
        self,
        texts: Sequence[str | FittedText],
        system_prompt: str | None = None,
        *,
        on_excess: str = "refuse",
    ) -> Conditioning:
        """The conditioning of these prompts. `system_prompt` None takes the model's default, "" none.

        `pipe.text_encoders.fit(...)` tells beforehand, without any model, how many tokens each has and what is cut.
        """
        if self.text_encoder is None or self.clip_model is None:
            raise ValueError("This pipeline has no text encoders: hand in prompt embeddings, or load them.")
        system_prompt = self.defaults["system_prompt"] if system_prompt is None else system_prompt
        return self.text_encoders.encode(texts, system_prompt, on_excess=on_excess)

    def encode_negative(self, texts: Sequence[str], system_prompt: str | None = None) -> Conditioning:
        """The same for what to stay away from: the official template's own system prompt, none for an empty text."""
        if system_prompt is None:
            system_prompt = NEGATIVE_SYSTEM_PROMPT if self.defaults["system_prompt"] else ""
        return self.encode(texts, system_prompt)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Gemma tokens of each text, without special tokens. Needs the tokenizer only."""
        return self.text_encoders.count_tokens(texts)

    # ---- latents ---------------------------------------------------------------------------------------------

    def prepare_latents(self, seeds: Sequence[int | torch.Generator], height: int, width: int) -> Tensor:
        """Pure noise (B, C, height / 8, width / 8) in float32, one CPU generator a picture: the same on any device."""
        for name, value in (("height", height), ("width", width)):
            if value < SIZE_MULTIPLE or value % SIZE_MULTIPLE:
                near = max(SIZE_MULTIPLE, value - value % SIZE_MULTIPLE)
                raise RequestError(
                    name, f"{name.capitalize()} {value} is not a multiple of {SIZE_MULTIPLE}. Use {near}."
                )
        shape = (1, self.transformer.config.in_channels, height // VAE_SCALE, width // VAE_SCALE)
        noise = [torch.randn(shape, generator=generator, dtype=torch.float32) for generator in make_generators(seeds)]
        return torch.cat(noise).to(compute_device(self.transformer))

    def make_scheduler(self, steps: int, shift: float | None = None, height: int = 1024, width: int = 1024):
        """A fresh scheduler of the pipeline's kind, ready for `denoise`.

        On the official time grid, the shifted linspace(1, 0, steps + 1), where its kind takes sigmas; else on its own.
        """
        shift = shift or self.sidecar.get("defaults", {}).get("shift")
        shift = shift or shift_from_config(self.scheduler.config, width, height)
        kind = type(self.scheduler)
        knobs = {"shift": shift, "flow_shift": shift, "use_dynamic_shifting": False}
        known = {name: value for name, value in knobs.items() if name in self.scheduler.config}
        scheduler = kind.from_config(self.scheduler.config, **known)
        if "sigmas" in inspect.signature(kind.set_timesteps).parameters:
            scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
        else:
            scheduler.set_timesteps(steps)
        return scheduler

    def denoise(
        self,
        conditioning: Conditioning,
        negative: Conditioning | None,
        latents: Tensor,
        *,
        scheduler=None,
        steps: int | None = None,
        shift: float | None = None,
        guidance_scale: float = 1.0,
        guidance_renorm: float = 1.0,
        guidance_rescale: float = 0.0,
        guidance_start: float = 0.0,
        guidance_end: float = 1.0,
        generators: Sequence[torch.Generator] | None = None,
        buckets: tuple[int, ...] | None = None,
    ) -> Generator[DenoiseStep, Tensor | None, None]:
        """Yield a `DenoiseStep` for each evaluation of the model; stop asking and it stops.

        Args:
            conditioning, negative: of `encode`; `negative` may be None (guidance 1) or of one row for all.
            latents: of `prepare_latents`.
            scheduler: one that is ready, e.g. `make_schedule(...).scheduler()`, see `model.denoise.denoise`; by
                default the pipeline's own kind with `steps` and `shift`.
            guidance_…: see `Guidance`; start and end are parts of the way, 0 noise, 1 picture.
            generators: for samplers that add noise, one for each picture.
            buckets: caption lengths to pad to, in place of `caption_buckets`.
        """
        if scheduler is None:
            height, width = (side * VAE_SCALE for side in latents.shape[-2:])
            scheduler = self.make_scheduler(steps or self.defaults["steps"], shift, height, width)
        guidance = Guidance(guidance_scale, guidance_renorm, guidance_rescale, guidance_start, guidance_end)
        return denoise(
            self.transformer,
            conditioning,
            negative,
            latents,
            scheduler,
            guidance,
            generators=generators,
            buckets=buckets or self.caption_buckets,
            split=self.split_guidance,
            pair=self.guidance_pair,
        )

    # ---- pictures --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def decode_pixels(self, latents: Tensor) -> Tensor:
        """(B, C, h, w) → pixels (B, 3, 8·h, 8·w) from -1 to 1."""
        config = self.vae.config
        z = latents / config.scaling_factor + (config.shift_factor or 0.0)
        return self.vae.decode(z.to(compute_device(self.vae), self.vae.dtype), return_dict=False)[0]

    def decode(self, latents: Tensor) -> list[Image.Image]:
        return _pictures(self.decode_pixels(latents))

    @torch.no_grad()
    def encode_picture(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Pictures → latents (B, C, h, w) in float32: the inverse of `decode`, without the VAE's noise."""
        pixels = self.image_processor.preprocess(list(pictures)).to(compute_device(self.vae), self.vae.dtype)
        z = self.vae.encode(pixels).latent_dist.mode()
        return ((z - (self.vae.config.shift_factor or 0.0)) * self.vae.config.scaling_factor).float()

    def preview(self, latents: Tensor) -> Image.Image:
        """A small, blurred picture of (C, h, w) or (1, C, h, w), in a millisecond. Best from `DenoiseStep.denoised`."""
        return self.preview_map.image(latents)

    # ---- as diffusers users call it --------------------------------------------------------------------------

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: Tensor | None = None,
        prompt_embeds: Conditioning | None = None,
        negative_prompt_embeds: Conditioning | None = None,
        system_prompt: str | None = None,
        negative_system_prompt: str | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[[NewbiePipeline, int, float, dict], dict] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        **sampling: Any,
    ) -> ImagePipelineOutput | tuple:
        """Make pictures. What is None is the model's default.

        Args:
            prompt: one or several; XML, tags or plain text.
            negative_prompt: what to stay away from, one for all or one each; used when guidance is not 1.
            height, width: multiples of 16.
            num_images_per_prompt: pictures of each prompt, next to each other in the result.
            generator: one for all pictures (drawn from in order) or a list of one each.
            latents: start from these (B, C, h / 8, w / 8) instead of noise from `generator`.
            prompt_embeds, negative_prompt_embeds: what `encode` gave, in place of texts.
            system_prompt, negative_system_prompt: "" for none.
            output_type: "pil", "np", "pt" or "latent".
            callback_on_step_end: called with (pipeline, step, timestep, {"latents": …}); may return other latents, and
                may set `pipeline._interrupt` to stop after this step.
            sampling: guidance_renorm, guidance_rescale, guidance_start, guidance_end, shift, scheduler: see `denoise`.
        """
        if unknown := set(callback_on_step_end_tensor_inputs) - set(self._callback_tensor_inputs):
            raise ValueError(f"Callbacks can have latents only, not {', '.join(sorted(unknown))}.")
        chosen = self.defaults
        scale = chosen["guidance_scale"] if guidance_scale is None else guidance_scale
        positive = self._positive(prompt, prompt_embeds, system_prompt)
        negative = None
        if scale != 1:
            negative = negative_prompt_embeds or self.encode_negative(
                _listed(negative_prompt or ""), negative_system_prompt
            )
            negative = _repeated(negative, len(positive), num_images_per_prompt)
        positive = _repeated(positive, len(positive), num_images_per_prompt)
        generators = _one_each(generator, len(positive))
        if latents is None:
            latents = self.prepare_latents(generators, height or chosen["height"], width or chosen["width"])
        options = {"steps": num_inference_steps, "guidance_scale": scale, "generators": generators, **sampling}
        latents = self._follow(self.denoise(positive, negative, latents, **options), callback_on_step_end)
        images = latents
        if output_type != "latent":
            pixels = self.decode_pixels(latents)
            if output_type == "pil":
                images = _pictures(pixels)
            else:
                images = self.image_processor.postprocess(pixels.float(), output_type=output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _positive(
        self, prompt: str | Sequence[str] | None, embeds: Conditioning | None, system_prompt: str | None
    ) -> Conditioning:
        if embeds is not None:
            return embeds
        if prompt is None:
            raise ValueError("Give a prompt or prompt_embeds.")
        return self.encode(_listed(prompt), system_prompt)

    def _follow(self, steps: Generator[DenoiseStep, Tensor | None, None], callback: Callable | None) -> Tensor:
        """Run all steps with progress bar and callback; the last latents."""
        self._interrupt = False
        step = next(steps)
        with self.progress_bar(total=step.total) as bar:
            while True:
                bar.update()
                latents = step.latents
                if callback is not None:
                    returned = callback(self, step.index - 1, 1000 * step.sigma, {"latents": latents}) or {}
                    latents = returned.get("latents", latents)
                if self._interrupt or step.index == step.total:
                    steps.close()
                    return latents
                step = steps.send(latents)

    # ---- on disk ---------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, source: str, torch_dtype: torch.dtype | None = None, **parts: Any) -> NewbiePipeline:
        """Load a folder in any published layout, or a hub id; every weight must be there.

        Args:
            source: what `save_pretrained` wrote, or see `newbie_ui.model.checkpoint`, which has more to set.
            torch_dtype: of all weights; None for float32 where they are stored so, else bfloat16.
            parts: ready components to use instead of loading them, e.g. `text_encoder=None`.

        Raises:
            CheckpointError: not found, incomplete, or another model.
        """
        from newbie_ui.model import checkpoint  # makes pipelines itself, so it cannot be imported above

        files = checkpoint.locate(str(source))
        stored = {tensor.dtype for tensor in files.weights("transformer").tensors.values()}
        dtype = torch_dtype or (torch.float32 if stored == {torch.float32} else torch.bfloat16)
        if not parts:
            return checkpoint.load_pipeline(files, dtype=dtype)
        for name in checkpoint.PARTS:
            if name not in parts:
                parts[name] = checkpoint.load_part(files, name, dtype=dtype)
        for name, encoder in (("tokenizer", "text_encoder"), ("clip_tokenizer", "clip_model")):
            if name not in parts:
                parts[name] = checkpoint.load_tokens(files, encoder)
        scheduler = parts.pop("scheduler", None) or checkpoint.parts.load_scheduler(files.scheduler_config())
        pipeline = cls(**parts, scheduler=scheduler)
        pipeline.sidecar = files.sidecar()
        return pipeline

    def save_pretrained(self, folder: str, **options: Any) -> None:
        """Write the folder that `from_pretrained` reads."""
        layout.save(folder, self.components, self.sidecar, **options)


def _pictures(pixels: Tensor) -> list[Image.Image]:
    """As diffusers' `postprocess` makes them, but in 8 bit before they leave the device: a quarter of the bytes."""
    pixels = (pixels.float() * 0.5 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)
    return [Image.fromarray(picture) for picture in pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()]


def make_generators(seeds: Sequence[int | torch.Generator]) -> list[torch.Generator]:
    """One CPU generator for each picture; generators pass through."""
    return [s if isinstance(s, torch.Generator) else torch.Generator("cpu").manual_seed(s) for s in seeds]


def _listed(texts: str | Sequence[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)


def _repeated(conditioning: Conditioning, prompts: int, images: int) -> Conditioning:
    """Rows for every picture: each prompt's next to each other; one row serves all prompts."""
    if len(conditioning) not in (1, prompts):
        raise ValueError(f"{len(conditioning)} negative prompts do not match {prompts} prompts. Give one, or one each.")
    rows = range(prompts) if len(conditioning) == prompts else [0] * prompts
    return conditioning.select([row for row in rows for _ in range(images)])


def _one_each(generator: torch.Generator | Sequence[torch.Generator] | None, count: int) -> list[torch.Generator]:
    if generator is None:
        return make_generators(torch.randint(2**62, (count,)).tolist())
    if isinstance(generator, torch.Generator):
        return [generator] * count
    if len(generator) != count:
        raise ValueError(f"{len(generator)} generators do not match {count} pictures. Give one, or one each.")
    return list(generator)

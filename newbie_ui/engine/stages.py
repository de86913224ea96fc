"""Encode, denoise, decode: the three stages of a batch on a rig.

Promises: a text is always encoded alone, so that its numbers do not depend on what it is encoded with or on the
cache; encodings are kept by everything they depend on. Does not know jobs, events or the memory ladder.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from newbie_ui.engine.compile import as_written
from newbie_ui.engine.embeddings import EmbeddingCache, Encoding
from newbie_ui.engine.plan import Plan
from newbie_ui.engine.rig import Rig
from newbie_ui.errors import RequestError
from newbie_ui.model.denoise import DenoiseStep
from newbie_ui.model.fit import NEGATIVE_SYSTEM_PROMPT, bucket_for
from newbie_ui.model.pipeline import make_generators
from newbie_ui.model.schedule import Schedule, make_schedule
from newbie_ui.model.text import Conditioning
from newbie_ui.request import SIZE_MULTIPLE, ResolvedRequest

PREVIEW_PIXELS = 384  # longer side of a preview
PREVIEW_QUALITY = 75
WARM_BUCKETS = (320, 384, 512, 640, 256, 448)  # two characters usually take 256 to 512 tokens, the official example 546


@dataclass(frozen=True)
class EncodedRow:
    """The texts of one picture. `negative` is None where guidance is off."""

    positive: Encoding
    negative: Encoding | None
    cached: bool  # nothing had to be computed


@dataclass(frozen=True)
class Shape:
    """What a compiled graph depends on.

    `bucket` is the caption length that all texts are padded to; or where both of a picture lie in one row, together.
    """

    width: int
    height: int
    batch: int
    bucket: int
    guided: bool
    loras: int = 0


class Stages:
    """Used by the engine's worker thread only."""

    def __init__(self, rig: Rig, cache: EmbeddingCache):
        self._rig, self._cache = rig, cache

    # ---- encode ------------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[ResolvedRequest]) -> list[EncodedRow]:
        """The texts of these pictures, from the cache where it has them."""
        return [self._encode_row(row) for row in rows]

    def _encode_row(self, row: ResolvedRequest) -> EncodedRow:
        before = self._cache.misses
        positive = self._encoding(prompt_of(row), row.system_prompt, row)
        negative = None
        if row.guidance_scale != 1:
            system = NEGATIVE_SYSTEM_PROMPT if row.system_prompt else ""
            negative = self._encoding(negative_of(row), system, row)
        return EncodedRow(positive, negative, cached=self._cache.misses == before)

    def _encoding(self, text: str, system_prompt: str, row: ResolvedRequest) -> Encoding:
        plan = self._rig.plan
        key = (row.model_hash, plan.dtype, plan.quantize_text, text, system_prompt, row.request.fit)
        if (known := self._cache.get(key)) is not None:
            return known
        pipe = self._rig.pipe
        with self._rig.placement.stage("encode"):
            fitted = pipe.text_encoders.fit([text], system_prompt, on_excess=row.request.fit)[0]
            conditioning = pipe.encode([fitted], system_prompt).to("cpu")
        size = sum(t.nbytes for t in (conditioning.features, conditioning.mask, conditioning.pooled) if t is not None)
        encoding = Encoding(conditioning, fitted.tokens, fitted.warning, size)
        self._cache.put(key, encoding)
        return encoding

    # ---- denoise -----------------------------------------------------------------------------------------------

    def denoise(self, rows: Sequence[ResolvedRequest], texts: Sequence[EncodedRow]) -> Iterator[DenoiseStep]:
        """Latents of these pictures, step by step, each from its own seed."""
        first, request, plan, pipe = rows[0], rows[0].request, self._rig.plan, self._rig.pipe
        positive = Conditioning.concatenate([text.positive.conditioning for text in texts])
        negative = None
        if texts[0].negative is not None:
            negative = Conditioning.concatenate([text.negative.conditioning for text in texts])
        generators = make_generators([row.seed for row in rows])
        bucket = self._bucket(rows, texts)
        buckets = (bucket,) if pipe.caption_buckets else None  # one for both passes, for one graph
        with self._rig.placement.stage("denoise"):
            yield from pipe.denoise(
                positive,
                negative,
                pipe.prepare_latents(generators, first.height, first.width),
                scheduler=schedule_of(first).scheduler(),
                guidance_scale=first.guidance_scale,
                guidance_renorm=request.guidance_renorm,
                guidance_rescale=request.guidance_rescale,
                guidance_start=request.guidance_start,
                guidance_end=min(request.guidance_end, plan.guidance_end),
                generators=generators,
                buckets=buckets,
            )

    def shape(self, rows: Sequence[ResolvedRequest], texts: Sequence[EncodedRow]) -> Shape:
        """What a compiled graph depends on."""
        row, bucket = rows[0], self._bucket(rows, texts)
        return Shape(row.width, row.height, len(rows), bucket, row.guidance_scale != 1, len(row.loras))

    def _bucket(self, rows: Sequence[ResolvedRequest], texts: Sequence[EncodedRow]) -> int:
        """Caption tokens that the graph for these texts is made for, once the attention kernel is chosen."""
        lengths = [t.conditioning.features.shape[1] for text in texts for t in (text.positive, text.negative) if t]
        self._rig.tune_attention(image_tokens(rows[0]) + bucket_for(max(lengths)))
        return self._rig.bucket_for(lengths, len(rows))

    def warm(self, shape: Shape) -> None:
        """A step of each kind of this shape with made-up numbers, so that its graphs are built."""
        pipe = self._rig.pipe
        full, short = (self._blank(shape.batch, tokens) for tokens in (shape.bucket - 1, 1))
        latents = pipe.prepare_latents(list(range(shape.batch)), shape.height, shape.width)
        self._rig.tune_attention(shape.width * shape.height // SIZE_MULTIPLE**2 + shape.bucket)
        with self._rig.placement.stage("denoise"):
            for guided in self._kinds_of_steps(shape):
                options = {"steps": 2, "guidance_scale": 2.0 if guided else 1.0, "buckets": (shape.bucket,)}
                steps = pipe.denoise(full, short if guided else None, latents, **options)
                next(steps)
                steps.close()

    def _blank(self, rows: int, tokens: int) -> Conditioning:
        config = self._rig.pipe.transformer.config
        pooled = torch.zeros(rows, config.clip_text_dim) if config.clip_text_dim else None
        features = torch.zeros(rows, tokens, config.cap_feat_dim)
        return Conditioning(features, torch.ones(rows, tokens, dtype=torch.bool), pooled)

    @torch.no_grad()
    def warm_decoder(self, width: int, height: int) -> None:
        """The same for decoding, unless pictures of this size are decoded in stripes."""
        pipe = self._rig.pipe
        with self._rig.placement.stage("decode"):
            if not self._rig.tile(width * height):
                pipe.decode(pipe.prepare_latents([0], height, width))

    def _kinds_of_steps(self, shape: Shape) -> Sequence[bool]:
        """Guided steps and, where guidance ends early, also those without."""
        if not shape.guided:
            return (False,)
        return (True,) if self._rig.plan.guidance_end >= 1 else (True, False)

    # ---- decode ------------------------------------------------------------------------------------------------

    def decode(self, latents: Tensor, row: ResolvedRequest, eager: bool = False) -> tuple[Image.Image, bool]:
        """The picture of latents (1, C, h, w), and whether it was decoded in stripes. `eager`: do not compile now."""
        pipe = self._rig.pipe
        with self._rig.placement.stage("decode"):
            tiled = self._rig.tile(row.width * row.height)
            with as_written(pipe.vae.decoder) if eager or tiled else nullcontext():
                return pipe.decode(latents)[0], tiled

    def preview(self, step: DenoiseStep) -> bytes:
        """A small JPEG of the batch's first picture as it would end now."""
        image = self._rig.pipe.preview(step.denoised[:1])
        scale = PREVIEW_PIXELS / max(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=PREVIEW_QUALITY)
        return stream.getvalue()


def prompt_of(row: ResolvedRequest) -> str:
    """What the encoders read: with wildcards filled in."""
    return row.request.prompt if row.prompt is None else row.prompt


def negative_of(row: ResolvedRequest) -> str:
    return row.request.negative_prompt if row.negative_prompt is None else row.negative_prompt


def image_tokens(row: ResolvedRequest) -> int:
    return (row.width // SIZE_MULTIPLE) * (row.height // SIZE_MULTIPLE)


def schedule_of(row: ResolvedRequest) -> Schedule:
    """Raises RequestError for combinations that make no sense."""
    return make_schedule(row.request.sampler, row.request.schedule, row.steps, row.shift)


def check_size(row: ResolvedRequest, axes_lens: Sequence[int]) -> None:
    """Refuse sizes that the model has no positions for."""
    for field, side, limit in (("height", row.height, axes_lens[1]), ("width", row.width, axes_lens[2])):
        if side // SIZE_MULTIPLE > limit:
            raise RequestError(
                field,
                f"{field.capitalize()} {side} is more than this model can do. Use {limit * SIZE_MULTIPLE} at most.",
            )


def shapes_to_warm(plan: Plan, sizes: Sequence[tuple[int, int]]) -> list[Shape]:
    """The shapes that a plan wants compiled, most wanted first: usual prompt lengths of the plan's or model's sizes."""
    if plan.compile == "off":
        return []
    sizes = plan.sizes or sizes
    shapes = [Shape(w, h, plan.batch, bucket, guided=True) for w, h in sizes for bucket in WARM_BUCKETS]
    return shapes[: plan.warm]

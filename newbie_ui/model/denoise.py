"""From noise to latents: the loop over a schedule, one `DenoiseStep` at a time.

Promises: works with any diffusers scheduler that is already set for flow matching (see `denoise`); does between
steps nothing that waits for the device; computes once what depends only on the prompt or only on the schedule.
Does not know texts, pictures or sizes in pixels.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from newbie_ui.model.devices import compute_device, is_offloaded
from newbie_ui.model.fit import bucket_for
from newbie_ui.model.guidance import Guidance
from newbie_ui.model.text import Conditioning
from newbie_ui.model.transformer import NewbieTransformer2DModel

PREPARED_ROWS = 256  # at most this many (steps × prompts) adaLN outputs are kept: 180 MB for the full size in bf16


Pair = Callable[[Callable[[], Tensor], Callable[[], Tensor]], tuple[Tensor, Tensor]]
"""Runs two independent computations and returns both results."""


@dataclass(frozen=True)
class DenoiseStep:
    """One evaluation of the model is done. Heun makes two a step, except for the last."""

    index: int  # 1-based
    total: int
    latents: Tensor  # (B, C, h, w) float32, as noisy as `sigma` says
    sigma: float  # noise left: 1 all, 0 none
    denoised: Tensor  # (B, C, h, w): what the picture would be if the way went on straight; for previews


@torch.no_grad()
def denoise(
    transformer: NewbieTransformer2DModel,
    conditioning: Conditioning,
    negative: Conditioning | None,
    latents: Tensor,
    scheduler,
    guidance: Guidance,
    *,
    generators: Sequence[torch.Generator] | None = None,
    buckets: tuple[int, ...] | None = None,
    split: bool | None = None,
    pair: Pair | None = None,
) -> Generator[DenoiseStep, Tensor | None, None]:
    """Take the noise away, step by step. Sending latents into the generator replaces the present ones.

    Args:
        transformer: on the device where it computes, or with offloading hooks.
        conditioning: the prompts (B).
        negative: as many, or one for all; None when guidance is off.
        latents: (B, C, h, w), pure noise.
        scheduler: a diffusers scheduler with `timesteps` and `sigmas` set, where the i-th evaluation happens at
            noise level `sigmas[i]` (1 noise, 0 picture) and `step` expects the velocity as `noise - image`. So do
            FlowMatchEulerDiscrete, FlowMatchHeunDiscrete (whose list names each middle sigma twice), and
            DPMSolverMultistep and UniPCMultistep with flow sigmas. Noisy samplers draw from `generators`.
        guidance: see `Guidance`.
        generators: one for each picture, so that a picture does not depend on its neighbours.
        buckets: caption lengths to pad to, for static shapes; None pads to the longest only. Where both passes lie in
            one row (see `packing`), a picture's captions together are padded to one of them.
        split: conditional and unconditional prompts one after the other (no padding between them: best on a CPU)
            or in one batch (best on a GPU); None decides by the device.
        pair: how the two passes of a split step are run; None: one after the other.
    """
    sigmas = [float(s) for s in scheduler.sigmas]
    if max(sigmas) > 1.001:
        raise ValueError(f"Sigmas up to {max(sigmas):g} are no flow-matching schedule. Use sigmas from 1 to 0.")
    total = len(scheduler.timesteps)
    device, times = compute_device(transformer), [1 - sigma for sigma in sigmas[:total]]
    latents = latents.to(device, torch.float32)
    run = _Run(transformer, device, transformer.dtype, is_offloaded(transformer), latents.shape, times, buckets)
    velocity = _GuidedVelocity(run, conditioning, negative, guidance, split, pair)
    options = {"return_dict": False}
    if generators and "generator" in inspect.signature(scheduler.step).parameters:
        options["generator"] = list(generators)
    try:
        for i, timestep in enumerate(scheduler.timesteps):
            seen = (
                scheduler.scale_model_input(latents, timestep) if hasattr(scheduler, "scale_model_input") else latents
            )
            v = velocity(seen, i)
            denoised = latents + sigmas[i] * v
            latents = scheduler.step(-v, timestep, latents, **options)[0]
            replaced = yield DenoiseStep(i + 1, total, latents, sigmas[i + 1], denoised)
            latents = latents if replaced is None else replaced.to(latents)
    finally:
        if transformer.is_cache_enabled:
            transformer._reset_stateful_cache()


def _one_after_the_other(first: Callable[[], Tensor], second: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    return first(), second()


@dataclass(frozen=True)
class _Run:
    """What all passes of a picture share. Finding it out takes walks over all modules, so that is done once."""

    transformer: NewbieTransformer2DModel
    device: torch.device
    dtype: torch.dtype
    offloaded: bool
    shape: torch.Size  # of the latents
    times: Sequence[float]
    buckets: tuple[int, ...] | None


class _GuidedVelocity:
    """The velocity of a step: the conditional pass, and with guidance the unconditional one."""

    def __init__(self, run: _Run, conditioning, negative, guidance, split, pair):
        self.run, self.guidance = run, guidance
        guided = any(guidance.acts_at(t) for t in run.times)
        if guided and negative is None:
            raise ValueError(
                f"Guidance {guidance.scale:g} needs a negative conditioning: encode an empty text for it, or use 1."
            )
        if guided and len(negative) == 1:
            negative = negative.select([0] * len(conditioning))
        self.conditioning, self.negative = conditioning, negative
        self.pair = pair or _one_after_the_other
        self.split = run.device.type == "cpu" if split is None else split

    @cached_property
    def conditional(self) -> _Pass:
        return _Pass("cond", self.run, self.conditioning)

    @cached_property
    def unconditional(self) -> _Pass:
        return _Pass("uncond", self.run, self.negative)

    @cached_property
    def both(self) -> _Pass:
        return _Pass("both", self.run, Conditioning.concatenate([self.conditioning, self.negative]))

    def __call__(self, latents: Tensor, i: int) -> Tensor:
        if not self.guidance.acts_at(self.run.times[i]):
            return self.conditional(latents, i)
        if self.split:
            # Made before they may run side by side, each in a thread of its own
            conditional, unconditional = self.conditional, self.unconditional
            passes = self.pair(lambda: conditional(latents, i), lambda: unconditional(latents, i))
            return self.guidance.combine(*passes)
        return self.guidance.combine(*self.both(torch.cat((latents, latents)), i).chunk(2))


class _Pass:
    """Some prompts that go through the transformer together. Prepares itself at its first step."""

    def __init__(self, name: str, run: _Run, conditioning: Conditioning):
        self.name, self.run = name, run
        lengths, pictures, buckets = conditioning.lengths, run.shape[0], run.buckets
        longest = max(lengths)
        conditioning = conditioning.to(run.device, run.dtype)
        self.conditioning = conditioning.padded(bucket_for(longest, buckets) if buckets else longest, longest)
        self.room: int | None = None  # for real tokens, where this pass may lie in one row
        if buckets and len(lengths) > 1:
            room = pictures * bucket_for(-(-sum(lengths) // pictures), buckets)
            self.room = min(room, self.conditioning.mask.numel())
        full = not buckets and min(lengths) == longest  # with buckets there always is a mask: one graph for all prompts
        self.mask = None if full else self.conditioning.mask
        self.inputs: list[dict] | None = None

    def __call__(self, latents: Tensor, i: int) -> Tensor:
        if self.inputs is None:
            self.inputs = self._prepare()
        transformer = self.run.transformer
        named = transformer.cache_context(self.name) if transformer.is_cache_enabled else nullcontext()
        with named:
            output = transformer(latents.to(self.run.dtype), **self.inputs[i], return_dict=False)
        return output[0].float()

    def _prepare(self) -> list[dict]:
        """The arguments of every step. What can be computed before the steps is, where the weights are at hand."""
        features, pooled = self.conditioning.features, self.conditioning.pooled
        transformer, batch, size = self.run.transformer, len(features), self.run.shape[-2:]
        times = torch.tensor(self.run.times, dtype=torch.float32, device=features.device)
        by_time = [{"timestep": time} for time in times[:, None].expand(-1, batch)]
        if self.run.offloaded:
            texts = {"encoder_hidden_states": features, "encoder_attention_mask": self.mask}
            return [{**step, **texts, "pooled_projections": pooled} for step in by_time]
        caption = transformer.prepare_caption(features, self.mask, pooled)
        shared = {"caption": caption, "rotary": transformer.prepare_rotary(caption, *size)}
        if self.room is not None and transformer.packs:
            shared["packing"] = transformer.prepare_packing(caption, *size, self.room)
        if len(times) * batch <= PREPARED_ROWS:
            modulations = transformer.prepare_modulation(times, caption.pooled, batch, self.run.dtype)
            by_time = [{"modulation": modulation} for modulation in modulations]
        return [{**step, **shared} for step in by_time]

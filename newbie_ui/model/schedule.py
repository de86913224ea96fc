"""When the noise is taken away (schedule) and how each step is made (sampler).

Promises: `make_schedule` turns names and numbers of a request into a `Schedule`; its `sigmas` run from 1 (noise)
to 0 (picture), and `Schedule.scheduler()` gives a fresh diffusers scheduler that is ready for `denoise`. With
"simple" and "euler" the grid is the official one: the shifted linspace(1, 0, steps + 1).
Does not know: the model, guidance, where noise for the ancestral sampler comes from (the caller's generators).

Samplers are diffusers' own. They expect the velocity as `noise - image`. Only the ancestral one adds a formula of
its own, since diffusers has none that keeps the flow's marginals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteSchedulerOutput
from diffusers.utils.torch_utils import randn_tensor

from newbie_ui.errors import RequestError
from newbie_ui.model.shift import shift_for_size, shift_from_config
from newbie_ui.request import PARAMETERS, SAMPLERS, SCHEDULES

TRAIN_STEPS = 1000  # diffusers counts time as 1000 · sigma
__all__ = ["Schedule", "beta_quantiles", "make_schedule", "shift_for_size", "shift_from_config", "shifted"]
NEEDS_TWO_STEPS = {
    "heun": "looks ahead to the next step",
    "dpmpp_2m": "builds on the step before",
    "unipc": "builds on the step before",
}
OWN_SPACING = ("linear_quadratic",)  # these ignore the shift


@dataclass(frozen=True)
class Schedule:
    """A checked choice of sampler and sigmas. `sigmas` has steps + 1 values, the first 1.0, the last 0.0."""

    sampler: str
    name: str
    shift: float
    sigmas: tuple[float, ...]

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def evaluations(self) -> int:
        """How many times the model is run; Heun runs it twice a step, except for the last."""
        return 2 * self.steps - 1 if self.sampler == "heun" else self.steps

    def scheduler(self) -> SchedulerMixin:
        """A fresh diffusers scheduler with timesteps set; `sigmas[i]` is the noise level of its i-th evaluation."""
        return _BUILDERS[self.sampler](torch.tensor(self.sigmas, dtype=torch.float32))


def make_schedule(sampler: str, schedule: str, steps: int, shift: float) -> Schedule:
    """Check the combination and compute its sigmas.

    Raises:
        RequestError: an unknown name, a number out of range, or a combination that makes no sense.
    """
    checked = {"sampler": sampler, "schedule": schedule, "steps": steps, "shift": shift}
    for name, value in checked.items():
        checked[name] = PARAMETERS[name].check(value)
    sampler, schedule, steps, shift = checked.values()
    if steps < 2 and sampler in NEEDS_TWO_STEPS:
        raise RequestError(
            "sampler",
            f"The sampler {sampler} {NEEDS_TWO_STEPS[sampler]} and makes no sense with {steps} step. "
            "Use 2 or more steps, or the sampler euler.",
        )
    if steps < 2 and schedule != "simple":
        raise RequestError(
            "schedule",
            f"The schedule {schedule} has nothing to space out with {steps} step. Use 2 or more steps, or simple.",
        )
    sigmas = (*_SPACINGS[schedule](steps, shift).tolist(), 0.0)
    return Schedule(sampler, schedule, shift, sigmas)


def shifted(sigmas: np.ndarray, shift: float) -> np.ndarray:
    """Move noise levels in [0, 1] towards noise: shift · s / (1 + (shift - 1) · s)."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


# ---- schedules: (steps, shift) -> sigmas without the final 0 ----------------------------------------------------


def _simple(steps: int, shift: float) -> np.ndarray:
    return shifted(np.linspace(1, 1 / steps, steps).astype(np.float32), shift)


def _karras(steps: int, shift: float, rho: float = 7.0) -> np.ndarray:
    """Even steps in sigma^(1/7) between the ends of the simple schedule (arXiv 2206.00364)."""
    first, last = _ends(steps, shift)
    return np.linspace(first ** (1 / rho), last ** (1 / rho), steps) ** rho


def _exponential(steps: int, shift: float) -> np.ndarray:
    """Even steps in log sigma between the ends of the simple schedule."""
    first, last = _ends(steps, shift)
    return np.exp(np.linspace(math.log(first), math.log(last), steps))


def _beta(steps: int, shift: float) -> np.ndarray:
    """Quantiles of the beta distribution (0.6, 0.6): dense at both ends (arXiv 2407.12173)."""
    first, last = _ends(steps, shift)
    return last + beta_quantiles(1 - np.linspace(0, 1, steps), 0.6, 0.6) * (first - last)


def _linear_quadratic(steps: int, shift: float, threshold: float = 0.025) -> np.ndarray:
    """Half the steps even over the first 2.5 % of the way, the rest growing quadratically; no shift.

    As published with Mochi 1 and used by ComfyUI under this name.
    """
    linear = steps // 2
    rest = steps - linear
    gap = linear - threshold * steps
    square = gap / (linear * rest**2)
    slope = threshold / linear - 2 * gap / rest**2
    index = np.arange(steps)
    way = np.where(index < linear, index * threshold / linear, square * index**2 + slope * index + square * linear**2)
    return 1 - way


def _ends(steps: int, shift: float) -> tuple[float, float]:
    sigmas = _simple(steps, shift)
    return float(sigmas[0]), float(sigmas[-1])


def beta_quantiles(levels: np.ndarray, alpha: float, beta: float, grid: int = 20_001) -> np.ndarray:
    """Quantiles of the beta distribution, to about 1e-6 for alpha, beta ≥ 0.5.

    With x = sin²(angle) the density's poles vanish: it becomes sin^(2·alpha-1) · cos^(2·beta-1).
    """
    angle = np.linspace(0, math.pi / 2, grid)
    middle = (angle[1:] + angle[:-1]) / 2
    mass = np.sin(middle) ** (2 * alpha - 1) * np.cos(middle) ** (2 * beta - 1)
    cumulative = np.concatenate([[0.0], np.cumsum(mass)]) / mass.sum()
    return np.sin(np.interp(levels, cumulative, angle)) ** 2


_SPACINGS: Mapping[str, Callable[[int, float], np.ndarray]] = dict(
    zip(SCHEDULES, (_simple, _linear_quadratic, _beta, _karras, _exponential))
)


# ---- samplers: sigmas (steps + 1) -> a ready scheduler ---------------------------------------------------------


class FlowMatchEulerAncestralScheduler(FlowMatchEulerDiscreteScheduler):
    """Euler with fresh noise after each step, keeping the noise level that flow matching expects.

    Steps down further than asked, to sigma_down = sigma_next² / sigma, then mixes in new noise so that signal and
    noise stand as 1 - sigma_next to sigma_next again (the rectified-flow form of k-diffusion's ancestral step).
    The last step adds none. The noise comes from `generator`: one, or a list with one for each picture.
    """

    def step(
        self,
        model_output: torch.Tensor,
        timestep: torch.Tensor,
        sample: torch.Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
    ) -> FlowMatchEulerDiscreteSchedulerOutput | tuple[torch.Tensor]:
        """One step for velocity (B, C, H, W) = noise - image. Without a generator the global one is used."""
        if self.step_index is None:
            self._init_step_index(timestep)
        sigma, sigma_next = (float(s) for s in self.sigmas[self.step_index : self.step_index + 2])
        sigma_down = sigma_next * sigma_next / sigma
        previous = sample.to(torch.float32) + (sigma_down - sigma) * model_output
        if sigma_next > 0:
            keep = (1 - sigma_next) / (1 - sigma_down)
            fresh = math.sqrt(max(sigma_next**2 - (sigma_down * keep) ** 2, 0.0))
            noise = randn_tensor(sample.shape, generator=generator, device=sample.device, dtype=torch.float32)
            previous = keep * previous + fresh * noise
        self._step_index += 1
        previous = previous.to(model_output.dtype)
        return FlowMatchEulerDiscreteSchedulerOutput(prev_sample=previous) if return_dict else (previous,)


def _ready(scheduler: SchedulerMixin, sigmas: torch.Tensor) -> SchedulerMixin:
    """Give a scheduler exactly these sigmas. diffusers' multistep ones would round their timesteps to integers."""
    scheduler.set_timesteps(len(sigmas) - 1)
    scheduler.sigmas = sigmas
    scheduler.timesteps = sigmas[:-1] * TRAIN_STEPS
    scheduler.set_begin_index(0)
    return scheduler


def _heun(sigmas: torch.Tensor) -> SchedulerMixin:
    scheduler = _ready(FlowMatchHeunDiscreteScheduler(), sigmas)
    scheduler.sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    scheduler.timesteps = scheduler.sigmas[:-1] * TRAIN_STEPS
    return scheduler


def _multistep(kind: type[SchedulerMixin], sigmas: torch.Tensor) -> SchedulerMixin:
    """The solvers' log-SNR is infinite at sigma 1: start a hair below, as diffusers does."""
    start = sigmas.clone()
    start[0] = min(float(sigmas[0]), 1 - 1e-6)
    return _ready(kind(prediction_type="flow_prediction", use_flow_sigmas=True), start)


_BUILDERS: Mapping[str, Callable[[torch.Tensor], SchedulerMixin]] = dict(
    zip(
        SAMPLERS,
        (
            lambda sigmas: _ready(FlowMatchEulerDiscreteScheduler(), sigmas),
            _heun,
            lambda sigmas: _multistep(DPMSolverMultistepScheduler, sigmas),
            lambda sigmas: _multistep(UniPCMultistepScheduler, sigmas),
            lambda sigmas: _ready(FlowMatchEulerAncestralScheduler(), sigmas),
        ),
    )
)

"""Sigma schedules against published formulas, samplers on a flow whose exact solution is known."""

import itertools
import math

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from mpmath import betainc

from newbie_ui.errors import RequestError
from newbie_ui.model.schedule import (
    beta_quantiles,
    make_schedule,
    shift_for_size,
    shift_from_config,
    shifted,
)
from newbie_ui.request import SAMPLERS, SCHEDULES

MEAN, SPREAD = 0.7, 0.5  # pictures are drawn from this normal distribution; 0 spread is a single picture


def velocity(x, sigma, spread=SPREAD):
    """E[noise - image | x] for x = (1 - sigma) · image + sigma · noise."""
    variance = ((1 - sigma) * spread) ** 2 + sigma**2
    return (x - (1 - sigma) * MEAN) * (sigma - (1 - sigma) * spread**2) / variance - MEAN


def sample(sampler, schedule="simple", steps=20, shift=1.0, spread=SPREAD, seed=2):
    """Return (noise, result), each (2, 1, 64, 64)."""
    noise = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(seed)
    scheduler = make_schedule(sampler, schedule, steps, shift).scheduler()
    x = noise
    for i, t in enumerate(scheduler.timesteps):
        extra = {"generator": generator} if sampler == "euler_ancestral" else {}
        x = scheduler.step(velocity(x, float(scheduler.sigmas[i]), spread), t, x, return_dict=False, **extra)[0]
    return noise, x


def error(sampler, steps, **choice):
    """Root mean square distance from the exact solution, MEAN + SPREAD · noise."""
    noise, result = sample(sampler, steps=steps, **choice)
    return (result - (MEAN + SPREAD * noise)).pow(2).mean().sqrt().item()


@pytest.mark.parametrize("steps", [1, 20, 28, 50])
@pytest.mark.parametrize("shift", [1.0, 3.0, 6.0])
def test_simple_euler_is_the_official_grid(steps, shift):
    schedule = make_schedule("euler", "simple", steps, shift)
    t = np.linspace(1, 0, steps + 1)
    assert schedule.sigmas == pytest.approx(shift * t / (1 + (shift - 1) * t), abs=5e-7)
    diffusers = FlowMatchEulerDiscreteScheduler(shift=shift)
    diffusers.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
    assert torch.equal(schedule.scheduler().sigmas, diffusers.sigmas)
    assert torch.equal(schedule.scheduler().timesteps, diffusers.timesteps)


@pytest.mark.parametrize("name", ["karras", "exponential"])
def test_respaced_schedules_are_those_of_diffusers(name):
    diffusers = FlowMatchEulerDiscreteScheduler(shift=6.0, **{f"use_{name}_sigmas": True})
    diffusers.set_timesteps(sigmas=np.linspace(1, 1 / 28, 28))
    assert make_schedule("euler", name, 28, 6.0).sigmas == pytest.approx(diffusers.sigmas.tolist(), abs=1e-6)


def test_beta_quantiles_invert_the_incomplete_beta_function():
    levels = np.array([0.0, 0.001, 0.1, 0.3, 0.5, 0.77, 0.999, 1.0])
    back = [float(betainc(0.6, 0.6, 0, x, regularized=True)) for x in beta_quantiles(levels, 0.6, 0.6)]
    assert back == pytest.approx(levels, abs=1e-5)


def test_beta_schedule_is_dense_at_both_ends():
    sigmas = np.array(make_schedule("euler", "beta", 28, 1.0).sigmas)
    gaps = -np.diff(sigmas[:-1])
    assert gaps[0] < gaps[13] > gaps[-1]


def test_linear_quadratic_is_the_published_curve_and_takes_no_shift():
    expected = [1, 0.99375, 0.9875, 0.98125, 0.975, 0.8609375, 0.63125, 0.2859375]  # 8 steps, threshold 0.025
    sigmas = make_schedule("euler", "linear_quadratic", 8, 6.0).sigmas
    assert sigmas[:5] == pytest.approx(expected[:5], abs=1e-9)
    assert make_schedule("euler", "linear_quadratic", 8, 1.0).sigmas == sigmas
    second = np.diff(sigmas[4:], n=2)
    assert second == pytest.approx([second[0]] * 3, abs=1e-9)  # a parabola
    assert second[0] < 0
    assert sigmas[-1] == 0


@pytest.mark.parametrize("shift", [0.1, 1.0, 6.0, 20.0])
@pytest.mark.parametrize("steps", [2, 3, 28, 100])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_falls_from_one_to_zero(schedule, steps, shift):
    sigmas = make_schedule("euler", schedule, steps, shift).sigmas
    assert len(sigmas) == steps + 1
    assert sigmas[0] == pytest.approx(1, abs=1e-6)
    assert sigmas[-1] == 0
    assert all(a > b for a, b in itertools.pairwise(sigmas))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_combination_ends_finite_and_near_the_truth(sampler, schedule):
    _, result = sample(sampler, schedule, steps=40, shift=6.0)
    assert result.isfinite().all()
    assert result.mean().item() == pytest.approx(MEAN, abs=0.03)
    assert result.std().item() == pytest.approx(SPREAD, abs=0.12)  # the ancestral one is furthest


@pytest.mark.parametrize("shift", [1.0, 6.0])
@pytest.mark.parametrize(("sampler", "order"), [("euler", 0.9), ("heun", 1.75), ("dpmpp_2m", 1.5), ("unipc", 1.75)])
def test_each_sampler_converges_with_its_order(sampler, order, shift):
    measured = math.log2(error(sampler, 25, shift=shift) / error(sampler, 100, shift=shift)) / 2
    assert measured > order


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_2m", "unipc"])
def test_second_order_samplers_beat_euler_at_the_same_number_of_model_runs(sampler):
    steps = 20 if sampler == "heun" else 39
    assert make_schedule(sampler, "simple", steps, 1.0).evaluations == 39
    assert error(sampler, steps) < error("euler", 39) / 4


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_single_picture_is_hit_exactly(sampler):
    _, result = sample(sampler, steps=6, spread=0.0)
    assert (result - MEAN).abs().max() < 1e-5


def test_the_ancestral_sampler_approaches_the_right_distribution():
    off = [abs(sample("euler_ancestral", steps=n)[1].std().item() - SPREAD) for n in (10, 100)]
    assert off[1] < 0.025
    assert off[1] < off[0] / 4


def test_the_ancestral_sampler_repeats_with_its_generator_and_only_then():
    first, again, other = (sample("euler_ancestral", steps=5, seed=s)[1] for s in (2, 2, 3))
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 0.1


def test_the_ancestral_sampler_takes_one_generator_a_picture():
    def run(seeds):
        scheduler = make_schedule("euler_ancestral", "simple", 4, 6.0).scheduler()
        x = torch.ones(len(seeds), 1, 8, 8)
        generators = [torch.Generator().manual_seed(s) for s in seeds]
        for i, t in enumerate(scheduler.timesteps):
            v = velocity(x, float(scheduler.sigmas[i]))
            x = scheduler.step(v, t, x, generator=generators, return_dict=False)[0]
        return x

    assert torch.allclose(run([7, 8])[1], run([8])[0], atol=1e-6)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_scheduler_is_fresh_each_time(sampler):
    schedule = make_schedule(sampler, "simple", 4, 6.0)
    assert schedule.scheduler() is not schedule.scheduler()
    assert len(schedule.scheduler().timesteps) == schedule.evaluations
    assert schedule.steps == 4


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_2m", "unipc"])
def test_one_step_is_refused_where_it_makes_no_sense(sampler):
    with pytest.raises(RequestError, match=f"{sampler} .* makes no sense with 1 step. Use 2 or more steps") as refused:
        make_schedule(sampler, "simple", 1, 6.0)
    assert refused.value.field == "sampler"


def test_one_step_cannot_be_spaced_out():
    with pytest.raises(RequestError, match=r"karras has nothing to space out with 1 step\. Use 2 or more") as refused:
        make_schedule("euler", "karras", 1, 6.0)
    assert refused.value.field == "schedule"


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        (("lms", "simple", 20, 6.0), "Sampler 'lms' is unknown. Use one of: euler, heun"),
        (("euler", "sgm", 20, 6.0), "Schedule 'sgm' is unknown. Use one of: simple"),
        (("euler", "simple", 0, 6.0), "Steps 0 is out of range. Use 1 to 100."),
        (("euler", "simple", 20, 0.0), "Shift 0.0 is out of range. Use 0.1 to 20."),
        (("euler", "simple", 20, float("nan")), "Shift nan is not a number. Use 0.1 to 20."),
    ],
)
def test_bad_values_are_refused_with_the_remedy(choice, sentence):
    with pytest.raises(RequestError) as refused:
        make_schedule(*choice)
    assert str(refused.value).startswith(sentence)


def test_shift_grows_with_the_square_root_of_the_pixels():
    assert shift_for_size(6.0, 1024, 1024) == 6.0
    assert shift_for_size(6.0, 512, 512) == 3.0
    assert shift_for_size(6.0, 2048, 2048) == 12.0
    assert shift_for_size(20.0, 2048, 2048) == 20.0  # the request's own limit
    assert shift_for_size(4.0, 256, 128, trained=(256, 256)) == pytest.approx(4 / math.sqrt(2))


def test_shift_from_config_is_static_or_follows_the_size_as_in_flux():
    assert shift_from_config({"shift": 6.0}, 512, 512) == 6.0
    dynamic = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15}
    assert shift_from_config(dynamic, 256, 256) == pytest.approx(math.exp(0.5))
    assert shift_from_config(dynamic, 1024, 1024) == pytest.approx(math.exp(1.15))
    assert shift_from_config({**dynamic, "time_shift_type": "linear"}, 1024, 1024) == pytest.approx(1.15)
    mu = math.log(shift_from_config(dynamic, 768, 512))
    diffusers = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    grid = np.linspace(1, 1 / 9, 9)
    diffusers.set_timesteps(sigmas=grid, mu=mu)
    assert shifted(grid, math.exp(mu)) == pytest.approx(diffusers.sigmas[:-1].numpy(), abs=1e-6)

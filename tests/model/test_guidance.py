"""Guidance on small tensors; the parity cases compare it with the official code."""

import pytest
import torch

from newbie_ui.model.guidance import Guidance

G = torch.Generator().manual_seed(0)
COND, UNCOND = (torch.randn(3, 4, 5, 5, generator=G) for _ in range(2))


def norms(v):
    return v.flatten(1).norm(dim=1)


def test_renorm_is_per_sample():
    guided = Guidance(scale=5.0, renorm=1.0).combine(COND, UNCOND)
    torch.testing.assert_close(norms(guided), norms(COND))
    for i in range(3):
        alone = Guidance(scale=5.0, renorm=1.0).combine(COND[i : i + 1], UNCOND[i : i + 1])
        torch.testing.assert_close(guided[i : i + 1], alone)


def test_renorm_never_makes_longer():
    free = Guidance(scale=1.5, renorm=0.0).combine(COND, UNCOND)
    torch.testing.assert_close(Guidance(scale=1.5, renorm=50.0).combine(COND, UNCOND), free)


def test_equal_velocities_stay_as_they_are():
    torch.testing.assert_close(Guidance(scale=7.0, rescale=0.7).combine(COND, COND), COND)


def test_full_rescale_gives_the_conditional_spread():
    guided = Guidance(scale=5.0, renorm=0.0, rescale=1.0).combine(COND, UNCOND)
    torch.testing.assert_close(guided.std(dim=(1, 2, 3)), COND.std(dim=(1, 2, 3)))


@pytest.mark.parametrize(("t", "acts"), [(0.0, False), (0.2, True), (0.5, True), (0.8, False), (0.9, False)])
def test_it_acts_within_its_interval_only(t, acts):
    assert Guidance(scale=4.0, start=0.1, end=0.8).acts_at(t) is acts


def test_scale_one_is_off():
    assert not Guidance(scale=1.0).acts_at(0.5)

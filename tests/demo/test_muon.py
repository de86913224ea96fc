"""Matrices of a shape moved together go where torch moves them one by one."""

import torch
from torch import nn

from newbie_ui.demo.muon import Muon, orthogonal


def test_a_step_is_torchs():
    torch.manual_seed(0)
    shapes = [(16, 40), (16, 40), (48, 16), (16, 16)]
    ours = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    rate = torch.zeros(())
    muon = Muon(ours, rate, momentum=0.95, decay=0.01)
    reference = torch.optim.Muon(theirs, lr=0.0, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for lr in (0.01, 0.02, 0.005):
        rate.fill_(lr)
        reference.param_groups[0]["lr"] = lr
        for a, b in zip(ours, theirs):
            a.grad = torch.randn(a.shape)
            b.grad = a.grad.clone()
        before = [(a.detach().clone(), b.detach().clone()) for a, b in zip(ours, theirs)]
        muon.step()
        reference.step()
        for (from_a, from_b), a, b in zip(before, ours, theirs):
            way = (a - from_a).norm()
            assert way > 0
            assert ((a - from_a) - (b - from_b)).norm() < 0.04 * way  # torch iterates in bfloat16


def test_matrices_become_orthogonal_whatever_their_sides():
    torch.manual_seed(0)
    for shape in ((2, 12, 30), (2, 30, 12)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert float(values.min()) > 0.6
        assert float(values.max()) < 1.25


def test_what_has_no_gradient_stays():
    parameter = nn.Parameter(torch.ones(3, 4))
    Muon([parameter], torch.tensor(0.1)).step()
    assert torch.equal(parameter, torch.ones(3, 4))

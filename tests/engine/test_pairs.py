"""Two passes side by side give what they give one after the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from newbie_ui.engine.pairs import SideBySide
from tests.engine.test_rig import PLAN, make_rig, picture


@pytest.fixture
def pair():
    before = torch.get_num_threads()
    pair = SideBySide(3)
    yield pair
    pair.close()
    torch.set_num_threads(before)


def test_each_gets_its_share_of_the_threads_and_they_are_given_back(pair):
    first, second = pair(torch.get_num_threads, torch.get_num_threads)
    assert (first, second, torch.get_num_threads()) == (2, 1, 3)


def test_the_second_keeps_no_graph(pair):
    assert pair(torch.is_grad_enabled, torch.is_grad_enabled)[1] is False


def test_an_error_of_either_goes_up_after_both_have_ended(pair):
    ended = []

    def fails():
        raise MemoryError("no room")

    for works in ((fails, lambda: ended.append(1)), (lambda: ended.append(1), fails)):
        with pytest.raises(MemoryError, match="no room"):
            pair(*works)
    assert ended == [1, 1]
    assert pair(lambda: 1, lambda: 2) == (1, 2)


def test_a_rig_with_two_threads_makes_the_same_picture():
    rig = make_rig(replace(PLAN, threads=2))
    assert rig.pipe.guidance_pair is not None
    beside = picture(rig)
    rig.use(PLAN)
    assert rig.pipe.guidance_pair is None
    assert np.abs(picture(rig) - beside).max() <= 1
    rig.close()


def test_a_step_cache_keeps_the_passes_apart():
    rig = make_rig(replace(PLAN, threads=2, step_cache=0.1))
    assert rig.pipe.guidance_pair is None
    picture(rig)
    rig.close()

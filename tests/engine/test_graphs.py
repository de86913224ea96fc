"""A recorded step gives what the transformer gives, for every step of every picture of its shape.

There is no card here, so what is "recorded" is the computation itself: like a graph it reads the same tensors always.
"""

from __future__ import annotations

import pytest
import torch

from newbie_ui.engine.graphs import KEPT, GraphedForward
from tests import flash4, tiny


@pytest.fixture
def pipe():
    pipe = tiny.pipeline()
    pipe.split_guidance = False  # one batch, as on a card
    pipe.caption_buckets = (256,)  # one for all prompts here
    return pipe


@torch.no_grad()
def latents(pipe, seed, side=64, prompt=tiny.PROMPT, **options):
    positive, negative = pipe.encode([prompt], ""), pipe.encode([""], "")
    noise = pipe.prepare_latents([seed], side, side)
    options = {"steps": 4, "guidance_scale": 4.0, **options}
    return list(pipe.denoise(positive, negative, noise, **options))[-1].latents


def test_every_step_and_picture_is_the_same_as_without(pipe):
    wanted = [latents(pipe, 1), latents(pipe, 2, prompt="blue_hair"), latents(pipe, 3, guidance_end=0.1)]
    recorded = []

    def record(run):
        recorded.append(run)
        return run

    graphed = GraphedForward(pipe.transformer, tokens=2 * 4 * 4, record=record)
    got = [latents(pipe, 1), latents(pipe, 2, prompt="blue_hair"), latents(pipe, 3, guidance_end=0.1)]
    assert all(torch.equal(a, b) for a, b in zip(got, wanted))
    assert len(recorded) == len(graphed) == 2  # guided, and the conditional pass alone
    graphed.remove()
    assert "forward" not in vars(pipe.transformer)


def test_passes_in_one_row_are_recorded_with_where_their_tokens_lie(pipe, monkeypatch):
    flash4.install(monkeypatch)
    flash4.use(pipe.transformer)
    pipe.caption_buckets = (512,)
    prompts = (tiny.PROMPT, "blue_hair", "a much longer prompt than that, smile")
    wanted = [latents(pipe, seed, prompt=prompt) for seed, prompt in enumerate(prompts)]
    graphed = GraphedForward(pipe.transformer, tokens=10_000, record=lambda run: run)
    got = [latents(pipe, seed, prompt=prompt) for seed, prompt in enumerate(prompts)]
    assert all(torch.equal(a, b) for a, b in zip(got, wanted))
    assert len(graphed) == 1
    graphed.remove()


def test_large_steps_and_other_callers_are_passed_on(pipe):
    graphed = GraphedForward(pipe.transformer, tokens=2 * 4 * 4, record=lambda run: run)
    latents(pipe, 1, side=128)
    time, text = torch.tensor([0.4]), torch.zeros(1, 4, tiny.WIDTH)
    sample = pipe.transformer(torch.zeros(1, 16, 8, 8), time, text, None, torch.zeros(1, tiny.CLIP_WIDTH)).sample
    assert sample.shape == (1, 16, 8, 8)
    assert len(graphed) == 0


def test_a_kernel_that_cannot_be_recorded_is_run_as_ever(pipe, caplog):
    wanted, tried = latents(pipe, 1), []

    def refuse(run):
        tried.append(run())
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nCompile with …")

    graphed = GraphedForward(pipe.transformer, tokens=10_000, record=refuse)
    assert torch.equal(latents(pipe, 1), wanted)
    assert torch.equal(latents(pipe, 1), wanted)
    assert (len(tried), len(graphed)) == (1, 0)  # not again at every step
    assert "not permitted" in caplog.text


def test_too_little_memory_to_record_is_the_engines_to_solve(pipe):
    def refuse(run):
        raise torch.OutOfMemoryError("CUDA out of memory")

    GraphedForward(pipe.transformer, tokens=10_000, record=refuse)
    with pytest.raises(torch.OutOfMemoryError):
        latents(pipe, 1)


def test_changed_weights_need_forgetting_and_few_shapes_are_kept(pipe):
    graphed = GraphedForward(pipe.transformer, tokens=10_000, record=lambda run: run)
    for rows in range(1, KEPT + 3):
        latents(pipe, 1, side=32 * rows, steps=2)
    assert len(graphed) == KEPT
    graphed.forget()
    assert len(graphed) == 0

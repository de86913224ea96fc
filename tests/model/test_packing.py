"""Pictures in one row of tokens are the pictures that they are in rows of their own."""

import pytest
import torch
from diffusers import FirstBlockCacheConfig

from newbie_ui.model.packing import make_packing
from newbie_ui.model.text import Conditioning
from tests import flash4, tiny

PROMPTS = [tiny.PROMPT, "blue_hair, smile"]


@pytest.fixture
def pipe():
    """As on a card: both passes together, captions padded to a length that graphs are made for."""
    pipe = tiny.pipeline()
    pipe.split_guidance, pipe.caption_buckets = False, (64, 256, 320)
    return pipe


@pytest.fixture
def calls(monkeypatch):
    return flash4.install(monkeypatch)


@torch.no_grad()
def latents(pipe, prompts=PROMPTS[:1], **options):
    positive, negative = pipe.encode(prompts, ""), pipe.encode(["bad"] * len(prompts), "")
    noise = pipe.prepare_latents(list(range(len(prompts))), 64, 64)
    options = {"steps": 3, "guidance_scale": 4.0, **options}
    return list(pipe.denoise(positive, negative, noise, **options))[-1].latents


def lengths_of(pipe, prompts):
    return pipe.encode(prompts, "").lengths


# ---- the order ---------------------------------------------------------------------------------------------------


def test_real_tokens_stand_one_picture_behind_the_other_and_padding_last():
    packing = make_packing(torch.tensor([3, 1]), captions=4, patches=2, room=6)
    padded = torch.arange(12).view(2, 6, 1)  # 2 of the image, 4 of the caption
    assert packing.packed(padded).flatten().tolist() == [0, 1, 2, 3, 4, 6, 7, 8, *(5, 9)]
    assert packing.starts.tolist() == [0, 5, 8, 10]
    assert packing.images(packing.packed(padded)).flatten().tolist() == [0, 1, 6, 7]
    assert packing.per_token(torch.tensor([[7.0], [8.0]])).flatten().tolist()[:8] == [7.0] * 5 + [8.0] * 3
    assert packing.starts.dtype == torch.int32


def test_room_may_be_full_and_captions_equally_long():
    packing = make_packing(torch.tensor([4, 4]), captions=4, patches=2, room=8)
    assert packing.order.tolist() == list(range(12))
    assert packing.starts.tolist() == [0, 6, 12, 12]


# ---- pictures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompts", [PROMPTS[:1], PROMPTS], ids=["one", "two"])
def test_the_pictures_are_the_same_with_fewer_tokens(pipe, calls, prompts):
    expected = latents(pipe, prompts)
    flash4.use(pipe.transformer)
    assert pipe.transformer.packs
    got = latents(pipe, prompts)
    assert (got - expected).abs().max() < 2e-5
    patches, captions = 16, [*lengths_of(pipe, prompts), *lengths_of(pipe, ["bad"] * len(prompts))]
    ends = torch.tensor(captions).add(patches).cumsum(0).tolist()
    joint = {tuple(call.starts) for call in calls if call.starts}
    room = len(prompts) * 320 if sum(captions) > 256 * len(prompts) else len(prompts) * 256
    assert joint == {(0, *ends, len(captions) * patches + room)}
    assert joint.pop()[-1] < len(captions) * (patches + 256)


def test_a_pass_alone_stays_as_it_was(pipe, calls):
    flash4.use(pipe.transformer)
    latents(pipe, guidance_scale=1.0)
    assert calls
    assert not any(call.starts for call in calls)


def test_without_lengths_that_graphs_are_made_for_nothing_is_packed(pipe, calls):
    pipe.caption_buckets = None
    flash4.use(pipe.transformer)
    latents(pipe)
    assert calls
    assert not any(call.starts for call in calls)


def test_one_kernel_that_cannot_is_enough_not_to(pipe, calls):
    flash4.use(pipe.transformer)
    pipe.transformer.layers[1].attention.processor._attention_backend = None
    assert not pipe.transformer.packs


def test_what_stands_in_the_padding_does_not_matter(pipe, calls):
    flash4.use(pipe.transformer)
    transformer, generator = pipe.transformer, torch.Generator().manual_seed(0)
    features = torch.randn(2, 8, tiny.WIDTH, generator=generator)
    mask = torch.arange(8) < torch.tensor([[7], [2]])
    noise, pooled = torch.randn(2, 16, 8, 8, generator=generator), torch.randn(2, tiny.CLIP_WIDTH, generator=generator)
    results = []
    for filling in (0.0, 1e4):
        text = Conditioning(torch.where(mask[..., None], features, filling), mask, pooled)
        with torch.no_grad():
            caption = transformer.prepare_caption(text.features, text.mask, text.pooled)
            packing = transformer.prepare_packing(caption, 8, 8, room=12)
            results.append(transformer(noise, torch.tensor([0.2, 0.2]), caption=caption, packing=packing).sample)
    assert torch.equal(*results)


def test_steps_that_are_reused_are_so_in_one_row_too(pipe, calls):
    flash4.use(pipe.transformer)
    expected = latents(pipe)
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=1e-9))
    assert (latents(pipe) - expected).abs().max() < 2e-5


def test_one_graph_serves_every_prompt_that_fits_the_room(pipe, calls):
    torch._dynamo.reset()
    flash4.use(pipe.transformer)
    expected, graphs = latents(pipe, PROMPTS), []

    def backend(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    pipe.transformer.compile_repeated_blocks(fullgraph=True, backend=backend, dynamic=False)
    assert (latents(pipe, PROMPTS) - expected).abs().max() < 2e-5
    latents(pipe, PROMPTS[::-1])
    latents(pipe, ["green_hair", tiny.PROMPT])
    assert len(graphs) == 1
    torch._dynamo.reset()


def test_the_compiler_gives_each_token_its_own_modulation(pipe, calls):
    torch._dynamo.reset()
    flash4.use(pipe.transformer)
    pipe.transformer.layers = pipe.transformer.layers[:1]
    expected = latents(pipe)
    pipe.transformer.compile_repeated_blocks(fullgraph=True, dynamic=False)
    assert (latents(pipe) - expected).abs().max() < 2e-5
    torch._dynamo.reset()

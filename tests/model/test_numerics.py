"""How far narrow numbers stray: all 36 layers, reduced width."""

import copy

import pytest
import torch

from newbie_ui.model.transformer import NewbieTransformer2DModel
from tests import tiny


@pytest.fixture(scope="module")
def deep():
    """Full depth; weights that bfloat16 holds exactly, as in the published files."""
    torch.manual_seed(0)
    model = NewbieTransformer2DModel(**{**tiny.TRANSFORMER, "dim": 96, "n_layers": 36, "axes_dims": (16, 16, 16)})
    return model.eval().to(torch.bfloat16).float()


@pytest.fixture(scope="module")
def inputs():
    g = torch.Generator().manual_seed(1)
    tensors = {
        "hidden_states": torch.randn(1, 16, 12, 12, generator=g),
        "encoder_hidden_states": torch.randn(1, 24, tiny.WIDTH, generator=g),
        "pooled_projections": torch.randn(1, tiny.CLIP_WIDTH, generator=g),
    }
    return {name: tensor.bfloat16().float() for name, tensor in tensors.items()}


@torch.no_grad()
def relative_error(model, inputs, t, residual_dtype):
    exact = model(timestep=torch.tensor([t]), **inputs).sample
    half = copy.deepcopy(model).to(torch.bfloat16)
    half.residual_dtype = residual_dtype
    got = half(timestep=torch.tensor([t]), **{k: v.bfloat16() for k, v in inputs.items()}).sample
    return ((got.float() - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_bfloat16_strays_less_than_a_hundredth_at_full_depth(deep, inputs, t):
    assert relative_error(deep, inputs, t, torch.float32) < 1e-2


def test_a_narrow_residual_stream_would_double_the_error(deep, inputs):
    wide, narrow = (relative_error(deep, inputs, 0.5, dtype) for dtype in (torch.float32, None))
    assert narrow > 1.8 * wide


def test_in_float32_the_residual_dtype_changes_nothing(deep, inputs):
    model = copy.deepcopy(deep)
    model.residual_dtype = None
    with torch.no_grad():
        a, b = (m(timestep=torch.tensor([0.5]), **inputs).sample for m in (deep, model))
    assert torch.equal(a, b)


def test_a_seed_gives_nearly_the_same_picture_in_any_batch_in_bfloat16():
    pipe = tiny.pipeline().to(torch.bfloat16)
    prompts = [tiny.PROMPT, "1girl, solo", "cat"]

    def pictures(split, rows):
        pipe.split_guidance = split
        generators = [torch.Generator().manual_seed(row) for row in rows]
        return pipe([prompts[row] for row in rows], generator=generators, output_type="pt").images

    together = pictures(False, [0, 1, 2])
    for split in (False, True):
        for row in range(3):
            assert (pictures(split, [row])[0] - together[row]).abs().mean() < 0.01

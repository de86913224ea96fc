"""The quick look at latents."""

import pytest
import torch
from PIL import Image

from newbie_ui.model.preview import FLUX_PREVIEW, PreviewMap, fit_preview
from tests import tiny


@pytest.fixture(scope="module")
def pipe():
    return tiny.pipeline()


def test_a_preview_is_a_small_picture_of_the_latents(pipe):
    preview = pipe.preview(torch.randn(1, 16, 8, 12))
    assert isinstance(preview, Image.Image)
    assert preview.size == (12, 8)
    assert preview.mode == "RGB"


def test_without_a_sidecar_the_published_map_is_used(pipe):
    assert pipe.preview_map is FLUX_PREVIEW
    assert len(FLUX_PREVIEW.weight) == 16


def test_the_sidecar_brings_its_own_map(pipe, monkeypatch):
    own = PreviewMap(weight=((0.0, 0.0, 0.0),) * 16, bias=(1.0, -1.0, 0.0))
    monkeypatch.setitem(pipe.sidecar, "preview", own.to_dict())
    assert pipe.preview_map == own
    assert pipe.preview(torch.randn(16, 4, 4)).getpixel((1, 1)) == (255, 0, 128)


def test_fitting_finds_a_map_that_is_linear(pipe):
    """A VAE that is a matrix itself is found exactly."""
    true = PreviewMap(tuple((0.01 * i, -0.02 * i, 0.03) for i in range(16)), (0.1, 0.2, -0.3))

    class Linear:
        config = pipe.vae.config
        dtype = torch.float32

        def decode(self, z):
            latents = (z - self.config.shift_factor) * self.config.scaling_factor
            sample = torch.nn.functional.interpolate(true.rgb(latents), scale_factor=8)
            return type("Output", (), {"sample": sample})

    found = fit_preview(Linear(), torch.randn(4, 16, 6, 6, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(torch.tensor(found.weight), torch.tensor(true.weight), atol=1e-4)
    assert found.bias == pytest.approx(true.bias, abs=1e-4)


def test_a_fitted_map_is_closer_to_the_decoded_picture_than_the_published_one(pipe):
    g = torch.Generator().manual_seed(0)
    latents = torch.randn(4, 16, 8, 8, generator=g)
    fitted = fit_preview(pipe.vae, latents)
    decoded = torch.nn.functional.interpolate(pipe.decode_pixels(latents), size=(8, 8), mode="area")
    errors = [(m.rgb(latents) - decoded).square().mean() for m in (fitted, FLUX_PREVIEW)]
    assert errors[0] < 0.5 * errors[1]


def test_a_map_survives_its_json():
    assert PreviewMap.from_dict(FLUX_PREVIEW.to_dict()) == FLUX_PREVIEW

"""The LoRA that ships with the demo model does its work: ink on paper instead of colours."""

from pathlib import Path

import numpy as np
import pytest
import torch

from newbie_ui.model.checkpoint import DEMO, DEMO_FOLDER, load_pipeline
from newbie_ui.model.lora import LoraSet
from newbie_ui.model.lora_files import LoraShelf

PROMPT = "<character_1>\n<gender>1girl</gender>\n<appearance>pink_hair, twintails</appearance>\n</character_1>"


@pytest.fixture(scope="module")
def pipe():
    pipe = load_pipeline(DEMO, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def picture(pipe):
    generator = [torch.Generator().manual_seed(1)]
    return np.asarray(pipe(PROMPT, num_inference_steps=4, guidance_scale=1.0, generator=generator).images[0], float)


def colourfulness(pixels):
    """Mean distance between the strongest and the weakest of red, green and blue, 0 to 255."""
    return (pixels.max(axis=-1) - pixels.min(axis=-1)).mean()


def test_the_demo_lora_takes_the_colours_away_and_gives_them_back(pipe):
    loras = LoraSet(pipe.transformer, LoraShelf(DEMO_FOLDER.parent / "loras"))
    assert loras.shelf.names() == ("demo_ink",)
    before = picture(pipe)
    assert colourfulness(before) > 50
    loras.use([("demo_ink", 1.0)])
    assert colourfulness(picture(pipe)) < 0.3 * colourfulness(before)
    loras.use(())
    assert np.array_equal(picture(pipe), before)


def test_the_demo_lora_is_small():
    (path,) = Path(DEMO_FOLDER.parent / "loras").glob("*.safetensors")
    assert path.stat().st_size < 2_000_000

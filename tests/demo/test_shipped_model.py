"""The shipped model, end to end through the pipeline: it follows its prompt, and the LoRA does its work.

The measure in its fast form. Thresholds are far from what was measured (docs/demo-model.md), so that a failure means
a broken pipeline and not bad luck.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from newbie_ui.demo import evaluate
from newbie_ui.demo.artist.layout import order
from newbie_ui.demo.autoencoder import measure_psnr
from newbie_ui.demo.reader import read
from newbie_ui.demo.weights_folder import LORAS, WEIGHTS, load_reader
from newbie_ui.model.lora import LoraSet
from newbie_ui.model.lora_files import LoraShelf
from newbie_ui.model.pipeline import NewbiePipeline

GOLDEN = Path(__file__).with_name("golden.png")
PROMPT = """<character_1>
<n>$character_1$</n>
<gender>1girl</gender>
<appearance>blue_hair, long_hair, red_eyes</appearance>
<clothing>serafuku, blue_sailor_collar, blue_skirt</clothing>
<expression>smile</expression>
<action>waving</action>
<position>left</position>
</character_1>

<character_2>
<n>$character_2$</n>
<gender>1girl</gender>
<appearance>pink_hair, twintails, green_eyes</appearance>
<clothing>white_dress</clothing>
<expression>open_mouth, happy</expression>
<action>holding_flower</action>
<position>right</position>
</character_2>

<general_tags>
<count>2girls, multiple_girls</count>
<background>beach, day</background>
</general_tags>"""


@pytest.fixture(scope="module")
def pipe():
    pipe = NewbiePipeline.from_pretrained(str(WEIGHTS), torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.timeout(400)
def test_the_official_way_gives_the_golden_picture(pipe):
    image = pipe(PROMPT, generator=torch.Generator().manual_seed(7), num_inference_steps=12).images[0]
    golden = np.asarray(Image.open(GOLDEN).convert("RGB"), dtype=float)
    difference = np.abs(np.asarray(image, dtype=float) - golden).mean()
    assert difference < 3, f"{difference:.1f} of 255 away from {GOLDEN.name}"


@pytest.mark.timeout(600)
def test_two_characters_have_their_hair_on_their_side_in_at_least_11_of_12_prompts(pipe):
    scenes = evaluate.held_out_scenes(2, 12)
    images = evaluate.make_pictures(pipe, evaluate.captions_of(scenes, evaluate.MANNERS["xml"]), 4, steps=6)
    right = 0
    for scene, (people, _) in zip(scenes, read(load_reader(), images)):
        asked = [look.hair for _, look in sorted(zip(order(scene.characters), scene.characters), key=_slot)]
        right += [person.values["hair"] for person in people] == asked
    assert right >= 11, f"{right} of 12"


def _slot(pair):
    return pair[0]


@pytest.mark.timeout(300)
def test_the_ink_lora_takes_the_colour_away_and_leaves_nothing_behind(pipe):
    def picture():
        seed = torch.Generator().manual_seed(7)
        return np.asarray(pipe(PROMPT, generator=seed, num_inference_steps=4).images[0], dtype=float)

    def colour(image):
        return (image.max(axis=-1) - image.min(axis=-1)).mean()

    before = picture()
    loras = LoraSet(pipe.transformer, LoraShelf(LORAS))
    loras.use([("demo_ink", 1.0)])
    inked = picture()
    loras.use([])
    assert colour(inked) < 0.3 * colour(before)
    assert np.array_equal(picture(), before)


def test_the_autoencoder_gives_drawings_back(pipe):
    drawings = evaluate.draw(evaluate.held_out_scenes(2, 4))
    assert measure_psnr(pipe.vae, drawings) > 30


def test_all_weights_together_are_at_most_40_megabytes():
    files = [*WEIGHTS.rglob("*.safetensors"), *LORAS.rglob("*.safetensors")]
    assert sum(file.stat().st_size for file in files) <= 40e6
    assert max(file.stat().st_size for file in LORAS.glob("*.safetensors")) < 2e6


def test_the_model_says_what_it_knows(pipe):
    assert {"blue_hair", "twintails", "holding_book", "center_left"} <= set(pipe.sidecar["vocabulary"])
    assert pipe.limits.trained == 128
    assert pipe.defaults["width"] == 256
    assert pipe.count_tokens([PROMPT])[0] < 60

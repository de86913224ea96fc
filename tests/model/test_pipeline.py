"""The pipeline with real classes at tiny size: stages, batches, guidance, calling, disk."""

import gc
import json
import shutil
import warnings
import weakref
from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchHeunDiscreteScheduler, UniPCMultistepScheduler
from PIL import Image
from safetensors.torch import load_file, save_file

from newbie_ui.errors import CheckpointError, PromptError, RequestError
from newbie_ui.model.pipeline import NewbiePipeline, make_generators
from newbie_ui.model.schedule import make_schedule
from newbie_ui.request import SAMPLERS, SCHEDULES
from tests import tiny

PROMPTS = [tiny.PROMPT, "1girl, solo", "a white cat & >_<"]


@pytest.fixture(scope="module")
def pipe():
    return tiny.pipeline()


def seeds(*values):
    return [torch.Generator().manual_seed(value) for value in values]


def call(pipe, prompt, **options):
    options = {"generator": seeds(7), "output_type": "pt", **options}
    return pipe(prompt, **options).images


def largest(a, b):
    return (a - b).abs().max().item()


def last(steps):
    return [step.latents for step in steps][-1]


# ---- one picture -------------------------------------------------------------------------------------------------


def test_a_prompt_becomes_a_picture_of_the_asked_size(pipe):
    (picture,) = pipe(PROMPTS[0], height=48, width=80, num_inference_steps=1, generator=seeds(1)).images
    assert isinstance(picture, Image.Image)
    assert picture.size == (80, 48)


def test_the_same_seed_gives_the_same_picture_and_another_does_not(pipe):
    assert largest(call(pipe, PROMPTS[1]), call(pipe, PROMPTS[1])) == 0
    assert largest(call(pipe, PROMPTS[1]), call(pipe, PROMPTS[1], generator=seeds(8))) > 1e-2


def test_noise_depends_on_the_seed_alone(pipe):
    three = pipe.prepare_latents([1, 2, 3], 64, 48)
    assert three.shape == (3, 16, 8, 6)
    assert torch.equal(three[1:2], pipe.prepare_latents([2], 64, 48))


@pytest.mark.parametrize(("height", "width", "named"), [(64, 40, "Width 40"), (8, 64, "Height 8")])
def test_a_size_that_does_not_divide_is_refused(pipe, height, width, named):
    with pytest.raises(RequestError, match=f"{named} is not a multiple of 16. Use"):
        pipe.prepare_latents([1], height, width)


def test_the_default_time_grid_is_the_official_one(pipe):
    scheduler = pipe.make_scheduler(10)
    t = np.linspace(1, 0, 11)
    np.testing.assert_allclose(scheduler.sigmas, 6 * t / (1 + 5 * t), atol=1e-6)
    np.testing.assert_allclose(scheduler.sigmas, make_schedule("euler", "simple", 10, 6.0).sigmas, atol=1e-6)


def test_euler_follows_the_velocity_from_noise_to_picture(pipe):
    """Written out by hand: sigma falls, latents move along `image - noise`."""
    conditioning = pipe.encode([PROMPTS[1]])
    latents = pipe.prepare_latents([3], 64, 64)
    expected, sigmas = latents.clone(), [float(s) for s in pipe.make_scheduler(3).sigmas]
    for sigma, following in pairwise(sigmas):
        t = torch.tensor([1 - sigma])
        with torch.no_grad():
            v = pipe.transformer(expected, t, conditioning.features, conditioning.mask, conditioning.pooled).sample
        expected = expected + (sigma - following) * v
    steps = list(pipe.denoise(conditioning, None, latents, steps=3))
    assert largest(steps[-1].latents, expected) < 1e-5
    assert [step.index for step in steps] == [1, 2, 3]
    assert steps[-1].sigma == 0
    assert largest(steps[-1].denoised, steps[-1].latents) < 1e-5


# ---- batches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", [True, False])
def test_a_batch_of_different_prompts_equals_the_single_pictures(pipe, split, monkeypatch):
    monkeypatch.setattr(pipe, "split_guidance", split)
    batch = call(pipe, PROMPTS, negative_prompt="blurry", generator=seeds(1, 2, 3))
    for i, prompt in enumerate(PROMPTS):
        single = call(pipe, prompt, negative_prompt="blurry", generator=seeds(i + 1))
        assert largest(batch[i], single[0]) < 1e-3


def test_one_batch_or_one_after_the_other_is_the_same_picture(pipe, monkeypatch):
    monkeypatch.setattr(pipe, "split_guidance", True)
    split = call(pipe, PROMPTS[0])
    monkeypatch.setattr(pipe, "split_guidance", False)
    assert largest(split, call(pipe, PROMPTS[0])) < 1e-5


def test_caption_buckets_do_not_change_the_picture(pipe, monkeypatch):
    free = call(pipe, PROMPTS[1])
    lengths = []
    monkeypatch.setattr(pipe, "caption_buckets", (256, 512))
    original = pipe.transformer.prepare_caption

    def watched(features, mask, pooled):
        lengths.append((features.shape[1], mask is None))
        return original(features, mask, pooled)

    monkeypatch.setattr(pipe.transformer, "prepare_caption", watched)
    assert largest(free, call(pipe, PROMPTS[1])) < 1e-5
    assert set(lengths) == {(256, False)}


def test_several_pictures_of_each_prompt_lie_next_to_each_other(pipe):
    four = call(pipe, PROMPTS[:2], num_images_per_prompt=2, generator=seeds(1, 2, 3, 4))
    assert largest(four[2], call(pipe, PROMPTS[1], generator=seeds(3))[0]) < 1e-3


# ---- guidance ----------------------------------------------------------------------------------------------------


@pytest.fixture
def passes(pipe, monkeypatch):
    """Batch sizes of the transformer's calls."""
    sizes = []
    original = pipe.transformer.forward
    monkeypatch.setattr(pipe.transformer, "forward", lambda x, **kw: sizes.append(len(x)) or original(x, **kw))
    return sizes


def test_without_guidance_there_is_no_negative_pass(pipe, passes):
    call(pipe, PROMPTS[1], guidance_scale=1.0, negative_prompt="ignored")
    assert passes == [1, 1]


def test_guidance_within_an_interval_saves_passes(pipe, passes, monkeypatch):
    call(pipe, PROMPTS[1], num_inference_steps=4, shift=1.0, guidance_start=0.25, guidance_end=0.75)
    assert len(passes) == 4 + 2
    passes.clear()
    monkeypatch.setattr(pipe, "split_guidance", False)
    call(pipe, PROMPTS[1], num_inference_steps=4, shift=1.0, guidance_start=0.25, guidance_end=0.75)
    assert passes == [1, 2, 2, 1]


@pytest.mark.parametrize(
    "options",
    [{"guidance_scale": 9.0}, {"guidance_renorm": 0.3}, {"guidance_rescale": 0.8}, {"negative_prompt": "cat"}],
)
def test_every_guidance_setting_matters(pipe, options):
    assert largest(call(pipe, PROMPTS[0]), call(pipe, PROMPTS[0], **options)) > 1e-4


def test_guidance_without_a_negative_is_refused(pipe):
    steps = pipe.denoise(pipe.encode(["a"]), None, pipe.prepare_latents([1], 64, 64), steps=2, guidance_scale=4.0)
    with pytest.raises(ValueError, match="Guidance 4 needs a negative conditioning"):
        next(steps)


def test_negatives_that_do_not_match_are_counted(pipe):
    with pytest.raises(ValueError, match="2 negative prompts do not match 3 prompts"):
        call(pipe, PROMPTS, negative_prompt=["a", "b"], generator=seeds(1, 2, 3))


def test_an_empty_negative_is_the_begin_token_and_a_real_one_has_its_system_prompt(pipe):
    assert pipe.encode_negative([""]).lengths == [1]
    assert pipe.encode_negative(["cat"]).lengths[0] > 20
    assert pipe.encode_negative(["cat"], "").lengths[0] < 5


# ---- samplers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_runs_and_ends_without_noise(pipe, sampler):
    schedule = make_schedule(sampler, "simple", 4, 3.0)
    latents = pipe.prepare_latents([5], 64, 64)
    steps = list(pipe.denoise(pipe.encode(["cat"]), None, latents, scheduler=schedule.scheduler(), generators=seeds(5)))
    assert len(steps) == schedule.evaluations == steps[0].total
    assert steps[-1].sigma == 0
    assert steps[-1].latents.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "options", "evaluations"),
    [
        (FlowMatchHeunDiscreteScheduler, {}, 7),
        (UniPCMultistepScheduler, {"prediction_type": "flow_prediction", "use_flow_sigmas": True}, 4),
        (DPMSolverMultistepScheduler, {"prediction_type": "flow_prediction", "use_flow_sigmas": True}, 4),
    ],
)
def test_another_scheduler_can_be_put_into_the_pipeline(pipe, monkeypatch, kind, options, evaluations):
    monkeypatch.setattr(pipe, "scheduler", kind(**options))
    steps = list(pipe.denoise(pipe.encode(["cat"]), None, pipe.prepare_latents([5], 64, 64), steps=4))
    assert len(steps) == evaluations
    assert steps[-1].sigma == 0
    assert steps[-1].latents.isfinite().all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_runs(pipe, schedule):
    scheduler = make_schedule("euler", schedule, 3, 3.0).scheduler()
    steps = pipe.denoise(pipe.encode(["cat"]), None, pipe.prepare_latents([5], 64, 64), scheduler=scheduler)
    assert last(steps).isfinite().all()


def test_a_noisy_sampler_draws_each_pictures_noise_from_its_own_generator(pipe):
    def run(*values):
        scheduler = make_schedule("euler_ancestral", "simple", 3, 3.0).scheduler()
        generators = make_generators(values)
        latents = pipe.prepare_latents(generators, 64, 64)
        conditioning = pipe.encode(["cat"]).select([0] * len(values))
        return last(pipe.denoise(conditioning, None, latents, scheduler=scheduler, generators=generators))

    assert largest(run(1, 2)[1:], run(2)) < 1e-4


def test_a_finer_grid_of_any_order_comes_closer_to_the_same_picture(pipe):
    """All samplers solve one equation: with many steps Heun and Euler agree."""

    def run(sampler, steps):
        scheduler = make_schedule(sampler, "simple", steps, 1.0).scheduler()
        return last(pipe.denoise(pipe.encode(["cat"]), None, pipe.prepare_latents([5], 32, 32), scheduler=scheduler))

    exact = run("heun", 40)
    assert largest(run("euler", 40), exact) < 0.5 * largest(run("euler", 5), exact)
    assert largest(run("heun", 10), exact) < largest(run("euler", 10), exact)


def test_sigmas_of_another_kind_of_model_are_refused(pipe):
    scheduler = FlowMatchHeunDiscreteScheduler()
    scheduler.set_timesteps(2)
    scheduler.sigmas = scheduler.sigmas * 14
    with pytest.raises(ValueError, match="no flow-matching schedule"):
        next(pipe.denoise(pipe.encode(["a"]), None, pipe.prepare_latents([1], 64, 64), scheduler=scheduler))


# ---- calling -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "shape"), [("pt", (1, 3, 64, 64)), ("np", (1, 64, 64, 3)), ("latent", (1, 16, 8, 8))])
def test_output_types(pipe, kind, shape):
    assert tuple(call(pipe, "cat", output_type=kind).shape) == shape


def test_a_tuple_is_returned_on_request(pipe):
    images, *rest = pipe("cat", generator=seeds(1), return_dict=False)
    assert len(images) == 1
    assert not rest


def test_embeddings_and_latents_go_in_and_out(pipe):
    expected = call(pipe, PROMPTS[0], negative_prompt="bad")
    got = call(
        pipe,
        None,
        prompt_embeds=pipe.encode([PROMPTS[0]]),
        negative_prompt_embeds=pipe.encode_negative(["bad"]),
        latents=pipe.prepare_latents([7], 64, 64),
    )
    assert largest(got, expected) < 1e-6
    latents = call(pipe, PROMPTS[0], negative_prompt="bad", output_type="latent")
    assert largest(pipe.image_processor.postprocess(pipe.decode_pixels(latents), output_type="pt"), expected) < 1e-6


def test_encoders_can_be_released_after_encoding():
    pipe = tiny.pipeline()
    expected = call(pipe, "cat")
    encoded = {"prompt_embeds": pipe.encode(["cat"]), "negative_prompt_embeds": pipe.encode_negative([""])}
    gone = [weakref.ref(pipe.text_encoder), weakref.ref(pipe.clip_model)]
    pipe.text_encoder = pipe.clip_model = None
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    assert largest(call(pipe, None, **encoded), expected) == 0
    assert pipe.count_tokens(["cat"]) == [3]
    with pytest.raises(ValueError, match="no text encoders: hand in prompt embeddings, or load them"):
        pipe.encode(["dog"])


def test_a_call_needs_a_prompt(pipe):
    with pytest.raises(ValueError, match="Give a prompt or prompt_embeds"):
        pipe()


def test_an_unknown_option_is_refused(pipe):
    with pytest.raises(TypeError, match="guidance_renrom"):
        call(pipe, "cat", guidance_renrom=1.0)


def test_generators_must_match_the_pictures(pipe):
    with pytest.raises(ValueError, match="2 generators do not match 1 pictures"):
        call(pipe, "cat", generator=seeds(1, 2))


def test_the_callback_sees_each_step_and_may_change_the_latents(pipe):
    seen = []

    def clear(pipeline, step, timestep, tensors):
        seen.append((step, round(timestep)))
        return {"latents": tensors["latents"] * 0 if step == 1 else tensors["latents"]}

    latents = call(pipe, "cat", num_inference_steps=2, shift=1.0, callback_on_step_end=clear, output_type="latent")
    assert seen == [(0, 500), (1, 0)]
    assert latents.abs().max() == 0


def test_the_callback_may_stop_after_a_step(pipe):
    seen = []

    def stop(pipeline, step, timestep, tensors):
        seen.append(step)
        pipeline._interrupt = step == 1
        return {}

    call(pipe, "cat", num_inference_steps=5, callback_on_step_end=stop)
    assert seen == [0, 1]
    call(pipe, "cat")


def test_callbacks_get_latents_only(pipe):
    with pytest.raises(ValueError, match="latents only, not noise_pred"):
        call(pipe, "cat", callback_on_step_end_tensor_inputs=["noise_pred"])


def test_one_generator_serves_all_pictures_in_order(pipe):
    both = call(pipe, ["cat", "cat"], generator=seeds(1)[0])
    assert largest(both[0], call(pipe, "cat", generator=seeds(1))[0]) < 1e-3
    assert largest(both[0], both[1]) > 1e-2


def test_too_long_a_prompt_is_refused(pipe):
    with pytest.raises(PromptError, match="takes 1023 at most"):
        call(pipe, "zq " * 800)


def test_it_runs_in_bfloat16_close_to_float32(pipe):
    half = tiny.pipeline().to(torch.bfloat16)
    assert (call(half, PROMPTS[1]) - call(pipe, PROMPTS[1])).abs().mean() < 0.02


def test_nothing_of_a_picture_needs_gradients(pipe):
    conditioning = pipe.encode(["cat"])
    step = next(pipe.denoise(conditioning, None, pipe.prepare_latents([1], 64, 64), steps=1))
    assert not conditioning.features.requires_grad
    assert not step.latents.requires_grad
    assert torch.is_grad_enabled()


# ---- pictures ----------------------------------------------------------------------------------------------------


def test_decoding_undoes_scale_and_shift(pipe):
    z = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = pipe.vae.decode(z).sample
    assert largest(pipe.decode_pixels((z - 0.1159) * 0.3611), expected) < 1e-4


def test_a_picture_becomes_latents_as_the_vae_config_says(pipe):
    picture = Image.new("RGB", (32, 16), (200, 30, 60))
    latents = pipe.encode_picture([picture])
    pixels = torch.tensor(np.asarray(picture)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        z = pipe.vae.encode(pixels).latent_dist.mode()
    assert latents.shape == (1, 16, 2, 4)
    assert largest(latents, (z - 0.1159) * 0.3611) < 1e-4


def test_slicing_decodes_the_same_pictures(pipe):
    latents = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = pipe.decode_pixels(latents)
    pipe.vae.enable_slicing()
    assert largest(pipe.decode_pixels(latents), whole) < 1e-5
    pipe.vae.disable_slicing()


# ---- disk --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.save(tmp_path_factory.mktemp("model"))


def loaded(folder, **parts):
    pipe = NewbiePipeline.from_pretrained(folder, **parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_what_is_saved_loads_to_the_same_pictures(pipe, folder):
    again = loaded(folder)
    assert largest(call(pipe, PROMPTS[0]), call(again, PROMPTS[0])) == 0
    assert again.sidecar == pipe.sidecar
    assert again.defaults["width"] == 64


def test_the_folder_has_the_hub_layout(folder):
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {
        "model_index.json",
        "newbie_ui.json",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "text_encoder/tokenizer.json",
        "clip_model/model.safetensors",
        "clip_model/tokenizer.json",
        "vae/diffusion_pytorch_model.safetensors",
        "scheduler/scheduler_config.json",
    } <= names
    assert json.loads((folder / "model_index.json").read_text())["_class_name"] == "NewbiePipeline"


def test_parts_can_be_left_out_or_handed_in(folder, pipe):
    bare = loaded(folder, text_encoder=None, clip_model=None)
    with pytest.raises(ValueError, match="no text encoders"):
        call(bare, "cat")
    got = call(bare, None, prompt_embeds=pipe.encode(["cat"]), guidance_scale=1.0)
    assert largest(got, call(pipe, "cat", guidance_scale=1.0)) == 0
    assert bare.count_tokens(["cat"]) == pipe.count_tokens(["cat"])


def test_a_dtype_can_be_chosen(folder):
    pipe = loaded(folder, torch_dtype=torch.bfloat16)
    assert {m.dtype for m in (pipe.transformer, pipe.text_encoder, pipe.clip_model, pipe.vae)} == {torch.bfloat16}


@pytest.mark.parametrize("part", ["transformer", "text_encoder", "clip_model", "vae"])
def test_a_missing_weight_is_named(pipe, folder, tmp_path, part):
    shutil.copytree(folder, tmp_path / "m")
    (file,) = (tmp_path / "m" / part).glob("*.safetensors")
    tensors = load_file(file)
    gone = sorted(tensors)[-1]
    del tensors[gone]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=f"{part}.*lacks .*{gone}"):
        loaded(tmp_path / "m")


def test_a_missing_folder_is_named(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "m", ignore=shutil.ignore_patterns("vae"))
    with pytest.raises(CheckpointError, match=r"lacks the VAE"):
        loaded(tmp_path / "m")


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="holds no model"):
        loaded(tmp_path)


def test_a_broken_sidecar_is_named(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / "newbie_ui.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"newbie_ui.json is not valid JSON"):
        loaded(tmp_path / "m")


def test_python_files_in_the_folder_are_never_run(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "m")
    for sub in ("", "transformer", "text_encoder", "clip_model", "vae"):
        (tmp_path / "m" / sub / "modeling.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    for sub in ("text_encoder", "clip_model"):
        path = tmp_path / "m" / sub / "config.json"
        config = {**json.loads(path.read_text()), "auto_map": {"AutoModel": "modeling.Model"}}
        path.write_text(json.dumps(config))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded(tmp_path / "m")
    assert not (tmp_path / "ran").exists()


def test_pictures_are_those_of_diffusers_own_postprocess(pipe, monkeypatch):
    pixels = torch.randn(2, 3, 24, 16, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(pipe, "decode_pixels", lambda latents: pixels)
    for got, wanted in zip(pipe.decode(None), pipe.image_processor.postprocess(pixels, output_type="pil"), strict=True):
        assert got.size == (16, 24)
        assert got.tobytes() == wanted.tobytes()

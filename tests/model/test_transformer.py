"""The transformer by itself: size, padding, what can be prepared, what is refused."""

import copy
from dataclasses import fields

import pytest
import torch
from safetensors.torch import save_file

from newbie_ui.errors import CheckpointError
from newbie_ui.model.attention import NewbieAttnProcessor
from newbie_ui.model.transformer import Modulation, NewbieTransformer2DModel

TINY = {
    "dim": 48,
    "n_layers": 3,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 1,
    "multiple_of": 32,
    "cap_feat_dim": 20,
    "axes_dims": (8, 8, 8),
    "axes_lens": (64, 32, 32),
    "clip_text_dim": 12,
}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return NewbieTransformer2DModel(**TINY).eval()


@pytest.fixture(scope="module")
def inputs():
    g = torch.Generator().manual_seed(1)
    return {
        "hidden_states": torch.randn(2, 16, 6, 8, generator=g),
        "timestep": torch.tensor([0.2, 0.7]),
        "encoder_hidden_states": torch.randn(2, 9, 20, generator=g),
        "encoder_attention_mask": torch.arange(9) < torch.tensor([[9], [4]]),
        "pooled_projections": torch.randn(2, 12, generator=g),
    }


def close(a, b, tolerance=2e-6):
    assert (a - b).abs().max().item() <= tolerance


@torch.no_grad()
def run(model, inputs, **changes):
    return model(**{**inputs, **changes}).sample


def test_full_size_has_the_published_number_of_parameters():
    with torch.device("meta"):
        model = NewbieTransformer2DModel()
    count = sum(p.numel() for p in model.parameters())
    assert count == 3_486_636_096
    assert round(count / 1e9, 3) in (3.486, 3.487)
    assert model.layers[0].feed_forward.w1.out_features == 9216


def test_velocity_has_the_shape_of_the_latents(model, inputs):
    assert run(model, inputs).shape == (2, 16, 6, 8)
    assert run(model, inputs).abs().max() > 0.01


def test_a_padded_batch_equals_its_unpadded_members(model, inputs):
    both = run(model, inputs)
    for i, length in enumerate((9, 4)):
        alone = {k: v[i : i + 1] for k, v in inputs.items()}
        alone["encoder_hidden_states"] = alone["encoder_hidden_states"][:, :length]
        alone["encoder_attention_mask"] = None
        close(both[i : i + 1], run(model, alone))


def test_what_stands_in_the_padding_does_not_matter(model, inputs):
    features = inputs["encoder_hidden_states"].clone()
    features[1, 4:] = 1e4
    close(run(model, inputs), run(model, inputs, encoder_hidden_states=features))


def test_padding_by_channels_equals_padding_by_mask(inputs):
    torch.manual_seed(0)
    model = NewbieTransformer2DModel(**TINY).eval()
    model.set_padding_method("mask")
    masked = run(model, inputs)
    model.set_padding_method("channels")
    close(masked, run(model, inputs))
    assert {p.padding for p in model.attn_processors.values()} == {"channels"}


def test_an_unknown_padding_method_is_refused_by_name(model):
    with pytest.raises(ValueError, match=r"'varlen' is unknown. Use one of: auto, mask, channels"):
        model.set_padding_method("varlen")


def test_a_full_mask_equals_no_mask(model, inputs):
    full = torch.ones(2, 9, dtype=torch.bool)
    close(run(model, inputs, encoder_attention_mask=full), run(model, inputs, encoder_attention_mask=None))


@torch.no_grad()
def test_prepared_parts_give_the_same_velocity(model, inputs):
    caption = model.prepare_caption(
        inputs["encoder_hidden_states"], inputs["encoder_attention_mask"], inputs["pooled_projections"]
    )
    rotary = model.prepare_rotary(caption, 6, 8)
    schedule = torch.tensor([0.1, 0.5, 0.9])
    prepared = model.prepare_modulation(schedule, caption.pooled, batch=2, dtype=torch.float32)
    assert len(prepared) == 3
    for t, modulation in zip(schedule, prepared):
        expected = run(model, inputs, timestep=t.expand(2))
        close(model(inputs["hidden_states"], caption=caption, rotary=rotary, modulation=modulation).sample, expected)


@torch.no_grad()
def test_prepared_parts_without_pooled_text(model, inputs):
    caption = model.prepare_caption(inputs["encoder_hidden_states"])
    (modulation,) = model.prepare_modulation(torch.tensor([0.5]), None, batch=2, dtype=torch.float32)
    expected = run(model, inputs, timestep=torch.full((2,), 0.5), encoder_attention_mask=None, pooled_projections=None)
    close(model(inputs["hidden_states"], caption=caption, modulation=modulation).sample, expected)


@torch.no_grad()
def test_prepared_modulation_needs_no_adaln_weight_at_a_step(model, inputs):
    caption = model.prepare_caption(inputs["encoder_hidden_states"], None, inputs["pooled_projections"])
    (modulation,) = model.prepare_modulation(torch.tensor([0.5]), caption.pooled, batch=2, dtype=torch.float32)
    expected = model(inputs["hidden_states"], caption=caption, modulation=modulation).sample
    bare = copy.deepcopy(model)
    for block in (*bare.layers, *bare.noise_refiner, bare.final_layer):
        block.adaLN_modulation = None
    close(bare(inputs["hidden_states"], caption=caption, modulation=modulation).sample, expected)
    assert [f.name for f in fields(Modulation)] == ["noise_refiner", "layers", "final"]


def test_time_and_pooled_text_and_caption_all_matter(model, inputs):
    base = run(model, inputs)
    for name in ("timestep", "pooled_projections", "encoder_hidden_states"):
        assert (run(model, inputs, **{name: inputs[name].sin()}) - base).abs().max() > 1e-3


def test_float16_is_refused_with_what_to_use(model, inputs):
    with pytest.raises(ValueError, match=r"float16 overflows.*bfloat16"):
        run(model, inputs, hidden_states=inputs["hidden_states"].half())


def test_more_caption_tokens_than_positions_are_refused(model):
    with pytest.raises(ValueError, match="65 caption tokens do not fit the 64"):
        model.prepare_caption(torch.zeros(1, 65, 20))


def test_latents_larger_than_the_positions_are_refused(model, inputs):
    with pytest.raises(ValueError, match="66×8"):
        run(model, inputs, hidden_states=torch.zeros(2, 16, 66, 8))


def test_head_width_and_axes_must_agree():
    with pytest.raises(ValueError, match="add up to the head width 24"):
        NewbieTransformer2DModel(**{**TINY, "axes_dims": (8, 8, 4)})


def test_save_and_load_give_the_same_numbers(tmp_path, model, inputs):
    model.save_pretrained(tmp_path)
    again, info = NewbieTransformer2DModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    close(run(model, inputs), run(again.eval(), inputs), 0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"layers.1.attention.qkv.weight": None}, r"lacks layers\.1\.attention\.qkv\.weight \(1 in all\)"),
        ({"layers.9.extra": torch.ones(1)}, r"has unknown layers\.9\.extra \(1 in all\)"),
    ],
)
def test_what_is_missing_or_unknown_is_an_error_where_diffusers_only_warns(change, sentence, tmp_path, model):
    state = {**model.state_dict(), **change}
    model.save_pretrained(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor for name, tensor in state.items() if tensor is not None}, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"official names\) {sentence}\. Download it again, or load it with"):
        NewbieTransformer2DModel.from_pretrained(tmp_path)


def test_a_new_training_starts_inert_and_learns(inputs):
    torch.manual_seed(0)
    model = NewbieTransformer2DModel(**TINY)
    model.init_weights()
    assert run(model, inputs).abs().max() == 0
    model(**inputs).sample.sub(1).square().mean().backward()
    assert model.final_layer.linear.weight.grad.abs().sum() > 0


def test_every_refiner_stays_out_of_a_context_parallel_group(model):
    processors = model.attn_processors
    assert all(isinstance(p, NewbieAttnProcessor) for p in processors.values())
    grouped = {name for name, p in processors.items() if hasattr(p, "_parallel_config")}
    assert grouped == {f"layers.{i}.attention.processor" for i in range(3)}

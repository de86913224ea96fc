"""NovelAI, stealth texts, SwarmUI, InvokeAI, Fooocus, and copies in other file formats."""

from __future__ import annotations

import gzip
import json

import pytest
from PIL import Image

from newbie_ui.gallery.exif import write_exif
from newbie_ui.gallery.foreign import a1111
from newbie_ui.gallery.metadata import read
from tests.gallery.making import itxt_chunk, png, png_with

COMMENT = {
    "prompt": "2girls",
    "uc": "bad",
    "steps": 23,
    "scale": 5.5,
    "seed": 0,
    "width": 832,
    "height": 1216,
    "sampler": "k_euler",
    "noise_schedule": "karras",
    "v4_prompt": {
        "caption": {
            "base_caption": "2girls",
            "char_captions": [
                {"char_caption": "girl, red", "centers": [{"x": 0.3, "y": 0.5}]},
                {"char_caption": "boy, 1.2::blue::", "centers": []},
            ],
        },
        "use_coords": True,
    },
    "v4_negative_prompt": {"caption": {"char_captions": [{"char_caption": "hat"}]}},
}
A1111 = "a girl\nNegative prompt: bad\nSteps: 20, Sampler: Euler a, CFG scale: 5, Seed: 7, Size: 64x96, Version: f2.0"


# ---- NovelAI ------------------------------------------------------------------------------------------------------


def test_novelai_characters_come_with_their_negatives_and_places(tmp_path):
    found = read(png_with(tmp_path / "a.png", Software="NovelAI", Comment=COMMENT, Source="NovelAI Diffusion V4.5 X"))
    assert [(c.text, c.negative, c.center) for c in found.characters] == [
        ("girl, red", "hat", (0.3, 0.5)),
        ("boy, 1.2::blue::", "", None),
    ]
    assert (found.seed, found.negative, found.model) == (0, "bad", "NovelAI Diffusion V4.5 X")
    assert "weights" in found.notes[0]


def test_places_that_novelai_chose_itself_are_not_taken(tmp_path):
    chosen = {**COMMENT, "v4_prompt": {**COMMENT["v4_prompt"], "use_coords": False}}
    found = read(png_with(tmp_path / "a.png", Software="NovelAI", Comment=chosen))
    assert {c.center for c in found.characters} == {None}


def test_a_comment_inside_the_comment_is_opened(tmp_path):
    nested = {"Comment": json.dumps(COMMENT)}
    assert read(png_with(tmp_path / "a.png", Software="NovelAI", Comment=nested)).steps == 23


def test_a_broken_comment_gives_what_can_be_found_and_the_description(tmp_path):
    cut = json.dumps({key: value for key, value in COMMENT.items() if key != "prompt"})[:90]
    found = read(png_with(tmp_path / "a.png", Software="NovelAI", Comment=cut, Description="2girls", Source="V4.5"))
    assert found.partial
    assert (found.program, found.prompt, found.model, found.steps) == ("NovelAI", "2girls", "V4.5", 23)
    assert "damaged" in found.problems[0]


def test_a_missing_comment_is_told(tmp_path):
    found = read(png_with(tmp_path / "a.png", Software="NovelAI", Description="2girls"))
    assert found.partial
    assert found.prompt == "2girls"


def test_novelai_webp_copies_are_read_from_exif(tmp_path):
    exif = write_exif(
        {
            "DocumentName": "NovelAI generated image",
            "ImageDescription": "2girls",
            "Software": "NovelAI Diffusion V4.5 4BDE2A90",
            "UserComment": json.dumps({"Comment": json.dumps(COMMENT)}),
        }
    )
    Image.new("RGB", (8, 8)).save(tmp_path / "a.webp", exif=exif)
    found = read(tmp_path / "a.webp")
    assert (found.program, found.model, found.steps) == ("NovelAI", "NovelAI Diffusion V4.5 4BDE2A90", 23)


# ---- stealth ------------------------------------------------------------------------------------------------------


def hide(image: Image.Image, signature: bytes, data: bytes) -> Image.Image:
    """Write a hidden text the slow and obvious way, pixel by pixel."""
    payload = signature + (len(data) * 8).to_bytes(4, "big") + data
    bits = [byte >> shift & 1 for byte in payload for shift in range(7, -1, -1)]
    pixels, index, alpha = image.load(), 0, b"rgb" not in signature
    for x in range(image.width):
        for y in range(image.height):
            values = list(pixels[x, y])
            for channel in [3] if alpha else [0, 1, 2]:
                if index < len(bits):
                    values[channel] = values[channel] & ~1 | bits[index]
                    index += 1
            pixels[x, y] = tuple(values)
    assert index == len(bits)
    return image


@pytest.mark.parametrize(
    ("mode", "signature"),
    [
        ("RGBA", b"stealth_pngcomp"),
        ("RGBA", b"stealth_pnginfo"),
        ("RGB", b"stealth_rgbcomp"),
        ("RGB", b"stealth_rgbinfo"),
    ],
)
@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_hidden_texts_are_found_in_alpha_and_colours(tmp_path, mode, signature, format):
    data = gzip.compress(A1111.encode()) if signature.endswith(b"comp") else A1111.encode()
    colour = (200, 100, 50, 255)[: len(mode)]
    image = hide(Image.new(mode, (61, 53), colour), signature, data)
    image.save(tmp_path / "a", format, **({"lossless": True, "exact": True} if format == "WEBP" else {}))
    found = read(tmp_path / "a")
    assert (found.program, found.prompt, found.seed) == ("Forge", "a girl", 7)


def test_novelais_hidden_json_is_read_like_its_chunks(tmp_path):
    data = {"Description": "2girls", "Software": "NovelAI", "Source": "V4.5", "Comment": json.dumps(COMMENT)}
    image = Image.new("RGBA", (100, 100), (9, 9, 9, 255))
    hide(image, b"stealth_pngcomp", gzip.compress(json.dumps(data).encode())).save(tmp_path / "a.png")
    found = read(tmp_path / "a.png")
    assert (found.program, found.model, len(found.characters)) == ("NovelAI", "V4.5", 2)


def test_a_hidden_text_with_an_impossible_length_is_told(tmp_path):
    image = Image.new("RGBA", (40, 40), (9, 9, 9, 255))
    hide(image, b"stealth_pngcomp", b"x")
    pixels = image.load()
    for bit in range(15 * 8, 19 * 8):
        pixels[bit // 40, bit % 40] = (9, 9, 9, 255)
    image.save(tmp_path / "a.png")
    found = read(tmp_path / "a.png")
    assert found.partial
    assert "larger than the picture" in found.problems[0]


def test_a_hidden_bomb_is_told(tmp_path):
    image = Image.new("RGBA", (300, 300), (9, 9, 9, 255))
    hide(image, b"stealth_pngcomp", gzip.compress(b"0" * 5_000_000)).save(tmp_path / "a.png")
    found = read(tmp_path / "a.png")
    assert "more than 1,048,576 bytes" in found.problems[0]


def test_a_chunk_comes_before_a_hidden_text(tmp_path):
    found = read(png(tmp_path / "a.png", itxt_chunk("parameters", A1111)))
    assert found.prompt == "a girl"


# ---- SwarmUI ------------------------------------------------------------------------------------------------------

SWARM = {
    "sui_image_params": {
        "prompt": "a red hat <segment:face>",
        "negativeprompt": "",
        "model": "dir/sd_xl_base_1.0",
        "seed": "18446744073709551615",
        "steps": "20",
        "cfgscale": "7.5",
        "width": 896,
        "height": 1152,
        "sampler": "euler",
        "scheduler": "karras",
        "loras": "a/one, two",
        "loraweights": "0.8,1.1",
        "refinerupscale": 1.5,
    },
    "sui_extra_data": {"original_prompt": "a <random:red,blue> hat"},
}


def test_swarmui_values_may_be_texts_and_comma_lists(tmp_path):
    found = read(png_with(tmp_path / "a.png", parameters=SWARM))
    assert (found.seed, found.steps, found.cfg, found.negative) == (2**64 - 1, 20, 7.5, "")
    assert found.loras == (("one", 0.8), ("two", 1.1))
    assert found.original_prompt == "a <random:red,blue> hat"
    assert (found.model, found.hires) == ("sd_xl_base_1.0", {"scale": 1.5})


def test_settings_without_a_field_of_ours_are_kept_as_texts(tmp_path):
    params = {
        **SWARM["sui_image_params"],
        "clipstopatlayer": -2,
        "lorasectionconfinement": [0, 5],
        "automaticvae": True,
    }
    data = {"sui_image_params": params, "sui_extra_data": {"date": "2026-01-03", "note": None, "long": "x" * 9000}}
    extra = read(png_with(tmp_path / "a.png", parameters=data)).extra
    assert (extra["clipstopatlayer"], extra["lorasectionconfinement"], extra["automaticvae"]) == (
        "-2",
        "[0, 5]",
        "true",
    )
    assert extra["date"] == "2026-01-03"
    assert "note" not in extra
    assert len(extra["long"]) < 3000
    assert extra["long"].endswith("…")
    comment = {**COMMENT, "cfg_rescale": 0.2, "controlnet_model": None}
    novelai = png_with(tmp_path / "b.png", Software="NovelAI", Comment=comment)
    assert read(novelai).extra == {"cfg_rescale": "0.2"}
    invokeai = png_with(tmp_path / "c.png", invokeai_metadata={"positive_prompt": "p", "refiner_steps": 5})
    assert read(invokeai).extra == {"refiner_steps": "5"}
    fooocus = png_with(tmp_path / "d.png", parameters={"base_model": "m", "refiner_switch": 0.5, "styles": "['a']"})
    assert read(fooocus).extra == {"refiner_switch": "0.5", "styles": "['a']"}


def test_more_characters_than_are_read_are_told(tmp_path):
    many = [{"char_caption": f"girl, {number}"} for number in range(30)]
    comment = {"prompt": "p", "v4_prompt": {"caption": {"base_caption": "p", "char_captions": many}}}
    found = read(png_with(tmp_path / "a.png", Software="NovelAI", Comment=comment))
    assert len(found.characters) == 20
    assert "Only the first 20 characters" in " ".join(found.notes)


def test_swarmui_wins_over_a_comfyui_graph_in_the_same_file(tmp_path):
    graph = {"1": {"class_type": "KSampler", "inputs": {"seed": 1}}}
    assert read(png_with(tmp_path / "a.png", prompt=graph, parameters=SWARM)).program == "SwarmUI"


def test_swarmui_jpeg_copies_are_read(tmp_path):
    exif = b"Exif\0\0" + write_exif({"UserComment": json.dumps(SWARM)})
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=exif)
    assert read(tmp_path / "a.jpg").program == "SwarmUI"


def test_cut_swarmui_data_gives_what_can_be_found(tmp_path):
    found = read(png_with(tmp_path / "a.png", parameters=json.dumps(SWARM)[:200]))
    assert found.partial
    assert (found.program, found.prompt, found.model) == ("SwarmUI", "a red hat <segment:face>", "sd_xl_base_1.0")


# ---- InvokeAI -----------------------------------------------------------------------------------------------------


def test_older_invokeai_models_and_loras_are_read(tmp_path):
    data = {
        "positive_prompt": "p",
        "negative_prompt": None,
        "cfg_scale": [7.0, 6.0],
        "model": {"model_name": "old", "base_model": "sdxl"},
        "loras": [{"lora": {"model_name": "x"}, "weight": 0.5}, {"model": {"name": "y"}, "weight": "0.25"}],
        "guidance": 3.5,
    }
    found = read(png_with(tmp_path / "a.png", invokeai_metadata=data))
    assert (found.prompt, found.negative, found.cfg, found.model) == ("p", None, 7.0, "old")
    assert found.loras == (("x", 0.5), ("y", 0.25))
    assert found.extra["guidance"] == "3.5"


def test_invokeai_2_and_1_are_read(tmp_path):
    image = {"prompt": [{"prompt": "a cat [dog] sleeping", "weight": 1}], "seed": 3, "steps": 9, "cfg_scale": 7.5}
    found = read(png_with(tmp_path / "a.png", **{"sd-metadata": {"image": image, "model_weights": "sd-1.5"}}))
    assert (found.prompt, found.negative, found.seed, found.model) == ("a cat sleeping", "dog", 3, "sd-1.5")
    dream = '"a cat [dog]" -s 30 -S 42 -W 512 -H 768 -C 7.5 -A k_lms'
    found = read(png_with(tmp_path / "a.png", Dream=dream))
    assert (found.prompt, found.negative, found.steps, found.seed) == ("a cat", "dog", 30, 42)
    assert (found.width, found.height, found.cfg, found.sampler) == (512, 768, 7.5, "k_lms")


def test_broken_invokeai_data_is_told(tmp_path):
    found = read(png_with(tmp_path / "a.png", invokeai_metadata='{"positive_prompt": "p", "seed": 5, "model": {'))
    assert (found.partial, found.prompt, found.seed) == (True, "p", 5)
    assert read(png_with(tmp_path / "a.png", **{"sd-metadata": "{"})).partial
    assert read(png_with(tmp_path / "a.png", Dream="no quotes")).problems


# ---- Fooocus ------------------------------------------------------------------------------------------------------


def test_fooocus_a1111_scheme_prefers_the_users_words(tmp_path):
    text = (
        "styled prompt\nNegative prompt: styled bad\nSteps: 30, Sampler: DPM++ 2M SDE, Scheduler: karras, Seed: 5, "
        'Size: 832x1216, CFG scale: 4, Raw prompt: "a, b", Raw negative prompt: c, Model: m, '
        'Lora weights: "x_1.0: 0.1, y: -0.25", Version: Fooocus v2.5.5'
    )
    for extra in ({"fooocus_scheme": "a1111"}, {}):
        found = read(png_with(tmp_path / "a.png", parameters=text, **extra))
        assert (found.program, found.prompt, found.negative, found.scheduler) == ("Fooocus", "a, b", "c", "karras")
        assert found.loras == (("x_1.0", 0.1), ("y", -0.25))


def test_the_forks_json_is_read_and_tuples_in_texts_are_never_run(tmp_path):
    data = {"Prompt": "p", "Negative": "n", "cfg": 4, "sampler_name": "euler", "base_model_name": "m.safetensors"}
    found = read(png_with(tmp_path / "a.png", parameters={**data, "software": "RuinedFooocus", "seed": 1}))
    assert (found.program, found.prompt, found.model, found.seed) == ("Fooocus", "p", "m", 1)
    hostile = {"base_model": "m", "resolution": "__import__('os').system('true')", "prompt": "p"}
    assert read(png_with(tmp_path / "a.png", parameters=hostile)).width is None


def test_fooocus_copies_in_exif_are_read(tmp_path):
    data = {"base_model": "m", "prompt": "p", "resolution": "(832, 1216)", "seed": "7", "metadata_scheme": "fooocus"}
    exif = write_exif({"UserComment": json.dumps(data), "MakerNote": "fooocus", "Software": "Fooocus v2.5"})
    Image.new("RGB", (8, 8)).save(tmp_path / "a.webp", exif=exif)
    found = read(tmp_path / "a.webp")
    assert (found.program, found.width, found.height, found.seed) == ("Fooocus", 832, 1216, 7)


# ---- everything ---------------------------------------------------------------------------------------------------


def test_a1111_jpeg_copies_and_comfyui_webp_copies_are_read(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + write_exif({"UserComment": A1111}))
    assert read(tmp_path / "a.jpg").seed == 7
    graph = json.dumps({"1": {"class_type": "SaveImage", "inputs": {}}})
    Image.new("RGB", (8, 8)).save(tmp_path / "a.webp", exif=write_exif({"Model": f"prompt:{graph}"}))
    assert read(tmp_path / "a.webp").program == "ComfyUI"


def test_keywords_in_other_capitals_are_taken_where_none_is_spelled_right(tmp_path):
    assert read(png_with(tmp_path / "a.png", Parameters=A1111)).seed == 7
    other = A1111.replace("Seed: 7", "Seed: 8")
    assert read(png_with(tmp_path / "a.png", Parameters=other, parameters=A1111)).seed == 7


def test_a_plain_picture_says_so_and_fills_nothing(tmp_path):
    found = read(png_with(tmp_path / "a.png", Comment="Created with GIMP", Software="GIMP 2.10"))
    assert not found.found
    assert found.form() == ({}, ())
    assert "says nothing" in found.problems[0]


@pytest.mark.parametrize("format", ["PNG", "WEBP", "JPEG"])
def test_a_file_without_a_picture_in_it_is_not_called_a_picture_that_says_nothing(tmp_path, format):
    path = tmp_path / "a"
    Image.effect_noise((64, 64), 60).convert("RGB").save(path, format)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = read(path)
    assert found.problems[0] == "This file is no picture that can be read. The form is unchanged."
    assert (found.found, found.partial) == (False, True)


def test_xml_with_entities_is_decoded_in_characters_only(tmp_path):
    prompt = (
        "<character_1><n>a &amp; b</n><gender>1girl</gender><action>&lt;3, &#x2665; &nosuch;</action></character_1>"
    )
    found = read(png_with(tmp_path / "a.png", parameters=f"{prompt}\nSteps: 1, Sampler: x, Seed: 2"))
    assert found.prompt == prompt
    assert found.characters[0].text == "a & b, 1girl, <3, ♥ &nosuch;"


def test_the_form_translates_names_and_says_what_it_cannot():
    settings = "Steps: 400, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6, Seed: 5, Size: 1000x1024"
    info = a1111.read(f"p\nNegative prompt:\n{settings}")
    values, sentences = info.form()
    assert values["sampler"] == "dpmpp_2m"
    assert values["schedule"] == "karras"
    assert (values["width"], values["height"], values["negative_prompt"]) == (1008, 1024, "")
    assert "steps" not in values
    assert any("Steps 400" in sentence for sentence in sentences)
    assert any("1000 became 1008" in sentence for sentence in sentences)
    _, sentences = a1111.read("p\nSteps: 4, Sampler: Res Multistep, Schedule type: Automatic, Seed: 5").form()
    assert sentences == ("Sampler 'Res Multistep' does not exist here. The form keeps its own.",)

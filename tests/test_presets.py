"""Presets are read strictly, sorted by what fits, and all documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from newbie_ui.errors import PresetError
from newbie_ui.presets import KEYS, Preset, choose, load_preset, load_presets, rank, resolve_8bit

PROJECT = Path(__file__).parent.parent
SHIPPED = load_presets(PROJECT / "presets")


def write(tmp_path, text):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    return file


def recommended(kind, total_gb, small_model=False):
    return choose(SHIPPED, "auto", kind, total_gb, small_model).name


def test_a_file_holds_only_the_differences(tmp_path):
    preset = load_preset(write(tmp_path, 'offload = "model"\ndevice_gb = 12\n'))
    assert preset == Preset(name="mine", label="Mine", offload="model", device_gb=12.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ofload = 1", "Preset mine.toml has the unknown key 'ofload'. Known keys: label, summary"),
        ('name = "other"', "Preset mine.toml has the unknown key 'name'"),
        ('offload = "all"', "Preset mine.toml: offload is 'all'. Use one of: off, encoders, model, turns, group."),
        ("batch = 99", "Preset mine.toml: batch is 99. Use a number from 1 to 16."),
        ("batch = true", "Preset mine.toml: batch is True. Use a number from 1 to 16."),
        ("tf32 = 1", "Preset mine.toml: tf32 is 1. Use true or false."),
        ("label = [1]", "Preset mine.toml: label is [1]. Use text in quotes."),
        ("device_gb = nan", "Preset mine.toml: device_gb is nan. Use a number from 0 to 1000."),
        ("[a]\nb = 1", "Preset mine.toml has the unknown key 'a'"),
        ('warm_sizes = "1024"', "Preset mine.toml: warm_sizes is '1024'. Use sizes with spaces between them"),
        ("label = ", "Preset mine.toml cannot be read"),
    ],
)
def test_a_wrong_file_is_named_with_its_key_and_remedy(tmp_path, text, message):
    with pytest.raises(PresetError, match=re.escape(message)):
        load_preset(write(tmp_path, text))


def test_an_empty_folder_and_binary_rubbish_are_explained(tmp_path):
    with pytest.raises(PresetError, match="There is no preset in"):
        load_presets(tmp_path)
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PresetError, match=r"Preset x\.toml cannot be read"):
        load_presets(tmp_path)


@pytest.mark.parametrize(
    ("total_gb", "name"),
    [(85, "quality"), (25.4, "quality"), (24.1, "quality"), (21, "balanced"), (16.7, "balanced"), (15.8, "balanced"),
     (12.6, "economy"), (8.2, "small"), (6.2, "minimal"), (4, "minimal")],
)  # fmt: skip
def test_each_card_gets_the_fastest_preset_that_fits(total_gb, name):
    assert recommended("cuda", total_gb) == name


def test_a_machine_without_a_card_gets_the_processor_preset_even_when_short_of_memory():
    assert recommended("cpu", 64) == "cpu"
    assert recommended("cpu", 8) == "cpu"


def test_the_small_demo_model_fits_every_card():
    assert recommended("cuda", 4, small_model=True) == "quality"
    assert all(row.fits for row in rank(SHIPPED, "cuda", 4, small_model=True) if row.preset.device == "cuda")


def test_those_that_fit_come_first_and_the_others_say_why_with_both_numbers():
    rows = rank(SHIPPED, "cuda", 12.6)
    assert [row.preset.name for row in rows] == ["economy", "small", "minimal", "balanced", "quality", "turbo", "cpu"]
    assert [row.recommended for row in rows] == [True] + [False] * 6
    assert rows[3].reason == "needs a card with 16 GB; this one has 12.6 GB"
    assert rows[6].reason == "is for machines without a card; this engine uses one"
    assert rank(SHIPPED, "cpu", 32)[-1].reason == "needs a card with 24 GB; this machine has none"


def test_a_preset_kept_from_auto_is_not_recommended():
    lossy = Preset(name="lossy", device_gb=30, auto=False)
    assert choose([*SHIPPED, lossy], "auto", "cuda", 80).name == "quality"
    assert choose([*SHIPPED, lossy], "lossy", "cuda", 80) is lossy


def test_only_turbo_gives_up_guidance_and_steps_and_only_when_asked():
    for preset in SHIPPED:
        lossy = preset.step_cache > 0 or preset.guidance_end < 1
        assert lossy == (preset.name == "turbo") == (not preset.auto)


def test_an_unknown_or_too_large_preset_is_refused_with_what_to_use():
    with pytest.raises(PresetError, match=r"Preset 'best' is unknown\. Use auto or one of: balanced, cpu, economy"):
        choose(SHIPPED, "best", "cuda", 80)
    with pytest.raises(PresetError, match=r"needs a card with 24 GB; this one has 12\.6 GB\. Use 'economy' or auto"):
        choose(SHIPPED, "quality", "cuda", 12.6)


@pytest.mark.parametrize(
    ("capability", "meaning"),
    [((9, 0), "fp8"), ((10, 0), "fp8"), ((8, 9), "int8"), ((8, 0), "int8"), ((7, 5), "off"), (None, "off")],
)
def test_8bit_means_what_the_card_can_do(capability, meaning):
    assert resolve_8bit("8bit", capability) == meaning


def test_the_articles_three_presets_have_its_settings():
    by_name = {preset.name: preset for preset in SHIPPED}
    quality, balanced, economy = by_name["quality"], by_name["balanced"], by_name["economy"]
    assert all(p.compile == "block" and p.attention == "auto" for p in (quality, balanced, economy))
    assert (quality.tiling, balanced.tiling, economy.offload) == ("auto", "on", "turns")


def test_every_preset_and_every_key_is_documented_as_declared():
    page = (PROJECT / "docs" / "presets.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.M))
    for key, declared in KEYS.items():
        assert declared.metadata["help"] in rows[key]
        assert all(f"`{choice}`" in rows[key] for choice in declared.metadata.get("choices", ()))
    for preset in SHIPPED:
        assert f"{preset.device_gb:g} | {preset.peak_gb:g} | {preset.summary}" in rows[preset.name]
    assert set(rows) == set(KEYS) | {preset.name for preset in SHIPPED}

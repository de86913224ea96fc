"""The bench: its arithmetic, its ladder, and one whole run on a tiny model."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from diffusers import FirstBlockCacheConfig

from newbie_ui.bench import accuracy, ceilings, command
from newbie_ui.bench.ceilings import measure_ceilings
from newbie_ui.bench.command import main
from newbie_ui.bench.measure import psnr
from newbie_ui.bench.reference import _made, random_pipeline, with_reference
from newbie_ui.bench.rungs import ladder
from newbie_ui.bench.work import layer_shapes, step_work
from newbie_ui.engine import measure
from newbie_ui.engine.base import DeviceInfo
from newbie_ui.errors import EngineError
from newbie_ui.model.transformer import NewbieTransformer2DModel
from newbie_ui.presets import Preset
from tests import flash4, tiny

TURBO = Preset(name="turbo", guidance_end=0.4, step_cache=0.2)
FULL = {
    "dim": 2304,
    "n_layers": 36,
    "n_refiner_layers": 2,
    "n_heads": 24,
    "n_kv_heads": 8,
    "multiple_of": 256,
    "ffn_dim_multiplier": None,
}


def test_the_work_of_the_full_size_is_what_it_is_known_to_be():
    assert layer_shapes(FULL).weights == pytest.approx(77.9e6, rel=0.01)
    assert layer_shapes(FULL).all_heads == (24, 8)
    work = step_work(FULL, 1024, 1024, [304, 304])
    assert work.matmul == pytest.approx(52e12, rel=0.01)
    assert work.attention == pytest.approx(13.5e12, rel=0.01)


def test_the_floor_is_the_work_at_the_measured_rates():
    config = dict(tiny.pipeline().transformer.config)
    rates = measure_ceilings(config, torch.device("cpu"), torch.float32, tokens=32, rounds=2)
    assert set(rates.matmul) == {"qkv", "out", "w1+w3", "w2"}
    assert set(rates.attention) == {"native"}
    small, large = (rates.floor_s(step_work(config, 64, side, [16]), config) for side in (64, 128))
    assert 0 < small < large


def test_kernels_that_fail_or_are_not_there_are_left_out_of_the_ceilings(monkeypatch):
    for name, work in (("_flex", lambda *shape: 1 / 0), ("_varlen", lambda device, dtype, rows, *rest: lambda: rows)):
        monkeypatch.setattr(ceilings, name, work)
    monkeypatch.setattr(measure, "synchronize", lambda device: None)
    shape = (2, 16, 2, 8)
    assert set(ceilings.others_s(torch.device("cuda"), torch.bfloat16, shape, rounds=1)) == {"varlen"}
    assert ceilings.others_s(torch.device("cpu"), torch.bfloat16, shape, rounds=1) == {}


def test_a_card_climbs_further_than_a_processor():
    names = [rung.name for rung in ladder(DeviceInfo("cuda", "A card", 80.0, (9, 0)), TURBO)]
    assert names == [
        "reference", "reference-compiled", "eager", "attention", "compiled", "vae", "graphs", "split", "stripes", "fp8",
        "interval", "turbo",
    ]  # fmt: skip
    older = {rung.name: rung for rung in ladder(DeviceInfo("cuda", "A card", 24.0, (8, 6)))}
    assert older["int8"].preset.compile == "block"
    assert not older["int8"].lossless
    assert older["compiled"].lossless
    assert "attention" not in [rung.name for rung in ladder(DeviceInfo("cpu", "A processor", 16.0))]


def test_each_rung_keeps_what_the_rungs_before_it_added():
    rungs = {rung.name: rung.preset for rung in ladder(DeviceInfo("cuda", "A card", 80.0, (9, 0)), TURBO)}
    last = rungs["turbo"]
    assert (last.guidance_end, last.step_cache) == (TURBO.guidance_end, TURBO.step_cache)
    assert (last.split_guidance, last.graph_side) == (False, 0)
    assert (last.attention, last.compile, last.compile_vae, last.quantize) == ("auto", "block", True, "fp8")
    assert last.tiling == "off"  # it costs time: a side step


def test_only_rungs_that_do_all_the_work_in_the_usual_format_are_held_against_the_floor():
    rungs = ladder(DeviceInfo("cuda", "A card", 80.0, (9, 0)), TURBO)
    assert [rung.name for rung in rungs if not rung.full_work] == ["interval", "turbo"]
    assert "bfloat16" in [r.name for r in ladder(DeviceInfo("cpu", "A processor", 16.0)) if not r.full_work]


@torch.no_grad()
def test_the_reference_transformer_stands_in_for_ours():
    pipe = with_reference(tiny.pipeline())
    conditioning = pipe.encode(["blue_hair"], "")
    steps = list(pipe.denoise(conditioning, pipe.encode([""], ""), pipe.prepare_latents([1], 64, 64), steps=2))
    assert steps[-1].latents.isfinite().all()


def test_equal_pictures_have_the_highest_psnr():
    torch.manual_seed(0)
    picture = (torch.rand(8, 8, 3) * 255).numpy()
    assert psnr([picture], [picture]) == 99.0
    assert psnr([picture], [picture + 10]) == pytest.approx(28.13, abs=0.01)
    assert psnr([picture], []) is None


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """stdout lines and the CSV of one run on the tiny model."""
    folder = tmp_path_factory.mktemp("bench")
    tiny.save(folder / "model")
    argv = ["--model", str(folder / "model"), "--rungs", "reference,eager,stripes", "--device", "cpu"]
    argv += ["--rounds", "2", "--steps", "2", "--csv", str(folder / "bench.csv")]
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr("builtins.print", lambda *a, **k: lines.append((" ".join(map(str, a)), k.get("file"))))
        assert main(argv) == 0
    return [line for line, _ in lines], folder / "bench.csv"


def test_a_run_tells_the_ceilings_first_and_ends_with_one_json_line(run):
    lines, _ = run
    assert "TFLOP/s at this model's shapes" in lines[1]
    data = json.loads(lines[-1])
    by_name = {result["rung"]: result for result in data["results"]}
    assert list(by_name) == ["reference", "eager", "stripes"]
    assert by_name["stripes"]["velocity_error"] < 1e-5
    assert by_name["stripes"]["psnr_db"] > 40
    assert by_name["eager"]["velocity_error"] == 0  # float32 itself
    assert by_name["eager"]["encode_new_s"] > by_name["eager"]["encode_s"] > 0
    assert all(r["recompiled"] == 0 for r in by_name.values())
    assert by_name["reference"]["velocity_error"] is by_name["reference"]["new_prompt_s"] is None
    assert all(r["steady_s"] > 0 and r["first_s"] > 0 and r["resident_gb"] > 0.1 for r in by_name.values())
    assert data["ceilings"]["matmul"]["qkv"] > 0


def test_a_rung_that_fails_is_told_and_the_others_go_on(tmp_path, capsys, monkeypatch):
    measure = command.measure_rung

    def failing(engine, rung, case, exact):
        if rung.preset.tiling == "on":
            raise EngineError("There is no room.")
        return measure(engine, rung, case, exact)

    monkeypatch.setattr(command, "measure_rung", failing)
    argv = [
        "--model",
        str(tiny.save(tmp_path)),
        "--rungs",
        "stripes,eager",
        "--device",
        "cpu",
        "--rounds",
        "1",
        "--steps",
        "2",
    ]
    assert main(argv) == 0
    data = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [r["rung"] for r in data["results"]] == ["eager"]
    assert data["failures"] == {"stripes 64×64 batch 1": "There is no room."}


def test_pictures_of_a_batch_are_compared_with_those_made_alone(tmp_path, capsys):
    argv = ["--model", str(tiny.save(tmp_path)), "--preset", "cpu", "--batch", "1,2", "--device", "cpu"]
    assert main([*argv, "--rounds", "2", "--steps", "2", "--sizes", "64x64"]) == 0
    alone, together = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]
    assert (alone["batch"], together["batch"]) == (1, 2)
    assert alone["psnr_db"] is None
    assert together["psnr_db"] > 45


def test_accuracy_is_what_the_reader_finds(monkeypatch):
    class Score:
        def as_dict(self):
            return {"hair": 90.0, "eyes": 100.0, "binding": 3.0}

    asked = []
    monkeypatch.setattr(
        accuracy, "_picture", lambda engine, preset, text, seed, steps: asked.append(text) or torch.zeros(3, 8, 8)
    )
    monkeypatch.setattr(accuracy, "load_reader", lambda: None)
    monkeypatch.setattr(accuracy, "grade_pictures", lambda reader, scenes, images: Score())
    assert accuracy.accuracy(None, "p", 3) == 95.0
    assert len(set(asked)) == 3


@torch.no_grad()
def test_work_that_a_step_cache_leaves_out_is_not_counted():
    pipe = tiny.pipeline()
    text, latents = pipe.encode(["blue_hair"], ""), pipe.prepare_latents([1], 64, 64)
    counts = []
    for threshold in (0.0, 0.9):
        if threshold:
            pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=threshold))
        with accuracy.counted_work(pipe.transformer) as rows:
            list(pipe.denoise(text, None, latents, steps=6))
        counts.append(sum(rows))
    assert counts[0] == 6
    assert counts[1] < 6


@torch.no_grad()
def test_guided_passes_in_one_row_are_work_for_two(monkeypatch):
    pipe = tiny.pipeline()
    pipe.split_guidance, pipe.caption_buckets = False, (320,)
    flash4.install(monkeypatch)
    flash4.use(pipe.transformer)
    with accuracy.counted_work(pipe.transformer) as rows:
        texts = (pipe.encode([tiny.PROMPT], ""), pipe.encode([""], ""))
        list(pipe.denoise(*texts, pipe.prepare_latents([1], 64, 64), steps=3, guidance_scale=4.0))
    assert rows == [2, 2, 2]


def test_a_run_is_appended_to_a_csv(run):
    _, file = run
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [row["rung"] for row in rows] == ["reference", "eager", "stripes"]
    assert float(rows[0]["step_ms"]) > 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--rungs", "warp"], "--rungs has 'warp'. Here there are: reference, eager"),
        (["--sizes", "big"], "--sizes has 'big'. Use sizes such as 1024x1024"),
        (["--rounds", "0"], "--rounds is '0'. Use whole numbers above 0."),
        (["--cap-gb", "8"], "there is no card here"),
        (["--presets", "best"], "Preset 'best' is unknown. Use one of: balanced"),
    ],
)
def test_wrong_flags_are_explained(capsys, argv, message):
    assert main([*argv, "--device", "cpu"]) == 2
    assert message in capsys.readouterr().err


def test_full_size_without_a_checkpoint_has_the_published_numbers_of_parameters():
    pipe = random_pipeline(torch.bfloat16, torch.device("meta"))
    counts = {
        name: sum(p.numel() for p in getattr(pipe, name).parameters())
        for name in ("transformer", "text_encoder", "clip_model", "vae")
    }
    published = {"transformer": 3.4865e9, "text_encoder": 3.880e9, "clip_model": 0.5586e9, "vae": 0.0838e9}
    assert counts == pytest.approx(published, rel=1e-3)
    assert pipe.transformer.dtype == torch.bfloat16
    assert len(pipe.tokenizer) < pipe.text_encoder.config.vocab_size


def test_random_weights_are_the_same_whenever_they_are_made():
    def make():
        return _made(lambda: NewbieTransformer2DModel(**tiny.TRANSFORMER), torch.float32, torch.device("cpu"))

    first = make().state_dict()
    torch.rand(3)
    assert all(torch.equal(first[name], weight) for name, weight in make().state_dict().items())

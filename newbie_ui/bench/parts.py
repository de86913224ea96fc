"""Where a step's and a decoding's time goes: `python -m newbie_ui.bench.parts`.

    decode   the VAE whole, in stripes, in diffusers' tiles, compiled, channels last, with cuDNN's own search: time,
             memory beyond the weights, and the largest difference to the whole in levels of 255
    hoist    one evaluation with everything computed in it, and with what does not change computed before
    profile  one guided step by kind of kernel, and the time between kernels

Runs on the engine's own pipeline, with a preset as it ships. The last line is JSON.
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import DeviceType

from newbie_ui.bench.setup import CAPTION_TOKENS, Bench, run_command, wait_until_warm
from newbie_ui.engine import compile, stripes
from newbie_ui.engine.local import LocalEngine
from newbie_ui.engine.measure import GB, synchronize
from newbie_ui.engine.rig import Rig
from newbie_ui.model.denoise import denoise
from newbie_ui.model.guidance import Guidance
from newbie_ui.model.text import Conditioning

KINDS = {
    "attention": re.compile(r"fmha|flash|sdpa|attention|cudnn_generated", re.I),
    "matmul": re.compile(r"gemm|nvjet|cutlass|cublas|scaled_mm|::mm|addmm|::linear|matmul|_int_mm", re.I),
    "fused": re.compile(r"triton|cpp_fused|^_(turn|residual|quantize|gate)(_\d+)?$", re.I),  # the compiler's, and ours
    "copy": re.compile(r"memcpy|memset|copy_", re.I),
}
TOP = 12  # kernels that are named


def measure_parts(bench: Bench, engine: LocalEngine) -> dict[str, Any]:
    """All three, after one picture has warmed everything up."""
    bench.picture(engine, bench.presets[0].name)
    wait_until_warm(engine)
    rig, (width, height) = engine.rig, bench.size
    with rig.placement.stage("decode"):
        decode = decode_variants(rig, width, height, bench.rounds, bench.say)
    with rig.placement.stage("denoise"):
        hoist = hoisting(rig, width, height, bench.rounds)
        kinds = profile(rig, width, height)
    bench.say(
        f"one evaluation {hoist['inside_ms']:.2f} ms, with what can be hoisted outside {hoist['hoisted_ms']:.2f} ms"
    )
    bench.say(", ".join(f"{kind} {ms:.2f} ms" for kind, ms in kinds["ms"].items()))
    return {"preset": bench.presets[0].name, "size": bench.size, "decode": decode, "hoist": hoist, "profile": kinds}


# ---- decoding --------------------------------------------------------------------------------------------------


@torch.no_grad()
def decode_variants(rig: Rig, width: int, height: int, rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Every way to decode, from the same latents. The VAE is left as it was."""
    vae, device = rig.pipe.vae, rig.device
    latents = torch.randn(
        1, vae.config.latent_channels, height // 8, width // 8, generator=torch.Generator().manual_seed(0)
    )
    latents = _smooth(latents).to(device, vae.dtype)
    rows, exact = [], None
    for name, applied in _ways(vae).items():
        if name == "cudnn search" and device.type != "cuda":
            continue
        with applied():
            pixels = vae.decode(latents, return_dict=False)[0].float()
            ms, peak = _timed(lambda: vae.decode(latents, return_dict=False)[0], device, rounds)
        exact = pixels if exact is None else exact
        levels = float((pixels - exact).abs().max() / exact.abs().max()) * 127.5  # a random VAE knows no [-1, 1]
        rows.append({"way": name, "ms": ms, "extra_gb": peak, "levels": levels})
        memory = "" if peak is None else f", {peak:.2f} GB"
        say(f"decode {name}: {ms:.1f} ms{memory}, at most {levels:.2f} levels off")
    return rows


def _smooth(latents: Tensor) -> Tensor:
    """Content without hard edges, as far as a random VAE has such a thing."""
    size = latents.shape[-2:]
    small = nn.functional.adaptive_avg_pool2d(latents, (max(1, size[0] // 8), max(1, size[1] // 8)))
    return nn.functional.interpolate(small, size=size, mode="bicubic") * 4


def _ways(vae: nn.Module) -> dict[str, Callable]:
    @contextmanager
    def whole() -> Iterator[None]:
        stripes.disable(vae)
        with compile.as_written(vae.decoder):
            yield

    @contextmanager
    def in_stripes() -> Iterator[None]:
        with whole():
            stripes.enable(vae)
            try:
                yield
            finally:
                stripes.disable(vae)

    @contextmanager
    def in_tiles() -> Iterator[None]:
        with whole():
            vae.enable_tiling()
            try:
                yield
            finally:
                vae.disable_tiling()

    @contextmanager
    def compiled() -> Iterator[None]:
        with whole():
            compile.compile_decoder(vae)
            yield

    @contextmanager
    def channels_last() -> Iterator[None]:
        with whole():
            vae.decoder.to(memory_format=torch.channels_last)
            try:
                yield
            finally:
                vae.decoder.to(memory_format=torch.contiguous_format)

    @contextmanager
    def cudnn_search() -> Iterator[None]:
        with whole(), torch.backends.cudnn.flags(enabled=True, benchmark=True):
            yield

    return {
        "whole": whole,
        "in stripes": in_stripes,
        "in tiles": in_tiles,
        "channels last": channels_last,
        "cudnn search": cudnn_search,
        "compiled": compiled,
    }


# ---- the transformer -------------------------------------------------------------------------------------------


@torch.no_grad()
def hoisting(rig: Rig, width: int, height: int, rounds: int) -> dict[str, float]:
    """Milliseconds of one evaluation of one row, with all in it and with what does not change handed in."""
    transformer, device = rig.pipe.transformer, rig.device
    config, dtype = transformer.config, transformer.dtype
    text, tokens = _texts(config, 1), rig.pipe.prepare_latents([0], height, width).to(device, dtype)
    text = text.to(device, dtype)
    time_ = torch.full((1,), 0.5, device=device)
    caption = transformer.prepare_caption(text.features, text.mask, text.pooled)
    ready = {
        "caption": caption,
        "rotary": transformer.prepare_rotary(caption, *tokens.shape[-2:]),
        "modulation": transformer.prepare_modulation(time_, caption.pooled, 1, dtype)[0],
    }
    raw = {"timestep": time_, "encoder_hidden_states": text.features, "encoder_attention_mask": text.mask}
    raw["pooled_projections"] = text.pooled
    inside, _ = _timed(lambda: transformer(tokens, **raw, return_dict=False), device, rounds)
    hoisted, _ = _timed(lambda: transformer(tokens, **ready, return_dict=False), device, rounds)
    return {"inside_ms": inside, "hoisted_ms": hoisted}


@torch.no_grad()
def profile(rig: Rig, width: int, height: int) -> dict[str, Any]:
    """One guided step without a negative prompt, as in the ladder.

    Milliseconds by kind of kernel, between kernels, and the kernels that take longest.
    """
    pipe, device = rig.pipe, rig.device
    text, nothing = _texts(pipe.transformer.config, 1), _texts(pipe.transformer.config, 1, tokens=1)
    scheduler = pipe.make_scheduler(8)
    latents = pipe.prepare_latents([0], height, width)
    options = {"buckets": pipe.caption_buckets, "split": pipe.split_guidance}
    steps = denoise(pipe.transformer, text, nothing, latents, scheduler, Guidance(4.5), **options)
    for _ in range(2):  # hoisted work and first calls
        next(steps)
    synchronize(device)
    card = device.type == "cuda"
    activities = [torch.profiler.ProfilerActivity.CPU] + [torch.profiler.ProfilerActivity.CUDA] * card
    with torch.profiler.profile(activities=activities) as recorded:
        started = time.perf_counter()
        next(steps)
        synchronize(device)
        wall_ms = 1000 * (time.perf_counter() - started)
    steps.close()
    found = [
        (e.key, (e.self_device_time_total if card else e.self_cpu_time_total) / 1000)
        for e in recorded.key_averages()
        if not card or e.device_type == DeviceType.CUDA  # operators carry their kernels' time once more
    ]
    by_kind = dict.fromkeys((*KINDS, "other"), 0.0)
    for name, ms in found:
        by_kind[next((kind for kind, pattern in KINDS.items() if pattern.search(name)), "other")] += ms
    by_kind["between"] = max(0.0, wall_ms - sum(by_kind.values()))
    longest = sorted(found, key=lambda pair: -pair[1])[:TOP]
    return {"wall_ms": wall_ms, "ms": by_kind, "longest": [{"name": name[:100], "ms": ms} for name, ms in longest]}


def _texts(config: Any, rows: int, tokens: int = CAPTION_TOKENS) -> Conditioning:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(rows, tokens, config.cap_feat_dim, generator=generator)
    pooled = torch.randn(rows, config.clip_text_dim, generator=generator) if config.clip_text_dim else None
    return Conditioning(features, torch.ones(rows, tokens, dtype=torch.bool), pooled)


def _timed(work: Callable[[], Any], device: torch.device, rounds: int) -> tuple[float, float | None]:
    """(median ms, GB at the peak beyond what was there before); None where memory is not counted."""
    work()
    synchronize(device)
    card = device.type == "cuda"
    if card:
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - started)
    peak = (torch.cuda.max_memory_allocated(device) - before) / GB if card else None
    return 1000 * statistics.median(times), peak


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("python -m newbie_ui.bench.parts", __doc__, measure_parts, argv)


if __name__ == "__main__":
    sys.exit(main())

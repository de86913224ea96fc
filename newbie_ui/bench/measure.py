"""One rung, measured through the engine: the same way that a picture of the page goes.

The first picture is timed by itself (it includes changing the preset and compiling), then one with a prompt that was
not encoded before; the steady state is the median of the rounds after them, each with another seed. Memory is the peak
over all of them, so encoders and decoding are in it. Quality: one velocity at fixed input against the same weights in
float32, and pictures of the same seeds against the first rung of the same run that has our transformer.
"""

from __future__ import annotations

import copy
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from newbie_ui.bench.accuracy import accuracy
from newbie_ui.bench.rungs import Rung
from newbie_ui.bench.setup import CAPTION_TOKENS, make, wait_until_warm
from newbie_ui.engine import attention
from newbie_ui.engine.compile import graphs_built, seconds_compiling
from newbie_ui.engine.local import LocalEngine
from newbie_ui.engine.rig import Rig
from newbie_ui.model.text import Conditioning
from newbie_ui.request import GenerateRequest, GenerateResult

COMPARED_PICTURES = 4


@dataclass(frozen=True)
class RungResult:
    """What a rung cost and what it kept. Seconds are of one picture; None where it does not apply."""

    rung: str
    adds: str
    lossless: bool
    width: int
    height: int
    batch: int
    steps: int
    rounds: int
    first_s: float  # the first batch, with changing the preset and compiling
    compile_s: float  # of it
    steady_s: float
    new_prompt_s: float | None  # with a prompt that has to be encoded
    encode_s: float  # with the prompt in the cache
    encode_new_s: float | None
    denoise_s: float
    decode_s: float
    overhead_ms: float  # of the engine: everything outside the three stages
    step_ms: float
    floor_ms: float | None
    share_of_floor: float | None  # None also where steps are left out: there is no floor for those
    images_per_min: float
    allocated_gb: float | None
    reserved_gb: float | None
    reuse: float | None  # allocated / reserved
    resident_gb: float | None
    recompiled: int  # graphs compiled in the rounds: should be none
    velocity_error: float | None  # relative, against float32
    psnr_db: float | None  # of pictures, against the first rung's
    accuracy: float | None = None  # percent by the demo model's measure
    facts: dict[str, str] = field(default_factory=dict)


@dataclass
class Exact:
    """What the first rung of a size made, to compare the others with."""

    velocity: Tensor | None = None  # in float32
    pictures: list[np.ndarray] = field(default_factory=list)


@dataclass(frozen=True)
class Case:
    """What every rung is asked for."""

    request: GenerateRequest
    rounds: int
    floor_s: Callable[[Rung], float] | None = None
    judged: int = 0  # pictures of the demo model to read for accuracy


def measure_rung(engine: LocalEngine, rung: Rung, case: Case, exact: Exact) -> RungResult:
    """Run a rung's first pictures and its rounds. The first of all fills `exact` for the others.

    Raises UserError when the engine fails.
    """
    request = replace(case.request, preset=rung.name)
    compiling = seconds_compiling()
    first_s, first = _run(engine, replace(request, seed=0))
    compiling = seconds_compiling() - compiling
    wait_until_warm(engine)  # it would fall into the rounds
    new_s, new = (
        (None, []) if rung.reference else _run(engine, replace(request, prompt=_unseen(request.prompt), seed=0))
    )
    graphs = graphs_built()
    rounds = [_run(engine, replace(request, seed=seed)) for seed in range(case.rounds)]
    recompiled = graphs_built() - graphs
    results = [result for _, made in rounds for result in made]
    walls, together, last = [wall for wall, _ in rounds], request.images, results[-1]
    stages = [r.timings.encode_s + r.timings.denoise_s + r.timings.decode_s for r in results]
    step_s = statistics.median(r.timings.s_per_step for r in results) * together
    floor_s = case.floor_s(rung) if case.floor_s and rung.full_work else None
    return RungResult(
        rung=rung.name,
        adds=rung.adds,
        lossless=rung.lossless,
        width=last.resolved.width,
        height=last.resolved.height,
        batch=together,
        steps=last.resolved.steps,
        rounds=case.rounds,
        first_s=first_s,
        compile_s=compiling,
        steady_s=statistics.median(walls) / together,
        new_prompt_s=new_s and new_s / together,
        encode_s=statistics.median(r.timings.encode_s for r in results),
        encode_new_s=new[0].timings.encode_s * together if new else None,
        denoise_s=statistics.median(r.timings.denoise_s for r in results),
        decode_s=statistics.median(r.timings.decode_s for r in results),
        overhead_ms=1000 * (statistics.median(walls) / together - statistics.median(stages)),
        step_ms=1000 * step_s,
        floor_ms=None if floor_s is None else 1000 * floor_s,
        share_of_floor=None if floor_s is None else floor_s / step_s,
        images_per_min=60 * len(results) / sum(walls),
        **_memory([*first, *new, *results]),
        recompiled=recompiled,
        **_quality(engine, rung, request, exact, results),
        accuracy=accuracy(engine, rung.name, case.judged) if case.judged and not rung.reference else None,
        facts=dict(last.facts),
    )


def _quality(
    engine: LocalEngine, rung: Rung, request: GenerateRequest, exact: Exact, results
) -> dict[str, float | None]:
    if rung.reference:  # its weights are others
        return {"velocity_error": None, "psnr_db": None}
    pictures = [np.asarray(result.image, dtype=np.float32) for result in results[:COMPARED_PICTURES]]
    speed = velocity(engine.rig, request.width, request.height)
    first = not exact.pictures
    if first:
        exact.velocity, exact.pictures = exact_velocity(engine.rig, request.width, request.height), pictures
    psnr_db = None if first else psnr(pictures, exact.pictures)
    return {"velocity_error": _relative(speed, exact.velocity), "psnr_db": psnr_db}


def exact_velocity(rig: Rig, width: int, height: int) -> Tensor | None:
    """The same as `velocity`, from a float32 copy of the weights; None where there cannot be one."""
    own = rig.pipe.transformer
    if rig.plan.quantize != "off" or rig.plan.offload != "off":
        return None
    products, recorded = torch.get_float32_matmul_precision(), vars(own).pop("forward", None)  # graphs are not copied
    try:
        torch.set_float32_matmul_precision("highest")
        rig.pipe.transformer = copy.deepcopy(own).float()
        rig.part_products()
        attention.use(rig.pipe.transformer, "native")  # not every kernel takes float32
        return velocity(rig, width, height)
    except torch.OutOfMemoryError:
        return None
    finally:
        torch.set_float32_matmul_precision(products)
        rig.pipe.transformer = own
        if recorded is not None:
            own.forward = recorded
        rig.free()


def velocity(rig: Rig, width: int, height: int) -> Tensor:
    """One velocity (1, C, h, w) at fixed latents and conditioning; only while the engine is idle."""
    pipe = rig.pipe
    config = pipe.transformer.config
    generator = torch.Generator("cpu").manual_seed(0)
    features = torch.randn(1, CAPTION_TOKENS, config.cap_feat_dim, generator=generator)
    pooled = torch.randn(1, config.clip_text_dim, generator=generator) if config.clip_text_dim else None
    conditioning = Conditioning(features, torch.ones(1, CAPTION_TOKENS, dtype=torch.bool), pooled)
    with rig.placement.stage("denoise"):
        latents = pipe.prepare_latents([0], height, width)
        steps = pipe.denoise(conditioning, None, latents, steps=2)
        step = next(steps)
        steps.close()
    return (step.denoised - latents.to(step.denoised.device)).float().cpu()


def psnr(pictures: Sequence[np.ndarray], exact: Sequence[np.ndarray]) -> float | None:
    """Mean over pictures of the same seeds, in dB; at most 99 for equal ones."""
    pairs = [(a, b) for a, b in zip(pictures, exact) if a.shape == b.shape]
    if not pairs:
        return None
    errors = [float(np.mean((a - b) ** 2)) for a, b in pairs]
    return statistics.mean(99.0 if e == 0 else min(99.0, 10 * np.log10(255**2 / e)) for e in errors)


_numbers = itertools.count()


def _unseen(prompt: str) -> str:
    """The prompt with a word more that no other has."""
    return f"{prompt} {next(_numbers)}"


def _run(engine: LocalEngine, request: GenerateRequest) -> tuple[float, list[GenerateResult]]:
    started = time.perf_counter()
    made = make(engine, request)
    return time.perf_counter() - started, made


def _relative(got: Tensor, exact: Tensor | None) -> float | None:
    return None if exact is None else float((got - exact).norm() / exact.norm())


def _memory(results: Sequence[GenerateResult]) -> dict[str, float | None]:
    def peak(name: str) -> float | None:
        values = [getattr(r.memory, name) for r in results if getattr(r.memory, name) is not None]
        return max(values) if values else None

    allocated, reserved = peak("allocated_gb"), peak("reserved_gb")
    reuse = allocated / reserved if allocated and reserved else None
    return {"allocated_gb": allocated, "reserved_gb": reserved, "reuse": reuse, "resident_gb": peak("resident_gb")}

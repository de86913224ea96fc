"""The bench's command line: ceilings first, then the ladder, one JSON line last.

Everything but the JSON line goes to stdout as text for people; libraries' chatter goes to stderr.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from newbie_ui.bench import report
from newbie_ui.bench.ceilings import Ceilings, measure_ceilings
from newbie_ui.bench.circumstances import now, versions
from newbie_ui.bench.measure import Case, Exact, RungResult, measure_rung
from newbie_ui.bench.reference import with_reference
from newbie_ui.bench.rungs import REFERENCE, TURBO, Rung, ladder, presets_as_rungs
from newbie_ui.bench.setup import cap_memory, model_source, open_engine, parse_numbers, parse_size, usual_prompt
from newbie_ui.bench.work import LATENT, step_work
from newbie_ui.engine.base import ModelInfo
from newbie_ui.engine.local import LocalEngine
from newbie_ui.engine.measure import describe_device, find_device
from newbie_ui.engine.source import ModelSource
from newbie_ui.errors import SettingsError, UserError
from newbie_ui.exit_code import exit_code
from newbie_ui.presets import Preset, load_presets
from newbie_ui.request import GenerateRequest
from newbie_ui.settings import Parser, Settings, add_flags, from_flags


@dataclass(frozen=True)
class Options:
    """What to measure."""

    settings: Settings
    rungs: tuple[Rung, ...]
    sizes: tuple[tuple[int, int], ...]  # empty: the model's default
    batches: tuple[int, ...]
    rounds: int
    side_rounds: int  # of rungs that no target is about
    steps: int | None
    judged: int
    random_weights: bool
    cap_gb: float | None  # of the card's memory; 0: what each preset is made for
    csv: Path | None


@exit_code
def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    options = parse(sys.argv[1:] if argv is None else argv)
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        run = bench(options, say=lambda text: print(text, file=out, flush=True))
    if options.csv:
        report.append_csv(options.csv, run)
    print(report.as_json(run), flush=True)


def parse(argv: Sequence[str]) -> Options:
    """Raises SettingsError."""
    parser = Parser(
        prog="python -m newbie_ui.bench", description="Measure what the device can do, and each optimisation."
    )
    parser.add_argument("--random-weights", action="store_true", help="full-size NewBie without a checkpoint")
    parser.add_argument("--rungs", default="", metavar="A,B", help="only these rungs of the ladder")
    parser.add_argument(
        "--preset", "--presets", dest="presets", default="", metavar="A,B", help="these presets instead of the ladder"
    )
    parser.add_argument("--sizes", default="", metavar="WxH,…", help="sizes (default: the model's)")
    parser.add_argument("--batch", default="1", metavar="N,…", help="pictures made together (default: 1)")
    parser.add_argument("--rounds", default="10", metavar="N", help="batches in the steady state (default: 10)")
    parser.add_argument(
        "--side-rounds", default="", metavar="N", help="the same for rungs that no target is about (default: --rounds)"
    )
    parser.add_argument("--steps", default="", metavar="N", help="steps (default: the model's)")
    parser.add_argument("--accuracy", default="", metavar="N", help="let the demo's reader judge N pictures a rung")
    parser.add_argument(
        "--cap-gb", default="", metavar="GB", help="use no more of the card's memory; preset: what each is made for"
    )
    parser.add_argument("--csv", default="", metavar="FILE", help="append one row a rung to this file")
    add_flags(parser.add_argument_group("settings"), skip=("preset", "engine", "output_dir"))
    flags = vars(parser.parse_args(argv))
    settings = from_flags({**flags, "output_dir": "."})
    logging.basicConfig(level="WARNING", stream=sys.stderr)
    device = describe_device(find_device(settings.device))
    presets = load_presets(settings.presets_dir)
    if flags["presets"]:
        rungs = presets_as_rungs(presets, flags["presets"].split(","))
    else:
        turbo = next((preset for preset in presets if preset.name == TURBO), None)
        rungs = _chosen(ladder(device, turbo), flags["rungs"])
    rounds = _number("--rounds", flags["rounds"])
    return Options(
        settings=settings,
        rungs=tuple(rungs),
        sizes=tuple(parse_size("--sizes", text) for text in flags["sizes"].split(",") if text),
        batches=tuple(parse_numbers("--batch", flags["batch"])),
        rounds=rounds,
        side_rounds=_number("--side-rounds", flags["side_rounds"] or str(rounds)),
        steps=_number("--steps", flags["steps"]) if flags["steps"] else None,
        judged=_number("--accuracy", flags["accuracy"]) if flags["accuracy"] else 0,
        random_weights=flags["random_weights"],
        cap_gb=_cap(flags["cap_gb"], device.kind),
        csv=Path(flags["csv"]) if flags["csv"] else None,
    )


def _number(flag: str, text: str) -> int:
    return parse_numbers(flag, text)[0]


def _cap(text: str, kind: str) -> float | None:
    if not text:
        return None
    if kind != "cuda":
        raise SettingsError("--cap-gb limits a card's memory; there is no card here. Leave it out.")
    return 0.0 if text == "preset" else float(_number("--cap-gb", text))


def bench(options: Options, say) -> report.Run:
    """Measure everything; `say` prints as it goes."""
    source = model_source(options.settings, options.random_weights)
    ours = [rung for rung in options.rungs if not rung.reference]
    reference = [rung for rung in options.rungs if rung.reference]
    results: list[RungResult] = []
    failures: dict[str, str] = {}
    with open_engine(options.settings, source, _presets(options, ours or reference)) as engine:
        config = dict(engine.rig.pipe.transformer.config)
        device, model, dtype = engine.device, engine.model, engine.rig.plan.dtype
        prompt = usual_prompt(engine)
        asked = itertools.product(_sizes(options, model), options.batches)
        requests = [_request(options, model, prompt, size, batch) for size, batch in asked]
        floors = {}
        for request in requests:
            ceilings = _ceilings(engine, config, request)
            floors[request] = (ceilings, step_work(config, request.width, request.height, _captions(engine, request)))
        first = requests[0]
        ceilings, work = floors[first]
        fp8_ms = 1000 * ceilings.floor_s(work, config, True) if ceilings.fp8 else None
        say(f"{device.name}, {model.name}, {dtype}, {first.width}×{first.height}, {work.total / 1e12:.3g} TFLOP a step")
        say(report.ceilings_text(ceilings, 1000 * ceilings.floor_s(work, config), fp8_ms))
        judged = options.judged if model.demo else 0
        cases = [(r, Case(r, options.rounds, _floor(floors[r], config), judged)) for r in requests]
        results += _climb(engine, ours, cases, options, failures, say)
    if reference:
        gc.collect()
        stand_in = _with_reference(source, find_device(options.settings.device))
        with open_engine(options.settings, stand_in, _presets(options, reference)) as engine:
            results = [*_climb(engine, reference, cases, options, failures, say), *results]
    say(report.table(results, REFERENCE))
    return report.Run(device, model.name, dtype, ceilings, tuple(results), failures, now(), versions(), sys.argv[1:])


def _climb(
    engine: LocalEngine, rungs: Sequence[Rung], cases, options: Options, failures: dict[str, str], say
) -> list[RungResult]:
    """Every rung at every size and batch. A rung that fails is told and passed over."""
    results = []
    exact: dict[tuple[int, int], Exact] = {}  # pictures of the same seeds, also of other batches
    for rung in rungs:  # outermost: another one may have to read the weights again
        for request, case in cases:
            if rung.largest_side and max(request.width, request.height) > rung.largest_side:
                continue
            sized = replace(rung, preset=replace(rung.preset, name=_sized_name(rung, request.images)))
            case = replace(case, rounds=options.side_rounds if rung.side else options.rounds)
            if options.cap_gb is not None:
                cap_memory(options.cap_gb or rung.preset.device_gb, engine.device.total_gb)
            try:
                result = measure_rung(engine, sized, case, exact.setdefault((request.width, request.height), Exact()))
            except UserError as error:
                failures[f"{rung.name} {request.width}×{request.height} batch {request.images}"] = str(error)
                say(f"{rung.name} failed: {error}")
                continue
            results.append(replace(result, rung=rung.name))
            say(f"{rung.name} ({rung.adds}): {result.steady_s:.3f} s an image, {result.step_ms:.1f} ms a step")
    return results


def _presets(options: Options, rungs: Sequence[Rung]) -> list[Preset]:
    return [
        replace(rung.preset, name=_sized_name(rung, batch), batch=batch) for rung in rungs for batch in options.batches
    ]


def _sized_name(rung: Rung, batch: int) -> str:
    return f"{rung.name}-{batch}"


def _with_reference(source: ModelSource, device: torch.device) -> ModelSource:
    return replace(source, load=lambda *how: with_reference(source.load(*how), device))


def _sizes(options: Options, model: ModelInfo) -> Sequence[tuple[int, int]]:
    return options.sizes or [(model.defaults["width"], model.defaults["height"])]


def _request(options: Options, model: ModelInfo, prompt: str, size: tuple[int, int], batch: int) -> GenerateRequest:
    steps = options.steps or model.defaults["steps"]
    return GenerateRequest(prompt=prompt, width=size[0], height=size[1], steps=steps, images=batch).checked()


def _captions(engine: LocalEngine, request: GenerateRequest) -> list[int]:
    """Real caption tokens of each row of a guided batch. A card takes both halves at once, padded to the longer."""
    system = engine.model.defaults.get("system_prompt", "")
    prompt, empty = (n + 1 for n in engine.count_tokens([f"{system} {request.prompt}", ""]))  # and the begin token
    return [prompt, prompt if engine.device.kind == "cuda" else empty] * request.images


def _ceilings(engine: LocalEngine, config: dict[str, Any], request: GenerateRequest) -> Ceilings:
    captions = _captions(engine, request)
    tokens = (request.width // LATENT) * (request.height // LATENT) + captions[0]
    transformer = engine.rig.pipe.transformer
    return measure_ceilings(config, engine.rig.device, transformer.dtype, tokens, rows=len(captions))


def _floor(measured, config: dict[str, Any]):
    ceilings, work = measured
    return lambda rung: ceilings.floor_s(work, config, eight_bit=rung.preset.quantize != "off")


def _chosen(rungs: list[Rung], names: str) -> list[Rung]:
    if not names:
        return rungs
    known = {rung.name: rung for rung in rungs}
    if unknown := [name for name in names.split(",") if name not in known]:
        raise SettingsError(f"--rungs has {unknown[0]!r}. Here there are: {', '.join(known)}.")
    return [known[name] for name in names.split(",")]

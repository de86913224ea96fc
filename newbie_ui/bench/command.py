"""The bench's command line: ceilings first, then the ladder, one JSON line last.

Everything but the JSON line goes to stdout as text for people; libraries' chatter goes to stderr.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from newbie_ui.bench import report
from newbie_ui.bench.ceilings import Ceilings, measure_ceilings
from newbie_ui.bench.measure import Case, Exact, RungResult, measure_rung
from newbie_ui.bench.reference import random_pipeline, with_reference
from newbie_ui.bench.rungs import EXACT, REFERENCE, Rung, ladder, presets_as_rungs
from newbie_ui.bench.work import LATENT, step_work
from newbie_ui.engine.base import EngineState, ModelInfo
from newbie_ui.engine.history import History
from newbie_ui.engine.local import LocalEngine
from newbie_ui.engine.measure import describe_device, find_device
from newbie_ui.engine.resolve import FULL_SIZE_DEFAULTS
from newbie_ui.engine.source import ModelSource
from newbie_ui.errors import EngineError, SettingsError, UserError
from newbie_ui.model.checkpoint import DEMO, load_tokens, locate
from newbie_ui.presets import load_presets
from newbie_ui.request import GenerateRequest
from newbie_ui.settings import Parser, Settings, add_flags, from_flags

PROMPT = """<character_1>
<n>character_1</n>
<gender>1girl</gender>
<appearance>blue_hair, long_hair, red_eyes</appearance>
<clothing>school_uniform</clothing>
<expression>smile</expression>
<position>left</position>
</character_1>
<character_2>
<n>character_2</n>
<gender>1girl</gender>
<appearance>pink_hair, twintails, green_eyes</appearance>
<clothing>white_dress</clothing>
<position>right</position>
</character_2>
<general_tags>
<count>2girls</count>
<background>outdoors, sky</background>
</general_tags>"""
FULL_SIZE = ModelInfo(
    name="NewBie, random weights",
    source="random",
    licence="none",
    demo=False,
    hash="random0000",
    sizes=((1024, 1024),),
    defaults=dict(FULL_SIZE_DEFAULTS),
)


@dataclass(frozen=True)
class Options:
    """What to measure."""

    settings: Settings
    rungs: tuple[Rung, ...]
    sizes: tuple[tuple[int, int], ...]  # empty: the model's default
    batches: tuple[int, ...]
    rounds: int
    steps: int | None
    random_weights: bool
    csv: Path | None


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit code."""
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
        out = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            run = bench(options, say=lambda text: print(text, file=out, flush=True))
        if options.csv:
            report.append_csv(options.csv, run)
        print(report.as_json(run), flush=True)
    except UserError as error:
        print(f"newbie_ui: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def parse(argv: Sequence[str]) -> Options:
    """Raises SettingsError."""
    parser = Parser(
        prog="python -m newbie_ui.bench", description="Measure what the device can do, and each optimisation."
    )
    parser.add_argument("--random-weights", action="store_true", help="full-size NewBie without a checkpoint")
    parser.add_argument("--rungs", default="", metavar="A,B", help="only these rungs of the ladder")
    parser.add_argument("--presets", default="", metavar="A,B", help="these presets instead of the ladder")
    parser.add_argument("--sizes", default="", metavar="WxH,…", help="sizes (default: the model's)")
    parser.add_argument("--batch", default="1", metavar="N,…", help="pictures made together (default: 1)")
    parser.add_argument("--rounds", default="10", metavar="N", help="batches in the steady state (default: 10)")
    parser.add_argument("--steps", default="", metavar="N", help="steps (default: the model's)")
    parser.add_argument("--cap-gb", default="", metavar="GB", help="use no more of the card's memory than this")
    parser.add_argument("--csv", default="", metavar="FILE", help="append one row a rung to this file")
    add_flags(parser.add_argument_group("settings"), skip=("preset", "engine", "output_dir"))
    flags = vars(parser.parse_args(argv))
    settings = from_flags({**flags, "output_dir": "."})
    logging.basicConfig(level="WARNING", stream=sys.stderr)
    device = describe_device(find_device(settings.device))
    if flags["cap_gb"]:
        cap_memory(_numbers("--cap-gb", flags["cap_gb"])[0], device.total_gb)
    if flags["presets"]:
        rungs = presets_as_rungs(load_presets(settings.presets_dir), flags["presets"].split(","))
    else:
        rungs = _chosen(ladder(device), flags["rungs"])
    steps = _numbers("--steps", flags["steps"])
    return Options(
        settings=settings,
        rungs=tuple(rungs),
        sizes=tuple(_size(text) for text in flags["sizes"].split(",") if text),
        batches=tuple(_numbers("--batch", flags["batch"])),
        rounds=_numbers("--rounds", flags["rounds"])[0],
        steps=steps[0] if steps else None,
        random_weights=flags["random_weights"],
        csv=Path(flags["csv"]) if flags["csv"] else None,
    )


def cap_memory(gb: float, total_gb: float) -> None:
    """A hard cap, to see what happens on a smaller card."""
    if not torch.cuda.is_available():
        raise SettingsError("--cap-gb limits a card's memory; there is no card here. Leave it out.")
    torch.cuda.set_per_process_memory_fraction(min(1.0, gb / total_gb))


def bench(options: Options, say) -> report.Run:
    """Measure everything; `say` prints as it goes."""
    source = _source(options)
    ours = [rung for rung in options.rungs if not rung.reference]
    reference = [rung for rung in options.rungs if rung.reference]
    results: list[RungResult] = []
    with _opened(options, source, ours or reference) as engine:
        config = dict(engine.rig.pipe.transformer.config)
        device, model, dtype = engine.device, engine.model, engine.rig.plan.dtype
        requests = [
            _request(options, model, size, batch) for size in _sizes(options, model) for batch in options.batches
        ]
        floors = {}
        for request in requests:
            ceilings = _ceilings(engine, config, request)
            floors[request] = (ceilings, step_work(config, request.width, request.height, _captions(engine, request)))
        first = requests[0]
        ceilings, work = floors[first]
        fp8_ms = 1000 * ceilings.floor_s(work, config, True) if ceilings.fp8 else None
        say(f"{device.name}, {model.name}, {dtype}, {first.width}×{first.height}, {work.total / 1e12:.3g} TFLOP a step")
        say(report.ceilings_text(ceilings, 1000 * ceilings.floor_s(work, config), fp8_ms))
        cases = [(r, Case(r, options.rounds, _floor(floors[r], config))) for r in requests]
        results += _climb(engine, ours, cases, say)
    if reference:
        gc.collect()
        with _opened(options, _with_reference(source), reference) as engine:
            results = [*_climb(engine, reference, cases, say), *results]
    say(report.table(results, REFERENCE))
    return report.Run(device, model.name, dtype, ceilings, tuple(results), report.now(), report.versions())


def _climb(engine: LocalEngine, rungs: Sequence[Rung], cases, say) -> list[RungResult]:
    results = []
    for request, case in cases:
        exact = Exact()
        for rung in rungs:
            sized = replace(rung, preset=replace(rung.preset, name=_sized_name(rung, request.images)))
            result = measure_rung(engine, sized, case, exact, is_exact=rung.name == EXACT)
            results.append(replace(result, rung=rung.name))
            say(f"{rung.name} ({rung.adds}): {result.steady_s:.3f} s an image, {result.step_ms:.1f} ms a step")
    return results


def _opened(options: Options, source: ModelSource, rungs: Sequence[Rung]) -> LocalEngine:
    presets = [
        replace(rung.preset, name=_sized_name(rung, batch), batch=batch) for rung in rungs for batch in options.batches
    ]
    settings = replace(options.settings, preset=presets[0].name)
    engine = LocalEngine(settings, source=source, history=History(), presets=presets)
    engine.open()
    engine.wait_until_open()
    if engine.status().state is EngineState.FAILED:
        raise EngineError(engine.status().message)
    return engine


def _sized_name(rung: Rung, batch: int) -> str:
    return f"{rung.name}-{batch}"


def _source(options: Options) -> ModelSource:
    if not options.random_weights:
        return ModelSource.from_settings(options.settings)
    device = find_device(options.settings.device)
    return ModelSource(
        describe=lambda progress: FULL_SIZE,
        load=lambda dtype, progress: random_pipeline(dtype, device),
        tokenizer=lambda: load_tokens(locate(DEMO), "text_encoder"),
    )


def _with_reference(source: ModelSource) -> ModelSource:
    return replace(source, load=lambda dtype, progress: with_reference(source.load(dtype, progress)))


def _sizes(options: Options, model: ModelInfo) -> Sequence[tuple[int, int]]:
    return options.sizes or [(model.defaults["width"], model.defaults["height"])]


def _request(options: Options, model: ModelInfo, size: tuple[int, int], batch: int) -> GenerateRequest:
    steps = options.steps or model.defaults["steps"]
    return GenerateRequest(prompt=PROMPT, width=size[0], height=size[1], steps=steps, images=batch).checked()


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


def _size(text: str) -> tuple[int, int]:
    width, by, height = text.lower().replace("×", "x").partition("x")
    if not (by and width.isdigit() and height.isdigit()):
        raise SettingsError(f"--sizes has {text!r}. Use sizes such as 1024x1024,512x768.")
    return int(width), int(height)


def _numbers(flag: str, text: str) -> list[int]:
    parts = [part for part in text.split(",") if part]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise SettingsError(f"{flag} is {text!r}. Use whole numbers above 0.")
    return [int(part) for part in parts]

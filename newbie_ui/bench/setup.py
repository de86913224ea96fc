"""A model and an engine to measure: what all commands of the bench begin with."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from newbie_ui.bench.circumstances import now, versions
from newbie_ui.engine.base import EngineState, ModelInfo, generate
from newbie_ui.engine.history import History
from newbie_ui.engine.local import LocalEngine
from newbie_ui.engine.measure import describe_device, find_device
from newbie_ui.engine.resolve import FULL_SIZE_DEFAULTS
from newbie_ui.engine.source import ModelSource
from newbie_ui.engine.threads import keep_memory_whole
from newbie_ui.errors import EngineError, SettingsError
from newbie_ui.exit_code import exit_code
from newbie_ui.model.checkpoint import DEMO, load_tokens, locate
from newbie_ui.model.pipeline import NewbiePipeline
from newbie_ui.presets import Preset, choose, load_presets, preset_with
from newbie_ui.request import Event, Failed, GenerateRequest, GenerateResult, LoraUse, Picture
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
CAPTION_TOKENS = 304  # what Gemma makes of the prompt above and the system prompt, about
FULL_SIZE = ModelInfo(
    name="NewBie, random weights",
    source="random",
    licence="none",
    demo=False,
    hash="random0000",
    sizes=((1024, 1024),),
    defaults=dict(FULL_SIZE_DEFAULTS),
)


def model_source(settings: Settings, random_weights: bool) -> ModelSource:
    """What the settings name, or the full size without a checkpoint."""
    if not random_weights:
        return ModelSource.from_settings(settings)
    return ModelSource(
        describe=lambda progress: FULL_SIZE,
        load=partial(load_random, find_device(settings.device)),
        tokenizer=lambda: load_tokens(locate(DEMO), "text_encoder"),
    )


def load_random(device: torch.device, dtype: torch.dtype, progress, places=None) -> NewbiePipeline:
    from newbie_ui.bench.reference import random_pipeline  # not needed by a model that is read

    with uncapped(device):
        return random_pipeline(dtype, device)


def new_engine(settings: Settings, source: ModelSource, presets: Sequence[Preset]) -> LocalEngine:
    """Not open yet. Keeps no history."""
    return LocalEngine(replace(settings, preset=presets[0].name), source=source, history=History(), presets=presets)


def open_engine(settings: Settings, source: ModelSource, presets: Sequence[Preset]) -> LocalEngine:
    """Loaded and ready, with the first preset. Raises EngineError."""
    engine = new_engine(settings, source, presets)
    engine.open()
    engine.wait_until_open()
    if engine.status().state is EngineState.FAILED:
        raise EngineError(engine.status().message)
    return engine


def cap_memory(gb: float, total_gb: float) -> None:
    """A hard cap, to see what happens on a smaller card; 0 lifts it."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, gb / total_gb) if gb else 1.0)


@contextlib.contextmanager
def uncapped(device: torch.device) -> Iterator[None]:
    """Random weights are made on the card, which a real checkpoint would not be."""
    if device.type != "cuda":
        yield
        return
    before = torch.cuda.get_per_process_memory_fraction()
    torch.cuda.set_per_process_memory_fraction(1.0)
    try:
        yield
    finally:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(before)


def parse_size(flag: str, text: str) -> tuple[int, int]:
    width, by, height = text.lower().replace("×", "x").partition("x")
    if not (by and width.isdigit() and height.isdigit()):
        raise SettingsError(f"{flag} has {text!r}. Use sizes such as 1024x1024,512x768.")
    return int(width), int(height)


def parse_numbers(flag: str, text: str) -> list[int]:
    parts = [part for part in text.split(",") if part]
    if not parts or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise SettingsError(f"{flag} is {text!r}. Use whole numbers above 0.")
    return [int(part) for part in parts]


@dataclass(frozen=True)
class Bench:
    """What the smaller commands measure with."""

    settings: Settings
    presets: tuple[Preset, ...]
    size: tuple[int, int]
    steps: int
    rounds: int
    count: int
    say: Callable[[str], None]

    def picture(
        self,
        engine: LocalEngine,
        preset: str,
        prompt: str | None = None,
        size: tuple[int, int] | None = None,
        loras: tuple[LoraUse, ...] = (),
        seed: int = 0,
    ) -> list[GenerateResult]:
        """One picture with the bench's steps; the usual prompt unless another is given."""
        prompt = usual_prompt(engine) if prompt is None else prompt
        width, height = size or self.size
        return make(
            engine,
            GenerateRequest(
                prompt=prompt, width=width, height=height, steps=self.steps, seed=seed, preset=preset, loras=loras
            ),
        )


def usual_prompt(engine: LocalEngine) -> str:
    """The prompt above. For random weights, which come with the demo's small vocabulary, as long as Gemma has it."""
    text, system = PROMPT, engine.model.defaults.get("system_prompt", "")
    while engine.model.source == FULL_SIZE.source and _caption(engine, f"{system} {text}") < CAPTION_TOKENS:
        text += " smile"
    return text


def _caption(engine: LocalEngine, text: str) -> int:
    return engine.count_tokens([text])[0] + 1  # the begin token


def request_of(bench: Bench) -> GenerateRequest:
    """The usual prompt with the first preset; what the bench leaves open is the model's choice."""
    width, height = (side or None for side in bench.size)
    preset, steps = bench.presets[0].name, bench.steps or None
    return GenerateRequest(prompt=PROMPT, width=width, height=height, steps=steps, seed=0, preset=preset)


def make(
    engine: LocalEngine, request: GenerateRequest, note: Callable[[Event], None] = lambda event: None
) -> list[GenerateResult]:
    """The pictures of a request, all events told to `note`. Raises UserError with the engine's sentence."""
    made = []
    for event in generate(engine, request):
        note(event)
        if isinstance(event, Picture):
            made.append(event.result)
        elif isinstance(event, Failed):
            raise EngineError(event.message)
    return made


def wait_until_warm(engine: LocalEngine) -> None:
    """Until nothing is left to compile in quiet moments; the engine is idle then."""
    while engine.warming and engine.status().state in (EngineState.READY, EngineState.BUSY):
        time.sleep(0.02)


Measure = Callable[[Bench, LocalEngine], dict[str, Any]]


@exit_code
def run_command(prog: str, doc: str, measure: Measure, argv: Sequence[str] | None = None) -> None:
    """A command that opens an engine, measures something, and prints it as JSON on the last line."""
    with prepared() as say:
        bench, source = read_flags(prog, doc, sys.argv[1:] if argv is None else argv)
        bench = replace(bench, say=say)
        with open_engine(bench.settings, source, bench.presets) as engine:
            bench = replace(bench, **_model_defaults(bench, engine))
            facts = {"device": engine.device.name, "model": engine.model.name, "versions": versions(), "at": now()}
            result = {**facts, "steps": bench.steps, **measure(bench, engine)}
    print(json.dumps(result), flush=True)


@contextlib.contextmanager
def prepared() -> Iterator[Callable[[str], None]]:
    """Gives what prints a line; everything else that writes to stdout meanwhile goes to stderr."""
    out = sys.stdout
    logging.basicConfig(level="WARNING", stream=sys.stderr)
    keep_memory_whole()  # torch is there already, but has not touched the card
    with contextlib.redirect_stdout(sys.stderr):
        yield lambda text: print(text, file=out, flush=True)


def read_flags(prog: str, doc: str, argv: Sequence[str]) -> tuple[Bench, ModelSource]:
    """Raises SettingsError."""
    parser = Parser(prog=prog, description=doc.split("\n")[0])
    parser.add_argument("--random-weights", action="store_true", help="full-size NewBie without a checkpoint")
    parser.add_argument("--preset", "--presets", dest="presets", default="auto", metavar="A,B", help="presets")
    parser.add_argument("--set", default="", metavar="KEY=VALUE,…", help="keys of the presets to change")
    parser.add_argument("--size", default="", metavar="WxH", help="default: the model's")
    parser.add_argument("--steps", default="", metavar="N", help="default: the model's")
    parser.add_argument("--rounds", default="10", metavar="N", help="repetitions of a timing (default: 10)")
    parser.add_argument("--count", default="100", metavar="N", help="pictures in a row (default: 100)")
    add_flags(parser.add_argument_group("settings"), skip=("preset", "engine", "output_dir"))
    flags = vars(parser.parse_args(argv))
    settings = from_flags({**flags, "output_dir": "."})
    bench = Bench(
        settings=settings,
        presets=tuple(_changed(preset, flags["set"]) for preset in _presets(settings, flags["presets"])),
        size=parse_size("--size", flags["size"]) if flags["size"] else (0, 0),
        steps=parse_numbers("--steps", flags["steps"])[0] if flags["steps"] else 0,
        rounds=parse_numbers("--rounds", flags["rounds"])[0],
        count=parse_numbers("--count", flags["count"])[0],
        say=print,
    )
    return bench, model_source(settings, flags["random_weights"])


def _presets(settings: Settings, names: str) -> list[Preset]:
    device = describe_device(find_device(settings.device))
    presets = load_presets(settings.presets_dir)
    return [choose(presets, name, device.kind, device.total_gb, small_model=True) for name in names.split(",")]


def _changed(preset: Preset, changes: str) -> Preset:
    """The preset with some keys changed, checked as in a file."""
    values = dict(part.partition("=")[::2] for part in changes.split(",") if part)
    return preset_with(preset, {key: _value(text) for key, text in values.items()})


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _model_defaults(bench: Bench, engine: LocalEngine) -> dict[str, Any]:
    default = {**FULL_SIZE_DEFAULTS, **engine.model.defaults}
    return {
        "size": bench.size if all(bench.size) else (default["width"], default["height"]),
        "steps": bench.steps or default["steps"],
    }

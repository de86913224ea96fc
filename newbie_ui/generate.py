"""Pictures from a terminal: one for each prompt file, in order.

    python -m newbie_ui.generate --prompt-file a.xml b.xml --seed 7 --out-dir pictures --json

Promises: stdout holds nothing but the result (one path a line, or with --json one JSON line at the end); what happens
meanwhile goes to stderr; file names sort in the order of the prompts; a picture is on disk before it is named. Exit
code 0, 2 with a sentence for input that cannot be used, 1 for a failure of ours, 130 after Ctrl+C.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import logging
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

from newbie_ui.engine.base import Engine, EngineState, generate
from newbie_ui.engine.build import make_engine
from newbie_ui.engine.history import History
from newbie_ui.errors import EngineError, RequestError, SettingsError, UserError
from newbie_ui.presets import check_name, load_presets
from newbie_ui.request import (
    PARAMETERS,
    Encoded,
    Failed,
    GenerateRequest,
    GenerateResult,
    Loading,
    LoraUse,
    Picture,
    Step,
)
from newbie_ui.settings import SERVER_SETTINGS, Parser, Settings, add_flags, from_flags

FROM_SETTINGS = ("preset", "prompt", "loras")  # request fields that are no flags of their own here
LIBRARIES = ("httpx", "diffusers", "transformers", "torch", "torchao")
OWN_HELP = {
    "prompt_file": "files with one prompt each, UTF-8; - reads stdin; may be repeated",
    "prompt": "a prompt instead of a file; may be repeated",
    "lora": "LoRA file by name, with an optional weight; may be repeated",
}


class Failure(Exception):
    """A job failed through no fault of the input."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit code."""
    flags: dict[str, Any] = {}
    try:
        flags = vars(make_parser().parse_args(argv))
        settings = settings_from(flags)
        check_name(load_presets(settings.presets_dir), settings.preset)
        return run(settings, list(requests_from(flags)), Path(flags["out_dir"]), flags["json"])
    except UserError as error:
        print(f"newbie_ui: {error}", file=sys.stderr)
        return 2
    except Failure as error:
        print(f"newbie_ui: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def make_parser() -> argparse.ArgumentParser:
    """Flags of this command, of every parameter of a picture, and of the settings."""
    parser = Parser(prog="python -m newbie_ui.generate", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--prompt-file", nargs="+", action="extend", default=[], metavar="FILE", help=OWN_HELP["prompt_file"]
    )
    parser.add_argument("--prompt", action="append", default=[], metavar="TEXT", help=OWN_HELP["prompt"])
    parser.add_argument("--out-dir", default=".", metavar="DIR", help="folder for the pictures (default: here)")
    parser.add_argument("--json", action="store_true", help="end stdout with one JSON line")
    parser.add_argument("--lora", action="append", default=[], metavar="NAME[:WEIGHT]", help=OWN_HELP["lora"])
    picture = parser.add_argument_group("picture")
    for name, parameter in PARAMETERS.items():
        if name not in FROM_SETTINGS:
            shown = "" if parameter.default in (None, "") else f" (default: {parameter.default})"
            metavar = "|".join(parameter.choices) or parameter.kind.upper()
            picture.add_argument(
                "--" + name.replace("_", "-"), default=argparse.SUPPRESS, metavar=metavar, help=parameter.help + shown
            )
    add_flags(parser.add_argument_group("settings"), skip=("output_dir", *SERVER_SETTINGS))
    return parser


def settings_from(flags: dict[str, Any]) -> Settings:
    """Settings of the engine; their output folder is the one for the pictures, which is made."""
    settings = from_flags({**flags, "output_dir": flags["out_dir"]})
    level = settings.log_level.upper() if "log_level" in flags else "WARNING"
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.ERROR, logging.getLevelName(level)))
    if "log_level" not in flags:
        logging.getLogger("newbie_ui.engine.queued").addFilter(only_tracebacks)
    return settings


def only_tracebacks(record: logging.LogRecord) -> bool:
    """Why a request or a model cannot be used is said once, at the end; the engine's log adds only what is a bug."""
    return record.exc_info is not None


def requests_from(flags: dict[str, Any]) -> Iterator[tuple[str, GenerateRequest]]:
    """(name, checked request) of every prompt, all read and checked before the first picture is made."""
    given = {name: flags[name] for name in PARAMETERS if name in flags and name not in FROM_SETTINGS}
    given["loras"] = tuple(lora_use(text) for text in flags["lora"])
    prompts = [(Path(file).stem if file != "-" else "stdin", read_prompt(file)) for file in flags["prompt_file"]]
    prompts += [("prompt", text) for text in flags["prompt"]]
    if not prompts:
        raise SettingsError("There is nothing to make. Give --prompt-file FILE or --prompt TEXT.")
    for name, text in prompts:
        try:
            yield name, GenerateRequest(prompt=text, **given).checked()
        except RequestError as error:
            raise RequestError(error.field, f"{name}: {error}" if error.field == "prompt" else str(error)) from error


def read_prompt(file: str) -> str:
    """A prompt file's text as it is; raises SettingsError."""
    limit = 4 * int(PARAMETERS["prompt"].maximum)  # bytes: UTF-8 has four at most for a character
    try:
        with contextlib.ExitStack() as stack:
            stream = sys.stdin.buffer if file == "-" else stack.enter_context(open(file, "rb"))
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise SettingsError(f"Prompt file {file!r} is larger than {limit} bytes. Is it a prompt?")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"Prompt file {file!r} cannot be read ({error.strerror}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"Prompt file {file!r} is not UTF-8 text. Save it as UTF-8.") from error


def lora_use(text: str) -> LoraUse:
    name, colon, weight = text.rpartition(":")
    try:
        return LoraUse(name, float(weight)) if colon else LoraUse(text)
    except ValueError:
        raise SettingsError(f"--lora is {text!r}. Use a name, or a name and a weight as in style:0.8.") from None


def run(settings: Settings, jobs: Sequence[tuple[str, GenerateRequest]], folder: Path, as_json: bool) -> int:
    """Make all pictures with one engine. What came out is printed, also when a later one fails."""
    out, results, load_s = sys.stdout, [], 0.0
    with contextlib.redirect_stdout(sys.stderr):  # libraries print too
        sink = FolderSink(folder)
        engine = make_engine(settings, sink, history=History())
        engine.open()
        try:
            load_s = wait_until_ready(engine)
            for number, (name, request) in enumerate(jobs, start=1):
                sink.begin(number, len(jobs), name, request.images)
                for result in follow(engine, request, f"{number}/{len(jobs)} {name}"):
                    results.append(result)
        except KeyboardInterrupt:
            for job in engine.status().jobs:
                engine.cancel(job.id)
            raise
        finally:
            engine.close(timeout_s=5.0)
            if results:
                print_results(out, results, load_s, as_json)
    return 0


class FolderSink:
    """Stores pictures under names that sort in the order of the prompts: 01-name.png, or 01-name-2.png for several.

    A file that is there already is left alone; the new one is called 01-name-again.png, then 01-name-again-2.png.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._names: Iterator[str] = iter(())

    def begin(self, number: int, of: int, name: str, images: int) -> None:
        stem = f"{number:0{max(2, len(str(of)))}d}-{re.sub(r'[^0-9A-Za-z_-]+', '-', name)[:60].strip('-') or 'prompt'}"
        width = len(str(images))
        self._names = iter([stem] if images == 1 else [f"{stem}-{k:0{width}d}" for k in range(1, images + 1)])

    def __call__(self, result: GenerateResult) -> GenerateResult:
        from newbie_ui.gallery.metadata import write_png

        stem = next(self._names)
        for again in itertools.chain(("", "-again"), (f"-again-{count}" for count in itertools.count(2))):
            path = self._folder / f"{stem}{again}.png"
            if path.exists():
                continue
            with contextlib.suppress(FileExistsError):  # somebody else took the name just now
                return replace(result, path=str(write_png(result, path)))


def wait_until_ready(engine: Engine) -> float:
    """Seconds until the engine was ready; raises EngineError with its reason if it will never be."""
    started, told = time.perf_counter(), ""
    while (status := engine.status()).state in (EngineState.NEW, EngineState.OPENING):
        if status.message and status.message != told:
            told = status.message
            say(told)
        time.sleep(0.02)
    if status.state is EngineState.FAILED:
        raise EngineError(status.message)
    return time.perf_counter() - started


def follow(engine: Engine, request: GenerateRequest, label: str) -> Iterator[GenerateResult]:
    """The pictures of one job as they are made. Raises UserError or Failure with the job's message."""
    for event in generate(engine, request):
        if isinstance(event, Loading):
            say(f"{label}: {event.message}")
        elif isinstance(event, Encoded) and event.warning:
            say(f"{label}: {event.warning}")
        elif isinstance(event, Step) and event.index == event.total:
            say(f"{label}: picture {event.picture + 1} of {event.pictures}, {event.total} steps done")
        elif isinstance(event, Picture):
            yield event.result
            say(f"{label}: {event.result.path} in {event.result.timings.total_s:.2f} s")
        elif isinstance(event, Failed):
            raise Failure(event.message) if event.reference else UserError(f"{label}: {event.message}")


def print_results(out: TextIO, results: Sequence[GenerateResult], load_s: float, as_json: bool) -> None:
    """One JSON line, or one path a line."""
    if as_json:
        print(json.dumps({"images": [describe(result) for result in results], "load_s": round(load_s, 4)}), file=out)
    else:
        for result in results:
            print(result.path, file=out)
    out.flush()


def describe(result: GenerateResult) -> dict[str, Any]:
    """A picture as JSON: path, seed, size, seconds by stage, peak memory, facts."""
    resolved, timings = result.resolved, result.timings
    seconds = {name: round(value, 4) for name, value in asdict(timings).items() if name.endswith("_s")}
    memory = {name: round(value, 4) for name, value in asdict(result.memory).items() if value is not None}
    return {
        "path": result.path,
        "seed": resolved.seed,
        "width": resolved.width,
        "height": resolved.height,
        "steps": resolved.steps,
        "preset": resolved.preset,
        "model": resolved.model,
        "timings": {**seconds, "s_per_step": round(timings.s_per_step, 4)},
        "memory": memory,
        "facts": dict(result.facts),
    }


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

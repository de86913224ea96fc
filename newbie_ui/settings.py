"""Where the program gets its settings: flags first, then `NEWBIE_UI_*` variables, then defaults.

Promises: every setting is declared once, below, with its default and help; a wrong value raises `SettingsError`
naming where it came from; the output folder in a parsed `Settings` exists and can be written. On a hosted Space
(`SPACE_ID` is set) the defaults change to what works there: all interfaces, the persistent disk if there is one.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

from newbie_ui.errors import SettingsError

PREFIX = "NEWBIE_UI_"
PROJECT = Path(__file__).resolve().parent.parent
PERSISTENT_DISK = Path("/data")  # where a hosted Space mounts one
_ADDRESS = re.compile(r"https?://[^/\s]")
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


def _setting(default: Any, help: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": help, **more})


@dataclass(frozen=True)
class Settings:
    """Everything that is decided before the program starts."""

    model: str = _setting(
        "demo", "the embedded demo model, a folder, or a hub id such as NewBie-AI/NewBie-image-Exp0.1"
    )
    transformer: str = _setting("", "split files: the diffusion model's safetensors file")
    text_encoder: str = _setting("", "split files: the Gemma3 text encoder's file or folder")
    clip: str = _setting("", "split files: the Jina CLIP text encoder's file or folder")
    vae: str = _setting("", "split files: the VAE's file or folder")
    lora_dir: str = _setting("loras", "folder with LoRA files", folder=True)
    wildcard_dir: str = _setting("wildcards", "folder with wildcard files, for __name__ in a prompt", folder=True)
    tag_dir: str = _setting("tags", "folder with tag lists of your own (CSV), for completion", folder=True)
    engine: str = _setting("local", "local makes pictures, fake draws test patterns", choices=("local", "fake"))
    device: str = _setting("auto", "where pictures are made", choices=("auto", "cuda", "cpu"))
    preset: str = _setting("auto", "performance preset; auto takes the best that fits the device")
    presets_dir: str = _setting(str(PROJECT / "presets"), "folder with preset files", shown="presets/ of the project")
    output_dir: str = _setting("outputs", "folder for pictures, their index and the measured times")
    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 is every one")
    port: int = _setting(7860, "port to listen on", minimum=0, maximum=65535)
    root_path: str = _setting("", "full address of the page behind a proxy", address=True)
    share: bool = _setting(False, "make a public link through Gradio's relay")
    mcp: bool = _setting(False, "offer the functions as tools over MCP")
    max_queue: int = _setting(64, "jobs that may wait in all", minimum=1, maximum=10_000)
    max_per_client: int = _setting(16, "jobs that one visitor may have waiting", minimum=1, maximum=10_000)
    log_level: str = _setting("info", "how much is logged", choices=("debug", "info", "warning", "error"))


# What only a served page has use for; the other commands leave it out.
SERVER_SETTINGS = ("host", "port", "root_path", "share", "mcp", "max_queue", "max_per_client")


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def flag(name: str) -> str:
    """The command-line flag of a setting."""
    return "--" + name.replace("_", "-")


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are `SettingsError`s."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message[0].upper()}{message[1:]}. Run with --help to see what is possible.")


def add_flags(parser: argparse._ActionsContainer, skip: Sequence[str] = ()) -> None:
    """One flag a setting; an absent flag leaves no attribute, so that the environment can speak."""
    for item in fields(Settings):
        if item.name in skip:
            continue
        shown = item.metadata.get("shown", item.default)
        text = item.metadata["help"] + (f" (default: {shown})" if shown not in ("", False) else "")
        options: dict[str, Any] = {"dest": item.name, "default": argparse.SUPPRESS, "help": text.replace("%", "%%")}
        if isinstance(item.default, bool):
            parser.add_argument(flag(item.name), action=argparse.BooleanOptionalAction, **options)
        else:
            parser.add_argument(flag(item.name), metavar=_metavar(item), **options)


def parse(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from flags and environment. Raises SettingsError; `--help` prints and exits."""
    parser = Parser(
        prog="app.py",
        description="Compose several anime characters, get their picture and its cost.",
        epilog=f"Each setting is also read from the environment, e.g. {variable('output_dir')}. Flags win.",
    )
    add_flags(parser)
    return from_flags(vars(parser.parse_args(argv)), environ)


def from_flags(flags: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from already parsed flags (absent ones missing) and the environment."""
    environ = os.environ if environ is None else environ
    values = dict(_hosted_defaults(environ))
    given = set()
    for item in fields(Settings):
        if item.name in flags:
            values[item.name] = _convert(item, flags[item.name], flag(item.name))
            given.add(item.name)
        elif environ.get(variable(item.name)):
            values[item.name] = _convert(item, environ[variable(item.name)], variable(item.name))
            given.add(item.name)
    settings = Settings(**values)
    chosen = settings.output_dir if "output_dir" in given else None
    return _with(settings, output_dir=str(output_folder(chosen, settings.output_dir, environ)))


def output_folder(chosen: str | None, default: str, environ: Mapping[str, str]) -> Path:
    """The folder for pictures, made if needed: the chosen one or an error, else the first default that works."""
    if chosen is not None:
        if not _writable(Path(chosen).expanduser()):
            raise SettingsError(f"Output folder {chosen!r} cannot be written. Choose another one.")
        return Path(chosen).expanduser().absolute()
    home = Path(environ.get("XDG_DATA_HOME") or Path(environ.get("HOME") or "~").expanduser() / ".local" / "share")
    for folder in (Path(default), home / "newbie_ui" / "outputs", Path(tempfile.gettempdir()) / "newbie_ui-outputs"):
        if _writable(folder):
            return folder.absolute()
    raise SettingsError(f"No folder for pictures can be written. Choose one with {flag('output_dir')}.")


def _hosted_defaults(environ: Mapping[str, str]) -> dict[str, Any]:
    if not environ.get("SPACE_ID"):
        return {}
    defaults = {"host": "0.0.0.0", "max_queue": 24, "max_per_client": 4}
    return {**defaults, "output_dir": "/data/outputs"} if PERSISTENT_DISK.is_dir() else defaults


def _convert(item: Any, raw: Any, source: str) -> Any:
    if isinstance(item.default, bool):
        return _to_bool(raw, source)
    if isinstance(item.default, int):
        return _to_int(raw, source, item.metadata["minimum"], item.metadata["maximum"])
    choices = item.metadata.get("choices")
    if choices and raw not in choices:
        raise SettingsError(f"{source} is {raw!r}. Use one of: {', '.join(choices)}.")
    if item.metadata.get("folder") and not Path(raw).expanduser().is_dir():
        raise SettingsError(f"{source} is {raw!r}, which is no folder. Make it, or correct the path.")
    if item.metadata.get("address") and raw and not _ADDRESS.match(raw):
        raise SettingsError(f"{source} is {raw!r}. Use the full address, such as https://art.example.org/newbie.")
    return raw


def _to_bool(raw: Any, source: str) -> bool:
    text = str(raw).strip().lower()
    if text not in TRUE + FALSE:
        raise SettingsError(f"{source} is {raw!r}. Use 1 or 0.")
    return text in TRUE


def _to_int(raw: Any, source: str, low: int, high: int) -> int:
    try:
        number = int(raw)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise SettingsError(f"{source} is {raw!r}. Use a whole number from {low} to {high}.")
    return number


def _metavar(item: Any) -> str:
    choices = item.metadata.get("choices")
    return "|".join(choices) if choices else ("N" if isinstance(item.default, int) else "TEXT")


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _with(settings: Settings, **changes: Any) -> Settings:
    return Settings(**{**vars(settings), **changes})

"""Compose and launch: settings → gallery → engine → page → server. Also a hosted Space's entry: no argument needed.

The port is taken first and the page is served while the engine still opens in the background. What a person gave and
cannot be used ends with one sentence on stderr and exit code 2.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from newbie_ui.engine.build import make_engine
from newbie_ui.errors import CheckpointError, SettingsError, UserError
from newbie_ui.presets import check_name, choose, load_presets
from newbie_ui.server.options import ServerOptions
from newbie_ui.settings import Settings, parse


def main(argv: Sequence[str] | None = None) -> int:
    """Run until a signal. Returns the exit code: 0 after an orderly end, 130 after one in a hurry, 2 for settings that
    cannot be used."""
    try:
        settings = parse(sys.argv[1:] if argv is None else argv)
        logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        logging.getLogger("httpx").setLevel(logging.WARNING)
        check_name(load_presets(settings.presets_dir), settings.preset)
        check_model(settings)
        check_tools(settings)
        return run(settings)
    except UserError as error:
        print(f"newbie_ui: {error}", file=sys.stderr)
        return 2


def check_model(settings: Settings) -> None:
    """What can be known of a model path without opening it: that it is there. Raises CheckpointError."""
    parts = [settings.transformer, settings.text_encoder, settings.clip, settings.vae]
    for part in filter(None, parts):
        if not Path(part).expanduser().exists():
            raise CheckpointError(f"Model file {part!r} does not exist. Check the path.")
    is_path = settings.model.startswith((".", "/", "~")) or "\\" in settings.model
    if not any(parts) and is_path and not Path(settings.model).expanduser().exists():
        raise CheckpointError(
            f"Model {settings.model!r} does not exist. Give a folder or a hub id such as owner/name, or leave it out "
            "for the demo model."
        )


def check_tools(settings: Settings) -> None:
    """`--mcp` needs a package that an older set-up may lack. Raises SettingsError."""
    if settings.mcp and importlib.util.find_spec("mcp") is None:
        raise SettingsError("--mcp needs the package mcp. Install it with: pip install -r requirements.txt")


def run(settings: Settings) -> int:
    """Everything in its order; what takes time comes after the port is known to be free."""
    from newbie_ui.server.run import take_port

    temp_dir = Path(tempfile.mkdtemp(prefix="newbie_ui-"))
    try:
        with take_port(settings.host, settings.port) as taken:
            return serve_page(settings, server_options(settings, taken.getsockname()[1], temp_dir), taken)
    finally:
        shutil.rmtree(temp_dir, ignore_errors=True)


def serve_page(settings: Settings, options: ServerOptions, taken: socket.socket) -> int:
    """Build page and server around the engine and serve; the engine opens meanwhile."""
    from newbie_ui.gallery.store import Gallery
    from newbie_ui.server.app import build
    from newbie_ui.server.run import serve

    source = described_source(settings)
    with Gallery(Path(settings.output_dir)) as gallery:
        engine = make_engine(settings, gallery.add, **source)
        engine.open()
        site = build(engine, gallery, settings, options)
        with site.janitor:
            return serve(site.app, taken, options, site.drain, lambda url: announce(url, settings, site))


def described_source(settings: Settings) -> dict[str, Any]:
    """The model's files, looked at without reading weights, and the device: what cannot be used is said before the
    page opens. A hub id is left to the engine, because it may have to be downloaded.

    Raises CheckpointError, SettingsError, PresetError.
    """
    if settings.engine == "fake":
        return {}
    from newbie_ui.engine.source import ModelSource
    from newbie_ui.model.checkpoint import DEMO, HUB_ID

    parts = (settings.transformer, settings.text_encoder, settings.clip, settings.vae)
    named = settings.model != DEMO and not any(parts) and not Path(settings.model).expanduser().exists()
    if named and HUB_ID.fullmatch(settings.model):
        check_device(settings, small_model=False)
        return {}
    source = ModelSource.from_settings(settings)
    info = source.describe(lambda message, fraction: None)
    check_device(settings, small_model=info.demo)
    return {"source": source}


def check_device(settings: Settings, small_model: bool) -> None:
    """The device is there and the preset is one for it. Raises SettingsError, PresetError."""
    from newbie_ui.engine.measure import describe_device, find_device

    device = describe_device(find_device(settings.device))
    choose(load_presets(settings.presets_dir), settings.preset, device.kind, device.total_gb, small_model)


def server_options(settings: Settings, port: int, temp_dir: Path) -> ServerOptions:
    """The server's part of the settings, with the port that was really taken."""
    return ServerOptions(
        host=settings.host,
        port=port,
        root_path=settings.root_path,
        hosted=bool(os.environ.get("SPACE_ID")),
        share=settings.share and not os.environ.get("SPACE_ID"),
        mcp=settings.mcp,
        temp_dir=temp_dir,
    )


def announce(url: str, settings: Settings, site) -> None:
    """Say where the page is, once it answers."""
    print(f"newbie_ui is at {url}   pictures go to {settings.output_dir}", flush=True)
    if site.options.share:
        try:
            address = site.page.open_tunnel("127.0.0.1", site.options.port)
            print(f"public address, for a week at most: {address}", flush=True)
        except (OSError, RuntimeError, ValueError) as error:
            print(f"newbie_ui: no public address, the page goes on here only: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    code = main()
    if code not in (0, 2):
        os._exit(code)  # whoever presses Ctrl+C twice does not wait for threads
    sys.exit(code)

"""The web application: our routes first, the page mounted after them, the guard around everything."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse

from newbie_ui.engine.base import Engine, EngineState, EngineStatus
from newbie_ui.gallery.store import Gallery
from newbie_ui.server.guard import BodyLimit, Guard, Lifecycle, NoRemoteFiles
from newbie_ui.server.janitor import Janitor
from newbie_ui.server.news import add_news
from newbie_ui.server.options import ServerOptions
from newbie_ui.server.pictures import add_pictures
from newbie_ui.server.run import Drain
from newbie_ui.ui import mount as ui
from newbie_ui.ui.actions import Actions
from newbie_ui.ui.page import build_page, page_assets
from newbie_ui.ui.shelf import Shelf

SERVING = (EngineState.READY, EngineState.BUSY)
GONE = (EngineState.FAILED, EngineState.CLOSING, EngineState.CLOSED)


@dataclass(frozen=True)
class Site:
    """All that serves the page, ready to be given to `run.serve`."""

    app: FastAPI
    page: ui.Mounted
    options: ServerOptions
    drain: Drain
    janitor: Janitor


def build(engine: Engine, gallery: Gallery, settings: Any, options: ServerOptions) -> Site:
    """Page and server around this engine and this gallery. Starts nothing."""
    lifecycle = Lifecycle()
    ui.prepare(options.temp_dir)
    app = make_app(engine, options, lifecycle)
    add_pictures(app, Shelf(gallery), may_edit=not options.shared, temp_dir=options.temp_dir)
    actions = Actions(engine, gallery, tag_dir=settings.tag_dir if settings else "")
    add_news(app, actions.follow)
    blocks = build_page(actions, gallery, settings)
    page = ui.mount(
        app, blocks, page_assets(), file_limit=options.file_limit, root_path=options.root_path, mcp=options.mcp
    )
    drain = Drain(engine, lifecycle, page, options.drain_s)
    janitor = Janitor(options.temp_dir, options.temp_age_s, options.temp_quota)
    return Site(app, page, options, drain, janitor)


def make_app(engine: Engine, options: ServerOptions, lifecycle: Lifecycle) -> FastAPI:
    """An application with health checks and the guard; the page and the pictures are added by the caller."""
    app = FastAPI(title="newbie_ui", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(CORSMiddleware, allow_origins=[])  # the page's framework adds its own, wider one otherwise
    app.add_middleware(NoRemoteFiles)
    app.add_middleware(Guard, options=options, lifecycle=lifecycle)
    app.add_middleware(BodyLimit, options=options)
    add_health(app, engine, lifecycle)
    return app


def add_health(app: FastAPI, engine: Engine, lifecycle: Lifecycle) -> None:
    """`/health`: the process lives and its engine has not failed. `/ready`: a picture asked for now will be made."""
    started = time.monotonic()

    @app.get("/health", include_in_schema=False)
    def health() -> JSONResponse:
        status = engine.status()
        alive = status.state not in GONE and not lifecycle.draining
        return JSONResponse(_report(status, lifecycle, started), 200 if alive else 503, {"cache-control": "no-store"})

    @app.get("/ready", include_in_schema=False)
    def ready() -> JSONResponse:
        status = engine.status()
        serving = status.state in SERVING and not lifecycle.draining
        return JSONResponse(_report(status, lifecycle, started), 200 if serving else 503, {"cache-control": "no-store"})


def _report(status: EngineStatus, lifecycle: Lifecycle, started: float) -> dict:
    """Numbers and names only: no path, no prompt, no message that could hold one."""
    return {
        "state": status.state.value,
        "ending": lifecycle.draining,
        "device": status.device.name if status.device else None,
        "model": status.model.name if status.model else None,
        "jobs": len(status.jobs),
        "up_s": round(time.monotonic() - started, 1),
    }

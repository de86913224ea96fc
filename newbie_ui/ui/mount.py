"""The page inside the server: Gradio's settings for strangers, and the few things a server must ask of it.

Every default that is too open is decided here: programs go through the queue, sessions are capped, exceptions stay in
the log, no monitoring page, no run history, no files but those the page itself made. The queue does not protect the
device, the engine's own queue does; what is bounded here is how many calls wait. The page's own events skip the queue
and do a moment's work each (`widgets.DIRECT`).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from gradio import networking

from newbie_ui.ui.page import PageAssets
from newbie_ui.ui.shell import add_shell

MAX_WAITING = 200  # calls of all programs together; the page itself does not wait in Gradio's queue
CALLS_AT_ONCE = 32  # a call for pictures occupies one for as long as they take
MAX_SESSIONS = 300
ICON = Path(__file__).parent / "static" / "icon.svg"
# Gradio reads these by itself; what they would switch on is decided here.
OVERRIDES = ("GRADIO_SHARE", "GRADIO_MCP_SERVER", "GRADIO_ALLOWED_PATHS", "GRADIO_RUN_HISTORY", "GRADIO_HISTORY_BUCKET")


@dataclass(frozen=True)
class Mounted:
    """A mounted page: what the server asks when it ends, and the tunnel for `--share`."""

    app: FastAPI
    blocks: gr.Blocks
    gradio_app: Any

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no call is waiting or running and all answers were fetched; False if that took too long."""
        end = time.monotonic() + timeout_s
        queue = self.blocks._queue
        while time.monotonic() < end:
            undelivered = any(not q.empty() for q in queue.pending_messages_per_session.values())
            if not len(queue) and not queue.get_active_worker_count() and not undelivered:
                return True
            time.sleep(0.05)
        return False

    def end_streams(self) -> None:
        """Let the connections that open pages hold (heartbeats) end; otherwise they keep the server alive."""
        self.gradio_app.stop_event.set()

    def open_tunnel(self, host: str, port: int) -> str:
        """A public address for a week at most. Raises OSError, RuntimeError or ValueError when there is none."""
        self.blocks.share = True
        return networking.setup_tunnel(host, port, self.blocks.share_token, None, None)


def prepare(temp_dir: Path) -> None:
    """Decide Gradio's environment; before any component is made."""
    for name in OVERRIDES:
        os.environ.pop(name, None)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(temp_dir)
    temp_dir.mkdir(parents=True, exist_ok=True)


def mount(
    app: FastAPI, blocks: gr.Blocks, assets: PageAssets, *, file_limit: int, root_path: str = "", mcp: bool = False
) -> Mounted:
    """Put the page at `/` of `app`, after routes of our own."""
    add_shell(app, assets.css, assets.js)
    blocks.queue(max_size=MAX_WAITING, api_open=False, default_concurrency_limit=CALLS_AT_ONCE)
    blocks.state_session_capacity = MAX_SESSIONS
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        favicon_path=str(ICON),
        mcp_server=mcp,
        max_file_size=file_limit,
        allowed_paths=[],
        root_path=root_path or None,
        **assets.arguments(),
    )
    gradio_app = next(route.app for route in reversed(app.routes) if getattr(route.app, "blocks", None) is blocks)
    return Mounted(app, blocks, gradio_app)

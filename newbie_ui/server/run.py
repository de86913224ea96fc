"""One process, one port, an orderly end.

The port is taken before anything slow starts, so that a busy port is said at once. On SIGTERM or Ctrl+C the server
takes no new work, the engine finishes the picture being made (it is in the gallery before anyone is told), waiting
pages get their last events, then the process ends with code 0. A second signal ends it at once.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import uvicorn

from newbie_ui.engine.base import Engine
from newbie_ui.errors import SettingsError
from newbie_ui.server.guard import Lifecycle
from newbie_ui.server.options import ServerOptions

log = logging.getLogger(__name__)
FORCED = 130  # as shells call a program that was interrupted


def take_port(host: str, port: int) -> socket.socket:
    """A bound socket, or SettingsError with the reason and the remedy. Port 0 takes any free one."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    except (OSError, OverflowError, UnicodeError) as error:
        raise SettingsError(f"Host {host!r} is not known here. Use 127.0.0.1, or 0.0.0.0 for the network.") from error
    taken = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix":
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(address)
        taken.listen(128)
    except OSError as error:
        taken.close()
        raise SettingsError(_why_not(error, host, port)) from error
    return taken


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is in use. Stop the other program, or pass --port {port + 1}."
    if error.errno == errno.EACCES:
        return f"Port {port} needs administrator rights. Pass a port above 1023, for example --port 7860."
    return f"Cannot listen on {host} port {port}: {error.strerror}. Use --host 127.0.0.1."


class Drain:
    """What happens between the first signal and the end of the process. `page` is a `newbie_ui.ui.mount.Mounted`."""

    def __init__(self, engine: Engine, lifecycle: Lifecycle, page: Any, limit_s: float):
        self.engine, self.lifecycle, self.page, self.limit_s = engine, lifecycle, page, limit_s

    def run(self) -> None:
        """Close the door, let the engine finish, let waiting pages read their last events. May take a while."""
        started = time.monotonic()
        self.lifecycle.draining = True
        jobs = len(self.engine.status().jobs)
        if jobs:
            print("Finishing the picture being made. Press Ctrl+C again to end at once.", file=sys.stderr, flush=True)
        self.engine.close(self.limit_s)
        self.page.wait_idle(timeout_s=5.0 if jobs else 0.5)
        log.info("drained in %.1f s, %d jobs were open", time.monotonic() - started, jobs)

    def end(self) -> None:
        """The last step, on the server's own loop: connections that open pages hold end."""
        self.page.end_streams()


class Server(uvicorn.Server):
    """uvicorn whose first signal drains and whose second one ends."""

    def __init__(self, config: uvicorn.Config, drain: Drain):
        super().__init__(config)
        self._drain = drain
        self._signals = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._signals += 1
        if self._signals > 1 or self._loop is None:
            self.force_exit = self.should_exit = True
            return
        threading.Thread(target=self._drain_and_exit, name="drain", daemon=True).start()

    def _drain_and_exit(self) -> None:
        try:
            self._drain.run()
        finally:
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._drain.end()
        self.should_exit = True


def serve(
    app: Any,
    taken: socket.socket,
    options: ServerOptions,
    drain: Drain,
    on_start: Callable[[str], None] = lambda url: None,
) -> int:
    """Serve until a signal; returns the exit code: 0, or FORCED when a second signal did not want to wait.

    `on_start` gets the URL once the page answers. After FORCED threads may still run: leave with `os._exit`.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        proxy_headers=False,  # the client's address is read by `guard.client_address` with a known number of proxies
        server_header=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=30,
        ws="none",
    )
    server = Server(config, drain)
    threading.Thread(target=_announce, args=(server, options.url, on_start), name="announce", daemon=True).start()
    server.run(sockets=[taken])
    return FORCED if server.force_exit else 0


def _announce(server: uvicorn.Server, url: str, on_start: Callable[[str], None]) -> None:
    while not server.started:
        if server.should_exit:
            return
        time.sleep(0.02)
    on_start(url)

"""What may come in and what goes out, decided before the page's framework sees it.

Three plain ASGI layers, outermost first:

    BodyLimit   refuses bodies over a limit, whether their length is announced or not
    Guard       refuses unknown hosts, writes from other sites, routes that the page does not need, and new work
                while the server is ending; puts the security headers on every answer
    NoRemoteFiles   refuses calls whose file inputs are addresses instead of uploads

They decide on method, path and headers alone and hold no state but `Lifecycle`. They do not know who a visitor is; the
address that `Guard` leaves in the request (see `client_address`) is the nearest thing to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response

from newbie_ui.server.options import ServerOptions
from newbie_ui.server.pace import Pace

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable, Callable], Any]

READ_METHODS = ("GET", "HEAD", "OPTIONS")
UPLOAD_PATHS = ("/gradio_api/upload",)

# What the page and the clients need of Gradio; everything else of it is answered with 404.
READ_ROUTES = re.compile(
    r"/$|/(config|theme\.css|robots\.txt|favicon\.ico|manifest\.json)/?$|/(static|assets|svelte)/.+$"
    r"|/gradio_api/(info|openapi\.json|app_id|login_check|user|startup-events|queue/(data|status)|upload_progress)/?$"
    r"|/gradio_api/(heartbeat|call)/.+$|/gradio_api/file=.+$"
)
WRITE_ROUTES = re.compile(
    r"/gradio_api/(queue/join|cancel|reset|upload|component_server)/?$|/gradio_api/(call|run|api)/.+$"
)
OWN_ROUTES = re.compile(r"/(health|ready|news)$|/(pictures|thumbs|page)/[^/]+$|/gallery/.+$")
MCP_ROUTES = re.compile(r"/gradio_api/mcp(/.*)?$")
WORK_ROUTES = re.compile(r"/gradio_api/(queue/join|upload|call/|run/|api/)|/gallery/import")
REMOTE_FILE = re.compile(r"/gradio_api/file[=/]\s*[a-z][a-z0-9+.-]*:/", re.IGNORECASE)

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin-allow-popups",
}
# Gradio's page needs inline scripts and evaluates its templates; nothing is fetched from elsewhere.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {ancestors}"
)
FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors {ancestors}"
FOREVER = "public, max-age=31536000, immutable"
SPACE_FRAMES = "'self' https://huggingface.co https://*.hf.space"


class Lifecycle:
    """One flag that server, guard and routes share: the server is ending and takes no new work."""

    def __init__(self) -> None:
        self.draining = False


class BodyLimit:
    """Refuse request bodies that are too large with 413, before anything keeps them in memory."""

    def __init__(self, app: App, options: ServerOptions):
        self.app = app
        self.options = options

    def limit(self, path: str) -> int:
        if path.rstrip("/").endswith(UPLOAD_PATHS):
            return self.options.upload_limit
        return self.options.file_limit if path.startswith("/gallery/import") else self.options.json_limit

    async def __call__(self, scope: Scope, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http" or scope["method"] in READ_METHODS:
            await self.app(scope, receive, send)
            return
        limit = self.limit(scope["path"])
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdigit() or int(announced) > limit:
            await _too_large(limit)(scope, receive, send)
            return
        await _Counted(self.app, limit).run(scope, receive, send)


class _Counted:
    """One request whose body is counted while it arrives; over the limit the inner answer is replaced by 413."""

    def __init__(self, app: App, limit: int):
        self.app, self.limit = app, limit
        self.received = 0
        self.started = False

    async def run(self, scope: Scope, receive: Callable, send: Callable) -> None:
        async def counted_receive() -> dict:
            if self.over:
                return {"type": "http.disconnect"}
            message = await receive()
            self.received += len(message.get("body", b""))
            return {"type": "http.disconnect"} if self.over else message

        async def guarded_send(message: dict) -> None:
            if self.over and not self.started:
                return
            self.started = True
            await send(message)

        try:
            await self.app(scope, counted_receive, guarded_send)
        except Exception:
            if not self.over:
                raise
        if self.over and not self.started:
            await _too_large(self.limit)(scope, receive, send)

    @property
    def over(self) -> bool:
        return self.received > self.limit


class Guard:
    """Hosts, origins, routes, headers. `lifecycle` closes the door for new work when the server ends."""

    def __init__(self, app: App, options: ServerOptions, lifecycle: Lifecycle):
        self.app, self.options, self.lifecycle = app, options, lifecycle
        self.hosts = _hosts(options)
        self.pace = Pace(options.requests_s, options.requests_burst) if options.hosted else None
        self.ancestors = SPACE_FRAMES if options.hosted else "'self'"

    async def __call__(self, scope: Scope, receive: Callable, send: Callable) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        headers = Headers(scope=scope)
        if scope.get("client"):
            peer, port = scope["client"]
            scope["client"] = (client_address(headers, peer, self.options.hops), port)
        refusal = self.refusal(scope["method"], scope["path"], headers) or self.too_fast(scope)

        async def send_with_headers(message: dict) -> None:
            if message["type"] == "http.response.start":
                self.add_headers(MutableHeaders(scope=message), scope["path"], message["status"])
            await send(message)

        await (refusal or self.app)(scope, receive, send_with_headers)

    def refusal(self, method: str, path: str, headers: Headers) -> Response | None:
        """The answer to a request that must not go on, or None."""
        host = headers.get("host", "").rsplit("@", 1)[-1].lower()
        if self.hosts and _name(host) not in self.hosts:
            return _error(
                421,
                f"This page is not served as {_name(host)!r}. Open {self.options.url}, or name it with --root-path.",
            )
        if method not in READ_METHODS and _from_elsewhere(headers, host):
            return _error(403, "This request comes from another site. Open the page itself.")
        if REMOTE_FILE.match(unquote(path)) or not self.known(method, path):
            return _error(404, "There is nothing here.")
        if self.lifecycle.draining and method not in READ_METHODS and WORK_ROUTES.match(path):
            return _error(503, "The server is ending. Try again in a minute.", {"retry-after": "60"})
        return None

    def too_fast(self, scope: Scope) -> Response | None:
        """The answer to a visitor who sends more than people do, or None. Reading is not counted."""
        if self.pace is None or scope["method"] in READ_METHODS or not scope.get("client"):
            return None
        if self.pace.allows(scope["client"][0]):
            return None
        return _error(429, "This is faster than the page can serve everyone. Wait a moment.", {"retry-after": "5"})

    def known(self, method: str, path: str) -> bool:
        """True for routes that the page needs."""
        if self.options.mcp and MCP_ROUTES.match(path):
            return True
        if OWN_ROUTES.match(path):
            return True
        return bool((READ_ROUTES if method in READ_METHODS else WRITE_ROUTES).match(path))

    def add_headers(self, headers: MutableHeaders, path: str, status: int) -> None:
        if path.startswith("/assets/") and status == 200:
            headers["cache-control"] = FOREVER  # their names carry a hash of their content
        for name, value in HEADERS.items():
            headers[name] = value
        policy = FILE_POLICY if path.startswith(("/gradio_api/file", "/pictures/", "/thumbs/")) else PAGE_POLICY
        headers["content-security-policy"] = policy.format(ancestors=self.ancestors)
        if not self.options.hosted:
            headers["x-frame-options"] = "SAMEORIGIN"


class NoRemoteFiles:
    """Refuse API calls that name an address where a file is expected: the server fetches nothing for strangers."""

    def __init__(self, app: App):
        self.app = app

    async def __call__(self, scope: Scope, receive: Callable, send: Callable) -> None:
        is_call = scope["type"] == "http" and scope["method"] == "POST" and WORK_ROUTES.match(scope["path"])
        if not is_call or "json" not in Headers(scope=scope).get("content-type", "json"):
            await self.app(scope, receive, send)
            return
        messages = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        if _names_remote_file(b"".join(m.get("body", b"") for m in messages)):
            await _error(400, "Files must be uploaded; addresses are not fetched.")(scope, receive, send)
            return

        async def replay() -> dict:
            return messages.pop(0) if messages else await receive()

        await self.app(scope, replay, send)


def client_address(headers: Mapping[str, str], peer: str, hops: int) -> str:
    """The visitor's address: the peer, or what the outermost of `hops` trusted proxies saw.

    Anything further left in X-Forwarded-For was written by the visitor and is ignored.
    """
    forwarded = [part.strip() for part in headers.get("x-forwarded-for", "").split(",") if part.strip()]
    return forwarded[max(len(forwarded) - hops, 0)] if hops and forwarded else peer


def _hosts(options: ServerOptions) -> frozenset[str]:
    """Names the page answers to; empty means any. A page on loopback answers to loopback names and its public one
    only, so that a foreign site cannot reach it through a name that it points at this machine."""
    if options.shared or not options.loopback:
        return frozenset()
    public = urlsplit(options.root_path).hostname
    return frozenset({"localhost", "127.0.0.1", "[::1]", options.host.lower(), *([public] if public else [])})


def _name(host: str) -> str:
    return re.sub(r":\d*$", "", host)


def _from_elsewhere(headers: Headers, host: str) -> bool:
    """True if a browser says that another site's page sends this. Programs that are no browser say nothing."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "same-site", "none")
    origin = headers.get("origin")
    if origin is None:
        return False
    return urlsplit(origin).netloc.lower() not in (host, headers.get("x-forwarded-host", host).lower())


def _names_remote_file(body: bytes) -> bool:
    try:
        todo = [json.loads(body)] if body else []
    except (ValueError, RecursionError):
        return False  # the framework says what is wrong with it
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            if _is_address(value.get("path")):
                return True
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
    return False


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and bool(re.match(r"\s*[a-z][a-z0-9+.-]*://", value, re.IGNORECASE))


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers)


def _too_large(limit: int) -> Response:
    message = f"This is more than {limit / 1e6:g} MB. Send less, or fewer files at once."
    return JSONResponse({"error": message}, 413, {"connection": "close"})

"""Our styles and scripts in the head of Gradio's page, before its own.

Gradio puts its `head` argument in only after its own scripts have run: too late for the first paint, for the language
and for the colours. So they are two files of their own, cached for ever under a name that holds their hash, and an
ASGI layer writes their tags into the page.

Promises: only the page itself is touched; when the place for the tags is not found, the page stays as it is and a test
of ours fails. Nothing is kept between requests.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response

FOREVER = "public, max-age=31536000, immutable"
PLACE = b"<script>window.gradio_config"  # after <base>, before all scripts
MEDIA_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


@dataclass(frozen=True)
class Asset:
    """One file of ours: its bytes, also compressed, and the name that they give it."""

    name: str
    plain: bytes
    packed: bytes

    @classmethod
    def of(cls, kind: str, text: str) -> Asset:
        plain = text.encode("utf-8")
        return cls(f"{hashlib.sha256(plain).hexdigest()[:16]}.{kind}", plain, gzip.compress(plain, 6))

    def answer(self, request: Request) -> Response:
        headers = {"cache-control": FOREVER, "vary": "accept-encoding"}
        media_type = MEDIA_TYPES[self.name.rsplit(".", 1)[1]]
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(self.packed, media_type=media_type, headers={**headers, "content-encoding": "gzip"})
        return Response(self.plain, media_type=media_type, headers=headers)


def add_shell(app: FastAPI, css: str, js: str) -> None:
    """Serve both files and put their tags into the page. Call before the page is mounted."""
    files = {asset.name: asset for asset in (Asset.of("css", css), Asset.of("js", js))}

    def file(name: str, request: Request) -> Response:
        asset = files.get(name)
        return asset.answer(request) if asset else Response(status_code=404)

    app.add_api_route("/page/{name}", file, methods=["GET"], response_model=None, include_in_schema=False)
    app.add_middleware(Shell, tags=tags_of(files))


def tags_of(files: Mapping[str, Asset]) -> bytes:
    """Addresses are relative, so that they hold behind a proxy's path."""
    style, script = sorted(files, key=lambda name: name.endswith(".js"))
    return f'<link rel="stylesheet" href="page/{style}"><script src="page/{script}"></script>'.encode("ascii")


class Shell:
    """The ASGI layer."""

    def __init__(self, app: Callable, tags: bytes):
        self.app, self.tags = app, tags

    async def __call__(self, scope: MutableMapping[str, Any], receive: Callable, send: Callable) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] not in ("/", ""):
            await self.app(scope, receive, send)
            return
        packed = "gzip" in Headers(scope=scope).get("accept-encoding", "")
        await self.app(scope, receive, _Rewriter(send, self.tags, packed))


class _Rewriter:
    """Holds a page back until it is whole, then sends it with the tags, compressed if that is understood."""

    def __init__(self, send: Callable, tags: bytes, packed: bool):
        self.send, self.tags, self.packed = send, tags, packed
        self.start: MutableMapping[str, Any] | None = None
        self.body = bytearray()

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = Headers(raw=message["headers"])
            if headers.get("content-type", "").startswith("text/html") and "content-encoding" not in headers:
                self.start = message
                return
        if self.start is None or message["type"] != "http.response.body":
            await self.send(message)
            return
        self.body += message.get("body", b"")
        if message.get("more_body"):
            return
        page = bytes(self.body).replace(PLACE, self.tags + PLACE, 1)
        start, self.start = self.start, None
        headers = MutableHeaders(raw=start["headers"])
        if self.packed:
            page = gzip.compress(page, 5)
            headers["content-encoding"] = "gzip"
            headers.add_vary_header("accept-encoding")
        headers["content-length"] = str(len(page))
        await self.send(start)
        await self.send({"type": "http.response.body", "body": page})

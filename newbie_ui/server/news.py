"""News of running jobs for open pages: `GET /news`, server-sent events, one stream a page.

Each event is what the middle of the page shows now (`newbie_ui.ui.views.stage`), as JSON; an event named `end` comes
last, when no job is left. A page asks again when there are jobs again, or when its connection broke: it gets the
present state first, so that nothing has to be kept for it. A stream holds no thread.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI
from starlette.responses import JSONResponse, Response, StreamingResponse

MAX_STREAMS = 300
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def add_news(app: FastAPI, follow: Callable[[], AsyncIterator[dict[str, Any]]], most: int = MAX_STREAMS) -> None:
    """Add the route. `follow` yields what changes until no job is left; more than `most` streams are refused."""
    streams = Streams(follow, most)
    app.add_api_route("/news", streams.answer, methods=["GET"], response_model=None, include_in_schema=False)


class Streams:
    """Counts the streams that are open."""

    def __init__(self, follow: Callable[[], AsyncIterator[dict[str, Any]]], most: int):
        self.follow, self.most = follow, most
        self.open = 0

    async def answer(self) -> Response:
        if self.open >= self.most:
            refusal = {"error": "More pages are open than can be told news at once. Try again in a moment."}
            return JSONResponse(refusal, 503, {"retry-after": "5"})
        return StreamingResponse(self.events(), media_type="text/event-stream", headers=HEADERS)

    async def events(self) -> AsyncIterator[str]:
        self.open += 1
        try:
            async for value in self.follow():
                yield f"data: {json.dumps(value)}\n\n"
            yield "event: end\ndata: {}\n\n"
        finally:
            self.open -= 1

"""The stream of news: what it tells, how it ends, and that it is counted."""

import json

from fastapi import FastAPI
from starlette.testclient import TestClient

from newbie_ui.server.news import add_news


async def told():
    yield {"state": "running", "step": 1}
    yield {"state": "done", "text": "a\nb </script>"}


def events(text):
    return [dict(line.split(": ", 1) for line in event.split("\n")) for event in text.strip().split("\n\n")]


def test_each_change_is_one_event_and_the_end_is_said():
    app = FastAPI()
    add_news(app, told)
    with TestClient(app) as client:
        for _ in range(2):
            answer = client.get("/news")
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-store"
            first, second, end = events(answer.text)
            assert json.loads(first["data"]) == {"state": "running", "step": 1}
            assert json.loads(second["data"])["text"] == "a\nb </script>"
            assert end == {"event": "end", "data": "{}"}


def test_streams_are_counted_also_when_they_break():
    async def broken():
        yield {}
        raise RuntimeError("a bug")

    app = FastAPI()
    add_news(app, broken, most=1)
    with TestClient(app, raise_server_exceptions=False) as client:
        for _ in range(3):
            assert client.get("/news").status_code == 200


def test_more_pages_than_can_be_told_are_sent_away():
    app = FastAPI()
    add_news(app, told, most=0)
    with TestClient(app) as client:
        answer = client.get("/news")
        assert answer.status_code == 503
        assert "Try again" in answer.json()["error"]

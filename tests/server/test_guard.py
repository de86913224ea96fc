"""What may come in: sizes, hosts, origins, routes; what goes out: headers."""

import json

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from newbie_ui.server.guard import BodyLimit, Guard, Lifecycle, NoRemoteFiles, client_address
from newbie_ui.server.options import ServerOptions
from newbie_ui.server.pace import Pace

LOCAL = {"host": "127.0.0.1:7860"}


async def echo(request: Request) -> JSONResponse:
    if request.url.path == "/config":
        return JSONResponse({"client": request.client.host})
    return JSONResponse({"bytes": len(await request.body())})


def client_for(options: ServerOptions, lifecycle: Lifecycle | None = None) -> TestClient:
    app = Starlette(
        routes=[Route("/{path:path}", echo, methods=["GET", "POST"])],
        middleware=[
            Middleware(BodyLimit, options=options),
            Middleware(Guard, options=options, lifecycle=lifecycle or Lifecycle()),
            Middleware(NoRemoteFiles),
        ],
    )
    return TestClient(app, base_url="http://127.0.0.1:7860")


@pytest.fixture
def client() -> TestClient:
    return client_for(ServerOptions(json_limit=1000, upload_limit=5000))


JOIN = "/gradio_api/queue/join"


def test_a_body_within_the_limit_arrives_whole(client):
    assert client.post(JOIN, content=b'"' + b"x" * 900 + b'"').json() == {"bytes": 902}


def test_a_body_over_the_limit_is_refused_with_the_limit(client):
    answer = client.post(JOIN, content=b"x" * 1001)
    assert answer.status_code == 413
    assert "0.001 MB" in answer.json()["error"]


def test_a_body_without_announced_length_is_counted_while_it_arrives(client):
    pieces = (b"x" * 100 for _ in range(20))
    assert client.post(JOIN, content=pieces).status_code == 413


def test_a_lying_or_broken_length_is_refused(client):
    assert client.post(JOIN, content=b"x", headers={"content-length": "-5"}).status_code == 413


def test_uploads_may_be_larger_than_forms(client):
    assert client.post("/gradio_api/upload", content=b"x" * 4000).status_code == 200
    assert client.post("/gradio_api/upload", content=b"x" * 6000).status_code == 413


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/deep_link?session_hash=x",
        "/gradio_api/runs",
        "/gradio_api/run-history/records",
        "/monitoring",
        "/monitoring/summary",
        "/pwa_icon/20000",
        "/gradio_api/proxy=https://example.org/",
        "/gradio_api/file=https://example.org/x.png",
        "/gradio_api/file=http%3A//example.org/x.png",
        "/gradio_api/dev/reload",
        "/gradio_api/vibe-code",
        "/custom_component/1/client/component/x.js",
        "/login",
        "/anything",
    ],
)
def test_routes_that_the_page_does_not_need_are_not_there(client, path):
    assert client.get(path).status_code == 404


PAGE_ROUTES = (
    "/ /config /theme.css /assets/index.js /static/js/x.js /gradio_api/info /gradio_api/queue/data "
    "/gradio_api/heartbeat/abc /gradio_api/file=/tmp/x.png /health /ready /pictures/a.png /thumbs/a.webp /gallery/list"
)


@pytest.mark.parametrize("path", PAGE_ROUTES.split())
def test_routes_that_the_page_needs_are_open(client, path):
    assert client.get(path).status_code == 200


def test_recordings_and_edits_cannot_be_posted(client):
    assert client.post("/gradio_api/process_recording", content=b"{}").status_code == 404
    assert client.post("/gradio_api/vibe-edit", content=b"{}").status_code == 404


def test_the_tool_server_is_there_only_when_asked_for(client):
    assert client.post("/gradio_api/mcp/", content=b"{}").status_code == 404
    assert client_for(ServerOptions(mcp=True)).post("/gradio_api/mcp/", content=b"{}").status_code == 200


def test_a_foreign_name_for_this_machine_is_refused(client):
    answer = client.get("/", headers={"host": "evil.example:7860"})
    assert answer.status_code == 421
    assert "http://127.0.0.1:7860" in answer.json()["error"]


@pytest.mark.parametrize("host", ["localhost:7860", "127.0.0.1", "[::1]:7860", "LOCALHOST"])
def test_names_of_this_machine_are_served(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


def test_a_page_for_the_network_answers_to_any_name():
    assert client_for(ServerOptions(host="0.0.0.0")).get("/", headers={"host": "nas.local"}).status_code == 200
    assert client_for(ServerOptions(share=True)).get("/", headers={"host": "x.gradio.live"}).status_code == 200


def test_the_public_name_behind_a_proxy_is_served_and_no_other():
    client = client_for(ServerOptions(root_path="https://Art.example.org/newbie"))
    assert client.get("/", headers={"host": "art.example.org"}).status_code == 200
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
    ],
)
def test_other_sites_cannot_make_a_browser_write(client, headers):
    assert client.post(JOIN, content=b"{}", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers", [{}, {"sec-fetch-site": "same-origin", "origin": "null"}, {"origin": "http://127.0.0.1:7860"}]
)
def test_the_page_itself_and_programs_can_write(client, headers):
    assert client.post(JOIN, content=b"{}", headers=headers).status_code == 200


def test_no_other_site_gets_permission_to_read(client):
    answer = client.get("/config", headers={"origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("address", ["http://10.0.0.1/x.png", "https://example.org/x", " FTP://x/y", "file:///etc/x"])
def test_a_file_input_must_be_an_upload_not_an_address(client, address):
    body = json.dumps({"data": [{"a": [{"path": address, "meta": {"_type": "gradio.FileData"}}]}]})
    answer = client.post(JOIN, content=body)
    assert answer.status_code == 400
    assert "uploaded" in answer.json()["error"]


def test_an_address_in_a_prompt_is_just_text(client):
    body = json.dumps({"data": ['{"path": "http://example.org"}', {"path": "/tmp/x.png", "url": "http://127.0.0.1/x"}]})
    assert client.post(JOIN, content=body).json() == {"bytes": len(body)}


def test_deeply_nested_json_is_left_to_the_framework_to_refuse():
    client = client_for(ServerOptions())
    assert client.post(JOIN, content=b"[" * 200_000).status_code == 200  # the echo reads bytes only


def test_every_answer_carries_the_security_headers(client):
    for path in ("/", "/nothing", "/pictures/x.png"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "SAMEORIGIN"
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
    assert "connect-src 'self'" in client.get("/").headers["content-security-policy"]
    assert "sandbox" in client.get("/gradio_api/file=/tmp/a").headers["content-security-policy"]


def test_a_hosted_page_may_be_framed_by_its_site_only():
    headers = client_for(ServerOptions(hosted=True)).get("/", headers={"host": "me-space.hf.space"}).headers
    assert "frame-ancestors 'self' https://huggingface.co https://*.hf.space" in headers["content-security-policy"]
    assert "x-frame-options" not in headers


def test_an_ending_server_takes_no_new_work_but_still_shows_pictures():
    lifecycle = Lifecycle()
    client = client_for(ServerOptions(), lifecycle)
    lifecycle.draining = True
    for path in (JOIN, "/gradio_api/call/generate", "/gradio_api/upload", "/gallery/import"):
        answer = client.post(path, content=b"{}")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "60"
    assert client.get("/pictures/x.png").status_code == 200
    assert client.post("/gradio_api/cancel", content=b"{}").status_code == 200


@pytest.mark.parametrize(
    ("forwarded", "hops", "expected"),
    [
        ("", 0, "peer"),
        ("1.1.1.1", 0, "peer"),
        ("1.1.1.1", 1, "1.1.1.1"),
        ("9.9.9.9, 1.1.1.1", 1, "1.1.1.1"),
        ("9.9.9.9, 1.1.1.1, 2.2.2.2", 2, "1.1.1.1"),
        ("1.1.1.1", 3, "1.1.1.1"),
        (" , ", 1, "peer"),
    ],
)
def test_a_visitor_cannot_choose_its_address(forwarded, hops, expected):
    assert client_address({"x-forwarded-for": forwarded}, "peer", hops) == expected


def test_pages_behind_one_trusted_proxy_see_the_visitors_address():
    forwarded = {"x-forwarded-for": "6.6.6.6, 1.2.3.4", "host": "me.hf.space"}
    assert client_for(ServerOptions(hosted=True)).get("/config", headers=forwarded).json() == {"client": "1.2.3.4"}
    direct = client_for(ServerOptions(host="0.0.0.0")).get("/config", headers=forwarded).json()
    assert direct == {"client": "testclient"}


def test_the_pages_own_scripts_are_loaded_once_and_kept(client):
    assert "immutable" in client.get("/assets/index-abc.js").headers["cache-control"]
    assert "cache-control" not in client.get("/").headers


def test_a_visitor_of_a_hosted_page_cannot_flood_it_and_others_are_not_held_up():
    client = client_for(ServerOptions(hosted=True, requests_s=0.001, requests_burst=3))

    def post(address):
        headers = {"host": "me.hf.space", "x-forwarded-for": address}
        return client.post(JOIN, content=b"{}", headers=headers).status_code

    assert [post("1.1.1.1") for _ in range(5)] == [200, 200, 200, 429, 429]
    assert post("2.2.2.2") == 200
    assert client.get("/", headers={"host": "me.hf.space", "x-forwarded-for": "1.1.1.1"}).status_code == 200


def test_at_home_nobody_is_slowed_down():
    client = client_for(ServerOptions(requests_s=0.001, requests_burst=1))
    assert {client.post(JOIN, content=b"{}").status_code for _ in range(5)} == {200}


def test_a_bucket_refills_and_few_addresses_are_remembered(monkeypatch):
    now = [0.0]
    pace = Pace(rate=2.0, burst=2, clock=lambda: now[0])
    assert [pace.allows("a") for _ in range(3)] == [True, True, False]
    now[0] = 0.5
    assert [pace.allows("a") for _ in range(2)] == [True, False]
    monkeypatch.setattr("newbie_ui.server.pace.ADDRESSES", 2)
    for address in "bcd":
        pace.allows(address)
    assert list(pace._buckets) == ["c", "d"]

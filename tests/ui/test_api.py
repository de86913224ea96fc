"""The named endpoints, called as a program would, over a real server with a pretended engine."""

import asyncio
import contextlib
import json
import re
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import uvicorn
from gradio_client import Client

from newbie_ui.engine.fake import FakeEngine, Fault
from newbie_ui.errors import EngineError
from newbie_ui.gallery.store import Gallery
from newbie_ui.server.app import build
from newbie_ui.server.options import ServerOptions
from newbie_ui.server.run import take_port
from newbie_ui.settings import from_flags
from newbie_ui.ui.api import Api
from newbie_ui.ui.board import Board
from newbie_ui.ui.compose import EXAMPLE


@pytest.fixture
def engine():
    engine = FakeEngine(step_s=0.002)
    engine.open()
    yield engine
    engine.close()


@pytest.fixture
def api(engine):
    return Api(SimpleNamespace(engine=engine, actions=SimpleNamespace(board=Board(engine)), gallery=None))


def values_of(stream, count=None):
    async def collect():
        found = []
        async for value in stream:
            found.append(value)
            if count and len(found) == count:
                break
        await stream.aclose()
        return found

    return asyncio.run(collect())


def test_generate_tells_how_it_stands_and_ends_with_the_pictures(api):
    values = values_of(api.generate(EXAMPLE, steps=30, seed="9223372036854775807", images=2))
    last = values[-1]
    assert last["state"] == "done"
    assert last["fraction"] == 1.0
    assert [p["seed"] for p in last["pictures"]] == ["9223372036854775807", "0"]
    assert last["pictures"][0]["url"] == f"pictures/{last['pictures'][0]['id']}.png"
    assert last["pictures"][0]["timings"]["total_s"] > 0
    assert json.loads(json.dumps(values)) == values
    fractions = [value["fraction"] for value in values]
    assert fractions == sorted(fractions)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"prompt": " "}, "The prompt is empty"),
        ({"width": 1000}, "Use 992 or 1008"),
        ({"steps": 0}, "Steps 0 is out of range"),
        ({"seed": "many"}, "Seed 'many' is not a whole number"),
        ({"images": 1000}, "Pictures 1000 is out of range"),
        ({"sampler": "magic"}, "Use one of: euler"),
        ({"prompt": "x" * 30_000}, "shorten it to 20000"),
    ],
)
def test_a_wrong_value_is_refused_with_the_remedy(api, arguments, sentence):
    with pytest.raises(gr.Error) as refusal:
        values_of(api.generate(**{"prompt": EXAMPLE, **arguments}))
    assert sentence in str(refusal.value)


def test_a_failed_job_says_why(api, engine):
    engine.faults.append(Fault(EngineError("The device is too small. Use another preset.")))
    with pytest.raises(gr.Error, match="too small"):
        values_of(api.generate(EXAMPLE))


def test_a_caller_who_leaves_stops_the_job(api, engine):
    engine.step_s = 0.2
    (value,) = values_of(api.generate(EXAMPLE), count=1)
    events = list(engine.events(value["job"]))
    assert type(events[-1]).__name__ == "Cancelled"


def test_parse_and_lint_take_any_text_and_refuse_only_what_is_too_long(api):
    parsed = api.parse(EXAMPLE)
    assert [dict(c["fields"])["gender"] for c in parsed["characters"]] == ["1girl", "1girl"]
    assert parsed["text"] == EXAMPLE
    prompt = "<character_1>\n<n>a</n>\n<action>(waving:1.2</action>\n</character_1>"
    notes = {note["code"]: note for note in api.lint(prompt)}
    assert json.loads(json.dumps(notes)) == notes
    found = notes["parentheses"]
    assert (found["severity"], found["line"], found["column"]) == ("warning", 3, 9)
    assert (prompt[found["start"]], found["block"], found["index"]) == ("(", "character", 0)
    assert found["fix"] == {"label": "Add )", "text": prompt.replace(":1.2", ":1.2)")}
    with pytest.raises(gr.Error, match="20000"):
        api.parse("x" * 30_000)


def test_presets_say_what_fits_and_why_not(api):
    rows = {row["name"]: row for row in api.presets()}
    assert rows["cpu"]["fits"]
    assert "24 GB" in rows["quality"]["reason"]


@pytest.fixture
def site(tmp_path):
    with serving(tmp_path) as address:
        yield address


@contextlib.contextmanager
def serving(tmp_path, **more):
    """The address of a whole server with a pretended engine and a real gallery."""
    gallery = Gallery(tmp_path / "pictures")
    engine = FakeEngine(gallery.add, step_s=0.002)
    engine.open()
    taken = take_port("127.0.0.1", 0)
    options = ServerOptions(port=taken.getsockname()[1], temp_dir=tmp_path / "temp", **more)
    built = build(engine, gallery, from_flags({"output_dir": str(tmp_path / "pictures")}, {}), options)
    server = uvicorn.Server(uvicorn.Config(built.app, log_level="error", timeout_graceful_shutdown=1, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield options.url + "/"
    built.page.end_streams()
    server.should_exit = True
    thread.join(10)
    engine.close()
    gallery.close()


def test_the_example_in_the_documentation_works(site, capsys):
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
    example = page.split("```python\n", 1)[1].split("```", 1)[0]
    exec(example.replace("http://127.0.0.1:7860/", site), {})  # our own documentation
    printed = capsys.readouterr().out
    assert "done 100%" in printed
    assert re.search(rf"{site}pictures/\S+\.png 7 \d+\.\d s", printed)
    assert re.search(r"^1 \['\d{8}-", printed, re.MULTILINE)


def test_every_endpoint_is_documented_and_nothing_else_is_open(site):
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
    documented = set(re.findall(r"^\| `(/[a-z_]+)` \| (?!what)", page, re.MULTILINE))
    with urllib.request.urlopen(site + "gradio_api/info") as answer:
        offered = set(json.load(answer)["named_endpoints"])
    assert offered == {"/generate", "/presets", "/parse", "/lint", "/gallery"}
    assert documented >= offered


def test_calls_past_the_queue_are_refused(site):
    body = json.dumps({"data": ["<character_1></character_1>"]}).encode()
    request = urllib.request.Request(site + "gradio_api/run/parse", body, {"content-type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request)
    assert refusal.value.code in (401, 403, 404, 422)
    refusal.value.close()


def test_found_pictures_are_cut_to_what_was_asked(site):
    client = Client(site, verbose=False)
    client.predict(prompt=EXAMPLE, images=3, steps=2, api_name="/generate")
    found = client.predict(search="tag:blue_hair", limit=2, api_name="/gallery")
    assert (found["total"], len(found["items"])) == (3, 2)
    assert client.predict(search=None, limit=1, api_name="/gallery")["total"] == 3
    with urllib.request.urlopen(site + found["items"][0]["url"]) as picture:
        assert picture.read(4) == b"\x89PNG"
    with pytest.raises(Exception, match="Use one of: newest"):
        client.predict(order="best", api_name="/gallery")


def test_the_endpoints_are_tools_over_mcp(tmp_path):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def use(address):
        async with (
            streamable_http_client(f"{address}gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            lint = await session.call_tool("lint", {"prompt": "<character_1><gender>1girl</gender></character_1>"})
            made = await session.call_tool("generate", {"prompt": EXAMPLE, "steps": 2, "seed": "7"})
            refused = await session.call_tool("gallery", {"order": "best"})
            return tools, lint, made, refused

    with serving(tmp_path, mcp=True) as address:
        tools, lint, made, refused = asyncio.run(use(address))
    assert {tool.name for tool in tools} == {"generate", "presets", "parse", "lint", "gallery"}
    assert all(len(tool.description) > 40 for tool in tools)
    described = {tool.name: tool.inputSchema["properties"] for tool in tools}
    assert all(parameter["description"] for tool in described.values() for parameter in tool.values())
    assert "count_missing" in lint.content[0].text
    assert "'state': 'done'" in made.content[0].text
    assert "'seed': '7'" in made.content[0].text
    assert refused.isError
    assert "Use one of: newest" in refused.content[0].text

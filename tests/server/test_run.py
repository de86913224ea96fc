"""One process from its start to its end: ports, health, and what a signal does to a picture being made."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvicorn

from newbie_ui.errors import SettingsError
from newbie_ui.server.run import Server, take_port

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, pathlib, sys
from newbie_ui.engine.fake import FakeEngine
from newbie_ui.gallery.store import Gallery
from newbie_ui.request import GenerateRequest
from newbie_ui.server.app import build
from newbie_ui.server.options import ServerOptions
from newbie_ui.server.run import serve, take_port

folder = pathlib.Path(sys.argv[1])
taken = take_port("127.0.0.1", 0)
options = ServerOptions(port=taken.getsockname()[1], temp_dir=folder / "temp", drain_s=20)
gallery = Gallery(folder)
engine = FakeEngine(gallery.add, step_s=0.05)
engine.open()
site = build(engine, gallery, None, options)
engine.submit(GenerateRequest(prompt="x", steps=100))
with site.janitor:
    code = serve(site.app, taken, options, site.drain, lambda url: print(url, flush=True))
os._exit(code)
"""


def get(url: str) -> tuple[int, dict]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture
def server(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    )
    process.url = process.stdout.readline().strip()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_signal_finishes_the_picture_being_made_and_ends_with_code_0(server, tmp_path):
    status, report = get(server.url + "/ready")
    assert (status, report["state"], report["jobs"]) == (200, "busy", 1)
    tab = urllib.request.urlopen(server.url + "/gradio_api/heartbeat/tab", timeout=20)  # an open page
    server.send_signal(signal.SIGTERM)
    end = time.monotonic() + 4  # the picture takes 5 s
    while (answer := get(server.url + "/health"))[0] != 503 and time.monotonic() < end:
        time.sleep(0.05)
    status, report = answer
    assert (status, report["ending"]) == (503, True)
    assert server.wait(timeout=20) == 0
    tab.close()
    assert len(list(tmp_path.glob("pictures/*/*.png"))) == 1


class SlowDrain:
    """A drain that waits until it is let go."""

    def __init__(self):
        self.go, self.ended = threading.Event(), threading.Event()

    def run(self):
        self.go.wait(10)

    def end(self):
        self.ended.set()


def test_a_second_signal_does_not_wait():
    drain = SlowDrain()
    server = Server(uvicorn.Config(app=None), drain)
    server._loop = SimpleNamespace(call_soon_threadsafe=lambda call: call())
    server.handle_exit(signal.SIGTERM, None)
    assert (server.should_exit, server.force_exit) == (False, False)
    server.handle_exit(signal.SIGTERM, None)
    assert (server.should_exit, server.force_exit) == (True, True)
    drain.go.set()
    assert drain.ended.wait(5)


def test_a_signal_before_the_server_runs_ends_at_once():
    server = Server(uvicorn.Config(app=None), SlowDrain())
    server.handle_exit(signal.SIGINT, None)
    assert server.should_exit


def test_a_busy_port_is_said_with_the_next_one():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SettingsError, match=f"Port {port} on 127.0.0.1 is in use.*--port {port + 1}"):
            take_port("127.0.0.1", port)


def test_a_host_that_is_not_ours_is_said():
    with pytest.raises(SettingsError, match=r"192\.0\.2\.1"):
        take_port("192.0.2.1", 0)
    with pytest.raises(SettingsError, match="not known"):
        take_port("no such host", 0)

"""The page on a real server in this process, and a real browser in front of it, for tests."""

import shutil
import threading
import time
from contextlib import contextmanager

import uvicorn
from playwright.sync_api import expect, sync_playwright

from newbie_ui.gallery.store import Gallery
from newbie_ui.server.app import build
from newbie_ui.server.options import ServerOptions
from newbie_ui.server.run import take_port
from newbie_ui.settings import from_flags

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

expect.set_options(timeout=20_000)  # for machines that do ten other things

# What Gradio's client says when a page is left while it listens.
LEAVING = (
    "AbortError: signal is aborted",
    "Unexpected error Connection errored out",
    "TypeError: network error",
    "TypeError: Failed to fetch",
    "Failed to load resource: net::ERR_",
)


@contextmanager
def served(folder, make_engine, **flags):
    """Yields (address, gallery, engine). `make_engine(settings, sink)` gives an engine that is not open yet."""
    settings = from_flags({"output_dir": str(folder / "pictures"), **flags}, {})
    gallery = Gallery(folder / "pictures")
    engine = make_engine(settings, gallery.add)
    engine.open()
    taken = take_port("127.0.0.1", 0)
    options = ServerOptions(port=taken.getsockname()[1], temp_dir=folder / "temp")
    site = build(engine, gallery, settings, options)
    server = uvicorn.Server(uvicorn.Config(site.app, log_level="error", timeout_graceful_shutdown=1, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield options.url, gallery, engine
    finally:
        engine.close(timeout_s=5.0)
        site.page.end_streams()
        server.should_exit = True
        thread.join(10)
        gallery.close()


@contextmanager
def browsing():
    """Debian's Chromium."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "Chromium is not installed: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser, address, **options):
    """A fresh page; whatever it complains about fails the test."""
    context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, "locale": "en-US", **options})
    page = context.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.goto(address)
    page.locator("#nb-generate").wait_for()
    page.locator(".tokens .figure").wait_for(state="attached")
    page.wait_for_function("() => nb.state.pulse && nb.state.pulse.model_key && nb.state.doc.pending.length === 0")
    try:
        yield page
        complaints = [text for text in complaints if not text.startswith(LEAVING)]
        assert not complaints, complaints
    finally:
        context.close()

"""The page as a whole: light to import, few blocks, complete words, and no way for text to become markup."""

import re
import subprocess
import sys
from pathlib import Path

import gradio as gr
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from newbie_ui.engine.fake import FakeEngine
from newbie_ui.ui import mount, theme, words
from newbie_ui.ui.actions import Actions
from newbie_ui.ui.page import build_page, page_assets
from newbie_ui.ui.shell import add_shell

SCRIPTS = sorted(theme.STATIC.glob("*.js"))


@pytest.fixture(scope="module")
def page():
    return build_page(Actions(FakeEngine(), None), None)


def test_importing_the_page_leaves_torch_alone():
    code = "import newbie_ui.ui.page, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_page_is_made_of_few_blocks(page):
    assert len(page.blocks) <= 120  # each costs memory in every session


def test_no_event_of_the_page_is_a_public_endpoint_unless_it_has_a_name(page):
    for fn in page.fns.values():
        assert fn.api_visibility == "private" or isinstance(fn.api_name, str)


def test_no_event_of_the_page_waits_in_gradios_queue(page):
    own = [fn for fn in page.fns.values() if fn.api_visibility == "private"]
    assert len(own) > 10
    assert not any(fn.queue for fn in own)


def test_every_widget_on_the_page_has_its_script():
    source = "".join(path.read_text("utf-8") for path in SCRIPTS)
    defined = set(re.findall(r'nb\.define\("([a-z-]+)"', source))
    used = set()
    for path in theme.STATIC.parent.glob("*.py"):
        used |= set(re.findall(r'\bwidget\(\s*"([a-z-]+)"', path.read_text("utf-8")))
    assert used
    assert used <= defined


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_never_make_markup_from_text(path):
    source = path.read_text("utf-8")
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "DOMParser",
    ):
        assert word not in source
    assert "</script" not in source.lower()


def test_templates_hold_no_value(page):
    for block in page.blocks.values():
        template = getattr(block, "html_template", "")
        assert "{" not in template or template == "${value}"


def test_every_word_that_a_script_asks_for_exists():
    english = words.words()["en"]
    for path in SCRIPTS:
        for key in re.findall(r'\bt\("([A-Za-z0-9_.]+)"\s*[,)]', path.read_text("utf-8")):
            if not key.endswith("_"):
                assert key in english or f"tab.{key}" in english, f"{path.name}: {key}"


def test_other_languages_have_the_words_of_english_and_their_placeholders():
    tables = dict(words.words())
    english = tables.pop("en")
    for language, table in tables.items():
        assert set(table) <= set(english), language
        for key, text in table.items():
            assert set(re.findall(r"\{(\w+)\}", text)) == set(re.findall(r"\{(\w+)\}", english[key])), key


def test_light_and_dark_have_every_token_and_readable_text():
    css = theme.token_css()
    for name in theme.TOKENS:
        assert css.count(f"--nb-{name}:") == 2
    for mode in (0, 1):
        for text, ground in (("ink", "bg"), ("ink-2", "surface"), ("ink-3", "sunken"), ("on-accent", "accent")):
            assert contrast(theme.TOKENS[text][mode], theme.TOKENS[ground][mode]) >= 4.5, (text, ground, mode)
        for number in range(1, 7):
            assert contrast(theme.TOKENS["on-c"][mode], theme.TOKENS[f"c{number}"][mode]) >= 4.5


def test_our_rules_outweigh_those_that_come_later():
    sheet = "a,.b:is(c,d)>e{x:y}/* {} */@media (max-width:9px){f g{h:i}}@keyframes k{from{x:y}50%{x:z}}.dark j{k:l}"
    assert theme.raised(sheet) == (
        ":root a,:root .b:is(c,d)>e{x:y}@media (max-width:9px){:root f g{h:i}}"
        "@keyframes k{from{x:y}50%{x:z}}.dark j{k:l}"
    )
    for sheet in theme.STATIC.glob("*.css"):
        plain = re.sub(r"/\*.*?\*/", "", sheet.read_text("utf-8"), flags=re.DOTALL)
        assert theme.raised(plain).count("{") == plain.count("{")


def contrast(a, b):
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        parts = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_assets_download_nothing_from_elsewhere():
    assets = page_assets()
    assert set(assets.arguments()) == {"theme", "i18n"}
    assert "@import" not in assets.css
    assert "url(" not in assets.css
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)[\w.]+", assets.js)


def test_the_page_carries_our_style_and_script_before_its_own():
    app = FastAPI()
    add_shell(app, "body{}", "var x = 1;")
    blocks = build_page(Actions(FakeEngine(), None), None)
    gr.mount_gradio_app(app, blocks, path="/", **page_assets().arguments())
    with TestClient(app) as client:
        page = client.get("/").text
        tag = re.search(r'<link rel="stylesheet" href="(page/\w+\.css)"><script src="(page/\w+\.js)"></script>', page)
        assert page.index("<base ") < tag.start() < page.index("window.gradio_config")
        style, script = (client.get("/" + name) for name in tag.groups())
        assert (style.text, script.text) == ("body{}", "var x = 1;")
        assert "immutable" in script.headers["cache-control"]
        assert client.get("/page/other.js").status_code == 404
        assert client.get("/config", headers={"accept-encoding": "gzip"}).json()["version"]


def test_the_documentation_names_every_widget_and_key():
    page = (Path(__file__).parents[2] / "docs" / "page.md").read_text("utf-8")
    source = {path.name: path.read_text("utf-8") for path in SCRIPTS}
    for name in re.findall(r'nb\.define\("([a-z-]+)"', "".join(source.values())):
        assert re.search(rf"^\| .*\b{name}\b", page, re.MULTILINE), name
    for keys in re.findall(r'\[\[((?:"[^"]+",? ?)+)\], "', source["keys.js"]):
        for key in re.findall(r'"([^"]+)"', keys):
            assert key in page, key


def test_the_page_has_an_icon_of_its_own(tmp_path):
    app, assets = FastAPI(), page_assets()
    mount.mount(app, build_page(Actions(FakeEngine(), None), None), assets, file_limit=1)
    with TestClient(app) as client:
        answer = client.get("/favicon.ico")
    assert answer.headers["content-type"].startswith("image/svg+xml")
    assert answer.content == mount.ICON.read_bytes()

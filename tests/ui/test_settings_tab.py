"""The Settings tab: facts as plain data, and what guests of a shared page do not get to see."""

import json
from dataclasses import fields
from types import SimpleNamespace

import pytest

from newbie_ui.engine.fake import FakeEngine
from newbie_ui.presets import Preset
from newbie_ui.settings import Settings, from_flags
from newbie_ui.ui import settings as tab
from newbie_ui.ui import words
from newbie_ui.ui.access import client_of, is_shared
from newbie_ui.ui.actions import Actions
from newbie_ui.ui.page import PageContext


@pytest.fixture
def context(tmp_path, monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    engine = FakeEngine(step_s=0.0, loras=("ink", "watercolour"))
    engine.open()
    yield PageContext(Actions(engine, None), None, from_flags({"output_dir": str(tmp_path)}, {}))
    engine.close()


def test_facts_are_plain_data_that_a_browser_can_read(context):
    facts = json.loads(json.dumps(tab.facts(context)))
    assert facts["loras"] == ["ink", "watercolour"]
    assert ["output_dir", context.settings.output_dir] in facts["folders"]
    assert {"cpu", "quality"} <= {row["name"] for row in facts["presets"]}
    assert any(name == "gradio" for name, _ in facts["versions"])


def test_a_preset_shows_the_keys_that_its_file_changes_with_their_help(context):
    row = next(row for row in tab.facts(context)["presets"] if row["name"] == "cpu")
    keys = {key: (value, help) for key, value, help in row["keys"]}
    assert keys["device"][0] == "cpu"
    assert all(help for _, help in keys.values())
    assert "label" not in keys


def test_a_flag_that_was_given_is_marked(context):
    changed = {row[0] for row in tab.flag_facts(from_flags({"port": "7999"}, {})) if row[3]}
    assert changed == {"--port"}


def test_what_settings_and_presets_mean_is_said_in_every_language(context):
    facts = tab.facts(context)
    shown = {help for _, _, help, _ in facts["flags"]}
    shown |= {item.metadata["help"] for item in fields(Preset) if item.name not in ("name", "label", "summary")}
    languages = set(words.words()) - {"en"}
    assert set(words.helps()) == languages
    for language in languages:
        table = words.helps()[language]
        assert shown <= set(table)
        assert set(table) <= shown | {item.metadata.get("help") for item in fields(Settings)}  # nothing left over
        assert all(text and text != english for english, text in table.items())


def test_guests_see_no_folder_no_flag_no_source(context, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "someone/newbie")
    facts = tab.facts(context)
    assert facts["shared"]
    assert facts["folders"] == facts["flags"] == []
    assert context.settings.output_dir not in json.dumps(facts)
    assert facts["model"] is None or facts["model"]["source"] == ""


def test_the_licence_of_the_real_weights_is_named(context):
    assert ["NewBie-image-Exp0.1", "Newbie-NC-1.0", "licence_newbie"] in tab.facts(context)["licences"]


def test_a_public_link_makes_a_page_shared(context, monkeypatch):
    assert not is_shared(context.settings)
    assert is_shared(from_flags({"share": True}, {}))
    assert not is_shared(None)


def test_visitors_are_told_apart_by_address_and_on_this_machine_by_tab():
    def visitor(host, session):
        return SimpleNamespace(client=SimpleNamespace(host=host), session_hash=session)

    assert client_of(visitor("203.0.113.9", "a")) == client_of(visitor("203.0.113.9", "b")) == "203.0.113.9"
    assert client_of(visitor("127.0.0.1", "a")) != client_of(visitor("127.0.0.1", "b"))
    assert client_of(None) == ""

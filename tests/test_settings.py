"""Settings come from flags, then the environment, then defaults, and wrong ones are explained."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from newbie_ui.errors import SettingsError
from newbie_ui.settings import Settings, flag, parse, variable

DOCS = Path(__file__).parent.parent / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_without_anything_the_demo_model_is_served_locally(tmp_path):
    settings = parse([], {})
    assert (settings.model, settings.host, settings.port, settings.engine) == ("demo", "127.0.0.1", 7860, "local")
    assert Path(settings.output_dir) == tmp_path / "outputs"


def test_flags_win_over_the_environment_which_wins_over_defaults():
    environ = {"NEWBIE_UI_PORT": "8000", "NEWBIE_UI_ENGINE": "fake", "NEWBIE_UI_SHARE": "yes"}
    settings = parse(["--port", "9000", "--no-share"], environ)
    assert (settings.port, settings.engine, settings.share) == (9000, "fake", False)


@pytest.mark.parametrize(
    ("argv", "environ", "message"),
    [
        (["--port", "70000"], {}, "--port is '70000'. Use a whole number from 0 to 65535."),
        (["--port", "x"], {}, "--port is 'x'. Use a whole number"),
        (["--engine", "magic"], {}, "--engine is 'magic'. Use one of: local, fake."),
        ([], {"NEWBIE_UI_MCP": "maybe"}, "NEWBIE_UI_MCP is 'maybe'. Use 1 or 0."),
        (["--lora-dir", "/nowhere"], {}, "--lora-dir is '/nowhere', which is no folder. Make it, or correct the path."),
        ([], {"NEWBIE_UI_ROOT_PATH": "/art"}, "NEWBIE_UI_ROOT_PATH is '/art'. Use the full address, such as https://"),
        (["--prot", "1"], {}, "Unrecognized arguments: --prot 1. Run with --help"),
        (["--output-dir", "/proc/nowhere"], {}, "Output folder '/proc/nowhere' cannot be written."),
    ],
)
def test_a_wrong_value_is_named_with_its_remedy(argv, environ, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        parse(argv, environ)


def test_a_default_output_folder_that_cannot_be_written_falls_back_to_one_that_can(tmp_path):
    (tmp_path / "outputs").write_text("a file is in the way")
    settings = parse([], {"XDG_DATA_HOME": str(tmp_path / "home")})
    assert Path(settings.output_dir) == tmp_path / "home" / "newbie_ui" / "outputs"
    assert Path(settings.output_dir).is_dir()


def test_a_hosted_space_listens_everywhere_and_writes_where_it_can(tmp_path):
    settings = parse([], {"SPACE_ID": "someone/newbie", "XDG_DATA_HOME": str(tmp_path)})
    assert settings.host == "0.0.0.0"
    assert Path(settings.output_dir).is_dir()


def test_help_names_every_setting(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["--help"], {})
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(flag(item.name) in shown for item in fields(Settings))


def test_the_documented_table_is_the_declared_one():
    rows = re.findall(r"^\| `(--[a-z-]+)` \| `([A-Z_]+)` \| (.*?) \| (.*?) \|$", DOCS.read_text(), re.M)
    declared = [
        (flag(f.name), variable(f.name), str(f.metadata.get("shown", f.default) or "off"), f.metadata["help"])
        for f in fields(Settings)
    ]
    assert [(a, b, c.strip("`") or "off", d) for a, b, c, d in rows] == declared

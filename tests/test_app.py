"""Starting the program: what cannot be used ends with one sentence on stderr and code 2, before anything is served."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

import app
from newbie_ui.settings import from_flags

ROOT = Path(__file__).parents[1]


def started(*arguments: str, capsys) -> tuple[int, str]:
    code = app.main(arguments)
    printed = capsys.readouterr()
    assert printed.out == ""
    return code, printed.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--port", "70000"), "--port is '70000'. Use a whole number from 0 to 65535."),
        (("--engine", "magic"), "--engine is 'magic'. Use one of: local, fake."),
        (("--no-such-flag",), "Run with --help"),
        (("--preset", "fastest"), "Preset 'fastest' is unknown. Use auto or one of: balanced, cpu,"),
        (("--presets-dir", "/nowhere"), "There is no preset in '/nowhere'."),
        (("--model", "./nowhere"), "Model './nowhere' does not exist."),
        (
            ("--model", "no/such/folder", "--port", "0"),
            "'no/such/folder' is neither a folder on this machine nor a hub",
        ),
        (("--preset", "quality", "--device", "cpu", "--port", "0"), "Preset 'quality' needs a card with 24 GB"),
        (("--transformer", "/nowhere/dit.safetensors"), "Model file '/nowhere/dit.safetensors' does not exist."),
        (("--host", "no such host"), "Host 'no such host' is not known here."),
    ],
)
def test_what_cannot_be_used_is_said_in_one_sentence(arguments, sentence, tmp_path, capsys):
    code, said = started(*arguments, "--output-dir", str(tmp_path), capsys=capsys)
    assert code == 2
    assert sentence in said
    assert said.count("\n") == 1


def test_a_busy_port_is_said_before_anything_is_loaded(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        code, said = started("--port", port, "--output-dir", str(tmp_path), capsys=capsys)
    assert code == 2
    assert f"Port {port} on 127.0.0.1 is in use" in said


def test_an_incomplete_model_is_said_before_the_page_opens(tmp_path, capsys):
    model = tmp_path / "model"
    (model / "transformer").mkdir(parents=True)
    code, said = started("--model", str(model), "--port", "0", "--output-dir", str(tmp_path / "out"), capsys=capsys)
    assert code == 2
    assert str(model) in said or "transformer" in said
    assert said.count("\n") == 1


def test_tools_over_mcp_need_their_package(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(app.importlib.util, "find_spec", lambda name: None)
    code, said = started("--mcp", "--output-dir", str(tmp_path), capsys=capsys)
    assert code == 2
    assert "pip install -r requirements.txt" in said


def test_help_names_every_flag_and_ends_with_code_0():
    done = subprocess.run([sys.executable, "app.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for flag in ("--model", "--host", "--port", "--preset", "--output-dir", "--engine", "--share", "--mcp"):
        assert flag in done.stdout
    assert "NEWBIE_UI_" in done.stdout


def test_a_hosted_space_listens_to_everyone_and_trusts_one_proxy(tmp_path, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "someone/newbie")
    options = app.server_options(from_flags({"output_dir": str(tmp_path)}, {"SPACE_ID": "x"}), 7860, tmp_path)
    assert (options.host, options.hosted, options.hops, options.shared) == ("0.0.0.0", True, 1, True)


def test_at_home_only_this_machine_is_served(tmp_path, monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    options = app.server_options(from_flags({"output_dir": str(tmp_path)}, {}), 7860, tmp_path)
    assert (options.host, options.loopback, options.hops, options.shared) == ("127.0.0.1", True, 0, False)
    assert options.url == "http://127.0.0.1:7860"


def test_the_address_to_open_is_one_that_works(tmp_path):
    def url(host):
        return app.server_options(from_flags({"output_dir": str(tmp_path), "host": host}, {}), 80, tmp_path).url

    assert url("0.0.0.0") == "http://127.0.0.1:80"
    assert url("::1") == "http://[::1]:80"
    assert url("nas.local") == "http://nas.local:80"


class Site:
    """As much of a site as `announce` looks at."""

    def __init__(self, options, tunnel):
        self.options, self.page = options, self
        self.open_tunnel = tunnel


def shared_site(tmp_path, tunnel):
    settings = from_flags({"output_dir": str(tmp_path), "share": True}, {})
    return settings, Site(app.server_options(settings, 7860, tmp_path), tunnel)


def test_a_public_link_is_told_once_the_page_answers(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    settings, site = shared_site(tmp_path, lambda host, port: f"https://x.example for {host}:{port}")
    app.announce("http://127.0.0.1:7860", settings, site)
    assert "https://x.example for 127.0.0.1:7860" in capsys.readouterr().out


def test_without_a_tunnel_the_page_goes_on_here(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)

    def no_tunnel(host, port):
        raise RuntimeError("no relay")

    settings, site = shared_site(tmp_path, no_tunnel)
    app.announce("http://127.0.0.1:7860", settings, site)
    assert "goes on here only: no relay" in capsys.readouterr().err

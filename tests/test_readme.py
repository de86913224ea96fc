"""The README: its front matter makes the repository a hosted Space, its commands and examples work as printed."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SPACE_COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def front_matter() -> dict[str, str]:
    head = re.match(r"---\n(.*?)\n---\n", README, re.DOTALL)
    return {key: value.strip('"') for key, _, value in (line.partition(": ") for line in head[1].splitlines())}


def pinned(package: str) -> str:
    return re.search(rf"^{package}==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)[1]


def test_the_front_matter_makes_the_repository_a_space():
    space = front_matter()
    assert (space["sdk"], space["sdk_version"]) == ("gradio", pinned("gradio"))
    assert (ROOT / space["app_file"]).is_file()
    assert space["python_version"] in ("3.10", "3.11", "3.12")
    assert space["license"] == "apache-2.0"
    assert {space["colorFrom"], space["colorTo"]} <= SPACE_COLOURS
    assert 0 < len(space["short_description"]) <= 60
    assert space["title"]
    assert space["emoji"]


@pytest.fixture
def folder(tmp_path):
    """A folder that looks like the checkout to what runs in it, and keeps what is written."""
    for name in ("docs", "newbie_ui", "presets"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def run(folder: Path, *command: str, **environ: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, **environ})
    assert done.returncode == 0, done.stderr
    return done.stdout


def block_after(heading: str, language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", README.partition(heading)[2], re.DOTALL)[1]


def test_the_commands_for_a_terminal_work_in_their_order(folder):
    lines = block_after("## From a terminal", "sh").splitlines()
    *commands, bench = [shlex.split(line, comments=True) for line in lines]
    assert bench == ["python", "-m", "newbie_ui.bench"]  # takes minutes; has tests of its own
    for python, *arguments in commands:
        assert python == "python"
        assert run(folder, sys.executable, *arguments, NEWBIE_UI_ENGINE="fake").startswith("{")


def test_the_example_for_python_makes_its_picture(folder):
    run(folder, sys.executable, "-c", block_after("## From a terminal", "python"))
    assert (folder / "one.png").stat().st_size > 10_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(r'src="([^"]+)"', text)
    here = [target for target in targets if "://" not in target]
    assert [target for target in here if not (page.parent / target).exists()] == []


def test_every_page_of_the_documentation_is_named():
    assert [page.name for page in PAGES[1:] if f"(docs/{page.name})" not in README] == []

"""The Dockerfile, as far as it can be held against the checkout without an engine that builds it."""

import fnmatch
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
NEEDED = ("app.py", "newbie_ui", "presets", "requirements.txt", "LICENSE", "README.md")


def instruction(name: str) -> str:
    return re.findall(rf"^{name} +(.*)$", DOCKERFILE, re.MULTILINE)[-1]


def test_what_the_program_needs_is_copied():
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert [name for name in NEEDED if not (ROOT / name).exists()] == []
    assert [name for name in NEEDED for pattern in ignored if fnmatch.fnmatch(name, pattern)] == []


def test_an_ordinary_user_runs_the_program():
    assert instruction("USER") == "1000"
    python, unbuffered, program = json.loads(instruction("CMD"))
    assert (python, unbuffered) == ("python", "-u")
    assert (ROOT / program).is_file()


def test_python_files_are_compiled_when_it_is_built(tmp_path):
    python, *flags = re.search(r"^RUN (python -m compileall .*)$", DOCKERFILE, re.M)[1].split()
    assert "PYTHONDONTWRITEBYTECODE" not in DOCKERFILE
    assert python == "python"
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    assert subprocess.run([sys.executable, *flags], cwd=ROOT, env=environ).returncode == 0
    compiled = {file.name.split(".")[0] for file in tmp_path.rglob("*.pyc")}
    assert compiled >= {"app", *(file.stem for file in (ROOT / "newbie_ui").rglob("*.py"))}


@pytest.fixture
def page(tmp_path):
    """The program as the container starts it, with another port; yields process and port."""
    command = [sys.executable, "-u", "app.py", "--engine", "fake", "--port", "0", "--output-dir", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        yield process, re.search(r":(\d+) ", process.stdout.readline())[1]
        process.kill()


def test_the_health_check_tells_a_living_program_from_one_that_has_ended(page):
    process, port = page
    _, script = json.loads(re.search(r"CMD (\[.*\])", instruction("HEALTHCHECK"))[1])[1:]

    def healthy() -> bool:
        check = [sys.executable, "-c", script]
        return subprocess.run(check, env={"NEWBIE_UI_PORT": port}, stderr=subprocess.DEVNULL).returncode == 0

    assert healthy()
    process.terminate()
    assert process.wait(timeout=60) == 0
    assert not healthy()

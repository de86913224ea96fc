"""The promises of docs/architecture.md that a machine can check."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def imported_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_imports_point_downward():
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_page_leaves_torch_unimported():
    modules = imported_after("import newbie_ui.ui.page")
    assert "gradio" in modules
    assert modules.isdisjoint({"torch", "diffusers", "transformers"})


def test_requests_and_prompts_need_only_the_standard_library():
    modules = imported_after(
        "import newbie_ui.request, newbie_ui.engine.base, newbie_ui.prompt.xml, newbie_ui.settings"
    )
    assert modules.isdisjoint({"torch", "numpy", "PIL", "gradio"})


def test_every_module_says_what_it_is_for():
    silent = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "newbie_ui").rglob("*.py")
        if path.read_text(encoding="utf-8").strip()
        and not path.read_text(encoding="utf-8").lstrip().startswith(('"""', 'r"""', "#!"))
    ]
    assert silent == []


def test_the_folder_list_in_the_architecture_page_is_complete():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    folders = {path.parent.name for path in (ROOT / "newbie_ui").glob("*/__init__.py")}
    modules = {path.name for path in (ROOT / "newbie_ui").glob("*.py")} - {"__init__.py"}
    missing = sorted(name for name in {f"{folder}/" for folder in folders} | modules if name not in page)
    assert missing == []

"""docs/prompt.md tells the truth."""

import re
from pathlib import Path

from newbie_ui.prompt import budget, cards, tags, wildcards
from newbie_ui.prompt.document import CHARACTER_FIELDS, GENERAL_FIELDS, TOP_FIELDS
from newbie_ui.prompt.lint import lint
from newbie_ui.prompt.positions import COLUMNS
from newbie_ui.prompt.xml import CACHE_ENTRIES, CACHE_MAX_CHARS, parse
from tests.prompt.test_lint import CASES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "prompt.md").read_text(encoding="utf-8")
SOURCES = ROOT / "newbie_ui" / "prompt"


def codes_of_the_source():
    text = "".join((SOURCES / name).read_text() for name in ("reader.py", "lint.py", "lint_tags.py"))
    return set(re.findall(r'(?:_issue|\.finding)\(\s*"([a-z_]+)"', text))


def test_every_lint_code_is_documented_and_has_a_case():
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", PAGE, re.MULTILINE))
    codes = codes_of_the_source()
    assert len(codes) > 20
    assert codes == documented
    assert codes - {case[0] for case in CASES} == {"unknown_to_model"}


def test_every_field_position_and_file_is_named():
    for name in (*CHARACTER_FIELDS, *GENERAL_FIELDS, *TOP_FIELDS, *COLUMNS):
        assert re.search(rf"[`<]{name}\b", PAGE), name
    for path in SOURCES.glob("*.py"):
        if not path.name.startswith(("__", "pasted")):
            assert f"`{path.name}`" in PAGE, path.name


def test_the_example_is_without_fault():
    example = re.search(r"```xml\n(.*?)```", PAGE, re.DOTALL)[1]
    assert parse(example).problems == ()
    assert lint(example) == ()


def test_the_numbers_are_those_of_the_code():
    named = sum(1 for tag in tags.builtin() if tag.zh and tag.ja)
    for number in (
        f"{len(tags.builtin()):,} tags",
        f"{named:,} of them",
        f"{CACHE_ENTRIES} entries, texts up to {CACHE_MAX_CHARS:,} characters",
        f"{budget.TRAINED} tokens were trained, {budget.POSSIBLE:,} are possible",
        f"{wildcards.MAX_DEPTH} levels, {wildcards.MAX_CHOICES} choices, {wildcards.MAX_CHARS:,} characters",
        f"{cards.MAX_FIELDS} fields, {cards.MAX_VALUE_CHARS:,} characters a field, {cards.MAX_NAME_CHARS} a name",
        f"{tags.MAX_FILE_BYTES // 10**6} MB and {tags.MAX_ROWS:,} lines",
    ):
        assert number in PAGE, number

"""`python -m newbie_ui.prompt --json FILE…`."""

import json
import subprocess
import sys

import pytest

from newbie_ui.prompt.__main__ import main
from tests.prompt.samples import NASTY, OFFICIAL


def lines_of(capsys, *args):
    code = main([*map(str, args)])
    captured = capsys.readouterr()
    return code, [json.loads(line) for line in captured.out.splitlines()], captured.err


def test_one_json_line_a_file_in_order_with_the_text_byte_for_byte(tmp_path, capsys):
    paths = []
    for name, text in NASTY.items():
        if name == "surrogate":
            continue
        paths.append(tmp_path / f"{name}.txt")
        paths[-1].write_bytes(text.encode())
    code, lines, err = lines_of(capsys, "--json", *paths)
    assert (code, err) == (0, "")
    assert [line["text"].encode() for line in lines] == [path.read_bytes() for path in paths]
    assert [line["file"] for line in lines] == [str(path) for path in paths]


def test_the_line_holds_characters_general_and_problems(tmp_path, capsys):
    (tmp_path / "a.xml").write_text(OFFICIAL.replace("</position>\n</character_2>", "\n</character_2>"))
    _, (line,), _ = lines_of(capsys, "--json", tmp_path / "a.xml")
    assert line["characters"][0]["fields"][0] == ["n", "$character_1$"]
    assert line["characters"][1]["fields"][-1] == ["position", "center_right"]
    assert ["objects", "briefcase"] in line["general"]["fields"]
    assert line["problems"] == [
        {
            "line": 18,
            "column": 1,
            "message": "<position> is not closed. Add </position> before </character_2>.",
        }
    ]


def test_a_byte_order_mark_is_kept_and_is_not_a_prompt(tmp_path, capsys):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf<n>a</n>")
    _, (line,), _ = lines_of(capsys, "--json", tmp_path / "a.txt")
    assert line["text"] == "\ufeff<n>a</n>"
    assert line["extras"] == [["n", "a"]]


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), (b"\xff\xfe", "not UTF-8"), (b"a" * 1_000_001, "larger than 1,000,000 bytes")],
)
def test_a_bad_file_is_a_sentence_and_exit_code_2_and_the_others_are_read(tmp_path, capsys, content, words):
    bad, good = tmp_path / "bad.txt", tmp_path / "good.txt"
    good.write_text("rain")
    if content is not None:
        bad.write_bytes(content)
    code, lines, err = lines_of(capsys, "--json", bad, good)
    assert code == 2
    assert [line["text"] for line in lines] == ["rain"]
    assert str(bad) in err
    assert words in err
    assert "Traceback" not in err


def test_a_folder_is_a_bad_file(tmp_path, capsys):
    assert lines_of(capsys, "--json", tmp_path)[0] == 2


def test_without_json_people_read_places_and_messages(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("<character_1>\n<n>a")
    assert main([str(tmp_path / "a.txt")]) == 0
    out = capsys.readouterr().out
    assert "1 character, 0 general fields, 2 problems" in out
    assert ":2:1: <n> is not closed. Add </n> at the end." in out


def test_it_runs_as_a_module_without_torch_or_gradio(tmp_path):
    (tmp_path / "a.txt").write_text(OFFICIAL)
    code = (
        "import sys, runpy; sys.argv = ['prompt', '--json', sys.argv[1]]\n"
        "try: runpy.run_module('newbie_ui.prompt', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'gradio', 'numpy', 'PIL'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path / "a.txt")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == OFFICIAL

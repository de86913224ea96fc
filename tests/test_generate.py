"""Pictures from a terminal: order, names, the JSON line, exit codes."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from newbie_ui.generate import main
from newbie_ui.request import PARAMETERS
from tests import tiny

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "terminal.md"
FAKE = ["--engine", "fake", "--steps", "2"]


@pytest.fixture
def prompts(tmp_path):
    files = []
    for name in ("zebra", "a cat", "m"):
        files.append(tmp_path / f"{name}.xml")
        files[-1].write_text(f"<character_1><n>{name}</n></character_1>", encoding="utf-8")
    return [str(file) for file in files]


def run(capsys, *argv):
    code = main([*map(str, argv)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_one_picture_a_file_in_order_with_names_that_sort_in_that_order(capsys, prompts, tmp_path):
    out = tmp_path / "pictures"
    code, stdout, _ = run(capsys, *FAKE, "--seed", 7, "--out-dir", out, "--json", "--prompt-file", *prompts)
    assert code == 0
    images = json.loads(stdout)["images"]
    assert [Path(image["path"]).name for image in images] == ["01-zebra.png", "02-a-cat.png", "03-m.png"]
    assert sorted(out.iterdir()) == [Path(image["path"]) for image in images]
    assert [image["seed"] for image in images] == [7, 7, 7]
    for image in images:
        timings = image["timings"]
        assert {"queue_s", "encode_s", "denoise_s", "decode_s", "total_s"} <= set(timings)
        assert image["memory"]["resident_gb"] > 0
        assert Image.open(image["path"]).size == (256, 256)


def test_the_documented_json_is_the_one_that_is_printed(capsys, prompts, tmp_path):
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    _, stdout, _ = run(capsys, *FAKE, "--out-dir", tmp_path, "--json", "--prompt-file", prompts[0])
    printed = json.loads(stdout)
    (image,) = printed["images"]
    assert set(printed) == {"images", "load_s"} <= set(rows)
    for row, keys in (("images", image), ("timings", image["timings"])):
        assert re.findall(r"`(\w+)`", rows[row]) == list(keys)
    assert set(image["memory"]) <= set(re.findall(r"`(\w+)`", rows["memory"]))


def test_stdout_holds_the_json_line_alone(capsys, prompts, tmp_path):
    _, stdout, stderr = run(capsys, *FAKE, "--out-dir", tmp_path, "--json", "--prompt-file", prompts[0])
    assert len(stdout.splitlines()) == 1
    assert "2 steps done" in stderr


def test_without_json_the_paths_are_printed(capsys, prompts, tmp_path):
    _, stdout, _ = run(capsys, *FAKE, "--out-dir", tmp_path, "--prompt-file", prompts[0])
    assert stdout == f"{tmp_path / '01-zebra.png'}\n"


def test_several_pictures_of_a_prompt_take_the_following_seeds(capsys, tmp_path):
    _, stdout, _ = run(capsys, *FAKE, "--prompt", "1girl", "--images", 2, "--seed", 5, "--out-dir", tmp_path, "--json")
    images = json.loads(stdout)["images"]
    assert [(Path(i["path"]).name, i["seed"]) for i in images] == [("01-prompt-1.png", 5), ("01-prompt-2.png", 6)]


def test_a_picture_that_is_there_already_is_left_alone(capsys, tmp_path):
    argv = [*FAKE, "--prompt", "1girl", "--out-dir", tmp_path]
    made = [run(capsys, *argv, "--seed", seed)[1].strip() for seed in (1, 2, 3)]
    assert [Path(path).name for path in made] == ["01-prompt.png", "01-prompt-again.png", "01-prompt-again-2.png"]
    assert len({Image.open(path).tobytes() for path in made}) == 3


def test_a_flag_that_is_repeated_adds_its_files(capsys, prompts, tmp_path):
    files = [word for prompt in prompts for word in ("--prompt-file", prompt)]
    _, stdout, _ = run(capsys, *FAKE, "--out-dir", tmp_path / "out", *files)
    assert [Path(line).name for line in stdout.splitlines()] == ["01-zebra.png", "02-a-cat.png", "03-m.png"]


def test_a_prompt_can_come_from_stdin(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("青い髪".encode())))
    _, stdout, _ = run(capsys, *FAKE, "--prompt-file", "-", "--out-dir", tmp_path)
    assert Path(stdout.strip()).name == "01-stdin.png"


def test_ctrl_c_stops_within_a_step_and_names_the_pictures_that_are_there(prompts, tmp_path):
    out = tmp_path / "out"
    argv = [
        "--engine",
        "fake",
        "--steps",
        "20",
        "--images",
        "9",
        "--out-dir",
        out,
        "--json",
        "--prompt-file",
        prompts[0],
    ]
    listening = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell's background job does not
    code = f"import signal, sys; from newbie_ui.generate import main; {listening}; sys.exit(main())"
    command = [sys.executable, "-c", code, *map(str, argv)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert any("01-zebra-1.png in" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert [image["path"] for image in json.loads(stdout)["images"]] == sorted(str(path) for path in out.iterdir())
    assert len(list(out.iterdir())) < 9
    assert "Traceback" not in stderr


def bad_file(tmp_path, content):
    file = tmp_path / "bad.xml"
    file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "There is nothing to make. Give --prompt-file FILE or --prompt TEXT."),
        (["--prompt", "x", "--width", "70"], "Width 70 is not a multiple of 16. Use 64 or 80."),
        (["--prompt", "x", "--steps", "0"], "Steps 0 is out of range. Use 1 to 100."),
        (["--prompt", "x", "--seed", "-1"], "Seed -1 is out of range."),
        (["--prompt", "x", "--sampler", "magic"], "Sampler 'magic' is unknown. Use one of: euler, heun"),
        (["--prompt", "x", "--lora", "a:b"], "--lora is 'a:b'. Use a name"),
        (["--prompt", "x", "--lora", "a:nan"], "Weight nan of LoRA 'a' is out of range. Use -4 to 4."),
        (["--prompt", "x", "--lora", ":1"], "LoRA name '' cannot be used. Use the name of a file"),
        (["--prompt", "x", "--preset", "fastest"], "Preset 'fastest' is unknown. Use auto or one of: balanced"),
        (["--prompt", "x", "--presets-dir", "/nowhere"], "There is no preset in '/nowhere'."),
        (["--prompt", "x", "--port", "80"], "Unrecognized arguments: --port 80"),
        (["--prompt", "x" * 20_001], "prompt: Prompt has 20001 characters; shorten it to 20000 at most."),
        (["--prompt-file", "/nowhere.xml"], "Prompt file '/nowhere.xml' cannot be read (No such file or directory)."),
        (["--prompt", "x", "--wdith", "64"], "Unrecognized arguments: --wdith 64"),
    ],
)
def test_bad_input_gets_a_sentence_and_exit_code_2(capsys, tmp_path, argv, message):
    code, stdout, stderr = run(capsys, "--engine", "fake", *argv, "--out-dir", tmp_path)
    assert (code, stdout) == (2, "")
    assert message in stderr
    assert stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"), [(b"\xff\xfe\x00", "is not UTF-8 text"), (b"x" * 90_000, "is larger than 80000 bytes")]
)
def test_an_unreadable_prompt_file_is_explained(capsys, tmp_path, content, message):
    code, _, stderr = run(capsys, *FAKE, "--prompt-file", bad_file(tmp_path, content), "--out-dir", tmp_path / "out")
    assert code == 2
    assert message in stderr


def test_a_bad_file_among_good_ones_is_found_before_anything_is_made(capsys, prompts, tmp_path):
    out = tmp_path / "out"
    code, stdout, _ = run(capsys, *FAKE, "--prompt-file", *prompts, bad_file(tmp_path, b"\xff"), "--out-dir", out)
    assert (code, stdout) == (2, "")
    assert list(out.glob("*")) == []


def test_help_names_every_parameter_of_a_picture(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    flags = ["--" + name.replace("_", "-") for name in PARAMETERS if name != "loras"]
    assert [flag for flag in [*flags, "--lora", "--prompt-file", "--out-dir", "--json"] if flag not in shown] == []


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.save(tmp_path_factory.mktemp("model") / "tiny")


def test_a_real_model_makes_the_picture(capsys, prompts, model, tmp_path):
    argv = ["--model", model, "--device", "cpu", "--seed", 3, "--json", "--prompt-file", prompts[0]]
    code, stdout, stderr = run(capsys, *argv, "--out-dir", tmp_path / "out")
    assert code == 0, stderr
    (image,) = json.loads(stdout)["images"]
    assert (image["model"], image["width"], image["steps"], image["preset"]) == ("Tiny", 64, 2, "cpu")
    assert image["timings"]["denoise_s"] > 0


def test_a_prompt_longer_than_was_trained_is_made_with_a_warning(capsys, model, tmp_path):
    argv = ["--model", model, "--device", "cpu", "--prompt", "blue_hair, " * 120, "--steps", 1]
    code, _, stderr = run(capsys, *argv, "--out-dir", tmp_path / "out")
    assert code == 0, stderr
    assert "the model was trained with 512" in stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model", "/nowhere"], "'/nowhere' is neither a folder on this machine nor a hub id"),
        (
            ["--preset", "quality"],
            "Preset 'quality' needs a card with 24 GB; this machine has none. Use 'cpu' or auto.",
        ),
        (["--preset", "best"], "Preset 'best' is unknown."),
        (["--lora", "nowhere"], "There is no LoRA 'nowhere'."),
        (["--prompt", "blue_hair, " * 500], "takes 1023 at most"),
    ],
)
def test_what_only_the_engine_can_know_is_a_sentence_too(capsys, model, tmp_path, more, message):
    argv = ["--model", model, "--device", "cpu", "--prompt", "x", *more, "--out-dir", tmp_path / "out", "--json"]
    code, _, stderr = run(capsys, *argv)
    assert code == 2
    assert stderr.count(message) == 1
    assert "Traceback" not in stderr

"""The transformer agrees with numbers that the official code computed."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from newbie_ui.model import parity

FOLDER = Path(__file__).parent / "parity"
CASES = tuple(json.loads((FOLDER / "cases.json").read_text())["cases"])


@pytest.fixture(scope="module")
def measured():
    return dict(parity.errors(FOLDER))


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_official_code(measured, case):
    assert measured[case] <= (2e-5 if case == "guided_no_renorm" else 1e-5)


def test_command_prints_every_case_and_succeeds(capsys):
    assert parity.main([str(FOLDER)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(CASES)


def test_command_fails_for_numbers_that_differ(tmp_path, capsys):
    shutil.copytree(FOLDER, tmp_path / "p")
    tensors = load_file(tmp_path / "p" / "single.safetensors")
    tensors["out"][0, 0, 0, 0] += 2e-4
    save_file(tensors, tmp_path / "p" / "single.safetensors")
    assert parity.main([str(tmp_path / "p")]) == 1
    assert "above 0.0001" in capsys.readouterr().out


def test_command_fails_for_results_of_another_shape(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "p")
    tensors = load_file(tmp_path / "p" / "single.safetensors")
    tensors["out"] = tensors["out"][:, :, :1].contiguous()
    save_file(tensors, tmp_path / "p" / "single.safetensors")
    assert parity.main([str(tmp_path / "p")]) == 1


@pytest.mark.parametrize("missing", ["cases.json", "transformer.safetensors", "single.safetensors"])
def test_an_incomplete_folder_is_named_with_the_remedy(tmp_path, capsys, missing):
    shutil.copytree(FOLDER, tmp_path / "p")
    (tmp_path / "p" / missing).unlink()
    assert parity.main([str(tmp_path / "p")]) == 2
    assert missing in capsys.readouterr().err


def test_a_case_without_its_inputs_is_named(tmp_path, capsys):
    shutil.copytree(FOLDER, tmp_path / "p")
    save_file({"x": load_file(FOLDER / "single.safetensors")["x"]}, tmp_path / "p" / "single.safetensors")
    assert parity.main([str(tmp_path / "p")]) == 2
    assert "single" in capsys.readouterr().err

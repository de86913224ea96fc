"""Links that hold a whole recipe, and texts to copy."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import zlib
from pathlib import Path

import pytest

from newbie_ui.errors import PromptError, RequestError
from newbie_ui.gallery import recipe
from newbie_ui.gallery.foreign import a1111
from newbie_ui.gallery.recipe import as_a1111, as_python, as_xml, link, read_link
from newbie_ui.gallery.record import record_of
from newbie_ui.request import GenerateRequest, LoraUse
from tests.gallery.making import TWO, request, result

ROOT = Path(__file__).parents[2]


def packed(data) -> str:
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    packer = zlib.compressobj(9, zdict=recipe._DICTIONARY)
    return "1" + base64.urlsafe_b64encode(packer.compress(text) + packer.flush()).decode().rstrip("=")


# ---- links --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        GenerateRequest(),
        request(),
        request(prompt="日本語 🎨 <script> ${x} \0 \ud800\r\n", seed=2**63 - 1),
        GenerateRequest(prompt="x", seed=0, guidance_scale=1.0),
    ],
)
def test_a_link_gives_every_field_back(asked):
    values, problems = read_link(link(asked))
    assert problems == ()
    assert GenerateRequest(**values) == asked
    assert link(asked.to_dict()) == link(asked)


def test_a_link_is_short_and_made_of_letters_that_every_address_takes():
    text = link(GenerateRequest(prompt=TWO, seed=2607481153, width=1024, height=1024, steps=28))
    assert len(text) < 200
    assert all(sign.isascii() and (sign.isalnum() or sign in "-_") for sign in text)


def test_only_stated_fields_come_back():
    assert read_link(packed({"seed": 5, "new": 1}))[0] == {"seed": 5}


def test_bad_fields_are_left_out_with_a_sentence():
    values, problems = read_link(packed({"seed": -5, "width": "wide", "prompt": 7, "steps": 5, "loras": [["x"], 5]}))
    assert values == {"seed": None, "width": None, "prompt": "", "steps": 5, "loras": ()}
    assert len(problems) == 3


def test_the_words_that_links_are_packed_with_never_change():
    digest = hashlib.sha256(recipe._DICTIONARY).hexdigest()
    assert digest == "e553ab214d16b0ae575429a0d0fc65b81e0997e495ebd3e2cd86e7ae96e222d0"
    assert read_link("1ePlvn1Qtq0YkNXDqQUq2SrC8ba6DWWQDkzlSqW2gZ1obWwsAxLAYmg")[0] == {
        "prompt": "1girl, blue_hair",
        "seed": 7,
        "loras": (LoraUse("ink", 0.5),),
    }


@pytest.mark.parametrize(
    "text", ["", "1", "2abc", "abc", "1!!!!", "1" + "A" * 100, "1é", link(request())[:-9], "1" * 20_000]
)
def test_what_is_no_link_is_told_in_a_sentence(text):
    with pytest.raises(PromptError, match="link"):
        read_link(text)


@pytest.mark.parametrize("data", [b"[]", b"5", b"{", b"[" * 5000, b'"x"', b"\xff\xfe", b'{"prompt": "' + b"x" * 10**7])
def test_links_that_unpack_to_anything_else_are_told_too(data):
    with pytest.raises(PromptError, match="link"):
        read_link(packed(data))


def test_a_recipe_too_long_for_a_link_says_what_to_do_instead():
    noise = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(20_000))
    with pytest.raises(PromptError, match="Share the PNG"):
        link(request(prompt=noise))


# ---- copies -------------------------------------------------------------------------------------------------------


def test_xml_and_a1111_copies_are_those_of_the_picture():
    record = record_of(result(asked=request(prompt="{a|b}"), prompt="a"))
    assert as_xml(record) == "a"
    assert a1111.read(as_a1111(record)).prompt.startswith("a\n<lora:")


def call_of(code: str) -> ast.Call:
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    return next(call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "pipe")


def prompt_of(code: str) -> str:
    assigns = [node for node in ast.parse(code).body if isinstance(node, ast.Assign)]
    return next(ast.literal_eval(node.value) for node in assigns if node.targets[0].id == "prompt")


@pytest.mark.parametrize(
    "prompt",
    [
        TWO,
        "",
        "one line",
        "\"\"\" ''' \\ ')\nimport os; os.system('x')\n#",
        "\r\n\u2028\u0085\0\ud800 end\n",
        "{x} %s $y",
    ],
)
def test_python_copies_hold_the_prompt_as_nothing_but_a_literal(prompt):
    code = as_python(request(prompt=prompt, negative_prompt=prompt), 'a "model"')
    assert prompt_of(code) == prompt
    keywords = {keyword.arg: keyword.value for keyword in call_of(code).keywords}
    if prompt:
        assert ast.literal_eval(keywords["negative_prompt"]) == prompt
    assert {type(node) for node in ast.parse(code).body} <= {ast.Import, ast.ImportFrom, ast.Assign, ast.Expr}


def test_python_copies_use_arguments_and_names_that_exist():
    def signature(path: str, name: str) -> set[str]:
        """Arguments of a function, or methods of a class, as the source has them: nothing heavy is imported."""
        tree = ast.parse((ROOT / "newbie_ui" / "model" / path).read_text(encoding="utf-8"))
        found = next(n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name == name)
        if isinstance(found, ast.ClassDef):
            return {n.name for n in found.body if isinstance(n, ast.FunctionDef)}
        return {a.arg for a in (*found.args.args, *found.args.kwonlyargs)}

    code = as_python(request(), "model")
    known = signature("pipeline.py", "__call__") | signature("pipeline.py", "denoise")  # it hands the rest on
    assert {keyword.arg for keyword in call_of(code).keywords} <= known
    assert {"sampler", "schedule", "steps", "shift"} <= signature("schedule.py", "make_schedule")
    assert "use" in signature("lora.py", "LoraSet")
    assert "names" in signature("lora_files.py", "LoraShelf")
    assert "make_schedule('heun', 'karras', steps=7, shift=6.0)" in code
    assert "use([('ink, wash', 0.65)])" in code
    assert "num_inference_steps" not in code


def test_python_copies_of_a_plain_request_are_plain():
    code = as_python(GenerateRequest(prompt="a", width=64, height=64, steps=5, seed=3), "m")
    assert "make_schedule" not in code
    assert "Lora" not in code
    assert "num_inference_steps=5" in code
    assert "manual_seed(3)" in code


def test_python_copies_are_made_of_checked_requests_only():
    with pytest.raises(RequestError):
        as_python({"prompt": "x", "steps": "__import__('os')"}, "m")

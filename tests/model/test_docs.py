"""What docs/model.md says is true."""

import re
from pathlib import Path

import newbie_ui.model
from newbie_ui.model.transformer import NewbieTransformer2DModel
from tests import tiny

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "model.md").read_text(encoding="utf-8")


def test_the_script_runs(tmp_path):
    (script,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(script.replace("MODEL", str(tiny.save(tmp_path))), names)
    assert len(names["images"]) == 2
    assert names["picture"].size == (64, 64)
    assert names["preview"].size == (8, 8)


def test_every_file_it_names_exists():
    named = re.findall(r"`(\w+\.py)`", PAGE.split("## In a script")[0])
    folder = Path(newbie_ui.model.__file__).parent
    assert len(named) > 10
    assert [name for name in named if not (folder / name).is_file()] == []


def test_the_methods_it_names_exist():
    for name in re.findall(r"`(prepare_\w+|set_\w+|enable_\w+|compile_\w+|load_lora_adapter)", PAGE):
        holders = (NewbieTransformer2DModel, tiny.NewbiePipeline, tiny.AutoencoderKL)
        assert any(hasattr(holder, name) for holder in holders), name

"""Engines over the tiny real pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest

from newbie_ui.engine.base import ModelInfo
from newbie_ui.engine.local import LocalEngine
from newbie_ui.engine.source import ModelSource
from newbie_ui.settings import Settings
from tests import tiny

INFO = ModelInfo(
    name="Tiny",
    source="tests/tiny.py",
    licence="Apache-2.0",
    demo=True,
    hash="tiny000000",
    sizes=((64, 64),),
    defaults={"width": 64, "height": 64, "steps": 3, "guidance_scale": 4.0, "shift": 6.0, "system_prompt": "Draw."},
)

PRESETS = {
    "cpu": 'device = "cpu"\nthreads = 1\nattention = "native"\npreview_s = 0\n',
    "pairs": 'device = "cpu"\nthreads = 1\nbatch = 2\nauto = false\npreview_s = 0\n',
    "bf16": 'device = "cpu"\nthreads = 1\ndtype = "bfloat16"\nauto = false\n',
    "warmed": 'device = "cpu"\nthreads = 1\ncompile = "block"\nwarm = 2\nauto = false\n',
    "card": "device_gb = 24\n",
}


def tiny_source(loads: list | None = None) -> ModelSource:
    """The tiny pipeline as a model; `loads` collects the number formats it was read in."""

    def load(dtype, progress, places):
        progress("Reading weights", 0.5)
        if loads is not None:
            loads.append(dtype)
        return tiny.pipeline().to(dtype)

    return ModelSource(lambda progress: INFO, load, tokenizer=lambda: tiny.tokenizers()[0])


def make_settings(folder: Path) -> Settings:
    presets, output = folder / "presets", folder / "outputs"
    for path in (presets, output):
        path.mkdir()
    for name, text in PRESETS.items():
        (presets / f"{name}.toml").write_text(text)
    return Settings(presets_dir=str(presets), output_dir=str(output), lora_dir=str(folder / "loras"), device="cpu")


@pytest.fixture
def settings(tmp_path) -> Settings:
    return make_settings(tmp_path)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """One engine for all tests that leave it as it was."""
    with LocalEngine(make_settings(tmp_path_factory.mktemp("engine")), source=tiny_source()) as engine:
        yield engine


@pytest.fixture
def make_engine(settings):
    """Builds open engines and closes them; `make_engine(loads=[])` tells what was read."""
    engines = []

    def make(sink=None, loads=None, **options):
        engine = LocalEngine(settings, sink, source=tiny_source(loads), **options)
        engine.open()
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.close(timeout_s=10)

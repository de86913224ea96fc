"""The page's words in every language: `i18n/<language>.json`, with English complete and the rest falling back to it.

Names and helps of the parameters come from `PARAMETERS`, so that they are written once. Gradio's own components get
their words through `gr.I18n`; our widgets read the same table in the browser.

Sentences that other modules make in English have their translations in `i18n/sentences/<language>.json`: the English
sentence with named holes, and what takes its place. `nb.told` in `static/core.js` finds them. What settings and
preset keys mean has its translations in `i18n/help/<language>.json`; they travel with the Settings tab only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gradio as gr

from newbie_ui.request import PARAMETERS

FOLDER = Path(__file__).parent / "i18n"


@lru_cache(maxsize=1)
def words() -> Mapping[str, Mapping[str, str]]:
    """{language: {key: text}}; English first."""
    tables: dict[str, dict[str, str]] = {}
    for path in sorted(FOLDER.glob("*.json")):  # en.json, en.gallery.json …: one table a language
        tables.setdefault(path.name.split(".")[0], {}).update(json.loads(path.read_text("utf-8")))
    english: dict[str, str] = {}
    for p in PARAMETERS.values():
        english[f"param.{p.name}"] = p.label
        english[f"param.{p.name}.help"] = p.help
        english.update({f"choice.{choice}": choice for choice in p.choices})
    english.update(tables.pop("en"))
    return MappingProxyType({"en": english, **tables})


@lru_cache(maxsize=1)
def sentences() -> Mapping[str, Mapping[str, str]]:
    """{language: {English sentence with {holes}: the same in that language}}."""
    return _tables("sentences")


@lru_cache(maxsize=1)
def helps() -> Mapping[str, Mapping[str, str]]:
    """{language: {help of a setting or of a preset's key: the same in that language}}."""
    return _tables("help")


def _tables(folder: str) -> Mapping[str, Mapping[str, str]]:
    files = sorted((FOLDER / folder).glob("*.json"))
    return MappingProxyType({path.stem: json.loads(path.read_text("utf-8")) for path in files})


_used: set[str] = set()


def i18n() -> gr.I18n:
    """For Gradio: the words that its components on the built page have."""
    return gr.I18n(**{language: {k: table[k] for k in _used if k in table} for language, table in words().items()})


def word(key: str) -> Any:
    """A word that Gradio translates in the browser."""
    if key not in words()["en"]:
        raise KeyError(f"i18n/en.json has no {key!r}")
    _used.add(key)
    return gr.I18n()(key)


def script() -> str:
    """Both tables for our widgets."""
    tables = {"words": dict(words()), "sentences": dict(sentences())}
    return "".join(
        f"nb.state.{name} = {json.dumps(table, ensure_ascii=False)};".replace("</", "<\\/")
        for name, table in tables.items()
    )

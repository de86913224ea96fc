"""Whatever is in a file: a result or a sentence, never an accident. Mutations of the samples, always the same ones."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from newbie_ui.gallery.containers import read_container
from newbie_ui.gallery.foreign.characters import with_characters
from newbie_ui.gallery.foreign.detect import read_texts
from newbie_ui.gallery.words import words_of
from tests.gallery.making import DATA

SAMPLES = [dict(read_container(path).texts) for path in sorted(DATA.glob("*.png"))]
PIECES = ["{", "}", "[", "]", '"', ":", ",", "\\", "NaN", "1e999", "<", ">", "</", "<character_1>", "\n", "BREAK"]
PIECES += ["Steps: ", '["5", 0]', "\0", "\ud800", "😀", "\u2028", "9" * 30, "<lora:", "(x:1.2)", "$character_1$"]
VALUES = [None, 5, "x", [], {}, [1, 2], ["5", 0], True, float("nan"), 10**30, -1, [["5", 0]], "<a>", 1.5]


def changed_text(text: str, dice: random.Random) -> str:
    place = dice.randrange(len(text) + 1)
    kind = dice.random()
    if kind < 0.4:
        return text[:place] + dice.choice(PIECES) + text[place:]
    if kind < 0.7:
        return text[:place] + text[place + dice.randint(1, 20) :]
    return text[:place]


def changed_data(data: Any, dice: random.Random) -> Any:
    if not isinstance(data, (dict, list)) or not data:
        return copy.deepcopy(dice.choice(VALUES))
    key = dice.choice(list(data)) if isinstance(data, dict) else dice.randrange(len(data))
    data[key] = changed_data(data[key] if dice.random() > 0.3 else None, dice)
    return data


def changed(texts: dict[str, str], dice: random.Random) -> dict[str, str]:
    key = dice.choice(list(texts))
    text = texts[key]
    if text.startswith("{") and dice.random() < 0.6:
        data = json.loads(text)
        for _ in range(dice.randint(1, 6)):
            data = changed_data(data, dice)
        return {**texts, key: json.dumps(data)}
    for _ in range(dice.randint(1, 8)):
        text = changed_text(text, dice)
    return {**texts, key: text}


@pytest.mark.parametrize("seed", range(8))
def test_mutated_texts_give_a_result_or_a_sentence(seed):
    dice = random.Random(seed)
    for _ in range(60):
        info = read_texts(changed(dice.choice(SAMPLES), dice))
        if info is None:
            continue
        info = with_characters(info)
        json.dumps(info.to_json())
        words_of(info)
        values, sentences = info.form()
        assert all(isinstance(sentence, str) for sentence in sentences)
        assert "seed" not in values or values["seed"] >= 0

"""From a picture, a text or a link to values of the form.

Promises: only fields that the source states are given, each checked by its parameter; what could not be taken is said
in sentences; a source that says nothing changes nothing. A link holds the recipe itself, compressed, so that nothing
is kept on the server; what is in it is trusted in nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from newbie_ui.errors import PromptError, RequestError
from newbie_ui.gallery import metadata, recipe
from newbie_ui.gallery.foreign.a1111 import size_of
from newbie_ui.gallery.safe import number, whole
from newbie_ui.prompt import positions, split
from newbie_ui.prompt.paste import Pasted, to_prompt
from newbie_ui.prompt.xml import build
from newbie_ui.request import PARAMETERS, GenerateRequest

MAX_TEXT_BYTES = 500_000
MAX_SAID = 4
# What settings are called by A1111 and by NovelAI's and other programs' JSON.
SETTINGS = {
    "seed": ("seed",),
    "steps": ("steps",),
    "cfg": ("cfg scale", "scale", "cfg", "cfgscale", "guidance scale"),
    "shift": ("shift",),
    "sampler": ("sampler", "sampler name"),
    "scheduler": ("schedule type", "scheduler", "noise schedule"),
}


@dataclass(frozen=True)
class Restored:
    """What a source gives: fields of a GenerateRequest, and what to tell the person."""

    values: Mapping[str, Any] = field(default_factory=dict)
    say: str = ""


def from_picture(path: str | Path) -> Restored:
    """The recipe of a picture file. Raises PictureError for what is no picture."""
    info = metadata.read(path)
    if not info.found:
        return Restored(say=" ".join(info.problems[:MAX_SAID]) or metadata.NOTHING)
    program = "this program" if info.program == metadata.KEYWORD else info.program
    return _restored(info, f"Restored from a picture of {program}.")


def _restored(info: metadata.PictureInfo, first: str) -> Restored:
    """What a file or a copied graph says, with cards; what single characters stay away from joins the one negative."""
    values, sentences = info.form()
    if info.record is None and (info.prompt or info.characters):
        text, notes = _cards(info)
        values = {**values, "prompt": text}
        sentences = (*sentences, *notes)
    apart = [one.negative.strip(" ,") for one in info.characters if one.negative.strip(" ,")]
    if apart:
        values = {**values, "negative_prompt": ", ".join(filter(None, (info.negative, *apart)))}
        sentences = (*sentences, "What single characters stay away from was added to the one negative.")
    return Restored(_checked(values), _said(first, (*info.problems, *sentences, *info.notes)))


def _cards(info: metadata.PictureInfo) -> tuple[str, tuple[str, ...]]:
    """The prompt with cards: characters that the file names by themselves, or whatever the text says."""
    people = [one for one in info.characters if not one.fields]
    if not people:
        pasted = to_prompt(info.prompt or "")
        return pasted.text, pasted.notes
    prompt, notes = split.from_parts(info.prompt or "", [one.text for one in people])
    characters = list(prompt.characters)
    for place, one in enumerate(people[: len(characters)]):
        if one.center and not characters[place].get("position"):
            characters[place] = characters[place].with_field(
                "position", positions.tag(positions.from_point(*one.center))
            )
    return build(replace(prompt, characters=tuple(characters))), tuple(notes)


def from_text(text: str) -> Restored:
    """Whatever was pasted, as a prompt with cards."""
    pasted = to_prompt(text)
    if pasted.kind == "empty":
        return Restored()
    graph = metadata.read_text(text) if pasted.kind == "json" else None
    if graph is not None:
        return _restored(graph, "Taken over from a ComfyUI graph.")
    values, sentences = _stated(pasted).form()
    if pasted.text.strip():
        values = {"prompt": pasted.text, **values}
    return Restored(_checked(values), _said(_taken(pasted), (*pasted.notes, *sentences)))


def _taken(pasted: Pasted) -> str:
    """What a text was taken for."""
    if not pasted.text.strip():
        return "Settings taken over. The prompt is unchanged."
    if pasted.prompt.characters:
        return f"Taken over. Characters found: {len(pasted.prompt.characters)}."
    if pasted.kind == "xml":
        return "Taken over."
    if pasted.prompt.general.fields:
        return "Taken over as tags."
    return "Taken over as plain text, not as tags. The cards are empty now."


def from_text_file(path: str | Path) -> Restored:
    """A text or JSON file. Raises PromptError for what is no text."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_TEXT_BYTES + 1)
        if len(data) > MAX_TEXT_BYTES:
            raise PromptError(
                f"This file is larger than {MAX_TEXT_BYTES // 1000} kB. Paste the part that is the prompt."
            )
        return from_text(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise PromptError("This file is not UTF-8 text. Save it as UTF-8, or paste its text.") from error
    except OSError as error:
        raise PromptError(f"This file cannot be read: {error.strerror}.") from error


def _stated(pasted: Pasted) -> metadata.PictureInfo:
    """The settings of a pasted text in the form that pictures have, which knows how to fill ours."""
    said = {name.lower().replace("_", " "): value for name, value in reversed(pasted.settings)}
    width, height = size_of(said.get("size", ""))
    found = {field: next((said[name] for name in names if name in said), None) for field, names in SETTINGS.items()}
    return metadata.PictureInfo(
        negative=pasted.negative,
        seed=whole(found["seed"]),
        steps=whole(found["steps"]),
        cfg=number(found["cfg"]),
        shift=number(found["shift"]),
        sampler=found["sampler"],
        scheduler=found["scheduler"],
        width=width or whole(said.get("width")),
        height=height or whole(said.get("height")),
        loras=pasted.loras,
    )


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those values that their parameters take."""
    good = {}
    for name, value in values.items():
        if name not in PARAMETERS or value is None:
            continue
        try:
            good[name] = PARAMETERS[name].check(value)
        except RequestError:
            continue
    return good


def _said(first: str, more: tuple[str, ...]) -> str:
    return " ".join((first, *more[:MAX_SAID]))


def link(values: Mapping[str, Any]) -> str:
    """The recipe for the query of a link. The preset stays out: it is of this machine."""
    return recipe.link({**values, "preset": GenerateRequest().preset})


def from_link(query: str) -> Restored:
    """The values of a link. Raises PromptError for what cannot be read."""
    values, problems = recipe.read_link(query)
    values.pop("preset", None)
    return Restored(_checked(values), _said("Opened from a link. Nothing runs until you press Generate.", problems))

"""The result of pasting, shared by the readers of text and of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from newbie_ui.prompt.document import Prompt
from newbie_ui.prompt.xml import build


@dataclass(frozen=True)
class Pasted:
    """What a text turned out to be.

    Attributes:
        kind: "xml", "comfyui", "a1111", "regions", "forge_couple", "novelai", "danbooru", "tags", "lines", "plain",
            "card", "json" or "empty".
        text: the prompt's new text; for XML the pasted text itself.
        prompt: the same as a document.
        negative: what to stay away from; None if the text says nothing about it, "" if it says: nothing.
        settings: what else was stated (seed, steps …), as the text words it.
        loras: (name, weight) of LoRA marks, which are no longer in the text.
        segments: the parts of a regional prompt, as they stood there.
        categories: tags by Danbooru category, for a sidebar.
        offers: other ways to read it, for `to_prompt(text, as_kind=…)`.
        notes: sentences for the artist: what was done that is not plain to see.
    """

    kind: str
    text: str
    prompt: Prompt
    negative: str | None = None
    settings: tuple[tuple[str, str], ...] = ()
    loras: tuple[tuple[str, float], ...] = ()
    segments: tuple[str, ...] = ()
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    offers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def built(kind: str, prompt: Prompt, notes: list[str], **more) -> Pasted:
    """A result whose text is made from the document."""
    return Pasted(kind, build(prompt), prompt, notes=tuple(notes), **more)

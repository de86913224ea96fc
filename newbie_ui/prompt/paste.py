"""Paste anything: whatever text an artist has becomes a prompt with cards, by stated rules.

Promises: never raises for text; nothing is dropped: each word is in the new text, in the negative, among the settings
or LoRAs, or in a note. XML is taken as it is, byte for byte. What only might be meant is offered, not done.
Does not know pictures: the metadata of a file is read elsewhere, and its text comes here.

The rules, in order: JSON (see `paste_json.py`) · XML blocks · A1111 text with `Negative prompt:` and a settings line
· Danbooru sidebar · regions parted by BREAK, ADDCOMM, ADDCOL …, or by forge-couple where its settings say so · NovelAI
`base | character | character` · a list of tags · anything else stays plain text.
"""

from __future__ import annotations

from collections.abc import Mapping

from newbie_ui.prompt import paste_json
from newbie_ui.prompt.document import Prompt
from newbie_ui.prompt.paste_text import read_text
from newbie_ui.prompt.pasted import Pasted
from newbie_ui.prompt.split import plain

MAX_CHARS = 1_000_000

__all__ = ["Pasted", "to_prompt"]


def to_prompt(source: str | Mapping, as_kind: str = "") -> Pasted:
    """Read a text, or data that was JSON.

    Args:
        as_kind: take up an offer, such as "forge_couple" for lines of which each is a character.
    """
    if isinstance(source, Mapping):
        return paste_json.from_data(source)
    if not source.strip():
        return Pasted("empty", source, Prompt())
    if len(source) > MAX_CHARS:
        note = f"{len(source):,} characters are too many to look at. They are kept as plain text."
        return Pasted("plain", source, plain(source), notes=(note,))
    return paste_json.from_text(source) or read_text(source, as_kind)

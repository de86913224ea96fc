"""Texts of a ComfyUI graph: what a conditioning says, through encoders, combiners and text nodes.

Promises: a text that a language model wrote while the graph ran is only taken from a node that shows it, never from
the instruction that was given to the model. What cannot be read leaves a sentence in `problems`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from newbie_ui.gallery.foreign import comfy_newbie
from newbie_ui.gallery.foreign.comfy_graph import MAX_DEPTH, Graph, Link, Node, is_link
from newbie_ui.gallery.safe import whole

PROMPT_START = "<Prompt Start>"
MAX_TEXT = 100_000

_TEXT_KEYS = ("populated_text", "text", "string", "Text", "String", "value", "prompt", "positive", "text_positive")
_ENCODE_KEYS = ("user_prompt", "text", "prompt", "populated_text")
_PAIRED_ENCODE_KEYS = (("text_g", "text_l"), ("t5xxl", "clip_l"), ("llama", "clip_l"))
_MODEL_KEYS = ("api_key", "api_url", "temperature", "top_p", "max_tokens", "max_new_tokens", "llm_model", "user_text")
_JOIN = re.compile(r"(concat|join|combine|append)", re.IGNORECASE)
_PART = re.compile(r"(?:text|string|str|prompt)_?(?:[a-h]|\d{1,2})", re.IGNORECASE)
_LUMINA_SYSTEM = {
    "superior": "You are an assistant designed to generate superior images with the superior degree of image-text "
    "alignment based on textual prompts or user prompts. " + PROMPT_START,
    "alignment": "You are an assistant designed to generate high-quality images with the highest degree of "
    "image-text alignment based on textual prompts. " + PROMPT_START,
}


@dataclass(frozen=True)
class Said:
    """What one conditioning says. `text` None: unknown; "": stated to be nothing."""

    text: str | None = None
    system: str | None = None
    original: str | None = None  # before wildcards


class Texts:
    """Reads texts of one graph and remembers them."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.problems: list[str] = []
        self.notes: list[str] = []
        self._strings: dict[tuple[str, int], str | None] = {}
        self._said: dict[tuple[str, int, str], Said] = {}

    # ---- conditioning ----------------------------------------------------------------------------------------

    def said(self, link: Link | None, side: str, depth: int = 0) -> Said:
        """What the conditioning behind this link says; `side` is "positive" or "negative"."""
        if link is None or depth > MAX_DEPTH:
            return Said()
        key = (link.node.id, link.slot, side)
        if key not in self._said:
            self._said[key] = Said()  # a cycle ends here
            self._said[key] = self._read_said(link, side, depth)
        return self._said[key]

    def _read_said(self, link: Link, side: str, depth: int) -> Said:
        node, graph = link.node, self.graph
        if node.kind == "ConditioningZeroOut":
            return Said(text="")
        branches = [graph.link(v) for k, v in node.inputs.items() if re.match(r"(conditioning|cond)_?\w", k)]
        branches = [branch for branch in branches if branch is not None]
        if len(branches) > 1:
            return self._combine([self.said(branch, side, depth + 1) for branch in branches], node)
        if is_link(node.inputs.get("positive")) and is_link(node.inputs.get("negative")):
            name = "negative" if link.slot == 1 else "positive"
            return self.said(graph.follow(node, name), name, depth + 1)
        if isinstance(node.inputs.get(side), str):  # loaders that encode as well
            return _split_system(node.inputs[side])
        through = graph.follow(node, "conditioning", "cond", side)
        encoded = self._encoder_text(node)
        if encoded is None and through is not None:
            return self.said(through, side, depth + 1)
        if encoded is None:
            self.problems.append(f"The {side} prompt comes from {node.kind!r}, which cannot be read.")
            return Said()
        return self._with_system(encoded, node)

    def _combine(self, parts: list[Said], node: Node) -> Said:
        texts = [part.text for part in parts if part.text]
        self.notes.append(f"{node.kind} joins {len(texts)} prompts; they stand on lines of their own here.")
        system = next((part.system for part in parts if part.system), None)
        return Said("\n".join(dict.fromkeys(texts))[:MAX_TEXT] if texts else None, system)

    def _encoder_text(self, node: Node) -> str | None:
        for pair in _PAIRED_ENCODE_KEYS:
            if all(name in node.inputs for name in pair):
                texts = [self.string(node.inputs[name]) for name in pair]
                different = list(dict.fromkeys(text for text in texts if text))
                return "\n".join(different) if different or "" not in texts else ""
        for name in _ENCODE_KEYS:
            if name in node.inputs:
                return self.string(node.inputs[name])
        return None

    def _with_system(self, text: str, node: Node) -> Said:
        said = _split_system(text)
        system = self.string(node.inputs.get("system_prompt"))
        template = self.string(node.inputs.get("wildcard_text"))
        original = template if template and template != said.text else None
        return Said(said.text, said.system or _LUMINA_SYSTEM.get(system or "", system) or None, original)

    # ---- strings ---------------------------------------------------------------------------------------------

    def string(self, value: Any, depth: int = 0) -> str | None:
        """The text of an input: a literal, or what the linked text nodes make of theirs."""
        if isinstance(value, str):
            return value[:MAX_TEXT]
        link = self.graph.link(value)
        if link is None or depth > MAX_DEPTH:
            return None
        key = (link.node.id, link.slot)
        if key not in self._strings:
            self._strings[key] = None
            found = self._read_string(link, depth + 1)
            self._strings[key] = None if found is None else found[:MAX_TEXT]
        return self._strings[key]

    def _read_string(self, link: Link, depth: int) -> str | None:
        node = link.node

        def get(name: str) -> str | None:
            return self.string(node.inputs.get(name), depth)

        if node.kind in comfy_newbie.BUILDERS:
            return comfy_newbie.BUILDERS[node.kind](_Inputs(node.inputs, get))
        if isinstance(node.inputs.get("text_0"), str):
            return node.inputs["text_0"]
        if node.kind in _STRING_NODES:
            return _STRING_NODES[node.kind](get, node.inputs)
        parts = [name for name in node.inputs if _PART.fullmatch(name)]
        if len(parts) > 1 and _JOIN.search(node.kind):
            delimiter = get("delimiter") or get("separator") or ""
            return delimiter.join(text for text in map(get, parts) if text)
        if any(name in node.inputs for name in _MODEL_KEYS):
            return self._shown(link)
        for name in _TEXT_KEYS:
            if name in node.inputs and (found := get(name)) is not None:
                return found
        literals = [v for k, v in node.inputs.items() if isinstance(v, str) and len(v) > 20]
        return literals[0] if len(literals) == 1 else self._shown(link)

    def _shown(self, link: Link) -> str | None:
        """The text as a display node kept it: the only trace of what was written while the graph ran."""
        for node in self.graph.nodes.values():
            sources = (self.graph.link(value) for value in node.inputs.values())
            if isinstance(node.inputs.get("text_0"), str) and any(source == link for source in sources if source):
                return node.inputs["text_0"]
        self.problems.append(f"A text that {link.node.kind!r} wrote while the graph ran is not in the file.")
        return None


class _Inputs(Mapping[str, str]):
    """Inputs of a node with links resolved to texts, as the builders want them."""

    def __init__(self, raw: Mapping[str, Any], get: Callable[[str], str | None]):
        self._raw, self._get = raw, get

    def __getitem__(self, name: str) -> str:
        value = self._raw[name]
        if isinstance(value, (int, float)):
            return str(whole(value))
        return self._get(name) or ""

    def __iter__(self):
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)


def _split_system(text: str) -> Said:
    """Cut a text behind the last prompt mark: before it stands the system prompt."""
    system, mark, rest = text.rpartition(PROMPT_START)
    return Said(rest.lstrip("\r\n "), system + mark) if mark else Said(text)


def _replace(get: Callable[[str], str | None], inputs: Mapping[str, Any]) -> str | None:
    text, find = get("string"), get("find")
    return text.replace(find, get("replace") or "") if text is not None and find else text


def _trim(get: Callable[[str], str | None], inputs: Mapping[str, Any]) -> str | None:
    text, mode = get("string"), inputs.get("mode")
    if text is None:
        return None
    return text.lstrip() if mode == "Left" else text.rstrip() if mode == "Right" else text.strip()


def _case(get: Callable[[str], str | None], inputs: Mapping[str, Any]) -> str | None:
    change = {"UPPERCASE": str.upper, "lowercase": str.lower, "Capitalize": str.capitalize, "Title Case": str.title}
    text = get("string")
    return change.get(str(inputs.get("mode")), str)(text) if text is not None else None


def _concatenate(get: Callable[[str], str | None], inputs: Mapping[str, Any]) -> str | None:
    return (get("delimiter") or "").join((get("string_a") or "", get("string_b") or ""))


_STRING_NODES: Mapping[str, Callable[[Callable[[str], str | None], Mapping[str, Any]], str | None]] = {
    "StringConcatenate": _concatenate,
    "StringReplace": _replace,
    "StringTrim": _trim,
    "CaseConverter": _case,
}

"""A ComfyUI graph as data: nodes by id, links followed, values behind links found.

Promises: reading never loops or blows up, whatever the links are (depth is limited, results are remembered). An
input is a literal or a link `[node id, output number]`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from newbie_ui.gallery.safe import mapping

MAX_NODES = 5000
MAX_DEPTH = 60

_VALUE_KEYS = ("value", "Value", "int", "float", "number", "Number", "seed", "noise_seed", "text", "string")
_SIZE = re.compile(r"(\d{2,5})\s*[xX×]\s*(\d{2,5})")


@dataclass(frozen=True)
class Node:
    """One node: `kind` is its class, `title` what its user named it."""

    id: str
    kind: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""


@dataclass(frozen=True)
class Link:
    """The output `slot` of `node`."""

    node: Node
    slot: int


class Graph:
    """Nodes by id. `order` is the file's."""

    def __init__(self, nodes: Mapping[str, Node]):
        self.nodes = nodes

    def link(self, value: Any) -> Link | None:
        """The output that an input is linked to, behind any reroutes; None for a literal or a dead link."""
        for _ in range(MAX_DEPTH):
            if not is_link(value) or str(value[0]) not in self.nodes:
                return None
            node = self.nodes[str(value[0])]
            if not node.kind.startswith("Reroute"):
                return Link(node, value[1])
            value = next((v for v in node.inputs.values() if is_link(v)), None)
        return None

    def follow(self, node: Node, *names: str) -> Link | None:
        """The first of these inputs that is linked."""
        for name in names:
            found = self.link(node.inputs.get(name))
            if found is not None:
                return found
        return None

    def value(self, node: Node, name: str, depth: int = 0) -> Any:
        """The literal of an input, also through value nodes; None when it is computed."""
        raw = node.inputs.get(name)
        if not is_link(raw):
            return raw
        link = self.link(raw)
        if link is None or depth > MAX_DEPTH:
            return None
        source = link.node
        for key in (name, *_VALUE_KEYS):
            if key in source.inputs:
                return self.value(source, key, depth + 1)
        return self._from_size_text(source, name)

    def _from_size_text(self, node: Node, name: str) -> int | None:
        """Width or height out of a choice like `832x1216 (0.68)`."""
        for text in node.inputs.values():
            match = _SIZE.search(text) if isinstance(text, str) and len(text) < 100 else None
            if match and name in ("width", "height"):
                return int(match.group(1 if name == "width" else 2))
        return None

    def is_on(self, node: Node) -> bool:
        """False when the node says of itself that it does nothing."""
        return self.value(node, "enabled") not in (False, "false", "Off", 0)


def is_link(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], (str, int))
        and isinstance(value[1], int)
        and not isinstance(value[0], bool)
    )


def read_api_graph(data: Mapping[str, Any]) -> Graph:
    """The graph of a `prompt` chunk."""
    nodes: dict[str, Node] = {}
    for key, entry in list(data.items())[:MAX_NODES]:
        kind = mapping(entry).get("class_type")
        if isinstance(kind, str):
            title = mapping(entry.get("_meta")).get("title")
            nodes[str(key)] = Node(str(key), kind, mapping(entry.get("inputs")), str(title or ""))
    return Graph(nodes)

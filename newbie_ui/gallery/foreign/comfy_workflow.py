"""The editor's state (`workflow`) turned into the same graph that runs, for files that hold nothing else.

Muted nodes are gone, bypassed ones pass through, subgraphs are opened, a linked widget follows its link. Widget
values stand by position; their names come from the node itself where it lists them, else from `WIDGETS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from newbie_ui.gallery.foreign.comfy_graph import MAX_DEPTH, MAX_NODES, Graph, Node
from newbie_ui.gallery.foreign.comfy_newbie import CHARACTER, FULL_CHARACTER
from newbie_ui.gallery.safe import mapping, sequence, whole

MUTED, BYPASSED = 2, 4
INPUT, OUTPUT = -10, -20  # the ends of a subgraph
MAX_SUBGRAPHS = 8  # nested
MAX_OPENED = 500  # subgraphs in all

_SEED = ("seed", "control_after_generate")
_NOISE_SEED = ("noise_seed", "control_after_generate")
WIDGETS: Mapping[str, tuple[str, ...]] = {
    "KSampler": (*_SEED, "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": ("add_noise", *_NOISE_SEED, "steps", "cfg", "sampler_name", "scheduler"),
    "SamplerCustom": ("add_noise", *_NOISE_SEED, "cfg"),
    "RandomNoise": _NOISE_SEED,
    "KSamplerSelect": ("sampler_name",),
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "KarrasScheduler": ("steps", "sigma_max", "sigma_min", "rho"),
    "ExponentialScheduler": ("steps", "sigma_max", "sigma_min"),
    "BetaSamplingScheduler": ("steps", "alpha", "beta"),
    "CFGGuider": ("cfg",),
    "DualCFGGuider": ("cfg_conds", "cfg_cond2_negative"),
    "CLIPTextEncode": ("text",),
    "CLIPTextEncodeSDXL": (
        *("width", "height", "crop_w", "crop_h", "target_width", "target_height"),
        *("text_g", "text_l"),
    ),
    "CLIPTextEncodeFlux": ("clip_l", "t5xxl", "guidance"),
    "CLIPTextEncodeLumina2": ("system_prompt", "user_prompt"),
    "NewBieCLIPTextEncode": ("user_prompt", "system_prompt", "use_chat_template"),
    "NewBieCLIPTextEncodeBasic": ("user_prompt", "system_prompt", "use_chat_template"),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "EmptySD3LatentImage": ("width", "height", "batch_size"),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "UNETLoader": ("unet_name", "weight_dtype"),
    "UnetLoaderGGUF": ("unet_name",),
    "NewBieUNetLoader": ("unet_name", "dtype"),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "NewBieLoraModelOnly": ("lora_name", "strength", "auto_rank_scale", "reference_rank", "enabled"),
    "NewBieLoraLoader": ("lora_name", "strength", "auto_rank_scale", "reference_rank", "enabled"),
    "NewBieLoraLoaderMulti": (
        *("auto_rank_scale", "reference_rank"),
        *(f"{name}_{i}" for i in range(1, 6) for name in ("lora_name", "strength", "enabled")),
    ),
    "ModelSamplingNewbie": ("shift",),
    "ModelSamplingAuraFlow": ("shift",),
    "ModelSamplingSD3": ("shift",),
    "PrimitiveNode": ("value",),
    "PrimitiveString": ("value",),
    "PrimitiveStringMultiline": ("value",),
    "PrimitiveInt": ("value",),
    "PrimitiveFloat": ("value",),
    "StringConcatenate": ("string_a", "string_b", "delimiter"),
    "ShowText|pysssss": ("text_0",),
    "NewBieCharacterBuilder": ("character_number", *CHARACTER),
    "NewBieQuickCharacter": ("character_number", "character_text"),
    "NewBieGeneralTagsBuilder": (
        *("count", "body_type", "artists", "style", "background", "environment", "perspective"),
        *("atmosphere", "lighting", "quality", "objects", "extra_tags"),
    ),
    "NewBieXMLPromptAssembler": ("caption", "style_prefix"),
    "NewBieTextToXMLPrompt": (
        *("caption", "char1_name", "char1_gender", "char1_appearance", "char1_clothing"),
        *("char1_expression", "char1_action", "count", "body_type", "artists", "style"),
        *("background", "lighting", "quality", "extra_tags", "style_prefix"),
    ),
    "Character Node": FULL_CHARACTER,
    "General Tag Builder": (
        *("count", "artists", "style", "background", "environment", "perspective"),
        *("atmosphere", "lighting", "quality", "objects", "other"),
    ),
}
_CONTROLS = ("fixed", "increment", "decrement", "randomize")


@dataclass(frozen=True)
class Scope:
    """The main graph or one opened subgraph."""

    prefix: str
    nodes: Mapping[str, Mapping[str, Any]]
    links: Mapping[int, tuple[int | str, int]]  # link id → node and output it comes from
    outputs: Mapping[int, int] = field(default_factory=dict)  # subgraph output slot → link id
    parent: Scope | None = None
    instance: str = ""  # id of the subgraph's node in the parent


class Workflow:
    """Opens the editor's state into a flat graph."""

    def __init__(self, data: Mapping[str, Any]):
        definitions = sequence(mapping(data.get("definitions")).get("subgraphs"))
        self._subgraphs = {str(mapping(entry).get("id")): mapping(entry) for entry in definitions}
        self._main = _scope(data, "")
        self._opened: dict[str, Scope] = {}

    def graph(self) -> Graph:
        """The nodes that would run, with named inputs and links to their real origins."""
        nodes: dict[str, Node] = {}
        for scope, node_id, node in self._all_nodes(self._main, 0):
            if len(nodes) >= MAX_NODES:
                break
            if whole(node.get("mode")) not in (MUTED, BYPASSED):
                full = scope.prefix + node_id
                nodes[full] = Node(full, str(node.get("type")), self._inputs(scope, node), str(node.get("title") or ""))
        return Graph(nodes)

    def _all_nodes(self, scope: Scope, depth: int) -> Iterator[tuple[Scope, str, Mapping[str, Any]]]:
        for node_id, node in scope.nodes.items():
            inner = self._open(scope, node_id, node) if depth < MAX_SUBGRAPHS else None
            if inner is None:
                yield scope, node_id, node
            elif whole(node.get("mode")) not in (MUTED, BYPASSED):
                yield from self._all_nodes(inner, depth + 1)

    def _open(self, scope: Scope, node_id: str, node: Mapping[str, Any]) -> Scope | None:
        definition = self._subgraphs.get(str(node.get("type")))
        prefix = f"{scope.prefix}{node_id}:"
        if definition is None or (prefix not in self._opened and len(self._opened) >= MAX_OPENED):
            return None
        if prefix not in self._opened:
            self._opened[prefix] = _scope(definition, prefix, scope, node_id)
        return self._opened[prefix]

    def _inputs(self, scope: Scope, node: Mapping[str, Any]) -> dict[str, Any]:
        inputs = dict(_widgets(node))
        for entry in sequence(node.get("inputs")):
            name, link = mapping(entry).get("name"), mapping(entry).get("link")
            if not isinstance(name, str) or not isinstance(link, int):
                continue
            origin = self._origin(scope, scope.links.get(link), 0)
            if origin is not None:
                inputs[name] = origin
        return inputs

    def _origin(self, scope: Scope, source: tuple[int | str, int] | None, depth: int) -> Any:
        """Where a link really comes from: `[node id, slot]`, a widget's literal on a subgraph, or None."""
        if source is None or depth > MAX_DEPTH:
            return None
        node_id, slot = source
        if node_id == INPUT:
            return self._from_outside(scope, slot, depth)
        node = scope.nodes.get(str(node_id))
        if node is None or whole(node.get("mode")) == MUTED:
            return None
        if whole(node.get("mode")) == BYPASSED:
            return self._origin(scope, _passed_through(scope, node, slot), depth + 1)
        inner = self._open(scope, str(node_id), node) if scope.prefix.count(":") < MAX_SUBGRAPHS else None
        if inner is not None:
            return self._origin(inner, inner.links.get(inner.outputs.get(slot, -1)), depth + 1)
        return [scope.prefix + str(node_id), slot]

    def _from_outside(self, scope: Scope, slot: int, depth: int) -> Any:
        if scope.parent is None:
            return None
        node = scope.parent.nodes[scope.instance]
        entries = sequence(node.get("inputs"))
        entry = mapping(entries[slot]) if slot < len(entries) else {}
        if isinstance(entry.get("link"), int):
            return self._origin(scope.parent, scope.parent.links.get(entry["link"]), depth + 1)
        return _listed_widgets(node).get(str(entry.get("name")))


def _scope(data: Mapping[str, Any], prefix: str, parent: Scope | None = None, instance: str = "") -> Scope:
    nodes = {str(mapping(node).get("id")): mapping(node) for node in sequence(data.get("nodes"))[:MAX_NODES]}
    links: dict[int, tuple[int | str, int]] = {}
    outputs: dict[int, int] = {}
    for entry in sequence(data.get("links")):
        row = _link_row(entry)
        if row is not None:
            number, origin, slot, target, target_slot = row
            links[number] = (origin, slot)
            if target == OUTPUT:
                outputs[target_slot] = number
    return Scope(prefix, nodes, links, outputs, parent, instance)


def _link_row(entry: Any) -> tuple[int, Any, int, Any, int] | None:
    """(link id, from node, from slot, to node, to slot) of either spelling."""
    if isinstance(entry, Mapping):
        entry = [entry.get(k) for k in ("id", "origin_id", "origin_slot", "target_id", "target_slot")]
    if not isinstance(entry, list) or len(entry) < 5:
        return None
    number, origin, slot, target, target_slot = entry[:5]
    good = all(isinstance(value, int) for value in (number, slot, target_slot)) and isinstance(origin, (int, str))
    return (number, origin, slot, target, target_slot) if good else None


def _passed_through(scope: Scope, node: Mapping[str, Any], slot: int) -> tuple[int | str, int] | None:
    """What a bypassed node hands on at this output: its first linked input of the same type."""
    outputs = sequence(node.get("outputs"))
    kind = mapping(outputs[slot]).get("type") if slot < len(outputs) else None
    for entry in sequence(node.get("inputs")):
        if mapping(entry).get("type") == kind and isinstance(mapping(entry).get("link"), int):
            return scope.links.get(entry["link"])
    return None


# ---- widgets -----------------------------------------------------------------------------------------------------


def _widgets(node: Mapping[str, Any]) -> dict[str, Any]:
    """Widget values by name."""
    values = node.get("widgets_values")
    if isinstance(values, Mapping):
        return dict(values)
    flat = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in sequence(values)]
    names = WIDGETS.get(str(node.get("type")))
    if names is not None:
        return {name: value for name, value in zip(names, flat) if not isinstance(value, list)}
    return _listed_widgets(node) or _guessed(flat)


def _listed_widgets(node: Mapping[str, Any]) -> dict[str, Any]:
    """Names from the node's own list of inputs, if it lists them all."""
    names = [mapping(e).get("name") for e in sequence(node.get("inputs")) if mapping(e).get("widget")]
    values = list(sequence(node.get("widgets_values")))
    found: dict[str, Any] = {}
    for name in names:
        if not values:
            return {}
        found[str(name)] = values.pop(0)
        if name in ("seed", "noise_seed") and values and values[0] in _CONTROLS:
            values.pop(0)
    return found if not values else {}


def _guessed(values: list[Any]) -> dict[str, Any]:
    """An unknown node with one text is taken for a text box."""
    texts = [value for value in values if isinstance(value, str)]
    return {"text": texts[0]} if len(texts) == 1 else {}

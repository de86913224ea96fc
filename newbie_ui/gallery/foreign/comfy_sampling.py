"""From the saved picture back to the sampler that began it: seed, steps, guidance, size, model, LoRAs.

Walks, never scans: nodes that lead to no saved picture are decoys. Behind the last sampler on the way stands the
first pass; later ones are second passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from newbie_ui.gallery.foreign.comfy_graph import MAX_DEPTH, Graph, Link, Node, is_link
from newbie_ui.gallery.info import stem
from newbie_ui.gallery.safe import mapping, number, whole

# Inputs that never carry the picture or its latents.
_ASIDE = re.compile(
    r"(model|clip|vae|positive|negative|conditioning|mask|control_net|upscale_model|noise|guider|sampler|sigmas|lora|"
    r"style_model|width|height|seed|text|prompt|filename|scale|steps|cfg|bbox|sam)",
    re.IGNORECASE,
)
_PICTURE = ("latent_image", "samples", "latent", "latents", "pixels", "image", "images", "init_image", "upscaled_image")
_MODEL_FILES = ("ckpt_name", "unet_name", "model_name", "gguf_name", "base_ckpt_name", "unet_path", "model_path")
_LORA_WEIGHTS = ("strength_model", "strength", "lora_model_strength", "lora_strength", "model_strength")
_ROWS = (
    ("lora_name_{}", ("strength_{}", "model_weight_{}", "model_str_{}", "lora_wt_{}"), ("enabled_{}", "switch_{}")),
    ("lora_{:0>2}", ("strength_{:0>2}",), ()),
)
MAX_ENDS = 100  # saved pictures, or samplers without one, that are followed
_SCHEDULE_CLASS = re.compile(r"(?:Sampling)?(?:Sigmas|Scheduler)$")


@dataclass(frozen=True)
class Sampling:
    """One pass as its sampler node tells it."""

    seed: int | None = None
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    schedule: str | None = None
    denoise: float | None = None
    positive: Link | None = None
    negative: Link | None = None
    no_negative: bool = False
    second: Link | None = None  # another positive prompt (two-prompt guiders)
    model: Link | None = None


@dataclass
class Model:
    """What hangs on the model link."""

    name: str | None = None
    shift: float | None = None
    loras: list[tuple[str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


# ---- the way from the picture to its samplers --------------------------------------------------------------------


def passes(graph: Graph) -> tuple[list[Node], list[str]]:
    """Samplers from the last pass to the first, and sentences about how they were found."""
    chains = {}
    for output in _outputs(graph)[:MAX_ENDS]:
        chain = _chain(graph, output)
        if chain:
            chains.setdefault(chain[-1].id, chain)
    if not chains:
        return [], ["No saved picture leads to a sampler in this graph."]
    first, *others = chains.values()
    notes = ["The graph saves pictures of several samplers; the first one was read."] if others else []
    return first, notes


def passes_without_end(graph: Graph) -> list[Node]:
    """The passes of a graph whose saved picture is missing, if only one sampler can have been the last."""
    samplers = [node for node in graph.nodes.values() if is_sampler(node)]
    if len(samplers) > MAX_ENDS:
        return []
    chains = {node.id: [node, *_chain(graph, node)] for node in samplers}
    followed = {node.id for chain in chains.values() for node in chain[1:]}
    ends = [chain for start, chain in chains.items() if start not in followed]
    if len(ends) == 1:
        return ends[0]
    bare = [n for n in graph.nodes.values() if "steps" in n.inputs and {"seed", "noise_seed"} & set(n.inputs)]
    return bare if len(bare) == 1 else []


def _outputs(graph: Graph) -> list[Node]:
    """Nodes that save a picture, then those that show one."""
    found = []
    for node in graph.nodes.values():
        if any(is_link(node.inputs.get(name)) for name in ("images", "image")):
            kind = node.kind.lower()
            found += [(0, node)] if "save" in kind else [(1, node)] if "preview" in kind else []
    return [node for _, node in sorted(found, key=lambda pair: pair[0])]


def _chain(graph: Graph, output: Node) -> list[Node]:
    chain: list[Node] = []
    sampler = _next_sampler(graph, output, seen := set())
    while sampler is not None and len(chain) < MAX_DEPTH:
        chain.append(sampler)
        sampler = _next_sampler(graph, sampler, seen)
    return chain


def _next_sampler(graph: Graph, start: Node, seen: set[str]) -> Node | None:
    waiting = [start]
    while waiting:
        node = waiting.pop()
        if node.id in seen:
            continue
        seen.add(node.id)
        if node is not start and is_sampler(node):
            seen.discard(node.id)
            return node
        waiting.extend(reversed(list(_upstream(graph, node))))
    return None


def _upstream(graph: Graph, node: Node) -> Iterator[Node]:
    """Nodes that this one's picture or latents come from; the usual inputs first."""
    names = [name for name in _PICTURE if name in node.inputs]
    names += [name for name in node.inputs if name not in names and not _ASIDE.search(name)]
    for name in names:
        link = graph.link(node.inputs[name])
        if link is not None:
            yield link.node


def is_sampler(node: Node) -> bool:
    seeded = any(name in node.inputs for name in ("seed", "noise_seed", "noise"))
    return seeded and any(is_link(node.inputs.get(name)) for name in ("positive", "guider"))


def first_size(graph: Graph, sampler: Node) -> tuple[int | None, int | None]:
    """Width and height of the empty latents that a first pass begins with."""
    seen: set[str] = {sampler.id}
    waiting = list(_upstream(graph, sampler))
    while waiting:
        node = waiting.pop(0)
        if node.id in seen:
            continue
        seen.add(node.id)
        for prefix in ("", "empty_latent_"):
            size = tuple(whole(graph.value(node, prefix + name)) for name in ("width", "height"))
            if None not in size:
                return size
        waiting.extend(_upstream(graph, node))
    return None, None


# ---- one pass ----------------------------------------------------------------------------------------------------


def read_pass(graph: Graph, node: Node) -> Sampling:
    """Fields of a sampler node, directly or through the nodes that custom sampling spreads them over."""
    guider = graph.follow(node, "guider")
    noise = graph.follow(node, "noise")
    source = guider.node if guider else node
    steps, schedule, denoise = _schedule(graph, node)
    positive = graph.follow(source, "positive", "conditioning", "cond1")
    negative = graph.follow(source, "negative")
    cfg = next((c for name in ("cfg", "cfg_conds") if (c := number(graph.value(source, name))) is not None), None)
    return Sampling(
        seed=_seed(graph, noise.node if noise else node),
        steps=steps,
        cfg=cfg,
        sampler=_sampler_name(graph, node),
        schedule=schedule,
        denoise=denoise,
        positive=positive,
        negative=negative,
        no_negative=negative is None and positive is not None,
        second=graph.follow(source, "cond2"),
        model=graph.follow(source, "model") or graph.follow(node, "model"),
    )


def _seed(graph: Graph, node: Node) -> int | None:
    for name in ("seed", "noise_seed"):
        found = whole(graph.value(node, name))
        if found is not None:
            return found if found >= 0 else None
    return None


def _sampler_name(graph: Graph, node: Node) -> str | None:
    link = graph.follow(node, "sampler")
    source = link.node if link else node
    name = graph.value(source, "sampler_name")
    if isinstance(name, str):
        return name
    return source.kind if link else None


def _schedule(graph: Graph, node: Node) -> tuple[int | None, str | None, float | None]:
    """Steps, schedule and denoise of the node itself, or of the sigmas it is given."""
    link = graph.follow(node, "sigmas")
    for _ in range(MAX_DEPTH):
        passed = graph.follow(link.node, "sigmas") if link else None
        if passed is None:
            break
        link = passed
    source = link.node if link else node
    schedule = graph.value(source, "scheduler")
    if not isinstance(schedule, str):
        name = _SCHEDULE_CLASS.sub("", source.kind) if link else ""
        schedule = name.lower() or None
    return whole(graph.value(source, "steps")), schedule, number(graph.value(source, "denoise"))


# ---- the model ---------------------------------------------------------------------------------------------------


def read_model(graph: Graph, link: Link | None) -> Model:
    """Model name, shift and LoRAs in the order in which they are put on."""
    model = Model()
    seen: set[str] = set()
    while link is not None and link.node.id not in seen:
        node = link.node
        seen.add(node.id)
        if graph.is_on(node):
            model.loras += reversed(_loras(graph, node, seen))
            if model.shift is None and "shift" in node.inputs:
                model.shift = number(graph.value(node, "shift"))
        name = next((n for key in _MODEL_FILES if isinstance(n := graph.value(node, key), str)), None)
        if name is not None:
            model.name = stem(name)
            break
        link = graph.follow(node, "model", "model1", "MODEL", "base_model")
        if "model2" in node.inputs:
            model.notes.append(f"{node.kind} mixes models; only the first is named.")
    model.loras.reverse()
    return model


def _loras(graph: Graph, node: Node, seen: set[str]) -> list[tuple[str, float]]:
    """LoRAs that one loader or stack puts on, in its order."""
    found: list[tuple[str, float]] = []
    stack = graph.follow(node, "lora_stack", "optional_lora_stack")
    if stack is not None and stack.node.id not in seen:
        seen.add(stack.node.id)
        found += _loras(graph, stack.node, seen)
    name = graph.value(node, "lora_name")
    if isinstance(name, str):
        weights = (number(graph.value(node, key)) for key in _LORA_WEIGHTS)
        found.append((name, next((w for w in weights if w is not None), 1.0)))
    for name_key, weight_keys, switches in _ROWS:
        found += _rows(graph, node, name_key, weight_keys, switches)
    for value in node.inputs.values():  # rows that are objects
        row = mapping(value)
        if isinstance(row.get("lora"), str) and row.get("on") is not False:
            found.append((row["lora"], _first_number(row.get("strength"), 1.0)))
    return [(name, weight) for name, weight in found if name and name.lower() != "none"]


def _rows(
    graph: Graph, node: Node, name_key: str, weight_keys: tuple[str, ...], switches: tuple[str, ...]
) -> Iterator[tuple[str, float]]:
    count = whole(graph.value(node, "lora_count"))
    for index in range(1, min(50, 50 if count is None else count) + 1):
        name = graph.value(node, name_key.format(index))
        off = any(graph.value(node, key.format(index)) in (False, "Off") for key in switches)
        if isinstance(name, str) and not off:
            weights: list[Any] = [graph.value(node, key.format(index)) for key in weight_keys]
            yield name, next((w for w in map(number, weights) if w is not None), 1.0)


def _first_number(value: Any, default: float) -> float:
    found = number(value)
    return default if found is None else found

"""ComfyUI: the graph in the `prompt` chunk, or the editor's state in `workflow` when there is nothing better."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from newbie_ui.gallery.foreign.comfy_graph import Graph, Link, Node, read_api_graph
from newbie_ui.gallery.foreign.comfy_sampling import (
    Sampling,
    first_size,
    passes,
    passes_without_end,
    read_model,
    read_pass,
)
from newbie_ui.gallery.foreign.comfy_text import Said, Texts
from newbie_ui.gallery.foreign.comfy_workflow import Workflow
from newbie_ui.gallery.info import PictureInfo, join_lora
from newbie_ui.gallery.safe import Damaged, complete_entries, load_object, whole


def read(prompt: str | None, workflow: str | None) -> PictureInfo:
    """Read the graph; a broken one is told, what is whole of it is used, and the other chunk is tried."""
    info = PictureInfo(program="ComfyUI")
    graphs: list[tuple[Graph, str]] = []
    if prompt is not None:
        try:
            graphs.append((read_api_graph(load_object(prompt)), ""))
        except Damaged as error:
            info = info.saying(f"The ComfyUI graph is damaged: {error}", partial=True)
            graphs.append((read_api_graph(complete_entries(prompt)), "Read from what is whole of the graph."))
    if workflow is not None and (info.partial or prompt is None or not graphs[0][0].nodes):
        try:
            graphs.append((Workflow(load_object(workflow)).graph(), "Read from the editor's state, not the graph."))
        except Damaged as error:
            info = info.saying(f"The ComfyUI workflow is damaged: {error}", partial=True)
    for graph, note in graphs:
        samplers, notes = passes(graph)
        if samplers:
            return _read_graph(graph, samplers, replace(info, notes=(*filter(None, [note]), *notes)))
    return _read_unlinked([graph for graph, _ in graphs], info)


def _read_graph(graph: Graph, samplers: list[Node], info: PictureInfo) -> PictureInfo:
    first = samplers[-1]
    sampling = read_pass(graph, first)
    texts = Texts(graph)
    positive, negative = _texts(texts, sampling)
    model = read_model(graph, sampling.model)
    width, height = first_size(graph, first)
    denoise = sampling.denoise
    return replace(
        info,
        prompt=positive.text,
        negative=negative.text,
        system_prompt=positive.system,
        original_prompt=positive.original,
        seed=sampling.seed,
        steps=sampling.steps,
        sampler=sampling.sampler,
        scheduler=sampling.schedule,
        cfg=sampling.cfg,
        width=width,
        height=height,
        model=model.name,
        loras=join_lora(model.loras),
        shift=model.shift,
        hires=_hires(graph, samplers),
        extra={"denoise": f"{denoise:g}"} if denoise is not None and denoise != 1 else {},
        problems=(*info.problems, *dict.fromkeys(texts.problems)),
        notes=(*info.notes, *dict.fromkeys(texts.notes), *model.notes),
    )


def _read_unlinked(graphs: list[Graph], info: PictureInfo) -> PictureInfo:
    """From a graph whose way to the picture is lost only what can have one meaning is taken."""
    info = info.saying("No saved picture leads to a sampler; only what has one meaning was read.")
    for graph in graphs:
        samplers = passes_without_end(graph)
        said = {side: _only_text(graph, side) for side in ("positive", "negative")}
        if not samplers and not any(said.values()):
            continue
        found = _read_graph(graph, samplers, info) if samplers else info
        width, height = _only_size(graph)
        return replace(
            found,
            prompt=found.prompt if found.prompt is not None else said["positive"],
            negative=found.negative or said["negative"],
            width=found.width or width,
            height=found.height or height,
        )
    return info


def _only_text(graph: Graph, side: str) -> str | None:
    """The text of the one encoder named so by its user; a single encoder holds the prompt."""
    encoders = [node for node in graph.nodes.values() if "Encode" in node.kind]
    named = [node for node in encoders if side in node.title.lower()]
    chosen = encoders if side == "positive" and len(encoders) == 1 else named
    texts = Texts(graph)
    return texts.said(Link(chosen[0], 0), side).text if len(chosen) == 1 else None


def _only_size(graph: Graph) -> tuple[int | None, int | None]:
    empty = [node for node in graph.nodes.values() if "Latent" in node.kind and "width" in node.inputs]
    if len(empty) != 1:
        return None, None
    return whole(graph.value(empty[0], "width")), whole(graph.value(empty[0], "height"))


def _texts(texts: Texts, sampling: Sampling) -> tuple[Said, Said]:
    positive = texts.said(sampling.positive, "positive")
    if sampling.second is not None:
        second = texts.said(sampling.second, "positive")
        both = [text for text in (positive.text, second.text) if text]
        positive = replace(positive, text="\n".join(dict.fromkeys(both)) if both else None)
        texts.notes.append("Two prompts were used with two strengths; they stand on lines of their own here.")
    negative = Said(text="") if sampling.no_negative else texts.said(sampling.negative, "negative")
    return positive, negative


def _hires(graph: Graph, samplers: list[Node]) -> dict[str, Any]:
    """The last of the later passes."""
    if len(samplers) < 2:
        return {}
    last = read_pass(graph, samplers[0])
    values = {"steps": last.steps, "denoise": last.denoise, "cfg": last.cfg}
    return {key: value for key, value in values.items() if value is not None}

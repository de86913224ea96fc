"""Which program wrote these texts, and its reader. The first hit wins; the order is the point of this file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace

from newbie_ui.gallery.foreign import a1111, comfyui, fooocus, invokeai, novelai, swarmui
from newbie_ui.gallery.info import PictureInfo
from newbie_ui.gallery.safe import Damaged, load_object

Texts = Mapping[str, str]

_JSON_KEY = re.compile(r'"(sui_image_params|base_model|base_model_name|metadata_scheme)"\s*:')


def read_texts(texts: Texts) -> PictureInfo | None:
    """Read what a program wrote; None when no text is about making a picture."""
    texts = _by_usual_names(texts)
    for is_it, read in _READERS:
        if is_it(texts):
            return read(texts)
    return None


_USUAL = (
    *("parameters", "prompt", "workflow", "Comment", "Description", "Software", "Source", "Title"),
    *("invokeai_metadata", "sd-metadata", "Dream", "fooocus_scheme"),
)


def _by_usual_names(texts: Texts) -> Texts:
    """Keywords as programs spell them; other capitals are taken for the same where nothing is spelled right."""
    lower = {key.lower(): value for key, value in reversed(list(texts.items()))}
    found = {name: texts.get(name, lower.get(name.lower())) for name in _USUAL}
    return {name: value for name, value in found.items() if value is not None}


def _json_kind(texts: Texts) -> str:
    """What the JSON under `parameters` is: "swarmui", "fooocus" or ""."""
    text = texts.get("parameters", "")
    match = _JSON_KEY.search(text) if text.lstrip().startswith("{") else None
    return "" if match is None else "swarmui" if match.group(1) == "sui_image_params" else "fooocus"


def _is_comfyui(texts: Texts) -> bool:
    """A graph, not a plain text that happens to have this keyword."""
    return any(texts.get(key, "").lstrip().startswith("{") for key in ("prompt", "workflow"))


def _read_comfyui(texts: Texts) -> PictureInfo:
    return comfyui.read(texts.get("prompt"), texts.get("workflow"))


def _read_parameters(texts: Texts) -> PictureInfo:
    """The A1111 text; a ComfyUI graph beside it says what the text lacks."""
    text = texts["parameters"]
    if text.lstrip().startswith("{") and _is_json(text):
        return PictureInfo().saying("The data of this picture has a form that is not known here.")
    info = a1111.read(text)
    if info.program == "Fooocus":
        return fooocus.read_a1111(text)
    if not _is_comfyui(texts):
        return info
    graph = _read_comfyui(texts)
    lacking = {
        f.name: getattr(graph, f.name)
        for f in fields(PictureInfo)
        if f.name not in ("problems", "partial", "notes", "extra") and getattr(info, f.name) in (None, (), {})
    }
    return replace(info, **lacking | {"program": "ComfyUI"})


_READERS: tuple[tuple[Callable[[Texts], bool], Callable[[Texts], PictureInfo]], ...] = (
    (lambda t: t.get("Software") == "NovelAI", novelai.read),
    (lambda t: "invokeai_metadata" in t, lambda t: invokeai.read(t["invokeai_metadata"])),
    (lambda t: "sd-metadata" in t, lambda t: invokeai.read_sd_metadata(t["sd-metadata"])),
    (lambda t: "Dream" in t, lambda t: invokeai.read_dream(t["Dream"])),
    (lambda t: _json_kind(t) == "swarmui", lambda t: swarmui.read(t["parameters"])),
    (lambda t: _json_kind(t) == "fooocus", lambda t: fooocus.read(t["parameters"])),
    (
        lambda t: "fooocus_scheme" in t and "parameters" in t,
        lambda t: (fooocus.read if t["parameters"].lstrip().startswith("{") else fooocus.read_a1111)(t["parameters"]),
    ),
    (lambda t: bool(t.get("parameters", "").strip()), _read_parameters),
    (_is_comfyui, _read_comfyui),
)


def texts_from_paste(text: str) -> Texts:
    """A copied ComfyUI graph, request or workflow under the keyword that a PNG would have; empty for any other text."""
    if not text.lstrip().startswith("{"):
        return {}
    try:
        data = load_object(text)
    except Damaged:
        return {}
    graph = data.get("prompt") if isinstance(data.get("prompt"), Mapping) else data
    if any(isinstance(node, Mapping) and "class_type" in node for node in graph.values()):
        return {"prompt": json.dumps(graph)}
    return {"workflow": text} if isinstance(data.get("nodes"), list) else {}


def texts_from_exif(exif: Texts) -> Texts:
    """Exif texts of WebP and JPEG copies under the keywords that the PNG would have."""
    found: dict[str, str] = {}
    for name in ("Make", "Model", "ImageDescription", "UserComment"):
        key, separator, value = exif.get(name, "").partition(":")
        if separator and key.lower() in ("prompt", "workflow") and value.lstrip().startswith("{"):
            found.setdefault(key.lower(), value)
    comment = exif.get("UserComment", "")
    if exif.get("Software", "").startswith("NovelAI"):
        given = {"Comment": comment, "Description": exif.get("ImageDescription", ""), "Source": exif["Software"]}
        return found | {"Software": "NovelAI"} | {key: value for key, value in given.items() if value}
    if exif.get("MakerNote", "").strip() in ("fooocus", "a1111"):
        found["fooocus_scheme"] = exif["MakerNote"].strip()
    if comment.strip() and "prompt" not in found:
        found |= {"parameters": comment} if not _is_graph(comment) else {"prompt": comment}
    return found


def _is_json(text: str) -> bool:
    try:
        load_object(text)
    except Damaged:
        return False
    return True


def _is_graph(text: str) -> bool:
    return text.lstrip().startswith("{") and '"class_type"' in text[:20_000] and not _JSON_KEY.search(text)

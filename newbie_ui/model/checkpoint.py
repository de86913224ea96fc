"""A model, wherever it lies, as a ready `NewbiePipeline`.

    load_pipeline("demo")                                  the embedded demo model
    load_pipeline("NewBie-AI/NewBie-image-Exp0.1")         a hub id, `@revision` may follow
    load_pipeline("/models/newbie")                        a folder in either published layout
    load_pipeline(SplitFiles("newbie.safetensors", "gemma.safetensors", "jina.safetensors", "ae.safetensors"))

Promises: every weight is given and every tensor of the files accounted for, or there is a `CheckpointError` in plain
words before anything large is read; no file of a model is ever executed or imported; weights are read one tensor at a
time into place, so memory holds one copy. Does not know devices beyond `device`, nor what runs the pipeline.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from newbie_ui.errors import CheckpointError
from newbie_ui.model.checkpoints import hub, parts
from newbie_ui.model.checkpoints.card import SIDECAR, ModelCard, model_hash, read_sidecar
from newbie_ui.model.checkpoints.keys import GEMMA, JINA
from newbie_ui.model.checkpoints.plan import make_plan
from newbie_ui.model.checkpoints.tokenizers import load_tokenizer
from newbie_ui.model.checkpoints.weights import Progress, Weights, open_weights, read_json, readable
from newbie_ui.model.pipeline import NewbiePipeline

Device = str | torch.device

DEMO = "demo"
DEMO_FOLDER = Path(__file__).resolve().parent.parent / "demo" / "weights"
PARTS = ("transformer", "text_encoder", "clip_model", "vae")
PART_FOLDERS = {"clip_model": ("clip_model", "text_encoder_2")}  # others are named as the part
TOKENIZER_FOLDERS = {"text_encoder": "tokenizer", "clip_model": "tokenizer_2"}
FLAGS = {
    "transformer": "--transformer",
    "text_encoder": "--text-encoder",
    "clip_model": "--clip",
    "vae": "--vae",
}
NAMES = {
    "transformer": "transformer",
    "text_encoder": "Gemma text encoder",
    "clip_model": "CLIP text encoder",
    "vae": "VAE",
}
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


@dataclass(frozen=True)
class SplitFiles:
    """Each part by its own path: a file, its folder, or a whole model's, of which that part is taken.

    Parts left empty come from `base`, any other kind of source.
    """

    transformer: str = ""
    text_encoder: str = ""
    clip: str = ""
    vae: str = ""
    base: str = ""

    def paths(self) -> dict[str, str]:
        return dict(zip(PARTS, (self.transformer, self.text_encoder, self.clip, self.vae)))


@dataclass(frozen=True)
class ModelFiles:
    """A model whose files are on this machine. Made by `locate`."""

    name: str
    source: str  # for people
    paths: Mapping[str, Path]  # part → file or folder
    tokenizers: Mapping[str, tuple[Path, ...]]  # part → folders to look in
    folder: Path | None = None  # where scheduler/ and newbie_ui.json are

    def weights(self, part: str) -> Weights:
        """Names, shapes and types of one part."""
        return open_weights(self.paths[part])

    def config(self, part: str) -> dict[str, Any] | None:
        """The part's config.json; None for a bare file, whose sizes are read from its tensors."""
        path = self.paths[part]
        return read_json(path / "config.json") if path.is_dir() and (path / "config.json").is_file() else None

    def scheduler_config(self) -> dict[str, Any] | None:
        path = self.folder and self.folder / "scheduler" / "scheduler_config.json"
        return read_json(path) if path and path.is_file() else None

    def sidecar(self) -> dict[str, Any]:
        """The raw `newbie_ui.json`, checked; empty where there is none."""
        path = self.folder and self.folder / SIDECAR
        if not path or not path.is_file():
            return {}
        read_sidecar(path)
        return read_json(path)


def load_pipeline(
    source: str | SplitFiles | ModelFiles,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: Device | Mapping[str, Device] = "cpu",
    on_progress: Progress | None = None,
    clip_adapter: bool = False,
) -> NewbiePipeline:
    """Load everything. A hub id is downloaded first.

    Args:
        source: see the module's first lines.
        dtype: what all weights are converted to, whatever the files hold.
        device: where all weights go, or part → where it goes; parts that are not named stay on the processor. Each
            tensor is read straight to its place, so processor memory holds no copy of what goes elsewhere.
        on_progress: called with (what is done now, fraction of it from 0 to 1 or None).
        clip_adapter: use the task adapter that some Jina CLIP files carry.

    Raises:
        CheckpointError: not found, not complete, of another model, not reachable. Nothing is left behind.
    """
    files = source if isinstance(source, ModelFiles) else locate(source, on_progress)
    tokenizers = {part: load_tokens(files, part) for part in TOKENIZER_FOLDERS}
    scheduler = parts.load_scheduler(files.scheduler_config())
    sidecar = files.sidecar()
    prepared = {part: prepare_part(files, part, clip_adapter) for part in PARTS}
    _check_fit(prepared, files)
    places = device if isinstance(device, Mapping) else dict.fromkeys(PARTS, device)
    report = _Reading(sum(one.plan.size for one in prepared.values()), on_progress)
    pipeline = NewbiePipeline(
        **{part: one.fill(dtype, places.get(part, "cpu"), report.about(NAMES[part])) for part, one in prepared.items()},
        tokenizer=tokenizers["text_encoder"],
        clip_tokenizer=tokenizers["clip_model"],
        scheduler=scheduler,
    )
    pipeline.sidecar = sidecar
    return pipeline


def prepare_part(files: ModelFiles, part: str, clip_adapter: bool = False) -> parts.Prepared:
    """One part alone, "transformer", "text_encoder", "clip_model" or "vae", checked but not yet read."""
    weights, config = files.weights(part), files.config(part)
    if part == "clip_model":
        return parts.prepare_jina(weights, config, clip_adapter)
    prepare = {
        "transformer": parts.prepare_transformer,
        "text_encoder": parts.prepare_gemma,
        "vae": parts.prepare_vae,
    }
    return prepare[part](weights, config)


def load_part(
    files: ModelFiles, part: str, *, dtype: torch.dtype, device: str = "cpu", clip_adapter: bool = False
) -> torch.nn.Module:
    """One part alone, ready to run. Raises CheckpointError."""
    return prepare_part(files, part, clip_adapter).fill(dtype, device)


def load_tokens(files: ModelFiles, part: str):
    """The tokenizer of "text_encoder" or "clip_model". Raises CheckpointError."""
    kind, keys = ("gemma", GEMMA) if part == "text_encoder" else ("clip", JINA)
    weights = files.weights(part)
    make_plan(weights, keys)  # a file of another part must be called so, not said to lack a tokenizer
    return load_tokenizer(kind, files.tokenizers[part], weights)


def read_model_info(source: str | SplitFiles | ModelFiles, on_progress: Progress | None = None) -> ModelCard:
    """What the page shows of a model. Reads headers and samples only; a hub id is downloaded first."""
    files = source if isinstance(source, ModelFiles) else locate(source, on_progress)
    card = ModelCard(name=files.name, source=files.source)
    sidecar = files.folder and files.folder / SIDECAR
    if sidecar and sidecar.is_file():
        card = replace(card, **read_sidecar(sidecar))
    elif files.scheduler_config():
        shift = parts.load_scheduler(files.scheduler_config()).config.shift
        card = replace(card, defaults={**card.defaults, "shift": float(shift)})
    return replace(card, hash=model_hash([files.weights(part) for part in PARTS]))


# ---- where the files are -------------------------------------------------------------------------------------


@readable()
def locate(source: str | SplitFiles, on_progress: Progress | None = None, given: Collection[str] = ()) -> ModelFiles:
    """Find (or download) a model's files; reads no weights. Parts that are `given` elsewhere may be missing.

    Raises:
        CheckpointError: nothing there, not all of it, or not to be read.
    """
    if isinstance(source, SplitFiles):
        return _split(source, on_progress)
    if source == DEMO:
        return _folder(DEMO_FOLDER, DEMO_FOLDER, "the embedded demo model", given)
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path, path, str(path), given)
    if path.is_file():
        raise CheckpointError(
            f"{source} is one file, but a model has four parts. Give it with --transformer, and the others with "
            "--text-encoder, --clip and --vae (or --model for a folder that holds them)."
        )
    if HUB_ID.fullmatch(source) and not source.startswith((".", "/")):
        repository, _, revision = source.partition("@")
        folder = hub.download(repository, revision or None, on_progress)
        return _folder(folder, Path(repository), source, given)
    raise CheckpointError(
        f"{source!r} is neither a folder on this machine nor a hub id. "
        "Use e.g. --model NewBie-AI/NewBie-image-Exp0.1, --model /path/to/folder, or --model demo."
    )


def _folder(folder: Path, named: Path, source: str, given: Collection[str]) -> ModelFiles:
    """A folder in one of the published layouts."""
    found = {part: _part_folder(folder, part) for part in PARTS}
    paths = {part: path for part, path in found.items() if path is not None}
    missing = [part for part in PARTS if part not in paths and part not in given]
    if not paths:
        raise CheckpointError(
            f"{folder} holds no model: looked for the folders {', '.join(PARTS)}. "
            "Give the folder that has model_index.json in it."
        )
    if missing:
        tried = " or ".join(f"{name}/" for name in PART_FOLDERS.get(missing[0], (missing[0],)))
        raise CheckpointError(
            f"{folder} lacks the {NAMES[missing[0]]} ({tried}). The download is not complete: download it again, or "
            f"give this part with {FLAGS[missing[0]]}."
        )
    tokenizers = {part: (folder / name, paths[part]) for part, name in TOKENIZER_FOLDERS.items() if part in paths}
    name = folder.parent.name if named == folder and folder.name == "weights" else named.name
    return ModelFiles(name, source, paths, tokenizers, folder)


def _part_folder(folder: Path, part: str) -> Path | None:
    return next((folder / name for name in PART_FOLDERS.get(part, (part,)) if (folder / name).is_dir()), None)


def _split(split: SplitFiles, on_progress: Progress | None) -> ModelFiles:
    given = {part: Path(path).expanduser() for part, path in split.paths().items() if path}
    for part, path in given.items():
        if not path.exists():
            raise CheckpointError(f"{FLAGS[part]} {path} does not exist. Check the path.")
    absent = [part for part in PARTS if part not in given]
    if absent and not split.base:
        flags = ", ".join(f"{FLAGS[part]} ({NAMES[part]})" for part in absent)
        raise CheckpointError(f"A model has four parts; missing: {flags}. Or name a model to take them from: --model.")
    base = locate(split.base, on_progress, given) if split.base else None
    own = {part: _part_folder(path, part) or path for part, path in given.items()}
    paths = {**(base.paths if base else {}), **own}
    tokenizers = dict(base.tokenizers) if base else {}
    for part, folder in TOKENIZER_FOLDERS.items():
        if part in own:
            path = own[part]
            tokenizers[part] = (path, path.parent / folder) if path.is_dir() else (path.with_suffix(""),)
    named = given.get("transformer", next(iter(given.values())))
    name = named.name if named.is_dir() else named.stem
    source = ", ".join(str(path) for path in given.values())
    return ModelFiles(name, source, paths, tokenizers, base.folder if base and "transformer" not in given else None)


# ---- helpers -------------------------------------------------------------------------------------------------


class _Reading:
    """Turns bytes of all parts into one fraction, at most about 100 reports."""

    def __init__(self, total: int, on_progress: Progress | None):
        self.total, self.on_progress = max(total, 1), on_progress
        self.done, self.reported = 0, -1

    def about(self, name: str) -> Callable[[int], None]:
        return lambda size: self._add(size, f"Reading the {name}")

    def _add(self, size: int, message: str) -> None:
        self.done += size
        percent = 100 * self.done // self.total
        if self.on_progress and percent != self.reported:
            self.reported = percent
            self.on_progress(message, min(1.0, self.done / self.total))


def _check_fit(prepared: Mapping[str, parts.Prepared], files: ModelFiles) -> None:
    """The widths at which the parts meet."""
    config = {part: one.module.config for part, one in prepared.items()}
    meetings = (
        ("text_encoder", "features", config["text_encoder"].hidden_size, config["transformer"].cap_feat_dim),
        ("clip_model", "features", config["clip_model"].hidden_size, config["transformer"].clip_text_dim),
        ("vae", "channels", config["vae"].latent_channels, config["transformer"].in_channels),
    )
    for part, what, gives, wants in meetings:
        if gives != wants and wants is not None:
            raise CheckpointError(
                f"The {NAMES[part]} ({files.paths[part]}) gives {gives} {what}, but the transformer "
                f"({files.paths['transformer']}) takes {wants}. They are of different models: use NewBie's own."
            )

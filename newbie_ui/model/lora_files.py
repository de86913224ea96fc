"""LoRA files: every format in use, read as updates of named layers.

    PEFT      layers.0.attention.qkv.lora_A.weight / lora_B   under base_model.model., diffusion_model., transformer.
    kohya     lora_unet_layers_0_attention_qkv.lora_down / lora_up / alpha
    LoKr      lycoris_layers_0_attention_qkv.lokr_w1 / lokr_w2 (each may be a product _a · _b) / alpha; w_norm
    LoHa      ….hada_w1_a / hada_w1_b / hada_w2_a / hada_w2_b / alpha

Promises: safetensors only, of limited size; metadata are plain text and numbers, checked; nothing but tensors is
taken from a file; a file that does not fit this transformer in every name and shape is refused with the reason.
`LoraShelf` gives files by their name in one folder and nothing outside it. Does not apply anything: see `lora`.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from newbie_ui.errors import CheckpointError, LoraError
from newbie_ui.model.checkpoints.weights import TensorInfo, Weights, open_weights, read_json
from newbie_ui.model.lora_targets import Target

MAX_FILE_BYTES = 4_000_000_000
MAX_TENSORS = 20_000
MAX_RANK = 1024
FOLDER_FILE = "adapter_model.safetensors"  # PEFT saves a folder with this and a config
CONFIG_FILE = "adapter_config.json"
PREFIXES = (
    "base_model.model.",
    "model.diffusion_model.",
    "diffusion_model.",
    "transformer.",
    "unet.",
    "lora_transformer_",
    "lora_unet_",
    "lycoris_",
)
KINDS = {  # how a tensor's name ends → what it is
    r"lora_A|lora_down|lora\.down": "down",
    r"lora_B|lora_up|lora\.up": "up",
    r"lokr_w1|lokr_w1_a|lokr_w1_b|lokr_w2|lokr_w2_a|lokr_w2_b": "",
    r"hada_w1_a|hada_w1_b|hada_w2_a|hada_w2_b": "",
    r"alpha": "",
    r"w_norm|diff": "diff",
}
NAME = re.compile(r"(.+)\.(" + "|".join(KINDS) + r")(?:\.default)?(?:\.weight)?")
REFUSED = {  # pattern of a name → what it belongs to
    r".*(dora_scale|lora_magnitude_vector).*": "DoRA",
    r".*\.(lora_mid|hada_t[12]|lokr_t2)\b.*": "a Tucker decomposition, which is for convolutions",
    r".*\.(oft_blocks|oft_diag|a1|a2|b1|b2|on_input|boft_R|lora_embedding_A|lora_embedding_B)\b.*": "another method",
    r"(lora_te\d?|text_encoder\w*|te\d)[._].*": "a text encoder",
}
STRANGERS = {
    r".*(double_blocks|single_blocks|single_transformer_blocks).*": "FLUX",
    r".*(input_blocks|output_blocks|down_blocks|up_blocks|mid_block).*": "Stable Diffusion",
    r".*joint_(transformer_)?blocks?.*": "Stable Diffusion 3",
    r".*cross_attn.*": "a video model",
}


@dataclass(frozen=True)
class LowRank:
    """scale · up @ down, added to these rows of a weight (out, in)."""

    down: Tensor  # (r, in)
    up: Tensor  # (rows, r)
    scale: float
    rows: slice | None = None  # None: all

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def dense(self, shape: tuple[int, int]) -> Tensor:
        """The whole update, for tests and comparisons."""
        update = torch.zeros(shape)
        update[self.rows or slice(None)] = self.scale * self.up.float() @ self.down.float()
        return update


@dataclass(frozen=True)
class Kronecker:
    """scale · left ⊗ right: left (a, b), right (c, d) for a weight (a · c, b · d)."""

    left: Tensor
    right: Tensor
    scale: float

    def dense(self, shape: tuple[int, int]) -> Tensor:
        return self.scale * torch.kron(self.left.float(), self.right.float()).reshape(shape)


@dataclass(frozen=True)
class NormShift:
    """scale · shift, added to a norm's weight (width,)."""

    shift: Tensor
    scale: float = 1.0

    def dense(self, shape: tuple[int]) -> Tensor:
        return self.scale * self.shift.float().reshape(shape)


Update = LowRank | Kronecker | NormShift


@dataclass(frozen=True)
class LoraFile:
    """One file, read. `updates` is layer name → its updates."""

    name: str
    sha256: str  # 10 hexadecimal digits
    format: str  # "LoRA", "LoKr" or "LoHa"
    updates: Mapping[str, tuple[Update, ...]]
    notes: Mapping[str, str] = field(default_factory=dict)  # metadata of the file, as text

    @property
    def rank(self) -> int:
        """The largest number of ranks that one layer needs."""
        return max((sum(u.rank for u in us if isinstance(u, LowRank)) for us in self.updates.values()), default=0)


# ---- reading -------------------------------------------------------------------------------------------------


def read_lora(path: Path, known: Mapping[str, Target], name: str | None = None) -> LoraFile:
    """Read a LoRA for the transformer whose `targets` are known. Raises LoraError."""
    name = name or path.stem
    weights = _open(path, name)
    groups = _grouped(weights, name, known)
    tensors = {n: t.clone() for n, t in weights.stream(weights.tensors)}
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor.float()).all():
            raise LoraError(f"LoRA {name} holds numbers that are not finite ({key}). It is broken: use another one.")
    config = _peft_config(path, name)
    default_alpha = _number(_default_alpha(config, weights.metadata), name)
    updates: dict[str, list[Update]] = {}
    formats = set()
    for layer, kinds in groups.items():
        parts = {kind: tensors[key] for kind, key in kinds.items()}
        alpha = _number(float(parts["alpha"]) if "alpha" in parts else default_alpha, name)
        kind, update = _update(parts, known[layer], alpha, config, f"LoRA {name}, layer {layer}")
        formats.add(kind)
        updates.setdefault(known[layer].name, []).append(update)
    if not updates:
        raise LoraError(f"{path} holds no LoRA layers. It is not a LoRA file.")
    kind = next((f for f in ("LoKr", "LoHa") if f in formats), "LoRA")
    notes = {k[:64]: v[:500] for k, v in list(weights.metadata.items())[:50]}
    return LoraFile(name, file_hash(path), kind, {k: tuple(v) for k, v in updates.items()}, notes)


def _open(path: Path, name: str) -> Weights:
    if path.suffix != ".safetensors":
        raise LoraError(
            f"LoRA {name} is a {path.suffix or 'nameless'} file. Only .safetensors is read: it cannot run code."
        )
    if not path.is_file():
        raise LoraError(f"LoRA {name} is not there any more ({path}). Choose another.")
    if path.stat().st_size > MAX_FILE_BYTES:
        size = path.stat().st_size / 1e9
        raise LoraError(f"LoRA {name} has {size:.1f} GB, more than the {MAX_FILE_BYTES / 1e9:.0f} GB that are read.")
    try:
        weights = open_weights(path)
    except CheckpointError as error:
        raise LoraError(str(error)) from error
    if len(weights.tensors) > MAX_TENSORS:
        raise LoraError(f"LoRA {name} holds {len(weights.tensors)} tensors, more than the {MAX_TENSORS} that are read.")
    return weights


def _grouped(weights: Weights, name: str, known: Mapping[str, Target]) -> dict[str, dict[str, str]]:
    """Layer (a key of `known`) → kind of tensor → its name in the file."""
    groups: dict[str, dict[str, str]] = {}
    unknown: list[str] = []
    for key in weights.tensors:
        method = next((m for pattern, m in REFUSED.items() if re.fullmatch(pattern, key)), None)
        if method:
            raise LoraError(f"LoRA {name} changes or uses {method} ({key}), which is not supported. Use a plain LoRA.")
        match = NAME.fullmatch(key)
        if not match:
            raise LoraError(f"LoRA {name} holds {key}, which is of no known kind. Use PEFT, kohya, LoKr or LoHa files.")
        layer = _layer(match[1], known)
        if layer is None:
            unknown.append(key)
            continue
        kind = next((k or match[2] for pattern, k in KINDS.items() if re.fullmatch(pattern, match[2])))
        _check_shape(kind, weights.tensors[key], f"LoRA {name}: {key}")
        if kind in groups.setdefault(layer, {}):
            raise LoraError(f"LoRA {name} gives {layer} twice, last as {key}. It is broken: use another one.")
        groups[layer][kind] = key
    if unknown:
        other = next((m for pattern, m in STRANGERS.items() if any(re.fullmatch(pattern, u) for u in unknown)), "")
        looks = f" It looks like one for {other}." if other else ""
        raise LoraError(
            f"LoRA {name} is for another model: {len(unknown)} of its {len(weights.tensors)} tensors name layers that "
            f"this one has not, first {unknown[0]}.{looks} Use one that was trained for NewBie."
        )
    return groups


def _check_shape(kind: str, info: TensorInfo, what: str) -> None:
    """An alpha is one number, a norm's shift a row of them, everything else a matrix."""
    axes = {"alpha": (0, 1), "diff": (1,)}.get(kind, (2,))
    if len(info.shape) not in axes or 0 in info.shape or (kind == "alpha" and info.shape not in ((), (1,))):
        raise LoraError(
            f"{what} has the shape {list(info.shape)}, which it cannot have. It is broken: use another one."
        )
    if kind != "alpha" and (info.dtype is None or not info.dtype.is_floating_point):
        raise LoraError(f"{what} holds {info.kind} numbers, which are not read. Use the bf16, fp16 or fp32 version.")


def _layer(key: str, known: Mapping[str, Target]) -> str | None:
    while key not in known:
        prefix = next((p for p in PREFIXES if key.startswith(p)), None)
        if prefix is None:
            return None
        key = key.removeprefix(prefix)
    return key


def _update(
    parts: dict[str, Tensor], target: Target, alpha: float | None, config: Mapping[str, Any], what: str
) -> tuple[str, Update]:
    """(format, update) of one layer. LyCORIS scales by alpha / rank too, but not two whole Kronecker factors."""
    kinds = set(parts) - {"alpha"}
    if kinds == {"down", "up"}:
        update = LowRank(parts["down"], parts["up"], _scale(alpha, parts["down"].shape[0], config), target.rows)
        return "LoRA", _fitting(update, (update.up.shape[0], update.down.shape[1]), target, what)
    if kinds == {"diff"}:
        return "LoKr", _fitting(NormShift(parts["diff"].flatten()), tuple(parts["diff"].shape), target, what)
    if kinds == {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}:
        update = _hadamard(parts, _scale(alpha, parts["hada_w1_b"].shape[0], {}), target, what)
        return "LoHa", _fitting(update, (update.up.shape[0], update.down.shape[1]), target, what)
    if kinds and all(kind.startswith("lokr_") for kind in kinds):
        left, rank = _factor(parts, "lokr_w1", what)
        right, other_rank = _factor(parts, "lokr_w2", what)
        rank = rank or other_rank or (config.get("r", 0) if config.get("peft_type") == "LOKR" else 0)
        update = Kronecker(left, right, _scale(alpha, rank, {}))
        shape = (left.shape[0] * right.shape[0], left.shape[1] * right.shape[1])
        if target.rows:
            raise LoraError(f"{what} is a LoKr of a part of a layer, which is not supported.")
        return "LoKr", _fitting(update, shape, target, what)
    raise LoraError(f"{what} has only {', '.join(sorted(kinds)) or 'an alpha'}. It is broken: use another one.")


def _fitting(update: Update, shape: tuple[int, ...], target: Target, what: str) -> Update:
    if shape != target.shape:
        raise LoraError(
            f"{what} is for a layer of shape {list(shape)}, this model's has {list(target.shape)}. "
            "The LoRA is for another model: use one that was trained for this one."
        )
    if isinstance(update, LowRank):
        if update.up.shape[1] != update.rank:
            raise LoraError(f"{what} has ranks {update.rank} and {update.up.shape[1]} that do not match.")
        if update.rank > MAX_RANK:
            raise LoraError(f"{what} has rank {update.rank}, more than the {MAX_RANK} that are supported.")
    return update


def _hadamard(parts: dict[str, Tensor], scale: float, target: Target, what: str) -> LowRank:
    """(A1·B1) ∘ (A2·B2) is of rank r1·r2: every pair of columns of A1, A2 times every pair of rows of B1, B2."""
    a1, b1, a2, b2 = (parts[f"hada_w{k}_{letter}"].float() for k in (1, 2) for letter in "ab")
    if (
        a1.shape[1] != b1.shape[0]
        or a2.shape[1] != b2.shape[0]
        or a1.shape[0] != a2.shape[0]
        or b1.shape[1] != b2.shape[1]
    ):
        raise LoraError(f"{what} has factors that do not match. It is broken: use another one.")
    up = torch.einsum("ip,iq->ipq", a1, a2).flatten(1)
    down = torch.einsum("pj,qj->pqj", b1, b2).flatten(0, 1)
    return LowRank(down, up, scale, target.rows)


def _factor(parts: dict[str, Tensor], name: str, what: str) -> tuple[Tensor, int]:
    """(a whole factor, its rank if it was given as a product, else 0)."""
    if name in parts:
        return parts[name], 0
    if f"{name}_a" not in parts or f"{name}_b" not in parts:
        raise LoraError(f"{what} lacks {name}. It is broken: use another one.")
    a, b = parts[f"{name}_a"].float(), parts[f"{name}_b"].float()
    if a.shape[1] != b.shape[0]:
        raise LoraError(f"{what} has factors that do not match. It is broken: use another one.")
    return a @ b, b.shape[0]


def _scale(alpha: float | None, rank: int, config: Mapping[str, Any]) -> float:
    """alpha / rank; without an alpha 1, as everywhere."""
    if alpha is None or not rank:
        return 1.0
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _default_alpha(config: Mapping[str, Any], metadata: Mapping[str, str]) -> Any:
    """What holds for layers without an alpha of their own: PEFT's config, else the file's metadata."""
    return config.get("lora_alpha", config.get("alpha", metadata.get("lora_alpha")))


def _peft_config(path: Path, name: str) -> Mapping[str, Any]:
    """adapter_config.json beside PEFT's own file name; other files bring alpha in their metadata."""
    if path.name != FOLDER_FILE or not (path.parent / CONFIG_FILE).is_file():
        return {}
    try:
        config = read_json(path.parent / CONFIG_FILE)
    except CheckpointError as error:
        raise LoraError(str(error)) from error
    if config.get("use_dora"):
        raise LoraError(f"LoRA {name} uses DoRA, which is not supported. Use a plain LoRA.")
    if config.get("alpha_pattern") or config.get("rank_pattern"):
        raise LoraError(f"LoRA {name} has another alpha or rank for some layers, which is not supported.")
    return config


def _number(value: Any, name: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise LoraError(f"LoRA {name} has alpha {str(value)[:40]!r}, which is no number. It is broken.")
    return number


def file_hash(path: Path) -> str:
    """10 hexadecimal digits of the sha256 of the whole file; remembered while it does not change."""
    status = path.stat()
    return _hashed(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _hashed(path: str, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:10]


# ---- the folder ----------------------------------------------------------------------------------------------


class LoraShelf:
    """The LoRA files of some folders, by name: a file's stem, or the name of a folder that PEFT saved."""

    def __init__(self, *folders: Path):
        self.folders = folders

    def names(self) -> tuple[str, ...]:
        """In alphabetical order; looked up anew each time, so a file that was just added is there."""
        return tuple(sorted(self._paths(), key=str.lower))

    def path(self, name: str) -> Path:
        """The file of this name. Raises LoraError; a name never leads out of the folders."""
        paths = self._paths()
        if name not in paths:
            have = ", ".join(sorted(paths)[:5]) or "none"
            raise LoraError(
                f"There is no LoRA {name[:80]!r}. Put its .safetensors file into {self.folders[0]}; there now: {have}."
            )
        return paths[name]

    def _paths(self) -> dict[str, Path]:
        paths: dict[str, Path] = {}
        for folder in self.folders:
            if not folder.is_dir():
                continue
            for entry in folder.iterdir():
                if entry.suffix == ".safetensors" and entry.is_file():
                    paths.setdefault(entry.stem, entry)
                elif (entry / FOLDER_FILE).is_file():
                    paths.setdefault(entry.name, entry / FOLDER_FILE)
        return paths

"""Tensors in files: names, shapes and types at once, contents one at a time.

Promises: safetensors (single or sharded) and `.pth` files; nothing in a file is ever run (`weights_only=True`);
while tensors are streamed, at most one tensor and about 256 MB of the file are in memory on top of what the caller
keeps (an old `.pth` that cannot be mapped: what is still to come of it). Does not know which model the names belong to.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from newbie_ui.errors import CheckpointError

MAPPED_BYTES = 256_000_000  # how much of a file may stay mapped before it is opened anew
MAX_INDEX_BYTES = 16_000_000
PICKLED = (".pth", ".pt", ".ckpt", ".bin")
NESTED = ("model", "state_dict")  # where training scripts put the weights
SAFETENSORS_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
STRANGERS = (  # (first bytes, what the file is, what to do)
    (b"GGUF", "a GGUF file", "Download the safetensors version of this model"),
    (b"version https://git-lfs", "a Git LFS pointer, not the weights", "Run `git lfs pull` in its folder"),
    (b"<!DOCTYPE", "a web page", "Download the file itself, not the page that shows it"),
    (b"<html", "a web page", "Download the file itself, not the page that shows it"),
)


@dataclass(frozen=True)
class TensorInfo:
    """Shape and type of a tensor in a file; `dtype` is None for a type that torch has no name for here."""

    shape: tuple[int, ...]
    dtype: torch.dtype | None
    kind: str  # the type as the file names it

    @property
    def size(self) -> int:
        """Bytes, as stored."""
        count = 1
        for n in self.shape:
            count *= n
        return count * (self.dtype.itemsize if self.dtype else 1)


@dataclass(frozen=True)
class Weights:
    """The tensors of one part of a model, from one or several files. Made by `open_weights`."""

    path: Path  # what was asked for
    tensors: Mapping[str, TensorInfo]
    files: Mapping[str, Path]  # name → file that holds it
    metadata: Mapping[str, str]

    def stream(self, names: Iterable[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """The named tensors, in the order of the files. Each may lie in the mapped file: copy it before the next."""
        wanted = set(names)
        for file in dict.fromkeys(self.files.values()):
            batch, size, mapped = [], 0, _can_be_mapped(file)
            for name in (n for n, f in self.files.items() if f == file and n in wanted):
                batch.append(name)
                size += self.tensors[name].size
                if mapped and size >= MAPPED_BYTES:
                    yield from _read(file, batch)
                    batch, size = [], 0
            yield from _read(file, batch)

    def fingerprint(self) -> str:
        """10 hexadecimal digits from names, shapes, types, file sizes and sampled bytes: fast, not a full checksum."""
        digest = hashlib.sha256()
        for name, info in sorted(self.tensors.items()):
            digest.update(f"{name} {info.shape} {info.kind}\n".encode())
        for file in sorted(set(self.files.values())):
            size = file.stat().st_size
            digest.update(f"{size}\n".encode())
            with file.open("rb") as f:
                for part in range(16):
                    f.seek(size * part // 16)
                    digest.update(f.read(4096))
        return digest.hexdigest()[:10]


@contextmanager
def readable() -> Iterator[None]:
    """Within (or as a decorator), a file or folder that the system does not let us read is a CheckpointError."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{error.filename} cannot be read ({error.strerror}). Check that this user may read it."
        ) from error


@readable()
def open_weights(path: Path) -> Weights:
    """Names, shapes and types of a weights file, of a shard index, or of a folder that holds one of them.

    Raises:
        CheckpointError: nothing there, several candidates, damaged, not to be read, of a kind that is not read.
    """
    if path.is_dir():
        path = find_weights(path)
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist. Check the path, or download the model again.")
    if path.name.endswith(".index.json"):
        return _open_index(path)
    tensors, metadata = _header(path)
    return Weights(path, tensors, dict.fromkeys(tensors, path), metadata)


def find_weights(folder: Path) -> Path:
    """The one file (or shard index) with weights in a folder."""
    for patterns in (("*.safetensors.index.json",), ("*.safetensors",), tuple("*" + end for end in PICKLED)):
        found = sorted(p for pattern in patterns for p in folder.glob(pattern) if p.is_file())
        usual = [p for p in found if p.name.startswith(("diffusion_pytorch_model.safe", "model.safe"))]
        if len(found) == 1 or usual:
            return (usual or found)[0]
        if found:
            names = ", ".join(p.name for p in found[:5])
            raise CheckpointError(f"{folder} holds several weights files ({names}). Name the one to use.")
    raise CheckpointError(
        f"{folder} holds no weights (*.safetensors, *.pth). The download is not complete: download the model again."
    )


# ---- one file ------------------------------------------------------------------------------------------------


def _header(path: Path) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    _refuse_strangers(path)
    if path.suffix in PICKLED:
        return {k: TensorInfo(tuple(t.shape), t.dtype, str(t.dtype)) for k, t in _unpickle(path).items()}, {}
    if path.suffix != ".safetensors":
        raise CheckpointError(
            f"{path} is not a weights file that can be read. Use .safetensors, or {', '.join(PICKLED)}."
        )
    with _safetensors(path) as file:
        tensors = {}
        for name in file.offset_keys():
            part = file.get_slice(name)
            kind = str(part.get_dtype())
            tensors[name] = TensorInfo(tuple(part.get_shape()), SAFETENSORS_TYPES.get(kind), kind)
        return tensors, dict(file.metadata() or {})


def _read(path: Path, names: list[str]) -> Iterator[tuple[str, torch.Tensor]]:
    if not names:
        return
    if path.suffix in PICKLED:
        tensors = _unpickle(path)
        yield from ((name, tensors.pop(name)) for name in names)
        return
    with _safetensors(path) as file:
        yield from ((name, file.get_tensor(name)) for name in names)


@contextmanager
def _safetensors(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except SafetensorError as error:
        raise _damaged(path, error) from error


def _unpickle(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a torch.save file, mapped where its format allows. Runs none of its code."""
    try:
        content = _load_tensors_only(path)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds Python objects besides tensors, which could run code, so it is not opened. "
            "Look for a .safetensors version of it."
        ) from error
    except Exception as error:  # torch stumbles over damaged bytes in many ways
        raise _damaged(path, error) from error
    for key in NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    tensors = {k: v for k, v in content.items() if torch.is_tensor(v)} if isinstance(content, dict) else {}
    if not tensors or not all(isinstance(name, str) for name in tensors):
        raise CheckpointError(
            f"{path} holds no named tensors, neither directly nor under {' or '.join(map(repr, NESTED))}. "
            "It is not a model checkpoint."
        )
    return tensors


def _load_tensors_only(path: Path) -> Any:
    mapped = _can_be_mapped(path)
    return torch.load(path, map_location="cpu" if mapped else _in_own_pages, weights_only=True, mmap=mapped)


def _in_own_pages(storage: torch.UntypedStorage, location: str) -> torch.UntypedStorage:
    """Memory to read into that goes back to the system with its tensor; in the heap much of it would be kept."""
    size = storage.nbytes()
    return torch.frombuffer(mmap(-1, size), dtype=torch.uint8).untyped_storage() if size else storage


def _can_be_mapped(path: Path) -> bool:
    """Not so torch.save files of before 1.6: those are read whole, once, and let go tensor by tensor."""
    with path.open("rb") as file:
        return path.suffix not in PICKLED or file.read(4) == b"PK\x03\x04"


def _refuse_strangers(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(32)
    if not start:
        raise CheckpointError(f"{path} is empty. Download it again.")
    for mark, what, remedy in STRANGERS:
        if start.startswith(mark):
            raise CheckpointError(f"{path} is {what}. {remedy}.")


def _damaged(path: Path, error: Exception) -> CheckpointError:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return CheckpointError(f"{path} is damaged or not complete ({reason}). Download it again.")


# ---- shards --------------------------------------------------------------------------------------------------


def _open_index(path: Path) -> Weights:
    """`weight_map` of an index file: name → file beside it. Every shard must be there with all it should hold."""
    listed = read_json(path).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise CheckpointError(f"{path} has no weight_map. Download it again.")
    tensors: dict[str, TensorInfo] = {}
    files: dict[str, Path] = {}
    for shard in dict.fromkeys(listed.values()):
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise CheckpointError(f"{path} names the shard {shard!r}, which is not a safetensors file beside it.")
        file = path.parent / shard
        if not file.is_file():
            raise CheckpointError(f"{file} is missing, but {path.name} lists it. Finish the download of the model.")
        held, _ = _header(file)
        tensors.update(held)
        files.update(dict.fromkeys(held, file))
    absent = [name for name in listed if name not in tensors]
    if absent:
        raise CheckpointError(
            f"{path} lists {len(absent)} tensors that its shards do not hold, first {absent[0]}. "
            "Download the shards again."
        )
    return Weights(path, tensors, files, {})


@readable()
def read_json(path: Path, limit: int = MAX_INDEX_BYTES) -> dict[str, Any]:
    """A JSON object from a file of limited size. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing. The download is not complete: download the model again.")
    if path.stat().st_size > limit:
        raise CheckpointError(f"{path} has {path.stat().st_size} bytes, more than the {limit} expected of it.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON. Download it again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__} where an object is expected.")
    return content


Progress = Callable[[str, "float | None"], None]

"""Models from the hub: only the files that are needed, one revision, resumed where they broke off.

Promises: what was downloaded once is used from then on without asking the network, so a model never changes under a
person (its revision is recorded; `@revision` asks for another); an interrupted file goes on at the byte where it
stopped; large files are checked against the hub's sha256; no Python file is ever fetched. A complete copy in the
hub's own cache is used as it is. Does not know what is inside the files.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from huggingface_hub import HfApi, constants, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers

from newbie_ui.errors import CheckpointError
from newbie_ui.model.checkpoints.weights import Progress, open_weights, read_json

RECORD = "complete.json"  # written last
COMMIT = re.compile(r"[0-9a-f]{40}")
SPARE_BYTES = 1_000_000_000  # left free on the disk
PART_FOLDERS = (("transformer",), ("text_encoder",), ("clip_model", "text_encoder_2"), ("vae",))
TOP_FILES = ("model_index.json", "newbie_ui.json", "LICENSE", "LICENSE.md")
SMALL_FILES = (
    "config.json",
    "scheduler_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spiece.model",
)
SMALL_FOLDERS = ("scheduler", "tokenizer", "tokenizer_2")
SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}\.safetensors")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository. `sha256` is "" for small text files."""

    name: str
    size: int
    sha256: str = ""


def download(
    repository: str, revision: str | None = None, on_progress: Progress | None = None, root: Path | None = None
) -> Path:
    """The folder with a repository's model, downloaded if it is not here yet.

    Args:
        repository: "owner/name".
        revision: a commit, branch or tag; None: the one that is here already, else the newest.
        on_progress: called with (message, fraction).
        root: where downloads are kept; by default `newbie_ui` in the hub library's home.

    Raises:
        CheckpointError: not found, gated, no network, no space, or not a NewBie layout.
    """
    home = (root or Path(constants.HF_HOME) / "newbie_ui") / repository.replace("/", "--")
    present = _downloaded(home, revision) or _in_hub_cache(repository, revision)
    if present:
        return present
    api = HfApi()
    try:
        info = api.model_info(repository, revision=revision, files_metadata=True)
        files = [RemoteFile(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else "") for s in info.siblings or ()]
        folder = home / info.sha
        fetched = _fetch_all(api.endpoint, repository, info.sha, choose_files(repository, files), folder, on_progress)
    except (HTTPError, OSError, HFValidationError) as error:
        raise _explained(error, repository, revision, home, api.endpoint) from error
    record = {"repository": repository, "revision": info.sha, "files": {file.name: file.size for file in fetched}}
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return folder


def choose_files(repository: str, files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """What of a repository is needed: configs, tokenizers, and one set of weights a part."""
    chosen = [f for f in files if f.name in TOP_FILES]
    for alternatives in PART_FOLDERS:
        parts = next((w for w in (_weights_in(folder, files) for folder in alternatives) if w), None)
        if parts is None:
            some = ", ".join(f.name for f in files[:5]) or "nothing"
            raise CheckpointError(
                f"{repository} has no weights in {' or '.join(f'{a}/' for a in alternatives)}, so it is not in one of "
                f"NewBie's layouts (it holds {some}). Use e.g. NewBie-AI/NewBie-image-Exp0.1."
            )
        folder = parts[0].name.split("/")[0]
        chosen += parts + [f for f in files if f.name in {f"{folder}/{name}" for name in SMALL_FILES}]
    wanted = {f"{folder}/{name}" for folder in SMALL_FOLDERS for name in SMALL_FILES}
    return chosen + [f for f in files if f.name in wanted]


def _weights_in(folder: str, files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """One set of weights: a shard index with its shards, else a single file; safetensors before others."""
    here = {f.name.removeprefix(folder + "/"): f for f in files if PurePosixPath(f.name).parent.as_posix() == folder}
    for stem in ("diffusion_pytorch_model", "model"):
        if f"{stem}.safetensors.index.json" in here:
            shards = [f for name, f in here.items() if (m := SHARD.fullmatch(name)) and m[1] == stem]
            return [here[f"{stem}.safetensors.index.json"], *shards]
        if f"{stem}.safetensors" in here:
            return [here[f"{stem}.safetensors"]]
    for ending in (".safetensors", ".pth"):
        single = [f for name, f in here.items() if name.endswith(ending) and not SHARD.fullmatch(name)]
        if single:
            return single[:1]
    return []


# ---- what is here already ------------------------------------------------------------------------------------


def _downloaded(home: Path, revision: str | None) -> Path | None:
    """A complete earlier download: of this commit, or the latest one if none is named."""
    if revision and not COMMIT.fullmatch(revision):
        return None  # a branch may have moved: ask
    records = sorted(home.glob(f"{revision or '*'}/{RECORD}"), key=lambda p: p.stat().st_mtime, reverse=True)
    for record in records:
        files = read_json(record).get("files", {})
        if all(_has_size(record.parent / name, size) for name, size in files.items()):
            return record.parent
    return None


def _in_hub_cache(repository: str, revision: str | None) -> Path | None:
    """A snapshot that another program left in the hub's cache, if every part of it can be opened."""
    try:
        found = try_to_load_from_cache(repository, "model_index.json", revision=revision)
    except HFValidationError:
        return None
    if not isinstance(found, str):
        return None
    folder = Path(found).parent
    try:
        for alternatives in PART_FOLDERS:
            open_weights(next((folder / a for a in alternatives if (folder / a).is_dir()), folder / alternatives[0]))
    except CheckpointError:
        return None
    return folder


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


# ---- fetching ------------------------------------------------------------------------------------------------


def _fetch_all(
    endpoint: str,
    repository: str,
    revision: str,
    files: list[RemoteFile],
    folder: Path,
    on_progress: Progress | None,
) -> list[RemoteFile]:
    total = sum(f.size for f in files)
    done = sum(f.size for f in files if _has_size(folder / f.name, f.size))
    folder.mkdir(parents=True, exist_ok=True)
    _check_space(repository, total - done, folder)
    for file in files:
        if ".." in PurePosixPath(file.name).parts or file.name.startswith("/"):
            raise CheckpointError(f"{repository} has a file named {file.name!r}. It is not downloaded.")
        if _has_size(folder / file.name, file.size):
            continue
        message = f"Downloading {repository} ({total / 1e9:.1f} GB): {file.name}"
        _fetch(endpoint, repository, revision, file, folder, _Meter(done, total, message, on_progress))
        done += file.size
    return files


def _fetch(endpoint: str, repository: str, revision: str, file: RemoteFile, folder: Path, meter: _Meter) -> None:
    """One file, from where an earlier attempt stopped. It gets its name only when it is whole."""
    place = folder / file.name
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(place.name + ".partial")
    with partial.open("ab") as out:
        have = out.tell()
        if have > file.size:
            out.truncate(0)
            have = 0
        meter(have)
        http_get(
            f"{endpoint}/{repository}/resolve/{revision}/{quote(file.name)}",
            _Counted(out, meter),
            resume_size=have,
            headers=build_hf_headers(),
            expected_size=file.size,
            displayed_filename=file.name,
        )
    if file.sha256 and _sha256(partial) != file.sha256:
        partial.unlink()
        raise CheckpointError(
            f"{file.name} of {repository} arrived damaged (its sha256 is wrong) and was deleted. Start again."
        )
    partial.replace(place)


class _Meter:
    """Adds up bytes and tells the fraction, at most about 1000 times in all."""

    def __init__(self, done: int, total: int, message: str, on_progress: Progress | None):
        self.done, self.total, self.message, self.on_progress = done, max(total, 1), message, on_progress
        self.told = -1

    def __call__(self, size: int) -> None:
        self.done += size
        mark = 1000 * self.done // self.total
        if self.on_progress and mark != self.told:
            self.told = mark
            self.on_progress(self.message, min(1.0, self.done / self.total))


class _Counted:
    """A file that tells a meter what is written to it."""

    def __init__(self, file, meter: Callable[[int], None]):
        self.file, self.meter = file, meter

    def write(self, data: bytes) -> int:
        self.meter(len(data))
        return self.file.write(data)

    def truncate(self, *size: int) -> int:
        self.meter(-self.file.tell())  # the server starts over
        return self.file.truncate(*size)

    def __getattr__(self, name: str):
        return getattr(self.file, name)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _check_space(repository: str, needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if needed + SPARE_BYTES > free:
        raise CheckpointError(
            f"{repository} needs {needed / 1e9:.1f} GB more on the disk of {folder}, but {free / 1e9:.1f} GB are free "
            f"(1 GB is kept spare). Free some space, or set HF_HOME to a folder on a larger disk."
        )


# ---- what went wrong -----------------------------------------------------------------------------------------


def _explained(error: Exception, repository: str, revision: str | None, home: Path, endpoint: str) -> CheckpointError:
    """One sentence for a person, by the kind of failure."""
    kinds = (
        (
            GatedRepoError,
            f"{repository} wants its terms accepted first. Open {endpoint}/{repository} in a browser, accept them, "
            "then log in here with `hf auth login` or set HF_TOKEN.",
        ),
        (
            RevisionNotFoundError,
            f"{repository} has no revision {revision!r}. Leave out @{revision}, or use one that the hub lists.",
        ),
        (
            (RepositoryNotFoundError, HFValidationError),
            f"There is no folder {repository!r} on this machine and no such public model on the hub. Check the "
            "spelling; for a private model log in with `hf auth login` or set HF_TOKEN.",
        ),
        (
            OfflineModeIsEnabled,
            f"There is no folder {repository!r} on this machine, and the hub is switched off (HF_HUB_OFFLINE). "
            "Check the path, or unset it, or use --model demo or a folder.",
        ),
        (
            HfHubHTTPError,
            f"The hub refused {repository} ({_status(error)}). Try again later; a download goes on where it stopped.",
        ),
    )
    for kind, sentence in kinds:
        if isinstance(error, kind):
            return CheckpointError(sentence)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CheckpointError(
            f"The disk of {home} is full while downloading {repository}. Free some space and start again: "
            "it goes on where it stopped. HF_HOME names another place."
        )
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return CheckpointError(f"{home} cannot be written. Set HF_HOME to a folder of yours.")
    return CheckpointError(
        f"There is no folder {repository!r} on this machine, and the hub cannot be reached ({type(error).__name__}). "
        "Check the path, or the network and start again: a download goes on where it stopped. Without network use "
        "--model demo or a folder."
    )


def _status(error: Exception) -> str:
    response = getattr(error, "response", None)
    return f"status {response.status_code}" if response is not None else type(error).__name__

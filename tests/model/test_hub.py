"""Downloads from a hub that runs in this process: what is fetched, resumed, pinned, and said when it fails."""

import errno
import hashlib
import json
import shutil
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled

from newbie_ui.errors import CheckpointError
from newbie_ui.model.checkpoint import load_pipeline, locate, read_model_info
from newbie_ui.model.checkpoints import hub
from tests.model import published

SHA = "0123456789abcdef0123456789abcdef01234567"
NEWER = "f" * 40
BIG = "transformer/diffusion_pytorch_model.safetensors"


class FakeHub:
    """Serves one repository's files the way the hub does, with faults on demand."""

    def __init__(self, folder):
        self.folder = folder
        self.sha = SHA
        self.requests = []  # (path, Range header)
        self.tokens = set()
        self.break_at = None  # bytes of BIG after which the connection ends, once
        self.down = False  # every file is answered with 503
        self.error = None  # (status, X-Error-Code) for the repository
        self.damage = False
        self.elsewhere = None  # address that large files are redirected to, as a hub's storage is
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def listing(self):
        siblings = []
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file()):
            data = path.read_bytes()
            large = path.suffix == ".safetensors"
            lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 9} if large else None
            siblings.append({"rfilename": str(path.relative_to(self.folder)), "size": len(data), "lfs": lfs})
        return {"id": "NewBie-AI/tiny", "modelId": "NewBie-AI/tiny", "sha": self.sha, "siblings": siblings}

    def fetched(self):
        return [path.split(f"/resolve/{self.sha}/")[1] for path, _ in self.requests if "/resolve/" in path]

    def _handler(fake):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                fake.requests.append((self.path, self.headers.get("Range")))
                fake.tokens.add(self.headers.get("Authorization"))
                if self.path.startswith("/api/models/"):
                    if fake.error:
                        return self.answer(fake.error[0], b"{}", {"X-Error-Code": fake.error[1]})
                    return self.answer(200, json.dumps(fake.listing()).encode())
                if fake.down:
                    return self.answer(503, b"")
                name = self.path.split(f"/resolve/{fake.sha}/")[1]
                if fake.elsewhere and name == BIG:
                    return self.answer(302, b"", {"Location": fake.elsewhere + self.path})
                data = (fake.folder / name).read_bytes()
                if fake.damage and name == BIG:
                    data = data[:-1] + bytes([data[-1] ^ 1])
                start = int((self.headers.get("Range") or "bytes=0-")[6:].rstrip("-"))
                stop = len(data)
                if name == BIG and fake.break_at:
                    stop, fake.break_at, fake.down = fake.break_at, None, True
                self.answer(206 if start else 200, data[start:stop], {"Content-Length": str(len(data) - start)})

            def answer(self, status, body, headers=None):
                self.send_response(status)
                for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = True

            def log_message(self, *_):
                pass

        return Handler


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return published.write_official(tmp_path_factory.mktemp("hub") / "tiny", published.pipeline())


@pytest.fixture
def fake(model, tmp_path, monkeypatch):
    fake = FakeHub(model)
    monkeypatch.setattr(constants, "ENDPOINT", fake.address)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # whatever the machine says of the real hub
    monkeypatch.setattr(hub, "SPARE_BYTES", 0)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


def refusal(source="NewBie-AI/tiny"):
    with pytest.raises(CheckpointError) as refused:
        locate(source)
    return str(refused.value)


# ---- what is fetched -----------------------------------------------------------------------------------------


def test_a_hub_id_loads_to_the_same_numbers(fake, model):
    pipe = load_pipeline("NewBie-AI/tiny", dtype=torch.float32)
    local = load_pipeline(str(model), dtype=torch.float32)
    assert torch.equal(pipe.transformer.x_embedder.weight, local.transformer.x_embedder.weight)
    assert read_model_info("NewBie-AI/tiny").name == "tiny"


def test_only_what_is_needed_is_fetched(fake):
    locate("NewBie-AI/tiny")
    assert sorted(fake.fetched()) == [
        "clip_model/config.json",
        "clip_model/model.safetensors",
        "clip_model/tokenizer.json",
        "clip_model/tokenizer_config.json",
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model-00001-of-00002.safetensors",
        "text_encoder/model-00002-of-00002.safetensors",
        "text_encoder/model.safetensors.index.json",
        "text_encoder/tokenizer.json",
        "text_encoder/tokenizer_config.json",
        "transformer/config.json",
        BIG,
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ]
    assert not list(Path(constants.HF_HOME).rglob("*.py"))


def test_progress_is_told_while_a_download_runs(fake):
    told = []
    locate("NewBie-AI/tiny", lambda *news: told.append(news))
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert told[-1][0].startswith("Downloading NewBie-AI/tiny (0.0 GB): ")


def test_of_several_sets_of_weights_the_usual_one_is_chosen():
    def remote(*names):
        return [hub.RemoteFile(name, 1) for name in names]

    rest = remote("text_encoder/m.safetensors", "clip_model/jina.safetensors", "vae/a.pth", "vae/readme.py")
    files = remote(
        "transformer/model.safetensors",
        "transformer/diffusion_pytorch_model.fp16.safetensors",
        "transformer/diffusion_pytorch_model.safetensors",
        "transformer/onnx/model.safetensors",
    )
    chosen = [f.name for f in hub.choose_files("o/n", files + rest)]
    assert chosen == [
        "transformer/diffusion_pytorch_model.safetensors",
        "text_encoder/m.safetensors",
        "clip_model/jina.safetensors",
        "vae/a.pth",
    ]


# ---- pinned, resumed -----------------------------------------------------------------------------------------


def test_what_is_here_is_used_without_asking_the_network(fake):
    folder = locate("NewBie-AI/tiny").folder
    fake.requests.clear()
    fake.sha = NEWER  # the hub has moved on
    assert locate("NewBie-AI/tiny").folder == folder
    assert not fake.requests
    assert folder.name == SHA


def test_another_revision_is_fetched_when_asked_for(fake):
    first = locate("NewBie-AI/tiny").folder
    fake.sha = NEWER
    assert locate(f"NewBie-AI/tiny@{SHA}").folder == first
    assert locate("NewBie-AI/tiny@main").folder.name == NEWER
    assert any(path.startswith("/api/models/NewBie-AI/tiny/revision/main") for path, _ in fake.requests)


def test_a_broken_download_goes_on_where_it_stopped(fake, model, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)  # 10 MB in earnest: what is lost at most
    fake.break_at = 320_000
    said = refusal()
    assert "The hub refused NewBie-AI/tiny (status 503). Try again later; a download goes on where it stopped." in said
    partial = next(Path(constants.HF_HOME).rglob("*.partial"))
    assert partial.stat().st_size == 300_000
    fake.down = False
    fake.requests.clear()
    folder = locate("NewBie-AI/tiny").folder
    assert (folder / BIG).read_bytes() == (model / BIG).read_bytes()
    assert [asked for path, asked in fake.requests if path.endswith(BIG)] == ["bytes=300000-"]
    assert not list(folder.rglob("*.partial"))


def test_large_files_may_lie_elsewhere_and_the_token_stays_here(fake, model, monkeypatch):
    storage = FakeHub(model)
    fake.elsewhere = storage.address.replace("127.0.0.1", "localhost")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    folder = locate("NewBie-AI/tiny").folder
    assert (folder / BIG).read_bytes() == (model / BIG).read_bytes()
    assert storage.fetched() == [BIG]
    assert "Bearer hf_secret" in fake.tokens
    assert storage.tokens == {None}
    storage.server.shutdown()
    storage.server.server_close()


def test_a_file_that_was_lost_is_fetched_again(fake):
    folder = locate("NewBie-AI/tiny").folder
    (folder / "vae/config.json").unlink()
    fake.requests.clear()
    locate("NewBie-AI/tiny")
    assert fake.fetched() == ["vae/config.json"]


def test_a_damaged_file_is_thrown_away(fake):
    fake.damage = True
    assert f"{BIG} of NewBie-AI/tiny arrived damaged (its sha256 is wrong) and was deleted. Start again." in refusal()
    assert not list(Path(constants.HF_HOME).rglob("diffusion_pytorch_model.safetensors*"))


def test_a_complete_copy_in_the_hubs_own_cache_is_used(fake, model):
    cached = Path(constants.HF_HUB_CACHE) / "models--NewBie-AI--tiny"
    snapshot = shutil.copytree(model, cached / "snapshots" / SHA)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(SHA)
    assert locate("NewBie-AI/tiny").folder == snapshot
    assert not fake.requests
    (snapshot / BIG).unlink()
    assert locate("NewBie-AI/tiny").folder != snapshot
    assert BIG in fake.fetched()


# ---- what is said --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ((403, "GatedRepo"), "NewBie-AI/tiny wants its terms accepted first. Open http://127.0.0.1"),
        ((404, "RepoNotFound"), "There is no folder 'NewBie-AI/tiny' on this machine and no such public model on the"),
        ((401, "RepoNotFound"), "There is no folder 'NewBie-AI/tiny' on this machine and no such public model on the"),
        ((404, "RevisionNotFound"), "NewBie-AI/tiny has no revision None. Leave out @None"),
        ((500, ""), "The hub refused NewBie-AI/tiny (status 500). Try again later"),
    ],
)
def test_the_hub_says_no(error, sentence, fake):
    fake.error = error
    assert refusal().startswith(sentence)


def test_a_revision_that_is_not_there_is_named(fake):
    fake.error = (404, "RevisionNotFound")
    assert "has no revision 'v9'. Leave out @v9, or use one that the hub lists." in refusal("NewBie-AI/tiny@v9")


def test_the_hub_is_not_reachable(fake):
    fake.server.shutdown()
    fake.server.server_close()
    said = refusal()
    assert said.startswith(
        "There is no folder 'NewBie-AI/tiny' on this machine, and the hub cannot be reached (Connect"
    )
    assert "Check the path, or the network and start again: a download goes on where it stopped." in said
    assert said.endswith("Without network use --model demo or a folder.")


def test_the_hub_is_switched_off(fake, monkeypatch):
    def offline(*_, **__):
        raise OfflineModeIsEnabled("offline")

    monkeypatch.setattr(hub.HfApi, "model_info", offline)
    said = refusal()
    assert "on this machine, and the hub is switched off (HF_HUB_OFFLINE). Check the path, or unset it, or use" in said


def test_the_disk_is_too_small(fake, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 0))
    said = refusal()
    assert "NewBie-AI/tiny needs 0.0 GB more on the disk of" in said
    assert "but 0.0 GB are free (1 GB is kept spare). Free some space, or set HF_HOME" in said


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "is full while downloading NewBie-AI/tiny. Free some space and start again: it goes on"),
        (errno.EACCES, "cannot be written. Set HF_HOME to a folder of yours."),
    ],
)
def test_the_disk_refuses(number, sentence, fake, monkeypatch):
    def refuse(*_, **__):
        raise OSError(number, "no")

    monkeypatch.setattr(hub, "http_get", refuse)
    assert sentence in refusal()


def test_a_repository_of_another_kind(fake, tmp_path):
    fake.folder = tmp_path / "other"
    fake.folder.mkdir()
    (fake.folder / "model.safetensors").write_bytes(b"x")
    said = refusal()
    assert "NewBie-AI/tiny has no weights in transformer/, so it is not in one of NewBie's layouts" in said
    assert "(it holds model.safetensors). Use e.g. NewBie-AI/NewBie-image-Exp0.1." in said


def test_a_file_name_that_leaves_the_folder(fake, monkeypatch):
    names = ["transformer/a.safetensors", "text_encoder/b.safetensors", "clip_model/c.safetensors", "vae/d.safetensors"]
    bad = [hub.RemoteFile("transformer/../../evil.json", 1), *(hub.RemoteFile(n, 1) for n in names)]
    monkeypatch.setattr(hub, "choose_files", lambda *_: bad)
    assert "has a file named 'transformer/../../evil.json'. It is not downloaded." in refusal()
    assert len(fake.requests) == 1

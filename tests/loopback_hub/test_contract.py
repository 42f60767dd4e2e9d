"""The unmodified huggingface_hub, as a program and as a library, against the loopback hub."""

import functools
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder

from imageworks.loopback_hub.content import git_object_id, pointer
from imageworks.loopback_hub.server import HubServer
from support.hub import Faults, HubHistory, HubRepository, paths, status, wrong_bytes

TOKEN = "hf_loopback"  # noqa: S105
WRONG_TOKEN = "hf_wrong"  # noqa: S105
WEIGHTS = bytes(range(256)) * 400
FILES = {
    "README.md": b"---\nlicense: apache-2.0\npipeline_tag: text-generation\ntags:\n- tiny\n---\n# Tiny\n",
    "config.json": b"{}\n",
    "empty.txt": b"",
    "model.safetensors": WEIGHTS,
    "onnx/model.onnx": b"onnx" * 100,
    "onnx/deep/notes #1 é.txt": b"name",
}


class QuietFiles(SimpleHTTPRequestHandler):
    """The standard library's file server, without its log on stderr."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def tiny(root: Path) -> HubRepository:
    return HubRepository(root, "acme/tiny", FILES)


@pytest.fixture
def hub(root: Path, tiny: HubRepository) -> Iterator[HubServer]:
    for name in ("acme/gated", "acme/refused", "acme/private"):
        HubRepository(root, name, {"config.json": b"{}", "model.gguf": b"GGUF"})
    HubRepository(root, "gpt2", {"config.json": b"legacy", "weights/model.bin": b"bin"})
    assert tiny.commit_id
    server = HubServer(
        root,
        tokens={TOKEN: "ann"},
        gated={"acme/gated"},
        refused={"acme/refused"},
        private={"acme/private"},
        page_size=2,
    )
    with server:
        yield server


@pytest.fixture
def api(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    return HfApi(endpoint=hub.url, token=False)


def run_hf(hub: HubServer, home: Path, *arguments: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        **({"HF_TOKEN": token} if token else {}),
    }
    program = Path(sys.executable).with_name("hf")
    return subprocess.run(
        [program, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_hf_download_gets_every_byte_and_sends_its_token_only_to_the_hub(hub: HubServer, tmp_path: Path) -> None:
    done = run_hf(hub, tmp_path, "download", "acme/tiny", "--local-dir", str(tmp_path / "out"), token=TOKEN)

    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "out") == FILES
    links = [request for request in hub.requests if request.origin == "cdn"]
    assert len(links) == 2
    assert not any(request.has_authorization for request in links)
    assert all(request.has_authorization for request in hub.requests if "/resolve/" in request.path)


def test_hf_download_is_refused_a_gated_repository_without_a_token(hub: HubServer, tmp_path: Path) -> None:
    refused = run_hf(hub, tmp_path, "download", "acme/gated")
    granted = run_hf(hub, tmp_path, "download", "acme/gated", token=TOKEN)

    assert refused.returncode == 1
    assert "gated" in (refused.stderr + refused.stdout).lower()
    assert granted.returncode == 0, granted.stderr


def test_model_info_tells_commit_card_and_names(api: HfApi, tiny: HubRepository) -> None:
    info = api.model_info("acme/tiny")

    assert (info.id, info.sha, info.private, info.gated) == ("acme/tiny", tiny.commit_id, False, False)
    assert info.card_data is not None
    assert info.card_data["license"] == "apache-2.0"
    assert info.pipeline_tag == "text-generation"
    assert info.tags == ["tiny", "license:apache-2.0", "text-generation"]
    assert [sibling.rfilename for sibling in info.siblings or ()] == sorted(FILES)
    assert all(sibling.size is None for sibling in info.siblings or ())


def test_model_info_with_blobs_tells_sizes_and_digests(api: HfApi) -> None:
    siblings = {
        sibling.rfilename: sibling for sibling in api.model_info("acme/tiny", files_metadata=True).siblings or ()
    }

    weights, config = siblings["model.safetensors"], siblings["config.json"]
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    assert weights.lfs is not None
    assert (weights.size, weights.lfs.sha256) == (len(WEIGHTS), sha256)
    assert weights.blob_id == git_object_id("blob", pointer(sha256, len(WEIGHTS)))
    assert (config.size, config.blob_id, config.lfs) == (3, git_object_id("blob", b"{}\n"), None)


def test_the_tree_is_complete_over_all_pages(api: HfApi, hub: HubServer) -> None:
    found = list(api.list_repo_tree("acme/tiny", recursive=True))

    assert {entry.path for entry in found if isinstance(entry, RepoFile)} == set(FILES)
    assert {entry.path for entry in found if isinstance(entry, RepoFolder)} == {"onnx", "onnx/deep"}
    assert sum("/tree/" in path for path in paths(hub.requests, "hub", "GET")) == 4


def test_the_tree_of_a_folder_and_with_commits(api: HfApi, tiny: HubRepository) -> None:
    inside = list(api.list_repo_tree("acme/tiny", "onnx"))
    expanded = list(api.list_repo_tree("acme/tiny", expand=True))

    assert [entry.path for entry in inside] == ["onnx/deep", "onnx/model.onnx"]
    assert {entry.last_commit.oid for entry in expanded if entry.last_commit} == {tiny.commit_id}
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree("acme/tiny", "nowhere"))


def test_paths_info_leaves_out_what_is_missing(api: HfApi) -> None:
    found = api.get_paths_info("acme/tiny", ["config.json", "onnx", "nothing", "onnx/deep/notes #1 é.txt"])

    assert [entry.path for entry in found] == ["config.json", "onnx", "onnx/deep/notes #1 é.txt"]


def test_refs_and_revisions(api: HfApi, tiny: HubRepository, tmp_path: Path) -> None:
    first = tiny.commit_id
    branch = tiny.branch("feature/x", {"config.json": b"branch"})
    request = tiny.branch("refs/pr/1", {"config.json": b"pull request"})
    second = tiny.commit({"config.json": b"second", "empty.txt": None})

    refs = api.list_repo_refs("acme/tiny", include_pull_requests=True)

    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": second, "feature/x": branch}
    assert [ref.target_commit for ref in refs.pull_requests or ()] == [request]
    assert api.model_info("acme/tiny", revision=first).sha == first
    for revision, expected in (
        ("main", b"second"),
        (first, b"{}\n"),
        ("feature/x", b"branch"),
        ("refs/pr/1", b"pull request"),
    ):
        path = api.hf_hub_download("acme/tiny", "config.json", revision=revision, cache_dir=tmp_path / "cache")
        assert Path(path).read_bytes() == expected
    assert not api.file_exists("acme/tiny", "empty.txt")


def test_the_history_is_complete_over_all_pages(api: HfApi, root: Path, tiny: HubRepository) -> None:
    repository = HubHistory(root, "acme/history")
    for number in range(5):
        repository.commit({"count.txt": b"%d" % number}, age=timedelta(days=9 - number))
    listed = api.list_repo_commits("acme/history")
    assert [one.commit_id for one in listed] == repository.commits[::-1]
    assert [listed[0].title, listed[-1].title] == ["Commit 4", "Commit 0"]
    assert listed[0].created_at - listed[-1].created_at == timedelta(days=4)
    [only] = api.list_repo_commits(tiny.name)
    assert only.commit_id == tiny.commit_id
    with pytest.raises(RevisionNotFoundError):
        api.list_repo_commits("acme/history", revision="nowhere")


def test_snapshot_download_gets_every_byte(api: HfApi, tmp_path: Path, tiny: HubRepository) -> None:
    folder = Path(api.snapshot_download("acme/tiny", cache_dir=tmp_path / "cache"))

    assert folder.name == tiny.commit_id
    assert contents(folder) == FILES


def test_a_repository_with_a_single_name(api: HfApi, tmp_path: Path) -> None:
    folder = Path(api.snapshot_download("gpt2", cache_dir=tmp_path / "cache"))

    assert contents(folder) == {"config.json": b"legacy", "weights/model.bin": b"bin"}
    assert [ref.name for ref in api.list_repo_refs("gpt2").branches] == ["main"]


def test_the_client_maps_what_is_missing(api: HfApi, tmp_path: Path) -> None:
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("acme/none")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("acme/none", token=TOKEN)
    with pytest.raises(RepositoryNotFoundError):
        api.dataset_info("acme/tiny")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("acme/tiny", revision="none")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("acme/tiny", revision="0" * 40)
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download("acme/tiny", "none.json", cache_dir=tmp_path)


def test_a_gated_repository_shows_its_metadata_and_keeps_its_files(api: HfApi, tmp_path: Path) -> None:
    assert api.model_info("acme/gated").gated == "auto"
    with pytest.raises(GatedRepoError):
        api.auth_check("acme/gated")
    with pytest.raises(GatedRepoError):
        api.hf_hub_download("acme/gated", "config.json", cache_dir=tmp_path)
    with pytest.raises(GatedRepoError):
        api.hf_hub_download("acme/refused", "model.gguf", cache_dir=tmp_path, token=TOKEN)
    api.auth_check("acme/gated", token=TOKEN)
    api.auth_check("acme/tiny")
    assert (
        Path(api.hf_hub_download("acme/gated", "model.gguf", cache_dir=tmp_path, token=TOKEN)).read_bytes() == b"GGUF"
    )


def test_a_private_repository_exists_only_for_users(api: HfApi) -> None:
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("acme/private")
    with pytest.raises(RepositoryNotFoundError):
        api.auth_check("acme/private")
    assert api.model_info("acme/private", token=TOKEN).private is True


def test_whoami(api: HfApi) -> None:
    assert api.whoami(token=TOKEN)["name"] == "ann"
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api.whoami(token=WRONG_TOKEN)
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        api.model_info("acme/tiny", token=WRONG_TOKEN)


def test_faults_reach_the_client(api: HfApi, hub: HubServer, tmp_path: Path) -> None:
    faults = Faults.install(hub)
    faults.add(wrong_bytes, where="config.json", method="GET")
    faults.add(status(429, ("Retry-After", "0")), where="/api/models/")

    with pytest.raises(HfHubHTTPError, match="429"):
        api.model_info("acme/tiny")
    path = Path(api.hf_hub_download("acme/tiny", "config.json", cache_dir=tmp_path))

    assert path.read_bytes() == bytes(byte ^ 0xFF for byte in b"{}\n")  # which is why we verify and it does not


def test_large_files_can_come_from_a_plain_static_server(
    root: Path, tiny: HubRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    old = tiny.commit_id
    tiny.commit({"model.safetensors": b"new weights"})
    handler = functools.partial(QuietFiles, directory=str(root))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as static:
        threading.Thread(target=static.serve_forever, args=(0.02,), daemon=True).start()
        with HubServer(root, cdn_url=f"http://127.0.0.1:{static.server_port}") as hub:
            api = HfApi(endpoint=hub.url, token=False)
            for revision, expected in (("main", b"new weights"), (old, WEIGHTS)):
                path = api.hf_hub_download(
                    "acme/tiny", "model.safetensors", revision=revision, cache_dir=tmp_path / "cache"
                )
                assert Path(path).read_bytes() == expected
            assert not [request for request in hub.requests if request.origin == "cdn"]
        static.shutdown()

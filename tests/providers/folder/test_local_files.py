"""Models that are here already: what is seen, which links are followed, what is refused."""

import os
from pathlib import Path

import pytest

from imageworks.files.digests import Algorithm, Digest
from imageworks.files.safe_names import UnsafeNameError
from imageworks.providers.folder.local_files import LocalSource, LocalSourceError, observe, remote_files
from support.transfer import sha256, write

FILES = {"config.json": b"{}", "sub/model.gguf": b"GGUF" * 1000, "empty": b""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "model", FILES)
    return tmp_path / "model"


def test_a_folder_is_its_files(folder: Path) -> None:
    write(folder, {".git/config": b"x", ".cache/huggingface/download/x.lock": b"", ".DS_Store": b"x"})
    model = observe(folder)
    assert {file.path: file.size for file in model.files} == {name: len(data) for name, data in FILES.items()}
    assert (model.root, model.total_bytes) == (folder, 4002)


def test_a_single_file_is_a_model_of_one(folder: Path) -> None:
    model = observe(folder / "sub/model.gguf")
    assert (model.root, [file.path for file in model.files]) == (folder / "sub", ["model.gguf"])


def test_files_come_with_their_digests_and_bytes(folder: Path) -> None:
    model = observe(folder)
    source = LocalSource(model)
    for file in remote_files(model):
        assert (file.digest, file.large) == (sha256(FILES[file.path]), False)
        for offset in (0, file.size // 2):
            with source.stream(file, offset) as chunks:
                assert b"".join(chunks) == FILES[file.path][offset:]
        assert source.place(file) == folder / file.path
    with pytest.raises(LocalSourceError, match="no link"):
        source.link(remote_files(model)[0])


def test_a_remembered_digest_saves_the_reading(folder: Path) -> None:
    known = Digest(Algorithm.SHA256, "a" * 64)
    assert {file.digest for file in remote_files(observe(folder), lambda _path, _algorithm: known)} == {known}


def test_a_snapshot_of_the_hub_cache_is_followed_into_its_blobs(tmp_path: Path) -> None:
    repository = tmp_path / "models--o--m"
    write(repository, {"blobs/abc": b"weights"})
    snapshot = repository / "snapshots" / ("1" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to("../../blobs/abc")
    (file,) = observe(snapshot).files
    assert (file.path, file.place, file.size) == ("model.safetensors", repository / "blobs/abc", 7)
    (snapshot / "stolen").symlink_to("../../../secret")
    (tmp_path / "secret").write_text("x")
    with pytest.raises(LocalSourceError, match="leads out") as caught:
        observe(snapshot)
    assert caught.value.reason == "unsafe-link"


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "../outside/file"])
def test_i8_a_link_out_of_the_folder_is_refused(folder: Path, target: str) -> None:
    write(folder.parent, {"outside/file": b"x"})
    (folder / "link").symlink_to(target)
    with pytest.raises(LocalSourceError, match="leads out"):
        observe(folder)


def test_a_link_inside_the_folder_is_its_file(folder: Path) -> None:
    (folder / "alias.gguf").symlink_to("sub/model.gguf")
    assert {file.path for file in observe(folder).files} == {*FILES, "alias.gguf"}


@pytest.mark.parametrize("target", ["sub", "gone"])
def test_links_to_folders_and_to_nothing_are_refused(folder: Path, target: str) -> None:
    (folder / "link").symlink_to(target)
    with pytest.raises(LocalSourceError):
        observe(folder)


def test_a_pipe_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(LocalSourceError, match="not a plain file"):
        observe(folder)
    with pytest.raises(LocalSourceError, match="neither"):
        observe(folder / "pipe")


def test_an_unfinished_download_is_refused(folder: Path) -> None:
    (folder / "model.gguf.aria2").write_bytes(b"")
    with pytest.raises(LocalSourceError, match="unfinished") as caught:
        observe(folder)
    assert caught.value.reason == "source-incomplete"


def test_i8_an_unsafe_name_is_refused(folder: Path) -> None:
    (folder / "aux.json").write_bytes(b"")
    with pytest.raises(UnsafeNameError):
        observe(folder)


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(LocalSourceError, match="No such file") as caught:
        observe(tmp_path / "gone")
    assert caught.value.reason == "source-missing"
    (tmp_path / "empty").mkdir()
    with pytest.raises(LocalSourceError, match="no files"):
        observe(tmp_path / "empty")


def test_a_file_that_changed_since_is_not_served(folder: Path) -> None:
    model = observe(folder)
    files = {file.path: file for file in remote_files(model)}
    source = LocalSource(model)
    (folder / "config.json").write_bytes(b"{ }")
    with pytest.raises(LocalSourceError, match="changed") as caught, source.stream(files["config.json"]):
        pass
    assert caught.value.reason == "source-changed"
    (folder / "empty").unlink()
    with pytest.raises(LocalSourceError, match="No such file"), source.stream(files["empty"]):
        pass

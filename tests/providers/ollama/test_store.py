"""The store is read without the daemon: the same answers, and damage told of instead of met with a traceback."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imageworks.providers.ollama.errors import OllamaStoreError
from imageworks.providers.ollama.names import ModelName
from imageworks.providers.ollama.store import is_store, manifest_digest, read_partials, read_store
from support.ollama_content import Store, hex_sha256, model

NOBODY = 65534


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "the models")


def test_a_model_is_read_with_layers_sizes_and_details(store: Store) -> None:
    content = model(b"weights", projector=b"eyes!", parameters={"stop": ["<a>"]}, parameter_size="7.6B")
    store.install("me/Thing:Q4_K_M", content)
    (found,) = read_store(store.folder).models
    assert (found.name, found.digest, found.size) == ("me/Thing:Q4_K_M", content.digest, content.size)
    assert [layer.kind for layer in found.layers] == ["model", "projector", "template", "params"]
    assert found.layers[0].digest == hex_sha256(b"weights")
    assert found.content[0] == found.config_digest
    assert found.details["parameter_size"] == "7.6B"
    assert found.capabilities == ("vision",)
    assert found.complete
    assert found.blob(found.layers[0].digest) == store.blob(hex_sha256(b"weights"))
    assert (found.modified_at or "").endswith("Z")


def test_a_cloud_stub_has_a_host_and_no_weights(store: Store) -> None:
    config = {"remote_host": "https://ollama.com:443", "remote_model": "big", "capabilities": ["completion", "tools"]}
    store.install("big:cloud", model(None, template=None, config=config))
    (found,) = read_store(store.folder).models
    assert (found.remote_host, found.layers) == ("https://ollama.com:443", ())
    assert found.capabilities == ("completion", "tools")


def test_names_are_listed_shortest_and_in_order(store: Store) -> None:
    for name in ("b", "a:x", "hf.co/o/R:Q4_0", "127.0.0.1:5000/n/m:t"):
        store.install(name, model())
    assert [each.name for each in read_store(store.folder).models] == [
        "127.0.0.1:5000/n/m:t",
        "a:x",
        "b:latest",
        "hf.co/o/R:Q4_0",
    ]


@pytest.mark.parametrize("kept", [None, 3])
def test_a_model_without_all_its_bytes_is_not_complete(store: Store, kept: int | None) -> None:
    store.install("m", model(b"weights"))
    blob = store.blob(hex_sha256(b"weights"))
    if kept is None:
        blob.unlink()
    else:
        blob.write_bytes(b"weights"[:kept])
    (found,) = read_store(store.folder).models
    assert not found.complete


def test_blobs_with_the_older_names_count(store: Store) -> None:
    store.install("m", model(b"weights"))
    for blob in list((store.folder / "blobs").iterdir()):
        blob.rename(blob.with_name(blob.name.replace("-", ":", 1)))
    assert [each.complete for each in read_store(store.folder).models] == [True]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the manifest is empty"),
        (b"{", "the manifest is no JSON"),
        (b"[" * 100_000, "the manifest is no JSON"),
        (b"\xff\xfe\x00", "the manifest is no JSON"),
        (b"[1]", "the manifest is no JSON object"),
        (b'{"layers": 3}', "`layers` is no list"),
        (b'{"layers": [3]}', "a layer has no sha256 digest"),
        (b'{"layers": [{"digest": "sha256:../../../etc/passwd", "size": 1}]}', "a layer has no sha256 digest"),
        (b'{"layers": [{"digest": "sha256:%s", "size": -1}]}' % (b"0" * 64), "a layer has no size"),
        (b'{"layers": [{"digest": "sha256:%s", "size": "1"}]}' % (b"0" * 64), "a layer has no size"),
        (
            b'{"config": {"digest": "sha256:%s", "size": 1}}' % (b"0" * 64),
            "its config blob sha256-000000000000… is missing",
        ),
    ],
)
def test_a_damaged_manifest_is_told_and_harms_no_other(store: Store, content: bytes, why: str) -> None:
    store.install("good", model())
    path = store.write_manifest("bad", content)
    reading = read_store(store.folder)
    assert [each.name for each in reading.models] == ["good:latest"]
    ((where, said),) = reading.damaged
    assert where == path
    assert why in said


def test_a_config_that_is_no_json_is_damage(store: Store) -> None:
    content = model()
    store.install("m", content)
    store.blob(content.parsed["config"]["digest"]).write_bytes(b"\0\0")  # type: ignore[index]
    ((_, why),) = read_store(store.folder).damaged
    assert "is no JSON object" in why


def test_folders_that_are_no_name_are_told(store: Store) -> None:
    store.write_manifest(ModelName("hf.co", "User.Name", "m", "latest"), b"{}")
    ((path, why),) = read_store(store.folder).damaged
    assert (path.name, why) == ("latest", "its folders are no name of a model")


def test_what_lies_at_other_depths_is_passed_over(store: Store) -> None:
    (store.folder / "manifests" / "host" / "n").mkdir(parents=True)
    (store.folder / "manifests" / "host" / "file").write_text("x")
    (store.folder / "manifests" / "h" / "n" / "m" / "t" / "deeper").mkdir(parents=True)
    assert (read_store(store.folder).models, read_store(store.folder).damaged) == ((), ())


def test_a_link_out_of_the_store_is_not_followed(store: Store, tmp_path: Path) -> None:
    outside = Store(tmp_path / "outside")
    path = outside.install("m", model(b"weights"))
    inside = store.manifest("m")
    inside.parent.mkdir(parents=True)
    inside.symlink_to(path)
    (store.folder / "manifests" / "other.example").symlink_to(tmp_path / "outside" / "manifests")
    reading = read_store(store.folder)
    assert reading.models == ()
    assert {why for _, why in reading.damaged} == {"it is a symbolic link that leads out of the store"}
    assert len(reading.damaged) == 2


def test_a_blob_that_is_a_link_out_of_the_store_does_not_count(store: Store, tmp_path: Path) -> None:
    store.install("m", model(b"weights"))
    blob = store.blob(hex_sha256(b"weights"))
    shutil.move(blob, tmp_path / "elsewhere")
    blob.symlink_to(tmp_path / "elsewhere")
    assert [each.complete for each in read_store(store.folder).models] == [False]


def test_a_link_within_the_store_is_followed(store: Store) -> None:
    path = store.install("m", model())
    store.manifest("n").parent.mkdir(parents=True)
    store.manifest("n").symlink_to(path)
    assert [each.name for each in read_store(store.folder).models] == ["m:latest", "n:latest"]


def test_a_blob_that_is_a_link_within_the_store_counts(store: Store) -> None:
    store.install("m", model(b"weights"))
    blob = store.blob(hex_sha256(b"weights"))
    blob.rename(store.folder / "elsewhere")
    blob.symlink_to(store.folder / "elsewhere")
    assert [each.complete for each in read_store(store.folder).models] == [True]


def test_a_manifest_that_cannot_be_opened_is_damage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store.install("m", model())
    opened = os.open

    def refuse(where: Path | str, flags: int) -> int:
        if Path(where) == path:
            raise PermissionError(13, "Permission denied")
        return opened(where, flags)

    monkeypatch.setattr(os, "open", refuse)
    assert read_store(store.folder).damaged == ((path, "the manifest cannot be read: Permission denied"),)


def test_a_store_that_is_itself_a_link_is_read(store: Store, tmp_path: Path) -> None:
    store.install("m", model())
    (tmp_path / "link").symlink_to(store.folder)
    assert [each.complete for each in read_store(tmp_path / "link").models] == [True]


def test_a_pipe_in_place_of_a_manifest_is_not_waited_for(store: Store) -> None:
    store.manifest("m").parent.mkdir(parents=True)
    os.mkfifo(store.manifest("m"))
    ((_, why),) = read_store(store.folder).damaged
    assert why == "it is no plain file"


def test_a_manifest_beyond_reason_is_not_read(store: Store) -> None:
    path = store.write_manifest("m", b"{}")
    with path.open("wb") as file:
        file.truncate(33 * 1024 * 1024)
    ((_, why),) = read_store(store.folder).damaged
    assert "more than any manifest" in why


def test_o4_blobs_that_cannot_be_looked_at_are_not_called_missing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = model(b"weights")
    store.install("whole", content)
    store.install("other", model(None, template="t", config={"base_name": "other"}))
    closed = store.blob(hex_sha256(b"weights"))
    config = store.blob(store.config_of("other"))
    lstat = os.lstat

    def refuse(path: str) -> os.stat_result:
        if Path(path) in {closed, config}:
            raise PermissionError(13, "Permission denied")
        return lstat(path)

    monkeypatch.setattr(os, "lstat", refuse)
    reading = read_store(store.folder)
    assert [(each.name, each.complete) for each in reading.models] == [("whole:latest", True)]
    assert [why for _, why in reading.damaged] == ["its config blob cannot be read: Permission denied"]
    assert reading.unreadable == {path for path, _ in reading.damaged}


def test_reading_changes_nothing(store: Store) -> None:
    store.install("m", model())
    before = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")}
    read_store(store.folder)
    read_partials(store.folder)
    assert {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")} == before


def test_an_absent_or_empty_folder_holds_nothing(tmp_path: Path) -> None:
    assert not is_store(tmp_path / "absent")
    (tmp_path / "file").touch()
    assert not is_store(tmp_path / "file")
    assert not is_store(tmp_path / "file" / "below")
    assert is_store(tmp_path)
    assert read_store(tmp_path).models == ()
    assert read_partials(tmp_path) == ()


@contextmanager
def another_user() -> Iterator[Path]:
    """Give a store that this process may not read while the context lasts."""
    folder = Path(tempfile.mkdtemp(prefix="ollama store "))
    store = Store(folder / "models")
    store.install("m", model())
    secret = store.folder
    try:
        folder.chmod(0o755)
        secret.chmod(0o700 if os.geteuid() == 0 else 0)
        if os.geteuid() == 0:
            os.seteuid(NOBODY)  # nothing is closed to root
        yield secret
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        secret.chmod(0o700)
        shutil.rmtree(folder)


def test_a_store_of_another_user_is_told_with_its_remedy() -> None:
    with another_user() as folder, pytest.raises(OllamaStoreError) as caught:
        read_store(folder)
    assert str(folder) in caught.value.message
    assert "another user" in (caught.value.remedy or "")


def test_a_way_that_is_closed_is_not_taken_for_absence() -> None:
    with another_user() as folder, pytest.raises(OllamaStoreError):
        is_store(folder / "models")


def test_a_folder_within_that_is_closed_is_damage_alone(store: Store) -> None:
    store.install("m", model())
    closed = store.manifest("hf.co/a/b").parent.parent
    closed.mkdir(parents=True)
    blocked = os.scandir

    def scandir(path: str | Path) -> "os._ScandirIterator[str]":
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied")
        return blocked(str(path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        reading = read_store(store.folder)
    assert [each.name for each in reading.models] == ["m:latest"]
    assert reading.damaged == ((closed, "it cannot be listed: Permission denied"),)


def test_downloads_that_were_broken_off_are_told_with_what_came(store: Store) -> None:
    digest = "a" * 64
    blobs = store.folder / "blobs"
    with (blobs / f"sha256-{digest}-partial").open("wb") as file:
        file.truncate(5_000_000)
        file.write(b"x" * 100_000)
    for number, completed in enumerate((60_000, 40_000)):
        row = {"N": number, "Offset": 0, "Size": 2_500_000, "Completed": completed}
        (blobs / f"sha256-{digest}-partial-{number}").write_text(json.dumps(row))
    (blobs / f"sha256-{digest}-partial-7").write_text("no json")
    (blobs / "sha256-nonsense-partial").touch()
    (blobs / f"sha256-{digest}-partial-8").symlink_to("absent")
    (partial,) = read_partials(store.folder)
    assert (partial.digest, partial.size, partial.received) == (digest, 5_000_000, 100_000)


@pytest.mark.parametrize("length", [20, 511, 512, 513, 1535, 1536, 1537, 3584, 7680])
@pytest.mark.parametrize("tail", [b"", b"\n", b"?"])
def test_a_digest_covers_what_a_streaming_decoder_takes_in(length: int, tail: bytes) -> None:
    head = b'{"a":"'
    data = head + b"x" * (length - len(head) - 2) + b'"}'
    assert len(data) == length
    ends_a_read = length in {512, 1536, 3584, 7680}
    taken = data if ends_a_read else data + tail
    assert manifest_digest(data + tail) == hashlib.sha256(taken).hexdigest()


def test_a_digest_of_something_else_is_that_of_its_bytes() -> None:
    assert manifest_digest(b"no json") == hashlib.sha256(b"no json").hexdigest()
    spaced = b"  \n" + b'{"a":"\xff\xc3\xa4"}\n'
    assert manifest_digest(spaced) == hashlib.sha256(spaced).hexdigest()

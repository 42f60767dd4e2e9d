"""O1 to O4: a repair of Ollama's models removes nothing, brings only what is damaged, and touches only what is ours."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imageworks.foundation.failpoints import VARIABLE
from imageworks.providers.ollama.names import parse_name
from support.ollama_content import Content, hex_sha256
from support.ollama_world import NAME, SHORT, OllamaWorld, tiny
from support.reconcile import Result, command
from support.registry import wait_for

PATIENCE = 60
PARAMETERS = {"stop": ["<a>"], "num_ctx": 4096}
LICENSE = "Apache License\nVersion 2.0"


def contents(ollama: OllamaWorld) -> dict[str, bytes]:
    """Return every file of the store, by its path."""
    folder = ollama.daemon.store.folder
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def kind(content: Content, wanted: str) -> str:
    """Return the digest of a model's layer of one kind, or of its config."""
    if wanted == "config":
        return str(content.parsed["config"]["digest"])[7:]  # type: ignore[index]
    rows = content.parsed["layers"]
    assert isinstance(rows, list)
    return next(str(row["digest"])[7:] for row in rows if row["mediaType"].endswith(wanted))


def verify(ollama: OllamaWorld, *words: str) -> Result:
    return command("verify", *words, "--registry", ollama.world.root)


def verdict(ollama: OllamaWorld) -> tuple[int, str]:
    result = verify(ollama, "--json")
    models = result.json["models"]
    assert isinstance(models, list)
    return result.code, models[0]["verdict"]


def installed(ollama: OllamaWorld) -> Content:
    content = ollama.offer(parameters=PARAMETERS, licenses=(LICENSE,), system="Be brief.")
    ollama.declare()
    ollama.world.reconcile()
    ollama.models.requests.clear()
    return content


def damage(ollama: OllamaWorld, digest: str, how: str = "flipped") -> Path:
    blob = ollama.daemon.store.blob(digest)
    data = blob.read_bytes()
    changed = bytes(byte ^ 1 for byte in data)
    blob.write_bytes({"flipped": changed, "shorter": data[:-1], "longer": data + b"x", "empty": b""}[how])
    return blob


def fetched(ollama: OllamaWorld) -> set[str]:
    """Return the digests of the blobs that the registry was asked for."""
    asked = ollama.models.requests
    return {one.path.rpartition("sha256:")[2] for one in asked if "/blobs/" in one.path and one.method == "GET"}


@pytest.mark.parametrize("how", ["flipped", "shorter", "longer", "empty"])
@pytest.mark.parametrize("what", ["model", "params", "license", "template", "system", "config"])
def test_o3_only_the_damaged_blob_comes_anew(ollama: OllamaWorld, what: str, how: str) -> None:
    content = installed(ollama)
    before = contents(ollama)
    damage(ollama, kind(content, what), how)
    assert verdict(ollama) == (1, "damaged")
    result = verify(ollama, "--repair")
    assert result.code == 0, result
    assert contents(ollama) == before
    assert fetched(ollama) == {kind(content, what)}
    assert not [asked for asked in ollama.daemon.requests if asked.method == "DELETE"]
    assert ollama.world.plan().changes == {}


@pytest.mark.parametrize("what", ["config", "template"])
def test_o3_a_model_that_the_daemon_passes_over_is_not_called_gone(ollama: OllamaWorld, what: str) -> None:
    content = installed(ollama)
    damage(ollama, kind(content, what), "empty")
    changes = ollama.world.plan().json["changes"]
    assert isinstance(changes, list)
    assert [(one["action"], one["reason"], one["bytes_to_fetch"]) for one in changes] == [
        ("repair", "digest-mismatch", len(content.blobs[kind(content, what)]))
    ]
    assert ollama.world.status()[NAME][1] != "missing"
    ollama.world.reconcile()
    assert ollama.world.plan().changes == {}


def test_o3_several_damaged_and_missing_blobs_come_anew_and_no_others(ollama: OllamaWorld) -> None:
    content = installed(ollama)
    before = contents(ollama)
    wrong = {kind(content, "params"), kind(content, "license")}
    for digest in wrong:
        damage(ollama, digest)
    ollama.daemon.store.blob(kind(content, "system")).unlink()
    assert verify(ollama, "--repair").code == 0
    assert contents(ollama) == before
    assert fetched(ollama) == {*wrong, kind(content, "system")}


def test_o3_the_recorded_blob_comes_back_though_the_tag_has_moved(ollama: OllamaWorld) -> None:
    content = installed(ollama)
    ollama.models.add("tiny:old", content)
    ollama.offer("newer weights")
    before = contents(ollama)
    damage(ollama, kind(content, "params"))
    assert verify(ollama, "--repair").code == 0
    assert contents(ollama) == before


def test_o3_a_blob_that_this_host_has_elsewhere_is_not_fetched(ollama: OllamaWorld) -> None:
    content = installed(ollama)
    weights = kind(content, "model")
    studio = Path(os.environ["HOME"]) / ".lmstudio" / "models" / "acme" / "tiny"
    studio.mkdir(parents=True)
    (studio / "tiny.gguf").write_bytes(content.blobs[weights])
    damage(ollama, weights)
    assert verify(ollama, "--repair").code == 0
    assert fetched(ollama) == set()
    assert ollama.daemon.store.blob(weights).read_bytes() == content.blobs[weights]
    assert (studio / "tiny.gguf").stat().st_ino != ollama.daemon.store.blob(weights).stat().st_ino


@pytest.mark.parametrize("what", ["license", "config"])
@pytest.mark.parametrize("trouble", [400, 401, 404, 429, 503, "corrupt", "away"])
def test_o2_a_registry_in_trouble_leaves_everything_as_it_was(
    ollama: OllamaWorld, what: str, trouble: int | str
) -> None:
    content = installed(ollama)
    damage(ollama, kind(content, what))
    before = contents(ollama)
    if trouble == "corrupt":
        ollama.models.corrupt |= set(content.blobs)
    elif trouble == "away":
        ollama.models.stop()
    else:
        ollama.models.status = int(trouble)
    result = verify(ollama, "--repair")
    assert result.code == 1
    assert "Traceback" not in result.err
    assert "not repaired" in result.err
    assert contents(ollama) == before
    if trouble != "away":
        ollama.models.status, ollama.models.corrupt = None, set()
        assert verify(ollama, "--repair").code == 0
        assert ollama.installed() == content.manifest


def test_o2_what_came_of_a_blob_before_the_registry_broke_off_is_gone_on_from(ollama: OllamaWorld) -> None:
    content = installed(ollama)
    weights = kind(content, "model")
    blob = damage(ollama, weights)
    blob.with_name(f"{blob.name}-imageworks").write_bytes(content.blobs[weights][:20_000])
    assert verify(ollama, "--repair").code == 0
    ranges = [asked.headers.get("range") for asked in ollama.models.requests if weights in asked.path]
    assert ranges == ["bytes=20000-"]
    assert blob.read_bytes() == content.blobs[weights]
    assert not blob.with_name(f"{blob.name}-imageworks").exists()


def test_o2_something_wrong_that_an_earlier_run_left_is_dropped(ollama: OllamaWorld) -> None:
    content = installed(ollama)
    weights = kind(content, "model")
    blob = damage(ollama, weights)
    blob.with_name(f"{blob.name}-imageworks").write_bytes(b"?" * 20_000)
    verify(ollama, "--repair")
    assert verify(ollama, "--repair").code == 0
    assert blob.read_bytes() == content.blobs[weights]


@pytest.mark.parametrize("registry", ["has it", "has another", "has none", "is away"])
@pytest.mark.parametrize("how", ["flipped", "shorter", "gone"])
def test_o1_adopted_model_is_never_deleted(ollama: OllamaWorld, how: str, registry: str) -> None:
    content = tiny(parameters=PARAMETERS)
    ollama.daemon.install(ollama.name, content)
    if registry == "has it":
        ollama.models.add(SHORT, content)
    elif registry == "has another":
        ollama.models.add(SHORT, tiny("somebody else's"))
    elif registry == "is away":
        ollama.models.status = 503
    ollama.declare()
    ollama.world.reconcile()
    assert ollama.entry()["metadata"]["acquisition"] == "adopted"
    if how == "gone":
        ollama.daemon.store.blob(kind(content, "params")).unlink()
    else:
        damage(ollama, kind(content, "params"), how)
    before = contents(ollama)
    comes_back = how == "gone" and registry == "has it"  # a pull adds what is missing, and changes nothing else
    for _ in range(2):
        result = ollama.world.reconcile(code=0 if comes_back or how == "flipped" else 1)
        verify(ollama, "--repair")
    if comes_back:
        assert ollama.installed() == content.manifest
        return
    assert contents(ollama) == before
    refused = verify(ollama, "--repair")
    assert refused.code == 1
    assert "params" in refused.err + result.out
    assert ollama.name in refused.err
    assert not any(asked.method == "DELETE" for asked in ollama.daemon.requests)


def test_o1_what_the_message_says_its_owner_can_do_helps(ollama: OllamaWorld) -> None:
    content = tiny(parameters=PARAMETERS)
    ollama.daemon.install(ollama.name, content)
    ollama.models.add(SHORT, content)
    ollama.declare()
    ollama.world.reconcile()
    damage(ollama, kind(content, "params"))
    assert f"`ollama rm {ollama.name}`, then `ollama pull {ollama.name}`" in verify(ollama, "--repair").err
    ollama.daemon.store.remove(parse_name(ollama.name))
    ollama.daemon.install(ollama.name, content)
    assert verify(ollama).code == 0


def test_o1_somebodys_model_that_is_not_whole_is_not_pulled_over(ollama: OllamaWorld) -> None:
    mine = tiny("my own weights", parameters=PARAMETERS)
    ollama.daemon.install(ollama.name, mine)
    damage(ollama, kind(mine, "params"), "shorter")
    ollama.offer()
    ollama.declare()
    before = contents(ollama)
    ollama.world.reconcile(code=1, valid=False)
    assert contents(ollama) == before


@pytest.mark.parametrize("adopted", [True, False])
@pytest.mark.parametrize("manifest", [b"{ not json", b"", b"[]"])
def test_o1_somebodys_manifest_that_cannot_be_used_is_not_pulled_over(
    ollama: OllamaWorld, manifest: bytes, *, adopted: bool
) -> None:
    ollama.daemon.install(ollama.name, tiny("my own weights"))
    ollama.declare()
    if adopted:
        ollama.world.reconcile()
    ollama.daemon.store.write_manifest(ollama.name, manifest)
    ollama.offer()
    before = contents(ollama)
    result = ollama.world.reconcile(code=1, valid=False)
    assert str(ollama.daemon.store.manifest(ollama.name)) in result.out
    assert contents(ollama) == before
    assert ollama.installed() == manifest
    ollama.daemon.store.manifest(ollama.name).unlink()  # as the message says
    ollama.world.reconcile()
    assert verify(ollama).code == 0


def test_o3_our_own_manifest_that_cannot_be_used_comes_anew(ollama: OllamaWorld) -> None:
    installed(ollama)
    ollama.daemon.store.write_manifest(ollama.name, b"{ not json")
    ollama.world.reconcile()
    assert verify(ollama).code == 0


def refusing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system refuse to open or list one path: tests may run as root, to whom nothing is closed."""
    real_open, real_scandir, real_path_open = os.open, os.scandir, Path.open

    def check(asked: object) -> None:
        if Path(str(asked)) == path:
            raise PermissionError(13, "Permission denied", str(asked))

    def opened(asked: object, *more: object, **others: object) -> int:
        check(asked)
        return real_open(asked, *more, **others)  # type: ignore[arg-type]

    def scanned(asked: object = ".") -> object:
        check(asked)
        return real_scandir(str(asked))

    def path_opened(self: Path, *more: object, **others: object) -> object:
        check(self)
        return real_path_open(self, *more, **others)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "scandir", scanned)
    monkeypatch.setattr(Path, "open", path_opened)


def test_o2_a_store_that_we_may_not_write_is_left_and_what_the_message_says_helps(
    ollama: OllamaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = installed(ollama)
    whole = contents(ollama)
    damage(ollama, kind(content, "params"))
    before = contents(ollama)
    access = os.access
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: access(path, mode) and not mode & os.W_OK)
        refused = verify(ollama, "--repair")
    assert refused.code == 1
    assert contents(ollama) == before
    assert f"`ollama rm {ollama.name}`" in refused.err
    ollama.daemon.store.remove(parse_name(ollama.name))
    ollama.world.reconcile()
    assert contents(ollama) == whole


def test_o4_a_blob_that_became_unreadable_is_not_intact_from_memory(
    ollama: OllamaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = installed(ollama)
    assert verdict(ollama) == (0, "intact")
    blob = ollama.daemon.store.blob(kind(content, "model"))
    access = os.access
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: access(path, mode) and Path(path) != blob)
        refusing(blob, patch)
        assert verdict(ollama) == (3, "unverified")
        assert verify(ollama, "--repair", "--full").code == 3


@pytest.mark.parametrize("what", ["model", "params", "config", "manifest", "manifests"])
def test_o4_what_we_may_not_read_is_neither_damaged_nor_repaired(
    ollama: OllamaWorld, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    content = installed(ollama)
    before = contents(ollama)
    store = ollama.daemon.store
    paths = {"manifest": store.manifest(ollama.name), "manifests": store.folder / "manifests"}
    path = paths[what] if what in paths else store.blob(kind(content, what))
    with monkeypatch.context() as patch:
        refusing(path, patch)
        assert verdict(ollama) == (3, "unverified")
        assert verify(ollama, "--repair").code == 3
    assert contents(ollama) == before
    assert verdict(ollama) == (0, "intact")


def test_o4_one_blob_is_damaged_and_another_unreadable(ollama: OllamaWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    content = installed(ollama)
    before = contents(ollama)
    damage(ollama, kind(content, "params"))
    with monkeypatch.context() as patch:
        refusing(ollama.daemon.store.blob(kind(content, "model")), patch)
        assert verify(ollama, "--repair").code == 3
    assert contents(ollama) == before
    assert fetched(ollama) == {kind(content, "params")}


def test_o4_a_manifest_that_is_no_json_is_damage_and_says_so(ollama: OllamaWorld) -> None:
    installed(ollama)
    ollama.daemon.store.write_manifest(ollama.name, b"{ not json")
    result = verify(ollama)
    assert result.code == 1
    assert "is no JSON" in result.out


def killed_at(ollama: OllamaWorld, point: str) -> None:
    program = Path(sys.executable).parent / "imageworks-models"
    recorded = max(str(ollama.entry(name)["downloaded_at"]) for name in ollama.world.entries())
    # Within one second the entry would be the same, and nothing be committed.
    wait_for(lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}" > recorded)
    words = [str(program), "verify", "--repair", "--registry", str(ollama.world.root)]
    run = subprocess.run(
        words, env={**os.environ, VARIABLE: point}, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert run.returncode == -signal.SIGKILL, run


@pytest.mark.parametrize("what", ["model", "params", "config"])
@pytest.mark.parametrize("point", ["ollama.blob-arrived", "ollama.blob-replaced", "git.ref-moved"])
def test_o2_a_repair_that_is_killed_leaves_a_model_and_converges(ollama: OllamaWorld, point: str, what: str) -> None:
    content = installed(ollama)
    whole = contents(ollama)
    damage(ollama, kind(content, what))
    damaged = contents(ollama)
    killed_at(ollama, point)
    left = {path: data for path, data in contents(ollama).items() if not path.endswith("-imageworks")}
    assert left in (damaged, whole)
    assert verify(ollama, "--repair").code == 0
    assert contents(ollama) == whole
    assert ollama.world.plan().changes == {}


def made(ollama: OllamaWorld) -> Path:
    """Have a model of our own making, and return its own blob."""
    ollama.offer()
    modelfile = {"from": ollama.name, "system": "Be terse."}
    ollama.world.declare("mine", source={"ollama": "mine", "modelfile": modelfile})
    ollama.declare()
    ollama.world.reconcile()
    rows = json.loads(ollama.daemon.store.manifest("mine").read_bytes())["layers"]
    assert hex_sha256(b"Be terse.") in {row["digest"][7:] for row in rows}
    return ollama.daemon.store.blob(hex_sha256(b"Be terse."))


def test_o2_a_made_model_that_cannot_be_made_anew_is_as_it_was(ollama: OllamaWorld) -> None:
    blob = made(ollama)
    blob.write_bytes(b"Be loose.")
    before = contents(ollama)
    ollama.daemon.disk_full = True
    assert verify(ollama, "--repair").code == 1
    assert contents(ollama) == before
    ollama.daemon.disk_full = False
    assert verify(ollama, "--repair").code == 0
    assert blob.read_bytes() == b"Be terse."


@pytest.mark.parametrize("point", ["ollama.set-aside", "ollama.pulled", "git.ref-moved"])
def test_o2_a_model_that_is_made_anew_survives_a_kill(ollama: OllamaWorld, point: str) -> None:
    blob = made(ollama)
    blob.write_bytes(b"Be loose.")
    killed_at(ollama, point)
    assert ollama.daemon.store.manifest("mine").is_file()
    verify(ollama, "--repair")
    assert verify(ollama, "--repair").code == 0
    assert blob.read_bytes() == b"Be terse."
    ollama.world.reconcile()
    assert sorted(ollama.names()) == sorted([ollama.name, "mine:latest"])


def test_o2_a_damaged_base_is_put_right_for_what_is_made_of_it(ollama: OllamaWorld) -> None:
    made(ollama)
    content = tiny()
    weights = kind(content, "model")
    ollama.models.requests.clear()
    damage(ollama, weights)
    assert verify(ollama, "--repair").code == 0
    assert fetched(ollama) == {weights}
    assert ollama.world.plan().changes == {}

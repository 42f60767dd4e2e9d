"""``record_download`` and its kin: what stands on this machine becomes a verified entry in one commit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from imageworks.git.values import LockHeldError
from imageworks.model_loader.download_adapter import (
    ImportSkipped,
    RecordError,
    list_downloads,
    record_download,
    remove_download,
)
from imageworks.operations.amend_entry import AmendError
from imageworks.registry.entries.entry import ArtifactFile, aggregate_sha256
from support.found import awq, put
from support.git import git
from support.reconcile import MODEL, NAME, REPO, World
from support.registry import weights
from support.transfer import sha256
from support.weights import U32, gguf_file

VARIANT = "tiny-7b-vllm-awq"
RECORD = """\
import sys
from imageworks.model_loader.download_adapter import record_download

for path in sys.argv[2:]:
    print(record_download(hf_id="acme/" + path.rpartition("/")[2], backend=sys.argv[1], path=path).name)
"""


@pytest.fixture(autouse=True)
def registry(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("IMAGEWORKS_REGISTRY_DIR", str(world.root))
    return world


@pytest.fixture
def folder(world: World) -> Path:
    return put(world.folder / "my models/acme/tiny-7b-awq")


def commits(world: World) -> int:
    return int(git(world.root, "rev-list", "--count", "HEAD"))


def test_a_folder_is_verified_described_and_recorded_in_one_commit(world: World, folder: Path) -> None:
    before = world.head()
    entry = record_download(
        hf_id="acme/tiny-7b-awq",
        backend="vllm",
        format_type="awq",
        quantization=None,
        path=str(folder),
        location="linux_wsl",
    )
    world.check()
    assert git(world.root, "rev-parse", "HEAD~1").strip() == before
    assert world.message().startswith(f"Record {VARIANT}\n\n+ {VARIANT}")
    files = [ArtifactFile(name, len(data), sha256(data).value) for name, data in sorted(awq().items())]
    assert (entry.name, entry.backend, entry.quantization) == (VARIANT, "vllm", "awq")
    assert entry.path == folder
    assert entry.artifacts.files == tuple(files)
    assert entry.artifacts.aggregate_sha256 == aggregate_sha256(files)
    assert entry.download_files == ("config.json", "model.safetensors")
    assert (entry.download_location, entry.producer, entry.resolved) == (
        "linux_wsl",
        "acme",
        {"repo": "acme/tiny-7b-awq"},
    )
    assert (entry.managed, entry.metadata["acquisition"], entry.verification) == (
        False,
        "adopted",
        "trust-on-first-use",
    )
    assert entry.backend_config.model_path == str(folder)
    assert entry.installed


def test_what_is_detected_wins_and_what_is_said_fills_in(world: World) -> None:
    plain = put(world.folder / "plain", {"model.safetensors": weights("p", 100), "config.json": b"{}"})
    assert record_download(backend="vllm", quantization="gptq", path=plain).quantization == "gptq"
    folder = put(world.folder / "odd-awq")
    entry = record_download(backend="vllm", format_type="gguf", quantization="gptq", path=folder)
    assert (entry.download_format, entry.quantization) == ("safetensors", "awq")


def test_the_same_bytes_are_recorded_once(world: World, folder: Path) -> None:
    first = record_download(hf_id="acme/tiny-7b-awq", backend="vllm", path=folder, location="linux_wsl")
    before = world.head()
    assert record_download(hf_id="acme/tiny-7b-awq", backend="vllm", path=folder) == first
    assert world.head() == before


def test_a_model_without_a_backend_is_migrated_instead_of_recorded_twice(world: World, folder: Path) -> None:
    assert record_download(backend="unassigned", path=folder).name == "tiny-7b-unassigned-awq"
    entry = record_download(backend="vllm", path=folder)
    assert world.entries() == [entry.name] == [VARIANT]
    assert entry.served_model_id == VARIANT
    assert world.message().endswith(f"+ {VARIANT}\n- tiny-7b-unassigned-awq\n\nHost: testhost")
    assert record_download(backend="unassigned", path=folder).name == VARIANT
    world.check()


def test_an_unassigned_entry_whose_files_moved_is_migrated_too(world: World, folder: Path) -> None:
    record_download(backend="unassigned", path=folder)
    moved = folder.rename(world.folder / "tiny-7b-awq")
    entry = record_download(backend="lmdeploy", path=moved)
    assert world.entries() == [entry.name] == ["tiny-7b-lmdeploy-awq"]
    assert entry.path == moved


def test_two_backends_of_the_same_files_are_two_variants(world: World, folder: Path) -> None:
    names = {record_download(backend=backend, path=folder).name for backend in ("vllm", "lmdeploy")}
    assert set(world.entries()) == names == {VARIANT, "tiny-7b-lmdeploy-awq"}


def test_the_same_variant_elsewhere_replaces_the_entry(world: World, folder: Path) -> None:
    record_download(backend="vllm", path=folder)
    other = put(world.folder / "elsewhere/tiny-7b-awq", awq("other"))
    entry = record_download(backend="vllm", path=other)
    assert world.entries() == [VARIANT]
    assert entry.path == other


def test_a_branch_and_another_family_show_in_the_name(world: World, folder: Path) -> None:
    assert record_download(hf_id="acme/tiny-7b-awq@dev", backend="vllm", path=folder).resolved["ref"] == "dev"
    assert world.entries() == ["tiny-7b-dev-vllm-awq"]
    other = put(world.folder / "m", awq("m"))
    entry = record_download(backend="vllm", path=other, family_override="My Model")
    assert (entry.name, entry.family) == ("my-model-vllm-awq", "my-model")


def test_one_file_of_gguf_is_a_model(world: World) -> None:
    data = gguf_file([("general.file_type", U32, 15)], data=b"\0" * 64)
    folder = put(world.folder / "my models", {"many-7b-Q4_K_M.gguf": data, "other.txt": b""})
    entry = record_download(backend="gguf", path=folder / "many-7b-Q4_K_M.gguf")
    assert (entry.name, entry.quantization) == ("many-7b-gguf-q4_k_m", "q4_k_m")
    assert entry.files == (folder / "many-7b-Q4_K_M.gguf",)
    world.check()


@pytest.mark.parametrize("tail", ["model", "demo", "demo-model", "r", "model-awq", "tiny-testzzz"])
def test_testing_and_demo_models_are_skipped_unless_asked_for(world: World, tail: str) -> None:
    folder = put(world.folder / tail)
    before = world.head()
    with pytest.raises(ImportSkipped, match="names a test or a demo"):
        record_download(backend="vllm", path=folder)
    assert world.head() == before
    entry = record_download(backend="vllm", path=folder, include_testing=True)
    assert entry.metadata["testing"] is True
    assert list_downloads() == []
    assert list_downloads(include_testing=True) == [entry]


def test_a_generic_folder_is_recorded_when_somebody_names_its_family(world: World) -> None:
    folder = put(world.folder / "model")
    assert record_download(hf_id="acme/tiny-7b-awq", backend="vllm", path=folder).name == VARIANT


def test_patterns_of_the_environment_skip_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEWORKS_TEST_MODEL_PATTERNS", "^tiny")
    with pytest.raises(ImportSkipped, match="tiny-7b-awq"):
        record_download(backend="vllm", path=folder)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (None, "No such file or directory"),
        ({"notes.txt": b"x"}, "no file of weights"),
        ({"model-00001-of-00002.safetensors": weights("a", 10), "config.json": b"{}"}, "incomplete"),
    ],
)
def test_what_is_no_model_is_told(world: World, files: dict[str, bytes] | None, problem: str) -> None:
    folder = world.folder / "my models/x-7b"
    if files:
        put(folder, files)
    with pytest.raises(RecordError, match=problem) as refused:
        record_download(backend="vllm", path=folder)
    assert str(folder) in refused.value.message
    assert refused.value.remedy


def test_an_unknown_backend_is_told(world: World, folder: Path) -> None:
    with pytest.raises(AmendError, match="backend"):
        record_download(backend="tgi", path=folder)
    assert not (world.root / "discovered").exists()


def test_a_declared_model_is_returned_as_it_is_recorded(world: World) -> None:
    world.serve()
    world.declare(backend="vllm", location="linux_wsl")
    world.reconcile()
    before = world.head()
    folder = world.weights / REPO
    assert record_download(hf_id=REPO, backend="vllm", path=folder).name == NAME
    assert record_download(hf_id=REPO, path=folder).managed
    assert world.head() == before
    (folder / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RecordError, match=f"declared by models/{NAME}.yaml") as refused:
        record_download(hf_id=REPO, backend="vllm", path=folder)
    assert f"imageworks-models reconcile {NAME}" in str(refused.value.remedy)
    assert world.head() == before


def test_a_model_that_is_declared_and_not_here_is_left_to_reconcile(world: World, folder: Path) -> None:
    world.serve(MODEL, "acme/tiny-7b-awq")
    world.declare(VARIANT, source={"huggingface": "acme/tiny-7b-awq"})
    with pytest.raises(RecordError, match=f"declared by models/{VARIANT}.yaml"):
        record_download(hf_id="acme/tiny-7b-awq", backend="vllm", path=folder)


def test_only_installed_downloads_are_listed_when_asked(world: World, folder: Path) -> None:
    gone = put(world.folder / "gone-7b-awq", awq("gone"))
    for path in (folder, gone):
        record_download(backend="vllm", path=path)
    gone.rename(world.folder / "away")
    assert [(d.name, d.download_size_bytes > 0) for d in list_downloads()] == [
        ("gone-7b-vllm-awq", True),
        (VARIANT, True),
    ]
    assert [d.name for d in list_downloads(only_installed=True)] == [VARIANT]
    assert commits(world) == 3


def test_a_download_is_forgotten_and_its_entry_kept_or_purged(world: World, folder: Path) -> None:
    record_download(backend="vllm", path=folder)
    removed = remove_download(VARIANT, keep_entry=True)
    assert (removed.entry_kept, removed.deleted_files, removed.commit) == (True, 0, world.head())
    assert list_downloads() == []
    assert world.entries() == [VARIANT]
    assert (folder / "config.json").exists()
    assert not remove_download(VARIANT, keep_entry=False).entry_kept
    assert git(world.root, "ls-files", "discovered") == ""
    world.check()


def test_files_go_when_asked(folder: Path) -> None:
    record_download(backend="vllm", path=folder)
    removed = remove_download(VARIANT, delete_files=True)
    assert removed.deleted_files == 2
    assert removed.bytes_freed == sum(map(len, awq().values()))
    assert not folder.exists()


def test_two_processes_record_at_once_and_neither_fails(world: World) -> None:
    folders = [put(world.folder / f"my models/side-{n}b-awq", awq(str(n))) for n in range(1, 7)]
    command = [sys.executable, "-c", RECORD, "vllm"]
    halves = [
        subprocess.Popen([*command, *map(str, half)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for half in (folders[:4], folders[2:])
    ]
    ended = [(*process.communicate(timeout=60), process.returncode) for process in halves]
    assert [(err, code) for _, err, code in ended] == [("", 0), ("", 0)]
    names = [f"side-{n}b-vllm-awq" for n in range(1, 7)]
    assert [out.split() for out, _, _ in ended] == [names[:4], names[2:]]
    assert world.entries() == names
    assert commits(world) == 1 + len(names)
    world.check()


def test_who_holds_the_registry_is_told_to_those_who_do_not_wait(world: World, folder: Path) -> None:
    from imageworks.git.repository import RegistryRepository

    with RegistryRepository.open(world.root, host="testhost").lock(), pytest.raises(LockHeldError):
        record_download(backend="vllm", path=folder, wait=0)


def test_an_import_is_light() -> None:
    code = "import sys, imageworks.tools.model_downloader, imageworks.model_loader.registry; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    heavy = {"pygit2", "jsonschema", "ruamel.yaml", "huggingface_hub", "rich", "typer", "sqlite3"}
    assert heavy.isdisjoint(loaded)


def test_the_first_record_makes_a_registry(
    folder: Path, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IMAGEWORKS_REGISTRY_DIR")
    monkeypatch.chdir(isolated_environment)
    entry = record_download(backend="vllm", path=folder)
    made = isolated_environment / "ai-models/registry"
    assert json.loads((made / f"discovered/testhost/{entry.name}.json").read_bytes())["name"] == VARIANT


def test_two_processes_that_need_a_registry_make_one(
    world: World, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IMAGEWORKS_REGISTRY_DIR")
    monkeypatch.chdir(isolated_environment)
    folders = [put(world.folder / f"my models/side-{n}b-awq", awq(str(n))) for n in range(3)]
    started = [
        subprocess.Popen([sys.executable, "-c", RECORD, "vllm", str(folder)], stderr=subprocess.PIPE, text=True)
        for folder in folders
    ]
    assert [(process.communicate(timeout=60)[1], process.returncode) for process in started] == [("", 0)] * 3
    made = isolated_environment / "ai-models/registry"
    assert git(made, "log", "--format=%s").splitlines()[-1] == "Start a model registry"
    assert len(list((made / "discovered/testhost").iterdir())) == len(folders)

"""The ``scan`` command: models that are already on this machine become discovered entries."""

import json
import os
import shutil
from pathlib import Path

import pytest

from imageworks.files.state import STATE_FILE, StateDatabase
from imageworks.host.settings import load_host_settings
from imageworks.registry.documents.schema import load_schema
from imageworks.registry.entries.entry import ArtifactFile, aggregate_sha256
from support.git import git
from support.legacy import found_model, write_configs
from support.meanwhile import meanwhile
from support.reconcile import HOST, Result, World, command
from support.transfer import MARKER, content, sha256
from support.weights import U32, gguf_file, safetensors_file

AWQ = {
    "config.json": json.dumps(
        {"model_type": "llama", "quantization_config": {"quant_method": "awq", "bits": 4}}
    ).encode(),
    "tokenizer.json": b"{}",
    "model.safetensors": safetensors_file({"w": ("I32", [4], 16)}),
    "README.md": b"---\nlicense: apache-2.0\n---\n# Llama\n",
}
NAME = "llama-7b-vllm-awq"


def gguf(seed: str) -> bytes:
    return gguf_file([("general.quantization_version", U32, 2)], data=content(seed, 400))


def put(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def scan(world: World, *words: str | Path, code: int = 0) -> Result:
    """Run ``scan`` and check that what it leaves is valid (I2)."""
    result = command("scan", *words, "--registry", world.root)
    assert result.code == code, result
    world.check()
    return result


def recorded(world: World) -> list[str]:
    return world.entries() if (world.root / f"discovered/{HOST}").is_dir() else []


@pytest.fixture
def found(world: World) -> World:
    put(world.weights / "Someone/Llama-7B-AWQ", AWQ)
    return world


def test_a_repository_folder_becomes_an_entry_in_one_commit(found: World) -> None:
    before = found.head()
    result = scan(found)
    assert git(found.root, "rev-parse", "HEAD~1").strip() == before
    assert found.message().startswith("Record 1 model found below weights")
    entry = found.entry(NAME)
    path = found.weights / "Someone/Llama-7B-AWQ"
    files = [ArtifactFile(name, len(data), sha256(data).value) for name, data in AWQ.items()]
    expected = {
        "managed": False,
        "backend": "vllm",
        "family": "llama-7b",
        "display_name": "llama 7b (AWQ)",
        "download_format": "safetensors",
        "quantization": "awq",
        "download_path": str(path),
        "download_location": "linux_wsl",
        "download_files": sorted(AWQ),
        "download_size_bytes": sum(map(len, AWQ.values())),
        "producer": "someone",
        "license": "apache-2.0",
        "verification": "trust-on-first-use",
        "source_provider": "local",
    }
    assert {key: entry[key] for key in expected} == expected
    assert entry["artifacts"]["aggregate_sha256"] == aggregate_sha256(files)  # type: ignore[index]
    assert entry["metadata"]["acquisition"] == "adopted"  # type: ignore[index]
    assert found.snapshot()[NAME]["backend"] == "vllm"
    assert f"+ {NAME}  (safetensors, awq, vllm)" in result.out
    assert "1 recorded" in result.out


def test_a_second_scan_changes_and_commits_nothing(found: World) -> None:
    scan(found)
    before = found.head()
    for words in ((), ("--update-existing",)):
        result = scan(found, *words)
        assert "0 recorded, 1 recorded already; nothing to commit" in result.out
        assert "hashing" not in result.err
        assert found.head() == before


def test_a_dry_run_writes_nothing(found: World, isolated_environment: Path) -> None:
    def everything() -> list[tuple[str, int]]:
        folders = (found.folder, isolated_environment)
        return sorted((str(p), p.stat().st_mtime_ns) for folder in folders for p in folder.rglob("*") if p.is_file())

    before = everything()
    result = command("scan", "--dry-run", "--registry", found.root)
    assert result.code == 0
    assert f"+ {NAME}" in result.out
    assert "Nothing was written" in result.out
    assert everything() == before


def test_an_entry_is_what_list_verify_and_status_need(found: World) -> None:
    scan(found)
    assert found.status() == {NAME: ("undeclared", "healthy", "")}
    assert "No changes" in found.reconcile().out


def test_each_quantization_of_a_folder_is_a_model(world: World) -> None:
    put(
        world.weights / "Someone/Llama-7B-GGUF",
        {"README.md": b"# L\n", "llama-7b.Q4_K_M.gguf": gguf("4"), "llama-7b.Q8_0.gguf": gguf("8")},
    )
    scan(world)
    assert recorded(world) == ["llama-7b-gguf-q4_k_m", "llama-7b-gguf-q8_0"]
    entry = world.entry("llama-7b-gguf-q8_0")
    assert entry["backend"] == "gguf"
    assert entry["download_path"] == str(world.weights / "Someone/Llama-7B-GGUF/llama-7b.Q8_0.gguf")
    assert entry["download_files"] == ["llama-7b.Q8_0.gguf"]
    assert set(world.status().values()) == {("undeclared", "healthy", "")}
    before = world.head()
    scan(world)
    assert world.head() == before


def test_files_and_folders_without_an_owner_are_found_too(world: World) -> None:
    put(world.weights, {"phi-3.Q4_0.gguf": gguf("phi"), "Owner/loose-Q8_0.gguf": gguf("loose")})
    put(world.weights / "mistral-7b", AWQ)
    put(world.weights / "Owner/solo-GGUF", {"solo.Q6_K.gguf": gguf("solo"), "mmproj-solo.gguf": gguf("eyes")})
    scan(world)
    assert recorded(world) == ["loose-gguf-q8_0", "mistral-7b-vllm-awq", "phi-3-gguf-q4_0", "solo-gguf-q6_k"]
    assert world.entry("solo-gguf-q6_k")["download_files"] == ["mmproj-solo.gguf", "solo.Q6_K.gguf"]


def test_shards_of_several_quantizations_need_folders_of_their_own(world: World) -> None:
    shards = {f"big-{q}-0000{n}-of-00002.gguf": gguf(f"{q}{n}") for q in ("Q4_K_M", "Q8_0") for n in (1, 2)}
    put(world.weights / "o/flat", shards)
    put(world.weights / "o/deep", {f"{name.split('-')[1]}/{name}": data for name, data in shards.items()})
    result = scan(world)
    assert recorded(world) == ["deep-gguf-q4_k_m", "deep-gguf-q8_0"]
    assert result.err.count("give each quantization a folder of its own") == 2


def test_a_branch_in_the_folders_name_shows_in_the_model_s(world: World) -> None:
    put(world.weights / "Someone/Llama-7B-AWQ@dev", AWQ)
    scan(world)
    assert recorded(world) == ["llama-7b-dev-vllm-awq"]


def test_two_owners_of_one_name_are_told_apart_whatever_comes_first(found: World) -> None:
    put(found.weights / "Another/Llama-7B-AWQ", AWQ)
    scan(found)
    names = recorded(found)
    assert names == [NAME, "someone-llama-7b-vllm-awq"]
    assert found.entry(NAME)["download_path"] == str(found.weights / "Another/Llama-7B-AWQ")
    before = found.head()
    scan(found, "--update-existing")
    assert found.head() == before


@pytest.mark.parametrize("name", ["demo-model", "model", "my-testzzz", "r"])
def test_what_tests_and_demos_made_is_passed_over(world: World, name: str) -> None:
    put(world.weights / "Someone" / name, AWQ)
    assert "--include-testing" in scan(world).err
    assert recorded(world) == []
    scan(world, "--include-testing")
    (entry,) = recorded(world)
    assert world.entry(entry)["metadata"]["testing"] is True  # type: ignore[index]
    assert "[]" in command("list", "--json", "--registry", world.root).out


def test_the_format_counts_only_where_none_is_detected(found: World) -> None:
    scan(found, "--format", "gptq")
    assert recorded(found) == [NAME]
    plain = {name: data for name, data in AWQ.items() if name != "config.json"} | {"config.json": b"{}"}
    put(found.weights / "Someone/Plain", plain)
    scan(found, "--format", "gptq")
    assert "plain-vllm-gptq" in recorded(found)


def test_an_entry_without_backend_moves_to_the_one_that_is_named(found: World) -> None:
    scan(found, "--backend", "unassigned")
    assert recorded(found) == ["llama-7b-unassigned-awq"]
    result = scan(found, "--backend", "lmdeploy")
    assert recorded(found) == ["llama-7b-lmdeploy-awq"]
    assert "was llama-7b-unassigned-awq" in result.out


def test_an_entry_without_backend_whose_files_moved_is_taken_over(found: World) -> None:
    scan(found, "--backend", "unassigned")
    (found.weights / "Elsewhere").mkdir()
    (found.weights / "Someone/Llama-7B-AWQ").rename(found.weights / "Elsewhere/Llama-7B-AWQ")
    scan(found)
    assert recorded(found) == [NAME]


def test_what_was_described_wrongly_is_put_right_when_asked(found: World) -> None:
    scan(found)
    put(found.weights / "Someone/Llama-7B-AWQ", {"config.json": AWQ["config.json"].replace(b"awq", b"gptq")})
    assert "1 recorded already" in scan(found).out
    assert recorded(found) == [NAME]
    scan(found, "--update-existing")
    assert found.entry(recorded(found)[0])["quantization"] == "gptq"
    assert len(recorded(found)) == 1


def test_what_is_declared_is_left_alone(world: World) -> None:
    world.serve()
    world.declare(backend="vllm")
    put(world.weights / "acme/tiny-1b", AWQ)
    assert "declared by models/tiny-1b.yaml" in scan(world).err
    assert recorded(world) == []
    shutil.rmtree(world.weights / "acme")
    world.reconcile()
    before = world.head()
    assert "which is declared" in scan(world, "--update-existing").err
    assert world.head() == before


def test_an_unfinished_download_is_passed_over_and_incomplete_shards_too(world: World) -> None:
    put(world.weights / "a/one", AWQ | {"model.safetensors.aria2": b"x"})
    put(world.weights / "a/two", {"config.json": b"{}", "model-00001-of-00002.safetensors": AWQ["model.safetensors"]})
    put(world.weights / "a/three", AWQ | {"model.safetensors": AWQ["model.safetensors"][:-1]})
    result = scan(world)
    assert "unfinished download" in result.err
    assert "two: incomplete: " in result.err
    assert "three: incomplete: model.safetensors should have " in result.err
    assert recorded(world) == []


def test_a_file_that_cannot_be_read_fails_alone(found: World, monkeypatch: pytest.MonkeyPatch) -> None:
    put(found.weights / "Someone/Second-AWQ", AWQ)
    real = os.open

    def refusing(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if "Second-AWQ" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refusing)
    result = scan(found, code=1)
    assert recorded(found) == [NAME]
    assert "Permission denied" in result.err


def test_a_folder_that_is_not_there_or_not_allowed_is_refused(world: World, isolated_environment: Path) -> None:
    missing = command("scan", "--base", world.folder / "nowhere", "--registry", world.root)
    assert (missing.code, "there is no such folder" in missing.err) == (1, True)
    outside = command("scan", "--base", isolated_environment, "--registry", world.root)
    assert (outside.code, "config.toml" in outside.err) == (1, True)


def test_an_empty_registry_and_root_are_no_error(world: World) -> None:
    before = world.head()
    assert "0 recorded, 0 recorded already" in scan(world).out
    assert world.head() == before


def test_the_backends_are_those_of_the_schema(world: World) -> None:
    properties = load_schema("entry")["properties"]
    assert isinstance(properties, dict)
    backend = properties["backend"]
    assert isinstance(backend, dict)
    wrong = command("scan", "--backend", "nobody", "--registry", world.root)
    assert wrong.code == 64
    assert all(f"'{one}'" in wrong.err for one in backend["enum"])  # type: ignore[union-attr]


def test_a_folder_that_no_name_can_be_made_of_fails_alone(found: World) -> None:
    put(found.weights / "Someone/---", AWQ)
    assert "nothing to name a model by" in scan(found, code=1).err
    assert recorded(found) == [NAME]


def test_a_repository_of_a_test_is_passed_over_by_its_folder_too(world: World) -> None:
    put(world.weights / "o/testzzz-GGUF", {"a.Q4_K_M.gguf": gguf("4"), "a.Q8_0.gguf": gguf("8")})
    assert scan(world).err.count("--include-testing") == 2
    assert recorded(world) == []


def test_what_was_hashed_before_an_interruption_is_not_read_again(
    found: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(found.weights / "Someone/Second-AWQ", AWQ | {"model.safetensors": content("second", 3 * 1024 * 1024)})

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("imageworks.operations.scan.record.found_entry", interrupted)
        assert command("scan", "--registry", found.root).code == 130
    assert recorded(found) == []
    assert "hashing" not in scan(found).err
    assert len(recorded(found)) == 2


def test_the_disk_of_what_is_recorded_is_remembered(found: World) -> None:
    scan(found)
    assert (found.weights / MARKER).is_file()
    with StateDatabase.open(load_host_settings(registry=found.root).state_dir / STATE_FILE, read_only=True) as state:
        assert [known.root for known in state.locations()] == [found.weights]


def test_what_people_commit_meanwhile_is_built_upon(found: World, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = '{"schema_version": 1, "roles": ["caption"]}'
    meanwhile(monkeypatch, lambda: found.write("models/logical.yaml", declared))
    assert "1 recorded" in scan(found).out
    assert sorted(found.snapshot()) == [NAME, "logical"]
    assert "No changes" in found.reconcile().out


def test_what_an_earlier_tool_recorded_without_files_is_looked_at_and_keeps_its_name(
    found: World, tmp_path: Path
) -> None:
    place = str(found.weights / "Someone/Llama-7B-AWQ")
    told = found_model(
        "llama_(AWQ)",
        download_path=place,
        backend_config={"port": 24001, "model_path": place},
        display_name="Our llama",
        roles=[],
        role_priority={},
    )
    configs = write_configs(tmp_path / "configs", {"model_registry.discovered.json": [told]})
    assert command("migrate", configs, "--registry", found.root).code == 0
    scan(found)
    assert recorded(found) == ["llama_(AWQ)"]
    entry = found.entry("llama_(AWQ)")
    assert entry["backend_config"] == {"port": 24001, "model_path": place}
    assert entry["display_name"] == "Our llama"
    assert entry["quantization"] == "awq"
    assert entry["verification"] == "trust-on-first-use"
    artifacts, metadata = entry["artifacts"], entry["metadata"]
    assert isinstance(artifacts, dict)
    assert isinstance(metadata, dict)
    assert len(artifacts["files"]) == len(AWQ)
    assert metadata["legacy"]["artifacts"]["files"]
    assert "0 recorded, 1 recorded already" in scan(found).out

"""The ``promote`` command: a discovered entry becomes declared, and reconcile finds nothing to do."""

import json
from pathlib import Path

import pytest

from imageworks.registry.documents.schema import load_schema
from support.git import git
from support.meanwhile import meanwhile
from support.reconcile import HOST, NAME, REPO, Result, World, command
from support.transfer import content
from support.weights import U32, gguf_file, safetensors_file

FILES = {
    "config.json": json.dumps({"model_type": "llama", "quantization_config": {"quant_method": "awq"}}).encode(),
    "tokenizer.json": b"{}",
    "model.safetensors": safetensors_file({"w": ("I32", [4], 16)}),
}
FOLDER = "some one/llama-7b-AWQ"
FOUND = "llama-7b-vllm-awq"


def put(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def promote(world: World, *names: str, code: int = 0) -> Result:
    """Run ``promote`` and check that what it leaves is valid (I2)."""
    result = command("promote", *names, "--registry", world.root)
    assert result.code == code, result
    world.check()
    return result


def scan(world: World) -> None:
    assert command("scan", "--registry", world.root).code == 0


def assert_nothing_to_do(world: World) -> None:
    before = world.head()
    assert "No changes" in world.reconcile("--detailed-exitcode").out
    assert world.head() == before
    assert {sync for sync, _, _ in world.status().values()} == {"synced"}


def manifest(world: World, name: str = FOUND) -> str:
    return (world.root / f"models/{name}.yaml").read_text(encoding="utf-8")


@pytest.fixture
def found(world: World) -> World:
    put(world.weights / FOLDER, FILES)
    scan(world)
    return world


def test_a_found_folder_is_declared_by_its_path_in_one_commit(found: World) -> None:
    before = found.head()
    result = promote(found, FOUND)
    assert result.out.splitlines()[0] == f"+ models/{FOUND}.yaml"
    assert git(found.root, "rev-parse", "HEAD~1").strip() == before
    assert found.message().splitlines()[0] == f"Promote {FOUND}"
    assert found.entry(FOUND)["managed"] is True
    merged = found.snapshot()[FOUND]
    assert (merged["managed"], merged["backend"], merged["hosts"]) == (True, "vllm", [HOST])
    assert git(found.root, "status", "--porcelain") == ""
    assert_nothing_to_do(found)


def test_each_field_has_a_comment_that_explains_it(found: World) -> None:
    promote(found, FOUND)
    lines = manifest(found).splitlines()
    assert lines[0] == f"# yaml-language-server: $schema={load_schema('manifest')['$id']}"
    assert f'  path: "{found.weights / FOLDER}" # where its files are' in manifest(found)
    fields = [line for line in lines if not line.startswith("#") and line not in {"schema_version: 1", "source:"}]
    assert all(" # " in line for line in fields)


def test_the_registry_s_own_copy_of_the_schema_is_named(found: World) -> None:
    found.write(".schemas/manifest.schema.json", "{}")
    promote(found, FOUND)
    assert manifest(found).startswith("# yaml-language-server: $schema=../.schemas/manifest.schema.json\n")


def test_a_dry_run_prints_the_manifest_and_writes_nothing(found: World) -> None:
    before = found.head()
    result = promote(found, FOUND, "--dry-run")
    assert f"--- models/{FOUND}.yaml" in result.out
    assert "Nothing was written." in result.out
    assert found.head() == before
    assert not (found.root / "models").exists()


def test_several_become_declared_at_once_a_single_file_too(world: World) -> None:
    for label in ("Q4_K_M", "Q8_0"):
        data = gguf_file([("general.quantization_version", U32, 2)], data=content(label, 400))
        put(world.weights / "someone/l-7b-GGUF", {f"l-7b.{label}.gguf": data})
    scan(world)
    before = world.head()
    promote(world, "l-7b-gguf-q4_k_m", "l-7b-gguf-q8_0")
    assert git(world.root, "rev-parse", "HEAD~1").strip() == before
    assert_nothing_to_do(world)


@pytest.mark.parametrize("revision", ["", "@dev"])
def test_a_model_from_the_hub_is_declared_by_its_pin(world: World, revision: str) -> None:
    served = world.serve()
    commit = served.branch("dev", {"dev.txt": b"dev"}) if revision else served.commit_id
    done = command("download", f"{REPO}{revision}", "--no-manifest", "-y", "--registry", world.root)
    assert done.code == 0, done
    (name,) = world.entries()
    world.served.forget()
    promote(world, name)
    assert f'revision: "{commit}"' in manifest(world, name)
    assert "location: " in manifest(world, name)
    assert world.entry(name)["verification"] == "pinned-digest"
    assert_nothing_to_do(world)
    assert world.served.requests == 0


def test_what_lost_its_manifest_gets_one_again(world: World) -> None:
    world.serve()
    world.declare(location="second", quantization="bf16", format="safetensors")
    world.reconcile()
    world.delete(NAME)
    assert world.status()[NAME][0] == "undeclared"
    promote(world, NAME)
    assert 'quantization: "bf16"' in manifest(world, NAME)
    assert_nothing_to_do(world)


def test_a_folder_that_is_not_as_recorded_is_refused_and_the_others_go_on(found: World) -> None:
    put(found.weights / "someone/other-AWQ", FILES)
    scan(found)
    put(found.weights / FOLDER, {"more.txt": b"more"})
    result = promote(found, FOUND, "other-vllm-awq", code=1)
    assert "scan --update-existing" in result.err
    assert "+ models/other-vllm-awq.yaml" in result.out
    assert not (found.root / f"models/{FOUND}.yaml").exists()


def test_what_is_declared_already_names_its_file(found: World) -> None:
    promote(found, FOUND)
    before = found.head()
    assert f"models/{FOUND}.yaml" in promote(found, FOUND, code=1).err
    assert found.head() == before


def test_a_manifest_that_is_not_committed_is_never_overwritten(found: World) -> None:
    found.write(f"models/{FOUND}.yaml", "# mine\n", commit=False)
    result = command("promote", FOUND, "--registry", found.root)
    assert (result.code, "not committed" in result.err) == (1, True)
    assert manifest(found) == "# mine\n"


def test_an_unknown_name_suggests_the_nearest(found: World) -> None:
    result = promote(found, "llama-7b-vllm-avq", code=1)
    assert f"Did you mean '{FOUND}'?" in result.err
    assert "list --details" in promote(found, "zzz", code=1).err


def test_a_manifest_that_people_commit_meanwhile_is_never_overwritten(
    found: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile(monkeypatch, lambda: found.write(f"models/{FOUND}.yaml", "schema_version: 1\n"))
    result = command("promote", FOUND, "--registry", found.root)
    assert result.code == 1
    assert manifest(found) == "schema_version: 1\n"
    assert git(found.root, "show", f"HEAD:models/{FOUND}.yaml") == "schema_version: 1\n"

"""A declared model arrives: what is fetched, recorded, committed, and what a second run does."""

import json
import os
import stat
from pathlib import Path

import pytest

from imageworks.registry.entries.entry import ArtifactFile, aggregate_sha256, directory_checksum
from support.git import git
from support.reconcile import HOST, MODEL, NAME, QUANTS, REPO, World
from support.transfer import sha256, tree


def everything(*folders: Path) -> dict[str, tuple[int, int, int]]:
    """Every path below folders with its size, time of change and inode; sockets of git's monitors have none."""
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            status = path.lstat()
            size = status.st_size if stat.S_ISREG(status.st_mode) else 0
            found[str(path)] = (size, status.st_mtime_ns, status.st_ino)
    return found


def test_the_model_stands_at_its_location_byte_for_byte(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    assert tree(world.weights / REPO) == dict(MODEL)


def test_every_byte_is_asked_for_once(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    assert world.served.files == {name: len(data) for name, data in MODEL.items()}


def test_the_entry_says_what_came_from_where(world: World) -> None:
    commit = world.serve().commit_id
    world.declare(backend="vllm")
    world.reconcile()
    entry = world.entry()
    files = [ArtifactFile(name, len(data), sha256(data).value) for name, data in sorted(MODEL.items())]
    assert entry["resolved"] == {"repo": REPO, "revision": commit, "ref": "main"}
    assert entry["download_path"] == str(world.weights / REPO)
    assert entry["download_location"] == "linux_wsl"
    assert entry["download_files"] == sorted(MODEL)
    assert entry["download_size_bytes"] == sum(map(len, MODEL.values()))
    assert entry["download_format"] == "safetensors"
    assert entry["download_directory_checksum"] == directory_checksum(files)
    assert entry["artifacts"] == {
        "aggregate_sha256": aggregate_sha256(files),
        "files": [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in files],
    }
    assert entry["source_provider"] == "huggingface"
    assert entry["producer"] == "acme"
    assert entry["verification"] == "pinned-digest"
    assert entry["managed"] is True
    assert entry["backend_config"] == {"model_path": str(world.weights / REPO)}


def test_the_commit_says_which_manifests_were_reconciled_and_where(world: World) -> None:
    commit = world.serve().commit_id
    world.declare()
    declared = world.head()
    world.reconcile()
    assert world.message() == (
        f"Reconcile {HOST}: 1 installed\n\n+ {NAME} (missing) {commit[:12]}\n\n"
        f"Reconciled-Revision: {declared}\nHost: {HOST}"
    )
    changed = git(world.git_root, "show", "--format=", "--name-only", "HEAD").split()
    assert changed == [f"discovered/{HOST}/{NAME}.json", f"snapshot/{HOST}.json"]
    assert git(world.git_root, "status", "--porcelain") == ""


def test_the_snapshot_stands_a_second_time_for_older_tools(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    shown = json.loads((world.root / "model_registry.json").read_bytes())
    assert [model["name"] for model in shown] == list(world.snapshot())


def test_a_run_with_nothing_to_do_writes_nothing_and_asks_no_network(world: World) -> None:
    """I4."""
    commit = world.serve().commit_id
    world.declare(source={"huggingface": REPO, "revision": commit})
    world.reconcile()
    before, head = everything(world.root, world.weights), world.head()
    world.served.forget()
    result = world.reconcile()
    assert "No changes. 1 model as declared on testhost." in result.out
    assert world.served.requests == 0
    assert world.head() == head
    after = everything(world.root, world.weights)
    assert {path for path in before | after if before.get(path) != after.get(path)} <= lock_files(world)


def lock_files(world: World) -> set[str]:
    """The lock and what holds it may be touched by a run that may write."""
    return {str(path) for path in (world.git_root / ".git").rglob("*") if "imageworks" in str(path)} | {
        str(world.git_root / ".git")
    }


def test_a_dry_run_writes_nothing_at_all_anywhere(world: World, isolated_environment: Path) -> None:
    world.serve()
    world.declare()
    before = everything(world.folder, isolated_environment)
    result = world.reconcile("--dry-run", valid=False)
    assert "Plan: 1 to add, 0 to change, 0 to destroy." in result.out
    assert everything(world.folder, isolated_environment) == before


def test_a_branch_is_resolved_once_and_not_chased(world: World) -> None:
    repository = world.serve()
    world.declare()
    world.reconcile()
    repository.commit({"config.json": b"{}"})
    assert world.plan().changes == {}


def test_uncommitted_manifests_do_not_count_and_the_plan_says_so(world: World) -> None:
    world.serve()
    world.declare(commit=False)
    result = world.reconcile("--dry-run", valid=False)
    assert "models/tiny-1b.yaml has uncommitted changes" in result.out
    assert "Plan:" not in result.out


def test_a_dry_run_with_a_branch_names_the_commit_that_it_would_install(world: World) -> None:
    repository = world.serve()
    commit = repository.branch("experiment", {"config.json": b'{"branch": 1}'})
    world.declare(source={"huggingface": REPO, "revision": "experiment"})
    changes = world.plan().json["changes"]
    assert isinstance(changes, list)
    assert changes[0]["revision"] == {"from": None, "to": commit}
    assert changes[0]["path"]["to"] == str(world.weights / f"{REPO}@experiment")


def test_one_quantization_of_many_is_installed_with_the_small_files(world: World) -> None:
    world.serve(QUANTS)
    world.declare("many-q4", quantization="Q4_K_M")
    world.reconcile()
    assert set(tree(world.weights / REPO)) == {"README.md", "LICENSE", "many-7b-Q4_K_M.gguf"}
    assert world.entry("many-q4")["quantization"] == "q4_k_m"


def test_two_quantizations_share_one_folder(world: World) -> None:
    world.serve(QUANTS)
    world.declare("many-q4", quantization="Q4_K_M")
    world.declare("many-q8", quantization="Q8_0")
    world.reconcile()
    assert tree(world.weights / REPO) == dict(QUANTS)
    assert world.status() == {"many-q4": ("synced", "healthy", ""), "many-q8": ("synced", "healthy", "")}


def test_a_second_quantization_joins_the_first_without_fetching_what_is_there(world: World) -> None:
    world.serve(QUANTS)
    world.declare("many-q4", quantization="Q4_K_M")
    world.reconcile()
    world.served.forget()
    world.declare("many-q8", quantization="Q8_0")
    world.reconcile()
    assert world.served.files == {"many-7b-Q8_0.gguf": 70_000}
    assert tree(world.weights / REPO) == dict(QUANTS)


def test_bytes_that_another_model_has_are_not_fetched_again(world: World) -> None:
    world.serve()
    world.serve(MODEL, "acme/same-weights")
    world.declare()
    world.reconcile()
    world.served.forget()
    world.declare("copy", source={"huggingface": "acme/same-weights"})
    plan = world.plan()
    world.reconcile()
    assert "model.safetensors" not in world.served.files
    assert tree(world.weights / "acme/same-weights") == dict(MODEL)
    changes = plan.json["changes"]
    assert isinstance(changes, list)
    assert "model.safetensors" in changes[0]["files"]["reuse"]


def test_one_model_fails_and_the_others_arrive(world: World) -> None:
    """I9."""
    world.serve()
    world.declare()
    world.declare("nowhere", source={"huggingface": "acme/nowhere"})
    result = world.reconcile(code=1)
    assert tree(world.weights / REPO) == dict(MODEL)
    assert world.entries() == [NAME]
    assert result.planned["nowhere"] == ("blocked", "repository-not-found")


def test_a_model_that_breaks_while_it_is_fetched_stops_no_other(world: World) -> None:
    """I9: the failure comes after planning."""
    world.serve()
    world.serve(QUANTS, "acme/many")
    world.declare()
    world.declare("many-q4", source={"huggingface": "acme/many"}, quantization="Q4_K_M")
    target = world.weights / "acme/many"
    target.parent.mkdir(parents=True)
    target.write_text("a file where the folder should go", encoding="utf-8")
    result = world.reconcile(code=1)
    assert world.entries() == [NAME]
    assert "error: many-q4: " in result.err
    assert target.read_text(encoding="utf-8") == "a file where the folder should go"


def test_an_invalid_manifest_blocks_only_itself(world: World) -> None:
    world.serve()
    world.declare()
    world.write("models/broken.yaml", "schema_version: 1\nquantisation: q4\n")
    result = world.reconcile(code=1, valid=False)
    assert "models/broken.yaml:2:1: " in result.out
    assert result.planned["broken"] == ("blocked", "invalid-manifest")
    assert world.entries() == [NAME]


def test_the_models_named_are_the_only_ones_considered(world: World) -> None:
    world.serve()
    world.serve(MODEL, "acme/other")
    world.declare()
    world.declare("other", source={"huggingface": "acme/other"})
    world.reconcile("other")
    assert world.entries() == ["other"]


def test_what_an_interrupted_commit_left_is_recorded_as_ours_by_the_next_run(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile("--no-commit", valid=False)
    assert not (world.root / "discovered").exists()
    world.served.forget()
    result = world.reconcile()
    assert result.planned[NAME] == ("adopt", "found")
    assert world.served.files == {}
    metadata = world.entry()["metadata"]
    assert isinstance(metadata, dict)
    assert metadata["acquisition"] == "installed"


def test_a_logical_entry_needs_no_files_and_stands_in_the_snapshot(world: World) -> None:
    world.write("models/router.yaml", json.dumps({"schema_version": 1, "roles": ["caption"], "backend": "vllm"}))
    world.reconcile()
    assert world.snapshot()["router"]["roles"] == ["caption"]
    assert world.plan().changes == {}


def test_a_registry_in_a_folder_of_a_repository_commits_only_there(world: World) -> None:
    world.serve()
    sub = world.folder / "team" / "ai" / "models-registry"
    sub.parent.mkdir(parents=True)
    git(world.folder / "team", "init", "--quiet", "--initial-branch", "main")
    (world.folder / "team" / "unrelated.txt").write_text("mine\n", encoding="utf-8")
    world.git_root, world.root = world.folder / "team", sub
    sub.mkdir()
    (sub / ".gitignore").write_text("model_registry.json\n", encoding="utf-8")
    world.configure()
    world.declare()
    (world.folder / "team" / "unrelated.txt").write_text("edited\n", encoding="utf-8")
    world.reconcile()
    changed = git(world.git_root, "show", "--format=", "--name-only", "HEAD").split()
    assert changed == [
        f"ai/models-registry/discovered/{HOST}/{NAME}.json",
        f"ai/models-registry/snapshot/{HOST}.json",
    ]
    assert git(world.git_root, "status", "--porcelain") == " M unrelated.txt\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_location_that_cannot_be_written_fails_one_model(world: World) -> None:
    world.serve()
    world.declare()
    world.weights.chmod(0o500)
    result = world.reconcile(code=1)
    world.weights.chmod(0o700)
    assert "Permission denied" in result.err

"""What is on disk follows what is declared: updates, repairs, moves, renames, adoption, absence, hosts."""

import json
from pathlib import Path

import pytest

from support.reconcile import HOST, MODEL, NAME, QUANTS, REPO, World
from support.transfer import gguf_content, tree, write


def acquisition(world: World, name: str = NAME) -> object:
    metadata = world.entry(name)["metadata"]
    assert isinstance(metadata, dict)
    return metadata["acquisition"]


def installed(world: World, **fields: object) -> None:
    """Serve the model, declare it and install it; then count from nothing."""
    world.serve()
    world.declare(NAME, source=None, commit=True, **fields)
    world.reconcile()
    world.served.forget()


def test_an_update_fetches_only_the_files_that_changed(world: World) -> None:
    repository = world.serve()
    world.declare(source={"huggingface": REPO, "revision": repository.commit_id})
    world.reconcile()
    world.served.forget()
    new = repository.commit({"config.json": b'{"new": 1}', "extra.json": b"{}", "tokenizer.json": None})
    world.declare(source={"huggingface": REPO, "revision": new})
    result = world.reconcile()
    assert result.planned[NAME] == ("update", "revision-changed")
    assert world.served.files == {"config.json": 10, "extra.json": 2}
    kept = {name: data for name, data in MODEL.items() if name != "tokenizer.json"}
    assert tree(world.weights / REPO) == {**kept, "config.json": b'{"new": 1}', "extra.json": b"{}"}
    assert world.entry()["resolved"] == {"repo": REPO, "revision": new, "ref": new}


def test_an_update_leaves_files_that_are_not_ours(world: World) -> None:
    """I5."""
    repository = world.serve()
    world.declare(source={"huggingface": REPO, "revision": repository.commit_id})
    world.reconcile()
    (world.weights / REPO / "my-notes.txt").write_text("mine", encoding="utf-8")
    new = repository.commit({"config.json": b"{}"})
    world.declare(source={"huggingface": REPO, "revision": new})
    world.reconcile()
    assert (world.weights / REPO / "my-notes.txt").read_text(encoding="utf-8") == "mine"


def test_going_back_to_a_former_commit_restores_it(world: World) -> None:
    repository = world.serve()
    first = repository.commit_id
    second = repository.commit({"config.json": b"{}"})
    for revision in (second, first):
        world.declare(source={"huggingface": REPO, "revision": revision})
        world.reconcile()
    assert tree(world.weights / REPO) == dict(MODEL)


def test_a_changed_selection_fetches_the_other_quantization_and_drops_the_first(world: World) -> None:
    world.serve(QUANTS)
    world.declare("many", quantization="Q4_K_M")
    world.reconcile()
    world.served.forget()
    world.declare("many", quantization="Q8_0")
    result = world.reconcile()
    assert result.planned["many"] == ("update", "selection-changed")
    assert world.served.files == {"many-7b-Q8_0.gguf": 70_000}
    assert set(tree(world.weights / REPO)) == {"README.md", "LICENSE", "many-7b-Q8_0.gguf"}


def test_another_repository_is_fetched_before_the_old_one_goes(world: World) -> None:
    installed(world)
    world.serve({**MODEL, "config.json": b'{"fork": 1}'}, "acme/fork")
    world.declare(source={"huggingface": "acme/fork"})
    result = world.reconcile()
    assert result.planned[NAME] == ("update", "source-changed")
    assert (world.weights / "acme/fork/config.json").read_bytes() == b'{"fork": 1}'
    assert not (world.weights / REPO).exists()


@pytest.mark.parametrize(
    ("damage", "reason", "fetched"),
    [
        ("missing", "file-missing", "config.json"),
        ("longer", "size-mismatch", "config.json"),
        ("changed", "digest-mismatch", "model.safetensors"),
    ],
)
def test_a_repair_fetches_only_the_damaged_file(world: World, damage: str, reason: str, fetched: str) -> None:
    installed(world)
    path = world.weights / REPO / fetched
    if damage == "missing":
        path.unlink()
    elif damage == "longer":
        path.write_bytes(path.read_bytes() + b" ")
    else:
        path.write_bytes(bytes(len(path.read_bytes())))
    assert world.status() == {NAME: ("out-of-sync", "damaged", reason)}
    result = world.reconcile()
    assert result.planned[NAME] == ("repair", reason)
    assert world.served.files == {fetched: len(MODEL[fetched])}
    assert tree(world.weights / REPO) == dict(MODEL)


def test_a_repair_stays_at_the_recorded_commit_although_the_branch_moved(world: World) -> None:
    repository = world.serve()
    world.declare()
    world.reconcile()
    repository.commit({"config.json": b'{"moved": 1}'})
    (world.weights / REPO / "config.json").unlink()
    world.reconcile()
    assert tree(world.weights / REPO) == dict(MODEL)


def test_a_model_whose_folder_vanished_is_brought_back(world: World) -> None:
    installed(world)
    (world.weights / REPO).rename(world.folder / "elsewhere")
    assert world.status() == {NAME: ("out-of-sync", "missing", "file-missing")}
    world.reconcile()
    assert tree(world.weights / REPO) == dict(MODEL)


def test_a_changed_location_moves_the_files_without_a_download(world: World) -> None:
    installed(world)
    inode = (world.weights / REPO / "model.safetensors").stat().st_ino
    world.declare(location="second")
    result = world.reconcile()
    assert result.planned[NAME] == ("move", "location-changed")
    assert world.served.files == {}
    target = world.folder / "second" / REPO
    assert tree(target) == dict(MODEL)
    assert (target / "model.safetensors").stat().st_ino == inode
    assert not (world.weights / "acme").exists()
    assert world.entry()["download_path"] == str(target)
    assert world.entry()["backend_config"] == {"model_path": str(target)}


def test_a_move_leaves_files_that_are_not_ours_where_they_are(world: World) -> None:
    """I5."""
    installed(world)
    (world.weights / REPO / "my-notes.txt").write_text("mine", encoding="utf-8")
    world.declare(location="second")
    world.reconcile()
    assert tree(world.weights / REPO) == {"my-notes.txt": b"mine"}
    assert tree(world.folder / "second" / REPO) == dict(MODEL)


def test_a_location_that_the_host_does_not_allow_blocks(world: World) -> None:
    world.serve()
    world.declare(location="/srv/models")
    result = world.reconcile(code=1)
    assert result.planned[NAME] == ("blocked", "root-not-allowed")


def test_a_drive_that_is_not_mounted_blocks_and_is_not_invented(world: World, isolated_environment: Path) -> None:
    world.user_config(isolated_environment, f'roots = ["{world.folder}", "/mnt/never-mounted"]\n')
    world.serve()
    world.declare(location="/mnt/never-mounted/models")
    result = world.reconcile(code=1)
    assert result.planned[NAME] == ("blocked", "location-unavailable")
    assert not Path("/mnt/never-mounted").exists()


def test_two_quantizations_move_together_with_what_they_share(world: World) -> None:
    world.serve(QUANTS)
    world.declare("many-q4", quantization="Q4_K_M")
    world.declare("many-q8", quantization="Q8_0")
    world.reconcile()
    world.served.forget()
    world.declare("many-q4", quantization="Q4_K_M", location="second")
    world.declare("many-q8", quantization="Q8_0", location="second")
    world.reconcile()
    assert world.served.files == {}
    assert tree(world.folder / "second" / REPO) == dict(QUANTS)
    assert not (world.weights / REPO).exists()
    assert world.plan().changes == {}


def test_one_of_two_quantizations_moves_and_the_other_keeps_what_they_share(world: World) -> None:
    world.serve(QUANTS)
    world.declare("many-q4", quantization="Q4_K_M")
    world.declare("many-q8", quantization="Q8_0")
    world.reconcile()
    world.declare("many-q4", quantization="Q4_K_M", location="second")
    world.reconcile()
    assert set(tree(world.folder / "second" / REPO)) == {"README.md", "LICENSE", "many-7b-Q4_K_M.gguf"}
    assert set(tree(world.weights / REPO)) == {"README.md", "LICENSE", "many-7b-Q8_0.gguf"}
    assert world.plan().changes == {}


def test_a_rename_by_previously_downloads_nothing_and_moves_no_file(world: World) -> None:
    installed(world)
    (world.root / f"models/{NAME}.yaml").unlink()
    world.declare("better-name", previously=[NAME])
    result = world.reconcile()
    assert result.planned["better-name"] == ("move", "renamed")
    assert world.served.requests == 0
    assert world.entries() == ["better-name"]
    assert world.entry("better-name")["download_path"] == str(world.weights / REPO)
    assert world.entry("better-name")["served_model_id"] == "better-name"
    assert list(world.snapshot()) == ["better-name"]


def test_a_rename_where_folders_bear_the_models_name_moves_the_folder(world: World) -> None:
    installed(world, location="flat")
    (world.root / f"models/{NAME}.yaml").unlink()
    world.declare("better-name", previously=[NAME], location="flat")
    world.reconcile()
    assert world.served.files == {}
    assert tree(world.folder / "flat") == {f"better-name/{name}": data for name, data in MODEL.items()}


def test_a_renamed_and_damaged_model_is_repaired_under_its_new_name(world: World) -> None:
    installed(world)
    (world.weights / REPO / "config.json").unlink()
    (world.root / f"models/{NAME}.yaml").unlink()
    world.declare("better-name", previously=[NAME])
    world.reconcile()
    assert world.served.files == {"config.json": len(MODEL["config.json"])}
    assert world.entries() == ["better-name"]
    assert world.plan().changes == {}


def test_a_folder_found_on_disk_is_adopted_without_a_download(world: World) -> None:
    world.serve()
    write(world.weights / REPO, dict(MODEL))
    world.declare()
    result = world.reconcile()
    assert result.planned[NAME] == ("adopt", "found")
    assert world.served.files == {}
    assert acquisition(world) == "adopted"


def test_a_folder_with_other_bytes_is_neither_adopted_nor_touched(world: World) -> None:
    world.serve()
    write(world.weights / REPO, {**MODEL, "config.json": b"{}"})
    world.declare()
    result = world.reconcile(code=1)
    assert result.planned[NAME] == ("blocked", "unowned-files")
    assert (world.weights / REPO / "config.json").read_bytes() == b"{}"


def test_half_a_model_found_on_disk_is_completed(world: World) -> None:
    world.serve()
    write(world.weights / REPO, {"model.safetensors": MODEL["model.safetensors"]})
    world.declare()
    world.reconcile()
    assert "model.safetensors" not in world.served.files
    assert tree(world.weights / REPO) == dict(MODEL)


def test_absent_removes_the_files_and_keeps_the_entry(world: World) -> None:
    installed(world)
    world.declare(state="absent")
    result = world.reconcile()
    assert result.planned[NAME] == ("remove", "declared-absent")
    assert not (world.weights / REPO).exists()
    entry = world.entry()
    assert "download_path" not in entry
    assert entry["resolved"]
    assert world.plan().changes == {}


def test_absent_and_present_again_brings_the_files_back(world: World) -> None:
    installed(world)
    world.declare(state="absent")
    world.reconcile()
    world.declare(state="present")
    world.reconcile()
    assert tree(world.weights / REPO) == dict(MODEL)


def test_renamed_and_absent_at_once_keeps_one_entry_under_the_new_name(world: World) -> None:
    installed(world)
    (world.root / f"models/{NAME}.yaml").unlink()
    world.declare("better-name", previously=[NAME], state="absent")
    world.reconcile()
    assert tree(world.weights) == {}
    assert world.entries() == ["better-name"]
    assert world.plan().changes == {}


def test_absent_keeps_files_that_were_there_before_us(world: World) -> None:
    """I5."""
    world.serve()
    write(world.weights / REPO, dict(MODEL))
    world.declare()
    world.reconcile()
    world.declare(state="absent")
    world.reconcile()
    assert tree(world.weights / REPO) == dict(MODEL)
    assert world.plan().changes == {}


def test_an_absent_quantization_leaves_what_it_shared(world: World) -> None:
    world.serve(QUANTS)
    world.declare("many-q4", quantization="Q4_K_M")
    world.declare("many-q8", quantization="Q8_0")
    world.reconcile()
    world.declare("many-q4", quantization="Q4_K_M", state="absent")
    world.reconcile()
    assert set(tree(world.weights / REPO)) == {"README.md", "LICENSE", "many-7b-Q8_0.gguf"}
    assert world.plan().changes == {}


def test_a_suspended_model_is_left_as_it_is(world: World) -> None:
    installed(world)
    (world.weights / REPO / "config.json").unlink()
    world.declare(state="suspended")
    result = world.plan()
    assert result.changes == {}
    assert result.json["suspended"] == 1
    assert world.status()[NAME][0] == "suspended"


@pytest.mark.parametrize(
    ("hosts", "meant"), [([HOST], True), (["gpu=rtx4090"], True), (["elsewhere"], False), (["gpu=none"], False)]
)
def test_hosts_are_chosen_by_name_and_by_label(world: World, hosts: list[str], meant: bool) -> None:
    world.serve()
    world.declare(hosts=hosts)
    assert (NAME in world.plan().changes) is meant


def test_a_model_that_now_leaves_this_host_out_is_drift_until_pruned(world: World) -> None:
    installed(world)
    world.declare(hosts=["elsewhere"])
    drift = world.plan().json["drift"]
    assert isinstance(drift, list)
    assert [(item["name"], item["reason"]) for item in drift] == [(NAME, "host-excluded")]
    world.reconcile("--prune", "--confirm", NAME)
    assert not (world.weights / REPO).exists()


def test_each_host_writes_only_below_its_own_name(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(world)
    monkeypatch.setenv("IMAGEWORKS_HOST", "elsewhere")
    world.reconcile()
    assert world.entries("elsewhere") == [NAME]
    assert world.entries(HOST) == [NAME]
    assert world.message().endswith("Host: elsewhere")


def test_a_local_folder_is_recorded_in_place(world: World) -> None:
    folder = world.folder / "mine"
    write(folder, dict(MODEL))
    world.declare("mine", source={"path": str(folder)})
    result = world.reconcile()
    assert result.planned["mine"] == ("adopt", "found")
    assert world.entry("mine")["download_path"] == str(folder)
    assert world.entry("mine")["source_provider"] == "local"
    assert acquisition(world, "mine") == "adopted"
    assert world.plan().changes == {}


def test_a_local_folder_that_changed_is_recorded_as_it_is_now(world: World) -> None:
    folder = world.folder / "mine"
    write(folder, dict(MODEL))
    world.declare("mine", source={"path": str(folder)})
    world.reconcile()
    (folder / "config.json").write_bytes(b"{}")
    result = world.reconcile()
    assert result.planned["mine"] == ("adopt", "source-changed")
    assert world.entry("mine")["download_size_bytes"] == sum(map(len, MODEL.values())) - len(MODEL["config.json"]) + 2
    assert world.plan().changes == {}


def test_a_single_local_file_is_recorded_in_place(world: World) -> None:
    write(world.folder, {"one-Q4_K_M.gguf": gguf_content("one", 5000)})
    world.declare("one", source={"path": str(world.folder / "one-Q4_K_M.gguf")})
    world.reconcile()
    assert world.entry("one")["download_files"] == ["one-Q4_K_M.gguf"]
    assert world.plan().changes == {}
    assert world.status() == {"one": ("synced", "healthy", "")}


def test_a_local_folder_is_copied_into_a_location(world: World) -> None:
    folder = world.folder / "mine"
    write(folder, dict(MODEL))
    world.declare("mine", source={"path": str(folder)}, location="second")
    world.reconcile()
    assert tree(world.folder / "second" / "mine") == dict(MODEL)
    assert acquisition(world, "mine") == "installed"
    assert tree(folder) == dict(MODEL)
    assert world.plan().changes == {}


def test_a_copy_of_a_local_folder_stays_when_the_folder_goes(world: World) -> None:
    folder = world.folder / "mine"
    write(folder, dict(MODEL))
    world.declare("mine", source={"path": str(folder)}, location="second")
    world.reconcile()
    folder.rename(world.folder / "gone")
    assert world.plan().changes == {}


def test_a_local_folder_outside_the_hosts_roots_blocks(world: World) -> None:
    world.declare("system", source={"path": "/etc"})
    assert world.plan(code=1).changes == {"system": ("blocked", "root-not-allowed")}


def test_people_s_fields_reach_the_snapshot_without_any_change_to_files(world: World) -> None:
    installed(world)
    world.declare(display_name="The tiny one", roles=["caption"], backend="vllm", backend_config={"port": 24001})
    plan = world.plan()
    assert plan.changes == {}
    assert plan.json["records_stale"] is True
    world.reconcile()
    model = world.snapshot()[NAME]
    assert model["display_name"] == "The tiny one"
    assert model["backend_config"] == {"port": 24001, "model_path": str(world.weights / REPO)}
    assert world.message().startswith(f"Reconcile {HOST}: refresh the snapshot\n")
    assert world.plan().json["records_stale"] is False


def test_a_field_that_people_take_back_leaves_the_snapshot(world: World) -> None:
    installed(world, backend="vllm", family="a-family", roles=["caption"])
    world.declare()
    world.reconcile()
    model = world.snapshot()[NAME]
    assert "roles" not in model
    assert model.get("backend") in (None, "unassigned")
    assert model.get("family") != "a-family"


def test_a_version_lock_refuses_another_revision(world: World) -> None:
    repository = world.serve()
    world.declare(source={"huggingface": REPO, "revision": repository.commit_id})
    world.reconcile()
    artifacts = world.entry()["artifacts"]
    assert isinstance(artifacts, dict)
    new = repository.commit({"config.json": b"{}"})
    lock = {"locked": True, "expected_aggregate_sha256": artifacts["aggregate_sha256"]}
    world.declare(source={"huggingface": REPO, "revision": new}, version_lock=lock)
    result = world.reconcile(code=1)
    assert result.planned[NAME] == ("blocked", "locked")
    assert tree(world.weights / REPO) == dict(MODEL)


def test_a_broken_entry_blocks_its_model_alone_and_is_never_overwritten(world: World) -> None:
    installed(world)
    world.serve(MODEL, "acme/other")
    world.declare("other", source={"huggingface": "acme/other"})
    world.write(f"discovered/{HOST}/{NAME}.json", "{")
    result = world.reconcile(code=1, valid=False)
    assert result.planned[NAME] == ("blocked", "invalid-entry")
    assert (world.root / f"discovered/{HOST}/{NAME}.json").read_text(encoding="utf-8") == "{"
    assert json.loads((world.root / f"discovered/{HOST}/other.json").read_bytes())["name"] == "other"


def test_a_rename_of_a_model_without_files_takes_its_entry_along(world: World) -> None:
    installed(world)
    world.declare(state="absent")
    world.reconcile()
    (world.root / f"models/{NAME}.yaml").unlink()
    world.declare("better-name", previously=[NAME], state="absent")
    result = world.reconcile()
    assert result.planned["better-name"] == ("move", "renamed")
    assert world.entries() == ["better-name"]
    assert "No changes." in world.reconcile().out

"""The commands that keep records in order: each shows a plan, and applies it as one commit."""

import json
import shutil
from pathlib import Path

import pytest

from support.git import git
from support.reconcile import NAME, Result, World, command
from support.weights import safetensors_file

AWQ = {
    "config.json": json.dumps({"model_type": "llama", "quantization_config": {"quant_method": "awq"}}).encode(),
    "tokenizer.json": b"{}",
    "model.safetensors": safetensors_file({"w": ("I32", [4], 16)}),
}
FOUND = "llama-7b-vllm-awq"
FOLDER = "someone/llama-7b-AWQ"


def put(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def maintain(world: World, *words: str, code: int = 0) -> Result:
    """Run a command and check that what it leaves is valid (I2)."""
    result = command(*words, "--registry", world.root)
    assert result.code == code, result
    world.check()
    return result


def edit(world: World, entry_name: str, **fields: object) -> None:
    """Change an entry, as an older controller might have written it, and bring the snapshot up to date."""
    entry = {**world.entry(entry_name), **fields}
    file = f"discovered/testhost/{entry['name']}.json"
    world.write(file, json.dumps({key: value for key, value in entry.items() if value is not None}))
    world.reconcile("--yes")


@pytest.fixture
def scanned(world: World) -> World:
    put(world.weights / FOLDER, AWQ)
    maintain(world, "scan")
    return world


def test_what_is_recorded_rightly_is_no_change(scanned: World) -> None:
    before = scanned.head()
    for words in ((), ("--apply",), ("--rebuild", "--prune-missing", "--apply")):
        assert maintain(scanned, "normalize-formats", *words).out == "No changes.\n"
    assert scanned.head() == before


def test_formats_and_quantizations_are_shown_and_put_right(scanned: World) -> None:
    edit(scanned, FOUND, quantization="fp16", download_format=None, display_name="llama 7b (FP16)")
    before = scanned.head()
    shown = [
        f"~ {FOUND}  looked at again",
        "    download_format:none→safetensors",
        "    quantization:fp16→awq",
        "Plan: 1 to change, 0 to deprecate, 0 to remove.",
    ]
    for words in ((), ("--dry-run",)):
        result = maintain(scanned, "normalize-formats", *words)
        assert result.out.splitlines() == [*shown[:3], f"{shown[3]} Nothing was written."]
    assert scanned.head() == before
    assert maintain(scanned, "normalize-formats", "--apply").out.splitlines()[:4] == shown
    assert git(scanned.root, "rev-parse", "HEAD~1").strip() == before
    entry = scanned.entry(FOUND)
    assert (entry["quantization"], entry["download_format"]) == ("awq", "safetensors")
    assert entry["display_name"] == "llama 7b (AWQ)"
    assert maintain(scanned, "normalize-formats", "--apply").out == "No changes.\n"


def test_a_display_name_that_somebody_chose_stays(scanned: World) -> None:
    edit(scanned, FOUND, quantization="fp16", display_name="Mine")
    maintain(scanned, "normalize-formats", "--apply")
    assert scanned.entry(FOUND)["display_name"] == "Mine"


def test_rebuild_records_what_stands_there_now(scanned: World) -> None:
    put(scanned.weights / FOLDER, {"notes.txt": b"12345"})
    size = sum(map(len, AWQ.values()))
    old = scanned.entry(FOUND)["download_directory_checksum"]
    assert maintain(scanned, "normalize-formats").out == "No changes.\n"
    state = Path.home() / ".local/state/imageworks/state.sqlite3"
    before = state.read_bytes()
    maintain(scanned, "normalize-formats", "--rebuild")
    assert state.read_bytes() == before
    lines = maintain(scanned, "normalize-formats", "--rebuild", "--apply").out.splitlines()
    new = scanned.entry(FOUND)["download_directory_checksum"]
    assert lines[1:4] == [
        f"    download_size_bytes:{size}→{size + 5}",
        f"    download_directory_checksum:{old}→{new}",
        f"    download_files_count:{len(AWQ)}→{len(AWQ) + 1}",
    ]
    assert scanned.status()[FOUND][1] == "healthy"


def test_rebuild_records_other_bytes_of_the_same_size(scanned: World) -> None:
    put(scanned.weights / FOLDER, {"tokenizer.json": b"[]"})
    assert scanned.status()[FOUND][1] == "damaged"
    assert "artifacts.aggregate_sha256:" in maintain(scanned, "normalize-formats", "--rebuild", "--apply").out
    assert scanned.status()[FOUND][1] == "healthy"


def test_what_is_declared_pinned_or_locked_is_not_rebuilt(world: World) -> None:
    world.serve()
    world.declare(backend="vllm")
    world.reconcile()
    put(world.weights / FOLDER, AWQ)
    maintain(world, "scan")
    edit(world, FOUND, version_lock={"locked": True})
    for folder in ("acme/tiny-1b", FOLDER):
        put(world.weights / folder, {"tokenizer.json": b"[]  "})
    assert maintain(world, "normalize-formats", "--rebuild", "--apply").out == "No changes.\n"


def test_entries_whose_files_are_gone_are_deprecated_or_removed(scanned: World) -> None:
    shutil.rmtree(scanned.weights / FOLDER)
    assert maintain(scanned, "normalize-formats", "--apply").out == "No changes.\n"
    assert f"! {FOUND}" in maintain(scanned, "normalize-formats", "--rebuild", "--apply").out
    assert scanned.entry(FOUND)["deprecated"] is True
    assert maintain(scanned, "normalize-formats", "--rebuild", "--apply").out == "No changes.\n"
    assert f"- {FOUND}" in maintain(scanned, "normalize-formats", "--rebuild", "--prune-missing", "--apply").out
    assert scanned.entries() == []
    assert scanned.snapshot() == {}


def test_an_entry_with_names_of_files_alone_is_looked_at_too(world: World) -> None:
    """As entries of the earlier tool are."""
    world.weights.joinpath("acme").mkdir()
    for name in ("here", "gone"):
        recorded = {"download_path": str(world.weights / "acme" / name), "download_files": ["model.safetensors"]}
        world.write(
            f"discovered/testhost/{name}.json",
            json.dumps({"schema_version": 1, "name": name, "managed": False, **recorded}),
        )
    put(world.weights / "acme/here", AWQ)
    done = maintain(world, "normalize-formats", "--rebuild", "--prune-missing", "--apply")
    assert "- gone" in done.out
    assert "~ here" in done.out
    assert world.entry("here")["quantization"] == "awq"


def test_a_drive_that_is_not_there_takes_no_entry_with_it(scanned: World) -> None:
    scanned.weights.rename(scanned.folder / "unmounted")
    result = maintain(scanned, "normalize-formats", "--prune-missing", "--apply")
    assert result.out == "No changes.\n"
    assert "out of reach" in result.err


def test_a_declared_model_that_is_gone_is_left_to_reconcile(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    shutil.rmtree(world.weights / "acme")
    result = maintain(world, "normalize-formats", "--prune-missing", "--apply")
    assert f"kept: {NAME}" in result.err
    assert world.entries() == [NAME]


def test_a_folder_that_cannot_be_listed_is_told_and_the_others_go_on(scanned: World) -> None:
    put(scanned.weights / FOLDER, {"new.safetensors.part": b"x"})
    put(scanned.weights / "someone/other-AWQ", AWQ)
    maintain(scanned, "scan")
    edit(scanned, "other-vllm-awq", quantization="fp16")
    result = maintain(scanned, "normalize-formats", "--rebuild", "--apply", code=1)
    assert "unfinished download" in result.err
    assert "quantization:fp16→awq" in result.out


@pytest.mark.parametrize("option", ["--backup", "--no-backup"])
def test_the_backup_is_git_history(scanned: World, option: str) -> None:
    assert "git history is the backup" in maintain(scanned, "normalize-formats", option).err
    assert "backup" not in maintain(scanned, "normalize-formats").err


def test_deprecated_entries_go_and_their_files_stay(scanned: World) -> None:
    edit(scanned, FOUND, deprecated=True)
    edit(scanned, FOUND, name="model-ollama-gguf-2")
    assert sorted(scanned.entries()) == [FOUND, "model-ollama-gguf-2"]
    before = scanned.head()
    assert maintain(scanned, "purge-deprecated", "--dry-run").out.splitlines()[-1].endswith("Nothing was written.")
    assert scanned.head() == before
    result = maintain(scanned, "purge-deprecated", "--placeholders-only")
    assert result.out.startswith("- model-ollama-gguf-2")
    assert f"kept: {FOUND}: deprecated, but no placeholder" in result.err
    assert scanned.entries() == [FOUND]
    maintain(scanned, "purge-deprecated")
    assert scanned.entries() == []
    assert (scanned.weights / FOLDER / "model.safetensors").is_file()
    assert maintain(scanned, "purge-deprecated").out == "No changes.\n"


def test_what_people_deprecate_is_theirs_to_delete(world: World) -> None:
    world.serve()
    world.declare(deprecated=True)
    world.reconcile()
    result = maintain(world, "purge-deprecated")
    assert result.out == "No changes.\n"
    assert f"delete models/{NAME}.yaml" in result.err
    assert world.entries() == [NAME]


def test_a_stale_duplicate_goes_and_the_one_that_says_more_stays(scanned: World) -> None:
    edit(scanned, FOUND, name="stale", download_path=None, download_files=None, artifacts=None)
    before = scanned.head()
    result = maintain(scanned, "prune-duplicates", "--dry-run", "-v")
    assert result.out.splitlines()[0] == f"- stale  says no more than {FOUND}"
    assert f"kept: {FOUND}: says most of 2 alike" in result.err
    assert scanned.head() == before
    assert maintain(scanned, "prune-duplicates", "--backend", "ollama").out == "No changes.\n"
    assert maintain(scanned, "prune-duplicates", "--backend", "vllm").err == ""
    assert scanned.entries() == [FOUND]
    assert maintain(scanned, "prune-duplicates").out == "No changes.\n"


def test_a_model_with_files_of_its_own_is_no_duplicate(scanned: World) -> None:
    put(scanned.weights / "another/llama-7b-AWQ", AWQ)
    maintain(scanned, "scan")
    assert len(scanned.entries()) == 2
    result = maintain(scanned, "prune-duplicates", "--verbose")
    assert result.out == "No changes.\n"
    assert "has files of its own" in result.err


def test_what_is_declared_stays_and_counts_as_what_people_say_it_is(world: World) -> None:
    world.serve()
    world.declare(backend="vllm", family="tiny-1b")
    world.reconcile()
    edit(world, NAME, name="older", managed=False, backend="vllm", family="tiny-1b")
    maintain(world, "prune-duplicates")
    assert world.entries() == [NAME]


def test_many_models_are_hashed_as_one(scanned: World) -> None:
    for name in ("one", "two", "three"):
        put(scanned.weights / f"someone/{name}-AWQ", AWQ)
    maintain(scanned, "scan")
    for name in ("one", "two", "three"):
        put(scanned.weights / f"someone/{name}-AWQ", {"tokenizer.json": b"[]"})
    result = maintain(scanned, "normalize-formats", "--rebuild", "--apply")
    assert result.out.count("artifacts.aggregate_sha256:") == 3
    assert result.err.splitlines()[0] == "reading 3 files, 6 B"
    assert result.err.splitlines()[1].startswith("3 of 3 files done, read 6 B")


def test_detection_kind_normalize_brings_old_answers_up_to_date_and_keeps_names(scanned: World) -> None:
    entry = scanned.entry(FOUND)
    old = {"text": True, "vision": True, "embedding": False, "audio": False, "thinking": False, "tools": False}
    metadata = {**entry["metadata"], "parameters": 7, "note": "of people"}  # type: ignore[dict-item]
    edit(scanned, FOUND, capabilities=old, metadata=metadata, quantization="w4a16", license="mit")
    before = scanned.head()
    shown = maintain(scanned, "normalize-formats").out
    assert "quantization:w4a16→awq" in shown
    assert "capabilities:text,vision→text" in shown
    assert "metadata.parameters:7→" in shown
    assert scanned.head() == before
    maintain(scanned, "normalize-formats", "--apply")
    assert scanned.entries() == [FOUND]
    after = scanned.entry(FOUND)
    assert (after["quantization"], after["license"]) == ("awq", "mit")
    assert after["capabilities"] == entry["capabilities"]
    assert after["metadata"] == {**entry["metadata"], "note": "of people"}  # type: ignore[dict-item]
    assert maintain(scanned, "normalize-formats", "--apply").out == "No changes.\n"


def test_detection_kind_normalize_leaves_what_people_set_of_capabilities(scanned: World) -> None:
    edit(scanned, FOUND, capabilities={"text": True, "vision": {"max_images": 4}})
    assert maintain(scanned, "normalize-formats", "--apply").out == "No changes.\n"

"""The purges, the reset and the backfill as commands: a plan, one commit, valid afterwards, and no file touched."""

import json
import sys
from pathlib import Path

import pytest

from imageworks.registry.entries.entry import render_entry
from support.git import git
from support.reconcile import HOST, NAME, Result, World, command
from support.terminal import Terminal
from support.weights import safetensors_file

CONFIG = json.dumps({"model_type": "llama", "quantization_config": {"quant_method": "awq"}})
FOUND = "llama-7b-vllm-awq"
FOLDER = "some one/llama-7b-AWQ"


def maintain(world: World, *words: str | Path, code: int = 0) -> Result:
    """Run a command and check that what it leaves is valid (I2)."""
    result = command(*words, "--registry", world.root)
    assert result.code == code, result
    world.check()
    return result


def put(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(CONFIG, encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(safetensors_file({"w": ("I32", [4], 16)}))


def record(world: World, name: str, /, **fields: object) -> None:
    """Commit an entry, as an older controller might have written it."""
    entry = {"schema_version": 1, "managed": False, **fields, "name": name}
    world.write(f"discovered/{HOST}/{name}.json", render_entry(entry).decode())
    world.reconcile("--yes")


@pytest.fixture
def scanned(world: World) -> World:
    put(world.weights / FOLDER)
    world.serve()
    world.declare(backend="vllm")
    world.reconcile()
    maintain(world, "scan")
    assert world.entries() == sorted([FOUND, NAME])
    return world


@pytest.mark.parametrize(
    ("answer", "words", "goes"),
    [("n\n", (), False), ("", (), False), ("y\n", (), True), ("", ("-y",), True), ("", ("--apply",), True)],
)
@pytest.mark.parametrize("name", ["reset-discovered", "purge-hf"])
def test_u14_at_a_terminal_what_removes_entries_asks_first(
    scanned: World, monkeypatch: pytest.MonkeyPatch, name: str, answer: str, words: tuple[str, ...], *, goes: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    result = maintain(scanned, name, *words, code=0 if goes else 1)
    assert (FOUND not in scanned.entries()) == goes
    assert ("[y/N]" in result.err) == (not words)


def test_u14_json_says_what_was_done(scanned: World) -> None:
    shown = json.loads(maintain(scanned, "purge-hf", "--dry-run", "--json").out)
    done = json.loads(maintain(scanned, "purge-hf", "--json").out)
    assert [(one["action"], one["name"]) for one in done["operations"]] == [("remove", FOUND)]
    assert shown["operations"] == done["operations"]
    assert (shown["dry_run"], shown["commit"]) == (True, None)
    assert (done["dry_run"], done["commit"]) == (False, scanned.head())


@pytest.mark.parametrize(
    "words", [("reset-discovered",), ("reset-discovered", "--backend", "VLLM"), ("purge-hf",)], ids=" ".join
)
def test_what_was_found_goes_and_comes_back_by_a_scan(scanned: World, words: tuple[str, ...]) -> None:
    before, entry = scanned.head(), scanned.entry(FOUND)
    shown = maintain(scanned, *words, "--dry-run")
    assert shown.out.splitlines()[0].startswith(f"- {FOUND}  ")
    assert shown.out.splitlines()[-1] == "Plan: 0 to change, 0 to deprecate, 1 to remove. Nothing was written."
    assert scanned.head() == before
    result = maintain(scanned, *words)
    assert (f"kept: {NAME}: declared" in result.err) == ("VLLM" not in words)  # its entry says of no backend
    assert scanned.entries() == [NAME]
    assert git(scanned.root, "rev-parse", "HEAD~1").strip() == before
    assert maintain(scanned, *words).out == "No changes.\n"
    maintain(scanned, "scan")
    again = scanned.entry(FOUND)
    assert {**again, "downloaded_at": ""} == {**entry, "downloaded_at": ""}


@pytest.mark.parametrize("words", [("--backend", "ollama"), ("--backend", "unassigned")], ids=" ".join)
def test_another_backend_is_left_alone(scanned: World, words: tuple[str, ...]) -> None:
    for name in ("reset-discovered", "purge-hf"):
        assert maintain(scanned, name, *words).out == "No changes.\n"


def test_the_weights_root_may_be_named(scanned: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scanned.weights)
    assert maintain(scanned, "purge-hf", "--weights-root", scanned.folder / "second").out == "No changes.\n"
    assert "1 to remove" in maintain(scanned, "purge-hf", "--weights-root", "../weights/some one", "--dry-run").out
    assert "1 to remove" in maintain(scanned, "purge-hf", "--weights-root", scanned.weights / "some one").out


def test_a_lock_that_only_the_entry_has_is_not_lost(scanned: World) -> None:
    record(scanned, FOUND, **{**scanned.entry(FOUND), "version_lock": {"locked": True}})
    for name in ("reset-discovered", "purge-hf"):
        assert f"kept: {FOUND}: its version is locked" in maintain(scanned, name).err
    assert FOUND in scanned.entries()


@pytest.mark.parametrize("name", ["reset-discovered", "purge-logical-only", "apply-simple-slugs"])
@pytest.mark.parametrize("option", ["--backup", "--no-backup"])
def test_the_backup_is_git_history(scanned: World, name: str, option: str) -> None:
    assert "git history is the backup" in maintain(scanned, name, option).err


def test_logical_entries_go_and_what_has_files_or_a_source_stays(scanned: World) -> None:
    record(scanned, "of-ollama", backend="ollama", served_model_id="m:7b", download_path="ollama://m:7b")
    record(scanned, "without-path", backend="vllm")
    scanned.write("models/roles only.yaml".replace(" ", "-"), "# why\nschema_version: 1\nroles: [caption]\n")
    before = scanned.head()
    for words in ((), ("--dry-run",), ("--discovered-only",)):
        shown = maintain(scanned, "purge-logical-only", *words)
        assert [line.split()[1] for line in shown.out.splitlines()[:-1]] == ["of-ollama", "without-path"]
    assert scanned.head() == before
    maintain(scanned, "purge-logical-only", "--apply")
    assert scanned.entries() == sorted([FOUND, NAME])
    assert (scanned.root / "models/roles-only.yaml").is_file()
    result = maintain(scanned, "purge-logical-only", "--include-curated", "--apply")
    assert result.out.startswith("- roles-only  no files of its own; models/roles-only.yaml too\n")
    assert not (scanned.root / "models/roles-only.yaml").exists()
    assert sorted(scanned.snapshot()) == sorted([FOUND, NAME])
    assert maintain(scanned, "purge-logical-only", "--include-curated", "--apply").out == "No changes.\n"


def test_a_manifest_with_uncommitted_changes_is_not_deleted(scanned: World) -> None:
    scanned.write("models/logical.yaml", "schema_version: 1\nroles: [caption]\n")
    scanned.write("models/logical.yaml", "schema_version: 1\nroles: [caption, tags]\n", commit=False)
    result = maintain(scanned, "purge-logical-only", "--include-curated", "--apply")
    assert result.out == "No changes.\n"
    assert "models/logical.yaml has uncommitted changes" in result.err
    assert "tags" in (scanned.root / "models/logical.yaml").read_text(encoding="utf-8")


def test_paths_of_ollama_are_filled_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store = world.folder / "ollama models"
    monkeypatch.setenv("OLLAMA_MODELS", str(store))
    record(world, "a", backend="ollama", served_model_id="a:7b")
    record(world, "b", backend="ollama")
    before = world.head()
    shown = maintain(world, "backfill-ollama-paths", "--dry-run", "-v")
    assert shown.out.splitlines() == [
        "~ a  had no path",
        "    download_path:none→ollama://a:7b",
        "    download_location:none→linux_wsl",
        "    download_format:none→gguf",
        "Plan: 1 to change, 0 to deprecate, 0 to remove. Nothing was written.",
    ]
    assert "kept: b: no served_model_id" in shown.err
    assert world.head() == before
    (store / "manifests").mkdir(parents=True)
    (store / "blobs").mkdir()
    maintain(world, "backfill-ollama-paths", "--no-set-format", "--location", "second")
    entry = world.entry("a")
    assert (entry["download_path"], entry["download_location"]) == (f"{store}/a:7b", "second")
    assert "download_format" not in entry
    assert maintain(world, "backfill-ollama-paths").err == ""
    listed = json.loads(command("list", "--registry", world.root, "--json").out)
    assert [(model["name"], model["installed"]) for model in listed] == [("a", False)]
    assert maintain(world, "normalize-formats", "--rebuild", "--prune-missing", "--apply").out == "No changes.\n"
